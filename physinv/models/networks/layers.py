"""Layers that several networks share: dropout with its own generator, hidden matrices, embedding of time, padding."""

from __future__ import annotations

__all__ = ["Dropout", "HiddenLinear", "continued", "cut_to", "dropping", "embed", "rimmed", "wrap"]

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function


class Dropout(nn.Module):
    """Set each channel of each member of the batch to 0 with a given probability, inside :func:`dropping` only.

    A channel is dropped on all other axes at once, since neighbours in space are alike (Tompson et al. 2015,
    section 3.2); what is kept grows by ``1 / (1 - rate)``. For vectors this is the dropout of Srivastava et al. (2014).
    Outside :func:`dropping` the layer is the identity, in training too.

    Args:
        rate: Probability of dropping a channel, in [0, 1).
        axis: Axis of the channels.

    Raises:
        ValueError: If ``rate`` is no probability below 1.

    References:
        Tompson et al. (2015), Efficient object localization using convolutional networks, section 3.2.
        Srivastava et al. (2014), Dropout: a simple way to prevent neural networks from overfitting.
    """

    def __init__(self, rate: float, *, axis: int = 1) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"`dropout` must be a probability below 1, got {rate}; 0 switches it off.")
        self.rate, self.axis = rate, axis
        self.generator: torch.Generator | None = None

    def forward(self, x: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch *rest"]:
        """Drop channels of ``x``."""
        if self.generator is None or self.rate == 0:
            return x
        shape = [1] * x.ndim
        shape[0], shape[self.axis] = x.shape[0], x.shape[self.axis]
        kept = torch.rand(shape, generator=self.generator, dtype=x.dtype, device=x.device) >= self.rate
        return x * kept / (1 - self.rate)


class HiddenLinear(nn.Linear):
    """Map hidden numbers to hidden numbers linearly, as ``torch.nn.Linear``; marks matrices for the optimiser Muon.

    Muon (:mod:`physinv.training.muon`) makes orthogonal steps for the matrices of these layers. First and last layers
    of a network, for which it is not meant, are plain ``torch.nn.Linear``.
    """


@contextmanager
def dropping(network: nn.Module, generator: torch.Generator | None) -> Iterator[None]:
    """Switch the :class:`Dropout` layers of a network on inside a ``with`` block.

    Args:
        network: The network.
        generator: Source of the random numbers, on the device of the network; None leaves the layers off.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, Dropout)]
    for layer in layers:
        layer.generator = generator
    try:
        yield
    finally:
        for layer in layers:
            layer.generator = None


def embed(t: Float[Tensor, " batch"], features: int) -> Float[Tensor, "batch features"]:
    """Embed times in sines and cosines, from slow to fast oscillations; the slowest one tells times in [0, 2] apart.

        (sin, cos)(2^j pi t / 2),    j = 0 ... features/2 - 1

    Args:
        t: Times between 0 and 2.
        features: Number of sines and cosines together, even.

    Returns:
        Sines, then cosines, ``(batch, features)``.
    """
    waves = math.pi / 2 * 2 ** torch.arange(features // 2, device=t.device, dtype=t.dtype)
    angle = t[:, None] * waves
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def continued(
    x: Float[Tensor, "batch channels *space"], periodic: Sequence[bool], multiple: int
) -> Float[Tensor, "batch channels *larger"]:
    """Continue fields until every side is a multiple of a number: periodically, or by 0 beyond walls.

    Args:
        x: Fields.
        periodic: For each axis of space, whether it wraps around.
        multiple: The number whose multiple every side becomes.

    Returns:
        ``x``, with further points after the last one where a side is no multiple.

    Example:
        >>> continued(torch.tensor([[[1.0, 2.0, 3.0]]]), [True], 2)
        tensor([[[1., 2., 3., 1.]]])
    """
    for axis, wraps in enumerate(periodic, 2):
        n = x.shape[axis]
        more = -n % multiple
        if more:
            beyond = torch.arange(n, n + more, device=x.device) % n
            rest = x.index_select(axis, beyond)
            x = torch.cat([x, rest if wraps else torch.zeros_like(rest)], dim=axis)
    return x


def cut_to(x: Float[Tensor, "batch channels *larger"], sides: Sequence[int]) -> Float[Tensor, "batch channels *space"]:
    """Return fields cut to their first points along every axis: the inverse of :func:`continued`.

    Args:
        x: Fields.
        sides: Points to keep along each axis of space.
    """
    for axis, n in enumerate(sides, 2):
        x = x.narrow(axis, 0, n)
    return x


def rimmed(
    x: Float[Tensor, "batch channels *space"], periodic: Sequence[bool]
) -> Float[Tensor, "batch channels *padded"]:
    """Pad fields by one point on every side: by the other end of periodic axes, by 0 beyond walls.

    Args:
        x: Fields.
        periodic: For each axis of space, whether it wraps around.

    Returns:
        The padded fields; where all axes wrap, :func:`wrap`.

    Example:
        >>> rimmed(torch.tensor([[[1.0, 2.0, 3.0]]]), [False])
        tensor([[[0., 1., 2., 3., 0.]]])
    """
    if all(periodic):
        return wrap(x)
    for axis, wraps in enumerate(periodic, 2):
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
        ends = [last, first] if wraps else [torch.zeros_like(first), torch.zeros_like(last)]
        x = torch.cat([ends[0], x, ends[1]], dim=axis)
    return x


def wrap(x: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch channels *padded"]:
    """Pad periodic fields by one point on every side.

    The result equals ``torch.nn.functional.pad(x, ..., mode="circular")``, whose gradient goes over the whole field
    once per side. The gradient of this function does so once (``benchmarks/speed/wrapping.py``). It is differentiable
    to any order.

    Args:
        x: Fields on a periodic box.

    Returns:
        ``x`` with the last point before the first and the first point after the last, on every axis of space.
    """
    padded: Tensor = _Wrap.apply(x)  # type: ignore[no-untyped-call]
    return padded


class _Wrap(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        padded = x.new_empty([*x.shape[:2], *(n + 2 for n in x.shape[2:])])
        middle = padded
        for axis, n in enumerate(x.shape[2:], 2):
            middle = middle.narrow(axis, 1, n)
        middle.copy_(x)
        for axis, n in enumerate(x.shape[2:], 2):  # corners come with the last axis
            padded.narrow(axis, 0, 1).copy_(padded.narrow(axis, n, 1))
            padded.narrow(axis, n + 1, 1).copy_(padded.narrow(axis, 1, 1))
        return padded

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _Fold.apply(*gradients)  # type: ignore[no-untyped-call]


class _Fold(Function):
    """The transpose of :class:`_Wrap`: what lies outside is added where it came from."""

    generate_vmap_rule = True

    @staticmethod
    def forward(padded: Tensor) -> Tensor:
        return _folded(padded, 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _Wrap.apply(*gradients)  # type: ignore[no-untyped-call]


def _folded(padded: Tensor, axis: int) -> Tensor:
    """Over ``axis`` and all axes after it, in memory of its own."""
    if axis == padded.ndim:
        return padded.clone(memory_format=torch.contiguous_format)
    n = padded.shape[axis] - 2
    x = _folded(padded.narrow(axis, 1, n), axis + 1)
    x.narrow(axis, n - 1, 1).add_(_folded(padded.narrow(axis, 0, 1), axis + 1))
    x.narrow(axis, 0, 1).add_(_folded(padded.narrow(axis, n + 1, 1), axis + 1))
    return x
