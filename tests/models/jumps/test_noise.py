"""Coloured noise: unit variance, the correlations that it was fitted to, none across walls."""

import pytest
import torch

from physinv.models.jumps.noise import coloured_noise, noise_spectrum


def moving_average(z):
    """Fields with the correlations 1, 2/3, 1/3, 0 at distances 0, 1, 2, 3 along the last axis."""
    return (z[..., :-2] + z[..., 1:-1] + z[..., 2:]) / 3**0.5


@pytest.mark.parametrize("periodic", [True, False])
def test_it_has_the_correlations_that_it_was_fitted_to(periodic, generator):
    z = torch.randn(20_000, 1, 18, generator=generator, dtype=torch.float64)
    z = moving_average(torch.cat([z[..., :16], z[..., :2]], dim=-1) if periodic else z)
    like = torch.zeros(20_000, 1, 16, dtype=torch.float64)
    spectrum = noise_spectrum(z, periodic)
    drawn = coloured_noise(spectrum.expand(20_000, -1, -1), like, periodic, generator=generator)
    # between walls the correlations fade out by 1 - distance / 16; 4 standard errors of 20 000 products are .03
    for distance, want in enumerate([1.0, 2 / 3, 1 / 3, 0.0]):
        want = want if periodic else want * (1 - distance / 16)
        assert float((drawn[..., 5] * drawn[..., 5 + distance]).mean()) == pytest.approx(want, abs=0.04)
    around = float((drawn[..., 0] * drawn[..., -1]).mean())
    assert around == pytest.approx(2 / 3 if periodic else 0.0, abs=0.04)


def test_the_power_is_one_on_average_over_all_modes(generator):
    z = torch.randn(50, 2, 8, 6, generator=generator, dtype=torch.float64).cumsum(-1)
    power = noise_spectrum(z, True)
    counted = torch.tensor([1.0, 2.0, 2.0, 1.0], dtype=torch.float64)  # of the last axis of 6 points
    assert torch.allclose((power * counted).sum((-2, -1)) / 48, torch.ones(2, dtype=torch.float64))
