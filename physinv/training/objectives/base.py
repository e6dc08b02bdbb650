"""The interface of objectives: a loss of a batch of windows, and how training prepares and finishes it."""

from __future__ import annotations

__all__ = ["Batch", "Finish", "Loss", "Objective", "check_window"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physinv.config.inputs import check_instance
from physinv.config.seeds import Seed
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE, Score
from physinv.models.score import ScoreModel


@dataclass(frozen=True, eq=False)
class Batch:
    """Hold windows of trajectories, and what was computed from them before training.

    Args:
        states: Consecutive stored states, shape ``(batch, window, *state)``.
        times: Their times, increasing along each window, shape ``(batch, window)``.
        backward: The last state of each window after the physics alone was solved backward over the stored interval
            that ends there, shape ``(batch, *state)``; None if it was not computed (see
            :mod:`~physinv.training.backward_cache`).
        estimate: An estimate of the first state of each window, shape ``(batch, *state)``; None if there is none.
        generator: Source of the noise that an objective draws, on the device of ``states``; None: torch's global one.
        jump: For pairs of states that are the ends of jumps, the numbers of the jumps, shape ``(batch,)``.
        prepared: For such pairs, what the jump kernel computed of the later states before training (see
            :mod:`~physinv.models.jumps.base`).
        judged: Whether the batch is validated on, so that the loss is compared and not minimised.

    Example:
        >>> batch = Batch(torch.zeros(8, 2, 3), torch.tensor([[0.0, 0.1]]).expand(8, 2))
        >>> batch.window
        2
    """

    states: Float[Tensor, "batch window *state"]
    times: Float[Tensor, "batch window"]
    backward: Float[Tensor, "batch *state"] | None = None
    estimate: Float[Tensor, "batch *state"] | None = None
    generator: torch.Generator | None = None
    jump: Int64[Tensor, " batch"] | None = None
    prepared: Float[Tensor, "batch ..."] | None = None
    judged: bool = False

    @property
    def window(self) -> int:
        """Number of states in each window."""
        return self.states.shape[1]


Loss = Callable[[Score, SDE, Batch], Tensor]
"""``(score, sde, batch) -> loss``, a scalar that is differentiable with respect to the parameters of ``score``."""


@runtime_checkable
class Finish(Protocol):
    """Calibrate a trained model on data that it was not trained on: ``(model, sde, valid, seed=seed)``."""

    def __call__(self, model: ScoreModel, sde: SDE, data: TrajectoryDataset, /, *, seed: Seed) -> None:
        """Change ``model`` in place; streams of random numbers are found below ``seed``.

        Args:
            model: The trained score model.
            sde: The physics.
            data: Trajectories that it was not trained on.
            seed: Seed of the random numbers.
        """


@dataclass(frozen=True)
class Objective:
    """Describe what training minimises, and how.

    Args:
        loss: The loss of one batch.
        window: States per window unless the setting ``windows`` says otherwise; None: all stored times.
        backward_cache: Whether ``loss`` uses :attr:`Batch.backward`.
        finish: Calibrates a score model after its last update; None: nothing is done.
        replaces: Name of an objective that this one replaces for reference laws that ask for this one: where the
            setting ``loss`` names that objective, the model is trained with this one.
    """

    loss: Loss
    window: int | None = 2
    backward_cache: bool = False
    finish: Finish | None = None
    replaces: str | None = None


def check_window(batch: Batch) -> None:
    """Check that windows hold a state and its successor.

    Args:
        batch: Windows of trajectories.

    Raises:
        ValueError: If it is no batch, or the windows hold fewer than 2 states.
    """
    check_instance(batch, Batch, "batch", "give Batch(states, times) of physinv.training.objectives.base")
    if batch.window < 2:
        raise ValueError(f"`states` must hold windows of 2 or more states, got {batch.window}; take window=2.")
