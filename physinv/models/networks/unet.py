"""A small U-Net for fields in 1, 2 or 3 dimensions, periodic or with walls (Ronneberger et al. 2015)."""

from __future__ import annotations

__all__ = ["UNet", "unet"]

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from physinv.models.networks.layers import Dropout, embed, wrap
from physinv.processes.layout import StateLayout

_CONV: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


class UNet(nn.Module):
    """Map fields and a time to fields on the same grid by convolutions on several scales.

    Time enters each block as scale and shift of its channels. The last layer starts at zero: an untrained score model
    equals its reference law. A periodic network commutes with shifts by multiples of its ``stride = 2^levels``; for
    other boundaries the field is continued by 0 beyond every edge, which shows the network where the edges are.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        dimension: Number of axes of space: 1, 2 or 3.
        width: Channels at full resolution; each halving of the grid doubles them.
        levels: Halvings of the grid; every side must be divisible by ``2^levels``.
        frequencies: Sines and cosines of the time together, even.
        periodic: Whether convolutions wrap around the edges.
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
        periodic: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.levels, self.dimension, self.frequencies = levels, dimension, frequencies
        self.stride = 2**levels if periodic else 1
        widths = [width * 2**i for i in range(levels + 1)]
        hidden, self.around = 2 * width, wrap if periodic else _as_it_is
        self.time = nn.Sequential(nn.Linear(frequencies, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.first = _conv(dimension, inputs, width, periodic)
        self.down = nn.ModuleList(
            _Block(dimension, widths[max(i - 1, 0)], w, hidden, periodic, dropout) for i, w in enumerate(widths)
        )
        self.up = nn.ModuleList(
            _Block(dimension, widths[i + 1] + widths[i], widths[i], hidden, periodic, dropout)
            for i in reversed(range(levels))
        )
        self.last = _conv(dimension, width, outputs, periodic)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "batch inputs *space"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch outputs *space"]:
        """Return the output ``(batch, outputs, *space)`` for fields ``x`` at times ``t`` in [0, 1].

        Raises:
            ValueError: If a side of the grid is not divisible by ``2^levels``.
        """
        sides = x.shape[2:]
        if any(n % 2**self.levels for n in sides):
            raise ValueError(f"every side of the grid must be divisible by {2**self.levels}, got {tuple(sides)}.")
        time = self.time(embed(t, self.frequencies))
        x, skips = self.first(self.around(x)), []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else _POOL[self.dimension](x, 2), time)
            skips.append(x)
        x = skips.pop()
        for block in self.up:
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), skips.pop()], 1), time)
        out: Tensor = self.last(self.around(functional.silu(x)))
        return out


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
        ValueError: If the states are no fields, or a side of the grid is not divisible by ``2^depth``.
    """
    sides = layout.shape[1:]
    if not layout.space:
        raise ValueError(f"network `unet` is for fields, got states of shape {layout.shape}; leave `network` out.")
    if any(n % 2**depth for n in sides):
        raise ValueError(
            f"setting `depth` = {depth} needs grid sides divisible by {2**depth}, "
            f"got {'x'.join(map(str, sides))}; choose a smaller `depth` or another grid."
        )
    size = {"dimension": len(sides), "width": width, "levels": depth}
    return UNet(inputs, outputs, periodic=layout.periodic, dropout=dropout, **size)


class _Block(nn.Module):
    """Two convolutions with group norm, modulated by time, and a residual connection."""

    def __init__(self, dimension: int, inputs: int, outputs: int, hidden: int, periodic: bool, dropout: float) -> None:
        super().__init__()
        groups = next(g for g in (8, 4, 2, 1) if outputs % g == 0)
        self.around = wrap if periodic else _as_it_is
        self.conv1 = _conv(dimension, inputs, outputs, periodic)
        self.conv2 = _conv(dimension, outputs, outputs, periodic)
        self.norm1, self.norm2 = nn.GroupNorm(groups, outputs), nn.GroupNorm(groups, outputs)
        self.modulate = nn.Linear(hidden, 2 * outputs)
        self.dropout = Dropout(dropout)
        self.skip = nn.Identity() if inputs == outputs else _CONV[dimension](inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.modulate(time).reshape(len(x), -1, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        h = functional.silu(self.norm1(self.conv1(self.around(x)))) * (1 + scale) + shift
        out: Tensor = self.skip(x) + functional.silu(self.norm2(self.conv2(self.around(self.dropout(h)))))
        return out


def _conv(dimension: int, inputs: int, outputs: int, periodic: bool) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
    return _CONV[dimension](inputs, outputs, 3, padding=0 if periodic else 1)


def _as_it_is(x: Tensor) -> Tensor:
    return x
