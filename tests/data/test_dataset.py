"""Windows of stored trajectories: what is written is read back, streamed or from memory."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from command_cases import FORKS
from dataset_cases import FIELD, TIMES, VECTOR, numbers, write
from torch import Tensor
from torch.utils.data import DataLoader

from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import read_header


@pytest.fixture(params=["vector", "field"])
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Tensor]:
    """A folder of three files of 5, 1 and 3 trajectories, and what is in them."""
    states = numbers(9, request.param)
    layout = FIELD if request.param == "field" else VECTOR
    for i, part in enumerate(states.split([5, 1, 3])):
        write(tmp_path / f"noise_{i:03d}.hdf5", part, layout, seed=0, shard=i)
    return tmp_path, states


def test_round_trip(tmp_path: Path) -> None:
    states = numbers(6, "field").double()
    path = write(tmp_path / "x.hdf5", states, FIELD, seed=5, nested={"a": [1, 2.5]})
    data, header = TrajectoryDataset(path), read_header(path)
    assert torch.equal(data.trajectories(), states.float())
    assert torch.equal(data.times, TIMES)  # to the last bit, although /time is float32
    assert data.times.dtype == torch.float64
    assert data.layout == FIELD
    assert data.shape == (2, 3, 4)
    assert data.n_trajectories == 6
    assert data.nbytes == 6 * 9 * 24 * 4
    assert data.config == {"seed": 5, "nested": {"a": [1, 2.5]}}
    assert (data.path, data.paths, data.name) == (path, [path], "noise")
    assert header.parameters == {"rate": 0.1, "size": 3, "prior": "edges", "modes": (1, 2)}
    assert [p.name for p in tmp_path.iterdir()] == ["x.hdf5"]


@pytest.mark.parametrize("window", [2, 4, 9])
@pytest.mark.parametrize("where", ["files", "memory"])
def test_items_are_all_windows_in_order(shards: tuple[Path, Tensor], window: int, where: str) -> None:
    folder, states = shards
    data = TrajectoryDataset(folder, window)
    data = data.load() if where == "memory" else data
    assert data.in_memory == (where == "memory")
    expected = [(states[i, s : s + window], TIMES[s : s + window]) for i in range(9) for s in range(10 - window)]
    assert len(data) == len(expected) == 9 * (10 - window)
    for index, (x, t) in enumerate(expected):
        assert torch.equal(data[index][0], x)
        assert torch.equal(data[index][1], t.float())
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))
    for indices in (order, order.tolist()):
        got, when = data.__getitems__(indices)
        assert torch.equal(got, torch.stack([expected[i][0] for i in order.tolist()]))
        assert torch.equal(when, torch.stack([expected[i][1] for i in order.tolist()]).float())
    assert torch.equal(data[-1][0], expected[-1][0])
    for wrong in (len(data), -len(data) - 1):
        with pytest.raises(IndexError, match="`index` must be between"):
            data[wrong]
    with pytest.raises(IndexError, match=r"`indices` must be between 0 and \d+, got -1 to 0"):
        data.__getitems__([0, -1])


def test_other_windows_share_memory_and_files(shards: tuple[Path, Tensor]) -> None:
    folder, states = shards
    data = TrajectoryDataset(folder).load()
    longer = data.with_window(5)
    assert (data.window, longer.window) == (2, 5)
    assert longer.trajectories().data_ptr() == data.trajectories().data_ptr()
    assert torch.equal(longer[6][0], states[1, 1:6])


def test_ends_are_trajectories_of_two_times(shards: tuple[Path, Tensor]) -> None:
    folder, states = shards
    for data in (TrajectoryDataset(folder), TrajectoryDataset(folder).load()):
        ends = data.ends()
        assert (ends.in_memory, ends.window, len(ends), ends.n_trajectories) == (True, 2, len(states), len(states))
        assert torch.equal(ends.trajectories(), states[:, [0, -1]])
        window, times = ends[3]
        assert torch.equal(window, states[3, [0, -1]])
        assert torch.equal(times, data.times[[0, -1]].float())
        assert data.n_trajectories * (len(data.times) - 1) == len(data)  # which is as it was


def test_whole_states_and_trajectories(shards: tuple[Path, Tensor]) -> None:
    folder, states = shards
    for data in (TrajectoryDataset(folder), TrajectoryDataset(folder).load()):
        assert torch.equal(data.states(0), states[:, 0])
        assert torch.equal(data.states(-1), states[:, -1])
        assert torch.equal(data.states(3, limit=6), states[:6, 3])
        assert torch.equal(data.states(3, limit=100), states[:, 3])
        assert torch.equal(data.trajectories(slice(4, 8)), states[4:8])
        assert torch.equal(data.trajectories(slice(-2, None)), states[-2:])
        assert data.trajectories(slice(5, 2)).shape == (0, *states.shape[1:])
        with pytest.raises(ValueError, match=r"`time_index` must be between -9 and 8, got 9"):
            data.states(9)
        with pytest.raises(ValueError, match="`limit` must be at least 1, got 0"):
            data.states(0, limit=0)
        with pytest.raises(ValueError, match="got step 2; stride"):
            data.trajectories(slice(0, 9, 2))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # where there is one core only
@pytest.mark.parametrize("method", ["fork", FORKS], ids=["fork", "forkserver"])
def test_workers(tmp_path: Path, method: Any) -> None:
    states = numbers(6)
    data = TrajectoryDataset(write(tmp_path / "x.hdf5", states), 3)
    expected = data.load()
    assert torch.equal(data[0][0], states[0, :3])  # the parent has the file open when the workers start
    loader = DataLoader(
        data, 5, num_workers=2, collate_fn=TrajectoryDataset.collate, multiprocessing_context=method, shuffle=False
    )
    batches = list(loader)
    assert torch.equal(torch.cat([x for x, _ in batches]), expected.__getitems__(range(len(data)))[0])
    assert torch.equal(torch.cat([t for _, t in batches]), expected.__getitems__(range(len(data)))[1])
    assert torch.equal(data[7][0], states[1, :3])  # and can go on reading


def test_pickles_without_open_files(tmp_path: Path) -> None:
    data = TrajectoryDataset(write(tmp_path / "x.hdf5", numbers(3)))
    first = data[5]
    assert torch.equal(pickle.loads(pickle.dumps(data))[5][0], first[0])


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*gone; make it with `physinv generate`"):
        TrajectoryDataset(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"holds no \.hdf5 files; make some"):
        TrajectoryDataset(tmp_path)
    (tmp_path / "data" / "train").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"holds no \.hdf5 files; did you mean .*data.train\?"):
        TrajectoryDataset(tmp_path)
    (tmp_path / "heat" / "data" / "train").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*test; make it with"):
        TrajectoryDataset(tmp_path / "data" / "test")
    (tmp_path / "heat" / "data" / "test").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*test; did you mean .*heat\?"):
        TrajectoryDataset(tmp_path / "data" / "test")
    with pytest.raises(FileNotFoundError, match="`source` must name at least one file, got none"):
        TrajectoryDataset([])


def test_files_that_disagree_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "a.hdf5", numbers(3), seed=0)
    for key, other in {
        "times": write(tmp_path / "b.hdf5", numbers(3), times=TIMES * 2, seed=0),
        "config": write(tmp_path / "c.hdf5", numbers(3), seed=1),
        "layout": write(tmp_path / "d.hdf5", numbers(3, "field"), FIELD, seed=0),
    }.items():
        with pytest.raises(ValueError, match=rf"{other.name} and .*a\.hdf5 differ in `{key}`"):
            TrajectoryDataset([first, other])


def test_windows_must_fit(tmp_path: Path) -> None:
    path = write(tmp_path / "x.hdf5", numbers(3))
    message = r"^`window` must be between 2 and the 9 states per trajectory of x\.hdf5, got {}\.$"
    for window in (12, 1):
        with pytest.raises(ValueError, match=message.format(window)):
            TrajectoryDataset(path, window)
        with pytest.raises(ValueError, match=message.format(window)):
            TrajectoryDataset(path).load().with_window(window)
