"""What an import understands of a file is what the file says, and what it does not say is asked for."""

import re

import h5py
import numpy as np
import pytest
import xarray as xr
from import_cases import STORED, write_burgers

from physinv.cli import app as cli
from physinv.data.importing import Choices
from physinv.data.imports.plan import plan_import


def test_what_is_not_said_is_asked_for(tmp_path):
    """One line for each, with the option that helps."""
    u = np.zeros((9, 8, 7))
    one = {"u": u[0], "t": np.arange(8.0), "x": np.arange(7.0)}
    cases = (
        ("`--dims`, such as sample,time,x", {"u": u}, Choices()),
        ("such as sample,time,y,x", {"u": np.zeros((9, 8, 7, 7))}, Choices()),  # rows before columns
        ("such as sample,time,y,x", {"u": np.zeros((9, 8, 7, 7)), "x": one["x"], "y": one["x"]}, Choices()),
        ("give `--times`", {"u": u}, Choices(dims="sample,time,x")),
        ("cut it into trajectories with `--window`", one, Choices()),
    )
    for i, (expected, arrays, choices) in enumerate(cases):
        np.savez(tmp_path / f"{i}.npz", **arrays)
        with pytest.raises(ValueError, match=re.escape(expected)):
            plan_import([tmp_path / f"{i}.npz"], choices)
    with pytest.raises(ValueError, match="`--window` spans 9 of the 8 stored times"):
        plan_import([tmp_path / "4.npz"], Choices(window=9))
    with pytest.raises(ValueError, match="take a longer recording"):
        plan_import([tmp_path / "4.npz"], Choices(window=2))
    with pytest.raises(ValueError, match="`--boundary` names the axis `y`"):
        plan_import([tmp_path / "4.npz"], Choices(window=2, boundary="y=wall"))


def test_an_axis_of_runs_behind_time_is_named_before_it_is_cut(tmp_path):
    """As MATLAB users store repeated experiments, a column for each: one window less would be no state of them."""
    np.savez(tmp_path / "a.npz", t=np.arange(9.0), y=np.random.default_rng(0).normal(size=(9, 40)))
    with pytest.raises(
        ValueError, match=r"with `--window`.* The 40 along .* runs of an experiment.*`--dims time,sample`"
    ):
        plan_import([tmp_path / "a.npz"], Choices())
    assert len(plan_import([tmp_path / "a.npz"], Choices(dims="time,sample")).picks["train"]) == 32


def test_axes_of_members_are_known_by_name_and_others_are_asked_for():
    """What is taken for an axis of space makes one recording of many."""
    u = np.random.default_rng(0).normal(size=(12, 6, 5))
    for axis in ("ens", "trial", "seed", "shot", "patient_id", "chain", "ensemble_member"):
        data = xr.Dataset({"u": ((axis, "time", "x"), u)}, {"time": np.arange(6.0)})
        assert sum(map(len, plan_import([data], Choices()).picks.values())) == 12
    with pytest.raises(
        ValueError, match=r"If its axis `profile` numbers trajectories, .* `--dims`, `sample` in its place"
    ):
        plan_import([xr.Dataset({"u": (("profile", "time", "x"), u)}, {"time": np.arange(6.0)})], Choices())
    with pytest.raises(ValueError, match=r"for example 2\.$"):
        plan_import([xr.Dataset({"u": (("lat", "time", "x"), u)}, {"time": np.arange(6.0)})], Choices())


def test_numbers_may_have_units(tmp_path):
    np.save(tmp_path / "u.npy", np.random.default_rng(0).normal(size=(12, 6, 5)))
    chosen = Choices(dims="sample,time,x", times="2 min", positions={"x": "0:1 cm"})
    plan = plan_import([tmp_path / "u.npy"], chosen)
    assert plan.recorded.times.tolist() == [0, 2, 4, 6, 8, 10]
    assert plan.recorded.layout.coordinates == ((0, 0.25, 0.5, 0.75, 1),)
    assert (plan.config["time_unit"], plan.config["axis_units"]) == ("min", {"x": "cm"})


@pytest.mark.parametrize(
    ("expected", "changed"),
    [
        ("does not name its axes 0 (16), 2 (16); name all in their order with `--dims`, such as sample,time,x", {}),
        ("has 15 numbers, and `w` no axis of that length (16 x 6 x 16)", {"x": np.arange(15.0)}),
        ("`x` of {path} neither increases nor decreases", {"x": np.zeros(16)}),
        ("`x` of {path} holds NaN", {"x": np.r_[np.nan, 1:16]}),
        ("`t` of {path} has 5 numbers, and `w` no axis of that length (16 x 6 x 16)", {"t": np.arange(5.0)}),
        ("`t` of {path} neither increases nor decreases", {"t": np.zeros(6)}),
        ("`t` of {path} has one number, and physics shows in states at 2 times", {"w": (9, 1, 16), "t": np.zeros(1)}),
        ("`t` of {path} holds NaN", {"t": np.r_[np.nan, 1:6]}),
        (
            "does not name its axes 2 (20); name all in their order with `--dims`, such as x,time,sample",
            {"w": (16, 6, 20)},
        ),
        ("name all in their order with `--dims`, such as time,x,sample", {"w": (6, 6, 20), "x": np.arange(6.0)}),
    ],
)
def test_stored_positions_are_never_dropped_for_a_guess(expected, changed, tmp_path):
    """Two axes of one length, or positions that fit none: no axis is called samples or components all the same."""
    path = tmp_path / "a.npz"
    if "w" in changed:
        changed = {**changed, "w": np.zeros(changed["w"])}
    np.savez(path, **{**STORED, **changed})
    with pytest.raises(ValueError, match=re.escape(expected.format(path=path))):
        plan_import([path], Choices())


def test_axes_are_not_named_against_the_lengths_of_what_is_stored(tmp_path):
    """MATLAB's order, (x, time, sample), named the other way round: the data would be transposed."""
    path = tmp_path / "a.npz"
    np.savez(path, w=STORED["w"][:9].T, t=STORED["t"], X=STORED["x"])
    right = plan_import([path], Choices(dims="x,time,sample")).recorded.layout.coordinates
    assert right == (tuple(STORED["x"].tolist()),)
    with pytest.raises(ValueError, match=re.escape(f"`X` of {path} has 16 numbers, the axis `x` has 9 points")):
        plan_import([path], Choices(dims="sample,time,x"))
    with pytest.raises(ValueError, match=re.escape(f"`t` of {path} has 6 numbers, the axis of time has 16 points")):
        plan_import([path], Choices(dims="time,sample,x"))
    own = Choices(dims="sample,time,x", positions={"x": "0:8"})
    assert plan_import([path], own).recorded.layout.coordinates == (tuple(map(float, range(9))),)


def test_stored_positions_of_other_names_are_told_of(tmp_path):
    """A square grid in PDEBench's layout whose axes the user calls otherwise than the file."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["t-coordinate"] = np.zeros((9, 2, 4, 4)), np.arange(2.0)
        file["x-coordinate"], file["y-coordinate"] = np.arange(4.0), -np.arange(4.0)
    notes = plan_import([tmp_path / "a.h5"], Choices(dims="sample,time,height,x")).notes
    hint = "the file holds y of 4 points: give --positions height=y if that is it"
    assert [n for n in notes if "positions" in n] == [f"no positions along height: numbered 0 to 3 ({hint})"]
    plan = plan_import([tmp_path / "a.h5"], Choices(dims="sample,time,lat,lon"))
    assert plan.recorded.layout.coordinates == ((0, -1, -2, -3), (0, 1, 2, 3))
    assert "positions along lat are `y` of the file" in plan.notes


def test_dates_beside_an_array_are_its_times(tmp_path):
    days = np.datetime64("2020-02-27") + np.array([0, 1, 2, 3, 4, 6]) * np.timedelta64(1, "D")
    np.savez(tmp_path / "a.npz", **{**STORED, "w": STORED["w"][:9], "t": days})
    assert plan_import([tmp_path / "a.npz"], Choices()).recorded.times.tolist() == [0, 1, 2, 3, 4, 6]


def test_a_dry_run_shows_what_was_understood_and_writes_nothing(tmp_path, capsys):
    write_burgers(tmp_path / "b.hdf5", 20)
    cli.main(["import", str(tmp_path / "b.hdf5"), "--dry-run", "--out", str(tmp_path / "out")])
    shown = capsys.readouterr().out
    assert "20 trajectories of 9 times" in shown
    assert "train 16, valid 2, test 2 (trajectories at random)" in shown
    assert "16 points, 0 to 5.89049, open" in shown
    assert "finite, in float32 too" in shown
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_float32_rounds(tmp_path, capsys):
    """A level of 1e7 with changes of .1 arrives as whole numbers: to be known before anything is written."""
    u = 1e7 + 0.1 * np.random.default_rng(0).normal(size=(20, 6, 8))
    np.savez(tmp_path / "a.npz", u=u, t=np.arange(6.0), x=np.arange(8.0))
    cli.main(["import", str(tmp_path / "a.npz"), "--dry-run"])
    said = " ".join("".join(capsys.readouterr()).split())
    assert "`u` has values up to 1e+07" in said
    assert "subtract a constant" in said
    np.savez(tmp_path / "a.npz", u=u - 1e7, t=np.arange(6.0), x=np.arange(8.0))
    cli.main(["import", str(tmp_path / "a.npz"), "--dry-run"])
    assert "subtract a constant" not in " ".join("".join(capsys.readouterr()).split())


def test_a_column_of_times_with_another_name_is_suggested_and_no_state(tmp_path):
    """Spaces and letters of any language: the line can be copied, and the column that it names is not reconstructed."""
    rows = [f"{1_600_000_000 + 60 * i},{20 + i % 7},{i % 5}" for i in range(200)]
    (tmp_path / "log.csv").write_text("\n".join(["Uhr (s),T außen,état", *rows]), "utf-8")
    with pytest.raises(
        ValueError, match=re.escape("its 200 rows were taken; name the column of times with `--times`, ")
    ):
        plan_import([tmp_path / "log.csv"], Choices(window=5))
    with pytest.raises(ValueError, match=re.escape('such as `--times "Uhr (s)"`, or give a step')):
        plan_import([tmp_path / "log.csv"], Choices(window=5))
    plan = plan_import([tmp_path / "log.csv"], Choices(window=5, times="Uhr (s)"))
    assert plan.config["components"] == ["T_außen", "état"]
    assert plan.recorded.times.tolist() == [0, 60, 120, 180, 240]
    (tmp_path / "bare.csv").write_text("\n".join(["a,b", *(f"{i % 3},{i % 4}" for i in range(50))]))
    with pytest.raises(ValueError, match=re.escape("times with `--times`, or give a step, such as `--times 0.1`.")):
        plan_import([tmp_path / "bare.csv"], Choices(window=5))


def test_a_folder_without_validation_says_what_to_do(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        np.savez(tmp_path / split / "a.npz", u=np.zeros((20, 6, 8)), t=np.arange(6.0), x=np.arange(8.0))
    with pytest.raises(ValueError, match=r"must hold a folder `valid` beside `train`.* import .*train alone, which is"):
        plan_import([tmp_path], Choices())
