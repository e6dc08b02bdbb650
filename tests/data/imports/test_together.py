"""Files that are imported together agree in units and in the order of their columns."""

import re

import numpy as np
import pytest
import xarray as xr

from physinv.data.importing import Choices
from physinv.data.imports.plan import plan_import

U = np.random.default_rng(0).normal(size=(6, 4, 3))  # (sample, time, x)


def source(unit="m", clock="h", line="km"):
    axes = {"time": ("time", np.arange(4.0), {"units": clock}), "x": ("x", np.arange(3.0), {"units": line})}
    return xr.Dataset({"h": (("sample", "time", "x"), U, {"units": unit} if unit else {})}, axes)


@pytest.mark.parametrize(
    ("other", "line"),
    [
        ({"unit": "km"}, "`h` is in m in {a}, and in km in {b}; write all in one unit."),
        ({"clock": "s"}, "time is in h in {a}, and in s in {b}; write all in one unit."),
        ({"line": "m"}, "`x`, an axis, is in km in {a}, and in m in {b}; write all in one unit."),
    ],
)
def test_other_units_are_refused(other, line, tmp_path):
    a, b = tmp_path / "a.nc", tmp_path / "b.nc"
    source().to_netcdf(a, engine="scipy")
    source(**other).to_netcdf(b, engine="scipy")
    with pytest.raises(ValueError, match=re.escape(line.format(a=a, b=b))):
        plan_import([tmp_path], Choices())


def test_other_spellings_and_none_are_no_other_units(tmp_path):
    plan = plan_import([source(""), source("meters", "hours"), source(clock="hours since 2000-01-01")], Choices())
    assert sum(map(len, plan.picks.values())) == 18
    with pytest.raises(ValueError, match=r"`h` is in meters .* and in km "):
        plan_import([source(""), source("meters"), source("km")], Choices())


def test_frames_in_other_units_are_refused():
    pair = xr.Dataset({"a": (("sample", "x"), U[:, 0], {"units": "m"}), "b": (("sample", "x"), U[:, 1])})
    assert sum(map(len, plan_import([pair], Choices(frames="a,b", times="0:1")).picks.values())) == 6
    pair.b.attrs["units"] = "cm"
    with pytest.raises(ValueError, match="`a` is in m and `b` in cm"):
        plan_import([pair], Choices(frames="a,b", times="0:1"))


def test_columns_in_another_order_are_refused(tmp_path):
    """Vectors have no names but those of their numbers: they would be exchanged in silence."""
    for name, columns in (("a.csv", "time,u,v"), ("b.csv", "time,v,u")):
        (tmp_path / name).write_text("\n".join([columns, *(f"{i},{i % 3},{i % 5}" for i in range(40))]))
    with pytest.raises(ValueError, match=r"a.csv has the columns u, v, .*b.csv v, u; give all"):
        plan_import([tmp_path], Choices(window=3))
    plan = plan_import([tmp_path], Choices(window=3, variable="u,v"))
    assert plan.config["components"] == ["u", "v"]
