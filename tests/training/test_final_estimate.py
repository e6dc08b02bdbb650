"""Estimates of final states from parts of them: conditional means of Gaussian states, regressions of others."""

import pytest
import torch

from physinv.laws.observation import Observation
from physinv.laws.operators import named
from physinv.processes.layout import VectorLayout
from physinv.training.final_estimate import fit_final_estimate
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.fields.heat_walls import HeatWalls
from simulators.particles.langevin import OverdampedParticles

WALLED = HeatWalls(size=12, steps=2)


def final_states(simulator, n, generator):
    return simulator.simulate(n, generator=generator)[:, -1].double()


@pytest.mark.parametrize("what", ["every:4", "sensors:0.3", "coarse:4", "low-pass:2", "everything"])
def test_of_linear_fields_it_is_the_exact_conditional_mean(what, generator):
    heat = Heat(size=16, dimension=1, steps=2, noise=0.5)
    observation = named(what, 0.2, heat.shape)
    final = final_states(heat, 4000, generator)
    estimate = fit_final_estimate(heat.layout, final, observation)
    y = observation.observe(final[:200], generator=generator)
    exact = heat.exact().given(observation).mean_at(y, [heat.horizon])[:, 0]
    # the spectrum is estimated from 4000 fields, so gains are off by some 2 %
    assert float((estimate(y) - exact).norm() / (exact - exact.mean(0)).norm()) < 0.05


def test_between_walls_it_is_as_good_as_a_regression_on_the_data(generator):
    observation = named("every:3", 0.1, WALLED.shape)
    final, new = final_states(WALLED, 4000, generator), final_states(WALLED, 500, generator)
    estimate = fit_final_estimate(WALLED.layout, final, observation)
    seen = observation.observe(final, generator=generator).flatten(1)
    mean = final.mean(0)
    gains = torch.linalg.lstsq(seen - seen.mean(0), (final - mean).flatten(1)).solution
    y = observation.observe(new, generator=generator)
    regressed = mean + ((y.flatten(1) - seen.mean(0)) @ gains).reshape(new.shape)
    ours, theirs, none = (float((x - new).square().mean()) for x in (estimate(y), regressed, mean))
    assert ours < 1.1 * theirs < 0.5 * none


def test_vectors_are_estimated_by_their_covariance(generator):
    """x_2 = x_1 + noise of variance 1: seen with noise of variance 1, x_1 is half of what is seen, so is x_2."""
    x = torch.randn(4096, 2, generator=generator, dtype=torch.float64)
    x[:, 1] += x[:, 0]
    first = Observation(lambda x: x[:, :1], noise=1.0)
    estimate = fit_final_estimate(VectorLayout("x", 2), x, first)
    # the mean of x_2 is known to sqrt(2 / 4096) = .022, gains to about .015
    assert torch.allclose(estimate(torch.tensor([[2.0]]).double()), torch.ones(1, 2).double(), atol=0.08)


@pytest.mark.parametrize("simulator", [OverdampedParticles(particles=2, steps=2), HeatConductivity(size=8, steps=2)])
def test_particles_and_static_channels_are_refused(simulator, generator):
    states = simulator.simulate(4, generator=generator)[:, -1]
    with pytest.raises(ValueError, match="needs vectors, or fields without static channels"):
        fit_final_estimate(simulator.layout, states, Observation(lambda x: x, noise=1.0))
