"""The invariant: the right content and exit 0, or one line and exit 2; nothing else changed, nothing left behind."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.fuzz.process import Ended

LONGEST = 1500  # characters of the line
FORBIDDEN = (
    "Traceback (most recent call last)",
    "HDF5-DIAG",
    "Exception ignored",
    "Error in atexit",
    "terminate called",
    "Segmentation fault",
    "unraisable",
)
WARNING = re.compile(r"^\S+\.py:\d+: \w*Warning: ", re.MULTILINE)  # of Python, not ours
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
BEGINS = "physinv: "
TEMPORARY = re.compile(r"\.tmp\.\d+|\.physinv-tmp-|\.rebuild|\.importing|\.partial")


def shortfall(ended: Ended, done: Sequence[int] = (0,)) -> str:
    """What is wrong with the end of a command, whatever it was; empty where nothing is.

    Args:
        ended: How it ended.
        done: Exit codes of a command that did its work.
    """
    if ended.stopped:
        return ended.stopped
    if ended.code is None:
        return ended.how
    both = ended.out + ended.err
    for text in FORBIDDEN:
        if text in both:
            return f"{ended.how} with: {_last(both)}"
    if found := WARNING.search(ended.err):
        return f"a warning of Python: {found[0].strip()}"
    if found := CONTROL.search(both):
        return f"a control character, {found[0]!r}, in what is printed"
    if ended.code in done:
        return ""
    if ended.code != 2:
        return f"{ended.how}: {_last(both)}"
    lines = [line for line in ended.err.splitlines() if line.startswith(BEGINS)]
    if len(lines) != 1 or not ended.err.rstrip("\n").splitlines()[-1].startswith(BEGINS):
        return f"exit 2 with {len(lines)} lines: {ended.err.strip()[-300:]!r}"
    if len(lines[0]) > LONGEST:
        return f"a line of {len(lines[0])} characters: {lines[0][:100]}..."
    if len(lines[0]) < len(BEGINS) + 8:
        return f"a line that says nothing: {lines[0]!r}"
    return ""


def left_behind(changes: Sequence[str]) -> list[str]:
    """The temporary files among what was made."""
    return [change for change in changes if change.startswith("made") and TEMPORARY.search(change)]


def _last(text: str) -> str:
    """The last line that says something, for reports."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        if re.match(r"^[\w.]*(Error|Exception|Interrupt|Warning|Exit)\b", line):
            return line[:200]
    return lines[-1][:200] if lines else "nothing was printed"
