"""Heads of columns that say which point of a field each column holds: by positions, or by numbers of the points."""

from __future__ import annotations

__all__ = ["by_heads", "order_of"]

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from physinv.data.imports.columns import is_table
from physinv.data.sources.roles import name_and_unit, word_of
from physinv.processes.layout import StateLayout

_SAME = 1e-2  # of a spacing: how far positions may be from those of the process, such as rounded copies of them
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_FEWEST = 3  # points whose numbers are no chance


def by_heads(source: xr.Dataset, layout: StateLayout, path: Path) -> tuple[xr.Dataset, list[str]]:
    """Put the columns of a table of fields in the order of the points along the last axis, as their heads say.

    A head is the number at the end of a name, or all of a first line without names.

    Args:
        source: The opened file; any that is no table of as many columns as there are points is returned as it is.
        layout: Layout of the states of the process.
        path: The file, for messages.

    Returns:
        The table without a line of heads, and sentences about what was understood.
    """
    if not layout.space or not is_table(source):
        return source, []
    plain, n = source.variables, layout.shape[-1]
    known = [name for name in map(str, source.data_vars) if not _words(name).isdisjoint(layout.static)]
    columns = [str(name) for name in source.data_vars if plain[name].dtype.kind in "biuf" and name not in known]
    bare = all(re.fullmatch(r"column_\d+", name) for name in columns)
    values = [np.asarray(plain[name].values, dtype=float) for name in columns] if bare else []
    heads = [str(plain[name].attrs["head"]) for name in columns if "head" in plain[name].attrs]  # a line that was read
    if bare and len(columns) == n + 1 and not heads and _counts(values[0]):  # numbers of the rows, under an empty head
        columns, values = columns[1:], values[1:]
    if len(columns) != n or n < _FEWEST or any(layout.axes[-1] in _words(name) for name in columns):
        return source, []
    axis, target = layout.axes[-1], np.asarray(layout.coordinates[-1], dtype=float)
    period = float(np.ptp(target)) * n / (n - 1) if layout.boundaries[-1] == "PERIODIC" else 0.0
    if bare:
        told = _ends(heads, signed=True) if len(heads) == n else None
        rows = np.stack(values, axis=1)
        order = _line_of_heads(rows, target, period) if told is None else _points(told, target, period)
        if order is None:
            return source, []
        source = source if told is not None else source.isel(axis_0=slice(1, None))
        notes = [f"{path}: the first line says which points along {axis} the columns are, and is no observation."]
    else:
        order, notes = _by_names(columns, target, period), []
        if order is None:
            shown = ", ".join([*columns[:2], "...", columns[-1]] if n > _FEWEST else columns)
            return source, [f"{path}: the columns {shown} are taken in order for the {n} points along {axis}."]
    if (order != np.arange(n)).any():
        notes.append(f"{path}: the columns are in another order than the points along {axis}, and were put in order.")
    return source[[*known, *(columns[i] for i in order)]], notes


def order_of(
    numbers: NDArray[np.float64], target: NDArray[np.float64], period: float = 0.0
) -> NDArray[np.int64] | None:
    """Find which of some positions is which of the positions that are wanted.

    Args:
        numbers: Positions, in any order, shape ``(n,)``.
        target: The positions that are wanted.
        period: Period of the axis; 0: it has none.

    Returns:
        For each wanted position the place of the same one, up to a hundredth of a spacing; None where they are others.

    Example:
        >>> order_of(np.array([1.0, 0.5, 0.0]), np.array([0.0, 0.5, 1.0])).tolist()
        [2, 1, 0]
    """
    if len(numbers) != len(target) or not np.isfinite(numbers).all():
        return None
    least = float(np.ptp(target)) / max(len(target) - 1, 1) * _SAME
    whole = numbers - (np.floor((numbers - target.min() + least) / period) * period if period else 0.0)
    ours, theirs = np.argsort(target), np.argsort(whole)
    if np.abs(whole[theirs] - target[ours]).max() > least:
        return None
    order = np.empty(len(target), dtype=np.int64)
    order[ours] = theirs
    return order


def _line_of_heads(rows: NDArray[np.float64], target: NDArray[np.float64], period: float) -> NDArray[np.int64] | None:
    """Which column is which point, if the first row is no state: positions, or numbers of the points up or down."""
    first = rows[0]
    whole = bool((first == np.round(first)).all())
    if len(rows) < 2 or (whole and (rows[1:] == np.round(rows[1:])).all()):  # whole numbers there may be data in both
        return None
    return _points(first, target, period)


def _points(first: NDArray[np.float64], target: NDArray[np.float64], period: float) -> NDArray[np.int64] | None:
    """Which column is which point, by positions or by numbers of the points up or down."""
    n = len(target)
    if (order := order_of(first, target, period)) is not None:
        return order
    counts = [np.arange(n) + start for start in (0, 1)]
    up, down = (any(np.array_equal(line, c) for c in counts) for line in (first, first[::-1]))
    return np.arange(n) if up else np.arange(n)[::-1] if down else None


def _by_names(columns: Sequence[str], target: NDArray[np.float64], period: float) -> NDArray[np.int64] | None:
    """Which column is which point, if their names end in positions, or number all points from 0 or 1."""
    lines = [_ends(columns, signed) for signed in (False, True)]
    for numbers in lines:
        if numbers is not None and (order := order_of(numbers, target, period)) is not None:
            return order
    if lines[0] is not None and any(np.array_equal(np.sort(lines[0]) - s, np.arange(len(columns))) for s in (0, 1)):
        return np.argsort(lines[0])
    return None


def _ends(columns: Sequence[str], signed: bool) -> NDArray[np.float64] | None:
    """The last numbers in names that are alike else."""
    found, others = [], set()
    for name in columns:
        *_, last = [None, *_NUMBER.finditer(name)]
        if last is None:
            return None
        before, sign = name[: last.start()], 1.0
        if signed and before.endswith(("-", "+")):
            before, sign = before[:-1], -1.0 if before.endswith("-") else 1.0
        found.append(sign * float(last[0]))
        others.add((before, name[last.end() :]))
    return np.array(found) if len(others) == 1 else None


def _words(name: str) -> set[str]:
    """What a column may be called in the run: its name with and without a unit."""
    return {word_of(name), word_of(name_and_unit(name)[0])}


def _counts(column: NDArray[np.float64]) -> bool:
    """Whether a column numbers the rows below the first one, which has no number."""
    return bool(np.isnan(column[0]) and any(np.array_equal(column[1:] - s, np.arange(len(column) - 1)) for s in (0, 1)))
