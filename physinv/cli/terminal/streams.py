"""The standard streams of a command, however it was started: closed ones, and such that hold few characters."""

from __future__ import annotations

__all__ = ["flushed", "stand_in"]

import io
import os
import sys
from typing import TextIO


def stand_in() -> None:
    """Let whatever is printed arrive somewhere.

    A stream that was closed leads nowhere, and characters that a stream cannot hold, of a name for example, are written
    as escapes: neither is a reason to lose what a command has computed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "r" if number == 0 else "w", encoding="utf-8"))
        elif number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flushed(stream: TextIO, number: int) -> bool:
    """Write out what a standard stream holds, and give it up where it cannot be written.

    Args:
        stream: Standard output or error.
        number: Number of its file, 1 or 2.

    Returns:
        Whether it was written; where not, it leads nowhere from now on, so that the end of the program does not fail.
    """
    try:
        stream.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        return False
    return True
