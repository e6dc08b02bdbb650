"""The journal ``cells.jsonl``: one line of JSON per result, on disk as soon as it is written."""

from __future__ import annotations

__all__ = ["append", "keep", "read"]

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from physinv.config.files import write_text


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
    for line in path.read_text("utf-8", "replace").splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # cut short by a kill
            continue
        if not isinstance(record, dict) or not {"key", "error"} <= record.keys() or not isinstance(record["key"], str):
            raise ValueError(f"{path} holds a line that is no record: {line[:60]!r}; remove it.")
        found[record["key"]] = record
    return list(found.values())


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record, which is on disk when this returns.

    Args:
        path: The journal; a line before it that a kill cut short is ended first.
        record: The record, with keys ``key`` and ``error``.
    """
    line = json.dumps(record, allow_nan=False) + "\n"
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
    text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    write_text(path, text)
