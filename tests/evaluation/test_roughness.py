"""Total variation, zigzags and band power against what is known of noise, steps and waves."""

import math

import pytest
import torch

from physinv.evaluation.roughness import band_power, total_variation, zigzags


def test_total_variation_of_white_noise_and_of_a_slope(generator):
    """Differences of independent normal numbers have the mean absolute value 2 / pi^(1/2)."""
    noise = torch.randn((50, 2, 32, 32), generator=generator)
    assert float(total_variation(noise).mean()) == pytest.approx(2 / math.pi**0.5, rel=0.01)
    slope = 0.5 * torch.arange(16.0).expand(1, 1, 16)
    assert float(total_variation(slope)) == pytest.approx(0.5)
    assert total_variation(noise).shape == (50, 2)


@pytest.mark.parametrize("shape", [(200, 1, 64), (20, 1, 32, 32)])
def test_white_noise_changes_direction_in_two_of_three_places(shape, generator):
    """Of three independent numbers the middle one is the largest or smallest with probability 2/3."""
    noise = torch.randn(shape, generator=generator)
    # Level steps, below 1 % of the deviation, are .6 % of all: they add twice as many changes at most.
    assert float(zigzags(noise, torch.ones(1)).mean()) == pytest.approx(2 / 3, abs=0.015)


def test_zigzags_of_smooth_waves_are_their_extrema():
    x = torch.arange(64) * (2 * math.pi / 64)
    wave = (3 * x + 0.1).sin().reshape(1, 1, 64)
    assert float(zigzags(wave, torch.ones(1))) == pytest.approx(6 / 62, abs=1e-6)


def test_wiggles_far_below_the_size_of_the_field_are_level(generator):
    plateau = torch.where(torch.arange(32) < 16, -1.0, 1.0).reshape(1, 1, 32)
    wiggles = 1e-3 * torch.randn(plateau.shape, generator=generator)
    assert float(zigzags(plateau + wiggles, torch.ones(1))) == pytest.approx(2 / 30)
    assert float(zigzags(plateau + 100 * wiggles, torch.ones(1))) > 0.5


def test_band_power_finds_a_wave_in_its_band():
    """Thirds of log k from 1 to 16: up to 2.5, up to 6.3, beyond."""
    x = torch.arange(32) * (2 * math.pi / 32)
    for k, band in ((1, 0), (2, 0), (3, 1), (6, 1), (7, 2), (15, 2)):
        power = band_power((k * x).cos().reshape(1, 1, 32))[0, 0]
        assert int(power.argmax()) == band
        assert float(power.sum() / power.max()) == pytest.approx(1.0)


def test_band_power_of_white_noise_is_flat(generator):
    power = band_power(torch.randn((400, 1, 16, 16), generator=generator)).mean((0, 1)) * 256
    # 400 fields with at least 4 independent modes in a band: 5 standard errors of (2 / 1600)^(1/2)
    assert power.tolist() == pytest.approx([1.0, 1.0, 1.0], abs=0.18)
