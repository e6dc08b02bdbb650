"""run.json: how a run was made.  It is read strictly, and refused where it was changed or contradicts itself."""

from __future__ import annotations

__all__ = [
    "SCHEMA",
    "check_same",
    "choice",
    "identity",
    "is_begun",
    "process_of_run",
    "read_info",
    "stored_budget",
    "write_info",
]

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from physinv.config import checksums
from physinv.config.files import MOST_TEXT, check_regular, write_text
from physinv.config.json_text import read_object
from physinv.config.outputs.refusals import OVERWRITE
from physinv.config.outputs.replace import settle
from physinv.config.settings import Settings
from physinv.config.strict import ConfigError
from physinv.processes.parameters import build
from physinv.processes.recorded import Recorded
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator
from physinv.training.budget import Budget

SCHEMA = 3
"""Version of run.json.  Versions 1, of score models only, and 2, with or without a checksum, are read as well."""

_INFO, _CHECKSUM = "run.json", "sha256"
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
_CLOSE = 1e-4  # of the step between stored times: by how much those of data and of the process may differ

_Count = Annotated[int, Field(ge=0)]
_Time = Annotated[float, Field(allow_inf_nan=False)]


class _Observation(BaseModel):
    """The partial observations that a run is trained for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    observe: str
    noise: _Time | list[_Time]
    seed: _Count
    at: list[_Time] = []


class _Info(BaseModel):
    """The kinds of values that run.json must hold; it may hold more."""

    model_config = ConfigDict(extra="allow", strict=True)

    simulator: str
    parameters: dict[str, Any]
    times: list[_Time]
    shape: list[_Count]
    trajectories: _Count
    data: str = ""
    independent: _Time = math.inf
    method: str
    options: dict[str, Any]
    settings: dict[str, Any]
    seed: _Count
    steps: _Count | None
    budget: _Time | None
    device: str
    versions: dict[str, str]
    notes: dict[str, Any] = {}
    summary: bool = False
    units: dict[str, str] = {}
    physics_check: list[dict[str, Any]] = []
    observation: _Observation | None = None


def read_info(run: Path | str) -> dict[str, Any]:
    """Return what run.json says: names, parameters, method, settings, seed and versions.

    Args:
        run: Folder of the run.

    Raises:
        ValueError: If there is no run.json, it is damaged, or it was changed; one line says what to do.
    """
    path = Path(run) / _INFO
    settle(path.parent)
    check_regular(path, MOST_TEXT)
    try:
        info = read_object(path.read_bytes(), str(path))
    except (FileNotFoundError, NotADirectoryError):
        hint = "make one with `physinv train`."
        if Path(run).is_file() and (Path(run).parent / _INFO).is_file():
            hint = f"give the folder of the run, {Path(run).parent}."
        if (Path(run) / "data").is_dir():
            hint = f"it is a dataset: train on it, `physinv train {run} --out runs/NAME`, and give that run."
        raise ValueError(f"{run} is not a run: there is no {path}; {hint}") from None

    # The checksum first, since whatever else is wrong may come of a changed byte.
    if info.get("schema") == SCHEMA and _CHECKSUM not in info:
        raise ValueError(
            f"{path} is damaged: it lacks its checksum `{_CHECKSUM}`; put back a copy, or train again (if a change is "
            f"meant, set `{_CHECKSUM}` to null)."
        )
    told = info.pop(_CHECKSUM, None)
    if told is not None and told != checksums.of_json(info):
        raise ValueError(
            f"{path} was changed after it was written: its checksum `{_CHECKSUM}` is of something else; put back a "
            f"copy, or train again (if the change is meant, set `{_CHECKSUM}` to null)."
        )
    if info.get("schema") == 1:
        notes = {"model": "score", "reference": info["reference"]} if "reference" in info else {}
        info |= {"method": "physinv", "options": {}, "notes": notes}
    elif info.get("schema") not in (2, SCHEMA):
        raise ValueError(
            f"{path} has schema {_short(info.get('schema'))}, this version of physinv reads 1 to {SCHEMA}."
        )
    try:
        _Info(**info)
    except ValidationError as error:
        raise ValueError(f"{path} is damaged: {_short(ConfigError(error), 200)}") from None
    times = info["times"]
    if len(times) < 2 or any(b <= a for a, b in itertools.pairwise(times)):
        raise ValueError(
            f"{path} is damaged: `times` must be two or more, and increase strictly; put back a copy, or train again."
        )
    return info


def write_info(run: Path, info: Mapping[str, Any]) -> None:
    """Write run.json with its checksum, whole or not at all.

    Args:
        run: Folder of the run.
        info: What it says, fit for JSON.
    """
    plain = {key: value for key, value in json.loads(json.dumps(info)).items() if key != _CHECKSUM}
    write_text(run / _INFO, json.dumps(plain | {_CHECKSUM: checksums.of_json(plain)}, indent=1) + "\n")


def identity(info: Mapping[str, Any]) -> str:
    """Compute what tells a run from all others: the checksum of data, method, settings, seed and notes.

    It does not change when a run goes on with a larger budget.

    Args:
        info: What run.json says.

    Returns:
        64 hexadecimal digits.
    """
    seen = {key: info[key] for key in ("observation", "data") if key in info}  # runs of earlier versions have none
    return checksums.of_json({key: info.get(key) for key in (*_COMPARED, "shape", "notes")} | seen)


def process_of_run(info: Mapping[str, Any], run: Path) -> tuple[Simulator, Float[Tensor, " time"]]:
    """Make the process that run.json names, and its stored times, which must be those that run.json lists.

    Args:
        info: What run.json says.
        run: The folder of the run, for messages.

    Returns:
        The process, and times ``(time,)``, float64.

    Raises:
        ValueError: If the parameters do not fit the process, or it has other times or states than run.json says.
    """
    path, process = run / _INFO, find(info["simulator"])
    try:
        made = build(process, info["parameters"])
        _check_states(info, made, path)
        return made, _checked_times(info, made, path)
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:  # of values inside of lists, for example
        reason = _short((str(error).splitlines() or [type(error).__name__])[0].rstrip("."), 200)
        raise ValueError(
            f"`parameters` in {path} make no process: {reason}; put back a copy, or train again."
        ) from None


def is_begun(run: Path) -> bool:
    """Return whether there is a run in a folder, finished or not.

    Args:
        run: Folder of the run.
    """
    return (run / _INFO).exists()


def stored_budget(run: Path) -> Budget | None:
    """Return the budget that a run was begun with, or None where there is no run with one.

    Args:
        run: Folder of the run.
    """
    info = read_info(run) if is_begun(run) else {}
    steps, seconds = info.get("steps"), info.get("budget")
    return None if steps is None and seconds is None else Budget(steps=steps, seconds=seconds)


def choice(run: Path) -> list[str]:
    """Return what a method that chooses among others chose, one line for each trial, the choice first.

    Args:
        run: Folder of the run.

    Returns:
        Lines; none for methods that choose nothing. The last one says why a candidate was chosen whose scores are worse
        than those of the linear estimate.

    Raises:
        ValueError: If the trials are no list of trials.
    """
    notes = read_info(run).get("notes", {})
    lines = [f"chosen: {notes['chosen']}"] if "chosen" in notes else []
    try:
        for trial in notes.get("trials", []):
            said = f"  {trial['method']}, {trial['share']:.0%} of the budget: "
            if "relative" in trial:
                said += f"CRPS {trial['crps']:.4g}, energy score {trial['energy_score']:.4g}, "
                lines.append(said + f"{trial['relative']:.3f} of the linear estimate's")
            else:
                lines.append(said + trial["failed"])
        lines += _against_linear(notes)
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{run / _INFO} is damaged: `notes.trials` must be a list of trials; train again.") from None
    return lines


def _against_linear(notes: Mapping[str, Any]) -> list[str]:
    """Why a candidate was chosen whose scores are worse than those of the linear estimate."""
    scores = [t for t in notes.get("trials", []) if t["method"] == notes["chosen"] != "linear" and "relative" in t]
    best = min(scores, key=lambda t: float(t["relative"]), default=None)
    if best is None or not best["relative"] > 1:
        return []
    worse, error = best["relative"] - 1, best.get("error", 0.0)
    if worse > error:
        return ["  validation windows all overlap, and do not decide against it: its spread is fitted to them as well"]
    return [
        f"  {best['method']} is not told from the linear estimate: worse by {worse:.1%} +- {error:.1%}; it is kept, as "
        "its samples need not be Gaussian"
    ]


def check_same(run: Path, info: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that was begun with other data, method, settings or seed, or with a larger budget.

    Args:
        run: Folder of the run.
        info: What run.json would say now.

    Raises:
        ValueError: If it was; one line names the first difference.
    """
    old = read_info(run)
    if isinstance(old.get("settings"), dict):  # earlier versions had fewer of them
        old = {**old, "settings": {**Settings().model_dump(mode="json"), **old["settings"]}}
    for key in (*_COMPARED, "observation"):
        if old.get(key) != info.get(key):
            before, now = _differing(old.get(key), info.get(key))
            raise ValueError(
                f"{run} was begun with `{key}` = {_short(before)}, now {_short(now)}; "
                f"use the same, another folder, or {OVERWRITE}."
            )
    if "data" in old and old["data"] != info.get("data"):
        raise ValueError(f"{run} was begun on other trajectories; give these, another folder, or {OVERWRITE}.")
    for key in ("steps", "budget"):
        before, now = old.get(key), info[key]
        if (before is None) != (now is None) or (now is not None and now < before):
            raise ValueError(
                f"{run} was begun with `{key}` = {before}, now {now}; a budget may grow, in the same kind of number: "
                f"give the same or more, another folder, or {OVERWRITE}."
            )


def _check_states(info: Mapping[str, Any], made: Simulator, path: Path) -> None:
    """Refuse a process whose states have another shape; sizes first, since a layout lists as many positions."""
    shape = tuple(info["shape"])
    large = isinstance(made, Recorded) and math.prod(made.sizes) > math.prod(shape)
    own = made.sizes if large and isinstance(made, Recorded) else tuple(made.layout.shape)
    if large or own != shape:
        raise ValueError(
            f"{path} contradicts itself: it has `shape` {list(shape)}, the process that it names {list(own)}; put back "
            "a copy, or train again."
        )


def _checked_times(info: Mapping[str, Any], made: Simulator, path: Path) -> Float[Tensor, " time"]:
    """The stored times, which must be those of the process."""
    times = torch.tensor(info["times"], dtype=torch.float64)
    many = len(times) == made.steps + 1  # compared first, since a wrong number may be too large to make times of
    if not many or bool(((times - made.times).abs() > _CLOSE * made.times.diff().min()).any()):
        raise ValueError(
            f"{path} contradicts itself: it has {len(times)} `times` from {times[0]:g} to {times[-1]:g}, the process "
            f"that it names {made.steps + 1} to {made.horizon:g}; put back a copy, or train again."
        )
    return times


def _differing(before: Any, now: Any) -> tuple[Any, Any]:
    """Two values, of settings and the like only those that differ."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return before, now
    differ = [k for k in {**before, **now} if before.get(k, ...) != now.get(k, ...)]
    one, other = ({k: x[k] for k in differ if k in x} for x in (before, now))
    return one, other


def _short(value: object, longest: int = _LONGEST) -> str:
    """A value in a message, cut if it is long."""
    text = str(value)
    return text if len(text) < longest else text[: longest - 3] + "..."
