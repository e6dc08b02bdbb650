"""Which numbers of a variable its file calls valid: ``valid_range``, ``valid_min``, ``valid_max`` (CF conventions).

All others stand for missing ones.
"""

from __future__ import annotations

__all__ = ["VALID", "bounds_of", "opened", "valid", "valid_numbers"]

import re
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

VALID = "valid_bounds"
"""Attribute with the least and the largest number that a variable holds, in its unit; others stand for missing ones."""


def bounds_of(v: xr.Variable) -> tuple[float, float] | None:
    """Return the least and the largest valid number in the unit of a variable; None where the file does not tell them.

    Of packed integers a file tells them packed, as integers, or unpacked.

    Args:
        v: The variable, still packed.
    """
    both, least, most = (_of_text(v.attrs.get(key)) for key in ("valid_range", "valid_min", "valid_max"))
    pair = list(both) if np.size(both) == 2 else [None, None]
    told = [x for x in (*pair, least, most) if x is not None]
    try:
        lows, highs = ([np.float64(x) for x in ends if x is not None] for ends in ((pair[0], least), (pair[1], most)))
    except (ValueError, TypeError):
        return None
    if v.dtype.kind == "i" and str(v.attrs.get("_Unsigned")).lower() == "true":
        lows, highs = ([x + 256.0**v.dtype.itemsize if -np.inf < x < 0 else x for x in xs] for xs in (lows, highs))
    low, high = np.fmax.reduce([-np.inf, *lows]), np.fmin.reduce([np.inf, *highs])
    low, high = (float(x) for x in ((low, high) if least is not None or most is not None else sorted((low, high))))
    if not low < high or not np.isfinite([low, high]).any():
        return None
    if v.dtype.kind == "f":
        low, high = (float(v.dtype.type(x)) for x in (low, high))
    elif all(np.asarray(x).dtype.kind in "iu" for x in told):
        ends = [low - 0.5, high + 0.5]  # half a step of packing, so that no rounding counts
        scale, offset = (float(v.attrs.get(key, usual)) for key, usual in (("scale_factor", 1), ("add_offset", 0)))
        low, high = sorted(scale * end + offset for end in ends)
    return low, high


def opened(data: xr.Dataset) -> xr.Dataset:
    """Return what xarray opened with the bounds of its numbers noted, which it leaves to its user.

    Args:
        data: Unpacked variables: xarray keeps in ``encoding`` how they were packed.

    Returns:
        The same numbers; :data:`VALID` is an attribute of the variables whose bounds are told.
    """
    found = data.copy(deep=False)
    for name, v in data.variables.items():
        stored = np.dtype(v.encoding.get("dtype", v.dtype))
        if not {stored.kind, v.dtype.kind} <= set("iuf"):
            continue
        packing = {k: v.encoding[k] for k in ("scale_factor", "add_offset", "_Unsigned") if k in v.encoding}
        if bounds := bounds_of(xr.Variable((), np.zeros((), stored), {**v.attrs, **packing})):
            found[name].attrs = {**v.attrs, VALID: bounds}
    return found


def _of_text(value: Any) -> Any:
    """Numbers that somebody wrote as a text, ``"0, 100"``; anything else as it is."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            numbers = [kind(word) for word in re.split(r"[,\s]+", value.strip("[]() "))]
        except ValueError:
            continue
        return numbers if len(numbers) > 1 else numbers[0]
    return value


def valid(data: xr.Dataset) -> xr.Dataset:
    """Return variables whose numbers that the file does not call valid are NaN, in memory.

    Args:
        data: What :func:`~physinv.data.sources.build.decoded` made.
    """
    bounded = {name: v for name, v in data.variables.items() if VALID in v.attrs}
    return data.assign({name: (v.dims, valid_numbers(v.load()), v.attrs) for name, v in bounded.items()})


def valid_numbers(v: xr.Variable) -> NDArray[Any]:
    """Return numbers, of which those that the file does not call valid are NaN.

    Args:
        v: The variable.
    """
    low, high = v.attrs.get(VALID, (-np.inf, np.inf))
    x: NDArray[Any] = np.asarray(v.values)
    return np.where((x >= low) & (x <= high), x, np.nan) if VALID in v.attrs else x
