"""Axes of observations are those of the run by name, by direction, else in order; never exchanged in silence."""

import h5py
import numpy as np
import pytest
import xarray

from physinv.data.final_states import read_final_states
from physinv.data.observed.axes import kind_of
from physinv.processes.layout import FieldLayout

LINE = 30.0 + np.arange(8)
MAP = FieldLayout("tas", ("lat", "lon"), [LINE, LINE], "WALL")
PLANE = FieldLayout("tas", ("y", "x"), [LINE, LINE], "WALL")
STATES = np.random.default_rng(0).normal(size=(3, 8, 8)).astype("f4")


def stored(folder, first, second, values=STATES, attrs=({}, {}), at=(LINE, LINE)):
    """A file with axes of any names; ``values`` lie along (n, first, second)."""
    axes = {name: (name, x, a) for name, a, x in zip((first, second), attrs, at, strict=True)}
    data = xarray.Dataset({"tas": (("n", first, second), values)}, axes)
    data.to_netcdf(folder / "a.nc", engine="h5netcdf")
    return folder / "a.nc"


KNOWN = {
    MAP: "latitude,longitude Latitude,Longitude LAT,LON y,x nav_lat,nav_lon rlat,rlon south_north,west_east",
    PLANE: "Y,X lat,lon y_m,x_m projection_y_coordinate,projection_x_coordinate yc,xc north,east",
}


@pytest.mark.parametrize(
    ("layout", "north", "east"), [(layout, *p.split(",")) for layout, names in KNOWN.items() for p in names.split()]
)
def test_axes_of_a_square_are_known_by_many_names(layout, north, east, tmp_path):
    found = read_final_states(stored(tmp_path, east, north, STATES.swapaxes(1, 2)), layout, 1.0)
    assert np.array_equal(found.states[:, 0], STATES)
    assert found.notes == ()


def test_attributes_say_what_an_axis_is(tmp_path):
    for attrs in (
        ({"units": "degrees_east"}, {"units": "degrees_north"}),
        ({"axis": "X"}, {}),
        ({}, {"standard_name": "grid_latitude"}),
    ):
        path = stored(tmp_path, "a", "b", STATES.swapaxes(1, 2), attrs)
        found = read_final_states(path, MAP, 1.0)
        assert np.array_equal(found.states[:, 0], STATES), attrs
    assert kind_of("lon", {"units": "degreesE"}) == kind_of("a", {"units": "degree_east"}) == "x"


def test_what_is_not_known_is_taken_in_order_with_a_notice_and_contradictions_are_refused(tmp_path):
    found = read_final_states(stored(tmp_path, "a", "b"), MAP, 1.0)
    assert np.array_equal(found.states[:, 0], STATES)
    assert [n.rpartition(": ")[2] for n in found.notes] == [
        "the axes a, b are taken for lat, lon of the run, in that order."
    ]
    with pytest.raises(
        ValueError, match=r"has the axes x, lon, the run lat, lon, and x is no lat; .* sample,lat,lon\."
    ):
        read_final_states(stored(tmp_path, "x", "lon"), MAP, 1.0)
    found = read_final_states(tmp_path / "a.nc", MAP, 1.0, dims="sample,lat,lon")
    assert np.array_equal(found.states[:, 0], STATES)


def test_an_axis_that_counts_observations_may_stand_beside_axes_under_other_names(tmp_path):
    axes = {"longitude": LINE, "latitude": LINE}
    data = xarray.Dataset({"tas": (("longitude", "station", "latitude"), STATES.transpose(2, 0, 1))}, axes)
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    found = read_final_states(tmp_path / "a.nc", MAP, 1.0)
    assert np.array_equal(found.states[:, 0], STATES)
    assert len(found.notes) == 1


def test_a_map_is_no_series_of_observations_along_a_line(tmp_path):
    path = stored(tmp_path, "longitude", "latitude")
    with pytest.raises(ValueError, match="must vary along x, got longitude, latitude"):
        read_final_states(path, FieldLayout("tas", "x", [LINE], "WALL"), 1.0)


def test_a_named_axis_beside_one_without_a_name_is_known(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["tas"], file["longitude"] = STATES.swapaxes(1, 2), LINE
        file["longitude"].make_scale("longitude")
        file["tas"].dims[1].attach_scale(file["longitude"])
    assert np.array_equal(read_final_states(tmp_path / "a.h5", MAP, 1.0).states[:, 0], STATES)


def test_lines_name_the_axis_of_the_file(tmp_path):
    path = stored(tmp_path, "longitude", "latitude", STATES.swapaxes(1, 2), at=(100 + LINE, LINE))
    with pytest.raises(ValueError, match=r"longitude \(lon of the run\) of .* covers 130 to 137"):
        read_final_states(path, MAP, 1.0)
