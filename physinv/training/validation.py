"""Validation losses, and the log of them."""

from __future__ import annotations

__all__ = [
    "Announce",
    "History",
    "Log",
    "Progress",
    "ValidationRecord",
    "as_record",
    "check_listeners",
    "check_loss",
    "validate",
]

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from physinv.config.failures import blamed_on
from physinv.config.inputs import check_function, describe
from physinv.equations.sde import SDE
from physinv.training.checkpoint import Checkpoint, append_log, save_checkpoint
from physinv.training.objectives.base import Batch, Loss

_PAUSE = 0.5  # seconds between two calls of ``progress``
_FEW = 4  # windows on which a loss is tried
_SAME = 1e-3  # relative difference of two values that differ by the order of sums alone, of terms of order one


@dataclass(frozen=True)
class ValidationRecord:
    """Hold one line of the log. Losses are per component, in units of the noise in the targets.

    Args:
        step: Updates done.
        seconds: Time that they took.
        window: States per window.
        rate: Learning rate of the last update.
        loss: Mean training loss since the line before.
        valid: Validation loss of the averaged weights.
        best: Lowest validation loss so far.
    """

    step: int
    seconds: float
    window: int
    rate: float
    loss: float
    valid: float
    best: float


def as_record(values: Mapping[str, Any], path: Path) -> ValidationRecord:
    """Make a line of the log of what was read.

    Args:
        values: Numbers by name.
        path: The log, for the message.

    Returns:
        The line.

    Raises:
        ValueError: If names or kinds of values are not those of a line.
    """
    fields = dataclasses.fields(ValidationRecord)
    plain = all(type(values.get(f.name)) in ((int,) if f.type == "int" else (int, float)) for f in fields)
    if not plain or len(values) != len(fields):
        names = ", ".join(f.name for f in fields)
        raise ValueError(f"{path} is damaged: a line must hold the numbers {names}; put back a copy, or train again.")
    return ValidationRecord(**values)


Progress = Callable[[float, ValidationRecord], None]
"""``(done, record) -> None``: hears which share of the training is done, and the last line of the log."""

Announce = Callable[[str], None]
"""``(phase) -> None``: hears what is being done from now on, such as ``"fit of the reference law"``."""


def check_listeners(progress: Progress | None, announce: Announce | None) -> None:
    """Refuse what cannot be told how far the training is.

    Args:
        progress: Hears of every validation; None: nobody does.
        announce: Hears what is being done; None: nobody does.

    Raises:
        ValueError: If one of them is no function of what it hears.
    """
    if progress is not None:
        check_function(progress, "progress", "(done, record) -> None")
    if announce is not None:
        check_function(announce, "announce", "(phase) -> None")


@dataclass
class History:
    """Hold what training leaves behind.

    Args:
        records: The log.
        best_step: Number of updates after which the averaged weights were kept.
    """

    records: list[ValidationRecord] = field(default_factory=list)
    best_step: int = 0


@torch.no_grad()
def check_loss(model: nn.Module, sde: SDE, batch: Batch, loss: Loss, *, seed: int) -> None:
    """Refuse a loss that changes the data, or that takes noise from elsewhere than the generator of its batch.

    Validation sees the same windows again and again, and training of one seed gives one result: neither would hold.

    Args:
        model: The model, or whatever ``loss`` accepts as its first argument.
        sde: The physics.
        batch: A batch, of which the first windows count.
        loss: The loss.
        seed: Seed of the noise.

    Raises:
        ValueError: If the loss does one or the other.
    """
    tensors = {f.name: v for f in dataclasses.fields(batch) if isinstance(v := getattr(batch, f.name), Tensor)}
    few = {name: value[:_FEW].clone() for name, value in tensors.items()}
    values = []
    for _ in range(2):
        noise = torch.Generator(device=batch.states.device).manual_seed(seed)
        with blamed_on("`loss`"):
            values.append(loss(model, sde, dataclasses.replace(batch, **few, generator=noise, judged=True)))
        if changed := [name for name, value in few.items() if _differ(value, tensors[name][:_FEW])]:
            raise ValueError(f"`loss` must not change `batch.{changed[0]}` in place; clone it first.")
    if all(isinstance(v, Tensor) and v.numel() == 1 and not v.is_complex() for v in values):
        first, second = (float(v) for v in values)
        if abs(first - second) > _SAME * max(abs(first), abs(second), _SAME):
            told = f"got {first:.6g} and {second:.6g} for one batch and one generator"
            remedy = "draw by torch.randn(..., generator=batch.generator)"
            raise ValueError(f"`loss` must draw its noise from `batch.generator`, {told}; {remedy}.")


@torch.no_grad()
def validate(
    model: nn.Module, sde: SDE, batches: Sequence[Batch], loss: Loss, *, generator: torch.Generator
) -> list[float]:
    """Return the loss of each batch.

    Args:
        model: The model, or whatever ``loss`` accepts as its first argument.
        sde: The physics.
        batches: Batches of one size.
        loss: The loss of a batch.
        generator: Source of the noise that the loss draws; seeded alike, all validations see the same noise.

    Raises:
        ValueError: If the loss of a batch is not a single number.
    """
    values = [loss(model, sde, dataclasses.replace(batch, generator=generator, judged=True)) for batch in batches]
    for value in values:
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ValueError(f"`loss` must return a tensor of one number for a batch, got {describe(value)}.")
        if value.is_complex():
            raise ValueError("`loss` must return a real number for a batch, got a complex one; take its real part.")
    return torch.stack([value.reshape(()) for value in values]).tolist()


def _differ(a: Tensor, b: Tensor) -> bool:
    return not torch.equal(a.nan_to_num(), b.nan_to_num())


class Log:
    """Keep the history of a training, write it into the folder of the run, and report progress.

    Args:
        history: What was logged before a resumed training.
        run: Folder of the run; None: nothing is written.
        progress: Hears of every line, and of the last line twice a second; None: nobody does.
    """

    def __init__(self, history: History, run: Path | None, progress: Progress | None) -> None:
        self.history, self._run, self._progress = history, run, progress
        self._shown = time.perf_counter()

    def add(self, state: Checkpoint, values: list[float], *, window: int, rate: float, loss: float) -> ValidationRecord:
        """Judge the validation losses, add a line, and write line and checkpoint.

        Args:
            state: The state of the training, in which the best weights are kept.
            values: Validation loss of each batch.
            window: States per window.
            rate: Learning rate of the last update.
            loss: Mean training loss since the line before.

        Returns:
            The line that was added.

        Raises:
            ValueError: If a validation loss is not finite.
        """
        state.judge(values)
        record = ValidationRecord(state.step, round(state.seconds, 3), window, rate, loss, fmean(values), state.best)
        self.history.records.append(record)
        self.history.best_step = state.best_step
        if self._run is not None:
            append_log(self._run, record)
            save_checkpoint(self._run, state)
        return record

    def report(self, done: float, *, now: bool = False) -> None:
        """Report progress, at most twice a second.

        Args:
            done: Share of the training that is done.
            now: Report even if the last report was a moment ago.
        """
        if self._progress is None or not self.history.records:
            return
        if now or time.perf_counter() - self._shown > _PAUSE:
            self._shown = time.perf_counter()
            self._progress(min(done, 1.0), self.history.records[-1])
