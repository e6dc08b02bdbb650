"""Files and datasets: what is written is read back, whole or not at all, in the layout that others read too."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray
from torch import Tensor
from torch.utils.data import DataLoader

from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import read_header
from physinv.data.inspect import field_statistics, inspect
from physinv.data.writer import TrajectoryWriter
from physinv.processes.simulator import Layout

torch.set_num_threads(1)

FIELD = Layout("field", ("u", "v"), ("x", "y"), ((0.0, 0.1, 0.2), (0.0, 0.3, 0.6, 0.9)), "WALL")
VECTOR = Layout("vector", ("position",), ("coordinate",), ((0.0, 1.0, 2.0),))
SHAPES = {"field": (2, 3, 4), "vector": (3,)}
TIMES = torch.linspace(0, 0.7, 9, dtype=torch.float64)


def write(path: Path, states: Tensor, layout: Layout = VECTOR, times: Tensor = TIMES, **config: object) -> Path:
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
    return torch.randn(n, len(TIMES), *SHAPES[kind], generator=torch.Generator().manual_seed(seed))


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


def test_same_data_same_bytes(tmp_path: Path) -> None:
    states = numbers(6, "field")
    first = write(tmp_path / "a.hdf5", states, FIELD, seed=5)
    time.sleep(1.1)  # HDF5's own time stamps count seconds
    second = write(tmp_path / "b.hdf5", states, FIELD, seed=5)
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()


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
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers(tmp_path: Path, method: str) -> None:
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


def test_layout_is_that_of_the_well(tmp_path: Path) -> None:
    """The rules of The Well's format checker, and dimension scales."""
    for layout, kind in ((FIELD, "field"), (VECTOR, "vector")):
        with h5py.File(write(tmp_path / f"{kind}.hdf5", numbers(5, kind), layout)) as file:
            n_dims = len(layout.axes)
            assert file.attrs["dataset_name"] == "noise"
            assert file.attrs["grid_type"] == "cartesian"
            assert (file.attrs["n_spatial_dims"], file.attrs["n_trajectories"]) == (n_dims, 5)
            assert list(file.attrs["simulation_parameters"]) == ["rate", "size", "prior", "modes"]
            assert (file.attrs["rate"], file.attrs["prior"]) == (0.1, "edges")
            assert tuple(file["dimensions"].attrs["spatial_dims"]) == layout.axes
            for key in ("time", *layout.axes):
                assert file["dimensions"][key] == file[key]  # a hard link
                assert file[key].dtype == np.float32
                assert file[key].is_scale
                assert isinstance(file[key].attrs["sample_varying"], np.bool_)
                assert file[key].attrs["time_varying"] == (key == "time")
            for group, names in (("t0_fields", layout.names), ("t1_fields", ()), ("t2_fields", ())):
                assert tuple(file[group].attrs["field_names"]) == names
            for name in layout.names:
                data = file["t0_fields"][name]
                space = SHAPES[kind][-n_dims:]
                assert (data.shape, data.chunks, data.dtype) == ((5, 9, *space), (1, 9, *space), np.float32)
                assert data.compression is None
                assert data.attrs["dim_varying"].tolist() == [True] * n_dims
                assert data.attrs["sample_varying"]
                assert data.attrs["time_varying"]
                assert [d[0] for d in data.dims] == [file[a] for a in ("sample", "time", *layout.axes)]
            assert list(file["scalars"].attrs["field_names"]) == ["rate"]
            assert file["scalars/rate"].shape == ()
            assert set(file["boundary_conditions"]) == ({"x_wall", "y_wall"} if kind == "field" else set())
            for group in file["boundary_conditions"].values():
                assert group.attrs["bc_type"] == "WALL"
                assert group["mask"].shape == file[group.attrs["associated_dims"][0]].shape
                assert group["mask"].dtype == np.bool_
            assert file["physinv"].attrs["schema_version"] == 1
            assert file["physinv/seeds"][:].tolist() == [2**40] * 4 + [2**40 + 1]


@pytest.mark.parametrize("kind", ["vector", "field"])
def test_xarray_opens_it(tmp_path: Path, kind: str) -> None:
    states = numbers(3, kind)
    layout = FIELD if kind == "field" else VECTOR
    with xarray.open_datatree(write(tmp_path / "x.hdf5", states, layout), engine="h5netcdf") as tree:
        last = tree["t0_fields"][layout.names[-1]]
        assert last.dims == ("sample", "time", *layout.axes)
        assert np.array_equal(last.values, states[:, :, 1] if kind == "field" else states)
        assert np.allclose(tree["time"], TIMES)
        assert tree["physinv"]["seeds"].dims == ("sample",)


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
import resource, torch
from pathlib import Path
from physinv.processes.simulator import Layout
from physinv.data.writer import TrajectoryWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
times, layout = torch.arange(100.0), Layout("vector", ("p",), ("coordinate",), (tuple(map(float, range(50))),))
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
    assert error.startswith(f"[Errno 27] File too large: '{tmp_path}/x.hdf5.tmp.")
    assert left == "[]"


def test_a_file_being_written_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.hdf5", numbers(3))
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read(); f.close()"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(BlockingIOError, match=r"x.hdf5 is being written by another process; wait"):
            TrajectoryDataset(path)
        other.stdin.close()
        other.wait(10)
    assert len(TrajectoryDataset(path)) == 3 * 8


def test_no_two_writers_of_one_temporary_file(tmp_path: Path) -> None:
    """As with equal process numbers on two machines that share a disk."""
    arguments = {"name": "noise", "layout": VECTOR, "shape": (3,), "times": TIMES, "count": 4}
    first, second = (TrajectoryWriter(tmp_path / "x.hdf5", **arguments) for _ in range(2))
    with first:
        with pytest.raises(BlockingIOError, match=r"x\.hdf5\.tmp\.\d+ is being written by another process"):
            second.__enter__()
        first.write(numbers(4))
    assert torch.equal(TrajectoryDataset(tmp_path / "x.hdf5").trajectories(), numbers(4))


def test_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.hdf5", numbers(3)).read_bytes()
    path = tmp_path / "x.hdf5"
    for content, why in ((whole[:-1000], "truncated file"), (b"not HDF5 at all" * 100, "file signature not found")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"x\.hdf5 is not a whole HDF5 file \({why}.*\); copy") as caught:
            TrajectoryDataset(path)
        assert "\n" not in str(caught.value)
        assert not inspect(path).whole
    with h5py.File(path, "w") as file:
        file.create_group("dimensions")
    with pytest.raises(ValueError, match=r"x\.hdf5 was not written by physinv: it has no /physinv@schema_version"):
        TrajectoryDataset(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["physinv"].attrs["schema_version"] = 7
    with pytest.raises(ValueError, match=r"x\.hdf5 has schema_version 7, this version of physinv reads 1"):
        TrajectoryDataset(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["physinv/times"][3] = file["physinv/times"][2]
    with pytest.raises(ValueError, match=r"`times` of .*x\.hdf5 must be .* strictly increasing"):
        TrajectoryDataset(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        del file["t0_fields/position"]
    with pytest.raises(ValueError, match=r"`position` of .*x\.hdf5 must have shape \(3, 9, 3\), got None"):
        TrajectoryDataset(path)


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


def test_the_writer_refuses_what_does_not_fit(tmp_path: Path) -> None:
    path, states = tmp_path / "x.hdf5", numbers(4)
    with pytest.raises(ValueError, match=r"^`times` must be .* strictly increasing"):
        write(path, states, times=TIMES.flip(0))
    with pytest.raises(ValueError, match=r"^`times` must differ in float32"):
        write(path, states, times=1 + TIMES * 1e-9)
    with pytest.raises(ValueError, match=r"^`shape` must be that of `layout`, \(2, 3, 4\) for kind 'field', got"):
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


def test_statistics_and_inspection(tmp_path: Path) -> None:
    states = numbers(5, "field") + 100  # moments by parts must not lose digits to the mean
    path = write(tmp_path / "x.hdf5", states, FIELD)
    u, exact = inspect(path).fields["u"], states[:, :, 0].double()
    assert inspect(path).whole
    assert inspect(path).checksum is None
    assert (u.minimum, u.maximum) == (float(exact.min()), float(exact.max()))
    stats = field_statistics(TrajectoryDataset(path))
    delta = states.double()[:, 1:, 1] - states.double()[:, :-1, 1]
    expected = {
        ("mean", "u"): exact.mean(),
        ("std", "u"): exact.std(unbiased=False),
        ("rms", "u"): exact.square().mean().sqrt(),
        ("mean_delta", "v"): delta.mean(),
        ("std_delta", "v"): delta.std(unbiased=False),
        ("rms_delta", "v"): delta.square().mean().sqrt(),
    }
    for (moment, name), value in expected.items():
        assert stats[moment][name] == pytest.approx(float(value), rel=1e-12)  # float64 sums of 540 numbers
    with h5py.File(path, "r+") as file:
        file["t0_fields/u"][1, 2, 0] = np.nan
    assert inspect(path).fields["u"].not_finite == 4
    assert inspect(path).problem.endswith("holds 4 values that are not finite; generate it again.")
    assert inspect(path).fields["u"].maximum == float(exact.max())
