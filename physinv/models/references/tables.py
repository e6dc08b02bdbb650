"""Interpolate tables of a reference law in time."""

from __future__ import annotations

__all__ = ["between", "blended", "located"]

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physinv.equations.broadcast import match, one_for_all


def between(times: Float[Tensor, " time"], table: Tensor, t: Float[Tensor, " batch"]) -> Tensor:
    """Interpolate a table linearly in time; constant beyond its ends.

    Args:
        times: Increasing times of the table.
        table: Values, ``(time, ...)``.
        t: Times wanted.

    Returns:
        Values ``(batch, ...)``.

    Example:
        >>> between(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 10.0]), torch.tensor([0.25, 2.0]))
        tensor([ 2.5000, 10.0000])
    """
    if one_for_all(t):
        return between(times, table, t[:1]).expand(len(t), *table.shape[1:])
    return blended(table, *located(times, t))


def located(times: Float[Tensor, " time"], t: Float[Tensor, " batch"]) -> tuple[Int64[Tensor, " batch"], Tensor]:
    """Find times among those of a table.

    Args:
        times: Increasing times of the table.
        t: Times wanted.

    Returns:
        Number of the first time of the table that is not earlier, 1 or more, and its share, ``(batch,)`` each.
    """
    i = torch.searchsorted(times, t.to(times.dtype).contiguous()).clamp(1, len(times) - 1)
    before, after = times.index_select(0, i - 1), times.index_select(0, i)
    return i, ((t - before) / (after - before)).clamp(0, 1)


def blended(table: Tensor, i: Int64[Tensor, " batch"], share: Tensor) -> Tensor:
    """Interpolate a table linearly at places that :func:`located` found.

    Args:
        table: Values, ``(time, ...)``.
        i: Numbers of the later of two values.
        share: The share of each later value.

    Returns:
        Values ``(batch, ...)``.
    """
    after, w = table.index_select(0, i), match(share, table)  # indexing takes up to eight times longer
    return (1 - w) * table.index_select(0, i - 1) + w * after
