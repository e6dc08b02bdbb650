"""Columns of a table that say when a row was taken: dates, clocks, years and months, the index of pandas."""

from __future__ import annotations

__all__ = ["with_times"]

import pandas as pd

from physinv.data.sources.clock import dates_of, durations_of
from physinv.data.sources.roles import role_of

_PARTS = {
    "year": ("year", "yr", "yyyy", "jahr"),
    "month": ("month", "mo", "mon", "monat"),
    "day": ("day", "dy", "dom", "tag"),
    "hour": ("hour", "hr", "stunde"),
    "minute": ("minute", "mn", "min"),
    "second": ("second", "sec"),
}  # of a date, each in a column of its own
_HALF_DAY = 43200.0  # seconds: a clock that goes back by more has gone over midnight


def with_times(table: pd.DataFrame, units: dict[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """Turn columns of text that say when into dates, or into seconds.

    Args:
        table: The table.
        units: Gets the units of columns that become numbers.

    Returns:
        The table, and how times were read where that was not plain.  Text that is no time stays text.
    """
    table, notes = _joined(_of_index(table)), list[str]()
    for name in table.columns:
        if table[name].dtype.kind in "biufM" or role_of(name) != "time":
            continue
        known = table[name].notna()
        words = [str(cell) for cell in table[name][known]]
        if (seconds := durations_of(words)) is not None:
            numbers = pd.Series(seconds, table.index[known])
            back = (numbers.diff() < -_HALF_DAY).cumsum()
            table[name] = (numbers + 86400.0 * back).reindex(table.index)
            units[name] = "seconds"
            notes += [f"the clock in `{name}` goes over midnight, and is counted on"] if back.any() else []
            continue
        try:
            dates, note = dates_of(words)
        except ValueError:  # stays text: refused if it is needed, that is, without `--times`
            continue
        table[name] = pd.Series(dates, table.index[known]).reindex(table.index)
        notes += [note] if note else []
    if any(role_of(c) == "time" for c in table.columns) and (again := int(table.duplicated().sum())):
        table = table.drop_duplicates(ignore_index=True)
        notes.append(f"{again} rows that repeat another one in all columns are left out")
    return table, notes


def _of_index(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the name ``time`` for a first column without a name that holds dates, as pandas writes them."""
    first = str(table.columns[0])
    if not first.startswith("Unnamed: ") or any(role_of(c) == "time" and c != "T" for c in map(str, table.columns)):
        return table
    try:
        dates_of([str(cell) for cell in table[first]])
    except ValueError:
        return table
    return table if table[first].dtype.kind in "biuf" else table.rename(columns={first: "time"})


def _joined(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column of dates and one of times of the day, or with one for each part of a date, as one."""
    words = {c.lower(): c for c in table.columns}
    day, hour = words.get("date", words.get("datum", "")), words.get("time", words.get("zeit", ""))
    clock = r"\s*\d{1,2}(:\d{2}(:\d{2}(\.\d+)?)?|\.\d{2}\.\d{2})\s*"
    plain = not day or not hour or table[hour].dtype.kind in "biuf" or table[day].dtype.kind in "biuf"
    if not plain and table[hour].astype(str).str.fullmatch(clock).all():
        of_day = table[hour].astype(str).str.strip()
        of_day = of_day.where(of_day.str.contains(":"), of_day.str.replace(".", ":"))
        table[day] = table[day].astype(str) + " " + of_day
        return table.drop(columns=hour)
    if any(role_of(c) == "time" and c != "T" for c in table.columns):
        return table
    parts = {part: next((words[n] for n in names if n in words), "") for part, names in _PARTS.items()}
    held = [part for part in _PARTS if parts[part]]
    if held[:2] != ["year", "month"] or held != list(_PARTS)[: len(held)]:
        return table
    numbers = table[[parts[part] for part in held]].set_axis(held, axis=1)
    dates = pd.to_datetime(numbers if "day" in held else numbers.assign(day=1), errors="coerce")
    if dates.isna().any():
        return table
    rest = table.drop(columns=[parts[part] for part in held])
    rest.insert(0, "date", dates)
    return rest
