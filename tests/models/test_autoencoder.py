"""Codes of fields: principal components where fields are Gaussian, less lost than these where they are not."""

import math

import numpy as np
import pytest
import torch

from physinv.config.settings import Settings
from physinv.models.autoencoder import axis_code, coarse_layout, fit_code
from physinv.processes.layout import FieldLayout

SETTINGS = Settings(network="tokens", width=16, depth=2)
LINE = FieldLayout("u", "x", [range(32)])


def gaussian(n, generator, shape=(32,)):
    """Periodic fields whose power falls as |k|^-2 along every axis."""
    white = torch.randn(n, 1, *shape, generator=generator)
    for axis in range(2, 2 + len(shape)):
        k = torch.fft.fftfreq(white.shape[axis], 1 / white.shape[axis]).abs()
        gain = (1 / (1 + k)).reshape(-1, *[1] * (white.ndim - 1 - axis))
        white = torch.fft.ifft(torch.fft.fft(white, dim=axis) * gain, dim=axis).real
    return white


@pytest.mark.parametrize("wraps", [True, False])
def test_the_code_of_an_axis_keeps_its_smoothest_waves(wraps):
    """D E is a projection of rank m; constants, and waves along the axis, stay what they are."""
    code = axis_code(32, 8, wraps=wraps)
    back = code.T * 4
    assert torch.allclose(code @ back, torch.eye(8, dtype=torch.float64), atol=1e-12)
    x = (torch.arange(32, dtype=torch.float64) + (0 if wraps else 0.5)) / 32
    coarse = (torch.arange(8, dtype=torch.float64) + (0 if wraps else 0.5)) / 8
    for k in (0, 1, 3):
        wave, kept = (torch.cos((2 if wraps else 1) * math.pi * k * place) for place in (x, coarse))
        assert torch.allclose(code @ wave, kept, atol=1e-12)
        assert torch.allclose(back @ kept, wave, atol=1e-12)
    fast = torch.cos((2 if wraps else 1) * math.pi * 11 * x)
    assert torch.allclose(code @ fast, torch.zeros(8, dtype=torch.float64), atol=1e-12)


def test_an_untrained_code_loses_the_tail_of_the_spectrum_which_is_that_of_principal_components(generator):
    """In one dimension, where the smoothest waves are those of the largest variance."""
    x = gaussian(4000, generator)
    code = fit_code(LINE, x, SETTINGS, factor=4)
    with torch.no_grad():
        lost = float((x - code.decode(code.encode(x))).square().sum()) / len(x)
    # 8 of 32 waves are kept: 0, +-1, +-2, +-3 and the cosine of 4
    power = np.abs(np.fft.fft(x[:, 0].numpy() - float(x.mean()), norm="ortho")) ** 2
    tail = power.mean(0)[4:29].sum() - power.mean(0)[4]
    assert lost == pytest.approx(tail, rel=0.02)  # the sine and the cosine of 4 have half each, to 3 % of 1/8
    variances = torch.linalg.eigvalsh(x[:, 0].T.cov())
    assert lost == pytest.approx(float(variances[:24].sum()), rel=0.03)  # of the sample, a little below the law's
    assert code.noise.square() * code.scale.flatten() ** 2 * 24 == pytest.approx(lost, rel=1e-3)


def test_draws_have_the_power_of_the_field_at_every_wave(generator):
    """Also at those that the code lost; in two dimensions, where blocks and their inverse have to fit."""
    layout = FieldLayout("u", ("x", "y"), [range(16), range(8)])
    x = gaussian(3000, generator, (16, 8))
    code = fit_code(layout, x, SETTINGS, factor=2)
    code.measure(x)
    with torch.no_grad():
        drawn = code.draw(code.encode(x), generator=generator)
    found, want = (torch.fft.fft2(y - y.mean()).abs().square().mean((0, 1)) for y in (drawn, x))
    # three thousand draws, of a real mode at worst
    assert float((found / want - 1).abs().max()) < 5 * (2 / 3000) ** 0.5
    assert coarse_layout(layout, 2).shape == (1, 8, 4)


def test_the_bound_of_gaussian_fields_is_close_to_their_density_and_below_it(generator):
    """Wave by wave: kept ones count as S + s^2 in the place of S, lost ones as their mean s^2."""
    x = gaussian(3000, generator)
    code = fit_code(LINE, x, SETTINGS, factor=4)
    with torch.no_grad():
        bound = sum(float(code.loss(x, generator)) for _ in range(4)) / 4
    u = ((x - code.mean) / code.scale)[:, 0].double()
    variances = torch.linalg.eigvalsh(u.T.cov())
    entropy = 0.5 * float((2 * math.pi * math.e * variances).log().mean())
    lost, kept = variances[:24], variances[24:]
    gap = 0.5 * float((lost.mean() / lost).log().sum() + (1 + lost.mean() / kept).log().sum()) / 32
    # 12000 draws of the noise of 8 numbers; principal components of a sample differ from waves by a few thousandths
    assert gap > 0.05
    assert bound == pytest.approx(entropy + gap, abs=0.01)


def test_networks_find_steps_that_no_linear_code_tells(generator):
    """Fields of two values with two steps: after training less than 60 % of the linear code's error is left."""

    def steps(n):
        a, b = torch.rand(2, n, 1, 1, generator=generator) * 32
        place = torch.arange(32.0)
        return torch.where(((place - a) % 32) < 8 + b / 4, 1.0, -1.0)

    code = fit_code(LINE, steps(2000), SETTINGS, factor=4)
    test = steps(500)

    @torch.no_grad()
    def error():
        return float((test - code.decode(code.encode(test))).square().mean())

    before = error()
    optimiser = torch.optim.Adam(code.network.parameters(), lr=5e-3)
    for _ in range(150):
        optimiser.zero_grad()
        code.loss(steps(128), generator).backward()
        optimiser.step()
    assert error() < 0.6 * before


def test_fields_that_cannot_be_divided_are_refused():
    with pytest.raises(ValueError, match="`factor` must be 2 or more, and divide 32 points into 2 or more, got 32"):
        coarse_layout(LINE, 32)
    with pytest.raises(ValueError, match="without masks and static channels"):
        coarse_layout(LINE.with_static(["wall"]), 2)


def test_draws_of_trained_codes_have_the_power_of_the_fields(generator):
    """Decoders are trained on codes with noise, and shrink what they cannot tell from it; the rest makes up for it."""
    x = gaussian(1200, generator)
    code = fit_code(LINE, x[:800], SETTINGS, factor=2)
    optimiser = torch.optim.Adam(code.network.parameters(), 3e-3)
    for _ in range(250):
        optimiser.zero_grad()
        code.loss(x[torch.randint(800, (64,), generator=generator)], generator).backward()
        optimiser.step()
    code.measure(x[800:])
    with torch.no_grad():
        drawn = code.draw(code.encode(x[800:]), generator=generator)
    ours, theirs = (torch.fft.rfft(u)[:, 0].abs().square().mean(0)[1:] for u in (drawn, x[800:]))
    # .05 is the error of the power of a wave of 400 fields; 15 waves
    assert float((ours / theirs - 1).abs().max()) < 0.15
    assert float((ours / theirs)[4:8].mean()) == pytest.approx(1, abs=0.05)
