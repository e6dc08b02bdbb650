"""Train physics from data, alone or together with the score.

In turn: ``drift = fit_drift(train, valid, ...)``, then a score model with it as the physics.  Together: ``drift =
start_drift(train, ...)``, a score model built on that same drift, and ``fit(Pair(drift, score), drift, train, valid,
loss=together_loss, ...)``.
"""

from __future__ import annotations

__all__ = ["Pair", "drift_loss", "fit_drift", "together_loss"]

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.devices import threads_for
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE, Score
from physinv.models.learned_drift import LearnedDrift, start_drift
from physinv.models.score import ScoreModel
from physinv.reversal.split import split
from physinv.training.loop import fit
from physinv.training.objectives.trajectory import trajectory_loss


def fit_drift(
    data: TrajectoryDataset,
    valid: TrajectoryDataset,
    *,
    settings: Settings,
    steps: int | None = None,
    budget: float | None = None,
    seed: int = 0,
) -> LearnedDrift:
    """Learn ``f`` and ``g`` from trajectories alone; ``settings``, ``steps`` and ``budget`` as in ``fit``.

    The weights of the result are frozen, so that a score model built on it trains the score only.
    """
    drift = start_drift(data, settings, seed=seed).to(data.device)
    with threads_for(data.shape):
        fit(drift, drift, data, valid, settings=settings, steps=steps, budget=budget, loss=drift_loss, seed=seed)
        drift.calibrate(data)
    return drift.requires_grad_(False).eval()


class Pair(nn.Module):
    """A drift and a score on top of it as one module, for :func:`together_loss`; as a callable it is the score."""

    def __init__(self, drift: LearnedDrift, score: ScoreModel) -> None:
        super().__init__()
        self.drift, self.score = drift, score

    @property
    def network(self) -> nn.ModuleList:
        """The two networks: what is trained."""
        return nn.ModuleList([self.drift.network, self.score.network])

    def forward(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        s: Tensor = self.score(x, t)
        return s


def drift_loss(
    score: Score,
    sde: SDE,
    states: Float[Tensor, "batch window *state"],
    times: Float[Tensor, "batch window"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error of the noise-free prediction ``x_m = phi(x_{m-1})``, in units of ``(sum g^2 dt)^(1/2)``.

    From the first state of the window the flow ``phi`` of the drift is stepped forward, gradients flowing through all
    steps.  For a window of 2 the minimiser is the drift up to O(dt).  The first argument is the :class:`LearnedDrift`
    that is trained (or a :class:`Pair` with one); ``sde`` is not used.  Raises ValueError for anything else.
    """
    drift = score.drift if isinstance(score, Pair) else score
    if not isinstance(drift, LearnedDrift):
        raise ValueError(f"`score` must be a LearnedDrift or a Pair here, got {type(score).__name__}; see fit_drift.")
    x, total = states[:, 0], states.new_zeros(())
    for m in range(1, states.shape[1]):
        x = drift.drift_flow(x, times[:, m - 1], times[:, m])
        total = total + drift.whiten(x - states[:, m], times[:, 0], times[:, m]).square().mean()
    return total / (states.shape[1] - 1)


def together_loss(
    score: Score,
    sde: SDE,
    states: Float[Tensor, "batch window *state"],
    times: Float[Tensor, "batch window"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Windows predicted forward by ``f`` and reversed by ``f - g^2 s``: one loss for a :class:`Pair`.

    The forward half sees the drift alone.  With one field for both directions (the bidirectional loss of Holzschuh et
    al. 2023) only ``f - g^2 s / 2`` would be determined, and drift and score could trade with each other.
    """
    if not isinstance(score, Pair):
        raise ValueError(f"`score` must be a Pair(drift, score) here, got {type(score).__name__}.")
    return drift_loss(score, sde, states, times) + trajectory_loss(score.score, score.drift, states, times, step=split)
