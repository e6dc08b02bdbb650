"""States to store, and files of them, for the tests of stored data."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from physinv.data.writer import TrajectoryWriter
from physinv.processes.layout import FieldLayout, StateLayout, VectorLayout

FIELD = FieldLayout(("u", "v"), ("x", "y"), ((0.0, 0.1, 0.2), (0.0, 0.3, 0.6, 0.9)), "WALL")
VECTOR = VectorLayout("position", 3)
SHAPES = {"field": (2, 3, 4), "vector": (3,)}
TIMES = torch.linspace(0, 0.7, 9, dtype=torch.float64)


def write(path: Path, states: Tensor, layout: StateLayout = VECTOR, times: Tensor = TIMES, **config: object) -> Path:
    """A file of ``states (n, time, *state)``, whose parts of four trajectories have seeds of their own."""
    writer = TrajectoryWriter(
        path,
        name="noise",
        layout=layout,
        shape=states.shape[2:],
        times=times,
        count=len(states),
        parameters={"rate": 0.1, "size": 3, "prior": "edges", "modes": (1, 2)},
        config=config,
    )
    with writer:
        for i, part in enumerate(states.split(4)):
            writer.write(part, seed=2**40 + i)
    return path


def numbers(n: int, kind: str = "vector", seed: int = 0) -> Tensor:
    """Gaussian states of ``n`` trajectories."""
    return torch.randn(n, len(TIMES), *SHAPES[kind], generator=torch.Generator().manual_seed(seed))


@contextmanager
def held_open(path: Path, mode: str) -> Iterator[None]:
    """Another process has the file open: "r+", or "w" for a new one."""
    code = (
        f"import h5py, sys; f = h5py.File(sys.argv[1], '{mode}'); "
        "print('open', flush=True); sys.stdin.read(); f.close()"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "open\n"
        yield
        other.stdin.close()
        other.wait(10)
