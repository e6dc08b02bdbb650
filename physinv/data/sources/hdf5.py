"""Read HDF5: files with dimension scales (netCDF-4), The Well's and PDEBench's layouts, MATLAB 7.3, plain arrays.

Numbers stay in the file until they are needed.  What would read as invented zeros is refused when it is read: chunks
that were never written, sources of virtual datasets that are missing.  Files that lead elsewhere are refused at once.
"""

from __future__ import annotations

__all__ = ["read"]

from pathlib import Path

import h5py
import xarray as xr
from xarray.core import indexing

from physinv.data.hdf5.lazy import StoredArray, attributes
from physinv.data.hdf5.opening import open_file
from physinv.data.hdf5.stored import check_stored
from physinv.data.sources import trajectory_files
from physinv.data.sources.build import COORDINATE_NAMES, by_coordinates, dataset_of, decoded, line_of

_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"


def read(path: Path) -> xr.Dataset:
    """Read an HDF5 file of any layout.

    Args:
        path: The file.

    Returns:
        Its variables; those in groups have the path of the group before their names.

    Raises:
        ValueError: If the file is damaged.
    """
    with open_file(path) as file:
        try:
            for fits, layout in trajectory_files.LAYOUTS:
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
    found: dict[str, h5py.Dataset] = {}

    def collect(name: str, item: h5py.Dataset | h5py.Group) -> None:
        hidden = name.startswith("#") or "/#" in name
        if isinstance(item, h5py.Dataset) and not hidden and item.dtype.kind in "biufcSUVO":
            found[name] = item

    file.visititems(collect)
    matlab = any("MATLAB_class" in item.attrs for item in found.values())
    kept = {k: d for k, d in found.items() if d.shape is not None and not _no_variable(d)}
    if not any(_is_scale(d) or _scales(d) for d in found.values()):
        return _by_coordinates(path, kept, matlab)
    variables = {}
    for name, item in kept.items():
        dims = [name] if _is_scale(item) and item.ndim == 1 else _scales(item) or [None] * item.ndim
        variables[name] = (dims, _lazily(path, name), attributes(item))
    return decoded(dataset_of(variables), path)


def _by_coordinates(path: Path, kept: dict[str, h5py.Dataset], matlab: bool) -> xr.Dataset:
    arrays = {}
    for name, item in kept.items():
        small = name.lower() in COORDINATE_NAMES and item.size < 10**7 and item.dtype.kind in "iuf"
        if small:
            check_stored(path, item)
        arrays[name] = line_of(item[...]) if small else _lazily(path, name, matlab)
    data = by_coordinates(arrays)
    for key in data.variables:
        data[key].attrs.update(attributes(kept[str(key)]))
    return decoded(data, path)


def _lazily(path: Path, name: str, reverse: bool = False) -> indexing.LazilyIndexedArray:
    return indexing.LazilyIndexedArray(StoredArray(path, name, reverse=reverse))


def _scales(item: h5py.Dataset) -> list[str | None]:
    """Names of the axes of a dataset; None where it has no scale; empty where no axis has one."""
    names: list[str | None] = []
    for i in range(item.ndim):
        dim = item.dims[i]
        names.append(dim[0].name.strip("/") if len(dim) else (dim.label or None))
    return names if any(names) else []


def _is_scale(item: h5py.Dataset) -> bool:
    return bool(h5py.h5ds.is_scale(item.id))


def _no_variable(item: h5py.Dataset) -> bool:
    name = item.attrs.get("NAME", b"")
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    return text.startswith(_NO_VARIABLE)
