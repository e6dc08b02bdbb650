"""Find where a table of text begins, below lines that say where it is from."""

from __future__ import annotations

__all__ = ["HEAD", "is_comment", "lines_before"]

import csv
import re
from collections.abc import Sequence

from physinv.data.sources.roles import role_of

HEAD = 100
"""Lines of a file that are looked at."""

_ABSENT = re.compile(r"#N/?A\b")  # how spreadsheets write a missing number, also in the first cell of a row
_SEPARATORS = (";", "\t", ",", "")  # the last one stands for spaces
_FEWEST = 3  # lines that make a table
_LAST = 5  # lines at the end of which these are sought: one or two may be damaged, or a note


def is_comment(line: str) -> bool:
    """Return whether a line of text is a comment: it begins with ``#``, after blanks at most.

    Args:
        line: The line; a ``#`` within it, such as that of ``Sensor #1``, is text.

    Example:
        >>> is_comment("  # measured in May"), is_comment("time,Sensor #1"), is_comment("#N/A,0.5")
        (True, False, False)
    """
    begun = line.lstrip(" ")
    return begun.startswith("#") and not _ABSENT.match(begun)


def lines_before(lines: Sequence[str]) -> int:
    """Return how many lines of words precede a table: station, instrument, date of the export.

    The table is all from the first line on that is like the last ones: numbers where these have numbers, dates where
    these have dates.  A damaged row below it has no part in this.  Above it are its names, with as many cells; that of
    the numbers of the rows may lack, as R writes it.  Of several lines with as many cells the names are the one that
    names a time, or has no empty cells at its end.

    Args:
        lines: The first lines of a file, at most :data:`HEAD`, the last of them of the table.

    Returns:
        Their number, 0 where lines are no table, or where one of those above it holds numbers alone: that would be a
        row which is damaged.

    Example:
        >>> lines_before(["Station: Oslo, harbour", "Height: 3 m", "time,level", "0,1.5", "1,1.7", "2,1.6"])
        2
        >>> lines_before(["time,level", "0,1.5", "1,1.7", "2,1.6"])
        0
    """
    told = [(i, line) for i, line in enumerate(lines) if line.strip() and not is_comment(line)]
    for separator in _SEPARATORS:
        counts = [_counts(line, separator) for _, line in told]
        last = range(max(0, len(counts) - _LAST), len(counts))
        tails = (i for i in reversed(last) if _is_usual(counts, i, last))
        usual = next((i for i in tails if any(map(_is_number, _cells(told[i][1], separator)))), None)
        if usual is None:
            continue
        alike = [_alike(c, counts[usual]) for c in counts]
        pattern = _cells(told[usual][1], separator)
        row = next(i for i, (_, line) in enumerate(told) if _is_row(_cells(line, separator), pattern))
        begins = next((i + 1 for i in range(row - 1, -1, -1) if not alike[i]), 0)
        words = [_cells(line, separator) for _, line in told[:row]]
        begins += _names(words[begins:], counts[usual][1])
        if begins and len(words[begins - 1]) == counts[row][0] - 1 > 1 and _counts_rows(told[row:], separator):
            begins -= not any(map(_is_number, words[begins - 1]))
        if any(any(cells) and all(map(_is_number, filter(None, cells))) for cells in words[:begins]):
            return 0
        return told[begins][0] if begins else 0
    return 0


def _is_usual(counts: Sequence[tuple[int, int]], i: int, last: range) -> bool:
    """Whether a line has more than one cell, and enough of the last lines as many."""
    return counts[i][0] > 1 and sum(_alike(counts[j], counts[i]) for j in last) >= _FEWEST


def _names(words: Sequence[Sequence[str]], columns: int) -> int:
    """How many lines of as many cells as the table precede its names, such as those of a sheet that was exported."""
    for i, cells in enumerate(words):
        if any(role_of(c) == "time" for c in cells if c):
            return i
    full = (i for i, cells in enumerate(words) if _filled(cells) >= columns and not any(map(_is_number, cells)))
    return next(full, 0)


def _is_row(cells: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a line has numbers, dates and words where another one has them; a damaged one may have more or fewer."""
    pairs = [(_kind(a), _kind(b)) for a, b in zip(cells, pattern, strict=False) if a and b]
    return len(cells) > 1 and all(a == b for a, b in pairs) and any(a == "number" for a, _ in pairs)


def _kind(cell: str) -> str:
    """A number, a word, or of what has digits, such as dates, the signs between them."""
    if _is_number(cell):
        return "number"
    return re.sub(r"[\w\s]+", "0", cell) if re.search(r"\d", cell) else "word"


def _counts_rows(lines: Sequence[tuple[int, str]], separator: str) -> bool:
    """Whether the first column names rows, by words or whole numbers; others are data."""
    first = [cells[0] for cells in (_cells(line, separator) for _, line in lines[:_FEWEST]) if cells]
    return all(not _is_number(c) or c.strip().isdigit() for c in first)


def _counts(line: str, separator: str) -> tuple[int, int]:
    """How many cells a line has, and how many without empty ones at its end; of a line of many, without making them."""
    if separator and '"' not in line:
        line = line.rstrip("\r\n")
        return line.count(separator) + 1, line.rstrip(separator).count(separator) + 1
    cells = _cells(line, separator)
    return len(cells), _filled(cells)


def _filled(cells: Sequence[str]) -> int:
    """How many cells there are without empty ones at the end."""
    return max((i + 1 for i, c in enumerate(cells) if c), default=0)


def _alike(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two lines are of one table, in which the last numbers may be missing, or all lines end in a comma."""
    return a[0] == b[0] or a[1] == b[1]


def _cells(line: str, separator: str) -> list[str]:
    """The cells of a line; those in quotes may hold the separator."""
    line = line.rstrip("\r\n")
    try:
        return next(csv.reader([line], delimiter=separator)) if separator else line.split()
    except csv.Error:  # a cell of more than 131072 characters
        return line.split(separator)


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().replace(",", "."))
    except ValueError:
        return False
    return True
