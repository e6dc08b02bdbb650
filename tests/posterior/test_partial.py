"""Posteriors given partial, noisy final states: two-stage and guided sampling with all guides, against exact laws."""

import math

import pytest
import torch

from physinv.equations.sde import SDE
from physinv.equations.solve import heun, solve
from physinv.laws.exact import LinearGaussian
from physinv.laws.mixture import Mixture
from physinv.laws.observation import Observation, jacobian
from physinv.laws.operators import coarse, everything, sensors
from physinv.models.references.linear import LinearReference
from physinv.models.references.mixture import MixtureReference
from physinv.models.references.smoother import SmootherReference
from physinv.models.references.smoother_tables import Tables
from physinv.models.score import ScoreModel
from physinv.posterior.guidance import dps, moment_matching, pigdm, sample_guided
from physinv.posterior.partial import sample_final, sample_given
from physinv.posterior.posterior import Posterior
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

F64 = torch.float64
FIRST = Observation(sensors(torch.tensor([True, False])), 0.3)


class Nothing(torch.nn.Module):
    """A network whose output is 0."""

    def forward(self, x, t):
        return torch.zeros_like(x[:, : x.shape[1] // 2])


class Sum(torch.nn.Module):
    """A network whose output is 0, for mixtures, whose output has two halves."""

    def forward(self, x, t):
        return torch.zeros(len(x), 4, dtype=x.dtype)


class Plain(SDE):
    """A linear process that does not declare itself linear."""

    def __init__(self, inner):
        self.inner = inner

    def drift(self, x, t):
        return self.inner.drift(x, t)

    def diffusion(self, t):
        return self.inner.diffusion(t)


def gaussian_heat(noise):
    """Heat on 4 x 4 points with a prior of power in every mode: process, exact law, posterior, and an observation."""
    heat = Heat(size=4, noise=noise, steps=12)
    mean0 = torch.randn(heat.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    law = LinearGaussian(heat, heat.horizon, mean0, heat.exact().power + 0.05)
    model = ScoreModel(LinearReference(heat, mean0, law.power), Nothing(), (float(heat.times[1]), heat.horizon))
    mask = torch.arange(16).reshape(heat.shape) % 5 < 2
    return heat, law, Posterior(heat, model, heat.times), Observation(sensors(mask), 0.1)


def dense(heat, power, observation, t=0.0):
    """Gain and covariance of the Gaussian state at ``t`` given y at the horizon, from the power per mode at ``t``."""
    eye = torch.eye(16, dtype=F64).reshape(16, 1, 4, 4)
    t0, t1 = torch.full((16,), t, dtype=F64), torch.full((16,), heat.horizon, dtype=F64)
    S = heat.unmodes(power * heat.modes(eye), eye).flatten(1)
    G = jacobian(lambda x: observation.operator(heat.drift_flow(x, t0[: len(x)], t1[: len(x)])), eye[:1]).flatten(1)
    H = jacobian(observation.operator, eye[:1]).flatten(1)
    V = heat.apply_covariance(eye, t0, t1).flatten(1)
    M = G @ S @ G.T + H @ V @ H.T + observation.noise**2 * torch.eye(len(H), dtype=F64)
    K = torch.linalg.solve(M, G @ S).T
    return K, S - K @ G @ S, G, H @ V @ H.T


def whitened(x, mean, C):
    """Whiten draws: the result is N(0, I) if those of x are N(mean, C)."""
    return torch.linalg.solve_triangular(torch.linalg.cholesky(C), (x - mean).flatten(1).T, upper=False).T


def assert_standard(white):
    """Mean and covariance of draws from N(0, I).

    Standard errors 1/sqrt(n) of means, at most sqrt(2/n) of (co)variances, 1/sqrt(n d) of the correlation of each
    draw with the next; five of each.
    """
    n, d = white.shape
    assert torch.allclose(white.mean(0), torch.zeros(d, dtype=F64), atol=5 / math.sqrt(n))
    assert torch.allclose(white.T @ white / n, torch.eye(d, dtype=F64), atol=5 * math.sqrt(2 / n))
    assert abs(float((white[1:] * white[:-1]).mean())) < 5 / math.sqrt(n * d)


@pytest.mark.parametrize("sweeps", [0, 2])
def test_two_stages_give_the_exact_posterior_of_a_linear_gaussian_process(sweeps, generator):
    """The draws are exact before any Langevin move, and the moves leave their law invariant."""
    heat, law, posterior, observation = gaussian_heat(0.5)
    n = 5000
    y = observation.observe(heat.simulate(2, generator=generator, dtype=F64)[:, -1], generator=generator)
    drawn = sample_given(posterior, observation, y, n, sweeps=sweeps, size=0.4, generator=generator)
    assert drawn.shape == (2, n, 1, 4, 4)
    C = dense(heat, law.power, observation)[1]
    for x, mean in zip(drawn, law.given(observation).mean(y), strict=True):
        assert_standard(whitened(x, mean, C))


def test_draws_that_begin_at_final_states_of_the_same_law_are_exact(generator):
    """Final states that were reached, moved to what is observed: the posterior where all is Gaussian."""
    heat, law, posterior, observation = gaussian_heat(0.5)
    n, like = 5000, torch.zeros(1, *heat.shape, dtype=F64)
    y = observation.observe(heat.simulate(1, generator=generator, dtype=F64)[:, -1], generator=generator)
    z, t = torch.randn(50_000, *heat.shape, generator=generator, dtype=F64), torch.tensor(heat.horizon, dtype=F64)
    power = heat.decay(0.0, t, like) ** 2 * law.power + heat.variance(0.0, t, like)
    mean = heat.unmodes(heat.decay(0.0, t, like) * heat.modes(law.mean0[None]), like)
    finals = mean + heat.unmodes(power.sqrt() * heat.modes(z), z)
    drawn = sample_given(posterior, observation, y, n, sweeps=0, finals=finals, generator=generator)[0]
    assert_standard(whitened(drawn, law.given(observation).mean(y), dense(heat, law.power, observation)[1]))


@pytest.mark.parametrize("noise", [0.1, 1e-3])
def test_guidance_by_moment_matching_gives_the_exact_posterior(noise, generator):
    """The reversal starts from draws that do not depend on y; also for very small observation noise."""
    heat, law, posterior, observation = gaussian_heat(0.5)
    observation = Observation(observation.operator, noise)
    n = 8000
    y = observation.observe(heat.simulate(1, generator=generator, dtype=F64)[:, -1], generator=generator)
    drawn = sample_guided(posterior, observation, y, n, size=0.5, generator=generator)
    assert drawn.shape == (1, n, 1, 4, 4)
    C = dense(heat, law.power, observation)[1]
    assert_standard(whitened(drawn[0], law.given(observation).mean(y), C))


def test_dps_is_too_sure_and_pigdm_in_between(generator):
    """Physics noisier than the sensors: the mean variance of the draws, in units of the exact posterior's."""
    heat, law, posterior, observation = gaussian_heat(1.0)
    y = observation.observe(heat.simulate(1, generator=generator, dtype=F64)[:, -1], generator=generator)
    G = dense(heat, law.power, observation)[2]
    C = G @ dense(heat, law.power, observation)[1] @ G.T  # of what was seen
    spread = []
    for guide in (dps, pigdm, moment_matching):
        x = sample_guided(posterior, observation, y, 2000, guide=guide, generator=generator)[0].flatten(1) @ G.T
        spread.append(float(x.var(0).sum() / C.trace()))
    assert spread[0] < 0.75
    assert abs(spread[1] - 1) < abs(spread[0] - 1)
    # 7 numbers, of which at least 2 are independent
    assert spread[2] == pytest.approx(1, abs=5 * math.sqrt(2 / (2 * 2000)))


def test_guided_score_of_moment_matching_is_the_exact_one(generator):
    """s(x, t) + grad log p(y | x_t) equals -C^-1 (x - m) with mean m and covariance C of x_t given y."""
    heat, law, posterior, observation = gaussian_heat(0.5)
    x = torch.randn(3, 1, 4, 4, dtype=F64, generator=generator)
    y = torch.randn(3, int(dense(heat, law.power, observation)[0].shape[1]), dtype=F64, generator=generator)
    for t in (0.02, 0.11, 0.2):
        at, reference = torch.full((3,), t, dtype=F64), posterior.score.reference
        s = reference.spectrum(at[:1], x[:1])
        prior = heat.unmodes(s.a * heat.modes(law.mean0[None]), x[:1])
        K, C, G, accumulated = dense(heat, s.now, observation, t)
        m = prior.flatten() + (y - prior.flatten() @ G.T) @ K.T
        exact = -torch.linalg.solve(C, (x.flatten(1) - m).T).T
        seen = moment_matching(heat, observation, (t, heat.horizon), x[:1])
        assert torch.allclose((posterior.score(x, at) + seen.score(y, x)).flatten(1), exact, atol=1e-8)
        white = torch.eye(len(G), dtype=F64)
        assert torch.allclose(seen.noise, accumulated + 0.01 * white)
        assert torch.allclose(dps(heat, observation, (t, heat.horizon), x[:1]).noise, 0.01 * white)
        r2 = accumulated.diagonal().mean()
        assert torch.allclose(pigdm(heat, observation, (t, heat.horizon), x[:1]).noise, (0.01 + r2) * white)


def test_nonlinear_guides_look_through_the_physics(generator):
    """The guide's mean equals a fine solution of the drift, its score finite differences, r^2 is g^2 (T - t)."""
    well, t, fine = DoubleWell(dimension=2), 0.3, torch.linspace(0.3, 0.5, 201, dtype=F64)
    x = 1.2 * torch.randn(5, 2, dtype=F64, generator=generator).tanh()
    y = torch.randn(5, 1, dtype=F64, generator=generator)
    seen = dps(well, FIRST, (t, 0.5), x[:1])
    # four steps of .05 of a method of order 4 at rates of 13 at most: (13 * .05)^5 / 120 once, then they decay
    want = solve(well, x, fine, step=heun, noise=False)[:, -1, :1]
    assert torch.allclose(seen.mean(x), want, atol=1e-3)
    assert torch.allclose(dps(well, FIRST, (t, 0.5), x[:1], pieces=40).mean(x), want, atol=2e-5)

    def log_density(x):
        return -((y - seen.mean(x)) ** 2).sum(1) / (2 * 0.3**2)

    h = 1e-6
    for i, e in enumerate(torch.eye(2, dtype=F64)):
        slope = (log_density(x + h * e) - log_density(x - h * e)) / (2 * h)
        assert torch.allclose(seen.score(y, x)[:, i], slope, atol=1e-5)
    assert float(pigdm(well, FIRST, (t, 0.5), x[:1]).noise) == pytest.approx(0.09 + 2 * well.temperature * 0.2)


def test_guidance_without_knowing_that_the_physics_is_linear(generator):
    """For a linear process given as a plain SDE the guide integrates the drift and takes g^2 (T - t) as variance."""
    ou = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, rate=0.2, horizon=0.5, steps=20)
    reference = LinearReference(ou, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64))
    observation, n, y = Observation(everything, 0.4), 20_000, torch.tensor([[1.3]], dtype=F64)
    posterior = Posterior(Plain(ou), reference.score, ou.times)
    x = sample_guided(posterior, observation, y, n, guide=pigdm, reference=reference, generator=generator)
    gain, added = math.exp(-0.1), ou.noise**2 * -math.expm1(-0.2) / 0.4
    exact = ou.prior.given(y, gain, added + 0.4**2)
    # five standard errors; and what g^2 (T - t) adds to the variance .27 of y, .012, moves mean and variance: .012/.27
    # of the variance, .05 of a mean that shrinks by .25; first order of the steps is of the same size
    spread = float(exact.covs)
    assert float(x.mean()) == pytest.approx(float(exact.mean()), abs=5 * math.sqrt(spread / n) + 0.02)
    assert float(x.var()) == pytest.approx(spread, rel=5 * math.sqrt(2 / n) + 0.05)


def mixture_model(ou):
    """The exact mixture of the process at two times, as a reference law."""
    laws = [ou.marginal(t) for t in (0.0, ou.horizon)]
    means = torch.stack([law.means for law in laws])
    factors = torch.stack([torch.linalg.cholesky(law.covs) for law in laws])
    bounds = torch.tensor([[-9.0] * ou.dim, [9.0] * ou.dim], dtype=F64).expand(2, 2, ou.dim)
    ends = torch.tensor([0.0, ou.horizon], dtype=F64)
    return MixtureReference(ou, ends, laws[0].weights, means, factors, bounds)


@pytest.mark.parametrize("sweeps", [0, 30])
def test_final_states_of_a_mixture_given_one_coordinate(sweeps, generator):
    """Draws equal p(x_T | y) on a grid, with Langevin moves and without."""
    ou = OrnsteinUhlenbeck(dim=2, horizon=0.4)
    model = ScoreModel(mixture_model(ou), Sum(), (float(ou.times[1]), ou.horizon))
    law, n = ou.marginal(ou.horizon), 6000
    y = torch.tensor([[-0.4], [0.6]], dtype=F64)
    drawn = sample_final(Posterior(ou, model, ou.times), FIRST, y, n, sweeps=sweeps, size=0.05, generator=generator)
    axis = torch.linspace(-4, 4, 321, dtype=F64)
    grid = torch.cartesian_prod(axis, axis)
    for x, seen in zip(drawn, y, strict=True):
        weight = (law.log_prob(grid) + FIRST.log_prob(seen.expand(len(grid), 1), grid)).softmax(0)
        for f in (lambda x: x, lambda x: x**2, lambda x: (x[:, :1] * x[:, 1:]).sin()):
            want = (weight[:, None] * f(grid)).sum(0)
            error = f(x).std(0) / math.sqrt(n)
            # five standard errors; bias O(e) of the moves, for e = .05 below .01
            assert bool(((f(x).mean(0) - want).abs() < 5 * error + (0.01 if sweeps else 1e-9)).all())


def test_two_stages_with_a_score_that_the_reference_does_not_know(generator):
    """Langevin moves at T turn draws of a Gaussian reference law into draws of the bimodal p(x_T | y).

    With y = x_T + sigma n the posterior of x_0 is that of a later time: one more Gaussian of variance sigma^2.
    """
    ou = OrnsteinUhlenbeck(dim=1, components=2, spread=1.0, width=0.4, horizon=0.3)
    prior = ou.prior
    reference = LinearReference(
        ou, prior.mean(), (prior.weights * (prior.means - prior.mean()).square()[:, 0]).sum() + 0.16
    )
    observation, n = Observation(everything, 0.7), 20_000
    y = torch.tensor([[-0.3]], dtype=F64)
    posterior = Posterior(ou, ou.score, torch.linspace(0, 0.3, 13, dtype=F64))
    gain = math.exp(-ou.rate * 0.3)
    variance = ou.noise**2 * -math.expm1(-2 * ou.rate * 0.3) / (2 * ou.rate)
    exact = prior.given(y, gain, variance + 0.7**2)
    law = Mixture(exact.weights[0], exact.means[0], exact.covs[0])
    fresh = law.sample(400_000, generator=generator)
    gaps = []
    for sweeps in (0, 100):
        x = sample_given(
            posterior, observation, y, n, sweeps=sweeps, size=0.05, reference=reference, generator=generator
        )[0]
        errors = [float((f(x).mean() - f(fresh).mean()).abs()) for f in (torch.sin, lambda x: x**2, lambda x: x**4)]
        scales = [float(f(fresh).std()) / math.sqrt(n) for f in (torch.sin, lambda x: x**2, lambda x: x**4)]
        gaps.append([e / s for e, s in zip(errors, scales, strict=True)])
    assert max(gaps[0]) > 15  # standard errors: the reference alone is wrong
    assert max(gaps[1]) < 8  # five, and as much again as the finite size and twelve steps may cost


class Shouting(torch.nn.Module):
    """A network whose output would ruin every draw that used it as a score."""

    def forward(self, x, t):
        return 30 * torch.ones_like(x[:, : 2 * x.shape[1] // 3])


def test_the_network_of_a_smoother_is_no_score_of_the_end(generator):
    """Draws of x_T given y come from the smoother's reference law alone, whatever the network's output."""
    heat, law, _, observation = gaussian_heat(0.5)
    n, like = 5000, torch.zeros(1, *heat.shape, dtype=F64)
    now = [heat.decay(0.0, t, like)[0] ** 2 * law.power + heat.variance(0.0, t, like)[0] for t in heat.times]
    mean = torch.stack(
        [heat.unmodes(heat.decay(0.0, t, like) * heat.modes(law.mean0[None]), like)[0] for t in heat.times]
    )
    power, gain = torch.stack(now), torch.zeros(len(now) - 1, *now[0].shape, dtype=F64)
    far, never = torch.full_like(power, 1e30), torch.zeros_like(gain, dtype=torch.bool)
    box = torch.tensor([-1e30, 1e30], dtype=F64).reshape(1, 2, 1, 1).expand(len(gain), 2, 1, 1)
    tables = Tables(heat.times, mean, power, far, mean[1:], power[1:], far[1:], box, gain, never, torch.ones_like(gain))
    reference = SmootherReference(heat, "fourier", tables)
    posterior = Posterior(heat, ScoreModel(reference, Shouting(), (float(heat.times[1]), heat.horizon)), heat.times)
    y = observation.observe(heat.simulate(1, generator=generator, dtype=F64)[:, -1], generator=generator)
    drawn = sample_final(posterior, observation, y, n, generator=generator)[0]
    K, C, G, _ = dense(heat, now[-1], observation, heat.horizon)
    centre = (mean[-1].flatten() + (y.flatten() - G @ mean[-1].flatten()) @ K.T).reshape(heat.shape)
    assert_standard(whitened(drawn, centre, C))
    with pytest.raises(ValueError, match="score at every time, got steps over stored intervals; take sample_given"):
        sample_guided(posterior, observation, y, 1, generator=generator)


def test_batches_in_work_do_not_mix_observations(generator):
    """Seven observations in batches of five states: each draw belongs to its own y."""
    heat, law, posterior, observation = gaussian_heat(0.1)
    small = Posterior(heat, posterior.score, heat.times, batch=5)
    final = (
        10 * torch.arange(7, dtype=F64).reshape(7, 1, 1, 1) + heat.simulate(7, generator=generator, dtype=F64)[:, -1]
    )
    y = observation.operator(final)
    for draw in (sample_given, sample_guided):
        level = draw(small, observation, y, 3, generator=generator).mean((2, 3, 4))
        want = law.given(observation).mean(y).mean((1, 2, 3))
        assert torch.allclose(level, want[:, None].expand(7, 3), atol=1.0)  # posterior spread of the mean about .1


@pytest.mark.parametrize("draw", [sample_given, sample_guided])
def test_draws_do_not_depend_on_the_memory_bound(draw, generator):
    heat, _, posterior, observation = gaussian_heat(0.1)
    y = observation.operator(heat.simulate(7, generator=generator, dtype=F64)[:, -1])
    drawn = [
        draw(Posterior(heat, posterior.score, heat.times, batch=batch), observation, y, 3, generator=seeded(5))
        for batch in (None, 4, 100)
    ]
    for other in drawn[1:]:
        assert torch.allclose(drawn[0], other, atol=1e-5)  # rounding of float32 tables; the spread is about .3
    assert not torch.allclose(drawn[0][:, 0], drawn[0][:, 1], atol=0.1)


def seeded(number):
    return torch.Generator().manual_seed(number)


def test_wrong_arguments_are_refused(generator):
    heat, _, posterior, observation = gaussian_heat(0.5)
    y = observation.operator(torch.zeros(2, 1, 4, 4, dtype=F64))
    for draw in (sample_given, sample_guided):
        with pytest.raises(ValueError, match="`n` must be at least 1"):
            draw(posterior, observation, y, 0)
        with pytest.raises(ValueError, match=r"`y` must hold what the operator makes, \(7,\)"):
            draw(posterior, observation, y[:, :3], 1)
        with pytest.raises(ValueError, match="`y` must be finite"):
            draw(posterior, observation, y / 0, 1)
        with pytest.raises(ValueError, match="`operator` must be linear"):
            draw(posterior, Observation(lambda x: coarse(4)(x) ** 2, 0.1), torch.zeros(1, 1, 1, 1), 1)
        with pytest.raises(ValueError, match="`reference` must be given"):
            draw(Posterior(heat, lambda x, t: -x, heat.times), observation, y, 1)
    well = DoubleWell(dimension=2)
    with pytest.raises(ValueError, match="`moment_matching` needs a Linear sde"):
        moment_matching(well, FIRST, (0.1, 0.5), torch.zeros(1, 2))
