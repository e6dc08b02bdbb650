"""The law of initial states that paths begin at."""

import pytest

from physinv.methods.classical.monte_carlo.initial_law import fit_initial_law
from physinv.methods.problem import NotApplicableError
from simulators.fields.kuramoto_sivashinsky import KuramotoSivashinsky


def test_initial_states_that_are_slow_to_draw_are_refused_after_a_few():
    """Kuramoto and Sivashinsky's attractor, whose numbers have a kurtosis of 2.2: 65536 spin-ups take minutes."""
    drawn = []

    class Counted(KuramotoSivashinsky):
        def initial(self, batch, **options):
            drawn.append(batch)
            return super().initial(batch, **options)

    with pytest.raises(NotApplicableError, match="not Gaussian, and their density is not known"):
        fit_initial_law(Counted(size=16, spin_up=20.0, horizon=1.0, steps=1, inner=4))
    assert drawn == [4096]
