"""Format of a trajectory file: groups and attributes of The Well, dimension scales of netCDF-4, and ``/physinv``.

    /                       attributes: name of the data, their number, every parameter of the process
    /sample /time /<axis>   dimension scales: number of the trajectory, float32 times and positions
    /dimensions             hard links to the scales of time and space; attribute spatial_dims
    /boundary_conditions    fields only: one group per axis, with the attribute bc_type and a mask of the two ends
    /scalars                parameters that are real numbers
    /t0_fields/<name>       float32 (trajectory, time, *space), uncompressed; a chunk is as many neighbouring
                            trajectories as 256 KiB hold, one of larger trajectories
    /t1_fields /t2_fields   empty: vectors and tensors are stored as their components
    /physinv                what other readers ignore: configuration, kind of state, exact times and positions, seeds
    /physinv/mask           fields with a mask only: bool over space, true where there are data; states are 0 elsewhere

Behind the end of the HDF5 file stand checksums of all of its bytes (:mod:`physinv.data.hdf5.blocks`).

Fields have one dataset per channel; vectors ``(dim,)`` are one dataset over the pseudo-axis ``coordinate``; particles
have one dataset per vector over the axes ``particle, component``.  What is static has no time axis.  Nothing in a file
depends on when or where it was written: same data, same bytes.

Below, the function that writes a part of the file stands beside the one that reads it.
"""

from __future__ import annotations

__all__ = ["SCHEMA_VERSION", "Header", "open_file", "read_header", "write_header"]

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from physinv.config.inputs import describe
from physinv.config.json_text import read_object
from physinv.config.versions import versions
from physinv.data.hdf5.opening import open_file
from physinv.data.hdf5.stored import check_stored, read_line
from physinv.processes.layout import StateLayout, layout_from

SCHEMA_VERSION = 1
"""Version of the format, which every file holds; files of another version are refused."""

_KINDS: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "simulator": (str, "a text"),
    "parameters": (dict, "values by name"),
    "physics": (dict, "numbers by name"),
    "units": (dict, "texts by name"),
    "axis_units": (dict, "texts by name"),
    "components": (list, "a list of names"),
    "time_unit": (str, "a text"),
    "origin_date": (str, "a text"),
    "origin": ((int, float), "a number"),
}

_CHUNK_BYTES = 2**18  # of trajectories: large enough that reading costs more than finding, small enough to be cached

_PACKED, _PACKED_AT_ONCE = 2**12, 2**15  # scales and seeds that are compressed: from how many on, and at once


@dataclass(frozen=True)
class Header:
    """All that a file says besides states and seeds.

    Args:
        name: Name of the dataset, which is that of its simulator.
        layout: Names, axes and positions of a state; positions in float64.
        shape: Shape of one state.
        times: Stored times, float64, increasing.
        n_trajectories: Number of trajectories in this file.
        parameters: Numbers, text, or tuples of them, by name, as attributes of the file.
        config: How the data were made: free-form JSON.
    """

    name: str
    layout: StateLayout
    shape: tuple[int, ...]
    times: tuple[float, ...]
    n_trajectories: int
    parameters: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def trajectories_per_chunk(self) -> int:
        """Number of neighbouring trajectories in a chunk: those of 256 KiB, or one, in chunks of nearly equal size."""
        count = max(1, self.n_trajectories)
        most = max(1, _CHUNK_BYTES // (4 * len(self.times) * math.prod(self.shape)))
        return math.ceil(count / math.ceil(count / most))

    def stored_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the dataset ``name``: ``(trajectory, time, *space)``, without time where it is static.

        Args:
            name: Name of a part of the state.
        """
        sizes = dict(zip(self.layout.axes, map(len, self.layout.coordinates), strict=True))
        time = () if name in self.layout.static else (len(self.times),)
        return (self.n_trajectories, *time, *(sizes[a] for a in self.layout.axes_of(name)))


def write_header(file: h5py.File, header: Header) -> list[h5py.Dataset]:
    """Write everything but states and seeds.

    Args:
        file: An empty file, open for writing.
        header: What to write.

    Returns:
        The datasets of the states, still empty, in the order of the names in the layout.
    """
    _write_root(file, header)
    _write_scales(file, header)
    _write_axes(file, header.layout)
    _write_boundary(file, header.layout)
    _write_scalars(file, header.parameters)
    states = _write_fields(file, header)
    _write_own(file, header)
    return states


def read_header(path: Path, *, verify: bool = True) -> Header:
    """Read and check what a file says about itself.

    Args:
        path: The file.
        verify: Whether what is read is compared with the checksums of the file.

    Returns:
        The header.

    Raises:
        FileNotFoundError: If there is none.
        BlockingIOError: If another process writes to it.
        ValueError: If physinv did not write it, or in another version, it is not whole, or contradicts itself.
    """
    with open_file(path, verify=verify) as file:
        try:
            _check_version(path, file)
            layout = _read_layout(path, file)
            own, (name, n_trajectories, parameters) = file["physinv"], _read_root(file)
            times = tuple(read_line(path, own["times"]).tolist())
            config = read_object(own.attrs["config_json"], f"the configuration of {path}", finite=True)
            header = Header(name, layout, layout.shape, times, n_trajectories, parameters, config)
            _check_config(path, config)
            _check_content(path, file, header)
        except Exception as error:  # damage shows itself in any way
            if isinstance(error, ValueError) and str(path) in str(error):
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise ValueError(f"{path} is not a whole trajectory file: {reason}; generate or copy it again.") from None
    return header


def _check_version(path: Path, file: h5py.File) -> None:
    own = file.get("physinv")
    if own is None or "schema_version" not in own.attrs:
        if "samples" in file:
            raise ValueError(f"{path} holds samples of a reconstruction; give the trajectories that they are of.")
        raise ValueError(f"{path} was not written by physinv: it has no /physinv@schema_version.")
    found = own.attrs["schema_version"]
    if not isinstance(found, np.integer) or found != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema_version {found}, this version of physinv reads {SCHEMA_VERSION}; "
            "generate the data again, or install the version that wrote them."
        )


def _check_config(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse a configuration whose values are of other kinds than those that are asked for later."""
    for key, (kind, told) in _KINDS.items():
        if key in config and (not isinstance(config[key], kind) or isinstance(config[key], bool)):
            got = describe(config[key])
            raise ValueError(f"`{key}` in the configuration of {path} must be {told}, got {got}; generate it again.")
    if ("simulator" in config) != ("parameters" in config):
        missing = "simulator" if "parameters" in config else "parameters"
        raise ValueError(f"the configuration of {path} lacks `{missing}`; generate it again.")


def _check_content(path: Path, file: h5py.File, header: Header) -> None:
    times = header.times
    if len(times) < 2 or not np.isfinite(times).all() or any(b <= a for a, b in itertools.pairwise(times)):
        raise ValueError(f"`times` of {path} must be 2 or more finite numbers, strictly increasing; generate it again.")
    if header.n_trajectories < 1:
        raise ValueError(f"{path} holds no trajectories; generate it again.")
    for name in header.layout.names:
        expected, data = header.stored_shape(name), _field(file, name)
        found = None if data is None else data.shape
        if data is None or found != expected:
            raise ValueError(f"`{name}` of {path} must have shape {expected}, got {found}; generate it again.")
        if data.dtype != np.float32 or data.is_virtual:
            told = "a virtual dataset" if data.is_virtual else str(data.dtype)[:60]
            raise ValueError(f"`{name}` of {path} must hold float32 numbers, got {told}; generate it again.")
        check_stored(path, data)


def _field(file: h5py.File, name: str) -> h5py.Dataset | None:
    """A dataset of the group of states; None where there is none under exactly this name."""
    fields = file["t0_fields"]
    found = fields[name] if name in fields and "/" not in name else None
    return found if isinstance(found, h5py.Dataset) else None


# -- the root: attributes


def _write_root(file: h5py.File, header: Header) -> None:
    own = {
        "dataset_name": header.name,
        "grid_type": "cartesian",
        "n_spatial_dims": len(header.layout.axes),
        "n_trajectories": header.n_trajectories,
        "simulation_parameters": _strings(header.parameters),
        "Conventions": "CF-1.8",
    }
    for key, value in {**header.parameters, **own}.items():
        if isinstance(value, Mapping):  # a prior, of a parameter that every trajectory has its own value of
            file.attrs[key] = json.dumps(value)
            continue
        file.attrs[key] = _strings(value) if isinstance(value, tuple) and value and isinstance(value[0], str) else value


def _read_root(file: h5py.File) -> tuple[str, int, dict[str, Any]]:
    """Name, number of trajectories, parameters."""
    parameters = {str(key): _plain(file.attrs[key]) for key in file.attrs["simulation_parameters"]}
    return str(file.attrs["dataset_name"]), int(file.attrs["n_trajectories"]), parameters


def _strings(values: Iterable[str]) -> NDArray[np.object_]:
    return np.array(list(values), dtype=h5py.string_dtype())


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value


# -- scales, and the links to them


def _write_scales(file: h5py.File, header: Header) -> None:
    layout = header.layout
    scales = {"sample": np.arange(header.n_trajectories, dtype="i8"), "time": np.asarray(header.times, dtype="f4")}
    scales |= {a: np.asarray(c, dtype="f4") for a, c in zip(layout.axes, layout.coordinates, strict=True)}
    for key, values in scales.items():
        file.create_dataset(key, data=values, track_times=False, **_packing(len(values))).make_scale(key)


def _packing(n: int) -> dict[str, Any]:
    """How numbers of trajectories, and their seeds, take no more place than states of one number do."""
    return {"chunks": (min(n, _PACKED_AT_ONCE),), "compression": "gzip", "shuffle": True} if n >= _PACKED else {}


def _write_axes(file: h5py.File, layout: StateLayout) -> None:
    dimensions = file.create_group("dimensions")
    dimensions.attrs["spatial_dims"] = _strings(layout.axes)
    for key in ("time", *layout.axes):
        dimensions[key] = file[key]
        _mark_varying(file[key], sample=False, time=key == "time")


def _read_axes(file: h5py.File) -> tuple[str, ...]:
    return tuple(str(a) for a in file["dimensions"].attrs["spatial_dims"])


def _mark_varying(item: h5py.Dataset | h5py.Group, *, sample: bool, time: bool) -> None:
    item.attrs["sample_varying"], item.attrs["time_varying"] = np.bool_(sample), np.bool_(time)


# -- what lies at the ends of the axes


def _write_boundary(file: h5py.File, layout: StateLayout) -> None:
    boundaries = file.create_group("boundary_conditions")
    for axis, kind in zip(layout.space, layout.boundaries, strict=False):  # none where there is no space
        group = boundaries.create_group(f"{axis}_{kind.lower()}")
        group.attrs["associated_dims"] = _strings((axis,))
        group.attrs["associated_fields"] = _strings(layout.names)
        group.attrs["bc_type"] = kind
        _mark_varying(group, sample=False, time=False)
        mask = np.zeros(len(file[axis]), dtype=bool)
        mask[[0, -1]] = True
        group.create_dataset("mask", data=mask, track_times=False).dims[0].attach_scale(file[axis])


def _read_boundary(file: h5py.File) -> Any:
    groups = list(file["boundary_conditions"].values())
    kinds = {str(axis): str(group.attrs["bc_type"]) for group in groups for axis in group.attrs["associated_dims"]}
    return ",".join(kinds[axis] for axis in _read_axes(file)) if kinds else "OPEN"


# -- parameters that are real numbers, a second time: other readers look for them here


def _write_scalars(file: h5py.File, parameters: Mapping[str, Any]) -> None:
    constants = {k: v for k, v in parameters.items() if isinstance(v, float)}
    scalars = file.create_group("scalars")
    scalars.attrs["field_names"] = _strings(constants)
    for key, value in constants.items():
        with np.errstate(over="ignore", under="ignore"):  # the float64 number is in the configuration
            single = np.float32(value)
        data = scalars.create_dataset(key, data=single, track_times=False)
        _mark_varying(data, sample=False, time=False)


# -- states


def _write_fields(file: h5py.File, header: Header) -> list[h5py.Dataset]:
    layout, fields, rows = header.layout, file.create_group("t0_fields"), header.trajectories_per_chunk
    states = []
    for name in layout.names:
        shape, axes, moves = header.stored_shape(name), layout.axes_of(name), name not in layout.static
        data = fields.create_dataset(name, shape, dtype="f4", chunks=(rows, *shape[1:]), track_times=False)
        for i, axis in enumerate(("sample", *(("time",) if moves else ()), *axes)):
            data.dims[i].attach_scale(file[axis])
        data.attrs["dim_varying"] = np.array([a in axes for a in layout.axes])
        _mark_varying(data, sample=True, time=moves)
        states.append(data)
    for group, names in (("t0_fields", layout.names), ("t1_fields", ()), ("t2_fields", ())):
        file.require_group(group).attrs["field_names"] = _strings(names)
    return states


def _read_names(file: h5py.File) -> tuple[str, ...]:
    return tuple(str(a) for a in file["t0_fields"].attrs["field_names"])


# -- /physinv: the scales at the root are float32 for other readers' sake; the exact numbers stand here


def _write_own(file: h5py.File, header: Header) -> None:
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
    if layout.valid is not None:
        mask = own.create_dataset("mask", data=layout.valid.numpy(), track_times=False)
        for i, axis in enumerate(layout.axes):
            mask.dims[i].attach_scale(file[axis])
    n = header.n_trajectories
    seeds = own.create_dataset("seeds", (n,), dtype="u8", track_times=False, **_packing(n))
    seeds.dims[0].attach_scale(file["sample"])


def _read_layout(path: Path, file: h5py.File) -> StateLayout:
    own, axes, names, boundary = file["physinv"], _read_axes(file), _read_names(file), _read_boundary(file)
    if any(len(file["dimensions"][a]) != len(own[f"positions_{a}"]) for a in axes):
        raise KeyError("dimensions and positions differ in length")
    positions = tuple(tuple(read_line(path, own[f"positions_{a}"]).tolist()) for a in axes)
    static = tuple(str(a) for a in own.attrs.get("static", ()))
    box, isotropic = float(own.attrs.get("box", 0.0)), bool(own.attrs.get("isotropic", False))
    mask = _read_mask(path, own["mask"], math.prod(map(len, positions))) if "mask" in own else ()
    return layout_from(str(own.attrs["kind"]), names, axes, positions, boundary, static, box, isotropic, mask)


def _read_mask(path: Path, data: h5py.Dataset, points: int) -> list[bool]:
    if data.size != points or data.dtype != np.bool_:
        raise ValueError(f"`mask` of {path} must hold true or false for {points} points, got {data.size}.")
    check_stored(path, data)
    found: list[bool] = data[...].flatten().tolist()
    return found
