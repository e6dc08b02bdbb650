"""The journal ``cells.jsonl``: one line of JSON per result, on disk as soon as it is written.

Each line ends with a checksum of its other values, ``sha256``.  Lines of earlier versions have none, and are read
unchecked; a line that a kill cut short is none.
"""

from __future__ import annotations

__all__ = ["append", "keep", "lines", "read"]

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from physinv.config.checksums import of_json
from physinv.config.files import MOST_TEXT, check_regular, write_text
from physinv.config.json_text import check_depth

_CHECKSUM = "sha256"
_BEGUN = re.compile(r"[\w\\.+-]{0,8}")  # what can be begun and not be text: true, false, null, an escape, an exponent
_MARK = f'"{_CHECKSUM}": "'  # before the digits, which are the end of a line


def read(path: Path) -> list[dict[str, Any]]:
    """Read the latest record of every key, in the order in which keys came first.

    Args:
        path: The journal; it need not exist.

    Returns:
        The records; a line that a kill cut short is none.

    Raises:
        ValueError: If a whole line is no record.
    """
    found: dict[str, dict[str, Any]] = {}
    for place, record in lines(path) if path.exists() else ():
        if not isinstance(record, dict) or not {"key", "error"} <= record.keys() or not isinstance(record["key"], str):
            raise ValueError(f"{place} is no record; remove it.")
        found[record["key"]] = record
    return list(found.values())


def lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Read the lines of a journal, without their checksums.

    Args:
        path: The journal.

    Yields:
        Where a line is, for messages, and its value; lines that a kill cut short are left out.

    Raises:
        ValueError: If a line is damaged.
    """
    check_regular(path, MOST_TEXT)
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(
            f"{path} is damaged: it is no text in UTF-8; copy it again, or run the benchmark again."
        ) from None
    for number, line in enumerate(text.split("\n"), start=1):
        place = f"line {number} of {path}"
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            if _is_cut(line, error):
                continue
            raise _damaged(place, "it is not valid JSON") from None
        except (ValueError, RecursionError):  # numbers of thousands of digits, and thousands of levels
            raise _damaged(place, "it holds what no result does") from None
        check_depth(value, place)
        if isinstance(value, dict) and _CHECKSUM in value and value.pop(_CHECKSUM) != of_json(value):
            raise _damaged(place, "it does not have the checksum that it was written with")
        yield place, value


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record, which is on disk when this returns.

    Args:
        path: The journal; a line before it that a kill cut short is ended first.
        record: The record, with keys ``key`` and ``error``.
    """
    line = _sealed(record)
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def keep(path: Path, keys: Collection[str], rest: Path) -> None:
    """Move the records of other recipes to another file, and back when they are wanted again.

    A kill in between leaves some records in both files, but loses none.

    Args:
        path: The journal, which keeps the records that are wanted.
        keys: Keys that are wanted.
        rest: The file of all others.
    """
    here, aside = read(path), read(rest)
    every = list({record["key"]: record for record in [*aside, *here]}.values())
    kept = [record for record in every if record["key"] in keys]
    old = [record for record in every if record["key"] not in keys]
    if len(old) > len(aside) or len(kept) > len(here):
        _write(rest, every)
        _write(path, kept)
        _write(rest, old)


def _write(path: Path, records: Collection[Mapping[str, Any]]) -> None:
    write_text(path, "".join(map(_sealed, records)))


def _sealed(record: Mapping[str, Any]) -> str:
    """The line of a record."""
    return json.dumps({**record, _CHECKSUM: of_json(record)}, allow_nan=False) + "\n"


def _is_cut(line: str, error: json.JSONDecodeError) -> bool:
    """Whether a line is the beginning of one: its error is its end, which is not that of a checksum."""
    whole = len(line.partition(_MARK)[2]) >= len(of_json({}))
    at_the_end = _BEGUN.fullmatch(line, error.pos) or error.msg.startswith("Unterminated string")
    return line.startswith("{") and bool(at_the_end) and not whole


def _damaged(place: str, reason: str) -> ValueError:
    return ValueError(f"{place} is damaged: {reason}; remove it, and run the benchmark again.")
