"""Read formats that name their axes themselves, with xarray's own engines: netCDF-3, Zarr, GRIB."""

from __future__ import annotations

__all__ = ["read_grib", "read_netcdf3", "read_zarr"]

import importlib.util
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from physinv.config.failures import told_bytes
from physinv.data.hdf5.stored import SHRUNK
from physinv.data.sources.build import COORDINATE_NAMES, by_coordinates, decoded, line_of

_STRANGE = re.compile(r"Object at ([^.\s]\S*) is not recognized")  # hidden files of others do no harm


def read_netcdf3(path: Path) -> xr.Dataset:
    """Read a netCDF file of version 3.

    Args:
        path: The file.

    Returns:
        Its variables.

    Raises:
        ValueError: If it is damaged.
    """
    return _opened(path, engine="scipy")


def read_zarr(path: Path) -> xr.Dataset:
    """Read a Zarr store, with names of axes or, as Zarr itself writes arrays, without.

    Args:
        path: Its folder.

    Returns:
        Its variables.  Where chunks are not stored, which Zarr leaves out if they hold the fill value alone,
        ``attrs["read_notes"]`` says how many.

    Raises:
        ValueError: If zarr is not installed, the store is damaged, or a part of it is a link to a file outside.
    """
    _require("zarr", path, "zarr")
    root = path.resolve()
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            part = Path(folder, name)
            if part.is_symlink() and not part.resolve().is_relative_to(root):
                raise ValueError(
                    f"{path} keeps `{part.relative_to(root)}` outside of its folder; copy the store with all that it "
                    "links to."
                )
    arrays = _zarr_arrays(path)
    if all(named for _, named in arrays.values()):
        found = _opened(path, engine="zarr", chunks=None, consolidated=False)
    else:
        found = _unnamed(path, arrays)
    notes = []
    for name, (a, _) in arrays.items():
        if a.ndim and name in found.variables and a.nchunks_initialized < a.nchunks and a.fill_value == a.fill_value:
            missing = a.nchunks - a.nchunks_initialized
            notes.append(f"`{name}`: {missing} of {a.nchunks} chunks are not stored, and count as {a.fill_value}")
    return found.assign_attrs(read_notes=notes)


def read_grib(path: Path) -> xr.Dataset:
    """Read a GRIB file.

    Args:
        path: The file.

    Returns:
        Its variables; notes name those whose places, levels or times do not go with the others, and which are left out.

    Raises:
        ValueError: If cfgrib is not installed, or the file is cut off or damaged.
    """
    _require("cfgrib", path, "grib")
    with _logged("cfgrib") as told:  # cfgrib reads on over what is damaged, and says so in a log
        found = _opened(path, engine="cfgrib", backend_kwargs={"indexpath": ""})
    if damaged := sum("corrupted" in str(record.msg) for record in told):
        raise ValueError(f"{path} is cut off or damaged, {damaged} of its messages can't be read; copy it again.")
    skipped = [record.args[-1] for record in told if "variable" in str(record.msg) and isinstance(record.args, tuple)]
    notes = [f"`{name}` is left out: its places, levels or times are not those of the others" for name in skipped]
    return found.assign_attrs(read_notes=notes)


class _Collected(logging.Handler):
    """Keep what a library logs, in the place of printing it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record)


@contextmanager
def _logged(name: str) -> Iterator[list[logging.LogRecord]]:
    """What a library logs meanwhile, which nobody else hears of."""
    logger, handler = logging.getLogger(name), _Collected()
    passed_on, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield handler.told
    finally:
        logger.removeHandler(handler)
        logger.propagate = passed_on


class _Chunked(BackendArray):
    """Serve an array of a Zarr store to xarray, which reads parts of it when they are needed."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, tuple(array.shape), np.dtype(array.dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self.array.__getitem__
        )


def _zarr_arrays(path: Path) -> dict[str, tuple[Any, bool]]:
    """The arrays of a Zarr store by name, and whether the axes of each have names."""
    import zarr

    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            root = zarr.open(path, mode="r")
            members = [(path.stem, root)] if isinstance(root, zarr.Array) else list(root.members())
        _refuse_strange(told)
        arrays = {name: a for name, a in members if isinstance(a, zarr.Array)}
        named: dict[str, Any] = {
            name: getattr(a.metadata, "dimension_names", None) or a.attrs.get("_ARRAY_DIMENSIONS")
            for name, a in arrays.items()
        }
    except Exception as error:  # of many kinds
        raise _unread(path, error) from None
    return {name: (a, a.ndim == 0 or all(named[name] or [None])) for name, a in arrays.items()}


def _unnamed(path: Path, arrays: Mapping[str, tuple[Any, bool]]) -> xr.Dataset:
    """Arrays with axes after positions beside them, as of other formats without names of axes."""
    found = {}
    for name, (a, _) in arrays.items():
        small = name.lower() in COORDINATE_NAMES and a.size < 10**7
        found[name] = line_of(np.asarray(a[...])) if small else indexing.LazilyIndexedArray(_Chunked(a))
    try:
        raw = by_coordinates(found)
        _check_declared(path, raw)
        return decoded(raw, path)
    except Exception as error:
        raise _unread(path, error) from None


def _refuse_strange(told: Sequence[warnings.WarningMessage]) -> None:
    """Raise ValueError for what zarr skips with a warning: the store is damaged."""
    if strange := [found[1] for w in told if (found := _STRANGE.match(str(w.message)))]:
        raise ValueError(f"`{strange[0]}` in it is no part of a Zarr store")


def _unread(path: Path, error: Exception) -> ValueError:
    """What is said of a file that an engine can't read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return ValueError(f"{path} can't be read ({reason}); copy it again, or convert it to netCDF-4.")


def _opened(path: Path, **how: Any) -> xr.Dataset:
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            raw = xr.open_dataset(path, decode_cf=False, **how)
        _refuse_strange(told)
        _check_declared(path, raw)
        return decoded(raw, path)
    except Exception as error:  # each engine has errors of its own for damaged files
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise _unread(path, error) from None


def _check_declared(path: Path, raw: xr.Dataset) -> None:
    """Refuse variables that no file of this size can hold, before anything is listed that is as long."""
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    held = sum(p.stat().st_size for p in files)
    for name, variable in raw.variables.items():
        if variable.nbytes > SHRUNK * held:
            raise ValueError(f"`{name}` declares {told_bytes(variable.nbytes)}, the file has {told_bytes(held)}")


def _require(module: str, path: Path, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"{path} needs {module}, which is not installed; `pip install 'physinv[{extra}]'`.")
