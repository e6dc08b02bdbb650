"""Datasets while cells need them, and the processes that work on cells."""

from __future__ import annotations

__all__ = ["Datasets", "Processes"]

import os
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import rmtree

from physinv.comparison.cells import Cell


class Datasets:
    """Made before the first cell that needs them, removed after the last; threads may share one object."""

    def __init__(self, root: Path, todo: Sequence[Cell]) -> None:
        self.root, self.waiting = root, Counter(cell.data_key for cell in todo)
        self.locks = {key: threading.Lock() for key in self.waiting}

    def folder(self, cell: Cell, make: Callable[[Path], None]) -> Path:
        """Where the splits of the cell's data are, complete: ``make(place)`` has made them there, once."""
        place = self.root / cell.data_key
        with self.locks[cell.data_key]:
            if not (place / "dataset.json").exists():
                make(place)
        return place / "data"

    def release(self, cell: Cell) -> None:
        """One cell less needs its data."""
        with self.locks[cell.data_key]:
            self.waiting[cell.data_key] -= 1
            if not self.waiting[cell.data_key]:
                rmtree(self.root / cell.data_key, ignore_errors=True)


class Processes:
    """Commands that run side by side and end together: when told to, or when this process is gone."""

    def __init__(self, threads: int) -> None:
        self.threads, self.running, self.stopped = threads, set[subprocess.Popen[bytes]](), False

    def run(self, command: list[str], log: Path) -> int:
        """Run ``command`` to its end; the exit code, negative for a signal.  Its standard input ends when we do."""
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads)}
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
        self.running.add(process)
        try:
            if self.stopped:
                process.terminate()
            return process.wait()
        finally:
            self.running.discard(process)
            if process.stdin is not None:
                process.stdin.close()

    def stop(self) -> None:
        """End what runs, and what would be started from now on."""
        self.stopped = True
        for process in list(self.running):
            process.terminate()
