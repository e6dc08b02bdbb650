"""A user's initial states start the trajectories, each one, and no others."""

import numpy as np
import pytest
import torch
import xarray as xr

import physinv as pi
from physinv.cli import app as cli
from physinv.data.imports.initial import read_initial_states, simulate_from
from physinv.processes.layout import FieldLayout, VectorLayout
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


def starts_of(folder):
    data = [pi.TrajectoryDataset(folder / "data" / s) for s in ("train", "valid", "test")]
    return torch.cat([d.states(0) for d in data]), data


def same_rows(a, b):
    """Whether two sets of states are the same in some order."""
    return torch.equal(a[a.flatten(1)[:, 0].argsort()], b[b.flatten(1)[:, 0].argsort()])


def test_vectors(tmp_path, capsys):
    dim = OrnsteinUhlenbeck().shape[0]
    x = np.random.default_rng(0).normal(size=(200, dim)).astype("f4")
    np.save(tmp_path / "starts.npy", x)
    cli.main(f"generate ornstein-uhlenbeck --initial {tmp_path}/starts.npy --out {tmp_path}".split())
    assert "dataset in" in capsys.readouterr().out
    found, data = starts_of(tmp_path / "ornstein-uhlenbeck")
    assert same_rows(found, torch.from_numpy(x))
    assert data[0].name == "recorded"
    # the mean of 200 final states, given their starts, by the process itself, without noise: linear drift
    sim = OrnsteinUhlenbeck()
    ends = torch.cat([d.states(-1) for d in data])
    expected = sim.run(found, noise=False)[:, -1]
    spread = (ends - expected).std(0) / 200**0.5
    assert ((ends - expected).mean(0).abs() < 4 * spread).all()  # 4 standard errors
    with pytest.raises(SystemExit):
        cli.main(f"generate heat --train 5 --initial {tmp_path}/starts.npy --out {tmp_path}".split())
    assert "leave out --train" in capsys.readouterr().err


def test_fields_go_by_the_names_of_their_axes(tmp_path):
    sim = Heat(size=8)
    x = np.random.default_rng(0).normal(size=(20, 8, 8)).astype("f4")
    xr.Dataset({"temperature": (("sample", "y", "x"), x)}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    states, _ = read_initial_states(tmp_path / "a.nc", sim.layout)
    assert np.array_equal(states[:, 0].numpy(), x.transpose(0, 2, 1))  # the process has (x, y)
    out = simulate_from(tmp_path / "a.nc", sim, tmp_path / "out", seed=1)
    found, data = starts_of(out)
    assert same_rows(found, states)
    assert data[0].layout.boundary == "PERIODIC"
    assert data[0].times.tolist() == sim.times.tolist()


@pytest.mark.parametrize(
    ("x", "expected"), [(np.zeros((5, 3)), "must hold states of shape"), (np.full((5, 1, 8, 8), np.nan), "state 0 of")]
)
def test_what_does_not_fit_gets_one_line(x, expected, tmp_path):
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(ValueError, match=expected):
        read_initial_states(tmp_path / "a.npy", Heat(size=8).layout)


def test_fields_are_brought_to_the_grid_of_the_process(tmp_path):
    """An axis that runs the other way is turned, another grid interpolated, another box refused."""
    sim = Heat(size=8)
    x, y = (np.asarray(along) for along in sim.layout.coordinates)
    smooth = np.sin(x)[None, :, None] + np.cos(y) + np.zeros((5, 1, 1))
    fine = np.arange(16) * 2 * np.pi / 16
    many = np.sin(fine)[None, :, None] + np.cos(y) + np.zeros((5, 1, 1))
    for name, states, along, told in (
        ("same", smooth, x, []),
        ("turned", smooth[:, ::-1], x[::-1], ["x runs the other way"]),
        ("fine", many, fine, ["interpolated linearly from 16 to 8 points along x"]),
    ):
        data = xr.Dataset({"u": (("sample", "x", "y"), states)}, {"x": along, "y": y})
        data.to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
        found, notes = read_initial_states(tmp_path / f"{name}.nc", sim.layout)
        assert np.allclose(found[:, 0], smooth, atol=1e-6)
        assert len(notes) == len(told)
        assert all(word in note for word, note in zip(told, notes, strict=True))
    np.savez(tmp_path / "a.npz", u=many[..., 0], x=fine)  # an axis without a name counts states
    found, _ = read_initial_states(tmp_path / "a.npz", FieldLayout("u", "x", [x], "PERIODIC"))
    assert np.allclose(found[:, 0], many[:, ::2, 0], atol=1e-6)
    xr.Dataset({"u": (("sample", "x", "y"), smooth)}, {"x": x / 7, "y": y}).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(ValueError, match=r"that of the process is 6\.28"):
        read_initial_states(tmp_path / "a.nc", sim.layout)


def test_columns_are_all_taken_or_none(tmp_path):
    """A series of two numbers is one state of two, the first; a state of one number it is not."""
    (tmp_path / "a.csv").write_text("time,a,b\n0,1,2\n1,3,4\n")
    found, _ = read_initial_states(tmp_path / "a.csv", VectorLayout("x", 2))
    assert found.tolist() == [[1, 2]]
    for columns in (1, 3):
        with pytest.raises(ValueError, match=r"must hold states of shape .* got `a` \(\), `b` \(\)"):
            read_initial_states(tmp_path / "a.csv", VectorLayout("x", columns))


def test_a_simulation_without_bound_is_told_as_that(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0.5], [1e4], [0.1]]))
    with pytest.raises(ValueError, match=r"the trajectory from state 1 of \S+ grows without bound; take more steps"):
        simulate_from(tmp_path / "a.npy", DoubleWell(), tmp_path / "out")
