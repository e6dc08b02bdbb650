"""Scores of samples beside exact posteriors, for each observation: what references.py and others print."""

from __future__ import annotations

__all__ = ["error", "expected", "scores"]

import math

import torch
from torch import Tensor

from physinv.evaluation import metrics


def error(per_observation: Tensor) -> float:
    """Standard error of the mean over observations."""
    return float(per_observation.std() / math.sqrt(len(per_observation)))


def scores(draws: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Fair CRPS, averaged over components, and fair energy score, of each observation."""
    crps = metrics.crps_map(draws, truth).flatten(1).mean(1)
    energy = torch.stack([metrics.energy_score(d[None], t[None]) for d, t in zip(draws, truth, strict=True)])
    return crps, energy


def expected(samples: Tensor, exact: Tensor) -> tuple[Tensor, Tensor]:
    """CRPS of samples, expected over draws of the exact posterior, and that of the exact posterior itself.

    Beside the score against the one truth it is free of the luck of that truth; the difference of the two is the
    integral of the squared difference of the distribution functions, and at least 0 on average.
    """
    k = exact.shape[1]
    ours = torch.stack([scores(samples, exact[:, i])[0] for i in range(k)]).mean(0)
    others = [exact[:, torch.arange(k) != i] for i in range(k)]
    return ours, torch.stack([scores(rest, exact[:, i])[0] for i, rest in enumerate(others)]).mean(0)
