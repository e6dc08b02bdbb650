"""Find where a table of text begins, below lines that say where it is from."""

from __future__ import annotations

__all__ = ["HEAD", "lines_before"]

import csv
from collections.abc import Sequence

HEAD = 100
"""Lines of a file that are looked at."""

_SEPARATORS = (";", "\t", ",", "")  # the last one stands for spaces
_FEWEST = 3  # lines that make a table


def lines_before(lines: Sequence[str]) -> int:
    """Return how many lines of words precede a table: station, instrument, date of the export.

    The table is the run of lines with as many cells as the last ones have; the line of names may lack that of the
    numbers of the rows, as R writes it.

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
    told = [(i, line) for i, line in enumerate(lines) if line.strip() and not line.startswith("#")]
    for separator in _SEPARATORS:
        counts = [_counts(line, separator) for _, line in told]
        if len(counts) < _FEWEST or counts[-1][0] < 2 or not all(_alike(c, counts[-1]) for c in counts[-_FEWEST:]):
            continue
        begins = next((i + 1 for i in range(len(counts) - 1, -1, -1) if not _alike(counts[i], counts[-1])), 0)
        if not begins:
            return 0
        *above, first = (_cells(line, separator) for _, line in told[: begins + 1])
        if len(above[-1]) == len(first) - 1 > 1 and any(map(_is_number, first)):
            begins -= not any(map(_is_number, above[-1]))
        if any(any(row) and all(map(_is_number, filter(None, row))) for row in above[:begins]):
            return 0
        return told[begins][0] if begins else 0
    return 0


def _counts(line: str, separator: str) -> tuple[int, int]:
    """How many cells a line has, and how many without empty ones at its end; of a line of many, without making them."""
    if separator and '"' not in line:
        line = line.rstrip("\r\n")
        return line.count(separator) + 1, line.rstrip(separator).count(separator) + 1
    cells = _cells(line, separator)
    return len(cells), max((i + 1 for i, c in enumerate(cells) if c), default=0)


def _alike(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two lines are of one table, in which the last numbers may be missing, or all lines end in a comma."""
    return a[0] == b[0] or a[1] == b[1]


def _cells(line: str, separator: str) -> list[str]:
    """The cells of a line; those in quotes may hold the separator."""
    return next(csv.reader([line.rstrip("\r\n")], delimiter=separator)) if separator else line.split()


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().replace(",", "."))
    except ValueError:
        return False
    return True
