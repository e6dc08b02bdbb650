"""Read tables of text with pandas: a column is a variable, a row a time (or a time of a sample)."""

from __future__ import annotations

__all__ = ["read_csv"]

import csv
import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from physinv.config.devices import check_memory
from physinv.data.sources.roles import name_and_unit, role_of
from physinv.data.sources.text.heads import Head, head_of
from physinv.data.sources.text.preamble import HEAD, is_comment, lines_before
from physinv.data.sources.text.rows import gridded
from physinv.data.sources.text.times import with_times

_OF_SENTENCES = re.compile(
    r"an|and|are|at|been|by|for|from|has|have|in|into|is|it|its|of|than|that|the|this|was|we|were|which|with", re.I
)
"""Words that no column is called by: a comment that holds one is a note."""

_ABSENT = ["--", "---", "?"]  # beside what pandas takes for a missing number

_BYTES = 8  # of memory, at least, for each byte of a table


def read_csv(path: Path) -> xr.Dataset:
    """Read a table, with names of the columns in its first line or without.

    Columns that name a sample, a time, positions or sensors, and together number the rows, become axes: ``sample, time,
    u, v`` is two variables ``(sample, time)``, ``time, x, u`` one ``(time, x)``.  Otherwise all columns are variables
    over the rows, an axis without a name (:mod:`physinv.data.sources.text.rows`).

    Args:
        path: Text with columns separated by commas, semicolons, tabs or spaces. A line of words under the names holds
            units; names may also stand in a comment right above the numbers.

    Returns:
        The columns of numbers and dates; without names they are ``column_0``, ``column_1``, ...  A first line of
        numbers that counts the columns, or holds positions, is no row (:mod:`physinv.data.sources.text.heads`): each
        column has its number as the attribute ``head``.

    Raises:
        ValueError: If it is no table, or a column of numbers holds a word.
    """
    check_memory(_BYTES * path.stat().st_size, f"the table {path}", "give a part of it")
    try:
        table, notes, units, heads = _table(path)
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(
            f"{path} is no table: {_reason(error)}; write one line per time, columns separated by commas."
        ) from None
    empty = [c for c in table.columns if table[c].isna().all() and not c.startswith("Unnamed: ")]
    table = table.dropna(axis=1, how="all")  # lines that end in a comma have a column too many
    _check_cells(table, path)
    data, left = gridded(table, path)
    for name in heads.keys() & data.variables.keys():
        data[name].attrs["head"] = heads[name]
    return _with_units(data, units).assign_attrs({"read_notes": [*notes, *left], "empty": empty})


def _with_units(data: xr.Dataset, units: dict[str, str]) -> xr.Dataset:
    """Units of a line of their own, or in brackets after the names."""
    for name, v in data.variables.items():
        unit = units.get(str(name)) or name_and_unit(str(name))[1]
        if unit and v.dtype.kind in "iuf":
            v.attrs["units"] = unit
    return data


def _table(path: Path) -> tuple[pd.DataFrame, list[str], dict[str, str], dict[str, str]]:
    """The table, with dates where a column of times holds them without doubt, how they were read, units, and numbers at
    the heads of the columns."""
    with path.open(encoding="utf-8-sig") as file:
        head = list(itertools.islice(file, HEAD))
    begins = lines_before(head)
    numbered = [(i, line) for i, line in enumerate(head) if i >= begins and line.strip() and not is_comment(line)]
    (_, first), (at, second), (below, third), (_, fourth) = [*numbered, *[(0, "")] * 4][:4]
    separator = next((s for s in ";\t," if s in first), r"\s+")
    decimal = "," if separator != "," and re.search(r"\d,\d", first + second + third) else "."
    heads, cells, data, more = (_cells(line, separator, decimal) for line in (first, second, third, fourth))
    named = not all(_is_number(c) for c in heads if c)
    told = [] if named else _commented(path, separator, len(heads))
    top = Head() if named or told else _head(numbered, separator, decimal)
    how = named and _are_units(data, more, len(heads))  # averages, extremes: loggers say it below the units
    units = named and _are_units(cells, more if how else data, len(heads))
    without = (at, below)[: units + (units and how)]
    # Lines are left out here: `skiprows` counts lines in quotes as one, `comment` cuts names such as `Sensor #1`.
    with path.open(encoding="utf-8-sig") as file:
        lines = (line for i, line in enumerate(file) if i >= begins and i not in without and not is_comment(line))
        table = pd.read_csv(
            io.StringIO("".join(lines)),
            sep=separator,
            header=0 if named or top.leads else None,
            decimal=decimal,
            na_values=_ABSENT,
        )
    row = (second, third, fourth)[len(without)]
    extra = len(_split(row, separator)) - len(_split(first, separator)) if named or top.leads else 0
    table, unnamed = _with_first_column(table, extra)
    if not heads[0] and len(heads) > 1 and (named or top.leads) and _counts_rows(table.iloc[:, 0].to_numpy()):
        table = table.iloc[:, 1:]  # pandas' own numbers of the rows
    told = told if len(told) == len(table.columns) else []
    known = told or [str(c).strip() if named else f"column_{i}" for i, c in enumerate(table.columns)]
    numbers = dict(zip(known, map(str, table.columns), strict=True)) if top.leads else {}
    table.columns = pd.Index(known)
    notes = ["names of the columns are those of the comment above them"] if told else []
    notes += [top.note] if top.note else []
    notes += [f"the table begins in line {begins + 1}: those above it are left out"] if begins else []
    notes += ["the first column has no name and is left out"] if unnamed else []
    for name in table.columns if separator == "," else ():  # in a table of commas they stand in quotes
        cells_of = table[name].dropna().astype(str) if table[name].dtype.kind == "O" else pd.Series([], dtype=str)
        thousands = cells_of.str.fullmatch(r"[-+]?\d{1,3},\d{3}").all()  # 1,234 may be one thousand
        if not thousands and cells_of.str.fullmatch(r"[-+]?\d+,\d+").all():
            table[name] = pd.to_numeric(table[name].str.replace(",", "."))
            notes.append(f"commas in `{name}` are read as decimal points")
    notes += [f"units are those of line {at + 1}"] if units else []
    table = table.dropna(axis=0, how="all")
    clocks: dict[str, str] = {}
    table, read = with_times(table, clocks)
    notes += read
    marks = zip(known, (c.strip("[]()") for c in cells[len(cells) - len(known) :]), strict=False)
    of_numbers = {c: mark for c, mark in marks if mark and c in table and table[c].dtype.kind in "iuf"}
    return table, notes, clocks | (of_numbers if units else {}), numbers


def _head(numbered: list[tuple[int, str]], separator: str, decimal: str) -> Head:
    """What a first line of numbers is."""
    rows = [_cells(line, separator, decimal) for _, line in numbered]
    first, *below = [line for _, line in numbered] or [""]
    quoted = bool(first.strip()) and all(word.strip()[:1] in ('"', "") for word in _raw(first, separator))
    return head_of(rows, quoted and not any('"' in line for line in below))


def _raw(line: str, separator: str) -> list[str]:
    return line.split() if separator == r"\s+" else line.split(separator)


def _with_first_column(table: pd.DataFrame, extra: int) -> tuple[pd.DataFrame, bool]:
    """The table, whose rows have ``extra`` cells more than its line of names, and whether a column was left out.

    pandas takes the first ones for names of the rows, and gives the next ones the first name: of rows that end in a
    comma that is wrong. A column that counts the rows is no loss.

    Raises:
        ValueError: If it cannot be told which column has which name.
    """
    if extra <= 0:
        return table, False
    absent = table.iloc[:, -1].isna()
    if extra > 1 or 0.5 < absent.mean() < 1:
        raise ValueError(f"its first row has {table.shape[1] + extra} columns, the line of names {table.shape[1]}")
    if absent.all():
        return table.reset_index().set_axis([*table.columns, f"Unnamed: {table.shape[1]}"], axis=1), False
    return table.reset_index(drop=True), not _counts_rows(table.index.to_numpy())


def _commented(path: Path, separator: str, count: int) -> list[str]:
    """Names of all columns in the comment right above the numbers, as ``numpy.savetxt`` writes them; else none."""
    last = ""
    with path.open(encoding="utf-8-sig") as file:
        for line in itertools.takewhile(lambda line: not line.strip() or is_comment(line), file):
            last = line.lstrip("# ").strip() or last
    for cut in (",", separator, r"\s+"):
        words = _cells(last, cut, ".")
        if last.endswith((".", ":", "!", "?")) or any(map(_OF_SENTENCES.fullmatch, words)):
            continue
        if len(words) == len(set(words)) == count and not any(not w or _is_number(w) for w in words):
            return words
    return []


def _check_cells(table: pd.DataFrame, path: Path) -> None:
    """Refuse words among the numbers of a column, which would make all of it text, and leave it out."""
    for name in table.columns:
        column = table[name]
        if column.dtype.kind in "biufcmM":
            continue
        wrong = pd.to_numeric(column, errors="coerce").isna() & column.notna()
        if 0 < wrong.sum() <= len(column) / 2:
            cell = str(column[wrong].iloc[0])
            raise ValueError(
                f"column `{name}` of {path} holds {cell[:40]!r} in row {int(wrong.to_numpy().argmax()) + 1} among "
                "numbers; leave the cell empty where a number is missing."
            )


def _split(line: str, separator: str) -> list[str]:
    """The cells of a line as pandas counts them: those in quotes may hold the separator."""
    cells = csv.reader([line.strip("\n")], delimiter=separator if separator in ";\t," else " ", skipinitialspace=True)
    try:
        return next(cells, [])
    except csv.Error:  # a cell of more than 131072 characters
        return _raw(line.strip("\n"), separator)


def _cells(line: str, separator: str, decimal: str) -> list[str]:
    return [c.strip().strip('"').replace(decimal, ".") for c in _raw(line, separator)]


def _are_units(cells: list[str], data: list[str], columns: int) -> bool:
    """Whether the cells under the names are words without a number at their start, and those under them are not."""
    words = [c for c in cells if c]
    if any(role_of(c) == "time" for c in words):  # those are names, under a line that says something else
        return False
    plain = all(not _is_number(c) and not re.match(r"[-+]?\.?\d", c) for c in words)
    numbers = [_is_number(below) for c, below in zip(cells, data, strict=False) if c]
    return bool(words) and plain and len(cells) == columns and any(numbers)


def _reason(error: Exception) -> str:
    """Why a table can't be read, in our words."""
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8, as which it has to be saved"
    if text.startswith("its first row"):
        return text
    if match := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", text):
        return f"line {match[2]} has {match[3]} columns, the lines before it {match[1]}"
    return "it is empty" if isinstance(error, pd.errors.EmptyDataError) else "its lines are no rows of one length"


def _counts_rows(column: NDArray[Any]) -> bool:
    """Whether a column numbers the rows, from 0 or 1."""
    whole = column.dtype.kind == "i" and len(column) > 0 and int(column[0]) in (0, 1)
    return whole and np.array_equal(column - column[0], np.arange(len(column)))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
