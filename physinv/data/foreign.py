"""Read trajectory files that others wrote: The Well's, and PDEBench's three layouts.

The Well        as in :mod:`physinv.data.file_format`, without ``/physinv``, and with fields in /t1_fields, /t2_fields
PDEBench        arrays at the root, ``tensor (N, T, X)`` or one per field, ``t-coordinate``, ``x-coordinate``, ...
PDEBench        a group for each trajectory, ``data (T, X, Y, channels)`` and ``grid/t``, ``grid/x``, ``grid/y``
vectors         as the second, without ``x-coordinate``: ``(N, T, dim)``
"""

from __future__ import annotations

__all__ = ["Foreign", "open_foreign"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from physinv.data.file_format import open_file
from physinv.processes.layout import FieldLayout, StateLayout, VectorLayout

Boundary = Literal["PERIODIC", "WALL", "OPEN"]
"""What lies at the ends of the axes."""

Read = Callable[[h5py.File, int, int, int], NDArray[Any]]
"""``read(file, first, last, every)`` returns states ``(last - first, ceil(time / every), *state)``."""


@dataclass(frozen=True, eq=False)
class Foreign:
    """Describe a file and read its states.

    Args:
        path: The file.
        count: Number of trajectories.
        times: Stored times, shape ``(time,)``.
        layout: Names, axes and positions of a state.
        parameters: Numbers about the physics, by name.
        reader: Function that reads some trajectories of the open file.
    """

    path: Path
    count: int
    times: Float[np.ndarray, " time"]
    layout: StateLayout
    parameters: dict[str, float]
    reader: Read

    def read(self, first: int, last: int, every: int = 1) -> NDArray[np.float32]:
        """Read neighbouring trajectories.

        Args:
            first: Number of the first.
            last: Number after the last.
            every: Keep one of so many stored times.

        Returns:
            States, shape ``(last - first, ceil(time / every), *state)``, float32.

        Raises:
            ValueError: If a state is not finite.
        """
        with open_file(self.path) as file:
            states = np.ascontiguousarray(self.reader(file, first, last, every), dtype=np.float32)
        if not np.isfinite(states).all():
            bad = first + int(np.argwhere(~np.isfinite(states))[0, 0])
            raise ValueError(f"trajectory {bad} of {self.path} holds NaN or infinity; leave it out of the file.")
        return states


def open_foreign(path: Path, boundary: Boundary | None = None) -> Foreign:
    """Describe a trajectory file of another package.

    Args:
        path: The file.
        boundary: What lies at the ends of the axes, for layouts that do not say; it overrules those that do.

    Returns:
        The description, with which the trajectories can be read part by part.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of another layout, or its shapes or times do not fit each other.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    with open_file(path) as file:
        if "physinv" in file:
            raise ValueError(f"{path} was written by physinv; it needs no import, use it as it is.")
        try:
            found = _dispatch(path, file, boundary)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not whole: {str(error).splitlines()[0]}.") from None
    if found.count < 1:
        raise ValueError(f"{path} holds no trajectories.")
    t = found.times
    if len(t) < 2 or not np.isfinite(t).all() or (np.diff(t) <= 0).any():
        raise ValueError(f"the times of {path} must be 2 or more finite numbers, strictly increasing.")
    if not all(np.isfinite(c).all() for c in found.layout.coordinates):
        raise ValueError(f"the positions in {path} must be finite.")
    return found


def _dispatch(path: Path, file: h5py.File, boundary: Boundary | None) -> Foreign:
    if "dimensions" in file and "t0_fields" in file:
        return _well(path, file, boundary)
    if "t-coordinate" in file:
        return _arrays(path, file, boundary or "OPEN")
    if len(file) and all(isinstance(g, h5py.Group) and "data" in g and "grid" in g for g in file.values()):
        return _groups(path, file, boundary or "OPEN")
    raise ValueError(
        f"{path} has none of the known layouts: The Well (dimensions, t0_fields), PDEBench (t-coordinate and arrays, "
        f"or groups with data and grid); it holds {', '.join(list(file)[:5]) or 'nothing'}."
    )


def _well(path: Path, file: h5py.File, boundary: Boundary | None) -> Foreign:
    dimensions = file["dimensions"]
    axes = tuple(_text(a) for a in dimensions.attrs["spatial_dims"])
    count, times = int(file.attrs["n_trajectories"]), _times(path, dimensions["time"])
    places = tuple(_positions(dimensions[a]) for a in axes)
    sizes, pieces, names, static = tuple(map(len, places)), [], [], []
    for order, group in enumerate(g for g in ("t0_fields", "t1_fields", "t2_fields") if g in file):
        for name in file[group]:
            data = file[group][name]
            varies = bool(data.attrs.get("sample_varying", True)), bool(data.attrs.get("time_varying", True))
            along = [bool(v) for v in data.attrs.get("dim_varying", [True] * len(axes))]
            lead = [n for n, v in zip((count, len(times)), varies, strict=True) if v]
            expected = (*lead, *(n for n, v in zip(sizes, along, strict=True) if v))
            tail = data.shape[len(expected) :]
            if data.shape[: len(expected)] != expected or len(tail) != order:
                rest = " and components" if order else ""
                raise ValueError(f"`{name}` of {path} must have shape {expected}{rest}, got {data.shape}.")
            parts = _components(name, tail, axes)
            names += parts
            static += [] if varies[1] else parts
            pieces.append((f"{group}/{name}", varies, along, math.prod(tail)))

    def read(file: h5py.File, first: int, last: int, every: int) -> NDArray[Any]:
        out = []
        for key, (sample, time), along, width in pieces:
            rows = (slice(first, last),) if sample else ()
            a = file[key][(*rows, *((slice(None, None, every),) if time else ()))]
            lead = (last - first if sample else 1, len(times[::every]) if time else 1)
            a = np.reshape(a, (*lead, *(n if v else 1 for n, v in zip(sizes, along, strict=True)), width))
            whole = (last - first, len(times[::every]), width, *sizes)
            out.append(np.broadcast_to(np.moveaxis(a, -1, 2), whole))
        return np.concatenate(out, axis=2)

    kinds = {_text(b.attrs["bc_type"]) for b in file.get("boundary_conditions", {}).values()}
    told: Any = kinds.pop() if len(kinds) == 1 and kinds <= {"PERIODIC", "WALL", "OPEN"} else "OPEN"
    scalars = {k: float(v[()]) for k, v in file.get("scalars", {}).items() if v.shape == ()}
    layout = FieldLayout(names, axes, places, boundary or told, static)
    return Foreign(path, count, times, layout, scalars, read)


def _arrays(path: Path, file: h5py.File, boundary: Boundary) -> Foreign:
    axes = tuple(a for a in "xyz" if f"{a}-coordinate" in file)
    places = tuple(_positions(file[f"{a}-coordinate"]) for a in axes)
    space = tuple(map(len, places))
    fields = {k: d for k, d in file.items() if not k.endswith("-coordinate")}
    longest = max(fields.values(), key=lambda d: d.ndim, default=None)
    if longest is None or longest.ndim < 3:
        raise ValueError(f"{path} holds no array (trajectory, time, ...) beside its coordinates.")
    count, stored = longest.shape[:2]
    times = _times(path, file["t-coordinate"])
    if len(times) not in (stored, stored + 1):  # PDEBench's hold one time more than there are states
        raise ValueError(f"`t-coordinate` of {path} must hold {stored} times, got {len(times)}.")
    if not axes:
        return _vectors(path, fields, times[:stored])
    names, static, pieces = [], [], []
    for name, data in fields.items():
        moves, tail = data.shape[:2] == (count, stored), data.shape[len(space) + 2 :]
        if moves and data.shape[2 : len(space) + 2] == space and len(tail) <= 1:
            parts = _components(name, tail)
        elif data.shape == (count, *space):
            parts, moves, tail = [name], False, ()
            static.append(name)
        else:
            raise ValueError(f"`{name}` of {path} must have shape {(count, stored, *space)}, got {data.shape}.")
        names += parts
        pieces.append((name, moves, len(tail) == 1))

    def read(file: h5py.File, first: int, last: int, every: int) -> NDArray[Any]:
        out = []
        for key, moves, split in pieces:
            a = file[key][first:last, ::every] if moves else file[key][first:last][:, None]
            a = np.moveaxis(a, -1, 2) if split else a[:, :, None]
            out.append(np.broadcast_to(a, (last - first, -(-stored // every), *a.shape[2:])))
        return np.concatenate(out, axis=2)

    layout = FieldLayout(names, axes, places, boundary, static)
    return Foreign(path, count, times[:stored], layout, {}, read)


def _vectors(path: Path, fields: dict[str, h5py.Dataset], times: NDArray[np.float64]) -> Foreign:
    (name, data), *more = fields.items()
    if more or data.ndim != 3:
        raise ValueError(f"{path} must hold one array (trajectory, time, component), or `x-coordinate` for fields.")
    layout = VectorLayout(name, data.shape[2])
    return Foreign(path, data.shape[0], times, layout, {}, lambda f, a, b, every: f[name][a:b, ::every])


def _groups(path: Path, file: h5py.File, boundary: Boundary) -> Foreign:
    keys, first = sorted(file), file[min(file)]
    axes = tuple(a for a in "xyz" if a in first["grid"])
    places, times = tuple(_positions(first["grid"][a]) for a in axes), _times(path, first["grid/t"])
    channels = first["data"].shape[-1]
    expected = (len(times), *map(len, places), channels)
    for key in keys:
        if file[key]["data"].shape != expected:
            raise ValueError(f"`{key}/data` of {path} must have shape {expected}, got {file[key]['data'].shape}.")
        if not np.array_equal(file[key]["grid/t"][:], first["grid/t"][:]):
            raise ValueError(f"`{key}/grid/t` of {path} must be that of {keys[0]}: one time grid for all.")

    def read(file: h5py.File, first: int, last: int, every: int) -> NDArray[Any]:
        return np.stack([np.moveaxis(file[key]["data"][::every], -1, 1) for key in keys[first:last]])

    names = tuple(_components("data", (channels,) if channels > 1 else ()))
    return Foreign(path, len(keys), times, FieldLayout(names, axes, places, boundary), {}, read)


def _components(name: str, tail: tuple[int, ...], axes: tuple[str, ...] = ()) -> list[str]:
    """Names of the components of a vector or tensor: by ``axes`` where there are as many, else by number."""
    names = [name]
    for n in tail:
        marks = axes if n == len(axes) else tuple(map(str, range(n)))
        names = [f"{base}_{mark}" for base in names for mark in marks]
    return names


def _times(path: Path, data: h5py.Dataset) -> NDArray[np.float64]:
    times: NDArray[np.float64] = np.asarray(data[...], dtype=np.float64)
    if times.ndim == 2 and (times == times[:1]).all():
        times = times[0]
    if times.ndim != 1:
        raise ValueError(f"the times of {path} must be one grid for all trajectories, got shape {times.shape}.")
    return times


def _positions(data: h5py.Dataset) -> tuple[float, ...]:
    if data.ndim != 1:
        raise ValueError(f"the positions `{data.name}` of {data.file.filename} must be one line of numbers.")
    return tuple(np.asarray(data[...], dtype=np.float64).tolist())


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
