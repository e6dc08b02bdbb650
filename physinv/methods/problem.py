"""The problem that every method of reconstruction solves, and the answer that it returns."""

from __future__ import annotations

__all__ = ["Answer", "Method", "NotApplicableError", "Problem", "RecordAnswer", "RowsWarning", "TakesRecords"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.inputs import Times
from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.laws.prior import Prior
from physinv.laws.record import ObservationRecord
from physinv.methods.saving import Setup
from physinv.models.jumps.base import JumpKernel
from physinv.processes.simulator import Simulator
from physinv.training.budget import Budget
from physinv.training.final_estimate import Observer
from physinv.training.jump_pairs import JumpPairs, choose_fresh
from physinv.training.loop import fit
from physinv.training.objectives.base import Loss
from physinv.training.objectives.jumps import JUMPS
from physinv.training.validation import Announce, History, Progress, ValidationRecord


class RowsWarning(UserWarning):
    """A warning of some rows of a batch, which can be told once for several batches.

    Args:
        numbers: How bad it is, by a number or several, for each row that it is about.
        tell: From such numbers to the sentence.
    """

    def __init__(self, numbers: Sequence[Any], tell: Callable[[Sequence[Any]], str]) -> None:
        super().__init__(tell(numbers))
        self.numbers, self.tell = tuple(numbers), tell


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


@runtime_checkable
class RecordAnswer(Answer, Protocol):
    """An answer to a record of observations, whose ``final`` are observed numbers, one row for each trajectory."""

    def sample(
        self, final: Any, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw initial states: those of the trajectories that are drawn.

        Args:
            final: Observed numbers, NaN where one is missing.
            n: Draws for each row.
            generator: Source of randomness.
        """
        return self.sample_at(final, n, [0.0], generator=generator)[:, :, 0]

    def sample_at(
        self, y: Float[Tensor, "batch seen"], n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        """Draw trajectories: smoothed up to the last time of the record, forecasts from there on.

        Args:
            y: Observed numbers, NaN where one is missing.
            n: Draws for each row.
            times: Times, 0 or later.
            generator: Source of randomness.

        Returns:
            One trajectory for each draw.
        """


@runtime_checkable
class TakesRecords(Protocol):
    """An answer that can be asked for a record of observations in the place of final states."""

    def given(self, observed: ObservationRecord, /) -> RecordAnswer:
        """Return the answer to a record.

        Args:
            observed: The record.
        """


class NotApplicableError(ValueError):
    """The error of a method that has no meaning for a process; the message says why."""


@dataclass(frozen=True)
class Problem:
    """A process, trajectories of it, the budget of training, and the folder that training writes into.

    Args:
        simulator: The process.
        train: Training trajectories, in memory on ``device``.
        valid: Validation trajectories, in memory on ``device``.
        settings: Sizes and training of the networks, the same for every method.
        budget: Number of updates, or a time.
        seed: Seed of training.
        device: Device of data and networks.
        mixed: Whether networks of score models are trained in bfloat16.
        folder: Folder for log and checkpoints; None: nothing is written.
        resume: Whether to go on from the checkpoints in ``folder``.
        progress: Hears how far training is; None: nobody does.
        announce: Hears what is being done; None: nobody does.
        observed: What the final states of the data are replaced by, where only a part of them is observed.
        opening: Called before anything is written into ``folder``.
        histories: The log of each trained network, by its folder.
        prior: The law of initial states, for methods that take one; None: that of the process or of the data.
    """

    simulator: Simulator
    train: TrajectoryDataset
    valid: TrajectoryDataset
    settings: Settings = field(default_factory=Settings)
    budget: Budget = field(default_factory=lambda: Budget(seconds=60.0))
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    mixed: bool = False
    folder: Path | None = None
    resume: bool = False
    progress: Progress | None = None
    announce: Announce | None = None
    observed: Observer | None = None
    opening: Callable[[], None] | None = None
    histories: dict[Path, History] = field(default_factory=dict, compare=False, repr=False)
    prior: Prior | None = None

    @property
    def setup(self) -> Setup:
        """What remains of the problem without data."""
        return Setup(self.simulator, self.train.times, self.settings, self.seed, self.device)

    def part(self, name: str, *, share: float, begun: float = 0.0) -> Problem:
        """Return the problem of one of several networks: a share of the budget, in a folder below.

        Args:
            name: Name of the folder.
            share: Share of the budget, above 0 and at most 1.
            begun: Share of the work that is done before, for the display of progress.

        Returns:
            The problem, with the same data.
        """
        folder, said = self.folder, self.announce
        return replace(
            self,
            budget=self.budget.share(share),
            folder=None if folder is None else folder / name,
            progress=self.shifted(share, begun),
            announce=None if said is None else lambda phase: said(f"{phase} ({name})"),
        )

    def shifted(self, share: float, begun: float) -> Progress | None:
        """Return a function that shows the progress of a part of the work.

        Args:
            share: Share of the work that the part is.
            begun: Share that is done before.
        """
        tell = self.progress

        def told(done: float, record: ValidationRecord) -> None:
            assert tell is not None
            tell(begun + share * done, record)

        return None if tell is None else told

    def say(self, phase: str) -> None:
        """Announce what is being done from now on.

        Args:
            phase: The phase in a few words.
        """
        if self.announce is not None:
            self.announce(phase)

    def minimise(
        self,
        model: nn.Module,
        loss: Loss,
        *,
        estimates: tuple[Tensor, Tensor] | None = None,
        seed: Seed | None = None,
    ) -> None:
        """Train ``model.network`` on pairs of first and last state.

        Args:
            model: The module to train, with a part called ``network``.
            loss: The objective, called with the model.
            estimates: Estimates of the first states of the training and the validation trajectories, handed to
                ``loss`` with each batch.
            seed: Seed of this training; None: that of the problem.
        """
        settings = self.settings.model_copy(update={"windows": (2,)})
        ends = self.train.ends(), self.valid.ends()
        self._fit(model, self.simulator, *ends, settings, seed, loss=loss, estimates=estimates)

    def minimise_windows(self, model: nn.Module, sde: SDE, *, seed: Seed | None = None) -> None:
        """Train ``model.network`` on windows of whole trajectories, by the objective that settings and model name.

        Args:
            model: The module to train, a score model.
            sde: The physics.
            seed: Seed of this training; None: that of the problem.
        """
        self._fit(model, sde, self.train, self.valid, self.settings, seed)

    def minimise_trajectories(self, model: nn.Module, loss: Loss) -> None:
        """Train ``model.network`` on whole trajectories.

        Args:
            model: The module to train, with a part called ``network``.
            loss: The objective, called with the model.
        """
        settings = self.settings.model_copy(update={"windows": (len(self.train.times),)})
        self._fit(model, self.simulator, self.train, self.valid, settings, None, loss=loss)

    def minimise_jumps(
        self,
        kernel: JumpKernel,
        sde: SDE,
        settings: Settings,
        *,
        stream: Seed | None = None,
        rows: int | None = None,
    ) -> None:
        """Train jump kernels on pairs of states of trajectories, new ones where the simulator is known.

        Args:
            kernel: The jump kernels.
            sde: The physics.
            settings: Settings of this training.
            stream: Stream of its random numbers; None: that of the jump kernels of states.
            rows: Most trajectories in a round; None: as suits the states.
        """
        fresh = choose_fresh(settings.fresh, sde)
        pairs = JumpPairs(kernel, sde, self.train, self.valid, fresh=fresh, rows=rows, observed=self.observed)
        stream = seeds(self.seed).child("jumps") if stream is None else stream
        self._fit(kernel, sde, self.train, self.valid, settings, stream, loss=JUMPS, pairs=pairs)

    def open(self) -> Path | None:
        """Make the folder ready to be written into.

        Returns:
            The folder; None if nothing is to be written.
        """
        if self.folder is not None:
            if self.opening is not None:
                self.opening()
            self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder

    def _fit(
        self,
        model: nn.Module,
        sde: SDE,
        train: TrajectoryDataset,
        valid: TrajectoryDataset,
        settings: Settings,
        seed: Seed | None,
        **objective: Any,
    ) -> None:
        folder = self.open()
        if folder in self.histories:
            raise ValueError(
                f"{folder} holds another network of this run; train each one of `problem.part(name, ...)`."
            )
        history = fit(
            model,
            sde,
            train,
            valid,
            settings=settings,
            budget=self.budget,
            seed=self.seed if seed is None else seed,
            run=folder,
            resume=self.resume,
            progress=self.progress,
            announce=self.announce,
            **objective,
        )
        if folder is not None:
            self.histories[folder] = history


Method = Callable[..., Answer]
"""``fit(problem, **options)``; options are keyword-only arguments with defaults."""
