"""Other people's files become datasets of ours: exactly what was in them, or one line that says what is wrong."""

import json
import math
import re
import shutil

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from physinv.cli import app as cli
from physinv.cli.info import describe_path
from physinv.data.dataset import TrajectoryDataset
from physinv.data.importing import Choices, check_values, import_trajectories
from physinv.data.imports.plan import plan_import
from physinv.data.imports.recording import Recording
from physinv.data.sources.read import read_states
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
    out = import_trajectories([a, b], tmp_path / "out", Choices(valid=0.2, test=0.3, seed=5), trajectories_per_shard=4)
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
    choices = Choices(boundary="periodic", every=4)
    one = import_trajectories([write_burgers(tmp_path / "b.hdf5")], tmp_path / "one", choices)
    train = TrajectoryDataset(one / "data" / "train")
    assert train.shape == (1, 16)
    assert train.layout.boundary == "PERIODIC"
    assert torch.allclose(train.times, torch.tensor([0, 4 / 9, 8 / 9], dtype=torch.float64))
    with h5py.File(tmp_path / "b.hdf5") as file:
        stored = torch.from_numpy(file["tensor"][:, ::4])
    assert all(any(torch.equal(s, t[:, 0]) for s in stored) for t in train.trajectories())

    two = import_trajectories([write_groups(tmp_path / "g.h5")], tmp_path / "two", Choices(valid=0.2, test=0.2))
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
    found = Recording(read_states(tmp_path / "cfd.hdf5"))
    assert (found.layout.names, found.layout.static) == (("Vx", "density", "nu"), ("nu",))
    part = found.read(slice(1, 3), slice(None, None, 2))
    with h5py.File(tmp_path / "cfd.hdf5") as file:
        assert np.array_equal(part[:, :, 1], file["density"][1:3, ::2])
        assert np.array_equal(part[:, 1, 2], file["nu"][1:3])
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
    sizes, read = [], Recording.read

    def spy(self, *args):
        states = read(self, *args)
        sizes.append(states.nbytes)
        return states

    monkeypatch.setattr(Recording, "read", spy)
    one = 8 * 9 * 16
    first = import_trajectories([path], tmp_path / "a", chunk_bytes=3 * one)
    assert max(sizes) <= 3 * one
    assert sum(sizes) == 40 * one + 8 * 16  # the first state twice: is any of its points missing?
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


def too_large(file):
    del file["t0_fields/density"]
    file["t0_fields/density"] = np.full((4, 6, 8, 4), 1e50)


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
    "nan": (
        lambda p: write_well(p, spoil=nan),
        "1 of 288 numbers of a state of {0} are missing (NaN) at some times only",
    ),
    "large": (lambda p: write_well(p, spoil=too_large), "of {0} holds 1e+50, which does not fit float32"),
    "shape": (lambda p: write_well(p, spoil=short), "`density` of {0} must have shape (4, 6, 8, 4), got (4, 5, 8, 4)"),
    "incomplete": (lambda p: write_well(p, spoil=no_dimension), "{0} is not whole"),
    "grids": (lambda p: write_groups(p, spoil=other_grid), "`0003/grid/t` of {0} must be that of 0000"),
    "clock": (lambda p: write_burgers(p, spoil=two_times_more), "`t-coordinate` of {0} must hold 9 times, got 12"),
    "unknown": (lambda p: h5py.File(p, "w").close(), "{0} holds no arrays of numbers"),
    "text": (lambda p: p.write_text("no"), "is of no known format"),
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
    with pytest.raises(ValueError, match=r"missing \(NaN\) at some times only, first in trajectory 1"):
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
            Choices(**shares)


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


def test_complex_fields_and_numbers_of_each_trajectory(tmp_path):
    """Both parts arrive; a viscosity that differs is a static channel, and stands where The Well's readers look."""
    u = np.random.default_rng(0).normal(size=(10, 4, 8, 2)).astype("f4")
    nu = np.linspace(0.1, 1.0, 10)
    np.savez(tmp_path / "a.npz", u=u[..., 0] + 1j * u[..., 1], t=np.arange(4.0), x=np.arange(8.0), nu=nu)
    out = import_trajectories([tmp_path / "a.npz"], tmp_path / "out")
    data = [TrajectoryDataset(out / "data" / s) for s in ("train", "valid", "test")]
    assert data[0].layout.names == ("u_real", "u_imag", "nu")
    assert data[0].layout.static == ("nu",)
    got = torch.cat([d.trajectories() for d in data]).numpy()
    order = [int(np.argmin(np.abs(u[..., 0] - g[:, 0]).max((1, 2)))) for g in got]
    assert np.array_equal(np.moveaxis(got[:, :, :2], 2, -1), u[order])
    assert np.array_equal(got[:, 1, 2, 3], nu[order].astype("f4"))
    with h5py.File(out / "data/train/recorded_000.hdf5") as file:
        assert file["scalars/nu"].attrs["sample_varying"]
        assert np.array_equal(file["scalars/nu"][:], got[:8, 0, 2, 0])


def test_a_recording_is_cut_into_windows_and_blocks_of_time(tmp_path, capsys):
    """Every window is a piece of the recording, and those of different splits are a window apart."""
    times, every, states = 0.5 * np.arange(400), 2, 5
    np.savez(tmp_path / "a.npz", t=times, y=np.stack([np.arange(400.0), np.arange(400.0) ** 2], 1))
    call = f"import {tmp_path}/a.npz --out {tmp_path}/out --window {states} --every {every} --stride 3"
    cli.main(call.split())
    said = capsys.readouterr()
    assert "windows overlap, so splits are blocks of time" in said.err
    assert "(blocks of time with gaps)" in said.out
    covered = {}
    for split in ("train", "valid", "test"):
        data = TrajectoryDataset(tmp_path / "out/data" / split)
        assert np.allclose(data.times, [0, 1, 2, 3, 4])
        x = data.trajectories().numpy()
        starts = x[:, 0, 0].astype(int)
        assert np.array_equal(x[..., 0], starts[:, None] + every * np.arange(states))
        assert np.array_equal(x[..., 1], x[..., 0] ** 2)
        covered[split] = np.unique(starts[:, None] + np.arange(9))
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        assert np.abs(covered[a][:, None] - covered[b]).min() > 9  # 9 stored times between them, as long as a window
    assert sum(map(len, covered.values())) > 250
    config = json.loads((tmp_path / "out/dataset.json").read_text())["config"]
    assert config["window"] == {"states": 5, "every": 2, "stride": 3}
    assert config["split"] == "blocks of time with gaps"


def test_a_random_split_of_windows_is_by_recording(tmp_path):
    """Asked for, whole recordings are set aside with all their windows."""
    u = np.broadcast_to(np.arange(10.0)[:, None, None], (10, 12, 3))
    np.savez(tmp_path / "a.npz", u=u, t=np.arange(12.0))
    out = import_trajectories([tmp_path / "a.npz"], tmp_path / "out", Choices(window=4, split_by="trajectory"))
    owners = [
        set(TrajectoryDataset(out / "data" / s).trajectories()[:, 0, 0].tolist()) for s in ("train", "valid", "test")
    ]
    assert sorted(n for owned in owners for n in owned) == list(range(10))
    assert [len(o) for o in owners] == [8, 1, 1]


def test_files_of_different_years_are_recordings_of_one_system(tmp_path):
    """Windows need no common origin of time, nor equal lengths; none lies across two files."""
    for year, n in ((2000, 60), (2010, 80)):
        times = np.arange(float(n)) + 1000 * (year - 2000)
        xr.Dataset({"u": (("time", "x"), np.stack([times, times], 1))}, {"time": times}).to_netcdf(
            tmp_path / f"{year}.nc", engine="h5netcdf"
        )
    out = import_trajectories([tmp_path], tmp_path / "data" / "out", Choices(window=3, boundary="periodic"))
    for split in ("train", "valid", "test"):
        x = TrajectoryDataset(out / "data" / split).trajectories()[:, :, 0, 0]
        assert (x.diff(dim=1) == 1).all()
        assert (x[:, 0] < 1000).any()
        assert (x[:, 0] >= 1000).any()


def test_the_phase_of_a_cycle_is_context(tmp_path):
    times = 3.0 * np.arange(100) + 40
    np.savez(tmp_path / "a.npz", t=times, x=np.arange(4.0), u=np.repeat(times[:, None], 4, 1))
    call = f"import {tmp_path}/a.npz --out {tmp_path}/out --window 3 --stride 2 --period 50"
    cli.main(call.split())
    data = TrajectoryDataset(tmp_path / "out/data/test")
    assert data.layout.static == ("phase_sine", "phase_cosine")
    x = data.trajectories()
    angle = 2 * math.pi * x[:, :1, :1] / 50  # of the first state of each window
    assert torch.allclose(x[:, :, 1:2], angle.sin().expand(-1, 3, 1, 4), atol=1e-5)
    assert torch.allclose(x[:, :, 2:], angle.cos().expand(-1, 3, 1, 4), atol=1e-5)
    with pytest.raises(ValueError, match="`period` must be a positive time and needs `window`"):
        Choices(period=3.0)


def test_uneven_times(tmp_path):
    """Months share one grid, a gap loses the windows across it, and times without a rhythm ask for interpolation."""
    lengths = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] * 10)
    months = np.concatenate([[0], np.cumsum(lengths)])
    np.savez(tmp_path / "m.npz", t=months, y=np.stack([months, months], 1))
    plan = plan_import([tmp_path / "m.npz"], Choices(window=3))
    assert plan.recorded.times[1].item() == pytest.approx(365 / 12, abs=0.5)
    assert any("are stored as their mean" in note for note in plan.notes)

    gap = np.concatenate([np.arange(60.0), 1000 + np.arange(60.0)])
    np.savez(tmp_path / "g.npz", t=gap, y=np.stack([gap, gap], 1))
    out = import_trajectories([tmp_path / "g.npz"], tmp_path / "gap", Choices(window=3))
    for split in ("train", "valid", "test"):
        assert (TrajectoryDataset(out / "data" / split).trajectories().diff(dim=1) == 1).all()

    wild = np.cumsum(np.random.default_rng(0).exponential(size=60))
    np.savez(tmp_path / "w.npz", t=wild, y=np.stack([2 * wild, wild], 1))
    with pytest.raises(ValueError, match="interpolate with `--resample`"):
        plan_import([tmp_path / "w.npz"], Choices(window=3))
    out = import_trajectories([tmp_path / "w.npz"], tmp_path / "wild", Choices(window=3, resample=0.5))
    x = TrajectoryDataset(out / "data/train").trajectories()
    assert torch.allclose(x.diff(dim=1), torch.tensor([1.0, 0.5]).expand(len(x), 2, 2), atol=1e-5)


def test_what_is_not_said_is_asked_for(tmp_path):
    """One line for each, with the option that helps."""
    u = np.zeros((9, 8, 7))
    one = {"u": u[0], "t": np.arange(8.0), "x": np.arange(7.0)}
    cases = (
        ("`--dims`, such as sample,time,x", {"u": u}, Choices()),
        ("give `--times`", {"u": u}, Choices(dims="sample,time,x")),
        ("cut it into trajectories with `--window`", one, Choices()),
    )
    for i, (expected, arrays, choices) in enumerate(cases):
        np.savez(tmp_path / f"{i}.npz", **arrays)
        with pytest.raises(ValueError, match=re.escape(expected)):
            plan_import([tmp_path / f"{i}.npz"], choices)
    with pytest.raises(ValueError, match="`--window` spans 9 of the 8 stored times"):
        plan_import([tmp_path / "2.npz"], Choices(window=9))
    with pytest.raises(ValueError, match="take a longer recording"):
        plan_import([tmp_path / "2.npz"], Choices(window=2))
    with pytest.raises(ValueError, match="`--boundary` names the axis `y`"):
        plan_import([tmp_path / "2.npz"], Choices(window=2, boundary="y=wall"))


STORED = {"w": np.random.default_rng(3).normal(size=(16, 6, 16)), "t": np.arange(6) * 0.1, "x": np.arange(16) / 16}


@pytest.mark.parametrize(
    ("expected", "changed"),
    [
        ("does not name its axes 0 (16), 2 (16); name all in their order with `--dims`, such as sample,time,x", {}),
        ("has 15 numbers, and `w` no axis of that length (16 x 6 x 16)", {"x": np.arange(15.0)}),
        ("`x` of {path} neither increases nor decreases", {"x": np.zeros(16)}),
        ("`x` of {path} holds NaN", {"x": np.r_[np.nan, 1:16]}),
        ("`t` of {path} has 5 numbers, and `w` no axis of that length (16 x 6 x 16)", {"t": np.arange(5.0)}),
        ("`t` of {path} neither increases nor decreases", {"t": np.zeros(6)}),
        ("`t` of {path} has one number, and physics shows in states at 2 times", {"w": (9, 1, 16), "t": np.zeros(1)}),
        ("`t` of {path} holds NaN", {"t": np.r_[np.nan, 1:6]}),
        (
            "does not name its axes 2 (20); name all in their order with `--dims`, such as x,time,sample",
            {"w": (16, 6, 20)},
        ),
        ("name all in their order with `--dims`, such as time,x,sample", {"w": (6, 6, 20), "x": np.arange(6.0)}),
    ],
)
def test_stored_positions_are_never_dropped_for_a_guess(expected, changed, tmp_path):
    """Two axes of one length, or positions that fit none: no axis is called samples or components all the same."""
    path = tmp_path / "a.npz"
    if "w" in changed:
        changed = {**changed, "w": np.zeros(changed["w"])}
    np.savez(path, **{**STORED, **changed})
    with pytest.raises(ValueError, match=re.escape(expected.format(path=path))):
        plan_import([path], Choices())


def test_axes_are_not_named_against_the_lengths_of_what_is_stored(tmp_path):
    """MATLAB's order, (x, time, sample), named the other way round: the data would be transposed."""
    path = tmp_path / "a.npz"
    np.savez(path, w=STORED["w"][:9].T, t=STORED["t"], X=STORED["x"])
    right = plan_import([path], Choices(dims="x,time,sample")).recorded.layout.coordinates
    assert right == (tuple(STORED["x"].tolist()),)
    with pytest.raises(ValueError, match=re.escape(f"`X` of {path} has 16 numbers, the axis `x` has 9 points")):
        plan_import([path], Choices(dims="sample,time,x"))
    with pytest.raises(ValueError, match=re.escape(f"`t` of {path} has 6 numbers, the axis of time has 16 points")):
        plan_import([path], Choices(dims="time,sample,x"))
    own = Choices(dims="sample,time,x", positions={"x": "0:8"})
    assert plan_import([path], own).recorded.layout.coordinates == (tuple(map(float, range(9))),)


def test_stored_positions_of_other_names_are_told_of(tmp_path):
    """A square grid in PDEBench's layout whose axes the user calls otherwise than the file."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["t-coordinate"] = np.zeros((9, 2, 4, 4)), np.arange(2.0)
        file["x-coordinate"], file["y-coordinate"] = np.arange(4.0), -np.arange(4.0)
    notes = plan_import([tmp_path / "a.h5"], Choices(dims="sample,time,height,x")).notes
    hint = "the file holds y of 4 points: give --positions height=y if that is it"
    assert [n for n in notes if "positions" in n] == [f"no positions along height: numbered 0 to 3 ({hint})"]
    plan = plan_import([tmp_path / "a.h5"], Choices(dims="sample,time,lat,lon"))
    assert plan.recorded.layout.coordinates == ((0, -1, -2, -3), (0, 1, 2, 3))
    assert "positions along lat are `y` of the file" in plan.notes


def test_dates_beside_an_array_are_its_times(tmp_path):
    days = np.datetime64("2020-02-27") + np.array([0, 1, 2, 3, 4, 6]) * np.timedelta64(1, "D")
    np.savez(tmp_path / "a.npz", **{**STORED, "w": STORED["w"][:9], "t": days})
    assert plan_import([tmp_path / "a.npz"], Choices()).recorded.times.tolist() == [0, 1, 2, 3, 4, 6]


def test_each_axis_keeps_what_lies_at_its_ends(tmp_path):
    """Of The Well's groups, in any case; an axis that no group names is open, not like its neighbour."""

    def mixed(file):
        del file["boundary_conditions"]
        file.create_group("boundary_conditions/y_periodic").attrs["bc_type"] = "periodic"

    out = import_trajectories([write_well(tmp_path / "a.hdf5", 10, spoil=mixed)], tmp_path / "out")
    data = TrajectoryDataset(out / "data/train")
    assert data.layout.axes == ("x", "y")
    assert data.layout.boundary == "OPEN,PERIODIC"
    assert set(data.to_xarray().y.attrs) == {"boundary"}


def test_points_that_are_always_missing_are_a_mask(tmp_path):
    """Land is 0 in every file, noted as such, and missing again in xarray; a calm day on top of it is refused."""
    u = np.random.default_rng(0).normal(size=(60, 5, 4)).astype("f4")
    u[:, 1:3, 2] = np.nan
    coords = {"time": np.arange(60.0), "lat": np.arange(5.0), "lon": np.arange(4.0)}
    xr.Dataset({"sst": (("time", "lat", "lon"), u)}, coords).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    out = import_trajectories([tmp_path / "a.nc"], tmp_path / "out", Choices(window=4), chunk_bytes=2000)
    with h5py.File(out / "data/train/recorded_000.hdf5") as file:
        assert np.array_equal(file["physinv/mask"][...], ~np.isnan(u[0]))
        assert not file["t0_fields/sst"][:, :, 1:3, 2].any()
    data = TrajectoryDataset(out / "data/train")
    assert np.array_equal(data.to_xarray().sst[0, 0], u[0], equal_nan=True)
    u[30, 0, 0] = np.nan
    xr.Dataset({"sst": (("time", "lat", "lon"), u)}, coords).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    with pytest.raises(
        ValueError, match=r"1 of 20 numbers of a state of .* missing \(NaN\) at some times only; fill them"
    ):
        import_trajectories([tmp_path / "b.nc"], tmp_path / "no", Choices(window=4))


def test_a_dry_run_shows_what_was_understood_and_writes_nothing(tmp_path, capsys):
    write_burgers(tmp_path / "b.hdf5", 20)
    cli.main(["import", str(tmp_path / "b.hdf5"), "--dry-run", "--out", str(tmp_path / "out")])
    shown = capsys.readouterr().out
    assert "20 trajectories of 9 times" in shown
    assert "train 16, valid 2, test 2 (trajectories at random)" in shown
    assert "16 points, 0 to 5.89049, open" in shown
    assert "finite, in float32 too" in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (np.nan, "1 of 16 numbers of a state of {path} are missing (NaN) at some times only, first in trajectory 5"),
        (np.inf, "trajectory 5 of {path} holds NaN or infinity; leave it out"),
        (-1e50, "trajectory 5 of {path} holds -1e+50, which does not fit float32 (at most 3.4e+38); write the states"),
    ],
)
def test_a_dry_run_refuses_the_values_that_the_import_refuses(bad, expected, tmp_path):
    path = tmp_path / "a.npz"
    w = np.random.default_rng(0).normal(size=(30, 6, 16))
    w[5, 2, 3] = bad
    np.savez(path, **{**STORED, "w": w})
    plan = plan_import([path], Choices())
    assert not check_values(plan, most_bytes=30 * 6 * 16 * 8 - 1)
    for look in (lambda: check_values(plan), lambda: import_trajectories([path], tmp_path / "out")):
        with pytest.raises(ValueError, match=re.escape(expected.format(path=path))):
            look()
