"""Numbers outside of what a file calls valid are missing, packed or not."""

import numpy as np
import pytest
import xarray as xr

from physinv.data.final_states import read_final_states
from physinv.data.sources.read import read_states, state_array
from physinv.processes.layout import FieldLayout
from physinv.runs.record_file import read_numbers

STORED = np.array([[-5, 0, 10], [50, 100, 101]])  # (time, x)


def states(tmp_path, stored, engine="h5netcdf", **attrs):
    """States of a file of numbers as they are stored, with attributes."""
    times = {"time": ("time", [0.0, 1.0], {"units": "s"})}
    data = xr.Dataset({"u": (("time", "x"), stored, attrs)}, {**times, "x": [0.0, 1.0, 2.0]})
    data.to_netcdf(tmp_path / "a.nc", engine=engine)
    return read_states(tmp_path / "a.nc")


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
@pytest.mark.parametrize(
    ("attrs", "missing"),
    [
        ({"valid_range": np.array([0, 100], "i2")}, [-5, 101]),
        ({"valid_min": np.int16(0)}, [-5]),
        ({"valid_max": np.int16(100)}, [101]),
        ({"valid_range": np.array([0.9, 1.2])}, [-5, 0, 10, 100, 101]),  # unpacked: 75 is 1
        ({"valid_range": np.array([7, 7], "i2")}, []),  # says nothing
        ({"valid_range": "from here"}, []),
        ({"valid_range": "0, 100"}, [-5, 101]),  # numbers in words
        ({"valid_max": "100"}, [101]),
        ({"valid_range": np.array([100, 0], "i2")}, [-5, 101]),
        ({"valid_range": np.array([np.nan, 1.51])}, [101]),
        ({"valid_range": np.array([-5, 101], "i2"), "valid_max": np.int16(100)}, [101]),
        ({}, []),
    ],
)
def test_packed_numbers(attrs, missing, engine, tmp_path):
    stored = np.where(STORED == 50, 75, STORED).astype("i2")
    packed = {"scale_factor": 0.02, "add_offset": -0.5}
    found = states(tmp_path, stored, engine, **packed, **attrs)
    x = state_array(found)[0, :, 0]
    lost = np.isin(stored, missing)
    assert np.isnan(x).tolist() == lost.tolist()
    assert np.allclose(x[~lost], (0.02 * stored - 0.5)[~lost], atol=1e-6)
    assert any("other numbers count as missing" in note for note in found.attrs["notes"]) == bool(missing)


def test_a_negative_scale_turns_the_bounds_around(tmp_path):
    found = states(tmp_path, STORED.astype("i2"), scale_factor=-0.1, valid_range=np.array([0, 100], "i2"))
    assert np.isnan(state_array(found)[0, :, 0]).tolist() == [[True, False, False], [False, False, True]]
    assert "`u` is valid from -10.05 to 0.05: other numbers count as missing" in found.attrs["notes"]


def test_numbers_that_are_not_packed_keep_their_bounds(tmp_path):
    stored = STORED.astype("f4") / 10
    found = states(tmp_path, stored, valid_min=0.0, valid_max=10.1)  # 10.1 is larger than its float32, and still valid
    assert np.isnan(state_array(found)[0, :, 0]).tolist() == [[True, False, False], [False, False, False]]


def test_unsigned_bytes_have_bounds_beyond_those_of_signed_ones(tmp_path):
    stored = np.array([[0, 100, -56], [-1, 10, 20]], "i1")  # 0, 100, 200; 255, 10, 20
    found = states(tmp_path, stored, _Unsigned="true", valid_range=np.array([10, -6], "i1"))  # 10 to 250
    assert state_array(found)[0, :, 0].tolist()[1][1:] == [10, 20]
    assert np.isnan(state_array(found)[0, :, 0]).tolist() == [[True, False, False], [True, False, False]]


def test_observations_are_not_taken_from_numbers_that_are_not_valid(tmp_path):
    x = np.arange(4) / 4
    stored = np.array([[1.0, 2.0, 3.0, 99.0], [1.0, 2.0, 3.0, 4.0]])
    data = xr.Dataset({"u": (("sample", "x"), stored, {"valid_range": [0.0, 10.0]})}, {"x": x})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="NaN"):
        read_final_states(tmp_path / "a.nc", FieldLayout("u", "x", [x], "PERIODIC"), 1.0)
    assert np.isnan(read_numbers(tmp_path / "a.nc", None, "entry 0").numpy()).tolist() == (stored > 10).tolist()
