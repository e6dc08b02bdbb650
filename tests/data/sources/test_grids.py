"""GRIB: names, units and dates, and what is damaged or left out; made and read where its library is installed."""

import numpy as np
import pytest

from physinv.data.sources.read import read_states


def grib(path, names, days=5):
    """A GRIB file of fields of 4 x 3 points, message by message; each name comes with its kind of level and level."""
    eccodes = pytest.importorskip("eccodes")
    with path.open("wb") as file:
        for day in range(days):
            for name, kind, level in names:
                message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
                size = {"Ni": 4, "Nj": 3, "iDirectionIncrementInDegrees": 10, "jDirectionIncrementInDegrees": 20}
                ends = {"longitudeOfLastGridPointInDegrees": 30, "latitudeOfFirstGridPointInDegrees": 40}
                for key, value in {**size, **ends, "latitudeOfLastGridPointInDegrees": 0}.items():
                    eccodes.codes_set(message, key, value)
                eccodes.codes_set(message, "dataDate", 20010101 + day)
                eccodes.codes_set(message, "typeOfLevel", kind)
                eccodes.codes_set(message, "level", level)
                eccodes.codes_set(message, "shortName", name)
                eccodes.codes_set_values(message, np.arange(12.0) + day)
                eccodes.codes_write(message, file)
                eccodes.codes_release(message)
    return path


def test_a_grib_file_has_names_units_and_dates(tmp_path):
    found = read_states(grib(tmp_path / "a.grib", [("2t", "heightAboveGround", 2)]))
    assert found["t2m"].attrs["units"] == "K"
    assert found["t2m"].shape == (5, 3, 4)
    assert np.allclose(found["t2m"][3], np.arange(12.0).reshape(3, 4) + 3, atol=1e-3)
    assert found["latitude"].values.tolist() == [40, 20, 0]
    assert found["time"].values.tolist() == [978350400 + 86400 * day for day in range(5)]
    assert found["time"].attrs["units"] == "seconds since 1970-01-01T00:00:00"


def test_a_grib_file_that_is_cut_off_is_refused(tmp_path, capfd):
    path = grib(tmp_path / "a.grib", [("2t", "heightAboveGround", 2)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="cut off or damaged, 1 of its messages can't be read; copy it again"):
        read_states(path)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_variables_of_a_grib_file_that_do_not_go_together_are_told(tmp_path, capfd):
    path = grib(tmp_path / "a.grib", [("2t", "heightAboveGround", 2), ("10u", "heightAboveGround", 10)])
    found = read_states(path)
    assert found.attrs["notes"][0] == "`u10` is left out: its places, levels or times are not those of the others"
    assert "Traceback" not in "".join(capfd.readouterr())
