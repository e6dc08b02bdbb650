"""Exact posteriors against Bayes' rule computed otherwise: on a grid, by dense algebra, and by the law of total
probability.
"""

import math

import pytest
import torch

from physinv.laws.exact import LinearGaussian
from physinv.laws.mixture import Mixture
from physinv.laws.observation import Observation, jacobian
from physinv.laws.operators import coarse, every, everything, low_pass, random_mask, sensors
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
from simulators.vectors.quadratic import Quadratic


def test_mixture_posterior_is_bayes_rule_on_a_grid():
    ou = OrnsteinUhlenbeck(dim=1, components=3, spread=1.5)
    final = torch.tensor([[0.3], [-0.9]], dtype=torch.float64)
    x = torch.linspace(-4, 4, 4001, dtype=torch.float64)[:, None]
    gain, variance = math.exp(-ou.rate * 2), ou.noise**2 * (1 - math.exp(-2 * ou.rate * 2)) / (2 * ou.rate)
    posterior = ou.exact().posterior(final)
    for i in range(2):
        joint = ou.prior.log_prob(x) - (final[i] - gain * x[:, 0]) ** 2 / (2 * variance)
        weight = (joint - joint.max()).exp()
        weight = weight / weight.sum()
        mine = Mixture(posterior.weights[i], posterior.means[i], posterior.covs[i]).log_prob(x).exp()
        assert torch.allclose(mine * 0.002, weight, atol=1e-8)
        assert float(ou.exact().mean(final)[i, 0]) == pytest.approx(float(weight @ x[:, 0]), abs=1e-8)


@pytest.mark.parametrize("name", ["ou", "heat", "well"])
def test_samples_given_final_states_have_the_prior_as_their_law(name, generator):
    """The mean of p(x_0 | x_T) over x_T is p(x_0), and truth and samples are exchangeable."""
    sim = {"ou": OrnsteinUhlenbeck(), "heat": Heat(size=8), "well": DoubleWell()}[name]
    n = 3000
    x = sim.simulate(n, generator=generator, dtype=torch.float64)
    drawn = sim.exact().sample(x[:, -1], 9, generator=generator)
    assert drawn.shape == (n, 9, *sim.shape)
    ranks = (drawn.flatten(2)[..., 0] < x[:, 0].flatten(1)[:, :1]).sum(1)
    counts = torch.bincount(ranks, minlength=10).double()
    chi2 = float(((counts - n / 10) ** 2 / (n / 10)).sum())
    assert chi2 < 9 + 4 * math.sqrt(18)  # chi-squared, nine degrees of freedom
    mean = sim.exact().mean(x[:, -1])
    spread = float((drawn - mean[:, None]).square().mean())
    assert spread == pytest.approx(float((x[:, 0] - mean).square().mean()), rel=0.1)


@pytest.mark.parametrize("name", ["ou", "heat", "well", "quadratic"])
def test_flow_maps_the_final_law_onto_the_prior(name, generator):
    sim = {"ou": OrnsteinUhlenbeck(), "heat": Heat(size=8), "well": DoubleWell(), "quadratic": Quadratic()}[name]
    n = 1500  # five standard errors of the second moments are .2 of them: wrong laws miss by more
    x = sim.simulate(n, generator=generator, dtype=torch.float64)
    back = sim.exact().flow(x[:, -1])
    for moment in (1, 2):
        ours, prior = back.pow(moment).flatten(1).mean(1), x[:, 0].pow(moment).flatten(1).mean(1)
        error = float((ours.var() + prior.var()).sqrt()) / math.sqrt(n)
        assert float(ours.mean()) == pytest.approx(float(prior.mean()), abs=5 * error + 2e-3)


def test_linear_gaussian_with_a_mean(generator):
    """A prior mean shifts the whole problem: the posterior of x + m is the posterior of x, plus m."""
    heat = Heat(size=8)
    like = torch.zeros(1, *heat.shape, dtype=torch.float64)
    mean0 = torch.randn(heat.shape, generator=generator, dtype=torch.float64)
    plain = heat.exact()
    moved = LinearGaussian(heat, heat.horizon, mean0, plain.power)
    final = heat.simulate(3, generator=generator, dtype=torch.float64)[:, -1]
    shift = heat.unmodes(
        heat.decay(0.0, torch.full((1,), heat.horizon, dtype=torch.float64), like) * heat.modes(mean0[None]), like
    )
    for name in ("mean", "flow"):
        assert torch.allclose(getattr(moved, name)(final + shift), getattr(plain, name)(final) + mean0, atol=1e-10)


@pytest.mark.parametrize("operator", [sensors(random_mask((1, 4, 4), 0.4)), coarse(2), every(2), low_pass(1)])
def test_linear_gaussian_given_an_observation_is_dense_conditioning(operator, generator):
    """p(x_0 | y) and p(x_T | y) equal Bayes' rule in precision form with 16 x 16 matrices, in mean and covariance."""
    heat = Heat(size=4, noise=0.5)
    mean0 = torch.randn(heat.shape, generator=generator, dtype=torch.float64)
    law = LinearGaussian(heat, heat.horizon, mean0, heat.exact().power + 0.05)
    observation, n = Observation(operator, 0.2), 20_000
    eye = torch.eye(16, dtype=torch.float64).reshape(16, 1, 4, 4)
    start, end = (torch.full((16,), t, dtype=torch.float64) for t in (0.0, heat.horizon))
    S = heat.unmodes(law.power * heat.modes(eye), eye).flatten(1)
    A = heat.drift_flow(eye, start, end).flatten(1).T
    V = heat.apply_covariance(eye, start, end).flatten(1)
    H = jacobian(operator, eye[:1]).flatten(1)
    m = mean0.flatten()
    y = observation.observe(heat.drift_flow(mean0[None], start[:1], end[:1]), generator=generator)
    posterior = law.given(observation)
    end_mean = lambda y: posterior.mean_at(y, [heat.horizon])  # noqa: E731
    end_draw = lambda y, n, generator: posterior.sample_at(y, n, [heat.horizon], generator=generator)  # noqa: E731
    for prior, mean, forward, left, got_mean, draw in (
        (S, m, H @ A, H @ V @ H.T, posterior.mean, posterior.sample),
        (A @ S @ A.T + V, A @ m, H, torch.zeros(len(H), len(H)), end_mean, end_draw),
    ):
        R = left + 0.2**2 * torch.eye(len(H), dtype=torch.float64)
        C = torch.linalg.inv(torch.linalg.inv(prior) + forward.T @ torch.linalg.solve(R, forward))
        want = mean + C @ forward.T @ torch.linalg.solve(R, y.flatten() - forward @ mean)
        assert torch.allclose(got_mean(y).flatten(), want, atol=1e-10)
        x = draw(y, n, generator=generator)[0].flatten(1)
        white = torch.linalg.solve_triangular(torch.linalg.cholesky(C), (x - want).T, upper=False)
        # whitened draws are N(0, I): standard errors of means 1/sqrt(n), of (co)variances at most sqrt(2/n); five each
        assert torch.allclose(white.mean(1), torch.zeros(16, dtype=torch.float64), atol=5 / math.sqrt(n))
        assert torch.allclose(white @ white.T / n, torch.eye(16, dtype=torch.float64), atol=5 * math.sqrt(2 / n))


def test_a_sharp_observation_of_everything_is_the_final_state(generator):
    heat = Heat(size=8)
    final = heat.simulate(3, generator=generator, dtype=torch.float64)[:, -1]
    exact = heat.exact()
    assert torch.allclose(exact.given(Observation(everything, 1e-8)).mean(final), exact.mean(final), atol=1e-6)
