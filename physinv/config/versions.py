"""Versions of the packages on which the bytes of a file depend; every file that is written holds them."""

from __future__ import annotations

__all__ = ["versions"]

import platform
from importlib import metadata

import h5py


def versions() -> dict[str, str]:
    """List the versions of physinv, Python, torch, numpy, h5py and the HDF5 library.

    Returns:
        Versions by name; physinv is ``"uninstalled"`` where it is imported from a folder that pip does not know.
    """
    try:
        own = metadata.version("physinv")
    except metadata.PackageNotFoundError:
        own = "uninstalled"
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "h5py")}
    return {"physinv": own, "python": platform.python_version(), **packages, "hdf5": h5py.version.hdf5_version}
