"""The standard error of a mean over numbers that follow each other."""

import pytest
import torch

from physinv.equations.series import effective_number, mean_error


def autoregression(generator, many, n, r):
    """Series of unit variance with the correlation r between neighbours."""
    x = torch.randn((many, n), generator=generator, dtype=torch.float64)
    for i in range(1, n):
        x[:, i] = r * x[:, i - 1] + (1 - r * r) ** 0.5 * x[:, i]
    return x


@pytest.mark.parametrize("r", [0.0, 0.6, 0.9])
def test_it_is_the_deviation_of_means(generator, r):
    n, many = 400, 500
    series = autoregression(generator, many, n, r)
    spread = float(series.mean(1).std())
    # The spread of 500 means is known to 3 %; correlations of 400 numbers to .05 at .0, so that (1 + r) / (1 - r) is
    # known to 10 % of its root at .6, and it is too small by 4 % at .9 since the mean is taken off first.
    assert float(mean_error(series).square().mean().sqrt()) == pytest.approx(spread, rel=0.12)


def test_independent_numbers_have_the_usual_error(generator):
    x = torch.randn((2000, 30), generator=generator, dtype=torch.float64)
    usual = x.std(1) / 30**0.5
    same = ((mean_error(x) / usual - 1).abs() < 1e-9).double().mean()
    assert float(same) == pytest.approx(0.98, abs=0.02)  # a normal number is beyond 2 in 2.3 % of the cases
    assert float((mean_error(x) / usual).min()) > 1 - 1e-9


def test_repeating_every_number_leaves_the_error(generator):
    """Windows that overlap say one thing several times."""
    x = torch.randn(40, generator=generator, dtype=torch.float64)
    once, often = float(mean_error(x)), float(mean_error(x.repeat_interleave(20)))
    assert often == pytest.approx(once, rel=0.5)
    assert often > 3 * float(x.repeat_interleave(20).std()) / 800**0.5


def test_alike_numbers_count_for_less(generator):
    """Of an autoregression (1 - r) / (1 + r) of them count, and of independent numbers all."""
    assert float(effective_number(autoregression(generator, 200, 400, 0.6)).mean()) == pytest.approx(100, rel=0.1)
    free = effective_number(torch.randn(2000, 30, generator=generator))
    assert float((free == 30).double().mean()) == pytest.approx(0.98, abs=0.02)
