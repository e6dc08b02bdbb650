"""Objectives of learned physics: a drift that predicts windows forward, alone or together with a score."""

from __future__ import annotations

__all__ = ["DriftAndScore", "drift_loss", "joint_loss"]

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.equations.sde import SDE, Score
from physinv.models.learned_drift import LearnedDrift
from physinv.models.score import ScoreModel
from physinv.reversal.split import split
from physinv.training.objectives.base import Batch, check_window
from physinv.training.objectives.trajectory import trajectory_loss


class DriftAndScore(nn.Module):
    """Join a learned drift and a score model on top of it, for :func:`joint_loss`; as a callable it is the score.

    Args:
        drift: The learned physics.
        score: A score model that was built with ``drift`` as its physics.
    """

    def __init__(self, drift: LearnedDrift, score: ScoreModel) -> None:
        super().__init__()
        self.drift, self.score = drift, score

    @property
    def network(self) -> nn.ModuleList:
        """Both networks: what is trained."""
        return nn.ModuleList([self.drift.network, self.score.network])

    def forward(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the score of states ``x (batch, *state)`` at times ``t (batch,)``."""
        s: Tensor = self.score(x, t)
        return s


def drift_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return the mean squared error of the noise-free prediction ``x_m = phi(x_{m-1})``, in units of the noise.

    From the first state of the window the flow ``phi`` of the drift is stepped forward, gradients flowing through all
    steps. Differences count in units of ``(sum g^2 dt)^(1/2)``. For a window of 2 the minimiser is the drift, up to
    O(dt).

    Args:
        score: The :class:`~physinv.models.learned_drift.LearnedDrift` that is trained, or a :class:`DriftAndScore`.
        sde: Not used: the physics is what is learned.
        batch: Windows of 2 or more states.

    Raises:
        ValueError: If ``score`` is anything else, or the windows hold fewer than 2 states.
    """
    check_window(batch)
    drift = score.drift if isinstance(score, DriftAndScore) else score
    if not isinstance(drift, LearnedDrift):
        raise ValueError(
            f"`score` must be a LearnedDrift or a DriftAndScore here, got {type(score).__name__}; see fit_drift."
        )
    states, times = batch.states, batch.times
    x, total = states[:, 0], torch.zeros((), dtype=states.dtype, device=states.device)
    for m in range(1, batch.window):
        x = drift.drift_flow(x, times[:, m - 1], times[:, m])
        total = total + drift.whiten(x - states[:, m], times[:, 0], times[:, m]).square().mean()
    return total / (batch.window - 1)


def joint_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return the error of windows predicted forward by ``f`` plus that of the reversal by ``f - g^2 s``.

    The forward half sees the drift alone. With one field for both directions (the bidirectional loss of Holzschuh et
    al. 2023) only ``f - g^2 s / 2`` would be determined, and drift and score could trade with each other.

    Args:
        score: A :class:`DriftAndScore`.
        sde: Not used: the physics is the drift that is learned.
        batch: Windows of 2 or more states.

    Raises:
        ValueError: If ``score`` is anything else, or the windows hold fewer than 2 states.
    """
    if not isinstance(score, DriftAndScore):
        raise ValueError(f"`score` must be a DriftAndScore here, got {type(score).__name__}.")
    return drift_loss(score, sde, batch) + trajectory_loss(score.score, score.drift, batch, step=split)
