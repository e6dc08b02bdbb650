"""A network that reads a field in one dimension whole: convolutions, then means and soft maxima over all points."""

from __future__ import annotations

__all__ = ["FieldReader"]

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

_KERNEL, _DILATIONS = 5, (1, 2, 4, 1)  # points of a convolution, and the distances between them in turn
_GROUPS = 4  # of channels, each normalised by itself


class FieldReader(nn.Module):
    """Map fields to numbers that do not depend on where on a periodic axis their structures lie.

    The input is the field and the difference between the neighbours of each point. What tells a viscosity, such as the
    width of a front beside its height, is local, and at no place that is known beforehand.

    Args:
        channels: Channels of the field.
        periodic: Whether the axis wraps around; else fields are continued by their last points.
        width: Channels inside; the output has twice as many numbers.
    """

    def __init__(self, channels: int, *, periodic: bool, width: int = 48) -> None:
        super().__init__()
        self.numbers = 2 * width
        self.mode: Literal["circular", "replicate"] = "circular" if periodic else "replicate"

        def convolution(inputs: int, dilation: int) -> nn.Module:
            reach = dilation * (_KERNEL // 2)
            return nn.Conv1d(inputs, width, _KERNEL, padding=reach, dilation=dilation, padding_mode=self.mode)

        self.first = convolution(2 * channels, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(_GROUPS, width), nn.SiLU(), convolution(width, d)) for d in _DILATIONS
        )

    def forward(self, x: Float[Tensor, "batch channels points"]) -> Float[Tensor, "batch numbers"]:
        """Return what is read.

        Args:
            x: Fields of about unit size.
        """
        around = nn.functional.pad(x, (1, 1), mode=self.mode)
        slope = (around[..., 2:] - around[..., :-2]) * math.sqrt(x.shape[2]) / 4
        h = self.first(torch.cat([x, slope], 1))
        for block in self.blocks:
            h = h + block(h)
        return torch.cat([h.mean(2), h.logsumexp(2) - math.log(x.shape[2])], 1)
