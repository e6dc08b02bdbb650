"""Read tables of text with pandas: a column is a variable, a row a time (or a time of a sample)."""

from __future__ import annotations

__all__ = ["read_csv"]

import re
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from physinv.data.sources.build import COORDINATE_NAMES
from physinv.data.sources.clock import dates_of
from physinv.data.sources.roles import role_of


def read_csv(path: Path) -> xr.Dataset:
    """Read a table, with names of the columns in its first line or without.

    Columns that name a sample, a time or positions, and together number the rows, become axes: ``sample, time, u, v``
    is two variables ``(sample, time)``, ``time, x, u`` one ``(time, x)``.  Otherwise all columns are variables over the
    rows, an axis without a name.

    Args:
        path: Text with columns separated by commas, semicolons, tabs or spaces.

    Returns:
        The columns of numbers and dates; without names they are ``column_0``, ``column_1``, ...

    Raises:
        ValueError: If it is no table.
    """
    try:
        table, notes = _table(path)
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(
            f"{path} is no table: {_reason(error)}; write one line per time, columns separated by commas."
        ) from None
    table = table.dropna(axis=1, how="all")  # lines that end in a comma have a column too many
    roles = [c for c in table.columns if role_of(c) in ("sample", "time")]
    places = [c for c in table.columns if c.lower() in COORDINATE_NAMES and c not in roles]
    for keys in ([*roles, *places], roles) if roles else ():
        if len(keys) < len(table.columns) and not table.duplicated(keys).any():
            indexed = table.set_index(keys if len(keys) > 1 else keys[0])
            if len(keys) == 1 or len(indexed) == np.prod([table[k].nunique() for k in keys]):
                gridded: xr.Dataset = indexed.to_xarray()
                return gridded.assign_attrs(read_notes=notes)
    columns = {c: ("axis_0", table[c].to_numpy()) for c in table.columns}
    return xr.Dataset(columns, attrs={"read_notes": notes})


def _table(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The table, with dates where a column of times holds them without doubt, and how they were read."""
    with path.open(encoding="utf-8-sig") as file:
        lines = (line for line in file if line.strip() and not line.startswith("#"))
        first, second = next(lines, ""), next(lines, "")
    separator = next((s for s in ";\t," if s in first), r"\s+")
    decimal = "," if separator != "," and re.search(r"\d,\d", first + second) else "."
    cells = [c.strip() for c in (first.split() if separator == r"\s+" else first.split(separator))]
    named = not all(_is_number(c.replace(decimal, ".")) for c in cells if c)
    header = 0 if named else None
    table = pd.read_csv(path, sep=separator, header=header, decimal=decimal, comment="#", encoding="utf-8-sig")
    table.columns = [str(c).strip() if named else f"column_{c}" for c in table.columns]
    notes = []
    for name in table.columns:
        if table[name].dtype.kind not in "biuf" and role_of(name) == "time":
            try:
                table[name], note = dates_of(table[name].astype(str).tolist())
            except ValueError:  # stays text: refused if it is needed, that is, without `--times`
                continue
            notes += [note] if note else []
    return table, notes


def _reason(error: Exception) -> str:
    """Why a table can't be read, in our words."""
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8"
    if match := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", text):
        return f"line {match[2]} has {match[3]} columns, the lines before it {match[1]}"
    return "it is empty" if isinstance(error, pd.errors.EmptyDataError) else "its lines are no rows of one length"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
