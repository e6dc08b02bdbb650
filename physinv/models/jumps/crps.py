"""The continuous ranked probability score of normal laws in closed form: a loss for mean and spread at once."""

from __future__ import annotations

__all__ = ["gaussian_crps"]

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def gaussian_crps(
    value: Float[Tensor, "*shape"], mean: Float[Tensor, "*shape"], deviation: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Return the continuous ranked probability score of ``N(mean, deviation^2)`` at observed values.

        CRPS = E|X - y| - E|X - X'| / 2 = deviation [ z erf(z / 2^(1/2)) + 2 phi(z) - pi^(-1/2) ],
        z = (y - mean) / deviation,    phi the standard normal density.

    It is proper: on average over ``y`` it is least where mean and deviation are those of ``y``. Beside the negative log
    likelihood it grows with ``|z|`` only linearly, so single large errors do not govern the mean.

    Args:
        value: What was observed, ``y``.
        mean: Means, in the unit of ``value``.
        deviation: Standard deviations, above 0.

    Returns:
        One score for each value, in the unit of ``value``.

    Example:
        >>> gaussian_crps(torch.tensor(0.0), torch.tensor(0.0), torch.tensor(1.0))  # 2 / (2 pi)^(1/2) - pi^(-1/2)
        tensor(0.2337)

    References:
        Gneiting, Raftery, Westveld and Goldman (2005), Calibrated probabilistic forecasting, eq. 5.
    """
    found: Tensor = _Crps.apply(value, mean, deviation)  # type: ignore[no-untyped-call]
    return found


class _Crps(torch.autograd.Function):
    """The score, and its gradient by hand: ``-erf(z / 2^(1/2))`` for the mean, ``2 phi(z) - pi^(-1/2)`` for the
    deviation.  Autograd takes some twenty operations for the same.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        z = (value - mean) / deviation
        share = torch.erf(z / math.sqrt(2))
        width = (-z.square() / 2).exp_().mul_(math.sqrt(2 / math.pi)).sub_(1 / math.sqrt(math.pi))
        ctx.save_for_backward(share, width)
        return deviation * torch.addcmul(width, z, share)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        share, width = ctx.saved_tensors
        up = above * share
        return up if ctx.needs_input_grad[0] else None, -up, above * width
