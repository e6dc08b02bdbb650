"""Serve datasets of HDF5 files to xarray: numbers stay in the file until they are needed."""

from __future__ import annotations

__all__ = ["StoredArray", "attributes"]

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from physinv.data.hdf5.opening import open_file
from physinv.data.hdf5.stored import check_stored

_INTERNAL = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST")


class StoredArray(BackendArray):
    """Serve a dataset of an HDF5 file to xarray, which reads parts of it when they are needed.

    Args:
        path: The file.
        names: Where the dataset is in the file; several of one shape are stacked along a new first axis.
        reverse: Whether its axes are in reverse order, as in MATLAB's files.
    """

    def __init__(self, path: Path, *names: str, reverse: bool = False) -> None:
        self.path, self.names, self.reverse = path, names, reverse
        with open_file(path, known=True) as file:
            data = file[names[0]]
            self.dtype, shape = data.dtype, tuple(data.shape)
        shape = shape[::-1] if reverse else shape
        self.shape = (len(names), *shape) if len(names) > 1 else shape

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> Any:
        with open_file(self.path, known=True) as file:
            if len(self.names) == 1:
                return self._part(file, self.names[0], key)
            first, rest = key[0], key[1:]
            which = range(len(self.names))[first]
            if isinstance(which, int):
                return self._part(file, self.names[which], rest)
            return np.stack([self._part(file, self.names[i], rest) for i in which])

    def _part(self, file: h5py.File, name: str, key: tuple[int | slice, ...]) -> Any:
        check_stored(self.path, file[name])
        try:
            found = file[name][key[::-1] if self.reverse else key]
        except OSError as error:
            raise ValueError(f"`{name}` of {self.path} can't be read: {str(error).splitlines()[0]}.") from None
        return np.transpose(found) if self.reverse else found


def attributes(item: h5py.Dataset) -> dict[str, Any]:
    """Return the attributes of a dataset as plain text and numbers, without those that HDF5 needs for itself.

    Args:
        item: The dataset.
    """
    found = {}
    for key in item.attrs:
        if key in _INTERNAL or key.startswith("_Netcdf4"):
            continue
        value = item.attrs[key]
        if isinstance(value, h5py.Empty):
            continue
        value = value[0] if isinstance(value, np.ndarray) and value.size == 1 else value
        found[key] = value.decode(errors="replace") if isinstance(value, bytes) else value
    return found
