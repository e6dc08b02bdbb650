"""Arrays without names of axes as states of a process: by their shape alone."""

from __future__ import annotations

__all__ = ["by_shape", "without_ones"]

import itertools

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from physinv.config.inputs import joined
from physinv.data.sources.build import is_unnamed
from physinv.processes.layout import StateLayout


def by_shape(
    x: NDArray[np.float64], layout: StateLayout, source: str, shape: tuple[int, ...] = ()
) -> NDArray[np.float64]:
    """Return states ``(n, *state)`` from an array of that shape, of one state, or of one channel without its axis.

    Args:
        x: The array; axes of one entry that a state does not have are left out.
        layout: Layout of the states.
        source: Where the array is from, for messages.
        shape: Shape of a state, where it differs from that of the layout.

    Returns:
        The states.

    Raises:
        ValueError: If no state has that shape.

    Example:
        >>> from physinv.processes.layout import VectorLayout
        >>> by_shape(np.zeros((3, 1)), VectorLayout("x", 3), "a.npy").shape
        (1, 3)
    """
    shape = shape or layout.shape
    for values in (x, x.squeeze()):
        if values.shape[1:] == shape and values.ndim:
            return values
        if values.shape == shape:
            return values[None]
        if layout.space and shape[0] == 1:
            if values.shape[1:] == shape[1:]:
                return values[:, None]
            if values.shape == shape[1:]:
                return values[None, None]
    raise ValueError(
        f"{source} must hold states of shape {joined(shape)}, one or many, got an array {x.shape}; "
        f"{_in_order(x.shape, layout)}for another grid give a file with coordinates."
    )


def without_ones(found: xr.Dataset, layout: StateLayout) -> xr.Dataset:
    """Leave out last axes of one point without a name, beside which a field has all its axes: a line of MATLAB.

    Args:
        found: Variables of a file.
        layout: Layout of the states.

    Returns:
        The variables.
    """
    if not layout.space or 1 in layout.shape[1:]:
        return found
    variables = found.data_vars.values()
    longer = [v for v in variables if v.ndim > len(layout.axes) and v.shape[-1] == 1]
    ones = {v.dims[-1] for v in longer if is_unnamed(str(v.dims[-1]))}
    enough = all(sum(d not in ones for d in v.dims) >= len(layout.axes) for v in variables)
    return found.isel(dict.fromkeys(ones, 0)) if enough else found


def _in_order(shape: tuple[int, ...], layout: StateLayout) -> str:
    """How the axes are named that are those of a state in another order, if there is one way alone."""
    names = [*(["component"] if layout.shape[0] > 1 else []), *layout.axes]
    sizes = [*([layout.shape[0]] if layout.shape[0] > 1 else []), *layout.shape[1:]]
    if not layout.space or len(shape) - len(sizes) not in (0, 1):
        return ""
    extra = ["sample"] * (len(shape) - len(sizes))
    ways = {
        order
        for order in itertools.permutations([*extra, *names])
        if all(name == "sample" or sizes[names.index(name)] == n for name, n in zip(order, shape, strict=True))
    }
    return f"name its axes with `--dims {','.join(ways.pop())}` if they are these; " if len(ways) == 1 else ""
