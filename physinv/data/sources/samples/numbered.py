"""Arrays of one shape that are told apart by a number in their names: one for each trajectory."""

from __future__ import annotations

__all__ = ["MOST_CHANNELS", "numbered", "stacked_by_number"]

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MOST_CHANNELS = 8
"""Variables of one shape that are taken for channels; more of them, numbered, are trajectories."""


def numbered(shapes: Mapping[str, Sequence[int]]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Find arrays that are one for each trajectory: ``arr_0, arr_1, ...``, ``run1, run2, ...``, ``0, 1, ...``.

    Args:
        shapes: Shapes of arrays of numbers, by name.

    Returns:
        Names of the arrays in the order of their numbers, by what their names have in common; sentences about those
        that differ in shape, which are none.

    Example:
        >>> numbered({f"u{i}": (5, 4) for i in range(12)})[0]["u"][-2:]
        ['u10', 'u11']
        >>> numbered({"T1": (5, 4), "T2": (5, 4)})
        ({}, {})
    """
    found: dict[str, dict[int, str]] = {}
    for name in shapes:
        if match := re.fullmatch(r"(.*?)_?(\d+)", name):
            found.setdefault(match[1], {})[int(match[2])] = name
    alike, unequal = {}, {}
    for common, names in found.items():
        sizes = {tuple(shapes[name]) for name in names.values()}
        called = common.rpartition("/")[2] or "u"
        if len(names) <= MOST_CHANNELS or called in shapes or called in alike or min(map(len, sizes)) == 0:
            continue
        if len(sizes) == 1:
            alike[called] = [names[i] for i in sorted(names)]
        elif min(map(len, sizes)) > 1:
            least, most = (" x ".join(map(str, shape)) for shape in (min(sizes), max(sizes)))
            unequal[called] = f"{names[min(names)]}, ... are {len(names)} arrays of {least} to {most} numbers"
    return alike, unequal


def stacked_by_number(arrays: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Stack arrays in memory that are one for each trajectory along a new first axis.

    Args:
        arrays: Arrays by name.

    Returns:
        All arrays; sentences about those of unequal shapes, by name.
    """
    shapes = {k: np.shape(a) for k, a in arrays.items() if np.ndim(a) > 0 and np.asarray(a).dtype.kind in "biufc"}
    alike, unequal = numbered(shapes)
    used = {name for names in alike.values() for name in names}
    kept = {k: a for k, a in arrays.items() if k not in used}
    return kept | {k: np.stack([arrays[name] for name in names]) for k, names in alike.items()}, unequal
