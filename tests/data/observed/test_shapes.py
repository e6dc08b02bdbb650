"""Observations without names of axes, or with other ones: nothing is left out in silence, and hints can be followed."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
import xarray as xr

from physinv.data.final_states import read_final_states
from physinv.processes.layout import FieldLayout, VectorLayout

X = np.arange(8) / 8
PAIR = FieldLayout(("T", "u"), "x", [X], "PERIODIC")
MAP = FieldLayout("u", ("lat", "lon"), [np.arange(3.0), np.arange(0.0, 360, 90)], "WALL,PERIODIC")
VECTOR = VectorLayout("state", 3)
W = np.random.default_rng(0).normal(size=(5, 2, 8)).astype("f4")


def test_complex_numbers_and_several_arrays_of_all_channels_are_refused(tmp_path):
    """The first two of four channels would be taken in silence."""
    np.save(tmp_path / "a.npy", W + 1j)
    np.savez(tmp_path / "b.npz", a=W, b=W)
    for name in ("a.npy", "b.npz"):
        with pytest.raises(ValueError, match=r"holds 4 channels .* the run needs 2"):
            read_final_states(tmp_path / name, PAIR, 1.0)
    assert torch.equal(read_final_states(tmp_path / "b.npz", PAIR, 1.0, variable="b").states, torch.from_numpy(W))


def test_axes_of_one_entry_are_left_out(tmp_path):
    np.save(tmp_path / "a.npy", W[..., None])
    assert torch.equal(read_final_states(tmp_path / "a.npy", PAIR, 1.0).states, torch.from_numpy(W))
    np.save(tmp_path / "b.npy", W[0, 0, :3, None])
    assert torch.equal(read_final_states(tmp_path / "b.npy", VECTOR, 1.0).states[0], torch.from_numpy(W[0, 0, :3]))
    scipy.io.savemat(tmp_path / "c.mat", {"T": W[0, 0][:, None], "u": W[0, 1][:, None]})
    assert torch.equal(read_final_states(tmp_path / "c.mat", PAIR, 1.0).states, torch.from_numpy(W[:1]))
    scipy.io.savemat(tmp_path / "d.mat", {"y": np.array([1.0, 2.0, 4.0])[:, None]})  # a line, and no positions
    assert read_final_states(tmp_path / "d.mat", VECTOR, 1.0).states.tolist() == [[1, 2, 4]]


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 1, 0)])
def test_axes_in_another_order_are_named_as_the_line_says(order, tmp_path):
    np.save(tmp_path / "a.npy", W.transpose(order))
    with pytest.raises(ValueError, match="name its axes with") as told:
        read_final_states(tmp_path / "a.npy", PAIR, 1.0)
    dims = re.search(r"--dims (\S+)`", str(told.value))[1]
    assert torch.equal(read_final_states(tmp_path / "a.npy", PAIR, 1.0, dims=dims).states, torch.from_numpy(W))


def test_a_table_with_units_in_its_heads_and_a_temperature_that_increases(tmp_path):
    table = pd.DataFrame({"x [m]": X, "u [m/s]": W[0, 1], "T [K]": np.sort(W[0, 0])})
    table.to_csv(tmp_path / "units.csv", index=False)
    table.set_axis(["x", "u", "T"], axis=1).sort_values("x").to_csv(tmp_path / "plain.csv", index=False)
    expected = torch.from_numpy(np.stack([np.sort(W[0, 0]), W[0, 1]]))[None]
    for name in ("units.csv", "plain.csv"):
        assert torch.allclose(read_final_states(tmp_path / name, PAIR, 1.0).states, expected)
    (tmp_path / "long.csv").write_text("name,value\na,1\nb,2\nc,3\n")
    with pytest.raises(ValueError, match="has a row for each number of a state, `value` beside `name`"):
        read_final_states(tmp_path / "long.csv", VECTOR, 1.0)


def test_a_row_with_the_time_of_a_logger_is_an_observation_if_that_is_said(tmp_path):
    (tmp_path / "a.csv").write_text("time,a,b,c\n1000,1,2,3\n")
    with pytest.raises(ValueError, match=r"ends at time 1000, .* call the axis of times `sample` \(`--dims sample"):
        read_final_states(tmp_path / "a.csv", VECTOR, 1.0)
    assert read_final_states(tmp_path / "a.csv", VECTOR, 1.0, dims="sample").states.tolist() == [[1, 2, 3]]


def test_a_map_by_rows_and_a_part_of_the_globe_that_holds_all_points(tmp_path):
    u = xr.DataArray(np.random.default_rng(1).normal(size=(3, 4)), {"lat": np.arange(3), "lon": np.arange(4) * 90.0})
    expected = torch.from_numpy(u.values.astype("f4"))
    u.to_dataframe("u").reset_index().sample(frac=1, random_state=0).to_csv(tmp_path / "a.csv", index=False)
    assert torch.allclose(read_final_states(tmp_path / "a.csv", MAP, 1.0).states[0, 0], expected)
    u.interp(lon=np.arange(0, 271, 45.0)).to_dataset(name="u").to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    assert torch.allclose(read_final_states(tmp_path / "b.nc", MAP, 1.0).states[0, 0], expected, atol=1e-6)
    u.isel(lon=slice(1, None)).to_dataset(name="u").to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"period 270 .* that of the run is 360"):
        read_final_states(tmp_path / "c.nc", MAP, 1.0)


def test_positions_in_another_unit_are_refused_and_not_interpolated(tmp_path):
    wall, x = FieldLayout("u", "x", [X], "WALL"), 100 * np.arange(9) / 8
    data = xr.Dataset({"u": ("x", np.arange(9.0))}, {"x": ("x", x, {"units": "cm"})})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"x of .* is in cm, that of the run in m; convert"):
        read_final_states(tmp_path / "a.nc", wall, 1.0, units={"x": "m"})
    data.assign_coords(x=x / 100).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    assert read_final_states(tmp_path / "b.nc", wall, 1.0, units={"x": "m"}).states[0, 0].tolist() == list(range(8))
