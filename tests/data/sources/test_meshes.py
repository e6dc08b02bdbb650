"""Positions on a square grid that are stored as meshes say along which axis they vary."""

import re

import h5py
import numpy as np
import pytest
import xarray as xr
from scipy.io import savemat

from physinv.data.sources.read import open_source, read_states, state_array
from physinv.data.sources.states import states_of

N = 4
U = np.random.default_rng(0).normal(size=(9, 5, N, N))  # (sample, time, one, other)
TIMES, X, Y = np.arange(5.0), np.linspace(0, 1, N), np.linspace(2, 5, N)


def hdf5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, a in arrays.items():
            file[name] = a


def matlab(path, arrays):
    """As MATLAB 7.3 writes: all axes in reverse order."""
    with h5py.File(path, "w") as file:
        for name, a in arrays.items():
            file.create_dataset(name, data=a.T).attrs["MATLAB_class"] = np.bytes_("double")


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.npz", lambda p, a: np.savez(p, **a)), ("a.mat", savemat), ("a.h5", hdf5), ("b.mat", matlab)],
)
@pytest.mark.parametrize(("indexing", "right", "wrong"), [("ij", "x,y", "y,x"), ("xy", "y,x", "x,y")])
def test_a_mesh_names_the_axes_of_a_square_grid(name, write, indexing, right, wrong, tmp_path):
    path = tmp_path / name
    x, y = np.meshgrid(X, Y, indexing=indexing)
    write(path, {"u": U, "t": TIMES, "x": x, "y": y})
    for dims in (None, f"sample,time,{right}"):
        states = read_states(path, "u", dims)
        assert list(states.sizes) == ["sample", "time", *right.split(",")]
        assert np.array_equal(states.x, X)
        assert np.array_equal(states.y, Y)
        assert np.array_equal(state_array(states)[:, :, 0], U)
    with pytest.raises(ValueError, match=f"`x` varies along axis .*; give `--dims sample,time,{right}`"):
        read_states(path, "u", f"sample,time,{wrong}")
    on_map = {"x": "lon", "y": "lat"}
    with pytest.raises(ValueError, match="another order than"):
        read_states(path, "u", f"sample,time,{','.join(on_map[k] for k in wrong.split(','))}")


def test_a_mesh_that_fits_in_two_ways_is_asked_for(tmp_path):
    """As many times as points: the order of the user counts, where a mesh allows it in one of the ways."""
    x, y = np.meshgrid(X, Y, indexing="ij")
    np.savez(tmp_path / "a.npz", u=U[:, :N], x=x, y=y)
    assert [str(d) for d in open_source(tmp_path / "a.npz").u.dims[1:]] == ["axis_1", "axis_2", "axis_3"]
    for dims in ("sample,time,x,y", "sample,x,y,time"):
        assert np.array_equal(read_states(tmp_path / "a.npz", "u", dims, times="0.1").y, Y)
    with pytest.raises(ValueError, match=re.escape("give `--dims sample,time,x,y`")):
        read_states(tmp_path / "a.npz", "u", "sample,time,y,x", times="0.1")


def test_meshes_along_named_axes_count_too():
    """In whatever order of their own."""
    x, y = np.meshgrid(X, Y, indexing="ij")
    named = {"x": (("b", "a"), x.T), "y": (("a", "b"), y)}
    data = xr.Dataset({"u": (("sample", "time", "a", "b"), U), **named}, {"time": TIMES})
    assert np.array_equal(states_of(data, "u", "sample,time,x,y").x, X)
    with pytest.raises(ValueError, match=re.escape("give `--dims sample,time,x,y`")):
        states_of(data, "u", "sample,time,y,x")
