"""Bring fields to the grid of a process: accept copies of it, turn axes around, interpolate from other grids."""

from __future__ import annotations

__all__ = ["counted", "in_order", "positions_of", "regrid", "space_of"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from physinv.data.sources.roles import role_of
from physinv.processes.layout import StateLayout

if TYPE_CHECKING:
    import xarray as xr

_SAME = 1e-2  # of a spacing: how far positions may be from those of the process, such as rounded copies of them
_FIXED = ("sample", "time", "component")  # names of axes that are no axes of space
_CALLED = {"lat": "latitude", "lon": "longitude", "latitude": "lat", "longitude": "lon"}  # other names of positions
_PERIOD = 1e-2  # of a spacing: by which the period of a file's grid may differ


def regrid(
    x: Float[np.ndarray, "n channels *space"],
    coordinates: Mapping[str, NDArray[np.float64]],
    layout: StateLayout,
    source: str = "the observation",
    *,
    wanted_by: str = "the run",
    units: Mapping[str, tuple[str, str]] | None = None,
    called: Mapping[str, str] | None = None,
) -> tuple[Float[np.ndarray, "n channels *grid"], list[str]]:
    """Return fields at the grid points of a layout.

    Positions that are those of the layout up to a hundredth of a spacing are taken for the same.  Other ones are
    interpolated linearly, across the ends of the axis where it is periodic.

    Args:
        x: Fields on the grid that ``coordinates`` give.
        coordinates: Positions by axis; an axis without any must have as many points as that of the layout.
        layout: Layout with the grid that is wanted.
        source: Where the fields come from, for messages.
        wanted_by: Whose grid it is, for messages.
        units: Units of positions that ``source`` gives in another unit than the layout, by axis: theirs and ours.
        called: What ``source`` calls an axis, where that is another name, for messages.

    Returns:
        The fields, and a sentence about each axis that was changed.

    Raises:
        ValueError: If a grid without positions has another number of points, or positions do not cover those of the
            layout, or are others in another unit.

    Example:
        >>> from physinv.processes.layout import FieldLayout
        >>> layout = FieldLayout("u", "x", [[0.0, 0.5]], "WALL")
        >>> regrid(np.array([[[1.0, 2.0, 3.0]]]), {"x": np.array([0.0, 0.25, 1.0])}, layout)[0].round(3).tolist()
        [[[1.0, 2.333]]]
    """
    notes: list[str] = []
    for i, (axis, wanted) in enumerate(zip(layout.axes, layout.coordinates, strict=True)):
        place, target = 2 + i, np.asarray(wanted)
        n, own = x.shape[place], (called or {}).get(axis)
        told = axis if own is None else f"{own} ({axis} of {wanted_by})"
        if axis not in coordinates:
            if n != len(target):
                raise ValueError(
                    f"{source} has {n} points along {told}, {wanted_by} {len(target)}; "
                    "give their positions as a coordinate of the file to have them interpolated."
                )
            continue
        have = coordinates[axis]
        if len(have) != n or not np.isfinite(have).all() or len(np.unique(have)) < n:
            raise ValueError(f"the positions along {told} in {source} must be {n} different finite numbers.")

        # The same points, in the same order or the other way round.
        if n == len(target) and _alike(have, target):
            continue
        if n == len(target) and _alike(have[::-1], target):
            x = np.flip(x, place)
            notes.append(f"{source}: {told} runs the other way in the file, and was turned.")
            continue
        if axis in (units or {}):
            theirs, ours = (units or {})[axis]
            raise ValueError(
                f"{told} of {source} is in {theirs}, that of {wanted_by} in {ours}; convert its positions."
            )
        x, between = _interpolated(np.moveaxis(x, place, -1), have, target, _wraps(layout, i), told, source, wanted_by)
        x = np.moveaxis(x, -1, place)
        if between or n != len(target):
            notes.append(f"{source}: interpolated linearly from {n} to {len(target)} points along {told}.")
        else:
            notes.append(f"{source}: the points along {told} begin elsewhere in the file, and were put in order.")
    return x, notes


def in_order(source: xr.Dataset, layout: StateLayout) -> xr.Dataset:
    """Sort positions that neither increase nor decrease, such as 180 ... 330, 0 ... 150.

    Args:
        source: The variables of a file.
        layout: Layout of the states of the process.

    Returns:
        The variables along increasing positions.
    """
    for name in [str(d) for d in source.dims if layout.space and d in source.variables and role_of(str(d)) == "space"]:
        line = source[name].values
        if line.ndim == 1 and line.dtype.kind in "iuf" and np.isfinite(line).all():
            steps = np.diff(line)
            if not ((steps > 0).all() or (steps < 0).all()) and len(np.unique(line)) == len(line):
                source = source.load().sortby(name)
    return source


def counted(found: xr.Dataset, dims: Sequence[str], layout: StateLayout) -> tuple[xr.Dataset, list[str]]:
    """Call the one axis beside those of the process ``sample``: it counts observations, whatever its name is.

    Args:
        found: The variables of a file.
        dims: Axes of a state in it.
        layout: Layout of the states of the process.

    Returns:
        The variables, and a sentence if an axis was renamed.
    """
    others = [d for d in dims if d not in ("sample", "time", "component", *layout.axes)]
    if len(others) != 1 or "sample" in dims or not set(layout.axes) <= set(dims):
        return found, []
    told = f"{found.attrs['path']}: the {found.sizes[others[0]]} along {others[0]} are taken for observations."
    return found.rename({others[0]: "sample"}), [told]


def _alike(have: NDArray[np.float64], target: NDArray[np.float64]) -> bool:
    """Whether positions are the same, up to rounding."""
    return bool(np.abs(have - target).max() <= _SAME * _spacing(target))


def _spacing(positions: NDArray[np.float64]) -> float:
    """The mean distance of neighbouring positions; of a single one its size."""
    if len(positions) < 2:
        return max(abs(float(positions[0])), 1.0)
    return float(np.ptp(positions)) / (len(positions) - 1)


def _wraps(layout: StateLayout, axis: int) -> bool:
    """Whether an axis is periodic, where boundaries may differ from axis to axis."""
    return layout.boundaries[axis] == "PERIODIC"


def _interpolated(
    x: NDArray[np.float64],
    have: NDArray[np.float64],
    target: NDArray[np.float64],
    periodic: bool,
    axis: str,
    source: str,
    wanted_by: str,
) -> tuple[NDArray[np.float64], bool]:
    """Linear interpolation along the last axis, and whether any wanted point lies between two others."""
    order = np.argsort(have)
    have, x = have[order], x[..., order]
    first, last, half = have[0], have[-1], _spacing(have) / 2
    period, own = _spacing(target) * len(target), _spacing(have) * len(have)
    inside = first - half * _SAME <= target.min() and target.max() <= last + half * _SAME
    if periodic and not (inside and np.ptp(target) <= last - first < period):  # else no point lies across the ends
        if abs(own - period) > _PERIOD * _spacing(have) and not _closed(x, last - first, period):
            raise ValueError(
                f"{axis} of {source} has the period {own:g} ({len(have)} points from {first:g} to {last:g}), "
                f"that of {wanted_by} is {period:g}; give the whole of it."
            )
        have = np.concatenate([have - period, have, have + period])
        x = np.concatenate([x, x, x], axis=-1)
        target = first + np.mod(target - first, period)
    elif not periodic and (target.min() < first - half * (1 + _SAME) or target.max() > last + half * (1 + _SAME)):
        raise ValueError(
            f"{axis} of {source} covers {first:g} to {last:g}, the grid of {wanted_by} {target.min():g} to "
            f"{target.max():g}; give a field that covers it."
        )

    # Neighbours on both sides and their weights; beyond the ends, within half a cell, the nearest value.
    at = np.clip(np.searchsorted(have, target, side="right") - 1, 0, max(len(have) - 2, 0))
    if len(have) < 2:
        return np.repeat(x, len(target), axis=-1), False
    w = np.clip((target - have[at]) / (have[at + 1] - have[at]), 0.0, 1.0)

    # At a point of the file its value alone counts: the one beside it may be missing.
    w = np.where(w < _SAME, 0.0, np.where(w > 1 - _SAME, 1.0, w))
    left, right = x[..., at], x[..., at + 1]
    out: NDArray[np.float64] = np.where(w == 0, left, np.where(w == 1, right, left * (1 - w) + right * w))
    return out, bool(((w > 0) & (w < 1)).any())


def _closed(x: NDArray[np.float64], length: float, period: float) -> bool:
    """Whether a periodic axis was stored with its first point a second time at the end."""
    gap = np.abs(x[..., 0] - x[..., -1]).max()
    return bool(abs(length - period) <= 1e-6 * period and gap <= 1e-4 * np.abs(x).max())


def space_of(variable: xr.DataArray, layout: StateLayout) -> list[str]:
    """Find which axes of a variable are those of space, some without names: by name, else the last ones in their order.

    Args:
        variable: A variable of a file.
        layout: Layout with the axes that are wanted.

    Returns:
        Names of the axes in the file, in the order of the layout.
    """
    bare = [str(d) for d in variable.dims if d not in (*_FIXED, *layout.axes)]
    missing = [axis for axis in layout.axes if axis not in variable.dims]
    rest = dict(zip(missing, bare[len(bare) - len(missing) :], strict=False))
    return [rest.get(axis, axis) for axis in layout.axes]


def positions_of(source: xr.Dataset, found: xr.Dataset, places: Mapping[str, str]) -> dict[str, NDArray[np.float64]]:
    """Find positions: those of an axis of the file, or numbers beside the states that are called like the axis.

    Args:
        source: The opened file.
        found: The states in it.
        places: Name of the axis in the file for each axis of the layout.

    Returns:
        Positions by axis of the layout, where there are any.
    """
    positions: dict[str, NDArray[np.float64]] = {}
    for axis, dim in places.items():
        words = (axis.lower(), 2 * axis.lower(), f"{axis.lower()}-coordinate", _CALLED.get(axis.lower(), axis))
        held = [n for n in source.variables if str(n).rpartition("/")[2].lower() in words and n not in found.data_vars]
        lines = [found[dim].values] if dim in found.coords else [np.squeeze(source[n].values) for n in held]
        for line in lines:
            if line.ndim == 1 and line.dtype.kind in "iuf":
                positions[axis] = np.asarray(line, dtype=float)
    return positions
