"""The arrays and the description that a reconstruction file holds, read strictly."""

from __future__ import annotations

__all__ = ["DIGEST", "SCHEMA", "StoredReconstruction", "check_replaceable", "digest", "read_stored"]

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import h5py
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from physinv.config.checksums import HDF5_CHECKSUMS, check_hdf5
from physinv.config.failures import as_os_error
from physinv.config.files import check_regular
from physinv.config.hdf5_arrays import DAMAGE, array_of, is_group
from physinv.config.json_text import read_object
from physinv.config.strict import ConfigError
from physinv.data.hdf5.opening import open_file
from physinv.processes.parameters import build
from physinv.processes.recorded import Recorded
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator

SCHEMA = 4
"""Version of the reconstruction file; versions 2 and 3 are read as well, all others are refused."""

DIGEST = "samples_sha256"
"""Attribute of ``/predicted``: the digest of the samples that it was computed from."""

_ANSWERS_OF_2 = {"sde": "samples", "flow": "flow", "mean-flow": "mean-flow"}  # as version 2 names them, its `method`
_LEADING = {
    "observation": 1,
    "samples": 2,
    "frames": 3,
    "frames_truth": 2,
    "truth": 1,
    "predicted": 2,
    "predicted_clean": 2,
    "climatology": 1,
    "linear": 1,
    "linear_deviation": 0,
}
"""Axes before those of a state."""

_OF_OBSERVATIONS = ("samples", "frames", "frames_truth", "truth", "seen", "predicted", "predicted_clean", "linear")
_OF_RECORDS = ("frames", "frames_truth", "time")
_OPTIONAL = ("truth", "seen", "predicted", "predicted_clean", "climatology", "linear", "linear_deviation", *_OF_RECORDS)

_HDF5 = b"\x89HDF\r\n\x1a\n"  # how every HDF5 file begins

_Count = Annotated[int, Field(ge=0)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """Values of which some have known kinds."""

    model_config = ConfigDict(extra="allow", strict=True)


class _TrainedFor(_Part):
    observe: str
    seed: _Count


class _Run(_Part):
    settings: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    units: dict[str, str] = {}
    components: list[str] = []
    observation: _TrainedFor | None = None


class _Familiarity(_Part):
    distance: list[float]
    warnings: list[str]


class _Certificate(_Part):
    told: list[str]
    log_prob: _Number | None = None
    log_prob_error: _Number | None = None
    truths: _Count | None = None
    numbers: _Count | None = None
    lower: _Number | None = None
    upper: _Number | None = None
    width: _Number | None = None
    width_error: _Number | None = None
    width_per_number: _Number | None = None
    prior: str | None = None


class _Observations(_Part):
    sources: list[str]
    indices: list[_Count]


class _Info(_Part):
    """The kinds of values that the description must hold; it may hold more."""

    method: str
    answer: str
    steps: _Count | None
    observe: str | None
    observed_noise: _Number | None
    record: list[dict[str, Any]] | None = None
    level: dict[str, list[_Number]] | None = None
    seed: _Count
    simulator: str
    parameters: dict[str, Any]
    data: str
    run: _Run
    familiarity: _Familiarity | None = None
    observations: _Observations | None = None
    certificate: _Certificate | None = None
    warnings: list[str] = []


@dataclass(frozen=True)
class StoredReconstruction:
    """What a reconstruction file holds, of the shapes that belong together.

    Args:
        simulator: The process that the description names.
        info: The description.
        arrays: The arrays that are there, by name.
        stale: Whether the predictions are of other samples.
    """

    simulator: Simulator
    info: dict[str, Any]
    arrays: dict[str, Tensor]
    stale: bool


def digest(samples: h5py.Dataset) -> str:
    """Compute the SHA-256 digest of stored samples, to tell whether they are still those that something came from.

    Args:
        samples: The samples in a file.

    Returns:
        The digest in hexadecimal digits.
    """
    total = hashlib.sha256()
    for i in range(len(samples)):  # one observation at a time, since all of them may not fit into memory
        total.update(samples[i].tobytes())
    return total.hexdigest()


def read_stored(path: Path) -> StoredReconstruction:
    """Read what a reconstruction file holds, and compare it with its checksums.

    Args:
        path: The HDF5 file.

    Returns:
        Its content, on the CPU; arrays may still hold values that are not finite.

    Raises:
        BlockingIOError: If another process writes it.
        ValueError: If there is no such file, it is no complete reconstruction, or a part of it is damaged.
    """
    try:
        with open_file(path) as file:
            return _read(file, path)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; make one with `physinv reconstruct`.") from None
    except BlockingIOError:
        raise
    except _RefusedError as error:
        raise ValueError(str(error)) from None
    except DAMAGE as error:
        if isinstance(error, ValueError) and str(path) in str(error):  # of the checksums of all bytes
            raise
        if (refused := as_os_error(error, path)) is not None:
            raise refused from None
        reason = (str(error.args[0] if isinstance(error, KeyError) else error).splitlines() or ["damaged"])[0]
        raise ValueError(f"{path} is not a whole reconstruction file: {reason}") from None


def check_replaceable(path: Path) -> None:
    """Refuse to replace a file that is no reconstruction; a damaged one may be replaced, and an empty file.

    Args:
        path: What a reconstruction is to be written over.

    Raises:
        ValueError: If there is a file of another kind.
    """
    check_regular(path)
    with path.open("rb") as start:
        first = start.read(len(_HDF5))
    try:
        with open_file(path, known=True) as file:  # of one that leads elsewhere only the names matter
            ours = {"samples", "info_json"} <= set(file)
    except DAMAGE:
        ours = first in (b"", _HDF5)
    if not ours:
        raise ValueError(f"{path} is no reconstruction, and is not replaced by one; choose another path, or move it.")


class _RefusedError(Exception):
    """A whole sentence on what is wrong, which names the file."""


def _read(file: h5py.File, path: Path) -> StoredReconstruction:
    if "samples" not in set(file) and "t0_fields" in set(file):
        raise KeyError("it holds trajectories; reconstruct from them with `physinv reconstruct`.")

    # All arrays first, so that nothing is read of one that is not whole; then the checksums.
    arrays = {name: array_of(file, name) for name in file if not is_group(file, name)}
    for name in ("info_json", "observation", "samples"):
        if arrays.get(name) is None:
            raise KeyError(f"it holds no `{name}`; reconstruct again.")
    if HDF5_CHECKSUMS in file.attrs:
        told = _object(file.attrs[HDF5_CHECKSUMS], f"`{HDF5_CHECKSUMS}` of {path}")
        if (wrong := check_hdf5(file, told)) is not None:
            raise _RefusedError(
                f"{path} is damaged: `{wrong}` does not have the checksum that it was written with; put back a copy, "
                f"or reconstruct again (if a change is meant, delete the attribute `{HDF5_CHECKSUMS}`)."
            )

    # The description, then arrays of the shapes that it leads to.
    info = _described(file["info_json"][()], path)
    try:
        simulator = build(find(info["simulator"]), info["parameters"])
        if isinstance(simulator, Recorded) and math.prod(simulator.sizes) > file["observation"].size:
            raise ValueError(f"`sizes` {simulator.sizes} are those of larger states")  # each point would be listed
        shape = tuple(simulator.layout.shape)
    except ValueError as error:
        raise _RefusedError(f"{path} names a process that cannot be built: {error}") from None
    found = {k: data for k in ("observation", "samples", *_OPTIONAL) if (data := arrays.get(k)) is not None}
    n = len(found["observation"])
    for name, data in found.items():
        _check_shape(name, data, shape, n)
    for part, key in (("observations", "sources"), ("observations", "indices"), ("familiarity", "distance")):
        if info.get(part) is not None and (count := len(info[part][key])) != n:
            raise KeyError(f"`{key}` of `info_json` must have one for each of the {n} observations, got {count}.")
    read = {k: torch.from_numpy(data.astype(data.dtype.newbyteorder("="))[...]) for k, data in found.items()}
    of = found["predicted"].attrs.get(DIGEST) if "predicted" in found else None
    return StoredReconstruction(simulator, info, read, of is not None and of != digest(found["samples"]))


def _check_shape(name: str, data: h5py.Dataset, state: tuple[int, ...], n: int) -> None:
    """Refuse an array of another type or shape than belongs to its name."""
    if data.dtype.kind != "f":
        raise KeyError(f"`{name}` must hold floating-point numbers, got {data.dtype}.")
    if name in _LEADING and (data.ndim != _LEADING[name] + len(state) or data.shape[_LEADING[name] :] != state):
        raise KeyError(f"`{name}` must have states of shape {state} behind {_LEADING[name]} axes, got {data.shape}.")
    if name in _OF_OBSERVATIONS and data.shape[:1] != (n,):
        raise KeyError(f"`{name}` must have a row for each of the {n} observations, got shape {data.shape}.")
    if 0 in data.shape:
        raise KeyError(f"`{name}` must not be empty, got shape {data.shape}.")


def _described(text: Any, path: Path) -> dict[str, Any]:
    """The description, of the present schema."""
    info = _object(text, f"`info_json` of {path}")
    schema = info.get("schema")
    if schema == 2:
        info |= {"method": "physinv", "answer": _ANSWERS_OF_2.get(str(info.get("method")))}
    elif schema not in (3, SCHEMA):
        shown = str(schema)[:20]
        raise _RefusedError(f"{path} has schema {shown}, this version of physinv reads 2 to {SCHEMA}.")
    try:
        _Info(**info)
    except ValidationError as error:
        raise _RefusedError(f"`info_json` of {path} is damaged: {str(ConfigError(error))[:200]}") from None
    return info


def _object(text: Any, what: str) -> dict[str, Any]:
    """A JSON object, whose faults are told in whole sentences."""
    try:
        return read_object(text, what)
    except ValueError as error:
        raise _RefusedError(str(error)) from None
