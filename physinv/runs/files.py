"""The files of a run, and run.json among them.

run.json                 how the run was made: simulator, method, options, settings, seed, data, versions, notes
model.safetensors        the trained answer; written last, so where it is the run is finished
summary.safetensors      what is kept of the training data, to judge observations and posteriors by
log.jsonl                one line per validation; of several networks each has a folder of its own
checkpoint.safetensors   weights, averages, optimiser, beside the log
physics.safetensors      drift and noise, where they are learned first
"""

from __future__ import annotations

__all__ = [
    "SCHEMA",
    "SUMMARY",
    "check_same",
    "choice",
    "clear",
    "forget_model",
    "is_begun",
    "is_finished",
    "logs",
    "read_info",
    "read_model",
    "stored_budget",
    "write_info",
    "write_model",
]

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from physinv.config.files import load_tensors, read_json, save_tensors, write_text
from physinv.methods.saving import prefixed
from physinv.training.budget import Budget
from physinv.training.validation import Record

SCHEMA = 2
"""Version of run.json; version 1, of score models only, is read as well, all others are refused."""

SUMMARY = "summary.safetensors"
"""Name of the file of what is kept of the training data."""

_INFO, _MODEL, _PHYSICS, _LOG = "run.json", "model.safetensors", "physics.safetensors", "log.jsonl"
_WRITTEN = (_INFO, _LOG, "checkpoint.safetensors", _PHYSICS, SUMMARY, _MODEL)
_COMPARED = (
    "simulator",
    "parameters",
    "times",
    "trajectories",
    "method",
    "options",
    "settings",
    "seed",
)
_LONGEST = 60  # characters of a value in a message


def read_info(run: Path | str) -> dict[str, Any]:
    """Return what run.json says: names, parameters, method, settings, seed and versions.

    Args:
        run: Folder of the run.

    Raises:
        ValueError: If there is no run.json, or it is damaged; one line says what to do.
    """
    path = Path(run) / _INFO
    try:
        info: dict[str, Any] = read_json(path)
    except FileNotFoundError:
        hint = "make one with `physinv train`."
        if (Path(run) / "data").is_dir():
            hint = f"it is a dataset: train on it, `physinv train {run} --out runs/NAME`, and give that run."
        raise ValueError(f"{run} is not a run: there is no {path}; {hint}") from None
    if info.get("schema") == 1:
        notes = {"model": "score", "reference": info["reference"]} if "reference" in info else {}
        info |= {"method": "physinv", "options": {}, "notes": notes}
    elif info.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {info.get('schema')}, this version of physinv reads 1 and {SCHEMA}.")
    return info


def write_info(run: Path, info: Mapping[str, Any]) -> None:
    """Write run.json, whole or not at all.

    Args:
        run: Folder of the run.
        info: What it says, fit for JSON.
    """
    write_text(run / _INFO, json.dumps(info, indent=1) + "\n")


def is_begun(run: Path) -> bool:
    """Return whether there is a run in a folder, finished or not.

    Args:
        run: Folder of the run.
    """
    return (run / _INFO).exists()


def is_finished(run: Path) -> bool:
    """Return whether the run in a folder is finished.

    Args:
        run: Folder of the run.
    """
    return (run / _MODEL).exists()


def stored_budget(run: Path) -> Budget | None:
    """Return the budget that a run was begun with, or None where there is no run with one.

    Args:
        run: Folder of the run.
    """
    info = read_info(run) if is_begun(run) else {}
    steps, seconds = info.get("steps"), info.get("budget")
    return None if steps is None and seconds is None else Budget(steps=steps, seconds=seconds)


def forget_model(run: Path) -> None:
    """Remove the trained answer, before another one takes its place together with what run.json says of it.

    Args:
        run: Folder of the run.
    """
    (run / _MODEL).unlink(missing_ok=True)


def write_model(run: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the trained answer; its presence says that training ended.

    Args:
        run: Folder of the run.
        tensors: All that was fitted.
    """
    save_tensors(run / _MODEL, tensors, {"format": "physinv answer 1"})


def read_model(run: Path) -> dict[str, Tensor]:
    """Read the trained answer.

    Args:
        run: Folder of the run.

    Returns:
        All that was fitted, on the CPU.

    Raises:
        ValueError: If the run is not finished, or a file is damaged; one line says what to do.
    """
    if not is_finished(run):
        raise ValueError(f"{run} holds an unfinished run; go on with `physinv train ... --out {run} --resume`.")
    tensors, header = load_tensors(run / _MODEL)
    if header.get("format") == "physinv score model 1" and (run / _PHYSICS).exists():
        tensors |= prefixed("physics", load_tensors(run / _PHYSICS)[0])
    return tensors


def clear(run: Path) -> None:
    """Remove the files of a run, also those of its networks in folders below; other files stay.

    Args:
        run: Folder of the run.
    """
    for folder in _networks(run):
        for name in _WRITTEN:
            (folder / name).unlink(missing_ok=True)


def logs(run: Path) -> dict[str, list[Record]]:
    """Read the log of each network of a run.

    Args:
        run: Folder of the run.

    Returns:
        The lines by the folder of the network below the run, ``""`` for the run's own; empty where nothing was trained.
    """
    found = {}
    for folder in _networks(run):
        name = folder.relative_to(run).as_posix().removeprefix(".")
        if (folder / _LOG).exists():
            found[name] = [Record(**json.loads(line)) for line in (folder / _LOG).read_text("utf-8").splitlines()]
    return {name: lines for name, lines in found.items() if lines}


def choice(run: Path) -> list[str]:
    """Return what a method that chooses among others chose, one line for each trial, the choice first.

    Args:
        run: Folder of the run.

    Returns:
        Lines; none for methods that choose nothing.
    """
    notes = read_info(run).get("notes", {})
    lines = [f"chosen: {notes['chosen']}"] if "chosen" in notes else []
    for trial in notes.get("trials", []):
        said = f"  {trial['method']}, {trial['share']:.0%} of the budget: "
        if "relative" in trial:
            said += f"CRPS {trial['crps']:.4g}, energy score {trial['energy_score']:.4g}, "
            lines.append(said + f"{trial['relative']:.3f} of the linear estimate's")
        else:
            lines.append(said + trial["failed"])
    return lines


def check_same(run: Path, info: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that was begun with other data, method, settings or seed, or with a larger budget.

    Args:
        run: Folder of the run.
        info: What run.json would say now.

    Raises:
        ValueError: If it was; one line names the first difference.
    """
    old = read_info(run)
    for key in _COMPARED:
        if old.get(key) != info[key]:
            raise ValueError(
                f"{run} was begun with `{key}` = {_short(old.get(key))}, now {_short(info[key])}; "
                f"use the same, another --out, or --overwrite."
            )
    for key in ("steps", "budget"):
        before, now = old.get(key), info[key]
        if (before is None) != (now is None) or (now is not None and now < before):
            raise ValueError(
                f"{run} was begun with `{key}` = {before}, now {now}; a budget may grow, in the same kind of number: "
                "give the same or more, another --out, or --overwrite."
            )


def _short(value: object) -> str:
    """A value in a message, cut if it is long."""
    text = str(value)
    return text if len(text) < _LONGEST else text[: _LONGEST - 3] + "..."


def _networks(run: Path) -> Iterator[Path]:
    """The folder of a run and those of its networks below, which hold checkpoints and are no runs themselves."""
    yield run
    for path in sorted(run.rglob("checkpoint.safetensors")):
        between = [run / part for part in _above(path.parent.relative_to(run))]
        if path.parent != run and not any((folder / _INFO).exists() for folder in between):
            yield path.parent


def _above(relative: Path) -> list[Path]:
    """A relative path and those above it, without the empty one."""
    return [relative, *relative.parents][:-1]
