"""``wrap``: fields on a periodic box, one more point on every side."""

from __future__ import annotations

__all__ = ["wrap"]

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def wrap(x: Tensor) -> Tensor:
    """``(batch, channels, *space)`` with the last point before the first and the first after the last, on every axis.

    The same numbers as ``torch.nn.functional.pad(x, ..., mode="circular")``, whose gradient goes over the whole field
    once per side; this one does so once (``benchmarks/speed/wrapping.py``).  Differentiable backward to any order.
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
