"""The density of our own posterior."""

import pytest
from learned_cases import MIXTURE, RING, pair

from physinv.methods.own.method import fit_physinv


@pytest.mark.parametrize(
    ("simulator", "settings"), [(RING, {"width": 8, "depth": 1}), (MIXTURE, {})], ids=["heat", "mixture"]
)
def test_the_density_of_our_own_posterior_is_the_exact_one(simulator, settings, make):
    problem, test = make(simulator, 100, batch=512, **settings)
    truth, final = (x[:40] for x in pair(test))
    ours, exact = fit_physinv(problem).log_prob(truth, final), simulator.exact().log_prob(truth, final)
    # the truth is one draw for each final state: a density that is wrong by a factor of its width loses its square,
    # so the mean differs by the Kullback-Leibler divergence, (numbers fitted)/(2 trajectories) = .002 for 8 variances;
    # single ones differ by its root and the accuracy of the flow
    assert float((ours - exact).mean()) == pytest.approx(0.0, abs=0.05)
    assert float((ours - exact).std()) < 0.2
    assert float(exact.std()) > 0.8  # and so are no constants
