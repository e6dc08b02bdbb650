"""Posteriors in one dimension against closed forms and the odds of a simulation."""

import math

import numpy as np
import pytest
import torch

from physinv.laws.exact_1d import ScalarPosterior
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
from simulators.vectors.quadratic import Quadratic


def test_scalar_posterior_agrees_with_the_closed_form():
    ou = OrnsteinUhlenbeck(dim=1, components=2, spread=1.0)
    prior = ou.prior

    def density(x):
        return prior.log_prob(torch.from_numpy(x)[:, None]).exp().numpy()

    edges = np.linspace(-4, 4, 801)
    scalar = ScalarPosterior(lambda x: -ou.rate * x, ou.noise, ou.horizon, edges, density)
    final = torch.tensor([[-0.7], [0.0], [0.5]], dtype=torch.float64)
    # second order in the cell width .01; by halving it the gap is below 1e-4
    assert torch.allclose(scalar.mean(final), ou.exact().mean(final), atol=1e-3)
    assert torch.allclose(scalar.flow(final), ou.exact().flow(final), atol=3e-3)


def test_quadratic_odds_are_those_of_a_simulation(generator):
    sim = Quadratic()
    x = sim.simulate(40_000, generator=generator)
    final, plus = x[:, -1], x[:, 0, 0] > 0
    odds = sim.exact().probabilities(final)[:, 1]
    for low, high in ((0.38, 0.46), (0.46, 0.54), (0.54, 0.62)):
        chosen = (odds > low) & (odds <= high)
        error = 0.5 / math.sqrt(int(chosen.sum()))
        assert float(plus[chosen].double().mean()) == pytest.approx(float(odds[chosen].mean()), abs=4 * error)
    assert float(sim.exact().probabilities(torch.zeros(1, 1))[0, 1]) == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(ValueError, match="a state that the process can reach"):
        sim.exact().probabilities(torch.full((1, 1), 50.0))
