"""Times of observations are those of the run: in its unit, of all of them, and what is left out is said."""

import numpy as np
import pytest
import xarray

from physinv.data.final_states import read_final_states
from physinv.data.observed.times import ratio
from physinv.processes.layout import FieldLayout, VectorLayout

X = np.arange(16) / 16
LINE = FieldLayout("u", "x", [X], "PERIODIC")
STATES = np.random.default_rng(0).normal(size=(3, 5, 16)).astype("f4")
DAY = {"units": {"time": "hours"}}  # of a run with T = 24


def stored(folder, times, attrs, dims=("n", "time", "x")):
    values = STATES if len(dims) == 3 else STATES[0, : len(times)]
    data = xarray.Dataset({"u": (dims, values)}, {"x": X, "time": ("time", times, attrs)})
    data.to_netcdf(folder / "a.nc", engine="h5netcdf")
    return folder / "a.nc"


@pytest.mark.parametrize(("end", "unit"), [(24, "hours"), (1440, "minutes"), (86400, "s"), (1, "d"), (24, "")])
def test_times_in_any_unit_are_compared_in_that_of_the_run(end, unit, tmp_path):
    path = stored(tmp_path, np.linspace(0, end, 5), {"units": unit} if unit else {})
    found = read_final_states(path, LINE, 24.0, **DAY)
    assert np.array_equal(found.states[:, 0], STATES[:, -1])
    assert found.notes == ()


@pytest.mark.parametrize(
    ("end", "unit", "said"),
    [
        (24, "s", r"ends at time 24 s \(0\.00666667 hours\), .* at T = 24 hours;"),
        (720, "minutes", r"ends at time 720 minutes \(12 hours\), .* at T = 24 hours;"),
        (23, "steps", "ends at time 23 steps, .* at T = 24 hours;"),
    ],
)
def test_another_final_time_is_refused_with_its_unit(end, unit, said, tmp_path):
    path = stored(tmp_path, np.linspace(0, end, 5), {"units": unit})
    with pytest.raises(ValueError, match=said):
        read_final_states(path, LINE, 24.0, **DAY)


def test_units_that_cannot_be_compared_are_told_and_of_a_single_number_too(tmp_path):
    found = read_final_states(stored(tmp_path, np.linspace(0, 24, 5), {"units": "steps"}), LINE, 24.0, **DAY)
    assert [note.rpartition(": ")[2] for note in found.notes] == [
        "times are in steps, those of the run in hours; taken for the same."
    ]
    data = xarray.Dataset({"u": (("n", "x"), STATES[0]), "t_final": ((), 1.0, {"units": "d"})}, {"x": X})
    data.to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    assert len(read_final_states(tmp_path / "b.nc", LINE, 24.0, **DAY)) == 5
    with pytest.raises(ValueError, match=r"`t_final` of .* is 1 d \(24 hours\), .* at T = 1 hours;"):
        read_final_states(tmp_path / "b.nc", LINE, 1.0, **DAY)
    assert ratio("Minutes", "h") == 1 / 60
    assert ratio("Ms", "s") is None, "megaseconds are no milliseconds"


@pytest.mark.parametrize("name", ["time", "t"])
def test_times_of_each_observation_must_all_be_the_final_time(name, tmp_path):
    for times, of in (([1.0, 1.0, 1.0], None), ([1.0, 0.5, 1.0], 1)):
        np.savez(tmp_path / "a.npz", u=STATES[:, 0], x=X, **{name: np.array(times)})
        if of is None:
            assert len(read_final_states(tmp_path / "a.npz", LINE, 1.0)) == 3
        else:
            with pytest.raises(ValueError, match=rf"`{name}` of .* is 0.5 for observation {of}, .* at T = 1;"):
                read_final_states(tmp_path / "a.npz", LINE, 1.0)
    (tmp_path / "b.csv").write_text(f"{name},a,b\n1,2.5,3.5\n1,4.5,5.5\n0.5,6.5,7.5\n")
    with pytest.raises(ValueError, match=r"is 0\.5 for observation 2"):
        read_final_states(tmp_path / "b.csv", VectorLayout("v", 2), 1.0, components=["a", "b"])


def test_times_of_trajectories_are_no_times_of_observations(tmp_path):
    """As many trajectories as times."""
    np.savez(tmp_path / "a.npz", u=STATES.swapaxes(0, 1)[:3], x=X, t=[0.0, 0.5, 1.0])
    found = read_final_states(tmp_path / "a.npz", LINE, 1.0, dims="sample,time,x")
    assert len(found) == 3


def test_maps_at_several_dates_of_which_the_last_one_counts_are_told(tmp_path):
    dates = np.arange("2003-01-01T00", "2003-01-02T01", 12, dtype="datetime64[h]").astype("datetime64[ns]")
    path = stored(tmp_path, dates, {}, ("time", "x"))
    found = read_final_states(path, LINE, 24.0, **DAY)
    assert np.array_equal(found.states[:, 0], STATES[0, 2:3])
    assert [note.partition(": ")[2] for note in found.notes] == [
        "the last of 3 times is the observation, 2 before it are left out; if each is an observation of its own: "
        "`--dims sample,x`."
    ]
    assert len(read_final_states(path, LINE, 24.0, dims="sample,x", **DAY)) == 3

    # Times of each observation that increase may be those of a trajectory: the line says how that is told.
    np.savez(tmp_path / "b.npz", u=STATES[0, :3].reshape(3, 4, 4), time=[6.0, 12.0, 24.0])
    found = read_final_states(tmp_path / "b.npz", FieldLayout("u", ("x", "y"), [X[:4]] * 2, "WALL"), 24.0)
    assert len(found) == 1
    assert "2 before it are left out; if each is an observation of its own: `--dims sample,...`." in found.notes[0]
