"""A small U-Net for fields in 1, 2 or 3 dimensions, periodic or with walls (Ronneberger et al. 2015)."""

from __future__ import annotations

__all__ = ["UNet", "unet"]

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from physinv.models.networks.layers import Dropout, continued, cut_to, embed, rimmed
from physinv.processes.layout import StateLayout

_CONV: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


class UNet(nn.Module):
    """Map fields and a time to fields on the same grid by convolutions on several scales.

    Time enters each block as scale and shift of its channels. The last layer starts at zero: an untrained score model
    equals its reference law. Along periodic axes the network commutes with shifts by multiples of its ``stride =
    2^levels``; beyond walls the field is continued by 0, which shows the network where they are. A side that is no
    multiple of ``2^levels`` is continued inside the network, periodically or by 0, and cut again: along a periodic axis
    the shifts then hold approximately.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        dimension: Number of axes of space: 1, 2 or 3.
        width: Channels at full resolution; each halving of the grid doubles them.
        levels: Halvings of the grid.
        frequencies: Sines and cosines of the time together, even.
        periodic: Whether convolutions wrap around the edges, for all axes or for each.
        dropout: Rate of the :class:`~physinv.models.networks.layers.Dropout` before the second convolution of each
            block; 0 for none.

    References:
        Ronneberger, Fischer and Brox (2015), U-Net: convolutional networks for biomedical image segmentation.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        dimension: int,
        width: int = 32,
        levels: int = 2,
        frequencies: int = 8,
        periodic: bool | Sequence[bool] = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.levels, self.dimension, self.frequencies = levels, dimension, frequencies
        self.periodic = (periodic,) * dimension if isinstance(periodic, bool) else tuple(periodic)
        self.stride = 2**levels if any(self.periodic) else 1
        widths, hidden = [width * 2**i for i in range(levels + 1)], 2 * width
        self.time = nn.Sequential(nn.Linear(frequencies, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.first = _conv(inputs, width, self.periodic)
        self.down = nn.ModuleList(
            _Block(widths[max(i - 1, 0)], w, hidden, self.periodic, dropout) for i, w in enumerate(widths)
        )
        self.up = nn.ModuleList(
            _Block(widths[i + 1] + widths[i], widths[i], hidden, self.periodic, dropout)
            for i in reversed(range(levels))
        )
        self.last = _conv(width, outputs, self.periodic)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "batch inputs *space"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch outputs *space"]:
        """Return the output ``(batch, outputs, *space)`` for fields ``x`` at times ``t`` in [0, 1]."""
        sides, time = x.shape[2:], self.time(embed(t, self.frequencies))
        x, skips = self.first(_around(continued(x, self.periodic, 2**self.levels), self.periodic)), []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else _POOL[self.dimension](x, 2), time)
            skips.append(x)
        x = skips.pop()
        for block in self.up:
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), skips.pop()], 1), time)
        out: Tensor = self.last(_around(functional.silu(x), self.periodic))
        return cut_to(out, sides)


def unet(
    inputs: int, outputs: int, *, layout: StateLayout, width: int = 16, depth: int = 2, dropout: float = 0.0
) -> UNet:
    """Make the U-Net for the fields of a layout: of its dimension, periodic where it is.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        layout: Layout of the fields.
        width: Channels at full resolution.
        depth: Halvings of the grid.
        dropout: Rate of the dropout layers.

    Returns:
        The network.

    Raises:
        ValueError: If the states are no fields, or there is nothing left to halve.
    """
    if not layout.space:
        raise ValueError(f"network `unet` is for fields, got states of shape {layout.shape}; leave `network` out.")
    side = max(layout.shape[1:])
    most = max(1, (side - 1).bit_length())
    if depth > most:
        raise ValueError(f"`depth` of a U-Net on {side} points can halve the grid {most} times at most, got {depth}.")
    size = {"dimension": len(layout.space), "width": width, "levels": depth}
    return UNet(inputs, outputs, periodic=layout.wraps, dropout=dropout, **size)


class _Block(nn.Module):
    """Two convolutions with group norm, modulated by time, and a residual connection."""

    def __init__(self, inputs: int, outputs: int, hidden: int, periodic: tuple[bool, ...], dropout: float) -> None:
        super().__init__()
        groups = next(g for g in (8, 4, 2, 1) if outputs % g == 0)
        self.periodic = periodic
        self.conv1, self.conv2 = _conv(inputs, outputs, periodic), _conv(outputs, outputs, periodic)
        self.norm1, self.norm2 = nn.GroupNorm(groups, outputs), nn.GroupNorm(groups, outputs)
        self.modulate = nn.Linear(hidden, 2 * outputs)
        self.dropout = Dropout(dropout)
        self.skip = nn.Identity() if inputs == outputs else _CONV[len(periodic)](inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.modulate(time).reshape(len(x), -1, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        h = functional.silu(self.norm1(self.conv1(_around(x, self.periodic)))) * (1 + scale) + shift
        out: Tensor = self.skip(x) + functional.silu(self.norm2(self.conv2(_around(self.dropout(h), self.periodic))))
        return out


def _conv(inputs: int, outputs: int, periodic: tuple[bool, ...]) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
    return _CONV[len(periodic)](inputs, outputs, 3, padding=1 - any(periodic))


def _around(x: Tensor, periodic: tuple[bool, ...]) -> Tensor:
    """Fields with a rim, unless convolutions put one of zeros around them themselves."""
    return rimmed(x, periodic) if any(periodic) else x
