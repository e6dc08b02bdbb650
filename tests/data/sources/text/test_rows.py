"""Rows of tables along times, positions and names of sensors, and the many ways to say when."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest

from physinv.data.imports.choices import Choices
from physinv.data.imports.plan import plan_import
from physinv.data.imports.recording import Recording
from physinv.data.sources.read import open_source, read_states, state_array

U = np.random.default_rng(0).normal(size=(6, 3)).round(4)  # (time, sensor)
LAT, LON = np.array([50.0, 40.0]), np.array([0.0, 10.0, 20.0])


def wide(path, times, name="time", **how):
    table = pd.DataFrame(U, columns=["a", "b", "c"])
    table.insert(0, name, times)
    table.to_csv(path, index=False, **how)


@pytest.mark.parametrize("mark", [["north", "south", "east"], [7, 8, 11]])
def test_a_row_for_each_time_and_sensor(mark, tmp_path):
    rows = [(t, m, U[t, i]) for t in range(6) for i, m in enumerate(mark)]
    table = pd.DataFrame(rows, columns=["time", "station", "temp [K]"])
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "a.csv", index=False)
    states = read_states(tmp_path / "a.csv")
    order = sorted(range(3), key=lambda i: str(mark[i]))
    called = [mark[i] if isinstance(mark[i], str) else f"station_{mark[i]}" for i in order]
    assert sorted(states.data_vars) == sorted(called)
    found = np.stack([state_array(states[[name]])[0, :, 0] for name in called], 1)
    assert np.array_equal(found, U[:, order])


def test_positions_with_units_and_points_of_a_map_without_a_row(tmp_path):
    rows = [(t, x, U[t, i]) for t in range(6) for i, x in enumerate((0.0, 0.5, 1.0))]
    pd.DataFrame(rows, columns=["t [s]", "x [m]", "u [K]"]).to_csv(tmp_path / "a.csv", index=False)
    states = read_states(tmp_path / "a.csv")
    assert np.array_equal(state_array(states)[0, :, 0], U)
    assert (states.x.values.tolist(), states.x.attrs["units"]) == ([0, 0.5, 1], "m")
    points = [p for p in itertools.product(LAT, LON) if p != (50.0, 10.0)]  # land
    table = pd.DataFrame(
        [(t, *p, t + p[0] + p[1]) for t in range(4) for p in points], columns=["time", "lat", "lon", "u"]
    )
    table.to_csv(tmp_path / "map.csv", index=False)
    states = read_states(tmp_path / "map.csv")
    expected = np.arange(4.0)[:, None, None] + states.lat.values[:, None] + states.lon.values
    expected[:, list(states.lat.values).index(50.0), 1] = np.nan
    assert np.array_equal(state_array(states)[0, :, 0], expected, equal_nan=True)


def test_runs_by_identifier(tmp_path):
    rows = [(k, t, U[t, k]) for k in range(3) for t in range(6)]
    pd.DataFrame(rows, columns=["experiment_id", "t", "u"]).to_csv(tmp_path / "a.csv", index=False)
    assert np.array_equal(state_array(read_states(tmp_path / "a.csv"))[:, :, 0], U.T)


def test_a_temperature_beside_positions_is_no_time(tmp_path):
    pd.DataFrame({"x": range(4), "T": [3.0, 1.0, 4.0, 1.0], "u": range(4)}).to_csv(tmp_path / "a.csv", index=False)
    assert list(open_source(tmp_path / "a.csv").data_vars) == ["x", "T", "u"]


MONTHS = pd.date_range("2001-01-01", periods=6, freq="MS")


@pytest.mark.parametrize(
    ("times", "name", "expected", "unit"),
    [
        (pd.date_range("2020-01-01", periods=6, freq="h").strftime("%d.%m.%Y %H:%M"), "Datum", range(6), "hours"),
        ([f"{24 + i}:30:00" for i in range(6)], "elapsed", [3600 * i for i in range(6)], "seconds"),
        ([str(pd.Timedelta(hours=20 * i)) for i in range(6)], "time", [72000 * i for i in range(6)], "seconds"),
        (["22:00", "23:00", "00:00", "01:00", "02:00", "03:00"], "time", [3600 * i for i in range(6)], "seconds"),
        (1.6e9 + 60.0 * np.arange(6), "unix_time", [60 * i for i in range(6)], ""),
    ],
)
def test_times_in_words_that_loggers_use(times, name, expected, unit, tmp_path):
    """Clock times count from midnight, not from that of the day on which the file is read."""
    wide(tmp_path / "a.csv", times, name)
    recording = Recording(read_states(tmp_path / "a.csv"))
    assert np.allclose(recording.times - recording.times[0], expected)
    assert str(recording.about.get("time_unit", "")) == unit
    assert ("origin_date" in recording.about) == (name == "Datum")
    assert np.array_equal(recording.read(slice(None))[0], U)


def test_dates_without_a_name_or_in_parts_or_backward(tmp_path):
    pd.DataFrame(U, columns=["a", "b", "c"], index=MONTHS).to_csv(tmp_path / "index.csv")
    table = pd.DataFrame(U, columns=["a", "b", "c"]).assign(year=MONTHS.year, month=MONTHS.month)
    table.to_csv(tmp_path / "parts.csv", index=False)
    wide(tmp_path / "newest.csv", MONTHS)
    rows = (tmp_path / "newest.csv").read_text().splitlines()
    (tmp_path / "newest.csv").write_text("\n".join([rows[0], *rows[:0:-1]]))
    for name in ("index", "parts", "newest"):
        states = read_states(tmp_path / f"{name}.csv")
        assert states.time.values.tolist() == [0, 31, 59, 90, 120, 151]
        assert states.time.attrs["units"] == "days since 2001-01-01T00:00:00"
        assert np.array_equal(state_array(states)[0], U)
    assert any("run backward" in note for note in states.attrs["notes"])


def test_dates_and_clocks_in_two_columns_and_two_columns_of_times(tmp_path):
    hours = pd.date_range("2004-03-18 18:00", periods=6, freq="h")
    table = pd.DataFrame(U, columns=["a", "b", "c"])
    table.insert(0, "Time", hours.strftime("%H.%M.%S"))
    table.insert(0, "Date", hours.strftime("%d/%m/%Y"))
    table.to_csv(tmp_path / "dots.csv", sep=";", decimal=",", index=False)
    table = table.drop(columns=["Date", "Time"]).assign(elapsed=range(6))
    table.insert(0, "Date Time", hours.strftime("%Y-%m-%d %H:%M"))
    table.to_csv(tmp_path / "both.csv", index=False)
    for name in ("dots", "both"):
        states = read_states(tmp_path / f"{name}.csv")
        assert states.time.values.tolist() == list(range(6))
        assert np.array_equal(state_array(states)[0], U)
    assert "left out: elapsed (times are those of Date Time)" in states.attrs["notes"]


def test_rows_twice_and_clocks_that_are_put_back(tmp_path):
    hours = [f"2021-10-31 {h}" for h in ("01:30", "02:00", "02:30", "02:00", "02:30", "03:00")]
    wide(tmp_path / "a.csv", hours)
    told = "row 4 holds 2021-10-31T02:00:00 after 2021-10-31T02:30:00 (local times go back by an hour where daylight"
    with pytest.raises(ValueError, match=re.escape(told)):
        plan_import([tmp_path / "a.csv"], Choices(window=2))
    wide(tmp_path / "twice.csv", range(6))
    rows = (tmp_path / "twice.csv").read_text().splitlines()
    (tmp_path / "twice.csv").write_text("\n".join([*rows[:4], *rows[3:], ",,,"]))
    states = read_states(tmp_path / "twice.csv")
    assert np.array_equal(state_array(states)[0], U)
    assert "1 rows that repeat another one in all columns are left out" in states.attrs["notes"]
    (tmp_path / "blank.csv").write_text("\n".join([*rows[:3], rows[3].replace("2,", ",", 1), *rows[4:]]))
    with pytest.raises(ValueError, match="row 3 holds none: leave it out"):
        plan_import([tmp_path / "blank.csv"], Choices(window=2))


def test_words_of_a_switch_are_numbers_where_it_is_asked_for(tmp_path):
    wide(tmp_path / "a.csv", range(6))
    table = pd.read_csv(tmp_path / "a.csv").assign(heater=["on", "off", "Off", "On", "on", "off"], room=list("abcdef"))
    table.to_csv(tmp_path / "a.csv", index=False)
    assert list(read_states(tmp_path / "a.csv").data_vars) == ["a", "b", "c"]
    assert state_array(read_states(tmp_path / "a.csv", "heater")).ravel().tolist() == [1, 0, 0, 1, 1, 0]
    with pytest.raises(ValueError, match=r"`room` of .* holds text"):
        read_states(tmp_path / "a.csv", "room")
