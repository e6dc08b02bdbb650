"""The standard error of the mean of numbers that follow each other in time, such as those of overlapping windows."""

from __future__ import annotations

__all__ = ["effective_number", "mean_error"]

import torch
from jaxtyping import Float
from torch import Tensor

_CHANCE = 2.0  # standard errors beyond which neighbours count as alike


def mean_error(series: Float[Tensor, "*many n"]) -> Float[Tensor, "*many"]:
    r"""Return the standard error of the mean of a series, as of an autoregression of order one.

    Neighbours that are alike by more than chance explains, with a correlation :math:`r > 2 / \sqrt{n}`, count for less:
    the variance of the mean is :math:`(1 + r) / (1 - r)` times that of independent numbers.

    Args:
        series: Numbers in the order of time, along the last axis; two or more.

    Returns:
        The standard error of each mean.

    Example:
        >>> apart = mean_error(torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0]))
        >>> float(mean_error(torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0])) / apart) > 2
        True

    References:
        Bayley and Hammersley (1946), The "effective" number of independent observations in an autocorrelated time
        series.
    """
    n = series.shape[-1]
    square = (series - series.mean(-1, keepdim=True)).square().mean(-1)
    return (square * n / effective_number(series) / (n - 1)).sqrt()


def effective_number(series: Float[Tensor, "*many n"]) -> Float[Tensor, "*many"]:
    r"""Return how many independent numbers have a mean as uncertain as that of a series: :math:`n (1 - r) / (1 + r)`.

    Args:
        series: Numbers in the order of time, along the last axis; two or more.

    Returns:
        The number for each series, as of an autoregression of order one; ``n`` where neighbours are alike by no more
        than chance explains.
    """
    n = series.shape[-1]
    gap = series - series.mean(-1, keepdim=True)
    square = gap.square().mean(-1)
    r = (gap[..., 1:] * gap[..., :-1]).mean(-1) / square.clamp(min=torch.finfo(square.dtype).tiny)
    r = torch.where(r > _CHANCE / n**0.5, r.clamp(max=1 - 2 / n), torch.zeros_like(r))
    return n * (1 - r) / (1 + r)
