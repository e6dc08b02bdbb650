"""Wiener filters: exact for fields that are filtered, unbiased by what is absent, mirrored between walls."""

import pytest
import torch

from physinv.laws.wiener import filter_channels, mirrored, wiener_gains


def test_a_filter_is_found_again(generator):
    """y is a convolution of both channels of x without noise: the regression without a penalty is that convolution."""
    x = torch.randn(40, 2, 12, generator=generator, dtype=torch.float64)
    y = 0.5 * x[:, :1].roll(1, -1) - x[:, 1:].roll(-2, -1)
    (gain,) = wiener_gains(x, y, [0.0])
    assert gain.shape == (2, 1, 7)
    fresh = torch.randn(5, 2, 12, generator=generator)
    want = 0.5 * fresh[:, :1].roll(1, -1) - fresh[:, 1:].roll(-2, -1)
    assert torch.allclose(filter_channels(gain, fresh), want, atol=1e-5)


def test_noise_shrinks_the_gain_to_the_share_of_the_signal(generator):
    """For x = y + noise of equal power the gain is 1/2, and with a penalty of 1 (2 units of power more) 1/4."""
    y = torch.randn(20_000, 1, 4, generator=generator, dtype=torch.float64)
    x = y + torch.randn(y.shape, generator=generator, dtype=torch.float64)
    free, damped = wiener_gains(x, y, [0.0, 1.0])
    # 5 standard errors of a mean of 20 000 products, of which the largest of three powers is 2 % above 2
    assert torch.allclose(free, torch.full_like(free, 0.5), atol=0.03)
    assert torch.allclose(damped, torch.full_like(damped, 0.25), atol=0.03)


def test_fields_that_do_not_vary_explain_nothing(generator):
    y = torch.randn(5, 2, 6, generator=generator)
    (gain,) = wiener_gains(torch.zeros(5, 1, 6), y, [1e-4])
    assert torch.equal(gain, torch.zeros(1, 2, 4, dtype=gain.dtype))


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 1, 2, 3)])
def test_mirrored_fields_are_even_on_every_axis(shape, generator):
    x = torch.randn(shape, generator=generator)
    wide = mirrored(x, False)
    for axis in range(2, x.ndim):
        assert wide.shape[axis] == 2 * x.shape[axis]
        assert torch.equal(wide.flip(axis), wide)
    inner = (..., *[slice(0, n) for n in shape[2:]])
    assert torch.equal(wide[inner], x)
    assert mirrored(x, True) is x
