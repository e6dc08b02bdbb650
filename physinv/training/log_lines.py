"""Lines of ``log.jsonl``: numbers by name, with a checksum of their own in each line."""

from __future__ import annotations

__all__ = ["log_line", "read_log"]

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from physinv.config.checksums import of_json
from physinv.config.files import check_regular
from physinv.config.json_text import read_object

_CHECKSUM = "sha256"


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

    Lines of earlier versions have none, and are taken as they are. What follows the last end of a line was cut short
    by a kill, and is left out.

    Args:
        path: The log; it need not exist.

    Returns:
        Values by name, without the checksums.

    Raises:
        ValueError: If a line is no JSON object, or its values have another checksum.
    """
    check_regular(path)
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    found = [read_object(line, f"line {i} of {path}") for i, line in enumerate(lines, 1)]
    for i, values in enumerate(found, 1):
        if _CHECKSUM in values and values.pop(_CHECKSUM) != of_json(values):
            raise ValueError(
                f"line {i} of {path} is damaged: it does not have the checksum that it was written with; "
                "put back a copy, or delete the line."
            )
    return found
