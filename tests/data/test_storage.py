"""Chunks of many small trajectories, and the pool through which windows of files are streamed."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
import xarray
from command_cases import run_code
from dataset_cases import FIELD, TIMES, VECTOR, numbers, write
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import read_header
from physinv.data.storage import Files, Memory
from physinv.data.writer import TrajectoryWriter
from physinv.processes.layout import VectorLayout

WIDE = VectorLayout("wide", 256)  # 9 KiB for a trajectory of nine times: 28 in a chunk
SIZES = (150, 90, 1, 209)  # trajectories in the files: 19 chunks
POOL = 9 * 28 * 9 * 256 * 4  # bytes of nine chunks, less than half of them


def wide(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, len(TIMES), 256, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Tensor]:
    """Four files of 450 trajectories, and what is in them."""
    folder, states = tmp_path_factory.mktemp("large"), wide(sum(SIZES))
    parts = enumerate(states.split(SIZES))
    return [write(folder / f"wide_{i:03d}.hdf5", part, WIDE) for i, part in parts], states


def files(paths: list[Path], pool: int = POOL) -> Files:
    # HDF5 knows the name of a file only where its checksums are left aside
    return Files(paths, [read_header(path) for path in paths], verify=False, pool=pool)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """How often each part of a dataset of states has been read."""
    found: Counter[tuple[str, str]] = Counter()
    plain = h5py.Dataset.__getitem__

    def counted(self: h5py.Dataset, index: Any, **options: Any) -> Any:
        if self.name.startswith("/t0_fields/"):
            found[self.file.filename, str(index)] += 1
        return plain(self, index, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    return found


@pytest.mark.parametrize(
    ("count", "steps", "dim", "rows"),
    [
        (2000, 41, 1, 1000),  # 164 bytes each: 1598 would fit, and two chunks are nearly equal
        (20, 41, 1, 20),  # no chunk is larger than its data
        (100, 64, 256, 4),  # 64 KiB each
        (5, 33, 4096, 1),  # larger than a chunk
    ],
)
def test_chunks_hold_whole_trajectories(tmp_path: Path, count: int, steps: int, dim: int, rows: int) -> None:
    path, layout, times = tmp_path / "x.hdf5", VectorLayout("x", dim), torch.arange(float(steps))
    with TrajectoryWriter(path, name="x", layout=layout, shape=(dim,), times=times, count=count) as writer:
        for part in torch.zeros(count, steps, dim).split(7 if count < 200 else 999):
            writer.write(part)
    with h5py.File(path) as file:
        data = file["t0_fields/x"]
        assert data.chunks == (rows, steps, dim)
        assert data.id.get_num_chunks() == math.ceil(count / rows)
        assert data.compression is None
        assert file["physinv/seeds"].compression is None
    assert path.stat().st_size < 1.1 * count * (steps * dim * 4 + 16) + 60_000


def test_numbers_and_seeds_of_many_trajectories_take_no_place(tmp_path: Path) -> None:
    """Of 8 bytes of states each; files of 30 KiB and other readers are no reason to store 16 more."""
    path, n = tmp_path / "x.hdf5", 20_000
    states = torch.randn(n, 2, 1, generator=torch.Generator().manual_seed(0))
    with TrajectoryWriter(path, name="x", layout=VectorLayout("x", 1), shape=(1,), times=TIMES[:2], count=n) as writer:
        for seed, part in enumerate(states.split(7000)):
            writer.write(part, seed=2**60 + seed)
    assert path.stat().st_size < 9 * n + 30_000
    assert torch.equal(TrajectoryDataset(path).trajectories(), states)
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        assert tree["sample"].values.tolist() == list(range(n))
        assert tree["physinv/seeds"].values.tolist() == [2**60 + i // 7000 for i in range(n)]
        assert tree["t0_fields/x"].dims == ("sample", "time", "coordinate")


def test_same_bytes_however_it_is_written(tmp_path: Path) -> None:
    """Parts that end within a chunk, and the unused end of the last chunk, leave no trace."""
    states, found = wide(61), []
    for i, size in enumerate((61, 13, 28)):
        path = tmp_path / f"{i}.hdf5"
        with TrajectoryWriter(path, name="x", layout=WIDE, shape=(256,), times=TIMES, count=61) as writer:
            for part in states.split(size):
                writer.write(part)
        found.append(path.read_bytes())
    assert found[0] == found[1] == found[2]


def test_windows_are_those_in_memory(large: tuple[list[Path], Tensor], reads: Counter[tuple[str, str]]) -> None:
    paths, states = large
    stored, held = files(paths), Memory(states)
    generator = torch.Generator().manual_seed(0)
    for size in (1, 30, 2000):
        trajectory = torch.randint(len(states), (size,), generator=generator)
        start = torch.randint(6, (size,), generator=generator)
        before = reads.total()
        assert torch.equal(stored.windows(trajectory, start, 4), held.windows(trajectory, start, 4))
        assert reads.total() - before <= 19  # each chunk at most once
    assert torch.equal(stored.read(140, 245), states[140:245])


def test_chunks_in_use_stay(large: tuple[list[Path], Tensor], reads: Counter[tuple[str, str]]) -> None:
    """Of ten chunks in turn, the one that is used all the time is read once."""
    paths, states = large
    stored = files(paths)
    for i in range(10):
        trajectory = torch.tensor([0, 150 + 28 * (i % 3), 241 + 28 * (i % 7)])
        assert torch.equal(stored.windows(trajectory, torch.zeros(3).long(), 2), states[trajectory, :2])
    assert reads[str(paths[0]), str((slice(0, 25), slice(None)))] == 1


@pytest.mark.parametrize("pool", [POOL, 100], ids=["pooled", "one by one"])
def test_every_window_comes_once_and_every_chunk_is_read_once(
    large: tuple[list[Path], Tensor], reads: Counter[tuple[str, str]], pool: int
) -> None:
    paths, states = large
    stored = files(paths, pool)
    (order,) = [torch.cat(list(stored.parts(6, generator=torch.Generator().manual_seed(1))))]
    assert torch.equal(order.sort().values, torch.arange(450 * 6))
    if pool == POOL:
        for items in order.split(64):
            got = stored.windows(items // 6, items % 6, 4)
            assert torch.equal(got[5], states[items[5] // 6, items[5] % 6 :][:4])
        assert max(reads.values()) == 1
        assert len(reads) == 19


def test_what_fits_into_the_pool_comes_in_the_order_of_memory(large: tuple[list[Path], Tensor]) -> None:
    (whole,) = files(large[0], pool=2**25).parts(6, generator=torch.Generator().manual_seed(3))
    (held,) = Memory(large[1]).parts(6, generator=torch.Generator().manual_seed(3))
    assert torch.equal(whole, held)
    assert len(list(files(large[0]).parts(6, generator=torch.Generator().manual_seed(3)))) > 1


def test_every_place_in_the_order_is_as_likely(large: tuple[list[Path], Tensor]) -> None:
    """Each of 450 windows is in the first third of 300 orders 100 times, give or take 8: five deviations."""
    stored, early = files(large[0]), torch.zeros(450)
    for seed in range(300):
        order = torch.cat(list(stored.parts(1, generator=torch.Generator().manual_seed(seed))))
        early[order[:150]] += 1
    assert float((early - 100).abs().max()) < 5 * math.sqrt(300 * 2 / 9)


def test_batches_mix_chunks(large: tuple[list[Path], Tensor]) -> None:
    stored = files(large[0])
    first = next(iter(stored.parts(6, generator=torch.Generator().manual_seed(2))))[:64] // 6
    whole = [
        i for i, (a, b) in enumerate(itertools.pairwise([0, 150, 240, 241, 450])) if ((first >= a) & (first < b)).any()
    ]
    assert len(whole) >= 3
    assert len(set((first // 28).tolist())) >= 8


def test_a_failed_read_is_not_remembered(large: tuple[list[Path], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    paths, states = large
    stored, trajectory, plain = files(paths), torch.arange(0, 450, 30), h5py.Dataset.__getitem__

    def broken(self: h5py.Dataset, index: Any, **options: Any) -> Any:
        raise OSError("unreadable")

    monkeypatch.setattr(h5py.Dataset, "__getitem__", broken)
    with pytest.raises(OSError, match="unreadable"):
        stored.windows(trajectory, torch.zeros(15).long(), 2)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", plain)
    assert torch.equal(stored.windows(trajectory, torch.zeros(15).long(), 2), states[trajectory, :2])


def test_files_of_one_chunk_a_trajectory_are_read(tmp_path: Path) -> None:
    """Such files were written before."""
    states = numbers(9, "field")
    path = write(tmp_path / "new.hdf5", states, FIELD)
    with h5py.File(path, "r+") as file:
        for name in ("u", "v"):
            stored, attributes = file["t0_fields"][name][:], dict(file["t0_fields"][name].attrs)
            del file["t0_fields"][name]
            data = file["t0_fields"].create_dataset(name, data=stored, chunks=(1, *stored.shape[1:]))
            data.attrs["dim_varying"] = attributes["dim_varying"]
    data = TrajectoryDataset(path, 3)
    assert torch.equal(data.__getitems__(range(63))[0], data.load().__getitems__(range(63))[0])
    assert torch.equal(data.trajectories(), states)


def test_ninety_files_under_64_handles(tmp_path: Path) -> None:
    """Beside train, valid and test, each of which is open at the same time."""
    for i, part in enumerate(numbers(180).split(2)):
        write(tmp_path / f"noise_{i:03d}.hdf5", part, VECTOR)
    code = f"""
import resource, torch
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from physinv.data.dataset import TrajectoryDataset
sets = [TrajectoryDataset("{tmp_path}") for _ in range(3)]
held = sets[0].load()
order = torch.randperm(len(held), generator=torch.Generator().manual_seed(0))
for data in sets:
    for part in order.split(100):
        assert torch.equal(data.__getitems__(part)[0], held.__getitems__(part)[0])
    assert torch.equal(data.states(-1), held.states(-1))
"""
    done = run_code(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
