"""Tell a first line of numbers that heads the columns of a table, a count or positions, from one that is a row."""

from __future__ import annotations

__all__ = ["Head", "head_of"]

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np

_FEWEST = 4  # columns: three numbers are evenly spaced by chance
_BELOW = 3  # rows that must be below positions, so that they can be compared
_ROUNDED = 0.1  # of a step: the last decimal of positions that are rounded is finer
_SAME = 1e-9  # of a step: of those that are not, by how much steps differ


@dataclass(frozen=True)
class Head:
    """Say what a first line of numbers is.

    Args:
        leads: Whether it heads the columns, and is no row.
        note: A sentence about it; none where that is plain.
    """

    leads: bool = False
    note: str = ""


def head_of(rows: Sequence[Sequence[str]], quoted: bool = False) -> Head:
    """Tell whether the first line of a table, all of whose cells are numbers, heads its columns.

    A count from 0 or 1 over numbers with decimals does, as pandas writes it; so do numbers in even steps, or in quotes,
    over rows that are neither.  Where a row below is in even steps as well, or the first cell goes on down its column
    in even steps as times do, the line is a row.

    Args:
        rows: Cells of the first lines, decimal points as points; the first cell may be empty.
        quoted: Whether numbers in the first line stand in quotes, and none below it do.

    Returns:
        What the line is.

    Example:
        >>> head_of([["0.0", "0.5", "1.0", "1.5"], *[["0.3", "0.1", "0.7", "0.2"]] * 3]).leads
        True
        >>> head_of([["0.0", "0.5", "1.0", "1.5"], *[["1.0", "2.0", "3.0", "4.0"]] * 3]).leads
        False
    """
    if not rows:
        return Head()
    first, below = list(rows[0]), [list(row) for row in rows[1:] if len(row) == len(rows[0])]
    words = first[1:] if first and not first[0] else first
    if below and _counts(words, below[0]):
        return Head(True)
    shown = f"the first line, {words[0]} to {words[-1]}," if words else ""
    if quoted and len(words) > 1 and below:
        return Head(True, f"{shown} stands in quotes, and is taken for names of the columns, not for a state")
    at = len(first) - len(words)
    if len(words) < _FEWEST or len(below) < _BELOW or not _in_even_steps(words):
        return Head()
    if any(_in_even_steps(row[at:]) for row in below) or (not at and _in_even_steps([row[0] for row in rows])):
        return Head(note=f"{shown} is taken for a state; if it holds positions, leave it out of the file")
    return Head(True, f"{shown} is in even steps, and is taken for positions of the columns, not for a state")


def _counts(words: Sequence[str], second: Sequence[str]) -> bool:
    """Whether words number the columns from 0 or 1, as pandas does where they have no names."""
    counted = [[str(i + start) for i in range(len(words))] for start in (0, 1)]
    broken = sum(re.search(r"[.,eEnN]", c) is not None for c in second)  # whole numbers there may be data in both
    return len(words) > 2 and list(words) in counted and broken >= len(words)


def _in_even_steps(words: Sequence[str]) -> bool:
    """Whether numbers increase or decrease in steps of one length, up to the last decimal if they are rounded."""
    try:
        exact = [Decimal(word) for word in words]
    except InvalidOperation:
        return False
    if len(exact) < 2 or not all(number.is_finite() for number in exact):
        return False
    last = 10.0 ** min(int(number.as_tuple().exponent) for number in exact)
    steps = np.diff(np.array([float(number) for number in exact]))
    step = float(steps.mean())
    allowed = max(_SAME * abs(step), 1.01 * last if last <= _ROUNDED * abs(step) else 0.0)  # both ends are rounded
    return bool(step) and bool((np.abs(steps - step) <= allowed).all())
