"""The forward misfit has mean 1 per number for exact samples, whatever the process, and its exact value for wrong ones.

Tolerances are five standard errors of the mean over observations, plus what the error of an estimated covariance of N
deviations does to its inverse: about (2 / N)^(1/2) per block, averaged over independent blocks.
"""

import dataclasses
import math

import pytest
import torch

from physinv.evaluation.physics.forward_misfit import end_noise, forward_misfit
from physinv.laws.operators import named
from physinv.processes.layout import VectorLayout
from physinv.processes.recorded import Recorded
from physinv.processes.simulator import Simulator
from simulators.fields.advection_diffusion import AdvectionDiffusion
from simulators.fields.heat import Heat
from simulators.fields.heat_walls import HeatWalls
from simulators.particles.langevin import OverdampedParticles
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


def pairs(simulator, n, generator):
    return simulator.simulate(n, simulator.times[[0, -1]], generator=generator).unbind(1)


def misfit_of(simulator, samples, final, generator, starts, **partly):
    unit = end_noise(simulator, starts, generator=generator, **partly)
    return forward_misfit(samples, final, simulator, unit, **partly)


def is_one(misfit, slack=0.0):
    values = misfit.per_number.mean(1).double()
    error = float(values.std() / len(values) ** 0.5)
    return float(values.mean()) == pytest.approx(1.0, abs=5 * error + slack)


class Sheared(Simulator):
    """Two numbers, the second driven by the first: the noise of the end is correlated by .9."""

    title, equation = "sheared noise", "dx = dW, dy = 4 x dt"
    layout = VectorLayout("x", 2)

    def drift(self, x, t):
        return torch.stack([torch.zeros_like(x[:, 0]), 4 * x[:, 0]], 1)

    def diffusion(self, t):
        return torch.stack([torch.ones_like(t), 0.1 * torch.ones_like(t)], 1)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn((batch, 2), generator=generator, dtype=dtype)


LINEAR = {
    "ornstein-uhlenbeck": OrnsteinUhlenbeck(),
    "heat": Heat(size=12, steps=4),
    "heat with a steep spectrum": Heat(size=16, dimension=1, steps=4, horizon=1.0),
}


@pytest.mark.parametrize("name", LINEAR)
def test_exact_samples_of_linear_processes_have_mean_one(name, generator):
    process = LINEAR[name]
    truth, final = pairs(process, 400, generator)
    samples = process.exact().sample(final, 3, generator=generator)
    for states in (truth[:, None], samples):
        misfit = misfit_of(process, states, final, generator, truth)
        assert is_one(misfit)
        assert misfit.numbers == truth[0].numel()


def test_a_shift_adds_its_own_square(generator):
    """chi^2 / d of samples off by delta in every component is 1 + (a delta)^2 / q, a the decay and q the variance."""
    process, delta = OrnsteinUhlenbeck(), 0.7
    truth, final = pairs(process, 4000, generator)
    a = math.exp(-process.rate * process.horizon)
    q = process.noise**2 * (1 - a**2) / (2 * process.rate)
    found = misfit_of(process, truth[:, None] + delta, final, generator, truth).per_number.double()
    assert float(found.mean()) == pytest.approx(1 + (a * delta) ** 2 / q, abs=5 * float(found.std()) / 4000**0.5)


def test_vectors_have_the_whole_covariance_of_their_own_noise(generator):
    """Each number right by itself, both wrong together: a mean of (1 + rho^2) / (1 - rho^2), 1 for variances alone."""
    process = Sheared(steps=16)
    truth, final = pairs(process, 2000, generator)
    assert is_one(misfit_of(process, truth[:, None], final, generator, truth))

    # The deviation of the second number from the run without noise gets the other sign.
    wrong = truth.clone()
    wrong[:, 1] += 2 * (final - process.run(truth, noise=False)[:, -1])[:, 1]
    found = misfit_of(process, wrong[:, None], final, generator, truth).per_number.double()
    t = torch.arange(16, dtype=torch.float64) / 16
    across, squared = 4 * t.mean(), 16 * torch.minimum(t, t[:, None]).mean() + 0.01
    rho2 = float(across**2 / squared)
    assert float(found.mean()) == pytest.approx((1 + rho2) / (1 - rho2), abs=5 * float(found.std()) / 2000**0.5)


POOLED = {
    "fields, periodic": (AdvectionDiffusion(size=8, flow="uniform", steps=2, prior="gaussian"), 0.01),
    "fields, vortex": (AdvectionDiffusion(size=8, steps=2, horizon=1.0), 0.02),
    "particles": (OverdampedParticles(particles=6, steps=2, external="harmonic", pair="none"), 0.03),
}


@pytest.mark.parametrize("name", POOLED)
def test_pooled_noise_has_mean_one(name, generator):
    process, slack = POOLED[name]
    truth, final = pairs(process, 300, generator)
    misfit = misfit_of(process, truth[:, None], final, generator, truth)
    assert is_one(misfit, slack)
    assert misfit.numbers == process.layout.moving(truth)[0].numel()
    assert not is_one(misfit_of(process, 4 * truth[:, None], final, generator, truth), slack)


def test_partial_observations_are_compared_with_what_was_seen(generator):
    process = Heat(size=8, steps=2, noise=0.5)
    truth, final = pairs(process, 400, generator)
    observation = named("coarse:2", 0.3, process.shape)
    seen = observation.observe(final, generator=generator)
    assert is_one(misfit_of(process, truth[:, None], seen, generator, truth, observation=observation), 0.03)
    far = misfit_of(process, -truth[:, None], seen, generator, truth, observation=observation)
    assert not is_one(far, 0.03)


def test_walls_have_a_unit_of_their_own(generator):
    process = HeatWalls(size=8, steps=2)
    truth, final = pairs(process, 300, generator)
    assert is_one(misfit_of(process, truth[:, None], final, generator, truth))


def test_without_noise_there_is_no_unit_and_without_physics_no_run(generator):
    heat = Heat(size=8, steps=2, noise=0.0)
    assert end_noise(heat, heat.initial(4, generator=generator)) is None
    still = dataclasses.replace(AdvectionDiffusion(size=8, steps=2), noise=0.0)
    assert end_noise(still, still.initial(4, generator=generator)) is None
    with pytest.raises(ValueError, match="must have known physics"):
        end_noise(Recorded(), torch.zeros(4, 1))


def test_samples_that_run_away_have_an_infinite_misfit(generator):
    process = OrnsteinUhlenbeck()
    truth, final = pairs(process, 10, generator)
    samples = truth[:, None].clone()
    samples[:6] = torch.nan
    misfit = misfit_of(process, samples, final, generator, truth)
    assert misfit.quantile(0.5) == math.inf
    assert misfit.quantile(0.1) < math.inf
