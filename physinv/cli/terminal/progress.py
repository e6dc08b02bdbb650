"""How far the work is, on standard error: a bar on a terminal, elsewhere plain lines, at most one in ten seconds."""

from __future__ import annotations

__all__ = ["FIRST", "PAUSE", "Report", "progress"]

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

FIRST = 1.0
"""Seconds after which the first plain line appears: errors of use come sooner, and stay alone."""

PAUSE = 10.0
"""Seconds between two plain lines."""


class Report(Protocol):
    """What shows progress."""

    def __call__(self, done: float, text: str = "") -> None:
        """Show how far the work is.

        Args:
            done: The share that is finished, between 0 and 1.
            text: A line beside the bar.
        """

    def phase(self, name: str) -> None:
        """Show what is being done from now on.

        Args:
            name: The phase in a few words.
        """


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """Show progress on standard error inside the block.

    Args:
        title: What is going on.

    Yields:
        The function that moves the bar, and names the phases.
    """
    console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        lines = _Lines(title)
        try:
            yield lines
        finally:
            lines.end()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar, bar.add_task(escape(title), total=1.0, text=""), title)


class _Bar:
    """A bar that redraws itself."""

    def __init__(self, bar: Progress, task: TaskID, title: str) -> None:
        self._bar, self._task, self._title = bar, task, title

    def __call__(self, done: float, text: str = "") -> None:
        self._bar.update(self._task, completed=done, text=escape(text))

    def phase(self, name: str) -> None:
        self._bar.update(self._task, description=escape(f"{self._title}: {name}"))


class _Lines:
    """Plain lines, written by a thread, so that they also come while one computation takes long."""

    def __init__(self, title: str) -> None:
        self._title, self._phase, self._state = title, "", ""
        self._begun, self._ended = time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=self._write, name=f"progress of {title}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads are allowed (`ulimit -u`): there are no lines then
            self._ended.set()

    def __call__(self, done: float, text: str = "") -> None:
        self._state = f", {done:.0%}" + (f", {text}" if text else "")

    def phase(self, name: str) -> None:
        self._phase = f": {name}"

    def end(self) -> None:
        """Write no more lines."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()

    def _write(self) -> None:
        wait = FIRST
        while not self._ended.wait(wait):
            wait, seconds = PAUSE, time.monotonic() - self._begun
            line = f"{self._title}{self._phase}{self._state}, {seconds:.0f} s"
            Console(stderr=True, highlight=False, emoji=False, soft_wrap=True).print(escape(line))
