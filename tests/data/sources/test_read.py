"""Files of every format arrive number for number, with the axes that they name."""

import h5py
import numpy as np
import pytest
import scipy.io
import torch
import xarray as xr

from physinv.data.sources.read import open_source, read_states, state_array

U = np.random.default_rng(0).normal(size=(6, 5, 4)).astype("f4")  # (sample, time, x) or (time, lat, lon)
T, X = np.linspace(0, 1, 5), np.arange(4) / 4


def grid(path, dims=("time", "lat", "lon"), fmt="NETCDF4", **attrs):
    """A netCDF file as climate models write them."""
    sizes = dict(zip(("time", "lat", "lon"), U.shape, strict=True))
    coords = {
        "time": ("time", np.arange(6.0) * 12, {"units": "hours since 2000-01-01", "calendar": "noleap"}),
        "lat": ("lat", np.linspace(60, -60, 5), {"units": "degrees_north"}),
        "lon": ("lon", np.arange(4) * 90.0, {"units": "degrees_east"}),
    }
    u = xr.DataArray(U, dims=list(sizes), coords=coords, attrs={"units": "K"}).transpose(*dims)
    data = xr.Dataset({"u": u})
    data.u.encoding.update(attrs)
    data.to_netcdf(path, engine="scipy" if fmt.startswith("NETCDF3") else "h5netcdf", format=fmt)
    return path


def archive(path, **arrays):
    """Arrays in one of the formats without names of axes, by the suffix of the path."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {k: v[:, None] if v.ndim == 1 else v for k, v in arrays.items()})
    elif path.suffix == ".pt":
        torch.save({k: torch.from_numpy(v) for k, v in arrays.items()}, path)
    else:
        with h5py.File(path, "w") as file:
            file.update(arrays)
    return path


def test_structures_and_cells_of_matlab(tmp_path):
    """A structure as `save` writes it, a cell with a trajectory in each element, and what has no numbers."""
    scipy.io.savemat(tmp_path / "s.mat", {"run": {"u": U[0], "t": T[:, None], "x": X[None]}})
    states = read_states(tmp_path / "s.mat")
    assert np.array_equal(state_array(states)[0, :, 0], U[0])
    assert states["time"].values.tolist() == T.tolist()
    cell = np.empty((1, 6), object)
    cell[0, :] = list(U)
    scipy.io.savemat(tmp_path / "c.mat", {"Y": cell, "note": "text", "odd": np.array([T, "x"], object)})
    found = open_source(tmp_path / "c.mat")
    assert list(found.data_vars) == ["Y"]
    assert np.array_equal(found["Y"].values, U)
    scipy.io.savemat(tmp_path / "two.mat", {"a": {"u": U}, "b": {"c": {"v": U}}})
    assert list(open_source(tmp_path / "two.mat").data_vars) == ["a/u", "b/c/v"]


@pytest.mark.parametrize("beside", [{"dt": 0.1}, {"t": T}])
def test_cells_of_unequal_lengths_are_told(beside, tmp_path):
    cell = np.empty((1, 3), object)
    cell[0, :] = [U[0, :3], U[1, :4], U[2]]
    scipy.io.savemat(tmp_path / "c.mat", {"Y": cell, **beside})
    for variable in (None, "Y"):
        with pytest.raises(ValueError, match=r"`Y` holds 3 cells of \d x \d+ to 5 x .*one length, or .* `--window`"):
            read_states(tmp_path / "c.mat", variable)
    scipy.io.savemat(tmp_path / "d.mat", {"Y": cell, "u": U, "t": T, "x": X})
    assert any("left out: Y (cells of unequal" in note for note in read_states(tmp_path / "d.mat").attrs["notes"])


@pytest.mark.parametrize("fmt", ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT"])
def test_netcdf_says_everything_itself(fmt, tmp_path):
    states = read_states(grid(tmp_path / "a.nc", fmt=fmt))
    assert np.array_equal(state_array(states)[0, :, 0], U)
    assert states.attrs["boundary"] == {"lat": "OPEN", "lon": "PERIODIC"}  # four longitudes, 90 degrees apart
    assert np.array_equal(states.time, np.arange(6) * 12)
    assert states.time.attrs["units"] == "hours since 2000-01-01"
    assert states.lat.values[0] == 60
    assert states.u.attrs["units"] == "K"


def test_axes_are_found_by_name_whatever_their_order(tmp_path):
    """A square grid stored as (lon, time, lat) is not transposed: latitude stays latitude."""
    states = read_states(grid(tmp_path / "a.nc", dims=("lon", "time", "lat")))
    assert np.array_equal(state_array(states)[0, :, 0], U.transpose(0, 2, 1))  # space in the order of the file
    assert np.array_equal(states.u.transpose("time", "lat", "lon"), U)


@pytest.mark.parametrize("fmt", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_packed_numbers_are_unpacked_and_fill_values_missing(fmt, tmp_path):
    path = grid(tmp_path / "a.nc", fmt=fmt, dtype="i2", scale_factor=0.001, add_offset=1.5, _FillValue=-9999)
    assert (
        np.abs(state_array(read_states(path))[0, :, 0] - U).max() <= 0.0005 + 1e-6
    )  # half of a unit in the last place
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["u"], file["t-coordinate"], file["x-coordinate"] = U, T, X
        file["u"].attrs["_FillValue"] = U[3, 2, 1]
    found = state_array(read_states(tmp_path / "b.h5"))
    assert np.isnan(found[3, 2, 0, 1])
    assert np.isnan(found).sum() == 1


def test_months_are_real_time(tmp_path):
    """January to March 2001: 31 and 28 days."""
    path = tmp_path / "a.nc"
    xr.Dataset(
        {"u": (("time", "x"), np.zeros((4, 3)))},
        {"time": ("time", np.arange(4.0), {"units": "months since 2001-01-01"})},
    ).to_netcdf(path, engine="h5netcdf")
    states = read_states(path)
    assert states.time.values.tolist() == [0, 31, 59, 90]
    assert states.time.attrs["units"] == "days since 2001-01-01"


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5", ".pt"])
def test_axes_are_those_of_the_coordinates_beside_them(suffix, tmp_path):
    """(x, t) order, as MATLAB's scripts write it; equal lengths are never guessed."""
    u = U[0].T  # (x, time)
    path = archive(tmp_path / f"a{suffix}", u=u, t=T, x=X, nu=np.array([0.5]))
    states = read_states(path)
    assert dict(states.sizes) == {"x": 4, "time": 5}
    assert np.array_equal(state_array(states)[0, :, 0], U[0])
    assert np.array_equal(states.x, X)
    assert states.attrs["parameters"] == {"nu": 0.5}

    path = archive(tmp_path / f"b{suffix}", u=U[0, :4], t=T[:4], x=X)
    assert set(read_states(path).dims) == {"axis_0", "axis_1"}
    states = read_states(path, dims="x,time")
    assert np.array_equal(state_array(states)[0, :, 0], U[0, :4].T)
    assert np.array_equal(states.time, T[:4])
    with pytest.raises(ValueError, match="`--dims` must name the 2 axes of `u`"):
        read_states(path, dims="sample,time,x")


def test_dictionaries_without_an_end_and_names_that_meet_are_refused(tmp_path):
    endless = {"a": torch.zeros(3, 4)}
    endless["self"] = endless
    torch.save(endless, tmp_path / "endless.pt")
    torch.save({"a/b": torch.zeros(2), "a": {"b": torch.ones(2)}}, tmp_path / "twice.pt")
    for name, told in (("endless", "without an end"), ("twice", "two arrays of the same name")):
        with pytest.raises(ValueError, match=told):
            open_source(tmp_path / f"{name}.pt")


def test_tensors_in_dictionaries_of_dictionaries(tmp_path):
    data = {"u": torch.from_numpy(U), "t": torch.from_numpy(T), "x": torch.from_numpy(X)}
    torch.save({"data": data, "about": {"nu": 3}}, tmp_path / "a.pt")
    torch.save({"data": {"u": data["u"]}, "grid": {"x": data["x"], "t": data["t"]}}, tmp_path / "b.pt")
    for name, options in (("a", {"times": "data/t"}), ("a", {}), ("b", {})):
        states = read_states(tmp_path / f"{name}.pt", dims="sample,time,x", **options)
        assert np.array_equal(state_array(states)[:, :, 0], U)
        assert np.allclose(states.time, T)
        assert np.allclose(states.x, X)
        assert not [note for note in states.attrs["notes"] if "left out" in note]
    assert read_states(tmp_path / "a.pt").attrs["parameters"] == {"nu": 3}


def test_a_list_of_tensors_of_other_shapes_is_refused(tmp_path):
    torch.save([torch.zeros(3, 4), torch.zeros(2, 4)], tmp_path / "a.pt")
    with pytest.raises(ValueError, match="holds 2 tensors of unequal shapes, 2 x 4 to 3 x 4; cut them"):
        open_source(tmp_path / "a.pt")


def test_tensors_that_numpy_has_no_like_of_are_refused(tmp_path):
    torch.save({"u": torch.eye(3).to_sparse()}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt can't be read \(.*\); save dense tensors of numbers"):
        open_source(tmp_path / "a.pt")


def test_matlab_7_3_has_its_axes_in_matlabs_order(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        for name, a in {"u": U[0].T, "x": X[:, None], "t": T[:, None]}.items():
            file.create_dataset(name, data=a.T).attrs["MATLAB_class"] = np.bytes_("double")
    with (tmp_path / "a.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    states = read_states(tmp_path / "a.mat")
    assert states.u.dims == ("x", "time")
    assert np.array_equal(state_array(states)[0, :, 0], U[0])
    assert np.array_equal(state_array(states.isel(time=slice(1, 3)))[0, :, 0], U[0, 1:3])


def test_dimension_scales_of_plain_hdf5(tmp_path):
    """One scale missing, one only a label: those that are there count."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/u"], file["lat"], file["time"] = U.transpose(1, 0, 2), np.arange(5.0), np.arange(6.0)
        file["lat"].make_scale("lat"), file["time"].make_scale("time")
        file["g/u"].dims[0].attach_scale(file["lat"])
        file["g/u"].dims[1].attach_scale(file["time"])
        file["g/u"].dims[2].label = "lon"
    states = read_states(tmp_path / "a.h5")
    assert states["g/u"].dims == ("lat", "time", "lon")
    assert np.array_equal(state_array(states)[0, :, 0], U)


def test_a_square_field_in_pdebenchs_layout_asks_for_its_axes(tmp_path):
    u = np.random.default_rng(1).normal(size=(3, 2, 4, 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["t-coordinate"], file["x-coordinate"], file["y-coordinate"] = u, np.arange(2.0), X, -X
    assert set(read_states(tmp_path / "a.h5").dims) == {"sample", "time", "axis_2", "axis_3"}
    states = read_states(tmp_path / "a.h5", dims="sample,time,y,x")
    assert states.u.dims == ("sample", "time", "y", "x")
    assert np.array_equal(states.y, -X)


def test_variables_that_only_carry_attributes_do_no_harm(tmp_path):
    """A map projection is a variable of which no number was ever written."""
    path = grid(tmp_path / "a.nc")
    with h5py.File(path, "r+") as file:
        file.create_dataset("crs", (), "i4").attrs["spatial_ref"] = h5py.Empty("S1")
        file["nu"] = 0.5
    states = read_states(path)
    assert states.attrs["parameters"] == {"nu": 0.5}
    assert np.array_equal(state_array(states)[0, :, 0], U)


def test_complex_fields_are_two_channels(tmp_path):
    path = archive(tmp_path / "a.mat", u=U[0] + 1j * U[1], t=T, x=X)
    states = read_states(path)
    assert list(states.data_vars) == ["u_real", "u_imag"]
    assert np.array_equal(state_array(states)[0].transpose(1, 0, 2), U[:2])


def test_times_and_positions_that_are_named_are_not_left_out(tmp_path):
    path = archive(tmp_path / "a.npz", u=U, Zeit=T, Ort=X, other=np.zeros((3, 2)))
    states = read_states(path, "u", "sample,time,x", times="Zeit", positions={"x": "Ort"})
    assert [n for n in states.attrs["notes"] if n.startswith("left")] == ["left out: other (choose with --variable)"]


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_only_what_is_not_stored_is_left_out(suffix, tmp_path):
    """A number for each sample is a parameter, in MATLAB as a matrix of one row; another array is not."""
    path = archive(tmp_path / f"a{suffix}", u=U, t=T, x=X, kappa=np.arange(6.0), other=np.zeros((3, 2)))
    states = read_states(path, "u")
    assert states.attrs["parameters"] == {"kappa": [0, 1, 2, 3, 4, 5]}
    assert [n for n in states.attrs["notes"] if n.startswith("left")] == ["left out: other (choose with --variable)"]


def test_a_zarr_store(tmp_path):
    pytest.importorskip("zarr")
    open_source(grid(tmp_path / "a.nc")).drop_attrs(deep=False).to_zarr(tmp_path / "a.zarr", zarr_format=2)
    assert np.array_equal(state_array(read_states(tmp_path / "a.zarr"))[0, :, 0], U)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_without_names_of_axes(zarr_format, tmp_path):
    """As Zarr itself writes arrays, in a group or alone; a chunk that is not stored is told."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "g.zarr", mode="w", zarr_format=zarr_format)
    for name, values in {"u": U, "t": T, "half": U}.items():
        a = group.create_array(name, shape=values.shape, chunks=(2, *values.shape[1:])[: values.ndim], dtype="f4")
        a[:4] = values[:4]
        if name != "half":
            a[:] = values
    states = read_states(tmp_path / "g.zarr", "u", "sample,time,x")
    assert np.array_equal(state_array(states)[:, :, 0], U)
    assert np.allclose(states["time"], T)
    assert not [n for n in states.attrs["notes"] if "chunks" in n and "`u`" in n]
    told = [n for n in read_states(tmp_path / "g.zarr", "half", "sample,time,x").attrs["notes"] if "chunks" in n]
    assert told == ["`half`: 1 of 3 chunks are not stored, and count as 0.0"]

    alone = zarr.create_array(tmp_path / "u.zarr", shape=U.shape, dtype="f4", zarr_format=zarr_format)
    alone[:] = U
    found = read_states(tmp_path / "u.zarr", dims="sample,time,x", times="0:1")
    assert np.array_equal(state_array(found)[:, :, 0], U)


def test_axes_keep_their_positions_and_times_under_other_names(tmp_path):
    """`--dims` says what axes are, and the file where they lie, under whatever names."""
    where = {"when": np.array([0.0, 1.0, 3.0, 4.0, 5.0, 6.0]), "row": np.linspace(60, -60, 5), "column": np.arange(4.0)}
    xr.Dataset({"u": (tuple(where), U)}, where).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    states = read_states(tmp_path / "a.nc", dims="time,lat,x")
    for name, values in zip(("time", "lat", "x"), where.values(), strict=True):
        assert np.array_equal(states[name], values)


PACKED = {
    "scale_factor": ("'none'", "one finite number, not 0"),
    "add_offset": ("nan", "one finite number"),
    "missing_value": ("'none'", "a number"),
}


@pytest.mark.parametrize("suffix", [".h5", ".nc", ".zarr"])
@pytest.mark.parametrize("key", PACKED)
def test_numbers_that_say_how_values_are_packed_are_numbers(key, suffix, tmp_path):
    """Anything else would unpack to anything, or leave missing values in; a number that is written as text is one."""

    def stored(**attrs):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}{suffix}"
        data = xr.Dataset({"u": (("time", "lat", "lon"), (100 * U).astype("i2"), attrs)})
        if suffix == ".zarr":
            pytest.importorskip("zarr")
            data.to_zarr(path, zarr_format=2)
        elif suffix == ".nc":
            data.to_netcdf(path, engine="scipy", format="NETCDF3_64BIT")
        else:
            data.to_netcdf(path, engine="h5netcdf", invalid_netcdf=True)
        return path

    value, rule = PACKED[key]
    with pytest.raises(ValueError, match=rf"`{key}` of `u` of \S+ must be {rule}, got {value}; correct it"):
        open_source(stored(**{key: np.nan if value == "nan" else "none"}))
    expected = {"scale_factor": 2.0 * (100 * U).astype("i2"), "add_offset": (100 * U).astype("i2") + 2.0}
    found = open_source(stored(**{key: "2"})).u.values
    assert np.allclose(found, expected.get(key, found))
    assert key != "missing_value" or np.isnan(found).sum() == ((100 * U).astype("i2") == 2).sum()


@pytest.mark.parametrize("scale", [0.0, [0.1, 0.2]])
def test_packing_by_nothing_or_by_two_numbers_is_refused(scale, tmp_path):
    data = xr.Dataset({"u": (("time", "lat", "lon"), (100 * U).astype("i2"), {"scale_factor": scale})})
    data.to_netcdf(tmp_path / "a.nc", engine="scipy", format="NETCDF3_64BIT")
    with pytest.raises(ValueError, match=r"`scale_factor` of `u` of \S+ must be one finite number, not 0, got"):
        open_source(tmp_path / "a.nc")


def test_an_observation_alone_keeps_unnamed_axes(tmp_path):
    np.save(tmp_path / "a.npy", U[:, 0])
    states = read_states(tmp_path / "a.npy")
    assert dict(states.sizes) == {"axis_0": 6, "axis_1": 4}
    assert np.array_equal(states.a, U[:, 0])
