"""Read formats that name their axes themselves, with xarray's own engines: netCDF-3, Zarr, GRIB."""

from __future__ import annotations

__all__ = ["read_grib", "read_netcdf3", "read_zarr"]

import importlib.util
import os
import re
import warnings
from pathlib import Path
from typing import Any

import xarray as xr

from physinv.config.failures import told_bytes
from physinv.data.hdf5.stored import SHRUNK
from physinv.data.sources.build import decoded

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
    """Read a Zarr store with names of axes.

    Args:
        path: Its folder.

    Returns:
        Its variables.

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
    return _opened(path, engine="zarr", chunks=None, consolidated=False)


def read_grib(path: Path) -> xr.Dataset:
    """Read a GRIB file.

    Args:
        path: The file.

    Returns:
        Its variables.

    Raises:
        ValueError: If cfgrib is not installed, or the file is damaged.
    """
    _require("cfgrib", path, "grib")
    return _opened(path, engine="cfgrib", backend_kwargs={"indexpath": ""})


def _opened(path: Path, **how: Any) -> xr.Dataset:
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            raw = xr.open_dataset(path, decode_cf=False, **how)
        if strange := [found[1] for w in told if (found := _STRANGE.match(str(w.message)))]:  # damaged: zarr skips it
            raise ValueError(f"`{strange[0]}` in it is no part of a Zarr store")
        _check_declared(path, raw)
        return decoded(raw)
    except Exception as error:  # each engine has errors of its own for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(f"{path} can't be read ({reason}); copy it again, or convert it to netCDF-4.") from None


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
