"""Layouts of HDF5 that are made for many trajectories: The Well's, and PDEBench's two.

- The Well: as in :mod:`physinv.data.file_format`, with fields in /t0_fields, /t1_fields, /t2_fields.
- PDEBench, arrays at the root: ``tensor (N, T, X)`` or one per field, ``t-coordinate``, ``x-coordinate``, ...; vectors
  ``(N, T, dim)`` without ``x-coordinate``.
- PDEBench, a group for each trajectory: ``data (T, X, Y, channels)`` and ``grid/t``, ``grid/x``, ``grid/y``.
- A group for each trajectory, as users write them (:mod:`physinv.data.sources.samples.groups`).
"""

from __future__ import annotations

__all__ = ["LAYOUTS"]

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.core import indexing

from physinv.data.hdf5.lazy import StoredArray, attributes
from physinv.data.hdf5.scales import axis_names
from physinv.data.hdf5.stored import MOST_NUMBERS, check_stored, read_line
from physinv.data.sources.build import dataset_of, decoded
from physinv.data.sources.samples.groups import is_runs, read_runs

Variables = dict[str, tuple[list[str | None], Any, dict[str, Any]]]


def _is_well(file: h5py.File) -> bool:
    return "dimensions" in file and any(f"t{i}_fields" in file for i in range(3))


def _well(path: Path, file: h5py.File) -> xr.Dataset:
    dimensions = file["dimensions"]
    axes = [_text(a) for a in dimensions.attrs["spatial_dims"]]
    count = int(file.attrs["n_trajectories"])
    out: Variables = {"time": (["time"], _one_grid(path, dimensions["time"]), attributes(dimensions["time"]))}
    for axis in axes:
        out[axis] = ([axis], read_line(path, dimensions[axis]), attributes(dimensions[axis]))
    sizes = {"sample": count, "time": len(out["time"][1]), **{a: len(out[a][1]) for a in axes}}
    fields: list[str] = []
    for order in range(3):
        for name, item in file.get(f"t{order}_fields", {}).items():
            if not isinstance(item, h5py.Dataset):
                raise ValueError(f"`t{order}_fields/{name}` of {path} is no array; write the file again to its end.")
            if name in out:
                raise ValueError(f"{path} has two fields named `{name}`; rename one of them.")
            along = [bool(v) for v in item.attrs.get("dim_varying", [True] * len(axes))]
            lead = [k for k in ("sample", "time") if bool(item.attrs.get(f"{k}_varying", True))]
            dims = [*lead, *(a for a, varies in zip(axes, along, strict=True) if varies)]
            expected, tail = tuple(sizes[d] for d in dims), item.shape[len(dims) :]
            if item.shape[: len(dims)] != expected or len(tail) != order:
                rest = " and components" if order else ""
                raise ValueError(f"`{name}` of {path} must have shape {expected}{rest}, got {item.shape}.")
            extra = [f"component_{i}_{n}" for i, n in enumerate(tail)]
            out[name] = ([*dims, *extra], _lazily(path, item.name), attributes(item))
            fields.append(name)
    for name, item in file.get("scalars", {}).items():
        if item.shape in ((), (count,)) and item.dtype.kind in "biuf":
            check_stored(path, item)
            out[f"scalars/{name}"] = (["sample"] if item.shape else [], item[...], attributes(item))
    data = decoded(dataset_of(out), path)
    data.attrs.update(fields=fields, axes=axes, boundary=_well_boundary(file, axes), layout="The Well")
    if "physinv" in file:
        data.attrs["physinv"] = True
    return data


def _well_boundary(file: h5py.File, axes: list[str]) -> dict[str, str]:
    """What lies at the ends of each axis, where the file says it."""
    told: dict[str, str] = {}
    for name, group in file.get("boundary_conditions", {}).items():
        kind = _text(group.attrs["bc_type"]).upper()
        named = [_text(a) for a in group.attrs.get("associated_dims", [])]
        for axis in named or [a for a in axes if name == a or name.startswith(f"{a}_")]:
            told[axis] = kind if kind in ("PERIODIC", "WALL", "OPEN") else "OPEN"
    return told


def _is_arrays(file: h5py.File) -> bool:
    return "t-coordinate" in file


def _arrays(path: Path, file: h5py.File) -> xr.Dataset:
    axes = [a for a in "xyz" if f"{a}-coordinate" in file]
    fields = {k: d for k, d in file.items() if isinstance(d, h5py.Dataset) and not k.endswith("-coordinate")}
    longest = max(fields.values(), key=lambda d: d.ndim, default=None)
    if longest is None or longest.ndim < (3 if not axes else len(axes) + 1):
        raise ValueError(f"{path} holds no array (trajectory, time, ...) beside its coordinates.")
    places = {a: read_line(path, file[f"{a}-coordinate"]) for a in axes}
    space = tuple(map(len, places.values()))
    stored = longest.shape[1]
    times = _one_grid(path, file["t-coordinate"])
    if len(times) not in (stored, stored + 1):  # PDEBench's hold one time more than there are states
        raise ValueError(f"`t-coordinate` of {path} must hold {stored} times, got {len(times)}.")
    out: Variables = {"time": (["time"], times[:stored], attributes(file["t-coordinate"]))}
    out |= {a: ([a], places[a], attributes(file[f"{a}-coordinate"])) for a in axes}

    # axes of one length that no dimension scale names may be in either order: then the reader of the data must say
    named: list[str | None] = [a if space.count(n) == 1 else None for a, n in zip(axes, space, strict=True)]
    for name, item in fields.items():
        moves = item.shape[:2] == longest.shape[:2]
        tail = item.shape[len(space) + 2 :]
        scales = axis_names(item)
        if moves and all(scales):
            dims: list[str | None] = [_without_suffix(str(s).strip("/")) for s in scales]
        elif moves and axes and item.shape[2 : len(space) + 2] == space and len(tail) <= 1:
            dims = ["sample", "time", *named, *(["component"] if tail else [])]
        elif moves and not axes and item.ndim == 3:
            dims = ["sample", "time", "component"]
        elif axes and item.shape == (longest.shape[0], *space):
            dims = ["sample", *named]
        elif item.size == 1:
            dims = [None] * item.ndim
        else:
            raise ValueError(f"`{name}` of {path} must have shape {(*longest.shape[:2], *space)}, got {item.shape}.")
        out[name] = (dims, _lazily(path, name), attributes(item))
    data = decoded(dataset_of(out), path)
    data.attrs.update(fields=[k for k, d in fields.items() if d.size != 1], axes=axes, layout="PDEBench")
    return data


def _is_groups(file: h5py.File) -> bool:
    return bool(len(file)) and all(isinstance(g, h5py.Group) and "data" in g and "grid" in g for g in file.values())


def _groups(path: Path, file: h5py.File) -> xr.Dataset:
    keys, first = sorted(file), file[min(file)]
    axes = [a for a in "xyz" if a in first["grid"]]
    grid = {a: read_line(path, first["grid"][a]) for a in ("t", *axes)}
    shape = (*map(len, grid.values()), first["data"].shape[-1])
    for key in keys:
        if file[key]["data"].shape != shape:
            raise ValueError(f"`{key}/data` of {path} must have shape {shape}, got {file[key]['data'].shape}.")
        for a, values in grid.items():
            check_stored(path, file[key]["grid"][a])
            if not np.array_equal(file[key]["grid"][a][...], values):
                raise ValueError(
                    f"`{key}/grid/{a}` of {path} must be that of {keys[0]}: one grid for all trajectories."
                )
    lead = ["sample"] if len(keys) > 1 else []
    out: Variables = {("time" if a == "t" else a): (["time" if a == "t" else a], v, {}) for a, v in grid.items()}
    out["data"] = ([*lead, "time", *axes, "component"], _lazily(path, *(f"{k}/data" for k in keys)), {})
    data = dataset_of(out)
    data.attrs.update(fields=["data"], axes=axes, layout="PDEBench")
    return data


def _lazily(path: Path, *names: str) -> indexing.LazilyIndexedArray:
    return indexing.LazilyIndexedArray(StoredArray(path, *names))


def _one_grid(path: Path, data: h5py.Dataset) -> NDArray[np.float64]:
    if data.ndim != 2 or data.dtype.kind not in "iuf":
        return read_line(path, data)
    check_stored(path, data)
    rows = max(1, MOST_NUMBERS // max(1, data.shape[1]))
    if data.shape[1] > MOST_NUMBERS or any((data[a : a + rows] != data[:1]).any() for a in range(0, len(data), rows)):
        raise ValueError(f"the times of {path} must be one grid for all trajectories, got shape {data.shape}.")
    return np.asarray(data[0], dtype=np.float64)


def _without_suffix(name: str) -> str:
    word = name.rpartition("/")[2].removesuffix("-coordinate")
    return "time" if word == "t" else word


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


LAYOUTS: tuple[tuple[Callable[[h5py.File], bool], Callable[[Path, h5py.File], xr.Dataset]], ...] = (
    (_is_well, _well),
    (_is_arrays, _arrays),
    (_is_groups, _groups),
    (is_runs, read_runs),
)
"""For each layout the function that recognises it, and the one that reads it."""
