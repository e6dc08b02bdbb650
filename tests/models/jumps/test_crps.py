"""The closed form of the score against its definition, another implementation, and its minimiser."""

import math

import pytest
import torch

from physinv.models.jumps.crps import gaussian_crps


@pytest.mark.parametrize(("value", "mean", "deviation"), [(0.3, -0.5, 0.7), (0.0, 0.0, 2.0), (-4.0, 1.0, 0.5)])
def test_it_is_the_integral_over_squared_distances_of_distributions(value, mean, deviation):
    """CRPS = integral of (F(x) - 1[x >= y])^2; split at y both parts are smooth, and 20 001 points give 1e-8."""

    def F(x):
        return torch.special.ndtr((x - mean) / deviation)

    low, high = mean - 12 * deviation, mean + 12 * deviation
    below, above = (torch.linspace(a, b, 20001, dtype=torch.float64) for a, b in ((low, value), (value, high)))
    integral = torch.trapezoid(F(below).square(), below) + torch.trapezoid((1 - F(above)).square(), above)
    found = gaussian_crps(*(torch.tensor(v, dtype=torch.float64) for v in (value, mean, deviation)))
    assert float(found) == pytest.approx(float(integral), abs=1e-6)


def test_it_agrees_with_scoringrules(generator):
    scoringrules = pytest.importorskip("scoringrules")
    y, m, s = (torch.randn(3, 50, generator=generator, dtype=torch.float64)).unbind(0)
    theirs = torch.as_tensor(scoringrules.crps_normal(y.numpy(), m.numpy(), s.exp().numpy()))
    assert torch.allclose(gaussian_crps(y, m, s.exp()), theirs, atol=1e-12)


def test_its_gradient_is_that_of_differences(generator):
    y, m, s = torch.randn(3, 20, generator=generator, dtype=torch.float64).unbind(0)
    inputs = [x.requires_grad_() for x in (y, m, s.detach().exp())]
    assert torch.autograd.gradcheck(gaussian_crps, inputs)


def test_mean_and_deviation_of_the_data_minimise_it(generator):
    """With 10^5 values of N(1, .5^2) the minimiser is within 5 standard errors, about 5 * .5 / 10^2.5."""
    y = 1 + 0.5 * torch.randn(100_000, generator=generator, dtype=torch.float64)
    mean, log = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimiser = torch.optim.LBFGS([mean, log], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = gaussian_crps(y, mean.expand_as(y), log.exp().expand_as(y)).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert float(mean.detach()) == pytest.approx(1.0, abs=0.008)
    assert float(log.detach().exp()) == pytest.approx(0.5, abs=0.008)
    # the least score is deviation / pi^(1/2)
    assert float(closure().detach()) == pytest.approx(0.5 / math.sqrt(math.pi), rel=0.02)
