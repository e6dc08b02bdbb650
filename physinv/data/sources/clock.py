"""Times and positions as numbers: from variables, from dates, or as the user gives them."""

from __future__ import annotations

__all__ = ["Line", "clock_of", "parsed_line"]

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

_UNITS = {"d": ("days", 86400.0), "h": ("hours", 3600.0), "s": ("seconds", 1.0)}


@dataclass(frozen=True, eq=False)
class Line:
    """Numbers along an axis.

    Args:
        values: The numbers, float64.
        unit: Their unit; empty if unknown.
        origin: What 0 stands for, such as ``"1800-01-01"``; empty if unknown.
    """

    values: NDArray[np.float64]
    unit: str = ""
    origin: str = ""


def clock_of(variable: xr.DataArray, where: str) -> Line:
    """Turn times into numbers whose differences are real time.

    Numbers in "days since ..." are that in any calendar. "Months since" and "years since" become days, by the lengths
    of the months. Dates become days, hours or seconds since the first.

    Args:
        variable: Numbers, dates or text, shape ``(time,)``.
        where: Name of variable and file, for messages.

    Returns:
        The times.

    Raises:
        ValueError: If they are no times.
    """
    data = np.asarray(variable.values)
    unit, _, origin = (part.strip() for part in str(variable.attrs.get("units", "")).partition(" since "))
    if data.dtype.kind in "iuf":
        if origin and unit.lower().rstrip("s") in ("month", "year"):
            return _calendar(data.astype(np.float64), unit, origin, where)
        return Line(data.astype(np.float64), unit, origin)
    try:
        words = data if data.dtype.kind == "M" else np.char.replace(data.astype(str), "_", "T")  # "_" as WRF writes it
        dates = words.astype("datetime64[ns]")
    except (ValueError, TypeError):
        return _objects(data, where)
    seconds = (dates - dates[0]) / np.timedelta64(1, "s")
    return _in_unit(seconds, str(dates[0].astype("datetime64[s]")))


def parsed_line(text: str, n: int, option: str) -> NDArray[np.float64] | None:
    """Read ``"0.1"`` (a step) or ``"first:last"`` as numbers along an axis.

    Args:
        text: What the user gave.
        n: How many numbers the axis has.
        option: Name of the option, for messages.

    Returns:
        The numbers; None if the text is the name of a variable.

    Raises:
        ValueError: If the step is not positive.

    Example:
        >>> parsed_line("0:1", 3, "times"), parsed_line("0.5", 3, "times"), parsed_line("t", 3, "times")
        (array([0. , 0.5, 1. ]), array([0. , 0.5, 1. ]), None)
    """
    number = r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*"
    if match := re.fullmatch(f"{number}:{number}", text):
        found: NDArray[np.float64] = np.linspace(float(match[1]), float(match[2]), n)
        return found
    if match := re.fullmatch(number, text):
        if float(match[1]) <= 0:
            raise ValueError(f"`{option}` must be a positive step, first:last or the name of a variable, got {text!r}.")
        steps: NDArray[np.float64] = np.arange(n, dtype=np.float64)
        steps *= float(match[1])
        return steps
    return None


def _calendar(values: NDArray[np.float64], unit: str, origin: str, where: str) -> Line:
    """Months or years since a date, as days since then."""
    months = values * (12 if unit.lower().startswith("year") else 1)
    try:
        start = np.datetime64(origin.split()[0].split("T")[0], "D")
    except ValueError:
        raise ValueError(
            f"`units` of {where} must name a date after `since`, got {origin!r}; give `--times`."
        ) from None
    first = start.astype("datetime64[M]")
    whole = np.floor(months).astype(int)
    begins = (first + whole).astype("datetime64[D]")
    lengths = ((first + whole + 1).astype("datetime64[D]") - begins).astype(float)
    days = (begins - first.astype("datetime64[D]")).astype(float) + (months - whole) * lengths
    return Line(days, "days", str(first.astype("datetime64[D]")))


def _objects(data: NDArray[Any], where: str) -> Line:
    """Dates of calendars without leap years and the like, which are objects that can be subtracted."""
    try:
        seconds = np.array([(t - data[0]).total_seconds() for t in data])
    except (TypeError, AttributeError):
        raise ValueError(f"{where} holds no times ({data.flat[0]!r}); give `--times`, a step or first:last.") from None
    return _in_unit(seconds, str(data[0]))


def _in_unit(seconds: NDArray[np.float64], origin: str) -> Line:
    least = float(np.abs(np.diff(seconds)).min()) if len(seconds) > 1 else 1.0
    unit, length = _UNITS["d" if least >= 86400 else "h" if least >= 3600 else "s"]
    return Line(np.asarray(seconds, dtype=np.float64) / length, unit, origin)
