"""Priors that are given to classical methods: Gaussian laws in closed form, and a skew one against quadrature."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.laws.observation import Observation
from physinv.laws.prior import Prior
from physinv.methods.classical.coordinates import coordinates_of
from physinv.methods.classical.gaussian_prior import gaussian_prior_of
from physinv.methods.classical.monte_carlo.diagnostics import effective_draws
from physinv.methods.problem import NotApplicableError, Problem
from physinv.methods.registry import fit_method
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, horizon=1.0, steps=2)


@dataclass(frozen=True)
class Skew(Prior):
    """The law of ``e^u``, u standard normal: log-normal."""

    def draw(self, n, *, generator=None):
        return self.decode(torch.randn(n, 1, generator=generator))

    def log_prob(self, x):
        return torch.distributions.LogNormal(0.0, 1.0).log_prob(x).sum(1)

    def score(self, x):
        return -(1 + x.log()) / x

    def decode(self, u):
        return u.exp()

    def encode(self, x):
        return x.clamp(min=1e-3).log()


def problem(prior, generator, n=400):
    """The OU process from draws of a prior."""
    states = OU.run(prior.draw(n, generator=generator), OU.times, generator=generator)
    header = Header("ou", OU.layout, (1,), tuple(OU.times.tolist()), n, {}, {})
    data = TrajectoryDataset.of_states(states, header, Path("ou"))
    return Problem(OU, data, data, prior=prior)


def posterior_moments(seen, gain, variance):
    """Mean and deviation of ``x = e^u`` given ``seen = gain x + N(0, variance)``, by quadrature."""
    u = torch.linspace(-8, 8, 20001, dtype=torch.float64)
    log_weight = -(u**2) / 2 - (seen - gain * u.exp()) ** 2 / (2 * variance)
    w = (log_weight - log_weight.max()).exp()
    mean = float((w * u.exp()).sum() / w.sum())
    return mean, math.sqrt(float((w * u.exp() ** 2).sum() / w.sum()) - mean**2)


def test_the_gaussian_prior_is_a_prior_in_closed_form(generator):
    x = torch.randn(500, 3, generator=generator) @ torch.tensor([[2.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 0.2]]) + 4
    own = OrnsteinUhlenbeck(dim=3)
    prior = gaussian_prior_of(own, x, known=False)
    assert isinstance(prior, Prior)
    C = prior.covariance.apply(torch.eye(3, dtype=torch.float64))
    law = torch.distributions.MultivariateNormal(prior.mean, C)
    at = x[:5].double()
    assert torch.allclose(prior.log_prob(at), law.log_prob(at), atol=1e-9)
    assert torch.allclose(prior.score(at), -torch.linalg.solve(C, (at - prior.mean).T).T, atol=1e-9)
    assert torch.allclose(prior.decode(prior.encode(at)), at, atol=1e-9)
    drawn = prior.draw(20000, generator=generator).double()
    assert torch.allclose(drawn.T.cov(), C, atol=5 * math.sqrt(2 / 20000) * float(C.max()))


def test_monte_carlo_with_a_given_prior_draws_its_posterior(generator):
    """By quadrature the means are .66 and 2.99; under N(0, 1), the prior of the process, .35 and 2.31."""
    answer = fit_method("mcmc", problem(Skew(), generator), {"iterations": 150, "most": 1})
    seen = torch.tensor([[0.3], [2.0]])
    a, v = math.exp(-0.5), 0.25 * (1 - math.exp(-1.0))
    found = answer.explore(seen, generator=generator)
    for row, count, value in zip(found.draws, found.effective.tolist(), (0.3, 2.0), strict=True):
        mean, deviation = posterior_moments(value, a, v)
        assert count > 200
        assert float(row.mean()) == pytest.approx(mean, abs=4 * deviation / math.sqrt(count))
        squares = float(effective_draws((row[None] - row.mean()).square()))  # fewer: draws that alternate repeat them
        assert float(row.std()) == pytest.approx(deviation, rel=4 / math.sqrt(2 * squares))


@pytest.mark.parametrize("method", ["gauss-newton", "lbfgs"])
def test_the_variational_minimum_is_that_of_the_given_prior(method, generator):
    """The smallest ``u^2/2 + r^2/2``, by a fine grid; final states seen whole, and a sensor at the end."""
    some = problem(Skew(), generator)
    answer = fit_method(method, some)
    a, v = math.exp(-0.5), 0.25 * (1 - math.exp(-1.0))
    seen = torch.tensor([[0.3], [2.0]])
    u = torch.linspace(-6, 3, 90001, dtype=torch.float64)

    def lowest(noise):
        cost = u**2 / 2 + (seen.double() - a * u.exp()) ** 2 / (2 * (v + noise**2))
        return u[cost.argmin(1)].exp()[:, None].float()

    assert torch.allclose(answer.mean(seen), lowest(0.0), atol=2e-3)
    given = answer.given(Observation(lambda x: x, 0.5))
    assert torch.allclose(given.mean(seen), lowest(0.5), atol=5e-3)


def test_priors_are_refused_where_states_have_more_than_they_are_a_law_of(generator):
    some = problem(Skew(), generator, n=20)
    assert coordinates_of(some).mean.shape == (1,)
    walls = replace(some, simulator=_with_static(), prior=Skew())
    with pytest.raises(NotApplicableError, match="stiffness is static here"):
        coordinates_of(walls)


def _with_static():
    @dataclass(frozen=True)
    class Static(OrnsteinUhlenbeck):
        """The process with a number that stays."""

        @property
        def layout(self):
            return super().layout.with_static(["stiffness"])

    return Static(dim=1)
