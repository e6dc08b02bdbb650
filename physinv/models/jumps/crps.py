"""Scores of laws: the continuous ranked probability score of normal ones in closed form, the energy score of draws."""

from __future__ import annotations

__all__ = ["energy_of_draws", "gaussian_crps"]

import math

import torch
from jaxtyping import Float
from torch import Tensor


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
    z = (value - mean) / deviation
    density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
    return deviation * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))


def energy_of_draws(drawn: Float[Tensor, "copies n *state"], truth: Float[Tensor, "n *state"]) -> float:
    """Return the energy score of draws, over the whole of each state.

    Args:
        drawn: Independent draws for each truth, 2 or more.
        truth: True states.

    Returns:
        ``E|X - y| - E|X - X'| / 2``, averaged over the truths, in their unit; neighbouring draws are the pairs.

    Example:
        >>> energy_of_draws(torch.tensor([[[-1.0]], [[1.0]]]), torch.zeros(1, 1))  # 1 - 2 / 2
        0.0
    """
    apart = (drawn - drawn.roll(1, 0)).flatten(2).norm(dim=2).mean()
    return float((drawn - truth).flatten(2).norm(dim=2).mean() - apart / 2)
