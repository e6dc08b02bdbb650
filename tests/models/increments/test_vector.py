"""The law of vectors around a linear estimate: what its losses are of."""

import math

import pytest
import torch

from physinv.config.settings import Settings
from physinv.models.increments import VectorIncrements
from physinv.models.networks.build import build_network
from physinv.processes.layout import VectorLayout

LAYOUT = VectorLayout("x", 2)


@pytest.fixture
def law(generator):
    """An untrained law whose errors have unit variances, and 100 pairs of states with estimates."""
    law = VectorIncrements(build_network(LAYOUT, *VectorIncrements.sizes(LAYOUT), Settings(), seed=0), LAYOUT)
    initial, estimate = torch.randn(100, 2, generator=generator), torch.zeros(100, 2)
    law.adapt(initial, torch.randn(100, 2, generator=generator), estimate)
    return law, (initial, initial.roll(1, 0), estimate)


def test_a_fault_costs_little_where_the_law_is_judged(law):
    """At 10^4 deviations by a hundredth of the log of 1 % of a t law with 2 degrees of freedom in 2 dimensions."""
    model, (initial, final, estimate) = law
    broken = initial.clone()
    broken[0, 0] += 1e4

    def loss(states, judged):
        return float(model.loss(states, final, estimate, None, judged=judged).detach())

    assert loss(initial, True) == pytest.approx(loss(initial, False), abs=0.02)  # faults have 1 % of the weight
    unit = float(model.inverse[0, 0]) * 1e4
    bound = (2 * math.log(unit**2 / 2) + math.log(2 * math.pi) - math.log(0.01)) / 2 / 100
    assert loss(broken, True) - loss(initial, True) < 1.05 * bound
    assert loss(broken, False) - loss(initial, False) > 100 * bound
