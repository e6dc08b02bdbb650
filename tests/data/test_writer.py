"""A file appears whole or not at all, and what does not fit is refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dataset_cases import FIELD, TIMES, VECTOR, numbers, write

from physinv.data.dataset import TrajectoryDataset
from physinv.data.writer import TrajectoryWriter


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, bad: float) -> None:
    states = numbers(6).double()
    states[5, 2, 1] = bad
    with pytest.raises(ValueError, match=r"^`states` must be finite in float32, got NaN .* in trajectory 5 of x\.hdf5"):
        write(tmp_path / "x.hdf5", states)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_an_interrupted_file(tmp_path: Path) -> None:
    path, states = tmp_path / "x.hdf5", numbers(4)
    write(path, states)
    before = path.read_bytes()
    writer = TrajectoryWriter(path, name="noise", layout=VECTOR, shape=(3,), times=TIMES, count=8)

    def interrupted() -> None:
        with writer:
            writer.write(states)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == before
    writer = TrajectoryWriter(path, name="noise", layout=VECTOR, shape=(3,), times=TIMES, count=8)
    with pytest.raises(ValueError, match=r"^`count` must be the number of trajectories written, 4, got 8;"), writer:
        writer.write(states)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.hdf5"]


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    """A limit on file sizes stands in for a full disk."""
    code = f"""
import resource, sys, torch
from pathlib import Path
from physinv.processes.layout import VectorLayout
from physinv.data.writer import TrajectoryWriter
sys.dont_write_bytecode = True  # Python would cut off compiled modules in silence
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
times, layout = torch.arange(100.0), VectorLayout("p", 50)
writer = TrajectoryWriter("{tmp_path}/x.hdf5", name="p", layout=layout, shape=(50,), times=times, count=90)
try:
    with writer:
        writer.write(torch.zeros(90, 100, 50))
except OSError as error:
    print(error)
    print(sorted(p.name for p in Path("{tmp_path}").iterdir()))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    error, left = done.stdout.splitlines()
    assert error.startswith(f"[Errno 27] File too large: '{tmp_path}/.x.hdf5.physinv-tmp-")
    assert left == "[]"


def test_no_two_writers_of_one_temporary_file(tmp_path: Path) -> None:
    """As in two threads of a process."""
    arguments = {"name": "noise", "layout": VECTOR, "shape": (3,), "times": TIMES, "count": 4}
    first, second = (TrajectoryWriter(tmp_path / "x.hdf5", **arguments) for _ in range(2))
    with first:
        with pytest.raises(BlockingIOError, match=r"\.x\.hdf5\.physinv-tmp-\S+ is being written by another process"):
            second.__enter__()
        first.write(numbers(4))
    assert torch.equal(TrajectoryDataset(tmp_path / "x.hdf5").trajectories(), numbers(4))


def test_the_writer_refuses_what_does_not_fit(tmp_path: Path) -> None:
    path, states = tmp_path / "x.hdf5", numbers(4)
    with pytest.raises(ValueError, match=r"^`times` must be .* strictly increasing"):
        write(path, states, times=TIMES.flip(0))
    with pytest.raises(ValueError, match=r"^`times` must differ in float32"):
        write(path, states, times=1 + TIMES * 1e-9)
    with pytest.raises(ValueError, match=r"^`shape` must be that of `layout`, \(2, 3, 4\), got"):
        write(path, states, FIELD)
    with pytest.raises(ValueError, match=r"^`states` must have shape \(batch, 9, 3\), got \(4, 8, 3\)"):
        write(path, states[:, 1:])
    writer = TrajectoryWriter(path, name="noise", layout=VECTOR, shape=(3,), times=TIMES, count=3)
    with pytest.raises(ValueError, match=r"no more than `count` = 3 trajectories in all, got 4"), writer:
        writer.write(states)
    with pytest.raises(ValueError, match="`write` must be called inside"):
        writer.write(states)
    with pytest.raises(ValueError, match="`parameters` must not be named grid_type"):
        TrajectoryWriter(
            path, name="noise", layout=VECTOR, shape=(3,), times=TIMES, count=3, parameters={"grid_type": "hexagons"}
        )
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        write(tmp_path / "no" / "such" / "folder.hdf5", states)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="Permission denied"):
        write(tmp_path / "x.hdf5", numbers(3))
