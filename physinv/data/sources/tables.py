"""Read tables of text with pandas: a column is a variable, a row a time (or a time of a sample)."""

from __future__ import annotations

__all__ = ["read_csv"]

import re
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from physinv.data.sources.build import COORDINATE_NAMES
from physinv.data.sources.roles import role_of


def read_csv(path: Path) -> xr.Dataset:
    """Read a table, with names of the columns in its first line or without.

    Columns that name a sample, a time or positions, and together number the rows, become axes: ``sample, time, u, v``
    is two variables ``(sample, time)``, ``time, x, u`` one ``(time, x)``.  Otherwise all columns are variables over the
    rows, an axis without a name.

    Args:
        path: Text with columns separated by commas, semicolons, tabs or spaces.

    Returns:
        The columns of numbers and dates; without names they are ``column_0``, ``column_1``, ...  A first line that
        counts three columns or more, from 0 or 1, over numbers with decimals is no row of the table.

    Raises:
        ValueError: If it is no table.
    """
    try:
        table = _table(path)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0].rstrip(".")
        raise ValueError(
            f"{path} is no table ({reason}); write one line per time, columns separated by commas."
        ) from None
    table = table.dropna(axis=1, how="all")  # lines that end in a comma have a column too many
    roles = [c for c in table.columns if role_of(c) in ("sample", "time")]
    places = [c for c in table.columns if c.lower() in COORDINATE_NAMES and c not in roles]
    for keys in ([*roles, *places], roles) if roles else ():
        if len(keys) < len(table.columns) and not table.duplicated(keys).any():
            indexed = table.set_index(keys if len(keys) > 1 else keys[0])
            if len(keys) == 1 or len(indexed) == np.prod([table[k].nunique() for k in keys]):
                gridded: xr.Dataset = indexed.to_xarray()
                return gridded
    return xr.Dataset({c: ("axis_0", table[c].to_numpy()) for c in table.columns})


def _table(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig") as file:
        lines = (line for line in file if line.strip() and not line.startswith("#"))
        first, second = next(lines, ""), next(lines, "")
    separator = next((s for s in ";\t," if s in first), r"\s+")
    decimal = "," if separator != "," and re.search(r"\d,\d", first + second) else "."
    cells = [c.strip() for c in (first.split() if separator == r"\s+" else first.split(separator))]
    named = not all(_is_number(c.replace(decimal, ".")) for c in cells if c)
    numbered = _is_numbered(cells, second.strip().replace(separator, " ").split())
    header = 0 if named or numbered else None
    table = pd.read_csv(path, sep=separator, header=header, decimal=decimal, comment="#", encoding="utf-8-sig")
    if numbered and not cells[0]:  # pandas' own numbers of the rows
        table = table.iloc[:, 1:]
    table.columns = [str(c).strip() if named else f"column_{i}" for i, c in enumerate(table.columns)]
    for name in table.columns:
        if table[name].dtype.kind not in "biuf" and role_of(name) == "time":
            table[name] = pd.to_datetime(table[name])
    return table


def _is_numbered(first: list[str], second: list[str]) -> bool:
    """Whether the first line numbers the columns from 0 or 1, as pandas does where they have no names."""
    words = first[1:] if first and not first[0] else first
    counted = [[str(i + start) for i in range(len(words))] for start in (0, 1)]
    broken = sum(re.search(r"[.,eEnN]", c) is not None for c in second)  # whole numbers there may be data in both
    return len(words) > 2 and words in counted and broken >= len(words)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
