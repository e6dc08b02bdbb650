"""Train physics from data, alone or together with the score.

In turn: ``drift = fit_drift(train, valid, ...)``, then a score model with the drift as its physics.

Together: ``drift = start_drift(train, ...)``, a score model built on that same drift, and
``fit(DriftAndScore(drift, score), drift, train, valid, loss=joint_loss, ...)``.
"""

from __future__ import annotations

__all__ = ["fit_drift"]

from physinv.config.devices import threads_for
from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.models.learned_drift import LearnedDrift, start_drift
from physinv.training.budget import Budget
from physinv.training.loop import fit
from physinv.training.objectives.drift import drift_loss
from physinv.training.validation import Announce, Progress


def fit_drift(
    data: TrajectoryDataset,
    valid: TrajectoryDataset,
    *,
    settings: Settings,
    budget: Budget,
    seed: Seed = 0,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> LearnedDrift:
    """Learn the drift ``f`` and the noise amplitude ``g`` from trajectories alone.

    Args:
        data: Trajectories to train on.
        valid: Trajectories to validate on.
        settings: Training settings, as for :func:`~physinv.training.loop.fit`; they size the network, too.
        budget: Number of updates, or a time.
        seed: Seed of the network's first weights and of the training.
        progress: Hears of every validation, and twice a second of the share that is done.
        announce: Hears when training begins and ends.

    Returns:
        The learned physics. Its weights are frozen, so that a score model built on it trains the score only.
    """
    drift = start_drift(data, settings, seed=seed).to(data.device)
    with threads_for(data.shape):
        fit(
            drift,
            drift,
            data,
            valid,
            settings=settings,
            budget=budget,
            loss=drift_loss,
            seed=seeds(seed).child("physics"),
            progress=progress,
            announce=announce,
        )
        drift.fit_noise(data)
    return drift.requires_grad_(False).eval()
