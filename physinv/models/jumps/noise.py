"""Stationary noise of unit variance with a given spectrum, on periodic grids and between walls."""

from __future__ import annotations

__all__ = ["coloured_noise", "filter_modes", "noise_shape", "noise_spectrum"]

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from physinv.equations.fourier import filtered, fourier, multiplicity
from physinv.laws.wiener import mirrored

_MOST = 3.0  # largest factor of a mode of noise


def coloured_noise(
    spectrum: Float[Tensor, "batch channels *modes"],
    like: Float[Tensor, "batch channels *space"],
    periodic: bool,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch channels *space"]:
    """Draw noise of unit variance with a spectrum, independent for all states and channels.

    With walls the noise is cut from a periodic box of twice the size.

    Args:
        spectrum: Power of every mode, as :func:`noise_spectrum` returns it.
        like: Fields of the shape, dtype and device in question.
        periodic: Whether the box is periodic.
        generator: Source of the noise, on the device of ``like``.

    Returns:
        Noise of the shape of ``like``.
    """
    space = like.shape[2:] if periodic else tuple(2 * n for n in like.shape[2:])
    z = torch.randn((*like.shape[:2], *space), generator=generator, dtype=like.dtype, device=like.device)
    out = filtered(z, spectrum.sqrt())
    for axis, n in enumerate(like.shape[2:], 2):
        out = out.narrow(axis, 0, n)
    return out


def noise_spectrum(z: Float[Tensor, "n channels *space"], periodic: bool) -> Float[Tensor, "channels *modes"]:
    """Estimate the spectrum of stationary noise of unit variance from examples.

    With walls it is the spectrum of the autocorrelation, which fades out linearly to the distance of the walls, where
    few pairs of points are left to estimate it from, on a periodic box of twice the size.

    Args:
        z: Examples, of mean 0 and about unit variance.
        periodic: Whether they are periodic.

    Returns:
        Power of every mode; white noise has 1.

    Example:
        >>> noise_spectrum(torch.tensor([[[1.0, -1.0, 1.0, -1.0]]]), True)  # only the shortest wave
        tensor([[0., 0., 4.]])
    """
    if not periodic:  # zeros beyond the walls: then the periodic autocorrelation is that of the field times a triangle
        z = functional.pad(z, [v for n in reversed(z.shape[2:]) for v in (0, n)])
    power = fourier(z).abs().square().mean(0)
    points = z[0, 0].numel()
    total = z.square().mean(0).flatten(1).sum(1)
    return power * (points / total.clamp(min=torch.finfo(z.dtype).tiny)).reshape(-1, *[1] * (z.ndim - 2))


def filter_modes(
    x: Float[Tensor, "batch channels *space"], gain: Tensor, periodic: bool
) -> Float[Tensor, "batch channels *space"]:
    """Multiply every mode of fields by a gain; fields with walls are continued by their mirror image.

    Args:
        x: Fields.
        gain: Factors, broadcastable against the modes of ``x``, or of twice the points along each axis.
        periodic: Whether the box is periodic.

    Returns:
        Fields of the shape of ``x``.
    """
    out = filtered(mirrored(x, periodic), gain)
    for axis, n in enumerate(x.shape[2:], 2):
        out = out.narrow(axis, 0, n)
    return out


def noise_shape(
    gap: Float[Tensor, "n channels *space"],
    deviation: Float[Tensor, "n channels *space"],
    spectrum: Float[Tensor, "channels *modes"],
    periodic: bool,
) -> Float[Tensor, "channels *modes"]:
    """Compare the power of errors in every mode with that of noise times their deviation.

    Noise ``xi`` with autocorrelation ``C`` times a deviation ``d`` has the autocorrelation ``C(l) mean d(x) d(x + l)``;
    the product moves power into modes in which the errors have none.

    Args:
        gap: Errors.
        deviation: Their deviations.
        spectrum: Spectrum of the noise.
        periodic: Whether the box is periodic.

    Returns:
        Factor of each mode that gives noise times deviation the spectrum of the errors, at the same mean variance.
    """
    wide = mirrored(deviation, periodic)
    space, axes = tuple(wide.shape[2:]), tuple(range(1, wide.ndim - 1))
    power = fourier(wide).abs().square().mean(0)
    correlations = (torch.fft.irfftn(v, s=space, dim=axes, norm="forward") for v in (power, spectrum))
    points = math.prod(space)
    made = torch.fft.rfftn(math.prod(v / points for v in correlations), dim=axes).real
    wanted = fourier(mirrored(gap, periodic)).abs().square().mean(0)
    tiny = torch.finfo(gap.dtype).tiny
    least = 1e-9 * made.mean(dim=axes, keepdim=True).clamp(min=tiny)
    factor = (wanted / made.clamp(min=least)).sqrt().clamp(max=_MOST)
    left = _total(factor.square() * made, space) / _total(made, space).clamp(min=tiny)
    return factor / left.clamp(min=tiny).sqrt()


def _total(power: Float[Tensor, "channels *modes"], space: tuple[int, ...]) -> Float[Tensor, "channels *one"]:
    """Sum over all modes of the full transform."""
    axes = tuple(range(1, power.ndim))
    return (power * multiplicity(power.new_zeros(1, 1, *space))).sum(dim=axes, keepdim=True)
