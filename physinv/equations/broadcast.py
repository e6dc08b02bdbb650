"""Numbers per sample, and noise amplitudes, in the shape of the states that they multiply."""

from __future__ import annotations

__all__ = ["alike_alone", "by_parts", "default_batch", "expand", "match", "once", "one_for_all", "repeated"]

import math
from collections.abc import Callable

import torch
from torch import Tensor


@torch.no_grad()
def alike_alone(function: Callable[[Tensor], Tensor], pair: Tensor) -> bool:
    """Return whether a function of batched states gives the first of two the value that it gives it alone.

    It does not where it mixes the states of a batch, or draws random numbers.

    Args:
        function: ``(batch, *state) -> (batch, ...)``.
        pair: Two states.

    Example:
        >>> pair = torch.tensor([[1.0], [3.0]])
        >>> alike_alone(lambda x: 2 * x, pair), alike_alone(lambda x: x - x.mean(0), pair)
        (True, False)
    """
    both, alone = function(pair.clone()), function(pair[:1].clone())
    rounding = 3e-4 * both.abs().max() + 1e-5 * pair.abs().max()  # sums of a batch may be taken in another order
    return not bool(((both[:1] - alone).abs() > rounding).any())


def by_parts(work: Callable[..., Tensor], size: int | None, *rows: Tensor) -> Tensor:
    """Compute a function of rows for a part of the rows at a time.

    Args:
        work: Function of tensors with equally many rows; each row of its value depends on that row of them alone.
        size: Rows of a part; None: all of them.
        rows: The tensors.

    Returns:
        The value for all rows.

    Example:
        >>> by_parts(torch.add, 2, torch.ones(3), torch.arange(3.0))
        tensor([1., 2., 3.])
    """
    if size is None or len(rows[0]) <= size:
        return work(*rows)
    return torch.cat([work(*part) for part in zip(*(torch.split(x, size) for x in rows), strict=True)])


def default_batch(x: Tensor) -> int:
    """Return the number of states to compute at the same time.

    The states together hold 2^16 numbers on a CPU (measured: 64 fields of 32^2 take half the time per field of 1024),
    2^21 elsewhere.

    Args:
        x: States, ``(batch, *state)``.
    """
    numbers = 2**16 if x.device.type == "cpu" else 2**21
    return max(1, numbers // max(1, math.prod(x.shape[1:])))


def match(t: Tensor, x: Tensor) -> Tensor:
    """Reshape one number per sample so that it broadcasts against states.

    Args:
        t: Numbers, such as times or lengths of steps, ``(batch,)`` or ``()``.
        x: States, ``(batch, *state)``.

    Returns:
        ``t`` as ``(batch, 1, ..., 1)``, in the precision of ``x`` where both are real.
    """
    if t.dtype != x.dtype and t.is_floating_point() and x.is_floating_point():
        t = t.to(x.dtype)
    return t.reshape(-1, *([1] * (x.ndim - 1)))


def one_for_all(x: Tensor) -> bool:
    """Return whether all rows of a tensor are one row in memory, so that what depends on it is computed once.

    Args:
        x: Any tensor, ``(batch, ...)``.

    Example:
        >>> import torch
        >>> one_for_all(torch.ones(1).expand(3)), one_for_all(torch.ones(3))
        (True, False)
    """
    return x.shape[0] > 1 and x.stride(0) == 0  # `len` of a tensor takes several times longer


def once(t: Tensor) -> Tensor:
    """Return times as they lie in memory: one where all states have the same, so that what follows is computed once.

    Args:
        t: Times, ``(batch,)``.

    Example:
        >>> import torch
        >>> once(torch.ones(1).expand(3)).shape, once(torch.ones(3)).shape
        (torch.Size([1]), torch.Size([3]))
    """
    return t[:1] if t.ndim and one_for_all(t) else t


def repeated(t: Tensor, n: int) -> Tensor:
    """Repeat times one after another; one time for all states stays one number in memory.

    Args:
        t: Times, ``(batch,)``.
        n: How often.

    Returns:
        Times, ``(n * batch,)``.
    """
    return t[:1].expand(n * len(t)) if one_for_all(t) else t.repeat(n)


def expand(g: Tensor | float, x: Tensor) -> Tensor:
    """Pad a diffusion with axes of length 1 until it broadcasts against states.

    Args:
        g: Diffusion ``(batch, ...)``, or one number.
        x: States ``(batch, *state)``.

    Returns:
        The diffusion ``(batch, ..., 1, ...)``.
    """
    if not isinstance(g, Tensor):
        return x.new_full((1,) * x.ndim, g)
    g = g.reshape(*g.shape, *([1] * (x.ndim - g.ndim)))
    return g if g.dtype == x.dtype else g.to(x.dtype)
