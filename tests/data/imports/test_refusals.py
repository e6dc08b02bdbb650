"""Files that cannot be imported end in one line that says what is wrong, and leave nothing behind."""

import re
import shutil

import h5py
import numpy as np
import pytest
from import_cases import STORED, write_burgers, write_groups, write_well

from physinv.cli import app as cli
from physinv.data.importing import Choices, check_values, import_trajectories
from physinv.data.imports.plan import plan_import


def bad_times(file):
    file["dimensions/time"][2] = 0.0


def nan(file):
    file["t0_fields/density"][1, 2, 3, 1] = np.nan


def short(file):
    del file["t0_fields/density"]
    file["t0_fields/density"] = np.zeros((4, 5, 8, 4), "f4")


def too_large(file):
    del file["t0_fields/density"]
    file["t0_fields/density"] = np.full((4, 6, 8, 4), 1e50)


def no_dimension(file):
    del file["dimensions/y"]


def other_grid(file):
    del file["0003/grid/t"]
    file["0003/grid/t"] = np.arange(4.0) * 2


def two_times_more(file):
    del file["t-coordinate"]
    file["t-coordinate"] = np.arange(12.0)


BAD = {
    "times": (lambda p: write_well(p, spoil=bad_times), "must be 2 or more finite numbers, strictly increasing"),
    "nan": (
        lambda p: write_well(p, spoil=nan),
        "1 of 288 numbers of a state of {0} are missing (NaN) at some times only",
    ),
    "large": (lambda p: write_well(p, spoil=too_large), "of {0} holds 1e+50, which does not fit float32"),
    "shape": (lambda p: write_well(p, spoil=short), "`density` of {0} must have shape (4, 6, 8, 4), got (4, 5, 8, 4)"),
    "incomplete": (lambda p: write_well(p, spoil=no_dimension), "{0} is not whole"),
    "grids": (lambda p: write_groups(p, spoil=other_grid), "`0003/grid/t` of {0} must be that of 0000"),
    "clock": (lambda p: write_burgers(p, spoil=two_times_more), "`t-coordinate` of {0} must hold 9 times, got 12"),
    "unknown": (lambda p: h5py.File(p, "w").close(), "{0} holds no arrays of numbers"),
    "text": (lambda p: p.write_text("no"), "is of no known format"),
    "missing": (lambda p: None, "there is no file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_leaves_nothing(case, tmp_path, capsys):
    make, expected = BAD[case]
    path = tmp_path / "x.hdf5"
    make(path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["import", str(path), "--out", str(tmp_path / "out")])
    *progress, line = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert expected.format(path) in line
    assert all(told.startswith("importing, ") for told in progress)  # of a machine that is busy for over a second
    assert not (tmp_path / "out").exists()


def test_files_must_belong_together_and_data_are_not_lost(tmp_path):
    a, b = write_well(tmp_path / "a.hdf5"), write_well(tmp_path / "b.hdf5", nu=0.7)
    with pytest.raises(ValueError, match="differ in their parameters"):
        import_trajectories([a, b], tmp_path / "out")
    out = import_trajectories([a], tmp_path / "out")
    with pytest.raises(ValueError, match="was written by physinv"):
        import_trajectories([out / "data/train/recorded_000.hdf5"], tmp_path / "again")
    with pytest.raises(FileExistsError, match="--overwrite"):
        import_trajectories([b], out)
    before = (out / "dataset.json").read_bytes()
    bad = write_well(tmp_path / "bad.hdf5", spoil=nan)
    with pytest.raises(ValueError, match=r"missing \(NaN\) at some times only, first in trajectory 1"):
        import_trajectories([bad], out, overwrite=True)
    assert (out / "dataset.json").read_bytes() == before  # a failure costs nothing
    assert sorted(p.name for p in out.iterdir()) == ["data", "dataset.json", "stats.yaml"]
    import_trajectories([b], out, overwrite=True)
    assert (out / "dataset.json").read_bytes() != before
    shutil.copy(a, out / "data" / "a.hdf5")
    with pytest.raises(ValueError, match="a folder of its own"):
        import_trajectories([out / "data" / "a.hdf5"], out, overwrite=True)
    for shares in ({"valid": 0.0}, {"valid": 0.6, "test": 0.5}):
        with pytest.raises(ValueError, match="`valid`"):
            Choices(**shares)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (np.nan, "1 of 16 numbers of a state of {path} are missing (NaN) at some times only, first in trajectory 5"),
        (np.inf, "trajectory 5 of {path} holds NaN or infinity; leave it out"),
        (-1e50, "trajectory 5 of {path} holds -1e+50, which does not fit float32 (at most 3.4e+38); write the states"),
    ],
)
def test_a_dry_run_refuses_the_values_that_the_import_refuses(bad, expected, tmp_path):
    path = tmp_path / "a.npz"
    w = np.random.default_rng(0).normal(size=(30, 6, 16))
    w[5, 2, 3] = bad
    np.savez(path, **{**STORED, "w": w})
    plan = plan_import([path], Choices())
    assert not check_values(plan, most_bytes=30 * 6 * 16 * 8 - 1)
    for look in (lambda: check_values(plan), lambda: import_trajectories([path], tmp_path / "out")):
        with pytest.raises(ValueError, match=re.escape(expected.format(path=path))):
            look()


def test_two_rows_of_a_sensor_at_a_time_are_no_recording(tmp_path):
    """A long table, as pandas melts one, with a sensor twice: its rows in their order are no states."""
    rows = [f"2020-01-{d:02d},{name},{d + i}" for d in range(1, 20) for i, name in enumerate(("north", "south"))]
    (tmp_path / "long.csv").write_text("\n".join(["date,station,temp", *rows, "2020-01-03,north,7"]))
    with pytest.raises(ValueError, match="row 2 holds 2020-01-01T00:00:00 after 2020-01-01T00:00:00"):
        plan_import([tmp_path / "long.csv"], Choices(window=3))
    with pytest.raises(ValueError, match=r"some repeat; make one row of all that belongs to a time"):
        plan_import([tmp_path / "long.csv"], Choices(dims="time", window=3))


def test_pairs_of_functions_have_no_time(tmp_path):
    """Input and output of an operator, as neuraloperator stores them: `x` is the name of states, and of an axis."""
    pair = np.random.default_rng(0).normal(size=(2, 30, 1, 16))
    np.savez(tmp_path / "pairs.npz", x=pair[0], y=pair[1])
    with pytest.raises(ValueError, match=r"have the name of an axis in `--dims`.* call the axis otherwise"):
        plan_import([tmp_path / "pairs.npz"], Choices(variable="x", dims="sample,channel,x"))
    with pytest.raises(ValueError, match=r"none of which is time.*are named by `--frames`, such as `--frames initial"):
        plan_import([tmp_path / "pairs.npz"], Choices(variable="x,y", dims="sample,channel,s"))
    pairs = plan_import([tmp_path / "pairs.npz"], Choices(frames="x,y", dims="sample,channel,s", times="0:1"))
    assert pairs.recorded.layout.shape == (1, 16)
