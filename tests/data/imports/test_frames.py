"""Initial and final states that are two arrays, of one file or of two, become trajectories of two times."""

import re

import numpy as np
import pytest
import xarray as xr

from physinv.cli import app as cli
from physinv.data.dataset import TrajectoryDataset
from physinv.data.importing import Choices, import_trajectories
from physinv.data.imports.plan import plan_import

rng = np.random.default_rng(0)
FIRST = rng.normal(size=(40, 5)).astype(np.float32)
LAST = FIRST / 2
VECTORS = {"frames": "x0,xT", "dims": "sample,component", "times": "0:2"}


def every(folder):
    """All states of a dataset, whatever split they are in: those of both times, in the order of the first numbers."""
    sets = [TrajectoryDataset(folder / "data" / split) for split in ("train", "valid", "test")]
    x0, xT = (np.concatenate([d.states(i).numpy() for d in sets]) for i in (0, -1))
    order = np.argsort(x0.reshape(len(x0), -1)[:, 0])
    return x0[order], xT[order], sets[0]


def test_two_arrays_of_one_file_and_two_files_are_the_same_pairs(tmp_path):
    np.savez(tmp_path / "pairs.npz", x0=FIRST, xT=LAST)
    np.save(tmp_path / "x0.npy", FIRST)
    np.save(tmp_path / "xT.npy", LAST)
    order = np.argsort(FIRST[:, 0])
    for name, files in {"one": ["pairs.npz"], "two": ["x0.npy", "xT.npy"]}.items():
        out = import_trajectories([tmp_path / f for f in files], tmp_path / name, Choices(**VECTORS))
        x0, xT, data = every(out)
        assert np.array_equal(x0, FIRST[order])
        assert np.array_equal(xT, LAST[order])
        assert data.times.tolist() == [0, 2]
        assert data.layout.names == ("x",)  # what `x0` and `xT` have in common


def test_fields_keep_their_axes_and_what_is_known_beside_them(tmp_path):
    """Positions and times of the file, and a number for each sample; `x` of the frames is an axis, so no name."""
    more = {"x": np.linspace(0, 1, 5), "t": np.array([3.0, 7.0]), "load": np.arange(40.0)}
    np.savez(tmp_path / "pairs.npz", x0=FIRST, xT=LAST, **more)
    choices = Choices(frames="x0,xT", dims="sample,x", boundary="wall")
    x0, xT, data = every(import_trajectories([tmp_path / "pairs.npz"], tmp_path / "out", choices))
    order = np.argsort(FIRST[:, 0])
    assert np.array_equal(xT[:, 0], LAST[order])
    assert np.array_equal(x0[:, 1, 0], order)  # the load of each sample
    assert (data.layout.names, data.layout.static) == (("state", "load"), ("load",))
    assert data.layout.coordinates == ((0, 0.25, 0.5, 0.75, 1),)
    assert data.times.tolist() == [0, 4]


def test_named_axes_need_no_dims_and_three_times_are_in_the_order_of_the_frames(tmp_path):
    states = {f"u_{name}": (("case", "y", "x"), np.full((30, 3, 4), i)) for i, name in enumerate("abc")}
    xr.Dataset(states).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    choices = Choices(frames="u_c,u_a,u_b", times="1")
    data = TrajectoryDataset(import_trajectories([tmp_path / "a.nc"], tmp_path / "out", choices) / "data" / "train")
    assert data.trajectories()[0, :, 0, 0, 0].tolist() == [2, 0, 1]
    assert (data.layout.names, data.layout.space) == (("u",), ("y", "x"))


def test_splits_of_folders_and_files_of_pairs_stay_as_they_are(tmp_path):
    """Two arrays in each folder are one set; where each file has both, each file is a set of its own."""
    for split, n in {"train": 20, "valid": 7, "test": 3}.items():
        folder = tmp_path / "folders" / split
        folder.mkdir(parents=True)
        np.save(folder / "x0.npy", FIRST[:n])
        np.save(folder / "xT.npy", LAST[:n])
    picks = plan_import([tmp_path / "folders"], Choices(**VECTORS)).picks
    assert {split: len(p) for split, p in picks.items()} == {"train": 20, "valid": 7, "test": 3}
    (tmp_path / "parts").mkdir()
    for i in range(2):
        np.savez(tmp_path / "parts" / f"{i}.npz", x0=FIRST[20 * i :][:20], xT=LAST[20 * i :][:20])
    plan = plan_import([tmp_path / "parts"], Choices(**VECTORS))
    assert [r.count for r in plan.recordings] == [20, 20]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"dims": None}, "holds 40 x 5 numbers; name its 2 axes with `--dims`, such as sample,component or sample,x"),
        ({"dims": "sample"}, "holds 40 x 5 numbers; name its 2 axes"),
        ({"dims": "sample,time"}, "has an axis of time already"),
        ({"times": None}, "give `--times`"),
        ({"frames": "x0"}, "`--frames` must name two or more variables, each once, such as initial,final, got x0"),
        ({"frames": "x0,x0"}, "each once"),
        ({"frames": "x0,XT"}, "has no variable `XT` (`--frames`); there are odd, x0, xT"),
        ({"frames": "x0,odd"}, "`x0` 40 x 5 and `odd` 40 x 4 of"),
    ],
)
def test_what_is_missing_is_one_line(changed, expected, tmp_path):
    np.savez(tmp_path / "a.npz", x0=FIRST, xT=LAST, odd=FIRST[:, :4])
    with pytest.raises(ValueError, match=re.escape(expected)):
        plan_import([tmp_path / "a.npz"], Choices(**{**VECTORS, **changed}))


def test_a_frame_in_two_files_and_frames_beside_variables_are_refused(tmp_path):
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", x0=FIRST)
    np.savez(tmp_path / "b.npz", x0=FIRST, xT=LAST)
    with pytest.raises(ValueError, match=r"`x0` \(`--frames`\) is in .*a.npz, .*b.npz; give one of them"):
        plan_import([tmp_path / "a.npz", tmp_path / "b.npz"], Choices(**VECTORS))
    with pytest.raises(ValueError, match="`frames` and `variable`"):
        Choices(**VECTORS, variable="x0")


def test_two_arrays_without_time_are_told_of_frames(tmp_path, capsys):
    """The hint names the arrays, so that it can be copied."""
    np.savez(tmp_path / "a.npz", start=FIRST, end=LAST)
    with pytest.raises(SystemExit):
        cli.main(["import", str(tmp_path / "a.npz"), "--dry-run"])
    assert "add `--frames start,end --times 0:1`" in " ".join(capsys.readouterr().err.split())
    hint = "--frames start,end --times 0:1 --dims sample,component --dry-run"
    cli.main(["import", str(tmp_path / "a.npz"), *hint.split()])
    assert "40 trajectories of 2 times" in capsys.readouterr().out


ROWS = ["a0,b0,load,aT,bT", *(f"{i},{-i},{7 * i},{i + 0.5},{-i - 0.5}" for i in range(30))]


def test_columns_of_a_table_are_pairs(tmp_path):
    """A row is a pair; columns that no frame names are known; the numbers are called by what their columns share."""
    (tmp_path / "pairs.csv").write_text("\n".join(ROWS))
    choices = Choices(frames="a0+b0,aT+bT", times="0:1")
    x0, xT, data = every(import_trajectories([tmp_path / "pairs.csv"], tmp_path / "out", choices))
    i = np.arange(30)
    assert x0.tolist() == np.stack([i, -i, 7 * i], 1).tolist()
    assert xT.tolist() == np.stack([i + 0.5, -i - 0.5, 7 * i], 1).tolist()
    assert data.config["components"] == ["a", "b"]
    assert data.layout.static == ("load",)


def test_many_columns_are_named_by_how_they_begin_and_may_be_points_of_a_field(tmp_path):
    names = [f"u{when}_{i}" for when in "0T" for i in range(10)]
    np.savetxt(tmp_path / "a.csv", np.hstack([FIRST, LAST] * 2), delimiter=",", header=",".join(names), comments="")
    told = {"frames": "u0_*,uT_*", "times": "0:1"}
    assert plan_import([tmp_path / "a.csv"], Choices(**told)).config["components"] == [f"u_{i}" for i in range(10)]
    field = Choices(**told, dims="sample,x", boundary="wall")
    x0, xT, data = every(import_trajectories([tmp_path / "a.csv"], tmp_path / "out", field))
    order = np.argsort(FIRST[:, 0])
    assert np.array_equal(x0[:, 0], np.hstack([FIRST, LAST])[order])
    assert np.array_equal(x0, xT)
    assert (data.layout.names, data.layout.space) == (("u",), ("x",))


def test_two_tables_of_the_same_columns_are_called_as_their_files(tmp_path):
    for name, x in {"start": FIRST, "end": LAST}.items():
        np.savetxt(tmp_path / f"{name}.csv", x, delimiter=",", header="a,b,c,d,e", comments="")
    files = [tmp_path / "start.csv", tmp_path / "end.csv"]
    x0, xT, data = every(import_trajectories(files, tmp_path / "out", Choices(frames="start,end", times="0:1")))
    assert np.allclose(xT, x0 / 2)
    assert np.array_equal(x0, FIRST[np.argsort(FIRST[:, 0])])
    assert data.config["components"] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ("a0+c0,aT+bT", "has no column `c0` (`--frames a0+c0`)"),
        ("a0+b0,b0+bT", "column `b0` of"),
        ("q*,aT+bT", "has no variable `q*` (`--frames`)"),
        ("a0+b0,aT", "`a0+b0` 30 x 2 and `aT` 30 of"),
    ],
)
def test_columns_that_are_not_there_are_one_line(frames, expected, tmp_path):
    (tmp_path / "pairs.csv").write_text("\n".join(ROWS))
    with pytest.raises(ValueError, match=re.escape(expected)):
        plan_import([tmp_path / "pairs.csv"], Choices(frames=frames, times="0:1"))


@pytest.mark.parametrize("columns", [4, 20])
def test_a_table_of_pairs_is_told_of_frames(columns, tmp_path):
    names = [f"{v}{when}" for when in "0T" for v in "abcdefghij"[: columns // 2]]
    np.savetxt(tmp_path / "a.csv", np.ones((9, columns)), delimiter=",", header=",".join(names), comments="")
    told = "`--frames 'a0+b0,aT+bT' --times 0:1`" if columns == 4 else "`--frames 'x0_*,xT_*' --times 0:1`"
    with pytest.raises(ValueError, match=re.escape(told)):
        plan_import([tmp_path / "a.csv"], Choices())
