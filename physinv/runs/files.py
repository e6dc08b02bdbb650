"""The files of a run, beside run.json (:mod:`physinv.runs.run_json`).

run.json                 how the run was made: simulator, method, options, settings, seed, data, versions, notes
model.safetensors        the trained answer; written last, so where it is the run is finished
summary.safetensors      what is kept of the training data, to judge observations and posteriors by
log.jsonl                one line per validation; of several networks each has a folder of its own
checkpoint.safetensors   weights, averages, optimiser, beside the log
physics.safetensors      drift and noise, where they are learned first

All of them hold checksums, the log one in each line: one line more or less does not matter.
"""

from __future__ import annotations

__all__ = [
    "SUMMARY",
    "check_unused",
    "files_of",
    "is_finished",
    "logs",
    "read_model",
    "read_of_run",
    "verify",
    "write_model",
    "write_of_run",
]

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from physinv.config.files import load_tensors, save_tensors
from physinv.config.outputs.refusals import OVERWRITE
from physinv.config.outputs.replace import staging
from physinv.methods.saving import prefixed
from physinv.runs.run_json import identity
from physinv.training.log_lines import read_log
from physinv.training.validation import ValidationRecord, as_record

SUMMARY = "summary.safetensors"
"""Name of the file of what is kept of the training data."""

_INFO, _MODEL, _PHYSICS, _LOG = "run.json", "model.safetensors", "physics.safetensors", "log.jsonl"
_CHECKPOINT = "checkpoint.safetensors"
_WRITTEN = (_INFO, _LOG, _CHECKPOINT, _PHYSICS, SUMMARY, _MODEL)
_RUN = "run"  # entry of the header of tensors: of which run they are


def is_finished(run: Path) -> bool:
    """Return whether the run in a folder is finished.

    Args:
        run: Folder of the run.
    """
    return (run / _MODEL).exists()


def write_model(run: Path, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write the trained answer; its presence says that training ended.

    Args:
        run: Folder of the run.
        tensors: All that was fitted.
        info: What run.json says, to which the answer is bound.
    """
    write_of_run(run / _MODEL, tensors, "physinv answer 1", info)


def read_model(run: Path, info: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read the trained answer.

    Args:
        run: Folder of the run.
        info: What its run.json says.

    Returns:
        All that was fitted, on the CPU.

    Raises:
        ValueError: If the run is not finished, a file is damaged, or the answer is of another run; one line says what
            to do.
    """
    if not is_finished(run):
        raise ValueError(f"{run} holds an unfinished run; go on with `physinv train ... --out {run} --resume`.")
    path = run / _MODEL
    tensors, header = read_of_run(path, info)
    wrong = next((k for k, v in tensors.items() if v.is_floating_point() and bool(v.isnan().any())), None)
    if wrong is not None:
        raise ValueError(f"{path} holds NaN in `{wrong}`, with which nothing can be computed; train again.")
    if header.get("format") == "physinv score model 1" and (run / _PHYSICS).exists():
        tensors |= prefixed("physics", load_tensors(run / _PHYSICS)[0])
    return tensors


def write_of_run(path: Path, tensors: Mapping[str, Tensor], form: str, info: Mapping[str, Any]) -> None:
    """Write tensors of a run, with what tells it from all others.

    Args:
        path: File to write.
        tensors: The tensors, by name.
        form: Name and version of what the file holds.
        info: What run.json says.
    """
    save_tensors(path, tensors, {"format": form, _RUN: identity(info)})


def read_of_run(path: Path, info: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors of a run, which must be those of its run.json where the file says whose they are.

    Args:
        path: File to read.
        info: What run.json says.

    Returns:
        The tensors, on the CPU, and what the file says about them.

    Raises:
        ValueError: If the file is damaged, or of another run; one line says what to do.
    """
    tensors, header = load_tensors(path)
    if _RUN in header and header[_RUN] != identity(info):
        raise ValueError(
            f"{path} does not belong to {path.parent / _INFO}, which names other data, parameters, method or settings "
            "than it was trained with; put back the file that belongs to it, or train again."
        )
    return tensors, header


def verify(run: Path) -> None:
    """Read all files of tensors of a run, whose checksums are compared with their content.

    Args:
        run: Folder of the run.

    Raises:
        ValueError: If one of them is damaged; one line says which.
    """
    for path in files_of(run):
        if path.suffix == ".safetensors":
            load_tensors(path)


def files_of(run: Path) -> list[Path]:
    """Return the files of a run that are there, also those of its networks in folders below.

    Args:
        run: Folder of the run.
    """
    return [path for folder in _networks(run) for name in _WRITTEN if (path := folder / name).exists()]


def check_unused(run: Path) -> None:
    """Refuse a folder that holds files of a run without run.json, which training would mix with its own.

    Args:
        run: Folder of the run that is to begin there.

    Raises:
        FileExistsError: If there are any; one line says what to do.
    """
    found = next((name for name in _WRITTEN if (run / name).exists()), None)
    if found is not None:
        raise FileExistsError(
            f"{run} holds {found} of a run without its run.json; put that back, take another folder or add {OVERWRITE}."
        )


def logs(run: Path) -> dict[str, list[ValidationRecord]]:
    """Read the log of each network of a run.

    Args:
        run: Folder of the run.

    Returns:
        The lines by the folder of the network below the run, ``""`` for the run's own; empty where nothing was trained.

    Raises:
        ValueError: If a line is no record, or does not have its checksum.
    """
    found = {}
    for folder in _networks(run):
        name, path = folder.relative_to(run).as_posix().removeprefix("."), folder / _LOG
        if path.exists():
            found[name] = [as_record(values, path) for values in read_log(path)]
    return {name: lines for name, lines in found.items() if lines}


def _networks(run: Path) -> Iterator[Path]:
    """The folder of a run, and those of its networks below: with checkpoints or logs, and no runs themselves."""
    yield run
    for folder in sorted({path.parent for name in (_CHECKPOINT, _LOG) for path in run.rglob(name)}):
        between = [run / part for part in _above(folder.relative_to(run))]
        if folder != run and not any((f / _INFO).exists() or f == staging(run) for f in between):
            yield folder


def _above(relative: Path) -> list[Path]:
    """A relative path and those above it, without the empty one."""
    return [relative, *relative.parents][:-1]
