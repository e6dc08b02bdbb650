"""HDF5 with a group for each trajectory, which hold arrays of the same names and shapes."""

from __future__ import annotations

__all__ = ["is_runs", "read_runs"]

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from xarray.core import indexing

from physinv.data.hdf5.lazy import StoredArray
from physinv.data.hdf5.scales import is_scale
from physinv.data.hdf5.stored import check_stored
from physinv.data.sources.build import COORDINATE_NAMES, by_coordinates, line_of

_SMALL = 10**6  # numbers of a line of times or positions


def is_runs(file: h5py.File) -> bool:
    """Return whether a file has a group for each trajectory: two or more, with arrays of the same names.

    Args:
        file: The file.
    """
    groups = [g for g in file.values() if isinstance(g, h5py.Group)]
    members = {tuple(sorted(k for k, d in g.items() if isinstance(d, h5py.Dataset))) for g in groups}
    scales = any(is_scale(d) for g in groups for d in g.values() if isinstance(d, h5py.Dataset))
    return len(groups) > 1 and len(members) == 1 and members != {()} and not scales


def read_runs(path: Path, file: h5py.File) -> xr.Dataset:
    """Read a file with a group for each trajectory.

    Args:
        path: The file.
        file: The same, opened.

    Returns:
        Arrays along a new first axis, of the groups in the order of the numbers in their names; times and positions
        that are the same in all of them, or lie beside them; numbers among the attributes of the groups.

    Raises:
        ValueError: If groups differ in their shapes, times or positions.
    """
    groups = [k for k, g in file.items() if isinstance(g, h5py.Group)]
    groups.sort(key=lambda k: [int(w) if w.isdigit() else w for w in re.split(r"(\d+)", k)])
    first = file[groups[0]]
    arrays: dict[str, Any] = {}
    for name, item in ((k, d) for k, d in first.items() if isinstance(d, h5py.Dataset) and d.dtype.kind in "biufc"):
        for other in groups[1:]:
            if (shape := file[other][name].shape) != item.shape:
                raise ValueError(
                    f"`{groups[0]}/{name}` and `{other}/{name}` of {path} have shapes {item.shape} and {shape}; cut "
                    "them to one length, or write each group into a file of its own and import the folder, with "
                    "`--window`."
                )
        line = name.lower() in COORDINATE_NAMES and 1 < item.size < _SMALL and item.ndim < 3
        if line and (same := _same(path, file, groups, name)) is not None:
            arrays[name] = same
        else:
            arrays[name] = indexing.LazilyIndexedArray(StoredArray(path, *(f"{k}/{name}" for k in groups)))
    for name, item in file.items():
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and item.size < _SMALL and name not in arrays:
            check_stored(path, item)
            arrays[name] = line_of(item[...])
    for name in first.attrs:
        values = [file[k].attrs.get(name) for k in groups]
        if name not in arrays and all(isinstance(v, int | float | np.number) for v in values):
            arrays[name] = np.asarray(values, dtype=np.float64)
    return by_coordinates(arrays)


def _same(path: Path, file: h5py.File, groups: list[str], name: str) -> Any:
    """Numbers along an axis that are the same in all groups, else None."""
    for k in groups:
        check_stored(path, file[k][name])
    lines = [line_of(file[k][name][...]) for k in groups]
    return lines[0] if all(np.array_equal(lines[0], line) for line in lines[1:]) else None
