"""Any changed bit of a file is found when it is read, and nothing else about the file changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_cases import FIELD, numbers, write

from physinv.data.dataset import TrajectoryDataset
from physinv.data.hdf5.blocks import CheckedFile, seal, sealed_size
from physinv.data.hdf5.opening import open_file
from physinv.data.inspect import inspect

FLIPS = 40


def sealed(path: Path, size: int = 200_000) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(size))
    seal(path)
    return path


def test_a_file_reads_as_it_was_before(tmp_path: Path) -> None:
    path = tmp_path / "x"
    sealed(path)
    before = np.random.default_rng(0).bytes(200_000)
    assert path.read_bytes()[:200_000] == before
    file = CheckedFile(path)
    assert (file.size, sealed_size(path)) == (200_000, 200_000)
    for start, length in ((0, 10), (65_530, 20), (1, 199_999), (199_990, 100), (200_000, 5), (70_000, 0)):
        file.seek(start)
        assert file.read(length) == before[start : start + length]
    assert (file.seek(-3, 2), file.read(), file.tell()) == (199_997, before[-3:], 200_000)
    again = path.read_bytes()
    seal(path)
    assert path.read_bytes() == again


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537])
def test_sizes_around_a_block(tmp_path: Path, size: int) -> None:
    path = sealed(tmp_path / "x", size)
    assert CheckedFile(path).read() == np.random.default_rng(0).bytes(size)


def test_every_flipped_bit_is_found_where_it_is_read(tmp_path: Path) -> None:
    path = sealed(tmp_path / "x")
    whole, draw = path.read_bytes(), np.random.default_rng(1)
    for at in draw.integers(len(whole), size=FLIPS):
        changed = bytearray(whole)
        changed[at] ^= 1 << int(draw.integers(8))
        path.write_bytes(changed)
        if sealed_size(path) is None:  # the words that say that there are checksums
            assert at >= len(whole) - 29
            continue
        with pytest.raises(ValueError, match=r"x is damaged: (bytes|its checksums)"):
            CheckedFile(path).read()


def test_only_blocks_that_are_read_are_compared(tmp_path: Path) -> None:
    path = sealed(tmp_path / "x")
    content = bytearray(path.read_bytes())
    content[140_000] ^= 1
    path.write_bytes(content)
    file = CheckedFile(path)
    assert len(file.read(131_072)) == 131_072
    with pytest.raises(ValueError, match="x is damaged: bytes 131072 to 196608 differ from their checksum; copy or"):
        file.read(1)


@pytest.mark.parametrize("left", [0, 1000, 100_000])
def test_what_is_cut_off_while_it_is_read_is_not_taken_for_zeros(left: int, tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    with h5py.File(path, "w") as file:
        file["u"] = np.ones(10**6, "f4")
    seal(path)
    with h5py.File(CheckedFile(path), "r") as file:
        assert file["u"].shape == (10**6,)
        os.truncate(path, left)
        with pytest.raises(ValueError, match=r"x\.hdf5 was cut off while it was read"):
            file["u"][:]


def test_a_block_is_compared_once(tmp_path: Path) -> None:
    path = sealed(tmp_path / "x")
    file = CheckedFile(path)
    file.read(1)
    with path.open("r+b") as other:
        other.seek(2)
        other.write(b"\0\0\0\0")
    file.seek(0)
    assert len(file.read(65_536)) == 65_536


@pytest.mark.parametrize("kind", ["vector", "field"])
def test_flipped_bits_of_trajectory_files(tmp_path: Path, kind: str) -> None:
    """Each flip is refused, or leaves the content as it was: as one of what says that there are checksums does."""
    states = numbers(5, kind)
    path = write(tmp_path / "x.hdf5", states, FIELD) if kind == "field" else write(tmp_path / "x.hdf5", states)
    whole, draw, found = path.read_bytes(), np.random.default_rng(2), 0
    expected = inspect(path)
    for at in draw.integers(len(whole), size=FLIPS):
        changed = bytearray(whole)
        changed[at] ^= 1 << int(draw.integers(8))
        path.write_bytes(changed)
        summary = inspect(path)
        found += not summary.whole
        assert not summary.whole or summary == expected
    assert found >= FLIPS - 2


def test_without_verifying_a_flipped_number_is_read(tmp_path: Path) -> None:
    states = numbers(5)
    path = write(tmp_path / "x.hdf5", states)
    whole = path.read_bytes()
    at = whole.index(states[3, 2].numpy().tobytes())
    path.write_bytes(whole[: at + 1] + bytes([whole[at + 1] ^ 4]) + whole[at + 2 :])
    with pytest.raises(ValueError, match=r"x\.hdf5 is damaged: bytes \d+ to \d+ differ from their checksum"):
        TrajectoryDataset(path)
    data = TrajectoryDataset(path, verify=False)
    assert int((data.trajectories() != states).sum()) == 1


def test_checksums_do_not_hinder_other_readers_and_writers(tmp_path: Path) -> None:
    path = write(tmp_path / "x.hdf5", numbers(3))
    size = sealed_size(path)
    with h5py.File(path, "r+") as file:
        file["t0_fields/position"][0, 0, 0] = 7.0
    assert path.stat().st_size == size
    assert sealed_size(path) is None
    assert float(TrajectoryDataset(path).trajectories()[0, 0, 0]) == 7.0  # as any file of an earlier version


def test_what_is_being_written_is_refused(tmp_path: Path) -> None:
    path = sealed(tmp_path / "x")
    code = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(BlockingIOError, match="x is being written by another process; wait"):
            CheckedFile(path)
        other.communicate()


def test_an_error_while_closing_what_was_only_read_is_none(tmp_path: Path) -> None:
    path = sealed(tmp_path / "x")
    file = CheckedFile(path)
    numbers = [n for n in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{n}") == str(path)]
    os.close(int(numbers[0]))  # so that the system knows no such file when it is closed
    file.close()


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_zeros_in_the_place_of_checksums_are_damage(libver: str, tmp_path: Path) -> None:
    """A download that was cut, and keeps the length that was reserved for it."""
    path = tmp_path / "x.hdf5"
    with h5py.File(path, "w", libver=libver) as file:
        file["x"] = np.arange(1000.0)
    size = path.stat().st_size
    open_file(path, known=True).close()
    seal(path)
    with path.open("r+b") as raw:
        raw.seek(size)
        raw.write(bytes(path.stat().st_size - size))
    with pytest.raises(ValueError, match=rf"damaged: what follows its HDF5 part, {size} bytes, are no checksums"):
        open_file(path)
