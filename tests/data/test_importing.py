"""Other people's HDF5 files become datasets of ours: exactly what was in them, or one line that says what is wrong."""

import json
import math
import shutil

import h5py
import numpy as np
import pytest
import torch

from physinv.cli import app as cli
from physinv.cli.info import describe_path
from physinv.data import importing as external
from physinv.data.dataset import TrajectoryDataset
from physinv.data.foreign import open_foreign
from physinv.data.importing import import_trajectories
from physinv.processes.layout import FieldLayout, VectorLayout
from physinv.processes.parameters import build, describe
from physinv.processes.recorded import Recorded


def damped(n, times, seed):
    """A periodic field, heat and noise in three waves alone, the other modes are empty: (n, time, 16) float32."""
    rng = np.random.default_rng(seed)
    x = 2 * math.pi * np.arange(16) / 16
    k = np.arange(1, 4)
    waves = np.concatenate([np.sin(k[:, None] * x), np.cos(k[:, None] * x)])
    rate, dt = np.tile(k**2, 2) * 0.5, np.diff(times)
    a = rng.normal(size=(n, 6)) / np.tile(k, 2)
    out = [a]
    for h in dt:
        gain = np.exp(-rate * h)
        a = gain * a + 0.1 * np.sqrt(-np.expm1(-2 * rate * h) / (2 * rate)) * rng.normal(size=a.shape)
        out.append(a)
    return (np.stack(out, 1) @ waves).astype("f4")


def write_well(path, n=4, seed=0, nu=0.5, times=None, spoil=lambda file: None):
    """A 2-D file with a scalar, a vector, a static field shared by all, and one without y: as The Well's writers do."""
    rng = np.random.default_rng(seed)
    times = np.linspace(2.0, 3.0, 6, dtype="f4") if times is None else times
    with h5py.File(path, "w") as file:
        file.attrs.update(dataset_name="mine", grid_type="cartesian", n_spatial_dims=2, n_trajectories=n)
        dims = file.create_group("dimensions")
        dims.attrs["spatial_dims"] = ["x", "y"]
        dims["time"], dims["x"], dims["y"] = times, np.linspace(0, 1, 8, dtype="f4"), np.arange(4, dtype="f4") ** 2
        bc = file.create_group("boundary_conditions")
        for axis in "xy":
            bc.create_group(f"{axis}_wall").attrs["bc_type"] = "WALL"
        file.create_group("scalars")["nu"] = nu
        t0, t1, t2 = (file.create_group(f"t{i}_fields") for i in range(3))
        steps = len(times)
        shapes = {
            "density": (t0, (n, steps, 8, 4), True, True, [True, True]),
            "mask": (t0, (8, 4), False, False, [True, True]),
            "forcing": (t0, (n, steps, 8), True, True, [True, False]),
            "velocity": (t1, (n, steps, 8, 4, 2), True, True, [True, True]),
            "stress": (t2, (n, steps, 8, 4, 2, 2), True, True, [True, True]),
        }
        for name, (group, shape, sample, time, along) in shapes.items():
            data = group.create_dataset(name, data=rng.normal(size=shape).astype("f4"))
            data.attrs.update(sample_varying=sample, time_varying=time, dim_varying=along)
        for group in (t0, t1, t2):
            group.attrs["field_names"] = list(group)
        spoil(file)
    return path


def write_burgers(path, n=60, seed=0, spoil=lambda file: None):
    """PDEBench's 1-D layout, with its one time too many."""
    times = np.linspace(0, 1, 10)
    with h5py.File(path, "w") as file:
        file["tensor"] = damped(n, times[:-1], seed)
        file["x-coordinate"], file["t-coordinate"] = 2 * np.pi * np.arange(16) / 16, times
        spoil(file)
    return path


def write_groups(path, n=5, spoil=lambda file: None):
    """PDEBench's 2-D layout: a group for each trajectory."""
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        for i in range(n):
            group = file.create_group(f"{i:04d}")
            group["data"] = rng.normal(size=(4, 8, 8, 2)).astype("f4")
            group["grid/x"], group["grid/y"], group["grid/t"] = np.arange(8.0), np.arange(8.0), np.arange(4.0)
        spoil(file)
    return path


def test_the_well_arrives_number_for_number(tmp_path):
    a, b = write_well(tmp_path / "a.hdf5", 7, seed=1), write_well(tmp_path / "b.hdf5", 6, seed=2)
    out = import_trajectories([a, b], tmp_path / "out", valid=0.2, test=0.3, seed=5, trajectories_per_shard=4)
    data = {s: TrajectoryDataset(out / "data" / s) for s in ("train", "valid", "test")}
    assert {s: d.n_trajectories for s, d in data.items()} == {"train": 6, "valid": 3, "test": 4}
    train = data["train"]
    names = ("density", "forcing", "mask", "velocity_x", "velocity_y", *(f"stress_{i}_{j}" for i in "xy" for j in "xy"))
    assert train.layout.names == names
    assert train.layout.static == ("mask",)
    assert train.layout.boundary == "WALL"
    assert train.layout.coordinates == (tuple(np.linspace(0, 1, 8).tolist()), (0.0, 1.0, 4.0, 9.0))
    assert torch.equal(train.times, torch.linspace(0, 1, 6, dtype=torch.float64))  # counted from the first

    expected = []
    for path in (a, b):
        with h5py.File(path) as file:
            n = file.attrs["n_trajectories"]
            rows = [
                file["t0_fields/density"][:],
                np.broadcast_to(file["t0_fields/forcing"][:][..., None], (n, 6, 8, 4)),
                np.broadcast_to(file["t0_fields/mask"][:], (n, 6, 8, 4)),
                *np.moveaxis(file["t1_fields/velocity"][:], -1, 0),
                *np.moveaxis(file["t2_fields/stress"][:].reshape(n, 6, 8, 4, 4), -1, 0),
            ]
            expected.append(np.stack(rows, axis=2))
    expected = np.concatenate(expected)
    got = torch.cat([d.trajectories() for d in data.values()]).numpy()
    order = [int(np.argmin(np.abs(expected - g).max((1, 2, 3, 4)))) for g in got]
    assert sorted(order) == list(range(13))  # each trajectory in exactly one split
    assert order != list(range(13))
    assert np.array_equal(got, expected[order])
    assert describe_path(out)["whole"] is True
    summary = json.loads((out / "dataset.json").read_text())
    assert summary["config"]["origin"] == 2.0
    assert summary["config"]["physics"] == {"nu": 0.5}


def test_pdebench_arrives_number_for_number(tmp_path):
    one = import_trajectories([write_burgers(tmp_path / "b.hdf5")], tmp_path / "one", boundary="PERIODIC", every=4)
    train = TrajectoryDataset(one / "data" / "train")
    assert train.shape == (1, 16)
    assert train.layout.boundary == "PERIODIC"
    assert torch.allclose(train.times, torch.tensor([0, 4 / 9, 8 / 9], dtype=torch.float64))
    with h5py.File(tmp_path / "b.hdf5") as file:
        stored = torch.from_numpy(file["tensor"][:, ::4])
    assert all(any(torch.equal(s, t[:, 0]) for s in stored) for t in train.trajectories())

    two = import_trajectories([write_groups(tmp_path / "g.h5")], tmp_path / "two", valid=0.2, test=0.2)
    train = TrajectoryDataset(two / "data" / "train")
    assert train.shape == (2, 8, 8)
    assert train.layout.names == ("data_0", "data_1")
    with h5py.File(tmp_path / "g.h5") as file:
        stored = [torch.from_numpy(np.moveaxis(g["data"][:], -1, 1)) for g in file.values()]
    assert all(any(torch.equal(s, t) for s in stored) for t in train.trajectories())


def test_one_array_per_field_and_vectors(tmp_path):
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "cfd.hdf5", "w") as file:
        for name in ("Vx", "density"):
            file[name] = rng.normal(size=(5, 3, 8, 4))
        file["nu"] = rng.normal(size=(5, 8, 4))
        file["x-coordinate"], file["y-coordinate"], file["t-coordinate"] = np.arange(8), np.arange(4), np.arange(3)
    found = open_foreign(tmp_path / "cfd.hdf5")
    assert (found.layout.names, found.layout.static) == (("Vx", "density", "nu"), ("nu",))
    with h5py.File(tmp_path / "cfd.hdf5") as file:
        assert np.array_equal(found.read(1, 3, 2)[:, :, 1], file["density"][1:3, ::2].astype("f4"))
        assert np.array_equal(found.read(1, 3, 2)[:, 1, 2], file["nu"][1:3].astype("f4"))
    with h5py.File(tmp_path / "ode.hdf5", "w") as file:
        file["q"], file["t-coordinate"] = rng.normal(size=(10, 5, 3)), np.arange(5) / 4
    out = import_trajectories([tmp_path / "ode.hdf5"], tmp_path / "ode")
    assert TrajectoryDataset(out / "data" / "train").layout == VectorLayout("q", 3)


def test_splits_of_a_folder_are_kept(tmp_path):
    for i, split in enumerate(("train", "valid", "test")):
        (tmp_path / "well/data" / split).mkdir(parents=True)
        write_well(tmp_path / "well/data" / split / "x.hdf5", 2 + i, seed=i)
    out = import_trajectories([tmp_path / "well"], tmp_path / "out")
    for i, split in enumerate(("train", "valid", "test")):
        with h5py.File(tmp_path / "well/data" / split / "x.hdf5") as file:
            stored = torch.from_numpy(file["t0_fields/density"][:])
        assert torch.equal(TrajectoryDataset(out / "data" / split).trajectories()[:, :, 0], stored)
        assert len(stored) == 2 + i


def test_files_are_streamed_and_bytes_repeat(tmp_path, monkeypatch):
    """No read is larger than asked for, whatever the size of the file; the same import gives the same files."""
    path = write_burgers(tmp_path / "b.hdf5", 40)
    sizes, read = [], external.Foreign.read

    def spy(self, *args):
        states = read(self, *args)
        sizes.append(states.nbytes)
        return states

    monkeypatch.setattr(external.Foreign, "read", spy)
    one = 4 * 9 * 16
    first = import_trajectories([path], tmp_path / "a", chunk_bytes=3 * one)
    assert max(sizes) <= 3 * one
    assert sum(sizes) == 40 * one
    second = import_trajectories([path], tmp_path / "b")
    sums = [
        [f["sha256"] for f in json.loads((p / "dataset.json").read_text())["files"].values()] for p in (first, second)
    ]
    assert sums[0] == sums[1]


def test_recorded_describes_itself():
    layout = FieldLayout(("u", "m"), ("x", "y"), ((0.0, 0.5, 1.0), (0.0, 1.0, 4.0)), "WALL", ("m",))
    times = np.array([0.0, 0.1, 1.0])
    sim = Recorded.of(layout, times)
    again = build(Recorded, json.loads(json.dumps(describe(sim))))
    assert again == sim
    assert again.layout == layout
    assert torch.equal(again.times, torch.from_numpy(times))
    x, t = torch.zeros(1, 2, 3, 3), torch.zeros(1)
    for ask in (lambda: sim.drift(x, t), lambda: sim.diffusion(t), lambda: sim.initial(1)):
        with pytest.raises(ValueError, match="physics=learned"):
            ask()


def bad_times(file):
    file["dimensions/time"][2] = 0.0


def nan(file):
    file["t0_fields/density"][1, 2, 3, 1] = np.nan


def short(file):
    del file["t0_fields/density"]
    file["t0_fields/density"] = np.zeros((4, 5, 8, 4), "f4")


def no_dimension(file):
    del file["dimensions/y"]


def other_grid(file):
    del file["0003/grid/t"]
    file["0003/grid/t"] = np.arange(4.0) * 2


def two_times_more(file):
    del file["t-coordinate"]
    file["t-coordinate"] = np.arange(12.0)


BAD = {
    "times": (lambda p: write_well(p, spoil=bad_times), "must be 2 or more finite numbers, strictly increasing"),
    "nan": (lambda p: write_well(p, spoil=nan), "trajectory 1 of"),
    "shape": (lambda p: write_well(p, spoil=short), "`density` of {0} must have shape (4, 6, 8, 4), got (4, 5, 8, 4)"),
    "incomplete": (lambda p: write_well(p, spoil=no_dimension), "{0} is not whole"),
    "grids": (lambda p: write_groups(p, spoil=other_grid), "`0003/grid/t` of {0} must be that of 0000"),
    "clock": (lambda p: write_burgers(p, spoil=two_times_more), "`t-coordinate` of {0} must hold 9 times, got 12"),
    "unknown": (lambda p: h5py.File(p, "w").close(), "has none of the known layouts"),
    "text": (lambda p: p.write_text("no"), "is not a whole HDF5 file"),
    "missing": (lambda p: None, "there is no file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_leaves_nothing(case, tmp_path, capsys):
    make, expected = BAD[case]
    path = tmp_path / "x.hdf5"
    make(path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["import", str(path), "--out", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert expected.format(path) in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_files_must_belong_together_and_data_are_not_lost(tmp_path):
    a, b = write_well(tmp_path / "a.hdf5"), write_well(tmp_path / "b.hdf5", nu=0.7)
    with pytest.raises(ValueError, match="differ in their parameters"):
        import_trajectories([a, b], tmp_path / "out")
    out = import_trajectories([a], tmp_path / "out")
    with pytest.raises(ValueError, match="was written by physinv"):
        import_trajectories([out / "data/train/recorded_000.hdf5"], tmp_path / "again")
    with pytest.raises(FileExistsError, match="--overwrite"):
        import_trajectories([b], out)
    before = (out / "dataset.json").read_bytes()
    bad = write_well(tmp_path / "bad.hdf5", spoil=nan)
    with pytest.raises(ValueError, match="NaN or infinity"):
        import_trajectories([bad], out, overwrite=True)
    assert (out / "dataset.json").read_bytes() == before  # a failure costs nothing
    assert sorted(p.name for p in out.iterdir()) == ["data", "dataset.json", "stats.yaml"]
    import_trajectories([b], out, overwrite=True)
    assert (out / "dataset.json").read_bytes() != before
    shutil.copy(a, out / "data" / "a.hdf5")
    with pytest.raises(ValueError, match="a folder of its own"):
        import_trajectories([out / "data" / "a.hdf5"], out, overwrite=True)
    for shares in ({"valid": 0.0}, {"valid": 0.6, "test": 0.5}):
        with pytest.raises(ValueError, match="`valid`"):
            import_trajectories([a], tmp_path / "new", **shares)


def test_the_whole_way_without_a_simulator(tmp_path, capsys):
    """A PDEBench file to a table of scores: physics learned, no exact column, nothing pushed forward."""
    write_burgers(tmp_path / "b.hdf5", 100)
    for call in (
        f"import {tmp_path}/b.hdf5 --out {tmp_path}/d --boundary periodic",
        f"train {tmp_path}/d --out {tmp_path}/run --steps 20 --set width=8 --set depth=1 --set validate_windows=64",
        f"reconstruct {tmp_path}/run --data {tmp_path}/d/data/test --out {tmp_path}/r.hdf5 --samples 8",
        f"evaluate {tmp_path}/r.hdf5 --json {tmp_path}/t.json",
        f"info {tmp_path}/run",
    ):
        cli.main(call.split())
    assert json.loads((tmp_path / "run/run.json").read_text())["settings"]["physics"] == "learned"
    table = {m["metric"]: m for m in json.loads((tmp_path / "t.json").read_text())["metrics"]}
    assert "reconstruction_mse" not in table
    assert table["crps"]["exact"] is None
    # the climatological guess, 0, has relative error 1; the third waves, e^-4 of themselves at T, are lost in the noise
    assert table["relative_l2_mean"]["value"] < 0.8
    with pytest.raises(SystemExit):
        cli.main(["generate", "recorded", "--out", str(tmp_path)])
    assert "recorded data come without initial states" in capsys.readouterr().err


def test_the_whole_way_from_the_well(tmp_path):
    """A 2-D file between walls, with a static channel."""
    write_well(tmp_path / "a.hdf5", 24)
    for call in (
        f"import {tmp_path}/a.hdf5 --out {tmp_path}/d",
        f"train {tmp_path}/d --out {tmp_path}/run --steps 2 --set width=4 --set depth=1",
        f"reconstruct {tmp_path}/run --data {tmp_path}/d/data/test --out {tmp_path}/r.hdf5 --samples 2",
        f"evaluate {tmp_path}/r.hdf5",
    ):
        cli.main(call.split())
    with h5py.File(tmp_path / "r.hdf5") as file:
        assert file["samples"].shape == (2, 2, 9, 8, 4)
