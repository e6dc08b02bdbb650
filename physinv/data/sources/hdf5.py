"""Read HDF5: files with dimension scales (netCDF-4), The Well's and PDEBench's layouts, MATLAB 7.3, plain arrays.

Numbers stay in the file until they are needed.  What would read as invented zeros is refused when it is read: chunks
that were never written, sources of virtual datasets that are missing.  Files that lead elsewhere are refused at once.
"""

from __future__ import annotations

__all__ = ["read"]

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from xarray.core import indexing

from physinv.data.hdf5.lazy import StoredArray, attributes
from physinv.data.hdf5.opening import open_file
from physinv.data.hdf5.scales import axis_names, is_scale
from physinv.data.hdf5.stored import check_stored
from physinv.data.sources.build import COORDINATE_NAMES, by_coordinates, dataset_of, decoded, line_of
from physinv.data.sources.samples.cells import read_cells
from physinv.data.sources.samples.numbered import numbered
from physinv.data.sources.samples.trajectory_files import LAYOUTS

_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"


def read(path: Path) -> xr.Dataset:
    """Read an HDF5 file of any layout.

    Args:
        path: The file.

    Returns:
        Its variables; those in groups have the path of the group before their names, unless one group holds all.

    Raises:
        ValueError: If the file is damaged.
    """
    with open_file(path) as file:
        try:
            for fits, layout in LAYOUTS:
                if fits(file):
                    return layout(path, file)
            return _plain(path, file)
        except Exception as error:  # damage shows itself in any way
            if isinstance(error, ValueError) and str(path) in str(error):
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise ValueError(f"{path} is not whole: {reason}.") from None


def _plain(path: Path, file: h5py.File) -> xr.Dataset:
    """Arrays anywhere in the file, with axes after dimension scales, or after positions beside them."""
    inner = _inner(file)
    found = {name: item for name, item in _arrays(inner, "", set()) if item.dtype.kind in "biufcSUVO"}
    kept = {k: d for k, d in found.items() if d.shape is not None and not _no_variable(d)}
    if not any(is_scale(d) or _scales(d, "") for d in found.values()):
        return _by_coordinates(path, inner, kept)
    variables, above = {}, inner.name.rstrip("/") + "/"
    for name, item in kept.items():
        dims = [name] if is_scale(item) and item.ndim == 1 else _scales(item, above) or [None] * item.ndim
        variables[name] = (dims, _lazily(path, item.name), attributes(item))
    return decoded(dataset_of(variables), path)


def _inner(group: h5py.Group) -> h5py.Group:
    """The group that holds everything: a single one stands for the file, as a structure of MATLAB does."""
    seen: set[int] = set()
    while True:
        members = [item for key, item in group.items() if not key.startswith("#")]
        address = h5py.h5o.get_info(group.id).addr
        if len(members) != 1 or not isinstance(members[0], h5py.Group) or address in seen:
            return group
        seen.add(address)
        group = members[0]


def _arrays(group: h5py.Group, above: str, seen: set[int]) -> Iterator[tuple[str, h5py.Dataset]]:
    """Arrays in a group and in those below it, each once, in the order in which they were written if the file knows."""
    for key, item in group.items():
        name, address = f"{above}{key}", h5py.h5o.get_info(item.id).addr
        if address in seen or key.startswith("#"):
            continue
        seen.add(address)
        if isinstance(item, h5py.Dataset):
            yield name, item
        elif isinstance(item, h5py.Group):
            yield from _arrays(item, f"{name}/", seen)


def _by_coordinates(path: Path, group: h5py.Group, kept: dict[str, h5py.Dataset]) -> xr.Dataset:
    matlab = any("MATLAB_class" in item.attrs for item in kept.values())
    arrays: dict[str, Any] = {}
    for item in (group.file, group, *kept.values()):  # times and positions may be attributes
        for key in (k for k in item.attrs if k.lower() in COORDINATE_NAMES and k not in kept):
            line = np.asarray(item.attrs[key])
            if line.ndim == 1 and line.dtype.kind in "iuf" and line.size > 1:
                arrays.setdefault(key, line)
    numeric = {k: d.shape[::-1] if matlab else d.shape for k, d in kept.items() if d.dtype.kind in "biufc"}
    alike, unequal = numbered(numeric)
    for name, names in alike.items():
        arrays[name] = _lazily(path, *(kept[n].name for n in names), reverse=matlab)
    used = {name for names in alike.values() for name in names}
    for name, item in ((k, d) for k, d in kept.items() if k not in used):
        if h5py.check_ref_dtype(item.dtype) is h5py.Reference:
            cells = read_cells(path, group.file, item)
            if isinstance(cells, str):
                unequal[name] = cells
            elif cells is not None:
                arrays[name.rpartition("/")[2]] = cells
        elif name.lower() in COORDINATE_NAMES and item.size < 10**7 and item.dtype.kind in "iuf":
            check_stored(path, item)
            arrays[name] = line_of(item[...].T if matlab else item[...])
        else:
            arrays[name] = _lazily(path, item.name, reverse=matlab)
    data = by_coordinates(arrays)
    for key in map(str, data.variables):
        if (origin := alike.get(key, [key])[0]) in kept:
            told = attributes(kept[origin]).items()
            data[key].attrs.update({k: v for k, v in told if np.ndim(v) == 0 or k not in arrays})
    return decoded(data.assign_attrs(unequal=unequal), path)


def _lazily(path: Path, *names: str, reverse: bool = False) -> indexing.LazilyIndexedArray:
    return indexing.LazilyIndexedArray(StoredArray(path, *names, reverse=reverse))


def _scales(item: h5py.Dataset, above: str) -> list[str | None]:
    """Names of the axes of a dataset, without the group above; None without a scale; empty if no axis has one."""
    names = [name and name.removeprefix(above).strip("/") for name in axis_names(item)]
    return names if any(names) else []


def _no_variable(item: h5py.Dataset) -> bool:
    name = item.attrs.get("NAME", b"")
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    return text.startswith(_NO_VARIABLE)
