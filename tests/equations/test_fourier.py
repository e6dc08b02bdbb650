"""The field FFT: normalisation, twin modes and wave numbers, against sums over plane waves and the full transform."""

import math

import pytest
import torch

from physinv.equations.fourier import (
    filtered,
    fourier,
    full_fourier,
    inverse_fourier,
    multiplicity,
    squared_wavenumbers,
    wavenumbers,
)

SPACES = [(8,), (7,), (4, 6), (5, 3), (4, 2, 3)]


def field(space, generator):
    return torch.randn((2, 3, *space), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("space", SPACES)
def test_parsevals_theorem_counts_twins(space, generator):
    x = field(space, generator)
    y = fourier(x)
    axes = tuple(range(2, x.ndim))
    assert torch.allclose((multiplicity(x) * y.abs().square()).sum(axes), x.square().sum(axes))
    assert int(multiplicity(x).sum()) == space[-1]
    assert torch.allclose(full_fourier(x).abs().square().sum(axes), x.square().sum(axes))


@pytest.mark.parametrize("space", SPACES)
def test_there_and_back_and_with_axes_in_front(space, generator):
    x = field(space, generator)
    assert torch.allclose(inverse_fourier(fourier(x), space), x)
    stacked = x[None].expand(4, *x.shape)
    assert torch.equal(fourier(stacked, len(space))[3], fourier(x))
    assert torch.equal(full_fourier(x)[..., : space[-1] // 2 + 1], full_fourier(x)[..., : fourier(x).shape[-1]])


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("space", SPACES)
def test_a_plane_wave_lies_at_its_wave_number(space, full, generator):
    """cos(k . x) has the modes +-k alone, each of modulus sqrt(n)/2 (sqrt(n) where they are the same)."""
    k = [(n - 1) // 2 for n in space]
    grids = torch.meshgrid(*[2 * math.pi * torch.arange(n, dtype=torch.float64) / n for n in space], indexing="ij")
    wave = sum(q * g for q, g in zip(k, grids, strict=True)).cos()[None, None]
    modes = (full_fourier if full else fourier)(wave)[0, 0].abs()
    here = torch.ones_like(modes, dtype=torch.bool)
    for q, axis in zip(k, wavenumbers(space, full=full), strict=True):
        here = here & (axis == q)
    alone = all((2 * q) % n == 0 for q, n in zip(k, space, strict=True))
    size = math.sqrt(math.prod(space)) / (1 if alone else 2)
    assert torch.allclose(modes[here], torch.full_like(modes[here], size))
    assert int(here.sum()) >= 1
    far = squared_wavenumbers(space, full=full) != sum(q**2 for q in k)
    assert far.shape == modes.shape
    assert float(modes[far].abs().max()) < 1e-12 * size


def test_a_filter_multiplies_modes(generator):
    x = field((6, 5), generator)
    gain = torch.rand(6, 3, generator=generator, dtype=torch.float64)
    assert torch.allclose(filtered(x, gain), inverse_fourier(gain * fourier(x), (6, 5)))
