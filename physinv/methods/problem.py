"""The problem that every method of reconstruction solves, and the answer that it returns."""

from __future__ import annotations

__all__ = ["Answer", "Method", "NotApplicableError", "Problem"]

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.seeds import Seed
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.processes.simulator import Simulator
from physinv.training.budget import Budget
from physinv.training.loop import fit
from physinv.training.objectives.base import Loss


@runtime_checkable
class Answer(Protocol):
    """The posterior of a method, or its approximation."""

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw initial states; an estimate without spread returns copies.

        Args:
            final: Observed final states ``x_T``.
            n: Draws for each of them.
            generator: Source of randomness.

        Returns:
            Samples, ``(batch, n, *state)``.
        """

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the best single estimate of the initial states.

        Args:
            final: Observed final states ``x_T``.

        Returns:
            Initial states, ``(batch, *state)``.
        """


class NotApplicableError(ValueError):
    """The error of a method that has no meaning for a process; the message says why."""


@dataclass(frozen=True)
class Problem:
    """A process, trajectories of it, and the budget of training.

    Args:
        simulator: The process.
        train: Training trajectories, in memory on ``device``.
        valid: Validation trajectories, in memory on ``device``.
        settings: Sizes and training of the networks, the same for every method.
        budget: Seconds of training; None: ``steps`` decides.
        steps: Updates of training; None: ``budget`` decides.
        seed: Seed of training.
        device: Device of data and networks.
    """

    simulator: Simulator
    train: TrajectoryDataset
    valid: TrajectoryDataset
    settings: Settings = field(default_factory=Settings)
    budget: Budget = field(default_factory=lambda: Budget(seconds=60.0))
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def minimise(
        self,
        model: nn.Module,
        loss: Loss,
        *,
        estimates: tuple[Tensor, Tensor] | None = None,
        share: float = 1.0,
        seed: Seed | None = None,
    ) -> None:
        """Train ``model.network`` on pairs of first and last state.

        Args:
            model: The module to train, with a part called ``network``.
            loss: The objective, called with the model.
            estimates: Estimates of the first states of the training and the validation trajectories, handed to
                ``loss`` with each batch.
            share: Share of the budget that may be spent.
            seed: Added to the seed of the problem.
        """
        settings = self.settings.model_copy(update={"windows": (2,)})
        fit(
            model,
            self.simulator,
            self.train.ends(),
            self.valid.ends(),
            settings=settings,
            budget=self.budget.share(share),
            loss=loss,
            estimates=estimates,
            seed=self.seed if seed is None else seed,
        )


Method = Callable[..., Answer]
"""``fit(problem, **options)``; options are keyword-only arguments with defaults."""
