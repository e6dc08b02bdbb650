"""Lines of ``log.jsonl``: numbers by name, with a checksum of their own in each line."""

from __future__ import annotations

__all__ = ["log_line", "read_log"]

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from physinv.config.checksums import of_json
from physinv.config.files import MOST_TEXT, check_regular
from physinv.config.json_text import read_object

_CHECKSUM = "sha256"
_HEAD = '{"'  # how each line begins


def log_line(values: Mapping[str, Any]) -> str:
    """Return a line with its checksum, the end of the line included.

    Args:
        values: Numbers by name.

    Example:
        >>> log_line({"step": 0, "loss": 0.5})[:39]
        '{"step": 0, "loss": 0.5, "sha256": "29f'
    """
    return json.dumps({**values, _CHECKSUM: of_json(values)}) + "\n"


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read all lines, and compare each with its checksum.

    Lines of earlier versions have none, and are taken as they are. The beginning of a line after the last end of one
    was cut short by a kill, and is left out.

    Args:
        path: The log; it need not exist.

    Returns:
        Values by name, without the checksums.

    Raises:
        ValueError: If a line is no JSON object, its values have another checksum, or what follows the last line is
            not the beginning of one.
    """
    check_regular(path, MOST_TEXT)
    *lines, rest = path.read_bytes().split(b"\n") if path.exists() else [b""]
    if not _begins_line(rest):
        raise ValueError(
            f"{path} is damaged: what follows line {len(lines)} is not the beginning of another; put back a copy, or "
            "delete what follows."
        )
    found = [read_object(line, f"line {i} of {path}") for i, line in enumerate(lines, 1)]
    for i, values in enumerate(found, 1):
        if _CHECKSUM in values and values.pop(_CHECKSUM) != of_json(values):
            raise ValueError(
                f"line {i} of {path} is damaged: it does not have the checksum that it was written with; "
                "put back a copy, or delete the line."
            )
    return found


def _begins_line(rest: bytes) -> bool:
    """Whether these bytes are a line that a kill cut short, rather than zeros, noise, or a line with more after it."""
    try:
        text = rest.decode("ascii")
    except UnicodeDecodeError:
        return False
    if not text.isprintable() or not text.startswith(_HEAD[: len(text)]):
        return False
    try:
        return json.JSONDecoder().raw_decode(text)[1] == len(text)
    except json.JSONDecodeError:
        return True
    except (RecursionError, ValueError):
        return False
