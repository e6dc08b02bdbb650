"""The files of a training: checkpoints that resume exactly, and the log; tensors as safetensors, text as JSON.

log.jsonl                one line per validation, with its checksum
checkpoint.safetensors   weights, averages, optimiser; its header holds the counters
"""

from __future__ import annotations

__all__ = [
    "Checkpoint",
    "append_log",
    "load_checkpoint",
    "save_checkpoint",
    "trained_part",
    "trim_log",
]

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from physinv.config.files import load_tensors, save_tensors, write_text
from physinv.config.json_text import read_object
from physinv.training.log_lines import log_line, read_log

_COUNTERS = ("step", "seconds", "lowest", "best_step", "last_validated")


@dataclass
class Checkpoint:
    """Hold everything that training carries from one update to the next.

    Args:
        model: What is trained; :func:`trained_part` holds the trained weights.
        average: A copy with averaged weights.
        best_weights: Weights of the averaged network that are kept so far.
        optimiser: The optimiser, with its own state.
        step: Updates done.
        seconds: Time that they took.
        lowest: Validation losses of the batches where their mean was lowest.
        best_step: Updates after which ``best_weights`` were taken.
        last_validated: Updates done at the last validation; -1: none.
        origin: Checksum of what is trained on, and with which seed; empty: not known.
    """

    model: nn.Module
    average: nn.Module
    best_weights: dict[str, Tensor]
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    lowest: list[float] = field(default_factory=list)
    best_step: int = 0
    last_validated: int = -1
    origin: str = ""

    @property
    def best(self) -> float:
        """The lowest mean validation loss so far."""
        return statistics.fmean(self.lowest) if self.lowest else math.inf

    def judge(self, values: list[float]) -> None:
        """Keep the averaged weights unless their validation loss is clearly worse than the lowest so far.

        Clearly worse means by more than one standard error of the differences to the lowest losses, batch by batch (the
        one-standard-error rule of Breiman et al. 1984). The noise in trajectories is far larger than what is learned,
        so the very lowest loss of many would be picked by chance, and often early.

        Args:
            values: Validation loss of each batch, in the same order every time.

        Raises:
            ValueError: If their mean is not finite.
        """
        self.last_validated = self.step
        value = statistics.fmean(values)
        if not math.isfinite(value):
            raise ValueError(_not_finite(value, self.step, self.best))
        gaps = [v - low for v, low in zip(values, self.lowest, strict=True)] if self.lowest else [0.0]
        error = statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else 0.0
        if value < self.best:
            self.lowest = values
        if statistics.fmean(gaps) <= error:
            self.best_step = self.step
            self.best_weights = {k: v.clone() for k, v in trained_part(self.average).state_dict().items()}


def trained_part(model: nn.Module) -> nn.Module:
    """Return what training changes and checkpoints hold: ``model.network``, or ``model.trained`` where that is more.

    Args:
        model: A score model, or another module with such an attribute.

    Raises:
        ValueError: If there is no module of that name.
    """
    network = getattr(model, "trained", getattr(model, "network", None))
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"`network` of {type(model).__name__} must be a module, got {type(network).__name__}; give a ScoreModel of "
            "build_model, or a module that holds what is trained as `network`."
        )
    return network


def save_checkpoint(run: Path, state: Checkpoint) -> None:
    """Write ``checkpoint.safetensors`` atomically.

    Args:
        run: Folder of the run.
        state: The state of the training.
    """
    tensors = {f"model.{k}": v for k, v in trained_part(state.model).state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in trained_part(state.average).state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in state.best_weights.items()}
    for i, slots in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{k}": v for k, v in slots.items()}
    counters = {k: getattr(state, k) for k in _COUNTERS}
    header = {"counters": json.dumps(counters), "origin": state.origin}
    save_tensors(run / "checkpoint.safetensors", tensors, header)


def load_checkpoint(run: Path, state: Checkpoint) -> bool:
    """Fill ``state`` from ``checkpoint.safetensors``.

    Args:
        run: Folder of the run.
        state: The state of a training that has just begun, of the same model and optimiser.

    Returns:
        Whether there was a checkpoint.

    Raises:
        ValueError: If the file is damaged, or of a training on other data or with another seed.
    """
    path = run / "checkpoint.safetensors"
    if not path.exists():
        return False
    tensors, header = load_tensors(path)
    if header.get("origin", state.origin) != state.origin:  # earlier versions do not say
        raise ValueError(
            f"{path} is the checkpoint of another training, on other data or with another seed; put back its own, or "
            "begin anew."
        )
    try:
        _fill(state, tensors, _counters(header, path))
    except (KeyError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is not a checkpoint of this training: {reason}; begin anew.") from None
    return True


def append_log(run: Path, record: Any) -> None:
    """Add one line to ``log.jsonl``.

    Args:
        run: Folder of the run.
        record: A dataclass of numbers.
    """
    with (run / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(log_line(dataclasses.asdict(record)))


def trim_log(run: Path, step: int) -> list[dict[str, Any]]:
    """Drop from ``log.jsonl`` what a killed run logged after its last checkpoint, or wrote by half.

    Args:
        run: Folder of the run.
        step: Updates done at the last checkpoint.

    Returns:
        The lines that remain.

    Raises:
        ValueError: If a line is damaged.
    """
    path = run / "log.jsonl"
    kept = [r for r in read_log(path) if not isinstance(at := r.get("step"), int) or at <= step]
    write_text(path, "".join(log_line(r) for r in kept))
    return kept


def _not_finite(value: float, step: int, best: float) -> str:
    """Why a loss is not finite: before the first update it is not the learning rate."""
    if step == 0:
        return (
            f"the validation loss is {value} before the first update, whatever the learning rate: a network, objective "
            "or reference law of your own, or the physics run backward, gives numbers that are not finite; look for "
            "those in your own parts, or write the data in units in which values and their changes are of order 1."
        )
    return f"the validation loss at step {step} is {value}, after {best:.3g} at best; try a smaller `rate`."


def _counters(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The counters of a checkpoint, each a number but for the list of losses."""
    counters = read_object(header.get("counters"), f"the header of {path}")
    for name in _COUNTERS:
        value = counters.get(name)
        numbers = value if name == "lowest" and isinstance(value, list) else [value]
        if not all(type(x) in (int, float) for x in numbers):
            raise ValueError(f"`{name}` must be a number, got {value!r}")
    return {name: counters[name] for name in _COUNTERS}


def _fill(state: Checkpoint, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
    """Fill in what a checkpoint holds."""
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "best": {}, "optimiser": {}}
    for name, value in tensors.items():
        group, _, rest = name.partition(".")
        groups[group][rest] = value
    trained_part(state.model).load_state_dict(groups["model"])
    trained_part(state.average).load_state_dict(groups["average"])
    device = next(state.model.parameters()).device
    state.best_weights = {k: v.to(device) for k, v in groups["best"].items()}
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in groups["optimiser"].items():
        i, _, key = name.partition(".")
        slots.setdefault(int(i), {})[key] = value
    whole = state.optimiser.state_dict()
    state.optimiser.load_state_dict({"state": slots, "param_groups": whole["param_groups"]})
    for name, value in counters.items():
        setattr(state, name, value)
