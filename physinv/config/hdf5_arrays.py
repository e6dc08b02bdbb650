"""Read arrays of an HDF5 file that others may have written: what it holds itself, and no more than it holds."""

from __future__ import annotations

__all__ = ["DAMAGE", "array_of", "check_stored", "is_group"]

import math

import h5py

DAMAGE = (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError, IndexError, MemoryError)
"""What h5py raises for a damaged file, by the place of the damage."""

_SHRUNK = 2000  # bytes that one byte of a compressed file stands for, at most, and something to spare


def array_of(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return an array of a file, which nothing is read of yet, or None if there is none of that name.

    Args:
        file: The file, open for reading.
        name: Name of the array.

    Returns:
        The array.

    Raises:
        KeyError: If there is something else, an array that lies in another file, or one that was not written whole.
    """
    link = file.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise KeyError(f"`{name}` is a link to something else; copy the array to its place")
    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise KeyError(f"`{name}` is no array")
    check_stored(data)
    return data


def is_group(file: h5py.File, name: str) -> bool:
    """Return whether there is a group of that name in a file itself; no link is followed.

    Args:
        file: The file, open for reading.
        name: The name.
    """
    return isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Group)


def check_stored(data: h5py.Dataset) -> None:
    """Refuse an array of which a part lies in another file, or was never written and would be read as zeros.

    Args:
        data: The array.

    Raises:
        KeyError: If it is one.
    """
    name = data.name.lstrip("/")
    if data.is_virtual or data.external:
        raise KeyError(f"the values of `{name}` lie in another file; copy them into this one")
    if data.shape is None or 0 in data.shape:
        return
    packed = data.id.get_create_plist().get_nfilters() > 0
    if data.nbytes > data.file.id.get_filesize() * (_SHRUNK if packed else 1):
        whole = False
    elif data.chunks is None:
        whole = data.id.get_storage_size() >= math.prod(data.shape) * data.dtype.itemsize
    else:
        counts = (-(-n // chunk) for n, chunk in zip(data.shape, data.chunks, strict=True))
        whole = data.id.get_num_chunks() == math.prod(counts)
    if not whole:
        raise KeyError(f"`{name}` of shape {data.shape} was not written whole")
