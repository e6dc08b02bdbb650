"""By which factor draws should lie further from their mean, judged on states that had no part in training."""

from __future__ import annotations

__all__ = ["factor_of_mixture", "spread_factor", "spread_scores"]

import math

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.series import mean_error
from physinv.models.increments.base import LEAST

_LOGS = torch.linspace(-math.log(16), math.log(16), 97)  # of the factors that are compared; the middle one is 1
_NEAR = 5  # factors on each side of the best one, to which a parabola is fitted
_USUAL = 0.3  # deviation of the logarithm of the best factor over simulated recordings (benchmarks/recording_spread.py)


@torch.no_grad()
def spread_scores(noise: Float[Tensor, "n k *state"], gap: Float[Tensor, "n *state"]) -> Float[Tensor, "factor n"]:
    """Return the CRPS of draws ``mean + factor noise`` for many factors, in units of the spread of the draws.

    Args:
        noise: Distance of draws from their mean.
        gap: Distance of the truth from it.

    Returns:
        The mean over the numbers of each state, in float64.
    """
    unit = noise.square().mean(1, keepdim=True).sqrt()
    unit = unit.clamp(min=LEAST * float(unit.amax()) + torch.finfo(unit.dtype).tiny)
    noise, far = noise / unit, gap[:, None] / unit
    apart = (noise - noise.roll(1, 1)).abs() / 2
    return torch.stack(
        [((f * noise - far).abs() - f * apart).flatten(1).double().mean(1) for f in _LOGS.exp().tolist()]
    )


def spread_factor(scores: Float[Tensor, "factor n"]) -> float:
    """Return the factor of the least score, shrunk towards 1 as far as it is uncertain.

    The logarithm of the factor has a normal prior of deviation .3.  Its error follows from that of the slope of the
    score, of which states that follow each other in time and are alike count for less.

    Args:
        scores: Scores by :func:`spread_scores`, in the order of time.

    Returns:
        The factor; 1 for a single state, which says nothing about a spread.

    References:
        Gneiting and Raftery (2007) for the score; Huber (1967) for the error of its minimum.
    """
    if scores.shape[1] < 2:
        return 1.0
    logs, mean = _LOGS.double(), scores.mean(1).cpu()
    best = int(mean.argmin())
    if best in (0, len(logs) - 1):  # the score has no least value there whose place could be uncertain
        return math.exp(float(logs[best]))
    at = min(max(best, _NEAR), len(logs) - 1 - _NEAR)
    low, high = at - _NEAR, at + _NEAR

    # A parabola around the least score: its vertex, and the error of that by the slopes of single states.
    x = logs[low : high + 1] - logs[at]
    terms = torch.stack([torch.ones_like(x), x, x.square()], 1)
    _, slope, curve = torch.linalg.lstsq(terms, mean[low : high + 1, None]).solution[:, 0].tolist()
    if not curve > 0:
        return 1.0
    vertex = float((logs[at] - slope / (2 * curve)).clamp(logs[0], logs[-1]))
    slopes = (scores[high] - scores[low]) / float(logs[high] - logs[low])
    error = float(mean_error(slopes)) / (2 * curve)
    return math.exp(vertex * _USUAL**2 / (_USUAL**2 + error**2))


@torch.no_grad()
def factor_of_mixture(
    factor: float, means: Float[Tensor, "members n d"], deviations: Float[Tensor, "members n d"]
) -> float:
    """Return the factor of the spread of a mixture of laws whose own spreads a factor makes right.

    The mean of the members misses the truth by less than a member does, since their errors differ: with mean variance
    ``W`` of the members and variance ``B`` between their means, squared errors of ``factor^2 W`` of a member leave
    ``factor^2 W - B`` for the mean.  Draws of the mixture have the variance ``W + B``, which is more, not less.

    Args:
        factor: Factor of the spread of each member that its errors on data ask for that it was not trained on.
        means: Means of the members for the same observations, of which none was trained on.
        deviations: Standard deviations of the members, in the same unit.

    Returns:
        The factor of the distance of the mixture's draws from their mean; ``factor`` for a single member.

    References:
        Krogh and Vedelsby (1995), equation 6: the error of an ensemble is that of its members less their ambiguity.
    """
    within, between = deviations.double().square().mean(0), means.double().var(0, correction=0)
    apart = (between / within)[within > 0]  # numbers that never vary have no spread
    if not len(apart):
        return factor
    least = apart / max(len(means) - 1, 1)  # the error of a mean of members that differ so by chance
    return float((torch.maximum(factor**2 - apart, least) / (1 + apart)).mean().sqrt())
