"""How rough fields are: total variation, zigzags and power by bands of wave numbers, of samples beside truths.

All of them are numbers of single fields, whose law over exact samples of many observations is that over the truths.
"""

from __future__ import annotations

__all__ = ["band_power", "total_variation", "zigzags"]

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.evaluation.spectra import radial_spectrum

_LEVEL = 0.01  # of the standard deviation: smaller differences count as level


def total_variation(x: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch channels"]:
    """Return the mean absolute difference of neighbouring points, averaged over the axes.

    Args:
        x: Fields.

    Returns:
        One number for each channel of each field, in the unit of the field.

    Example:
        >>> total_variation(torch.tensor([[[0.0, 1.0, 0.0, 0.0, 0.0]]]))
        tensor([[0.5000]])
    """
    steps = [x.diff(dim=axis).abs().flatten(2).mean(-1) for axis in range(2, x.ndim)]
    return torch.stack(steps).mean(0)


def zigzags(
    x: Float[Tensor, "batch channels *space"], size: Float[Tensor, " channels"]
) -> Float[Tensor, "batch channels"]:
    """Return the share of neighbouring differences that have different signs: up, level or down.

    Differences of less than a hundredth of ``size`` are level.  White noise has 2/3, whatever its amplitude beyond
    that; a step between two plateaus counts twice, a smooth extremum once.

    Args:
        x: Fields with at least 3 points along each axis.
        size: Size of each channel, such as its standard deviation over the truths.

    Returns:
        One share for each channel of each field, averaged over the axes.

    Example:
        >>> zigzags(torch.tensor([[[0.0, 0.0, 1.0, 1.0, 1.0]]]), torch.ones(1))
        tensor([[0.6667]])
    """
    level = _LEVEL * size.reshape(-1, *[1] * (x.ndim - 2))
    shares = []
    for axis in range(2, x.ndim):
        step = x.diff(dim=axis)
        sign = step.sign() * (step.abs() > level)
        shares.append((sign.diff(dim=axis) != 0).to(x.dtype).flatten(2).mean(-1))
    return torch.stack(shares).mean(0)


def band_power(x: Float[Tensor, "batch channels *space"], bands: int = 3) -> Float[Tensor, "batch channels bands"]:
    """Return the mean power in bands of wave numbers of equal width on a logarithmic axis, from 1 to the largest.

    Args:
        x: Fields with at least 8 points along each axis.
        bands: Number of bands.

    Returns:
        Power of each band per mode, the lowest wave numbers first, in the square of the unit of the field, float64.
    """
    k, power = radial_spectrum(x)
    k, power = k[1:], power[..., 1:]  # without the mean
    place = (bands * k.log() / k[-1].log()).long().clamp(0, bands - 1)
    return torch.stack([power[..., place == band].mean(-1) for band in range(bands)], dim=-1)
