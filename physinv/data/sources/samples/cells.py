"""Cells and arrays of structures of MATLAB 7.3: references to an array for each trajectory."""

from __future__ import annotations

__all__ = ["read_cells"]

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from xarray.core import indexing

from physinv.data.hdf5.lazy import StoredArray
from physinv.data.hdf5.stored import check_stored

_SMALL = 10**6  # numbers of lines, all together


def read_cells(path: Path, file: h5py.File, item: h5py.Dataset) -> Any:
    """Read the arrays that a dataset refers to.

    Args:
        path: The file.
        file: The same, opened.
        item: A dataset of references.

    Returns:
        The arrays along a new first axis, with their axes in the order of MATLAB, lines as lines; a sentence where
        their shapes differ; None where they are no arrays of numbers.
    """
    check_stored(path, item)
    targets = [file[reference] for reference in item[...].ravel() if reference]
    if not targets or not all(isinstance(t, h5py.Dataset) and t.dtype.kind in "biuf" for t in targets):
        return None
    shapes = {t.shape[::-1] for t in targets}
    if len(shapes) > 1:
        least, most = (" x ".join(map(str, shape)) for shape in (min(shapes), max(shapes)))
        return f"`{item.name.strip('/')}` holds {len(targets)} cells of {least} to {most} numbers"
    if 1 in next(iter(shapes)) and sum(t.size for t in targets) < _SMALL:
        for target in targets:
            check_stored(path, target)
        return np.stack([target[...].reshape(-1) for target in targets]).squeeze()
    return indexing.LazilyIndexedArray(StoredArray(path, *(t.name for t in targets), reverse=True))
