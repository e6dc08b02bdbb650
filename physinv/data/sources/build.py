"""Put arrays together as an :class:`xarray.Dataset`, with names for the axes that have none."""

from __future__ import annotations

__all__ = [
    "COORDINATE_NAMES",
    "UNNAMED",
    "by_coordinates",
    "dataset_of",
    "decoded",
    "is_line",
    "is_unnamed",
    "line_of",
    "mesh_axis",
    "meshes_along",
    "one_line",
]

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from physinv.data.sources.valid_range import VALID, bounds_of

UNNAMED = "axis_"
"""First letters of the name of an axis that a file does not name."""

COORDINATE_NAMES = ("t", "tt", "time", "times", "x", "xx", "y", "yy", "z", "zz", "r", "theta", "phi", "lat", "lon")
"""Names under which arrays of one axis are taken for positions or times, in formats without names of axes."""

_OF_TIME = ("t", "tt", "time", "times")
_SMALL = 10**7  # numbers that are looked at to find a line among them

_PACKING = ("scale_factor", "add_offset", "_FillValue", "missing_value")


def is_unnamed(axis: str) -> bool:
    """Return whether an axis has no name of its own.

    Args:
        axis: Its name in the dataset.
    """
    return re.fullmatch(rf"{UNNAMED}\d+(_\d+)?", axis) is not None


def dataset_of(variables: Mapping[str, tuple[Sequence[str | None], Any, Mapping[str, Any]]]) -> xr.Dataset:
    """Make a dataset of variables, some of whose axes have no names.

    Args:
        variables: By name the names of the axes (None where there is none), the numbers, and the attributes.

    Returns:
        The dataset.
    """
    taken: dict[str, int] = {}
    for dims, data, _ in variables.values():
        taken |= {d: n for d, n in zip(dims, data.shape, strict=True) if d is not None}
    out = {}
    for name, (dims, data, attrs) in variables.items():
        names = []
        for i, (dim, n) in enumerate(zip(dims, data.shape, strict=True)):
            if dim is None:
                dim = f"{UNNAMED}{i}"
                dim = dim if taken.setdefault(dim, n) == n else f"{dim}_{n}"
            names.append(dim)
        out[name] = xr.Variable(names, data, dict(attrs))
    return xr.Dataset(out)


def decoded(data: xr.Dataset, path: Path) -> xr.Dataset:
    """Unpack numbers (``scale_factor``, ``add_offset``) and set fill values to NaN, lazily; times stay numbers.

    What a file says of valid numbers (``valid_range``, ``valid_min``, ``valid_max``) becomes the attribute
    :data:`~physinv.data.sources.valid_range.VALID` of the variable.

    Args:
        data: The dataset as it is stored.
        path: Where it is from, for messages.

    Returns:
        The dataset with physical values.

    Raises:
        ValueError: If a variable says by no number how it is packed: xarray would unpack it to anything.
    """
    for name, v in data.variables.items():
        for key in _PACKING if v.dtype.kind in "biuf" else ():
            if key in v.attrs:
                v.attrs[key] = _packing(v.attrs[key], key, f"`{name}` of {path}")
        if v.dtype.kind in "iuf" and (bounds := bounds_of(v)):
            v.attrs[VALID] = bounds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several fill values, for example: all of them are obeyed
        return xr.decode_cf(data, decode_times=False, decode_timedelta=False)


def _packing(value: Any, key: str, where: str) -> Any:
    """A number by which a variable is packed, or that stands for missing ones; of text the number that it holds."""
    scales = key in ("scale_factor", "add_offset")
    try:
        numbers = np.asarray(value).astype(np.float64)
    except (ValueError, TypeError):
        numbers = np.empty(0)
    fits = numbers.size == 1 and bool(np.isfinite(numbers).all()) if scales else numbers.size > 0
    if not fits or (key == "scale_factor" and not numbers.any()):
        shown = repr(np.asarray(value).tolist())
        rule = "one finite number" + (", not 0" if key == "scale_factor" else "") if scales else "a number"
        raise ValueError(
            f"`{key}` of {where} must be {rule}, got {shown:.60}; correct it, or leave it out of the file."
        )
    return numbers.reshape(-1)[0] if np.asarray(value).dtype.kind in "SUTO" else value


def line_of(data: Any) -> Any:
    """Return an array of shape (1, n) or (n, 1) as (n,), and any other as it is.

    Args:
        data: The array.
    """
    return data.squeeze() if data.ndim == 2 and min(data.shape) == 1 < max(data.shape) else data


def one_line(data: Any) -> Any:
    """Return the numbers along the only axis along which an array varies: of a mesh, of times stored for each sample.

    Args:
        data: The array; one that varies along several axes, or none, is returned as it is.

    Example:
        >>> one_line(np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])), one_line(np.eye(2)).shape
        (array([0., 1., 2.]), (2, 2))
    """
    line = line_of(data)
    axis = mesh_axis(line)
    if axis is None:
        return line
    return np.asarray(line)[tuple(slice(None) if i == axis else 0 for i in range(line.ndim))]


def mesh_axis(data: Any) -> int | None:
    """Return the only axis along which an array of two axes or more varies; None where it varies along several.

    Args:
        data: The array.

    Example:
        >>> mesh_axis(np.array([[0.0, 1.0], [0.0, 1.0]])), mesh_axis(np.eye(2))
        (1, None)
    """
    if data.ndim < 2 or not 1 < data.size < _SMALL or data.dtype.kind not in "iufM":
        return None
    values = np.asarray(data)
    for axis in range(values.ndim):
        along = values[tuple(slice(None) if i == axis else 0 for i in range(values.ndim))]
        if (values == along.reshape([-1 if i == axis else 1 for i in range(values.ndim)])).all():
            return axis
    return None


def meshes_along(
    shape: Sequence[int], meshes: Mapping[str, tuple[Sequence[int], int]]
) -> Iterator[list[dict[str, int]]]:
    """Find along which axes of an array the meshes beside it vary.

    Args:
        shape: The shape of the array, such as ``(sample, time, n, n)``.
        meshes: By name the shape of a mesh, such as ``(n, n)``, and the axis of it along which it varies.

    Yields:
        For meshes of each shape the ways in which they fit neighbouring axes of the array: axes by name of the mesh.

    Example:
        >>> list(meshes_along((24, 7, 6, 6), {"x": ((6, 6), 0), "y": ((6, 6), 1)}))
        [[{'x': 2, 'y': 3}]]
    """
    for one in dict.fromkeys(tuple(shape_of) for shape_of, _ in meshes.values()):
        places = [i for i in range(len(shape) - len(one) + 1) if tuple(shape[i : i + len(one)]) == one]
        yield [{k: i + axis for k, (other, axis) in meshes.items() if tuple(other) == one} for i in places]


def by_coordinates(arrays: Mapping[str, Any]) -> xr.Dataset:
    """Name the axes of arrays after the positions and times stored beside them, where lengths leave no doubt.

    Args:
        arrays: Arrays by name, from a format that does not name axes.

    Returns:
        The dataset.  ``u (1024, 251)`` beside ``x (1024, 1)`` and ``t (1, 251)`` has the axes x, t; where two of them
        are of one length, the axes stay unnamed, but for those along which meshes of the shape of the last axes vary.
        ``attrs["meshes"]`` holds by name the shape of each mesh, and the axis along which it varies.
    """
    lines = {k: one_line(a) for k, a in arrays.items() if k.lower() in COORDINATE_NAMES}
    lines = {k: a for k, a in lines.items() if a.ndim == 1 and len(a) > 1 and is_line(a)}
    others = [a for k, a in arrays.items() if k not in lines and a.size > 1]
    clocks = {k: a for k, a in lines.items() if k.lower() in _OF_TIME}
    if not others or (
        clocks and all(sum(n > 1 for n in a.shape) < 2 for a in others)
    ):  # what is no time is a state along it
        lines = clocks
    axes = {k: (arrays[k].shape, mesh_axis(line_of(arrays[k]))) for k in lines}
    meshes = {k: (shape, axis) for k, (shape, axis) in axes.items() if axis is not None}
    variables: dict[str, tuple[Sequence[str | None], Any, Mapping[str, Any]]] = {}
    for name, a in arrays.items():
        if name in lines:
            variables[name] = ([name], lines[name], {})
            continue
        dims: list[str | None] = []
        for n in a.shape:
            fits = [k for k, line in lines.items() if len(line) == n]
            dims.append(fits[0] if len(fits) == 1 and a.shape.count(n) == 1 else None)
        for ways in meshes_along(a.shape, meshes):
            if len(ways) == 1 and len(set(ways[0].values())) == len(ways[0]) and not set(ways[0]) & set(dims):
                dims = [next((k for k, at in ways[0].items() if at == i), d) for i, d in enumerate(dims)]
        variables[name] = (dims, a, {})
    return dataset_of(variables).assign_attrs({"meshes": meshes} if meshes else {})


def is_line(a: Any) -> bool:
    """Return whether an array of one axis increases or decreases strictly, so that it can be times or positions.

    Args:
        a: Numbers or dates, of any other kind nothing is.
    """
    if a.dtype.kind not in "iufM" or (a.dtype.kind == "M" and np.isnat(a).any()):
        return False
    steps = np.diff(np.asarray(a, dtype="datetime64[ns]").astype(np.int64) if a.dtype.kind == "M" else a.astype(float))
    return bool((steps > 0).all() or (steps < 0).all())
