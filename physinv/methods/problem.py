"""What every method of reconstruction is given, and what it gives back."""

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
    """A posterior, or what a method takes for one."""

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """``n`` initial states for each final one; an estimate without spread repeats itself."""

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """One initial state for each final one: what the method calls its best."""


class NotApplicableError(ValueError):
    """The method has no meaning for this process; the message says why."""


@dataclass(frozen=True)
class Problem:
    """A process, trajectories of it, and the ``budget`` of training (default: a minute).

    The datasets are in memory on ``device``.  ``settings`` sizes the networks, the same for every method.
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
        """Train ``model.network`` by ``loss`` on pairs of first and last state, with ``share`` of what may be spent.

        ``estimates`` of the first states of both splits are handed to ``loss`` with each batch.
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


Method = Callable[[Problem], Answer]
"""Every baseline is one, with its own options as further keyword arguments that have defaults."""
