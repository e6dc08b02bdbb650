"""Consoles on which tables are whole and text is shown as it is, and whose errors name the stream."""

from __future__ import annotations

__all__ = ["as_text", "errors", "named", "output"]

import errno
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich import markup
from rich.console import Console

_NARROWEST = 80  # columns that each table fits into
_CONTROL = ("Cc", "Cf", "Cs")  # categories of Unicode: control, format (such as the direction of writing), surrogates


class _Console(Console):
    """A console whose errors name the stream; of one that nobody reads any more rich itself exits with 1."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects."""
        with named("standard error" if self.stderr else "standard output"):
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Raise what the system said."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def output() -> Console:
    """Return a console for results.

    Returns:
        The console, of 80 columns at least: rich cuts off tables that are wider, and a terminal breaks their lines.
    """
    console = _Console(highlight=False, emoji=False, soft_wrap=True)
    console.width = max(console.width, _NARROWEST)
    return console


def errors() -> Console:
    """Return a console for what stands beside results, on standard error."""
    return _Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


@contextmanager
def named(stream: str) -> Iterator[None]:
    """Let an error inside the block, of a stream that can't be written, name that stream.

    Args:
        stream: Its name, in words.

    Raises:
        OSError: Where the system refuses to write.
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, stream) from None


def as_text(text: str) -> str:
    """Return text as markup that shows it as it is, with marks for characters that a terminal would obey.

    Args:
        text: Any text.

    Example:
        >>> as_text("[b]")
        '\\\\[b]'
    """
    plain = (c if c in "\n\t" or unicodedata.category(c) not in _CONTROL else "\ufffd" for c in text)
    return markup.escape("".join(plain))
