"""Noise of draws of fields: unit variance, the correlations and the spectrum of the errors, none across walls."""

import pytest
import torch

from physinv.models.jumps.field_noise import FieldNoise, filter_modes, noise_spectrum

N = 20_000  # examples: means of their products are known to 4 / N^(1/2) = .03


def moving_average(generator, periodic):
    """Fields of 16 points with correlations 1, 2/3, 1/3, 0 at distances 0, 1, 2, 3."""
    z = torch.randn(N, 1, 18, generator=generator)
    z = torch.cat([z[..., :16], z[..., :2]], dim=-1) if periodic else z
    return (z[..., :-2] + z[..., 1:-1] + z[..., 2:]) / 3**0.5


def noise_of(periodic):
    return FieldNoise(1, 1, periodic, (9,) if periodic else (17,))


def test_without_errors_there_is_no_noise(generator):
    z = torch.cat([torch.randn(50, 1, 8, generator=generator), torch.zeros(50, 1, 8)], 1)
    power = noise_spectrum(z, True)
    assert float(power[0].min()) > 0
    assert torch.equal(power[1], torch.zeros(5))


@pytest.mark.parametrize("periodic", [True, False])
def test_it_has_the_correlations_that_it_was_fitted_to(periodic, generator):
    noise, one = noise_of(periodic), torch.ones(N, 1, 16)
    noise.spectrum[0] = noise_spectrum(moving_average(generator, periodic), periodic)
    drawn = noise.draw(one, torch.ones(1, 9 if periodic else 17), 0, generator=generator)
    for distance, want in enumerate([1.0, 2 / 3, 1 / 3, 0.0]):
        want = want if periodic else want * (1 - distance / 16)  # between walls the correlations fade out
        assert float((drawn[..., 5] * drawn[..., 5 + distance]).mean()) == pytest.approx(want, abs=0.04)
    around = float((drawn[..., 0] * drawn[..., -1]).mean())
    assert around == pytest.approx(2 / 3 if periodic else 0.0, abs=0.04)


def test_the_power_is_one_on_average_over_all_modes(generator):
    z = torch.randn(50, 2, 8, 6, generator=generator, dtype=torch.float64).cumsum(-1)
    counted = torch.tensor([1.0, 2.0, 2.0, 1.0], dtype=torch.float64)  # of the last axis of 6 points
    power = (noise_spectrum(z, True) * counted).sum((-2, -1)) / 48
    assert torch.allclose(power, torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("size", [0.8, 1.2])
def test_a_fit_finds_the_size_of_errors_and_leaves_known_modes_alone(size, generator):
    """Errors without the shortest wave, whose deviation varies in space and was predicted wrong by a factor."""
    noise, free = noise_of(True), torch.ones(1, 9)
    free[:, 8] = 0.0
    deviation = (1.3 + (torch.arange(16) * 2 * torch.pi / 16).cos()).expand(N, 1, 16)
    gap = filter_modes(size * deviation * moving_average(generator, True), free, True)
    noise.fit(gap, deviation, free, 0, generator=generator)
    drawn = noise.draw(deviation, free, 0, generator=generator)
    assert float(torch.fft.rfft(drawn, norm="ortho")[..., 8].abs().max()) < 1e-5
    # variances are known to 1 %; the factor is one of a list with steps of .02, and 2 % of it are 4 % of the variance
    assert float(noise.factor) == pytest.approx(size, abs=0.03)
    assert float((drawn.square().mean(0) / gap.square().mean(0)).mean()) == pytest.approx(1.0, abs=0.07)


def test_modes_between_walls_are_those_of_the_mirrored_field(generator):
    """The mean mode of the mirrored field is the mean between the walls."""
    x = torch.randn(3, 1, 7, generator=generator)
    mean = torch.zeros(8)
    mean[0] = 1.0
    assert torch.allclose(filter_modes(x, mean, False), x.mean(-1, keepdim=True).expand_as(x), atol=1e-6)
