"""Open a file that others wrote, whatever its format, as an :class:`xarray.Dataset`.

A format is recognised by the first bytes of a file, and by its suffix only where bytes say nothing (text, ``.npy`` in
all but name).  Each family of formats has a module here; :data:`FAMILIES` lists them, and a new one is one more line.
"""

from __future__ import annotations

__all__ = ["FAMILIES", "FileFamily", "open_source", "read_states", "state_array"]

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from physinv.config.files import check_regular
from physinv.data.sources.states import state_array, states_of

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class FileFamily:
    """Say how files of one family are recognised and read.

    Args:
        about: What the family is called in messages.
        place: The function that reads them, as ``"module:name"``: ``read(path)`` returns an ``xarray.Dataset``.
        begins: First bytes of such files.
        suffixes: Suffixes of such files, for formats whose first bytes say nothing.
    """

    about: str
    place: str
    begins: tuple[bytes, ...] = ()
    suffixes: tuple[str, ...] = ()

    def fits(self, path: Path, head: bytes) -> bool:
        """Return whether a file is of this family.

        Args:
            path: The file, or folder.
            head: Its first bytes; empty for a folder.
        """
        return head.startswith(self.begins) if self.begins else path.suffix.lower() in self.suffixes


_HERE = "physinv.data.sources"

FAMILIES = (
    FileFamily(
        "HDF5 (netCDF-4, The Well, PDEBench, MATLAB 7.3)", f"{_HERE}.hdf5:read", (b"\x89HDF\r\n\x1a\n", b"MATLAB 7.3")
    ),
    FileFamily("netCDF-3", f"{_HERE}.grids:read_netcdf3", (b"CDF\x01", b"CDF\x02", b"CDF\x05")),
    FileFamily("GRIB", f"{_HERE}.grids:read_grib", (b"GRIB",)),
    FileFamily("Zarr", f"{_HERE}.grids:read_zarr", (), (".zarr",)),
    FileFamily("MATLAB 5", f"{_HERE}.arrays:read_mat", (b"MATLAB 5.0",)),
    FileFamily("NumPy .npy", f"{_HERE}.arrays:read_npy", (b"\x93NUMPY",)),
    FileFamily("NumPy .npz", f"{_HERE}.arrays:read_npz", (), (".npz",)),
    FileFamily("torch .pt", f"{_HERE}.arrays:read_torch", (), (".pt", ".pth")),
    FileFamily("csv", f"{_HERE}.text.tables:read_csv", (), (".csv", ".tsv", ".txt", ".dat")),
    FileFamily("GSD", f"{_HERE}.particles:read_gsd", (b"\xdfe\xdfe\xdfe\xdfe",), (".gsd",)),
    FileFamily("XYZ", f"{_HERE}.particles:read_xyz", (), (".xyz", ".extxyz")),
)
"""All families, in the order in which they are asked."""


def open_source(path: Path | str) -> xr.Dataset:
    """Open a file as a dataset of all its variables, read when they are needed.

    Packed numbers are unpacked, fill values are NaN, units stay in ``attrs["units"]``, times stay numbers in those
    units.  An axis without a name is called ``axis_0``, ``axis_1``, ... by its place.

    Args:
        path: The file, or the folder of a Zarr store.

    Returns:
        The variables; ``attrs["family"]`` names the format, and ``attrs["boundary"]`` and ``attrs["fields"]`` hold what
        The Well's and PDEBench's layouts say about the ends of axes and about which variables are the states.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the format is unknown, or the file is damaged.
    """
    path = Path(path)
    family = _family(path)
    module, _, name = family.place.partition(":")
    found: xr.Dataset = getattr(importlib.import_module(module), name)(path)
    found.attrs.setdefault("family", family.about)
    found.attrs["path"] = str(path)
    return found


def read_states(
    path: Path | str,
    variable: str | Sequence[str] | None = None,
    dims: str | Sequence[str] | None = None,
    *,
    times: str | None = None,
    positions: Mapping[str, str] | None = None,
    boundary: str | Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Read the states in a file: which variables, along which axes, where and when.

    Args:
        path: The file.
        variable: Names of the variables, comma-separated or a list; None takes the one, or those of one shape, that
            there are.
        dims: Names of the axes of these variables as the file has them, such as ``"sample,time,y,x"``; None takes the
            names that the file gives.
        times: Name of a variable with the times, a time step, or ``first:last``.
        positions: For axes of space, the name of a variable, a spacing, or ``first:last``.
        boundary: What lies at the ends, ``"periodic"``, ``"wall"`` or ``"open"``, for all axes or by axis.

    Returns:
        The states, as :func:`~physinv.data.sources.states.states_of` describes them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not say what is needed; the line names the argument that does.
    """
    return states_of(open_source(path), variable, dims, times=times, positions=positions, boundary=boundary)


def _family(path: Path) -> FileFamily:
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}.")
    check_regular(path)
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(16)
        if not head:
            raise ValueError(f"{path} is empty.")
    for family in FAMILIES:
        if family.fits(path, head):
            return family
    if path.is_dir() and any((path / name).exists() for name in (".zgroup", "zarr.json")):
        return next(family for family in FAMILIES if family.about == "Zarr")
    if path.is_dir():
        raise ValueError(f"{path} is a folder and no Zarr store; give files in it.")
    known = ", ".join(family.about for family in FAMILIES)
    raise ValueError(f"{path} is of no known format ({known}); convert it to one of them, such as netCDF.")
