"""What a command does when it is stopped: it says what is kept and how to go on.

Ctrl-C (SIGINT) stops it, SIGTERM, a terminal that is closed (SIGHUP) and a limit of CPU time (SIGXCPU, ``ulimit -t``).
"""

from __future__ import annotations

__all__ = ["NOTHING", "Heard", "Stopped", "heard", "keeping"]

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NOTHING = "nothing was written; the same command starts again"
"""What is kept by a verb that writes its result at the end."""

_BURST = 2.0  # seconds after a signal in which further ones are the same wish, and would only disturb the cleaning up
_WAIT = 0.05  # seconds until a signal is looked at again that came while nothing may be raised
_OTHERS = ("SIGHUP", "SIGXCPU", "SIGALRM")  # beside SIGINT and SIGTERM, where the system has them
_UNSAFE = "physinv.config.hdf5_sink"  # called by HDF5, which crashes if it cannot write


class Stopped(BaseException):
    """Say that a signal stopped the command; no handler of errors takes it for one.

    Args:
        number: Number of the signal.
        kept: What is kept and how to go on.
    """

    def __init__(self, number: int, kept: str = NOTHING) -> None:
        self.number, self.kept = signal.Signals(number), kept
        words = {"SIGINT": "interrupted", "SIGXCPU": "the limit of CPU time (`ulimit -t`) is reached"}
        word = words.get(self.number.name, "terminated")
        super().__init__(f"{word}: {kept}.")

    @property
    def code(self) -> int:
        """The customary exit code, 128 and the number of the signal."""
        return 128 + self.number


class Heard:
    """Raise :class:`Stopped` when a signal arrives, as soon as that does no harm.

    Imports of compiled packages, and functions that a library in C calls, may turn an exception into another one, lose
    it or crash: a signal that arrives there is heard a moment later.

    Attributes:
        number: The signal that arrived; None while there was none.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._raised, self._process = float("-inf"), os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Args:
            number: Its number; that of the alarm stands for the signal that could not be heard before.
            frame: What was being done.

        Raises:
            Stopped: If it may be raised here, and was not a moment ago.
            KeyboardInterrupt: In processes that this one has forked, such as readers of data, which expect that.
        """
        if os.getpid() != self._process:
            _end_child(number)
            return
        alarm = getattr(signal, "SIGALRM", None)
        if number != alarm:
            self.number = number
        if self.number is None or time.monotonic() - self._raised < _BURST:
            return
        if alarm is not None and _unsafe(frame):
            signal.setitimer(signal.ITIMER_REAL, _WAIT)
            return
        self._raised = time.monotonic()
        raise Stopped(self.number)

    def done(self) -> None:
        """Raise nothing any more: the command is about to say how it ended, and says it once."""
        self._raised = float("inf")
        if hasattr(signal, "SIGALRM"):
            signal.setitimer(signal.ITIMER_REAL, 0)

    def lost(self) -> None:
        """Hear the signal again a moment later: what it raised was lost where Python ignores exceptions."""
        if self._raised == float("inf"):
            return
        self._raised = float("-inf")
        if hasattr(signal, "SIGALRM"):
            signal.setitimer(signal.ITIMER_REAL, _WAIT)


@contextmanager
def heard() -> Iterator[Heard]:
    """Let signals that stop a command raise :class:`Stopped` inside the block, where nothing else handles them.

    In threads other than the main one, which hear no signals, nothing changes.  A signal that is ignored stays so.

    Yields:
        What hears them, and knows whether one arrived.
    """
    if isinstance(known := signal.getsignal(signal.SIGTERM), Heard):
        yield known
        return
    hearer = Heard()
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    usual |= {getattr(signal, name): signal.SIG_DFL for name in _OTHERS if hasattr(signal, name)}
    ours = threading.current_thread() is threading.main_thread()
    taken = {s: handler for s, handler in usual.items() if ours and signal.getsignal(s) is handler}
    for number in taken:
        signal.signal(number, hearer)
    ignored = sys.unraisablehook

    def unraisable(what: sys.UnraisableHookArgs) -> None:
        """Told of exceptions in finalisers, which Python prints and forgets."""
        if isinstance(what.exc_value, Stopped):
            hearer.lost()
        else:
            ignored(what)

    sys.unraisablehook = unraisable if taken else ignored
    try:
        yield hearer
    finally:
        sys.unraisablehook = ignored
        if hasattr(signal, "SIGALRM") and signal.SIGALRM in taken:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in taken.items():
            signal.signal(number, handler)


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


def _end_child(number: int) -> None:
    """What a signal does in a forked process, without our handler."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _unsafe(frame: FrameType | None) -> bool:
    """Whether an exception that is raised here may be lost, or crash the process."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib") or frame.f_globals.get("__name__") == _UNSAFE:
            return True
        frame = frame.f_back
    return False
