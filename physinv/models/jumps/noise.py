"""Stationary noise of unit variance with a given spectrum, on periodic grids and between walls."""

from __future__ import annotations

__all__ = ["coloured_noise", "noise_spectrum"]

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from physinv.equations.fourier import filtered, fourier


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
