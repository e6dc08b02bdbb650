"""Compare two reconstructions of the same observations, metric by metric, with errors from the paired differences."""

from __future__ import annotations

__all__ = ["Pair", "compare_pairs"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.series import mean_error
from physinv.evaluation.metrics import coverage, crps_map, energy_score, relative_l2
from physinv.posterior.reconstruction import Reconstruction

Verdict = Literal["A is better", "B is better", "no difference beyond chance", "equal"]

_SURE = 2.0  # standard errors: what chance exceeds in one of twenty comparisons
_LEVEL = 0.9  # of the interval whose coverage is compared


@dataclass(frozen=True)
class Pair:
    """One metric of two reconstructions.

    Args:
        metric: Name of the metric.
        a: Mean over the observations for the first reconstruction.
        b: Mean for the second one.
        difference: Mean of ``b - a``.
        error: Standard error of that mean, over the observations; overlapping windows count for less.
        best: The best value: ``"low"``, or a number as text.
        verdict: Which one is better, if any is by more than two standard errors.
        about: What the metric measures.
    """

    metric: str
    a: float
    b: float
    difference: float
    error: float
    best: str
    verdict: Verdict
    about: str


def compare_pairs(a: Reconstruction, b: Reconstruction) -> list[Pair]:
    """Compare two reconstructions of the same observations.

    Args:
        a: The first reconstruction.
        b: The second one.

    Returns:
        One comparison for each metric that both have: for single estimates the relative error of the mean alone.

    Raises:
        ValueError: If they are of different observations, of fewer than two, or without truth.
    """
    if a.truth is None or b.truth is None:
        raise ValueError(
            "both reconstructions must have true initial states, got observations alone; take `physinv evaluate`."
        )
    n = min(len(a.truth), len(b.truth))
    if n < 2:
        raise ValueError(f"both reconstructions must have 2 or more observations, got {n}; reconstruct more.")
    same = a.truth.shape[1:] == b.truth.shape[1:] and torch.equal(a.truth[:n], b.truth[:n])
    if not same:
        raise ValueError("both reconstructions must be of the same observations, in one order; reconstruct the same.")
    moving = a.simulator.layout.moving
    truth, ours, theirs = moving(a.truth[:n]), moving(a.samples[:n]), moving(b.samples[:n])

    # Each metric, observation by observation.
    found = [_pair("relative_l2_mean", "low", "the mean of the samples against the truth", ours, theirs, truth, _l2)]
    if min(ours.shape[1], theirs.shape[1]) > 1:
        more: list[tuple[str, str, str, _Score]] = [
            ("crps", "low", "fair CRPS per component", lambda s, x: crps_map(s, x).flatten(1).mean(1)),
            ("energy_score", "low", "fair energy score of whole states", _each(energy_score)),
            ("coverage_90", str(_LEVEL), "share of components in the central 90 % interval", _each(coverage)),
        ]
        found += [_pair(name, best, about, ours, theirs, truth, score) for name, best, about, score in more]
    return found


_Score = Callable[[Tensor, Tensor], Float[Tensor, " n"]]


def _pair(name: str, best: str, about: str, ours: Tensor, theirs: Tensor, truth: Tensor, score: _Score) -> Pair:
    x, y = (score(samples, truth).double() for samples in (ours, theirs))
    gap = y - x
    difference, error = float(gap.mean()), float(mean_error(gap))
    target = None if best == "low" else float(best)
    a, b = float(x.mean()), float(y.mean())
    better = b < a if target is None else abs(b - target) < abs(a - target)
    verdict: Verdict
    if difference == 0:
        verdict = "equal"
    elif abs(difference) <= _SURE * error or not math.isfinite(difference):
        verdict = "no difference beyond chance"
    else:
        verdict = "B is better" if better else "A is better"
    return Pair(name, a, b, difference, error, best, verdict, about)


def _l2(samples: Tensor, truth: Tensor) -> Float[Tensor, " n"]:
    return torch.stack([relative_l2(s.mean(0)[None], x[None]) for s, x in zip(samples, truth, strict=True)])


def _each(metric: Callable[[Tensor, Tensor], Tensor]) -> _Score:
    """A metric of many observations, computed for each by itself."""
    return lambda samples, truth: torch.stack([metric(s[None], x[None]) for s, x in zip(samples, truth, strict=True)])
