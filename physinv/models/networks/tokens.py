"""A network of matrix products for fields: blocks of grid points are tokens, which exchange numbers with neighbours."""

from __future__ import annotations

__all__ = ["TokenNet", "token_net"]

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from physinv.models.networks.layers import Dropout, HiddenLinear, continued, cut_to, embed
from physinv.processes.layout import StateLayout

_PATCH = 4  # points of a token along each axis
_REACHES = (1, 2, 4)  # distances in tokens at which the blocks listen, in turn


class TokenNet(nn.Module):
    """Map fields and a time to fields on the same grid by matrix products on blocks of the grid.

    The grid is cut into tokens of ``patch`` points along each axis, each a vector of ``width`` numbers. Every block
    adds to all tokens ``h`` at once

        h_i  <-  h_i + B silu(A [n_i, n_{i+d}, n_{i-d}, ...] + c(t)),    n = normalised h,

    with the neighbours of token ``i`` at distance ``d`` along every axis; ``d`` is 1, 2, 4, 1, 2, 4 and so on. Linear
    layers on vectors use a processor better than convolutions do: in equal time such a network is trained for several
    times more updates than a U-Net (``benchmarks/speed/tokens.py``).

    The last layer starts at zero. A periodic network commutes with shifts by whole tokens (``stride`` points). Along
    axes with walls the tokens beyond an edge are 0, which no normalised token is. A side that is no multiple of
    ``patch`` is continued inside the network, periodically or by 0, and cut again.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        periodic: For each axis of space, whether it wraps around.
        patch: Points of a token along each axis.
        width: Numbers of a token.
        depth: Number of blocks.
        frequencies: Sines and cosines of the time together, even.
        dropout: Rate of the dropout of the channels of each block; 0 for none.

    Raises:
        ValueError: If there are no axes, or ``patch``, ``width`` or ``depth`` is below 1.

    References:
        Tolstikhin et al. (2021), MLP-Mixer, for images as patches and matrix products; Yu and Koltun (2016) for growing
        distances.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        periodic: Sequence[bool],
        patch: int = _PATCH,
        width: int = 64,
        depth: int = 6,
        frequencies: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in {"periodic": len(periodic), "patch": patch, "width": width, "depth": depth}.items():
            if value < 1:
                raise ValueError(f"`{name}` of a token network must be 1 or more, got {value}; raise it.")
        self.periodic, self.patch, self.outputs, self.frequencies = tuple(periodic), patch, outputs, frequencies
        points = patch ** len(self.periodic)
        self.first = nn.Linear(inputs * points, width)
        self.blocks = nn.ModuleList(
            _Block(width, self.periodic, _REACHES[i % len(_REACHES)], frequencies, dropout) for i in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, outputs * points)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    @property
    def stride(self) -> int:
        """Number of different shifts along a periodic axis that the network sees as different."""
        return self.patch if any(self.periodic) else 1

    def forward(
        self, x: Float[Tensor, "batch inputs *space"], t: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch outputs *space"]:
        """Return the output ``(batch, outputs, *space)`` for fields ``x`` at times ``t`` in [0, 1]."""
        sides = x.shape[2:]
        time = embed(t, self.frequencies)
        h = self.first(_cut(continued(x, self.periodic, self.patch), self.patch))
        for block in self.blocks:
            h = block(h, time)
        return cut_to(_joined(self.last(self.norm(h)), self.outputs, self.patch), sides)


def token_net(
    inputs: int,
    outputs: int,
    *,
    layout: StateLayout,
    width: int = 64,
    depth: int = 6,
    dropout: float = 0.0,
) -> TokenNet:
    """Make the token network for the fields of a layout: of its dimension, periodic where it is.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        layout: Layout of the fields.
        width: Numbers of a token.
        depth: Number of blocks.
        dropout: Rate of the dropout layers.

    Returns:
        The network.

    Raises:
        ValueError: If the states are no fields.
    """
    if not layout.space:
        raise ValueError(f"network `tokens` is for fields, got states of shape {layout.shape}; leave `network` out.")
    return TokenNet(inputs, outputs, periodic=layout.wraps, width=width, depth=depth, dropout=dropout)


class _Block(nn.Module):
    """Two matrix products on a token and its neighbours at one distance along every axis, added to the token."""

    def __init__(self, width: int, periodic: tuple[bool, ...], reach: int, frequencies: int, dropout: float) -> None:
        super().__init__()
        self.periodic, self.reach = periodic, reach
        self.norm = nn.LayerNorm(width)
        self.gather = HiddenLinear((1 + 2 * len(periodic)) * width, width)
        self.time = nn.Linear(frequencies, width, bias=False)
        self.dropout = Dropout(dropout, axis=-1)
        self.back = HiddenLinear(width, width)
        nn.init.zeros_(self.time.weight)

    def forward(
        self, h: Float[Tensor, "batch *tokens width"], time: Float[Tensor, "batch frequencies"]
    ) -> Float[Tensor, "batch *tokens width"]:
        n = self.norm(h)
        around = [n]
        for axis, wraps in enumerate(self.periodic, 1):
            around += [_moved(n, axis, self.reach, wraps), _moved(n, axis, -self.reach, wraps)]
        shift = self.time(time).reshape(len(h), *[1] * len(self.periodic), -1)
        hidden = functional.silu(self.gather(torch.cat(around, dim=-1)) + shift)
        out: Tensor = h + self.back(self.dropout(hidden))
        return out


def _moved(h: Tensor, axis: int, by: int, wraps: bool) -> Tensor:
    """Tokens moved along an axis; beyond a wall there are zeros."""
    if wraps:
        return h.roll(by, axis)
    n = h.shape[axis]
    kept = max(n - abs(by), 0)
    empty = torch.zeros_like(h.narrow(axis, 0, n - kept))
    moved = [empty, h.narrow(axis, 0, kept)] if by > 0 else [h.narrow(axis, n - kept, kept), empty]
    return torch.cat(moved, dim=axis)


def _cut(x: Float[Tensor, "batch channels *space"], patch: int) -> Float[Tensor, "batch *tokens points"]:
    """Tokens of a field: all channels and points of each block of the grid as one vector."""
    axes = x.ndim - 2
    blocks = x.reshape(*x.shape[:2], *(m for n in x.shape[2:] for m in (n // patch, patch)))
    order = [0, *range(2, 2 + 2 * axes, 2), 1, *range(3, 3 + 2 * axes, 2)]
    return blocks.permute(order).flatten(axes + 1)


def _joined(h: Float[Tensor, "batch *tokens points"], channels: int, patch: int) -> Tensor:
    """The field with given tokens: the inverse of :func:`_cut`."""
    axes, tokens = h.ndim - 2, h.shape[1:-1]
    blocks = h.reshape(len(h), *tokens, channels, *[patch] * axes)
    order = [0, axes + 1, *(axis for i in range(axes) for axis in (1 + i, axes + 2 + i))]
    return blocks.permute(order).reshape(len(h), channels, *(n * patch for n in tokens))
