"""Checksums of what files hold, stored beside it and compared when it is read: a changed bit is told, not used.

They are of the content, not of the bytes of a file: JSON that is formatted anew, or an HDF5 file that is packed again,
keeps its checksums.
"""

from __future__ import annotations

__all__ = ["HDF5_CHECKSUMS", "check_hdf5", "of_json", "of_tensors", "seal_hdf5"]

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

HDF5_CHECKSUMS = "checksums_json"
"""Attribute of the root of an HDF5 file: the checksum of each array, and one of all attributes."""

_ATTRIBUTES = "attributes"  # in the place of a name of an array, which begins with a slash
_LINKS = ("DIMENSION_LIST", "REFERENCE_LIST")  # attributes that point to other arrays; HDF5 writes them anew at will
_PART_BYTES = 2**20  # of an array that are read at once


def of_json(values: Mapping[str, Any]) -> str:
    """Compute the SHA-256 checksum of values that JSON can hold, whatever the order of their names.

    Args:
        values: Values by name.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> of_json({"a": 1, "b": [2.5]}) == of_json({"b": [2.5], "a": 1})
        True
    """
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def of_tensors(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    """Compute the SHA-256 checksum of tensors with their names, types and shapes, and of the text beside them.

    Args:
        tensors: Tensors by name, on the CPU.
        header: Text by name.

    Returns:
        64 hexadecimal digits.
    """
    total = hashlib.sha256(of_json(dict(header)).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        flat = tensor.contiguous().as_strided((tensor.numel(),), (1,))  # axes of length 1 may have any stride
        total.update(flat.view(torch.uint8).numpy().data)
    return total.hexdigest()


def seal_hdf5(file: h5py.File) -> None:
    """Store the checksums of all that an HDF5 file holds, as the last that is written into it.

    Args:
        file: The file, open for writing; its arrays are read again, a part at a time.
    """
    file.attrs[HDF5_CHECKSUMS] = json.dumps(_checksums(file), sort_keys=True)


def check_hdf5(file: h5py.File, told: Mapping[str, Any]) -> str | None:
    """Compare the content of an HDF5 file with its checksums.

    Args:
        file: The file, open for reading.
        told: The checksums that :func:`seal_hdf5` stored.  Arrays that they do not name were added later by others, and
            are not looked at.

    Returns:
        What differs, ``"samples"`` or ``"attributes"``; None where nothing does.
    """
    found = _checksums(file, only=set(told))
    return next((name.lstrip("/") for name in sorted(told) if found.get(name) != told[name]), None)


def _checksums(file: h5py.File, only: set[str] | None = None) -> dict[str, str]:
    """The checksum of each array, of those that are named, and of the attributes of root and arrays."""
    found: dict[str, str] = {}
    attributes = {"/": _plain(file.attrs)}
    for name, item in file.items():
        path = f"/{name}"
        if isinstance(item, h5py.Dataset) and (only is None or path in only):
            found[path] = _of_array(item)
            attributes[path] = _plain(item.attrs)
    return found | {_ATTRIBUTES: of_json(attributes)}


def _plain(attributes: h5py.AttributeManager) -> dict[str, str]:
    """Attributes as text, but those that point to other arrays, and the checksums."""
    own = [name for name in attributes if name not in (*_LINKS, HDF5_CHECKSUMS)]
    return {name: f"{np.asarray(attributes[name]).dtype} {np.asarray(attributes[name]).tolist()!r}" for name in own}


def _of_array(data: h5py.Dataset) -> str:
    """SHA-256 of type, shape and values, read a part of the first axis at a time."""
    total = hashlib.sha256(f"{data.dtype.str} {data.shape}".encode())
    if data.shape == () or data.dtype.kind == "O":
        total.update(repr(np.asarray(data[()]).tolist()).encode())
        return total.hexdigest()
    rows = max(1, _PART_BYTES // max(1, data.dtype.itemsize * int(np.prod(data.shape[1:], dtype=np.int64))))
    for at in range(0, data.shape[0], rows):
        total.update(np.ascontiguousarray(data[at : at + rows]).data)
    return total.hexdigest()
