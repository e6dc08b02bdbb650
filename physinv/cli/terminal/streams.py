"""What a command finds when it is started: streams that are closed or hold few characters, and limits of files."""

from __future__ import annotations

__all__ = ["flushed", "keep_modules_whole", "stand_in"]

import contextlib
import io
import os
import sys
from typing import TextIO


def stand_in() -> None:
    """Let whatever is printed arrive somewhere.

    A stream that was closed leads nowhere, and characters that a stream cannot hold, of a name for example, are written
    as escapes: neither is a reason to lose what a command has computed.  A size of the terminal that is no number is
    forgotten.
    """
    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "").isdecimal():
            os.environ.pop(name, None)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "r" if number == 0 else "w", encoding="utf-8"))
        elif number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def keep_modules_whole() -> None:
    """Let Python write no compiled modules where files must stay below a size (``ulimit -f``).

    Before 3.13 it cuts them off in silence, and every later program that imports them fails.
    """
    with contextlib.suppress(ImportError):  # of systems without such limits
        import resource

        if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
            sys.dont_write_bytecode = True


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
