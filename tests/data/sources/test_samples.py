"""Files with an array, a group or an axis for each trajectory, of several axes of them, and what is known of each."""

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from scipy.io import savemat

from physinv.data.sources.read import open_source, read_states, state_array
from physinv.data.sources.states import states_of

N, T, X = 12, 5, 4
U = np.random.default_rng(0).normal(size=(N, T, X))  # (sample, time, x)
TIMES, PLACES, NU = np.linspace(0, 1, T), np.arange(X) / X, np.linspace(1, 2, N)


def groups(path):
    with h5py.File(path, "w") as file:
        file["x"] = PLACES
        for i in reversed(range(N)):  # their numbers order them, not their names
            group = file.create_group(f"run{i}")
            group["u"], group["t"], group.attrs["nu"] = U[i], TIMES, NU[i]


def structures(path):
    runs = np.empty((1, N), dtype=[("u", object), ("t", object), ("nu", object)])
    for i in range(N):
        runs[0, i] = (U[i], TIMES, NU[i])
    savemat(path, {"runs": runs, "x": PLACES})


def numbered(path):
    np.savez(path, t=np.tile(TIMES, (N, 1)), x=PLACES, nu=NU[:, None], **{f"u_{i}": U[i] for i in range(N)})


def datasets(path):
    with h5py.File(path, "w") as file:
        file["t"], file["x"], file["nu"] = TIMES, PLACES, NU
        for i in range(N):
            file[f"all/u{i}"] = U[i]


def cells(path):
    """MATLAB 7.3: references to arrays, whose axes are in reverse order, in the fields of an array of structures."""
    with h5py.File(path, "w") as file:
        fields: dict[str, list] = {"u": [], "t": [], "nu": []}
        for i in range(N):
            for name, values in (("u", U[i].T), ("t", TIMES[:, None]), ("nu", NU[i : i + 1, None])):
                fields[name].append(file.create_dataset(f"#refs#/{name}{i}", data=values).ref)
        for name, references in fields.items():
            data = file.create_dataset(f"runs/{name}", data=np.array(references, dtype=h5py.ref_dtype)[:, None])
            data.attrs["MATLAB_class"] = np.bytes_("cell")
        file["runs/x"] = PLACES[:, None]


@pytest.mark.parametrize(
    ("name", "write"),
    [("b.mat", cells), ("a.h5", groups), ("a.mat", structures), ("a.npz", numbered), ("a.hdf5", datasets)],
)
def test_a_group_a_structure_or_an_array_for_each_trajectory(name, write, tmp_path):
    write(tmp_path / name)
    states = read_states(tmp_path / name)
    assert np.array_equal(state_array(states)[:, :, 0], U)
    assert states.time.values.tolist() == TIMES.tolist()
    assert states.x.values.tolist() == PLACES.tolist()
    assert states.attrs["parameters"] == {"nu": NU.tolist()}


def test_trajectories_of_other_lengths_are_told(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"u{i}": U[i, : 3 + i % 2] for i in range(N)})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i in range(2):
            file[f"run{i}/u"] = U[i, : 3 + i]
    for name in ("a.npz", "a.h5"):
        with pytest.raises(ValueError, match=r"cut them to one length, or write each .* with `--window`"):
            read_states(tmp_path / name)
    torch.save([torch.tensor(u) for u in U], tmp_path / "a.pt")
    assert np.array_equal(open_source(tmp_path / "a.pt")["a"].values, U)


def test_arrays_of_a_file_keep_the_order_in_which_they_were_written(tmp_path):
    """``--names`` counts on it, and xarray shows it."""
    data = xr.Dataset(dict.fromkeys(("v", "b", "a"), ("x", PLACES)))
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert list(open_source(tmp_path / "a.nc").data_vars) == ["v", "b", "a"]


def test_two_axes_of_samples_are_one(tmp_path):
    u = U.reshape(3, 4, T, X)
    np.savez(tmp_path / "a.npz", u=u, t=TIMES)
    states = read_states(tmp_path / "a.npz", dims="run,sample,time,x")
    assert np.array_equal(state_array(states)[:, :, 0], U)

    # A forecast has the date at which it starts and the time since then; what is stored along an axis is known.
    data = xr.Dataset({"u": (("nu", "time", "step", "x"), u)}, {"nu": [1.0, 2.0, 3.0], "time": range(4), "step": TIMES})
    with pytest.raises(ValueError, match=r"two axes of times .* such as nu,run,time,x if time says when each"):
        states_of(data)
    states = states_of(data, dims="sample,run,time,x")
    assert np.array_equal(state_array(states)[:, :, 0], U)
    assert states.time.values.tolist() == TIMES.tolist()
    assert states.attrs["parameters"] == {"nu": np.repeat([1.0, 2.0, 3.0], 4).tolist()}


@pytest.mark.parametrize("known", [{"nu": ("run", NU)}, {"nu": ("run", np.stack([NU, -NU], 1))}])
def test_numbers_of_each_trajectory_are_known_also_as_coordinates(known):
    data = xr.Dataset({"u": (("run", "time", "x"), U)}, {"time": TIMES})
    if known["nu"][1].ndim == 1:
        assert states_of(data.assign_coords(known)).attrs["parameters"] == {"nu": NU.tolist()}
        data = data.rename(run="nu").assign_coords(nu=NU)  # the axis itself holds them
        states = states_of(data, dims="sample,time,x")
        assert states.attrs["parameters"] == {"nu": NU.tolist()}
        assert np.array_equal(state_array(states)[:, :, 0], U)
    else:
        data["nu"] = (("run", "kind"), known["nu"][1])
        assert states_of(data).attrs["parameters"] == {"nu_0": NU.tolist(), "nu_1": (-NU).tolist()}


def test_an_axis_of_names_is_a_variable_for_each():
    data = xr.Dataset({"u": (("time", "station"), U[0])}, {"time": TIMES, "station": ["a", "b", "c", "d"]})
    states = states_of(data)
    assert list(states.data_vars) == ["a", "b", "c", "d"]
    assert np.array_equal(state_array(states)[0], U[0])
    data = data.rename(station="x").drop_vars("x").assign(v=(("time", "x"), U[1]))
    data = data.to_array("quantity", "w")
    states = states_of(data.to_dataset())
    assert list(states.data_vars) == ["u", "v"]
    assert np.array_equal(state_array(states)[0], np.stack([U[0], U[1]], 1))


def test_a_mesh_says_positions_and_lines_alone_are_states(tmp_path):
    y, x = np.meshgrid(np.arange(3.0), PLACES, indexing="ij")
    u = np.random.default_rng(1).normal(size=(T, 3, X))
    np.savez(tmp_path / "mesh.npz", u=u, t=TIMES, y=y, x=x)
    states = read_states(tmp_path / "mesh.npz")
    assert (states.y.values.tolist(), states.x.values.tolist()) == ([0, 1, 2], PLACES.tolist())
    np.savez(tmp_path / "lines.npz", t=TIMES, x=TIMES**2, y=-TIMES)
    assert np.array_equal(state_array(read_states(tmp_path / "lines.npz"))[0], np.stack([TIMES**2, -TIMES], 1))
    np.savez(tmp_path / "each.npz", u=U, t=TIMES * NU[:, None])
    with pytest.raises(ValueError, match=r"`t` of .* holds other times for each trajectory, 12 x 5; interpolate"):
        read_states(tmp_path / "each.npz", dims="sample,time,x")


def test_times_may_be_attributes_and_a_single_group_stands_for_the_file(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("results/u", data=U)
        data.attrs["t"], data.attrs["x"] = TIMES, PLACES
    states = read_states(tmp_path / "a.h5", "results/u")
    assert list(states.data_vars) == ["u"]
    assert (states.time.values.tolist(), states.x.values.tolist()) == (TIMES.tolist(), PLACES.tolist())
    data = xr.Dataset({"u": (("time", "lon"), U[0])}, {"time": TIMES, "lon": np.arange(0, 360, 90.0)})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf", group="forecast")
    states = read_states(tmp_path / "a.nc")
    assert (list(states.data_vars), states.attrs["boundary"]) == (["u"], {"lon": "PERIODIC"})
