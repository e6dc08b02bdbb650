"""Mixtures of a network's numbers: density against torch's distributions, draws and mean against the density."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from physinv.models.jumps.conditional_mixture import ConditionalMixture, mixture_loss, mixture_outputs


def random_mixture(dimension: int, components: int, batch: int = 3) -> ConditionalMixture:
    numbers = torch.randn(batch, mixture_outputs(dimension, components), generator=torch.Generator().manual_seed(1))
    return ConditionalMixture.of(0.7 * numbers, dimension, components)


def as_distribution(mixture: ConditionalMixture) -> MixtureSameFamily:
    factors = torch.linalg.inv(mixture.triangle)[:, None] * mixture.scales.exp()[..., None, :]
    return MixtureSameFamily(Categorical(logits=mixture.logits), MultivariateNormal(mixture.means, scale_tril=factors))


@pytest.mark.parametrize(("dimension", "components"), [(1, 1), (1, 4), (3, 2)])
def test_the_density_is_that_of_the_mixture_of_gaussians(dimension: int, components: int) -> None:
    mixture = random_mixture(dimension, components)
    x = torch.randn(3, dimension, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(mixture.log_prob(x), as_distribution(mixture).log_prob(x), atol=1e-5)


def test_a_density_of_one_number_integrates_to_one() -> None:
    mixture = random_mixture(1, 3, batch=1)
    grid = torch.linspace(-30, 30, 20001)[:, None]
    wide = ConditionalMixture(*(v.expand(len(grid), *v.shape[1:]) for v in vars(mixture).values()))
    assert math.isclose(float(torch.trapezoid(wide.log_prob(grid).exp(), grid[:, 0])), 1.0, abs_tol=1e-3)


def test_draws_have_the_mean_and_the_covariance_of_the_mixture() -> None:
    one = random_mixture(2, 3, batch=1)
    n = 40_000
    many = ConditionalMixture(*(v.expand(n, *v.shape[1:]) for v in vars(one).values()))
    draws, law = many.draw(generator=torch.Generator().manual_seed(3)), as_distribution(one)
    deviation = law.variance[0].sqrt()
    assert torch.allclose(one.mean(), law.mean, atol=1e-5)
    assert ((draws.mean(0) - law.mean[0]).abs() < 5 * deviation / n**0.5).all()
    exact = as_distribution(many).log_prob(draws).mean()  # minus the entropy: a wrong triangle is far off
    again = law.sample((n,))[:, 0]
    assert abs(float(exact - law.log_prob(again[:, None]).mean())) < 0.05


def test_components_of_an_untrained_mixture_differ() -> None:
    mixture = ConditionalMixture.of(torch.zeros(1, mixture_outputs(2, 4)), 2, 4)
    assert len(mixture.means[0].unique(dim=0)) == 4


@pytest.mark.parametrize(("dimension", "components"), [(1, 1), (1, 4), (2, 3), (4, 2)])
def test_the_loss_and_its_gradient_are_those_of_the_density(dimension: int, components: int) -> None:
    generator, count = torch.Generator().manual_seed(4), mixture_outputs(dimension, components)
    numbers = 2 * torch.randn(5, count, generator=generator, dtype=torch.float64)
    numbers[0, components:] *= 20  # some deviations beyond their limits, some components without any share
    x = torch.randn(5, dimension, generator=generator, dtype=torch.float64)
    numbers.requires_grad_()
    plain = -ConditionalMixture.of(numbers, dimension, components).log_prob(x).mean() / dimension
    loss = mixture_loss(numbers, x, components)
    assert torch.allclose(loss, plain, rtol=1e-12)
    found, right = (torch.autograd.grad(3 * value, numbers)[0] for value in (loss, plain))
    assert torch.allclose(found, right, rtol=1e-10, atol=1e-14)
    regular = numbers[1:].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda n: mixture_loss(n, x[1:], components), regular)
    with torch.no_grad():
        assert torch.equal(mixture_loss(numbers, x, components), loss)
