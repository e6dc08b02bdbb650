"""Whether a dataset of an HDF5 file holds the numbers that it declares, before any memory is taken for them."""

from __future__ import annotations

__all__ = ["MOST_NUMBERS", "SHRUNK", "check_stored", "is_written", "read_line"]

import math
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float

from physinv.data.hdf5.links import source_of

MOST_NUMBERS = 10**7
"""Times, or positions along an axis, at most."""

SHRUNK = 2000
"""Bytes that one byte of a compressed file stands for, at most, and something to spare."""


def is_written(data: h5py.Dataset) -> bool:
    """Return whether all numbers of a dataset are in the file, as far as can be told without reading them.

    What was never written reads as the fill value, and takes no room in the file, however much is declared.

    Args:
        data: The dataset; not a virtual one.
    """
    if data.shape is None or data.size == 0:
        return True
    if data.nbytes > data.file.id.get_filesize() * (SHRUNK if data.id.get_create_plist().get_nfilters() else 1):
        return False
    if data.chunks:
        chunks = math.prod(-(-n // c) for n, c in zip(data.shape, data.chunks, strict=True))
        return bool(data.id.get_num_chunks() >= chunks)
    return bool(data.id.get_storage_size() >= data.nbytes)


def check_stored(path: Path, data: h5py.Dataset) -> None:
    """Raise ValueError where reading would give numbers that nobody wrote, or that lie elsewhere.

    Args:
        path: The file.
        data: A dataset in it.

    Raises:
        ValueError: If parts are missing, sources are missing or outside the folder, or storage is external.
    """
    _check(path, data, frozenset())


def read_line(path: Path, data: h5py.Dataset) -> Float[np.ndarray, " n"]:
    """Read times, or positions along an axis.

    Args:
        path: The file, for messages.
        data: The dataset that holds them.

    Returns:
        The numbers, in float64.

    Raises:
        ValueError: If it is no line of numbers, longer than :data:`MOST_NUMBERS`, or not all of it was written.
    """
    if not isinstance(data, h5py.Dataset) or data.ndim != 1 or data.dtype.kind not in "iuf":
        raise ValueError(f"`{str(data.name).strip('/')}` of {path} must be one line of numbers.")
    if data.size > MOST_NUMBERS:
        raise ValueError(
            f"`{data.name.strip('/')}` of {path} declares {data.size} numbers, {MOST_NUMBERS} are the most; "
            "write fewer points."
        )
    check_stored(path, data)
    return np.asarray(data[...], dtype=np.float64)


def _check(path: Path, data: h5py.Dataset, asked: frozenset[tuple[Path, str]]) -> None:
    name = str(data.name).strip("/")
    if data.external:
        raise ValueError(f"`{name}` of {path} keeps its numbers in another file; write them into this one.")
    if data.is_virtual:
        _check_sources(path, data, asked | {(path.resolve(), name)})
    elif not is_written(data) and not _filled_with_missing(data):
        raise ValueError(f"`{name}` of {path} has parts that were never written; write the file again to its end.")


def _check_sources(path: Path, data: h5py.Dataset, asked: frozenset[tuple[Path, str]]) -> None:
    """All that a virtual dataset consists of, down to the files that hold the numbers."""
    name, covered = str(data.name).strip("/"), 0
    for source in data.virtual_sources():
        place = source_of(path, name, source.file_name)
        inside = source.dset_name.strip("/")
        if (place.resolve(), inside) in asked:
            raise ValueError(f"`{name}` of {path} takes numbers from itself; write all numbers into one file.")
        if not place.is_file():
            raise ValueError(
                f"`{name}` of {path} takes numbers from {source.file_name}, which is not beside it; copy that file "
                "there, or write all numbers into one file."
            )
        with h5py.File(place, "r") as file:
            item = file.get(inside)
            if not isinstance(item, h5py.Dataset) or not _holds(item, source):
                raise ValueError(
                    f"`{name}` of {path} takes numbers from `{inside}` of {source.file_name}, which holds less; copy "
                    "the whole of that file there, or write all numbers into one file."
                )
            _check(place, item, asked)
        covered += source.vspace.get_select_npoints()
    if covered < data.size and not _filled_with_missing(data):
        raise ValueError(f"`{name}` of {path} has parts that no file fills; write all numbers into one file.")


def _holds(item: h5py.Dataset, source: h5py.VDSmap) -> bool:
    """Whether a dataset is as large as the part of it that a virtual dataset takes."""
    if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:  # of which the virtual dataset does not note the shape
        return bool(item.size == source.vspace.get_select_npoints())
    ends = source.src_space.get_select_bounds()[1]
    return len(ends) == item.ndim and all(a < n for a, n in zip(ends, item.shape, strict=True))


def _filled_with_missing(data: h5py.Dataset) -> bool:
    """Whether what was never written reads as a missing value, not as a number."""
    fill, told = data.fillvalue, data.attrs.get("_FillValue")
    if np.issubdtype(data.dtype, np.floating) and np.isnan(fill):
        return True
    return told is not None and bool(np.all(np.asarray(told) == fill)) and bool(fill != 0)
