"""The factor of a spread is found from errors, as far as they are many and not alike."""

import math

import pytest
import torch

from physinv.evaluation.metrics import coverage
from physinv.models.increments import factor_of_mixture, spread_factor, spread_scores


def errors(generator, n, size, repeats=1, d=3):
    """Normal draws of unit spread, and errors of another size, each repeated."""
    noise = torch.randn(n, 16, d, generator=generator).repeat_interleave(repeats, 0)
    gap = size * torch.randn(n, d, generator=generator).repeat_interleave(repeats, 0)
    return spread_scores(noise, gap)


@pytest.mark.parametrize("size", [0.5, 0.8, 1.0, 1.7])
def test_many_errors_say_the_factor(size, generator):
    # 3000 errors know a deviation to 1.3 %, and the vertex of a parabola is off by a little more
    assert spread_factor(errors(generator, 1000, size)) == pytest.approx(size, rel=0.06)


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_the_unit_does_not_matter(scale, generator):
    noise, gap = torch.randn(50, 16, 2, generator=generator), torch.randn(50, 2, generator=generator)
    assert torch.allclose(spread_scores(scale * noise, scale * gap), spread_scores(noise, gap), rtol=1e-4)


def test_few_and_alike_errors_say_little(generator):
    """Four errors, and windows that overlap: fifty times the same four are no two hundred."""
    few = [spread_factor(errors(generator, 4, 2.0, d=1)) for _ in range(40)]
    alike = [spread_factor(errors(generator, 4, 2.0, 50, d=1)) for _ in range(40)]
    many = [spread_factor(errors(generator, 200, 2.0, d=1)) for _ in range(10)]
    logs = [math.fsum(map(math.log, found)) / len(found) for found in (few, alike, many)]
    assert max(logs[:2]) < 0.6 * math.log(2) < 0.9 * math.log(2) < logs[2]
    assert spread_factor(errors(generator, 1, 2.0)) == 1.0


def test_a_fault_of_a_sensor_does_not_set_the_spread(generator):
    """One error of a hundred is a thousand deviations: its slope counts as any other's, its size does not."""
    noise, gap = torch.randn(200, 16, 1, generator=generator), torch.randn(200, 1, generator=generator)
    gap[::100] = 1000.0
    assert spread_factor(spread_scores(noise, gap)) == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize("v", [0.1, 0.4])
def test_laws_together_miss_less_than_each_and_are_wider(v, generator):
    """Truths of variance 1, means of four laws off by variance v on top: each misses 1 + v, their mean 1 + v / 4.

    Draws of all have the variance 1 + 3 v / 4 around their mean.  A factor of the laws that ignores that covers more
    than 90 %.  Since the mean of a convex function is taken, the factor is up to 4 % too large here.
    """
    truth, means = (
        torch.randn(4000, 1, generator=generator),
        math.sqrt(v) * torch.randn(4, 4000, 1, generator=generator),
    )
    each = math.sqrt(1 + v)
    factor = factor_of_mixture(each, means, torch.ones_like(means))
    exact = math.sqrt((1 + v / 4) / (1 + 3 * v / 4))
    assert exact - 0.01 < factor < 1.04 * exact + 0.01 < each
    centre, noise = means.mean(0)[:, None], torch.randn(4, 4000, 64, 1, generator=generator)
    drawn = torch.cat(list(means[:, :, None] + noise), 1)
    far, near = (float(coverage(centre + f * (drawn - centre), truth)) for f in (each, factor))
    assert abs(near - 0.9) < 0.02  # 4 % of a spread are 1 % of coverage, and 4000 truths know it to .5 %
    # 2 * 1.645 phi(1.645) = .34 is the slope of coverage with the logarithm of a spread, at its right size
    assert far - near > 0.5 * 0.34 * math.log(each / factor)


def test_a_factor_of_laws_together_needs_several_laws_that_vary(generator):
    means = torch.randn(1, 50, 2, generator=generator)
    assert factor_of_mixture(1.3, means, torch.ones_like(means)) == pytest.approx(1.3)
    assert factor_of_mixture(1.3, means, torch.zeros_like(means)) == 1.3
    # laws that contradict each other by more than they say that they miss: their mean is as wrong as it is uncertain
    apart = torch.tensor([[-10.0], [10.0]])[:, None].expand(2, 50, 1)
    assert factor_of_mixture(1.0, apart, torch.ones_like(apart)) == pytest.approx(1.0, abs=0.01)
