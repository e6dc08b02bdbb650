"""Records of observations in files: a TOML file that says when, what and how exactly, and names the data.

    [[entry]]
    at = 0.5                 # a time, or a list: the average over these times
    observe = "every:2"      # the operator; or mask = "sensors.npy", true where there is a sensor
    noise = 0.05
    data = "first.npy"       # (trajectory, *seen), or the numbers of one trajectory; NaN where one is missing

``observed_noise = {log_uniform = [0.02, 0.5]}`` before the entries says that the noise is unknown: ``noise`` then is
what that level is multiplied by, 1 where it is left out.

Paths are relative to the TOML file, and stay in its folder: a record from elsewhere reads nothing else.
"""

from __future__ import annotations

__all__ = ["RecordData", "read_numbers", "read_record"]

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, ValidationError
from torch import Tensor

from physinv.config.files import read_toml
from physinv.config.strict import ConfigError, Strict
from physinv.data.sources.read import open_source
from physinv.data.sources.valid_range import valid_numbers
from physinv.laws.described import EntryText, record_of
from physinv.processes.priors import OBSERVED_NOISE, ParameterPrior, prior_from

_Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Entry(Strict):
    """An entry of the file."""

    at: _Time | list[_Time]
    observe: str | None = None
    mask: str | None = None
    noise: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    data: str
    variable: str | None = None


class _File(Strict):
    """The whole file."""

    entry: Annotated[list[_Entry], Field(min_length=1)]
    observed_noise: dict[str, list[float]] | None = None


@dataclass(frozen=True)
class RecordData:
    """Observed numbers of a record, and what they are of.

    Args:
        entries: When, what and how exactly.
        y: The numbers, one row for each trajectory, NaN where one is missing.
        paths: The files that were read.
        whole: The true states at all stored times, NaN where they are not known; None: nothing is known of them.
        level: The law of an unknown factor of the noise; None: the noise is known.
    """

    entries: tuple[EntryText, ...]
    y: Float[Tensor, "batch seen"]
    paths: tuple[Path, ...]
    whole: Float[Tensor, "batch time *state"] | None = None
    level: ParameterPrior | None = None


def read_record(path: Path, shape: tuple[int, ...]) -> RecordData:
    """Read a record and its data.

    Args:
        path: The TOML file.
        shape: Shape of one state.

    Returns:
        The record.

    Raises:
        ValueError: If the file is no such file, or data do not fit what it says.
    """
    try:
        told = _File(**read_toml(path, kind="record", hint="give a TOML file with an [[entry]] for each observation."))
    except ValidationError as error:
        raise ValueError(f"{path}: {ConfigError(error)}") from None
    except ConfigError as error:
        raise ValueError(f"{path}: {error}") from None
    level = None if told.observed_noise is None else prior_from(OBSERVED_NOISE, told.observed_noise)
    entries, values, paths = [], [], [path]
    for i, entry in enumerate(told.entry):
        where = f"entry {i} of {path}"
        if entry.noise is None and level is None:
            raise ValueError(f"`noise` of {where} must be a number; or give `observed_noise` a law before all entries.")
        if (entry.observe or "").partition(":")[0] == "sensors":
            raise ValueError(f"`observe` of {where} draws places at random; say where they are by `mask`.")
        if (entry.observe is None) == (entry.mask is None):
            raise ValueError(f"`observe` or `mask` of {where} must say what is seen, one of the two.")
        places = None if entry.mask is None else _places(_inside(path, entry.mask, where), shape, where)
        if places == []:
            raise ValueError(f"`mask` of {where} must be true where something is seen, got none that is.")
        times = entry.at if isinstance(entry.at, list) else [entry.at]
        if len(set(times)) < len(times):
            raise ValueError(f"`at` of {where} must be times that differ, over which is averaged, got {entry.at}.")
        try:
            text = EntryText(at=times, observe=entry.observe, places=places, noise=entry.noise or 1.0)
            seen = record_of([text], shape).sizes(torch.zeros(1, *shape))[0]
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

        # Numbers of one trajectory, or of several.
        found = read_numbers(_inside(path, entry.data, where), entry.variable, where)
        rows = 1 if found.numel() == seen else len(found) if found.ndim else 0
        if not rows or found.numel() != rows * seen:
            raise ValueError(
                f"`data` of {where} must hold {seen} numbers for each trajectory, got shape {tuple(found.shape)}."
            )
        values.append(found.reshape(rows, seen))
        entries.append(text)
        paths += [path.parent / name for name in (entry.data, entry.mask) if name is not None]
    if len({len(v) for v in values}) > 1:
        raise ValueError(f"`data` of {path} must be of the same trajectories, got {[len(v) for v in values]} of them.")
    return RecordData(tuple(entries), torch.cat(values, 1), tuple(dict.fromkeys(paths)), level=level)


def read_numbers(path: Path, variable: str | None, where: str) -> Tensor:
    """Read the numbers of the one variable of a file.

    Args:
        path: The file, of any kind that observations are read from.
        variable: Its name; None: the only one there is.
        where: What the file is, for messages.

    Returns:
        The numbers, float32.

    Raises:
        ValueError: If the file cannot be read, has several variables and none is named, or its numbers are complex,
            words, infinite, or too large for float32.
    """
    source = open_source(path)
    names = [str(name) for name in source.data_vars]
    known = names if variable is None else [name for name in names if name == variable]
    if len(known) != 1:
        raise ValueError(f"`variable` of {where} must name one of {', '.join(names)}, got {variable}.")
    array: Any = valid_numbers(source[known[0]].variable)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"`data`: numbers of {where} must be real, {path} has {array.dtype}; write real ones.")
    if (count := int(np.isinf(array).sum())) and array.dtype.kind == "f":
        raise ValueError(
            f"`data`: numbers of {where} must be finite, {path} has {count} infinite ones; missing ones are NaN."
        )
    with np.errstate(over="ignore"):
        found = array.astype("float32")
    if (lost := np.isfinite(array) & ~np.isfinite(found)).any():
        most = float(np.abs(array[lost]).max())
        raise ValueError(f"`data`: numbers of {where} must be below 3e38, {path} has {most:g}; change the unit.")
    return torch.as_tensor(found)


def _inside(record: Path, name: str, where: str) -> Path:
    """The path of a file that a record names, which lies in the folder of the record, wherever links lead."""
    path = record.parent / name
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(record.parent)):
        raise ValueError(f"`data`, `mask` of {where} must lie in the folder of the record, got {name}; copy it there.")
    return path


def _places(path: Path, shape: tuple[int, ...], where: str) -> list[int]:
    """The components where a mask, of a state or of its points, is true."""
    mask = read_numbers(path, None, where)
    if bool(mask.isnan().any()):
        raise ValueError(f"`mask` of {where} must be true or false everywhere, got NaN; write 0 where nothing is seen.")
    if not bool(((mask == 0) | (mask == 1)).all()):
        other = float(mask[(mask != 0) & (mask != 1)][0])
        raise ValueError(f"`mask` of {where} must be true or false everywhere, got {other:g}; write 0 and 1.")
    for wanted in (shape, shape[1:]):
        if tuple(mask.shape) == wanted and len(wanted) > 0:
            places: list[int] = (mask != 0).expand(shape).flatten().nonzero()[:, 0].tolist()
            return places
    raise ValueError(f"`mask` of {where} must have the shape {shape} of a state, got {tuple(mask.shape)}.")
