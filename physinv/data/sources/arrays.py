"""Read arrays without names of axes: NumPy, MATLAB 5, tensors of torch.  Nothing is unpickled."""

from __future__ import annotations

__all__ = ["read_mat", "read_npy", "read_npz", "read_torch"]

import math
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physinv.data.hdf5.stored import SHRUNK
from physinv.data.sources.build import COORDINATE_NAMES, by_coordinates
from physinv.data.sources.samples.numbered import stacked_by_number


def read_npy(path: Path) -> xr.Dataset:
    """Read one array; its variable has the name of the file.

    Args:
        path: A ``.npy`` file.

    Returns:
        The array, mapped into memory.

    Raises:
        ValueError: If it holds Python objects, or less than its header says.
    """
    try:
        with np.errstate(over="ignore"):  # of the sizes that a header claims; too large ones are refused
            return by_coordinates({path.stem: np.load(path, mmap_mode="r", allow_pickle=False)})
    except Exception as error:  # numpy reads the header as Python does, and raises what that raises
        raise _damaged(path, error) from None


def read_npz(path: Path) -> xr.Dataset:
    """Read all arrays of an archive.

    Args:
        path: A ``.npz`` file.

    Returns:
        The arrays by name.

    Raises:
        ValueError: If it holds Python objects, or is damaged.
    """
    try:
        _check_declared(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return _put_together({name: archive[name] for name in archive.files})
    except Exception as error:  # of zip, of numpy, of the compression
        raise _damaged(path, error) from None


def read_mat(path: Path) -> xr.Dataset:
    """Read the numeric arrays of a MATLAB file up to version 7 (7.3 is HDF5).

    Args:
        path: A ``.mat`` file.

    Returns:
        The arrays by name, those of structures ``outer/inner`` unless all are in one structure.  Cells that hold arrays
        of one shape are stacked along a new first axis; other cells and objects are left out. Cells of unequal lengths
        are told in ``attrs["unequal"]``, sentences by name.

    Raises:
        ValueError: If it is damaged.
    """
    from scipy.io import loadmat

    try:
        found = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
        while len(found) == 1 and (inner := _structure(*found.values())):
            found = inner
        unequal: dict[str, str] = {}
        arrays = dict(_numeric(found, unequal))
    except Exception as error:  # scipy's reader has no error of its own for damaged files
        raise _damaged(path, error) from None
    return _put_together(arrays, unequal)


def read_torch(path: Path) -> xr.Dataset:
    """Read a tensor, or dictionaries of tensors, with torch's reader of weights, which runs no code.

    Args:
        path: A ``.pt`` file.

    Returns:
        The tensors by name, in dictionaries of dictionaries ``outer/inner`` unless all are in one; a single tensor has
        the name of the file.

    Raises:
        ValueError: If the file holds anything but tensors, numbers and text, or is damaged.
    """
    try:
        _check_members(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what it then refuses
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, with texts of many lines
        raise _damaged(path, error, "save a dictionary of tensors with `torch.save`") from None
    if isinstance(found, list | tuple) and len({getattr(a, "shape", None) for a in found} - {None}) == 1:
        found = torch.stack(list(found)) if all(isinstance(a, Tensor) for a in found) else found
    if isinstance(found, list | tuple) and len(found) > 1 and all(isinstance(a, Tensor) for a in found):
        least, most = (
            " x ".join(map(str, shape)) for shape in (min(a.shape for a in found), max(a.shape for a in found))
        )
        raise ValueError(
            f"{path} holds {len(found)} tensors of unequal shapes, {least} to {most}; cut them to one, save them in a "
            "dictionary by name, or write each into a file of its own and import the folder, with `--window`."
        )
    named = {path.stem: found} if isinstance(found, Tensor) else found
    if not isinstance(named, dict):
        raise ValueError(f"{path} must hold a tensor or a dictionary of tensors, got {type(found).__name__}.")
    try:
        pairs = list(_tensors(named))
    except TypeError as error:  # layouts and types that NumPy has no like of
        raise _damaged(path, error, "save dense tensors of numbers (`x.to_dense()`)") from None
    except RecursionError:
        raise ValueError(f"{path} has dictionaries in dictionaries without an end; save one of tensors.") from None
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"{path} has two arrays of the same name; rename one of them.")
    return _put_together(dict(pairs))


def _put_together(arrays: Mapping[str, Any], unequal: Mapping[str, str] | None = None) -> xr.Dataset:
    """A dataset of arrays, those that are numbered by trajectory as one; what is of unequal lengths is told."""
    together, told = stacked_by_number(_without_folders(arrays))
    return by_coordinates(together).assign_attrs(unequal={**(unequal or {}), **told})


def _without_folders(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays in dictionaries or structures by the last part of their names, where all large ones lie in one.

    Times and positions lose it anyway, so that they are found.  A name that would be there twice stays as it is.
    """
    last = {name: name.rpartition("/")[2] for name in arrays}
    folders = {name.rpartition("/")[0] for name, a in arrays.items() if np.size(a) > 1}
    whole, once = len(folders) == 1, list(last.values())
    return {
        last[name] if once.count(last[name]) == 1 and (whole or last[name].lower() in COORDINATE_NAMES) else name: a
        for name, a in arrays.items()
    }


def _check_declared(path: Path) -> None:
    """Refuse arrays that declare more numbers than the archive holds bytes for, before memory is taken for them."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                if np.lib.format.read_magic(file) == (1, 0):
                    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                else:
                    shape, _, dtype = np.lib.format.read_array_header_2_0(file)
            declared = math.prod(shape) * dtype.itemsize
            if declared > member.file_size or member.file_size > SHRUNK * size:
                raise ValueError(f"`{member.filename}` declares {declared} bytes, more than the file can hold")


def _check_members(path: Path) -> None:
    """Refuse an archive whose members do not have their checksums, at which torch does not look."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if (name := archive.testzip()) is not None:
                raise ValueError(f"`{name}` in it does not have the checksum that it was written with")


def _structure(value: Any) -> dict[str, Any]:
    """The fields of a MATLAB structure of one element; empty for anything else."""
    names = value.dtype.names if isinstance(value, np.ndarray) and value.size == 1 else None
    return {name: value.flat[0][name] for name in names or ()}


def _numeric(found: Mapping[str, Any], unequal: dict[str, str], above: str = "") -> Iterator[tuple[str, Any]]:
    """Arrays of numbers, those in structures, and cells of arrays of one shape; of others it is told what they are."""
    for key, value in found.items():
        if inner := _structure(value):
            yield from _numeric(inner, unequal, f"{above}{key}/")
        elif isinstance(value, np.ndarray) and value.dtype.names and value.size:  # a structure for each trajectory
            yield from _numeric({name: value[name] for name in value.dtype.names}, unequal, above)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            yield f"{above}{key}", value
        elif isinstance(value, np.ndarray) and value.dtype == object and value.size:
            cells = [np.asarray(cell) for cell in value.flat]
            if not all(cell.dtype.kind in "biuf" and cell.size for cell in cells):
                continue
            if len(shapes := {cell.shape for cell in cells}) == 1:
                yield f"{above}{key}", np.stack([cell.reshape(-1) if 1 in cell.shape else cell for cell in cells])
            else:
                least, most = (" x ".join(map(str, shape)) for shape in (min(shapes), max(shapes)))
                unequal[f"{above}{key}"] = f"`{above}{key}` holds {len(cells)} cells of {least} to {most} numbers"


def _tensors(named: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Tensors and numbers of a dictionary, and of those in it."""
    for key, value in named.items():
        if isinstance(value, dict):
            yield from _tensors(value, f"{above}{key}/")
        elif isinstance(value, (Tensor, int, float)):
            yield f"{above}{key}", _array(value)


def _array(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return np.asarray(value)
    tensor = value.detach()
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).numpy()


def _damaged(path: Path, error: Exception, remedy: str = "write arrays of numbers") -> ValueError:
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    if any(word in str(error) for word in ("pickle", "weights_only", "Object arrays", "Python objects")):
        reason = "it holds Python objects, which are never loaded"
    return ValueError(f"{path} can't be read ({reason}); {remedy}.")
