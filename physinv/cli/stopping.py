"""What a command does when it is stopped, by Ctrl-C (SIGINT) or by SIGTERM: it says what is kept and how to go on."""

from __future__ import annotations

__all__ = ["NOTHING", "Stopped", "heard", "keeping"]

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

NOTHING = "nothing was written; the same command starts again"
"""What is kept by a verb that writes its result at the end."""


class Stopped(BaseException):
    """Say that a signal stopped the command; no handler of errors takes it for one.

    Args:
        number: Number of the signal.
        kept: What is kept and how to go on.
    """

    def __init__(self, number: int, kept: str = NOTHING) -> None:
        self.number, self.kept = signal.Signals(number), kept
        word = "interrupted" if number == signal.SIGINT else "terminated"
        super().__init__(f"{word}: {kept}.")

    @property
    def code(self) -> int:
        """The customary exit code, 128 and the number of the signal."""
        return 128 + self.number


@contextmanager
def heard() -> Iterator[None]:
    """Let SIGTERM raise :class:`Stopped` inside the block, where nothing else handles it.

    In threads other than the main one, which hear no signals, nothing changes.

    Yields:
        Nothing.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def keeping(told: Callable[[], str] | str) -> Iterator[None]:
    """Say what is kept of the work inside the block, if a signal stops it.

    Args:
        told: What is kept and how to go on, or a function that finds out.

    Yields:
        Nothing.

    Raises:
        Stopped: If a signal arrived.
    """
    try:
        yield
    except (KeyboardInterrupt, Stopped) as stop:
        number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
        raise Stopped(number, _found(told)) from None


def _found(told: Callable[[], str] | str) -> str:
    """The words; where files that would tell cannot be read, those of a verb that keeps nothing."""
    try:
        return told if isinstance(told, str) else told()
    except (ValueError, OSError):
        return NOTHING


def _stop(number: int, frame: object) -> NoReturn:
    raise Stopped(number)
