"""What a trajectory file looks like: The Well's groups and attributes, netCDF-4 dimension scales, and ``/physinv``.

    /                    dimension scales sample (N), time (T) and one per axis; parameters as attributes
    /dimensions          hard links to the scales of time and space
    /t0_fields/<name>    float32 (N, T, *space), one chunk per trajectory, uncompressed
    /t1_fields /t2_fields /scalars /boundary_conditions      as The Well wants them
    /physinv             what other readers ignore: the configuration, exact times and positions, seeds

One dataset per channel for fields; vectors ``(dim,)`` are one dataset over the pseudo-axis ``coordinate``; particles
have one dataset per vector over the axes ``particle, component``.  What is static has no time axis.
Nothing in a file depends on when or where it was written: same data, same bytes.
"""

from __future__ import annotations

__all__ = ["create", "versions"]

import json
import platform
from importlib import metadata
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from physinv.data.header import SCHEMA_VERSION, Header
from physinv.processes.layout import StateLayout


def versions() -> dict[str, str]:
    """Versions of what the bytes of a file depend on."""
    try:
        own = metadata.version("physinv")
    except metadata.PackageNotFoundError:
        own = "uninstalled"
    packages = {p: metadata.version(p) for p in ("torch", "numpy", "h5py")}
    return {"physinv": own, "python": platform.python_version(), **packages, "hdf5": h5py.version.hdf5_version}


def create(file: h5py.File, header: Header) -> list[h5py.Dataset]:
    """Write everything but states and seeds into an empty ``file``; return the datasets of the states, still empty."""
    layout, n = header.layout, header.n_trajectories
    _root(file, header)
    scales = {"sample": np.arange(n, dtype="i8"), "time": np.asarray(header.times, dtype="f4")}
    scales |= {a: np.asarray(c, dtype="f4") for a, c in zip(layout.axes, layout.coordinates, strict=True)}
    for key, values in scales.items():
        file.create_dataset(key, data=values, track_times=False).make_scale(key)

    dimensions = file.create_group("dimensions")
    dimensions.attrs["spatial_dims"] = _strings(layout.axes)
    for key in ("time", *layout.axes):
        dimensions[key] = file[key]
        _varying(file[key], sample=False, time=key == "time")

    file.create_group("boundary_conditions")
    for axis in layout.space:
        _boundary(file, layout, axis, len(file[axis]))

    constants = {k: v for k, v in header.parameters.items() if isinstance(v, float)}
    scalars = file.create_group("scalars")
    scalars.attrs["field_names"] = _strings(constants)
    for key, value in constants.items():
        _varying(scalars.create_dataset(key, data=np.float32(value), track_times=False), sample=False, time=False)

    states = [_field(file, header, field) for field in layout.names]
    for group, names in (("t0_fields", layout.names), ("t1_fields", ()), ("t2_fields", ())):
        file.require_group(group).attrs["field_names"] = _strings(names)
    _own(file, header)
    return states


def _root(file: h5py.File, header: Header) -> None:
    own = {
        "dataset_name": header.name,
        "grid_type": "cartesian",
        "n_spatial_dims": len(header.layout.axes),
        "n_trajectories": header.n_trajectories,
        "simulation_parameters": _strings(header.parameters),
        "Conventions": "CF-1.8",
    }
    for key, value in {**header.parameters, **own}.items():
        file.attrs[key] = _strings(value) if isinstance(value, tuple) and value and isinstance(value[0], str) else value


def _field(file: h5py.File, header: Header, name: str) -> h5py.Dataset:
    shape, axes, moves = header.stored(name), header.layout.axes_of(name), name not in header.layout.static
    data = file.require_group("t0_fields").create_dataset(
        name, shape, dtype="f4", chunks=(1, *shape[1:]), track_times=False
    )
    for i, axis in enumerate(("sample", *(("time",) if moves else ()), *axes)):
        data.dims[i].attach_scale(file[axis])
    data.attrs["dim_varying"] = np.array([a in axes for a in header.layout.axes])
    _varying(data, sample=True, time=moves)
    return data


def _boundary(file: h5py.File, layout: StateLayout, axis: str, n: int) -> None:
    group = file.require_group("boundary_conditions").create_group(f"{axis}_{layout.boundary.lower()}")
    group.attrs["associated_dims"] = _strings((axis,))
    group.attrs["associated_fields"] = _strings(layout.names)
    group.attrs["bc_type"] = layout.boundary
    _varying(group, sample=False, time=False)
    mask = np.zeros(n, dtype=bool)
    mask[[0, -1]] = True
    group.create_dataset("mask", data=mask, track_times=False).dims[0].attach_scale(file[axis])


def _own(file: h5py.File, header: Header) -> None:
    """``/physinv``: the root scales are float32 for other readers' sake; the exact numbers stand here."""
    own = file.create_group("physinv")
    own.attrs["schema_version"] = SCHEMA_VERSION
    layout = header.layout
    own.attrs["kind"] = layout.kind
    if layout.static:
        own.attrs["static"] = _strings(layout.static)
    for key, value in layout.file_attributes.items():
        own.attrs[key] = np.bool_(value) if isinstance(value, bool) else value
    own.attrs["config_json"] = json.dumps(header.config, sort_keys=True, allow_nan=False)
    own.attrs["versions_json"] = json.dumps(versions(), sort_keys=True)
    exact = {"times": ("time", header.times)}
    for axis, positions in zip(layout.axes, layout.coordinates, strict=True):
        exact[f"positions_{axis}"] = (axis, positions)
    for key, (axis, values) in exact.items():
        data = own.create_dataset(key, data=np.asarray(values, dtype="f8"), track_times=False)
        data.dims[0].attach_scale(file[axis])
    seeds = own.create_dataset("seeds", (header.n_trajectories,), dtype="u8", track_times=False)
    seeds.dims[0].attach_scale(file["sample"])


def _strings(values: Any) -> NDArray[np.object_]:
    return np.array(list(values), dtype=h5py.string_dtype())


def _varying(item: h5py.Dataset | h5py.Group, *, sample: bool, time: bool) -> None:
    item.attrs["sample_varying"], item.attrs["time_varying"] = np.bool_(sample), np.bool_(time)
