"""Datasets while cells need them, the processes that run cells, and how many run at a time."""

from __future__ import annotations

__all__ = ["Datasets", "Processes", "default_jobs"]

import math
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import rmtree

import torch

from physinv.comparison.cells import Cell
from physinv.config.devices import cores
from physinv.processes.parameters import build
from physinv.processes.registry import find


class Datasets:
    """Keep datasets from before the first cell that needs them until after the last.

    Threads may share one object.

    Args:
        root: Folder of the datasets.
        todo: All cells that will need one.
    """

    def __init__(self, root: Path, todo: Sequence[Cell]) -> None:
        self.root, self.waiting = root, Counter(cell.data_key for cell in todo)
        self.locks = {key: threading.Lock() for key in self.waiting}

    def folder(self, cell: Cell, make: Callable[[Path], None]) -> Path:
        """Return the folder of the cell's splits, generated if need be.

        Args:
            cell: The cell.
            make: Generates the dataset in a folder; called once per dataset.

        Returns:
            The folder of the complete splits.
        """
        place = self.root / cell.data_key
        with self.locks[cell.data_key]:
            if not (place / "dataset.json").exists():
                make(place)
        return place / "data"

    def release(self, cell: Cell) -> None:
        """Remove the data of a cell, unless another cell still needs them.

        Args:
            cell: The cell.
        """
        with self.locks[cell.data_key]:
            self.waiting[cell.data_key] -= 1
            if not self.waiting[cell.data_key]:
                rmtree(self.root / cell.data_key, ignore_errors=True)


class Processes:
    """Commands that run side by side and end together, at the latest when this process ends.

    Args:
        threads: Threads of each of them.
    """

    def __init__(self, threads: int) -> None:
        self.threads, self.running, self.stopped = threads, set[subprocess.Popen[bytes]](), False

    def run(self, command: list[str], log: Path) -> int:
        """Run a command to its end.

        Args:
            command: The program and its arguments; its standard input ends with this process.
            log: File that gets what it prints.

        Returns:
            The exit code, negative for a signal.
        """
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
        """Terminate all running commands, and each one that is started from now on."""
        self.stopped = True
        for process in list(self.running):
            process.terminate()


def default_jobs(todo: Sequence[Cell], device: torch.device) -> int:
    """Choose how many cells run at a time.

    Args:
        todo: The cells.
        device: Device of data and networks.

    Returns:
        1 on an accelerator; otherwise the number of cores that this process may use, less where memory is short: each
        cell takes its dataset twice, and a GB of its own.
    """
    if device.type != "cpu":
        return 1
    largest = 0
    for cell in todo:
        simulator = build(find(cell.config["simulator"]), cell.config["parameters"])
        stored = sum(cell.config["splits"].values()) * (simulator.steps + 1) * math.prod(simulator.shape)
        largest = max(largest, 4 * stored)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**33
    return max(1, min(cores(), free // (2 * largest + 2**30)))
