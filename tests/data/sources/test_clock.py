"""Months and years since a date are days of the calendar that the file names, counted from that date."""

import numpy as np
import pytest
import xarray as xr

from physinv.data.sources.clock import clock_of, durations_of, number_and_unit


@pytest.mark.parametrize(
    ("unit", "calendar", "days"),
    [
        ("months since 1999-12-01", "standard", [0, 31, 62, 91]),
        ("months since 1999-12-01", "noleap", [0, 31, 62, 90]),
        ("months since 1999-12-01", "360_day", [0, 30, 60, 90]),
        ("months since 1999-12-15", "standard", [14, 45, 76, 105]),
        ("years since 1999-01-01", "standard", [0, 365, 731, 1096]),
        ("years since 1999-01-01", "365_day", [0, 365, 730, 1095]),
        ("years since 1999-01-01", "360_day", [0, 360, 720, 1080]),
    ],
)
def test_months_of_a_calendar(unit, calendar, days):
    line = clock_of(xr.DataArray(np.arange(4.0), attrs={"units": unit, "calendar": calendar}), "`t`")
    assert line.values.tolist() == days
    assert (line.unit, line.origin) == ("days", unit.split()[-1][:8] + "01")


def test_durations_are_no_dates_and_dates_no_durations():
    words = xr.DataArray(np.array(["23:59:30", "24:00:00", "1 days, 0:00:30"]))
    assert clock_of(words, "`t`").values.tolist() == [86370, 86400, 86430]
    assert durations_of(["12:30", "noon"]) is None
    assert durations_of(["2020-01-01 12:30"]) is None
    assert durations_of([""]) is None


@pytest.mark.parametrize("text", ["1e-3", "1E5", "0.5", "0:1e2", "-1e-3:2", "t", "t2", "2 m b"])
def test_exponents_and_names_are_no_units(text):
    assert number_and_unit(text) == (text, "")


@pytest.mark.parametrize("unit", ["s", "min", "degC", "m/s", "eV", "%", "°C"])
def test_a_unit_may_follow_a_number(unit):
    for number in ("1e-3", "2", "0:1.5e2", "-1:.5"):
        for blank in ("", " "):
            assert number_and_unit(f"{number}{blank}{unit}") == (number, unit)
