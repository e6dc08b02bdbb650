"""Bands of wave numbers: large, middle and small scales of fields, with or without walls."""

from __future__ import annotations

__all__ = ["SCALES", "band_of_modes", "band_passed", "bands_of", "shells"]

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physinv.equations.fourier import filtered, squared_wavenumbers
from physinv.laws.wiener import mirrored
from physinv.processes.layout import StateLayout

SCALES = ("large", "middle", "small")
"""Names of the bands 1 to 3; band 0 is the mean."""


def shells(layout: StateLayout) -> Int64[Tensor, "*modes"]:
    """Return the whole part of the wave number of each mode, in units of the lowest one.

    Args:
        layout: Layout of fields; those that do not wrap around are continued by their mirror image.

    Returns:
        One number for each mode of the real Fourier transform.
    """
    like = mirrored(torch.zeros(1, 1, *layout.shape[1:]), layout.periodic)
    return (squared_wavenumbers(tuple(like.shape[2:])).sqrt() + 1e-9).long()


def band_of_modes(layout: StateLayout) -> Int64[Tensor, "*modes"]:
    """Return the band of each mode: 0 for the mean, 1 to 3 of equal width on a logarithmic axis of wave numbers.

    Args:
        layout: Layout of fields.

    Example:
        >>> from physinv.processes.layout import FieldLayout
        >>> band_of_modes(FieldLayout("u", "x", [range(16)])).tolist()
        [0, 1, 2, 2, 3, 3, 3, 3, 3]
    """
    shell = shells(layout)
    width = (shell.amax().clamp(min=2).double().log() + 1e-9) / len(SCALES)
    band = 1 + (shell.clamp(min=1).double().log() / width + 1e-6).long().clamp(max=len(SCALES) - 1)
    return torch.where(shell == 0, torch.zeros_like(band), band)


def bands_of(layout: StateLayout) -> dict[str, int]:
    """Return the bands that hold any modes, by name.

    Args:
        layout: Layout of fields.
    """
    found = set(band_of_modes(layout).flatten().tolist())
    return {name: band for band, name in enumerate(SCALES, 1) if band in found}


def band_passed(x: Float[Tensor, "*lead channels *space"], layout: StateLayout, band: int) -> Tensor:
    """Return the part of fields that lies in one band.

    Args:
        x: Fields, with any number of leading axes.
        layout: Their layout.
        band: Number of the band, 0 for the mean.

    Returns:
        Fields of the same shape.
    """
    space = layout.shape[1:]
    flat = x.reshape(-1, *x.shape[-len(space) - 1 :])
    gain = (band_of_modes(layout) == band).to(flat)
    part = filtered(mirrored(flat, layout.periodic), gain)
    for axis, n in enumerate(space, 2):
        part = part.narrow(axis, 0, n)
    return part.reshape(x.shape)
