"""Numbers that are known of each observation of a field, such as a viscosity, and stored beside the fields."""

from __future__ import annotations

__all__ = ["numbers_beside", "without_static"]

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from physinv.data.sources.build import line_of
from physinv.processes.layout import FieldLayout, StateLayout


def numbers_beside(source: xr.Dataset, layout: StateLayout) -> dict[str, NDArray[np.float64]]:
    """Find the static channels of a field that a file holds as one number, or one for each observation.

    Args:
        source: The opened file.
        layout: Layout of the states.

    Returns:
        The numbers by name.
    """
    if not layout.space:
        return {}
    held = {name: line_of(source.variables[name]) for name in layout.static if name in source.variables}
    plain = {name: v for name, v in held.items() if v.dtype.kind in "iuf" and (v.ndim < 2 or v.size == 1)}
    return {name: np.asarray(v.values, dtype=float).reshape(-1) for name, v in plain.items()}


def without_static(layout: StateLayout, names: Sequence[str]) -> FieldLayout:
    """Return the layout of a field without some of its static channels.

    Args:
        layout: Layout of a field.
        names: Names of the channels that are left out.
    """
    kept, static = ([n for n in every if n not in names] for every in (layout.names, layout.static))
    mask = () if layout.valid is None else layout.valid.numpy()
    return FieldLayout(kept, layout.axes, layout.coordinates, layout.boundary, static, mask)
