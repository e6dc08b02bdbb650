"""Other people's files become datasets of ours: exactly what was in them, or one line that says what is wrong."""

import json

import h5py
import numpy as np
import pytest
import torch
from import_cases import write_burgers, write_groups, write_well

from physinv.cli import app as cli
from physinv.cli.info import describe_path
from physinv.data.dataset import TrajectoryDataset
from physinv.data.importing import Choices, import_trajectories
from physinv.data.imports.recording import Recording
from physinv.data.sources.read import read_states
from physinv.processes.layout import FieldLayout, VectorLayout
from physinv.processes.parameters import build, describe
from physinv.processes.recorded import Recorded


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
