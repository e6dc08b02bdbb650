"""Times and positions as numbers: from variables, from dates, or as the user gives them."""

from __future__ import annotations

__all__ = ["Line", "clock_of", "dates_of", "disorder", "durations_of", "number_and_unit", "parsed_line"]

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

_DATE = re.compile(r"\s*(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})(?!\d)(.*)")  # 01/03/2020 12:00
_DURATION = re.compile(r"\s*(?:(\d+) days?,? ?)?(?:\+?(\d+):([0-5]\d)(?::([0-5]\d(?:\.\d*)?))?)?\s*")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_DAYS_OF_MONTHS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_NO_LEAP = ("noleap", "365_day")
_UNITS = {"d": ("days", 86400.0), "h": ("hours", 3600.0), "s": ("seconds", 1.0)}


@dataclass(frozen=True, eq=False)
class Line:
    """Numbers along an axis.

    Args:
        values: The numbers, float64.
        unit: Their unit; empty if unknown.
        origin: What 0 stands for, such as ``"1800-01-01"``; empty if unknown.
        note: How dates were read, where that was not plain.
    """

    values: NDArray[np.float64]
    unit: str = ""
    origin: str = ""
    note: str = ""


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
            calendar = str(variable.attrs.get("calendar", "")).lower()
            return _calendar(data.astype(np.float64), unit, origin, calendar, where)
        return Line(data.astype(np.float64), unit, origin)
    note = ""
    if data.dtype.kind in "SUT" or (data.dtype.kind == "O" and all(isinstance(w, str) for w in data)):
        words = [w.decode(errors="replace") if isinstance(w, bytes) else str(w) for w in data]
        if (seconds := durations_of(words)) is not None:
            return Line(seconds, "seconds")
        try:
            dates, note = dates_of(words)
        except ValueError as error:
            raise ValueError(f"{where}: {error}, or give `--times`, a step or first:last.") from None
    else:
        try:
            dates = (data if data.dtype.kind == "M" else data.astype(str)).astype("datetime64[ns]")
        except (ValueError, TypeError):
            return _objects(data, where)
    start = min(dates[0], dates[-1])
    return _in_unit((dates - start) / np.timedelta64(1, "s"), str(start.astype("datetime64[s]")), note)


def dates_of(words: Sequence[str]) -> tuple[NDArray[Any], str]:
    """Read dates, with the order of day and month that all of them together allow.

    Args:
        words: Dates, such as ``"2020-03-01 12:00"`` or ``"01/03/2020"``, in the order of the file.

    Returns:
        The dates, and a sentence about the order of day and month where it had to be inferred.

    Raises:
        ValueError: If one is no date, or day and month can be exchanged; the line says what to write instead.

    Example:
        >>> dates_of(["11/03/2020", "12/03/2020", "13/03/2020"])[0].astype("datetime64[D]").astype(str).tolist()
        ['2020-03-11', '2020-03-12', '2020-03-13']
    """
    found = [_DATE.fullmatch(w) for w in words]
    matches = [m for m in found if m is not None]
    if not matches or len(matches) < len(words):
        return _parsed(words, words), ""
    if any(len(m[4]) == 2 for m in matches):
        raise ValueError(f"{words[0]!r} does not say its century; write dates as 2020-12-31")
    first, second = (np.array([int(m[k]) for m in matches]) for k in (1, 3))
    orders = {}
    for name, days, months in (("day/month/year", first, second), ("month/day/year", second, first)):
        if (months <= 12).all():
            texts = [f"{m[4]}-{a:02}-{b:02}{m[5]}" for m, a, b in zip(matches, months, days, strict=True)]
            orders[name] = _parsed(texts, words)
    if not orders:
        raise ValueError("days and months are in different orders, or no dates; write them as 2020-12-31")
    return _ordered(orders, words)


def durations_of(words: Sequence[str]) -> NDArray[np.float64] | None:
    """Read times that count from a start, or from midnight, in hours, minutes and seconds.

    Args:
        words: Such as ``"25:30:00"`` or ``"1 days 01:30:00"``.

    Returns:
        Seconds; None where a word is none of these.

    Example:
        >>> durations_of(["0:30", "25:30:00.5", "1 days 01:30:00"]), durations_of(["2020-03-01 12:00"])
        (array([ 1800. , 91800.5, 91800. ]), None)
    """
    found = [_DURATION.fullmatch(w) for w in words]
    if not found or not all(m and any(m.groups()) for m in found):
        return None
    parts = np.array([[float(m[k] or 0) for k in (1, 2, 3, 4)] for m in found if m])
    return np.asarray(parts @ np.array([86400.0, 3600.0, 60.0, 1.0]), dtype=np.float64)


def disorder(times: NDArray[Any]) -> str:
    """Say in which row times first fail to increase.

    Args:
        times: Numbers or dates, shape ``(row,)``.

    Returns:
        A clause.

    Example:
        >>> disorder(np.array([0.0, 1.0, 1.0]))
        'row 3 holds 1.0 after 1.0'
    """
    dated = times.dtype.kind == "M"
    if (blank := np.isnat(times) if dated else np.isnan(times.astype(float))).any():
        return f"row {int(blank.argmax()) + 1} holds none: leave it out"
    row = int((times[1:] <= times[:-1]).argmax()) + 1
    now, before = (str(t.astype("datetime64[s]") if dated else t) for t in times[[row, row - 1]])
    hour = dated and np.timedelta64(0) < times[row - 1] - times[row] <= np.timedelta64(1, "h")
    why = " (local times go back by an hour where daylight saving ends: write them in UTC)" if hour else ""
    return f"row {row + 1} holds {now} after {before}{why}"


def number_and_unit(text: str) -> tuple[str, str]:
    """Split a step, or ``first:last``, from the unit behind it.

    Args:
        text: What the user gave.

    Returns:
        The numbers as text, and the unit; any other text as it is, without a unit.

    Example:
        >>> number_and_unit("2 min"), number_and_unit("0:1.5 m/s"), number_and_unit("1e-3"), number_and_unit("t 2")
        (('2', 'min'), ('0:1.5', 'm/s'), ('1e-3', ''), ('t 2', ''))
    """
    number = rf"{_NUMBER}(?:\s*:\s*{_NUMBER})?"
    match = re.fullmatch(rf"({number})\s*(?![eE][-+]?\d)([^\W\d_]\S*|°\S*|%)", text.strip())
    return (match[1], match[2]) if match else (text, "")


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
    number = rf"\s*({_NUMBER})\s*"
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


def _calendar(values: NDArray[np.float64], unit: str, origin: str, calendar: str, where: str) -> Line:
    """Months or years since a date, as days since the beginning of its month."""
    months = values * (12 if unit.lower().startswith("year") else 1)
    try:
        start = np.datetime64(origin.split()[0].split("T")[0], "D")
    except ValueError:
        raise ValueError(
            f"`units` of {where} must name a date after `since`, got {origin!r}; give `--times`."
        ) from None
    first = start.astype("datetime64[M]")
    whole = np.floor(months).astype(int)
    if calendar == "360_day":
        days = 30.0 * months
    elif calendar in _NO_LEAP:
        january = int(first.astype(int)) % 12  # months since the January before
        years, rest = np.divmod(january + whole, 12)
        before = np.concatenate([[0], np.cumsum(_DAYS_OF_MONTHS)])
        days = 365.0 * years + before[rest] - before[january] + (months - whole) * _DAYS_OF_MONTHS[rest]
    else:
        begins = (first + whole).astype("datetime64[D]")
        lengths = ((first + whole + 1).astype("datetime64[D]") - begins).astype(float)
        days = (begins - first.astype("datetime64[D]")).astype(float) + (months - whole) * lengths
    days = days + (start - first.astype("datetime64[D]")).astype(float)
    return Line(days, "days", str(first.astype("datetime64[D]")))


def _objects(data: NDArray[Any], where: str) -> Line:
    """Dates of calendars without leap years and the like, which are objects that can be subtracted."""
    try:
        seconds = np.array([(t - data[0]).total_seconds() for t in data])
    except (TypeError, AttributeError):
        raise ValueError(f"{where} holds no times ({data.flat[0]!r}); give `--times`, a step or first:last.") from None
    return _in_unit(seconds, str(data[0]))


def _in_unit(seconds: NDArray[np.float64], origin: str, note: str = "") -> Line:
    least = float(np.abs(np.diff(seconds)).min()) if len(seconds) > 1 else 1.0
    unit, length = _UNITS["d" if least >= 86400 else "h" if least >= 3600 else "s"]
    return Line(np.asarray(seconds, dtype=np.float64) / length, unit, origin, note)


def _parsed(texts: Sequence[str], words: Sequence[str]) -> NDArray[Any]:
    """Dates in a form that needs no order of day and month; ``words`` are what the file says, for messages."""
    plain = pd.Series([t.strip().replace("_", "T") for t in texts], dtype=object)  # "_" as WRF writes it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about formats that are not standard
        dates = pd.to_datetime(plain, format="ISO8601", utc=True, errors="coerce")
        if dates.isna().any() and not pd.to_numeric(plain, errors="coerce").notna().any():
            dates = pd.to_datetime(plain, utc=True, errors="coerce")
    if dates.isna().any():
        raise ValueError(f"{words[int(dates.isna().argmax())]!r} is no date; write dates as 2020-12-31 12:00")
    found: NDArray[Any] = dates.dt.tz_localize(None).to_numpy().astype("datetime64[ns]")
    return found


def _ordered(orders: dict[str, NDArray[Any]], words: Sequence[str]) -> tuple[NDArray[Any], str]:
    """The one order of day and month that is possible, else the one in which dates are sorted, else even."""
    if len(orders) == 1:
        name, dates = next(iter(orders.items()))
        return dates, f"dates are read as {name}, since some have a day above 12"
    once = np.unique(np.asarray(words, dtype=str), return_index=True)[1]
    once.sort()  # each date once, in the order of the file
    (one, a), (two, b) = orders.items()
    if (a == b).all():
        return a, ""
    for fits, why in ((_sorted, "sorted"), (_even, "evenly spaced")):
        good = [name for name, dates in orders.items() if fits(dates[once])]
        if len(good) == 1:
            return orders[good[0]], f"dates are read as {good[0]}, the only way in which they are {why}"
    odd = int((a != b).argmax())
    shown = " or ".join(str(d[odd].astype("datetime64[D]")) for d in (a, b))
    raise ValueError(f"{words[odd]!r} may be {shown} ({one} or {two}); write dates as 2020-12-31")


def _sorted(dates: NDArray[Any]) -> bool:
    steps = np.diff(dates).astype(np.int64)
    return bool((steps > 0).all() or (steps < 0).all())


def _even(dates: NDArray[Any]) -> bool:
    """Whether dates are equally far apart, or each the first of the next month."""
    months = dates.astype("datetime64[M]")
    monthly = bool((dates == months).all()) and len(np.unique(np.diff(months))) == 1
    return monthly or len(np.unique(np.diff(dates))) == 1
