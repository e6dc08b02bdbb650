"""Recordings are cut into windows: pieces of them, on one grid of times, apart where splits meet."""

import json
import math

import numpy as np
import pytest
import torch
import xarray as xr

from physinv.cli import app as cli
from physinv.data.dataset import TrajectoryDataset
from physinv.data.importing import Choices, import_trajectories
from physinv.data.imports.plan import plan_import
from physinv.data.imports.windows import Window, held_out, part_of_each


def test_a_recording_is_cut_into_windows_and_blocks_of_time(tmp_path, capsys):
    """Every window is a piece of the recording, and those of different splits are a window apart."""
    times, every, states = 0.5 * np.arange(400), 2, 5
    np.savez(tmp_path / "a.npz", t=times, y=np.stack([np.arange(400.0), np.arange(400.0) ** 2], 1))
    call = f"import {tmp_path}/a.npz --out {tmp_path}/out --window {states} --every {every} --stride 3"
    cli.main(call.split())
    said = capsys.readouterr()
    assert "windows overlap, so splits are blocks of time" in said.err
    assert "(blocks of time with gaps)" in said.out
    covered = {}
    for split in ("train", "valid", "test"):
        data = TrajectoryDataset(tmp_path / "out/data" / split)
        assert np.allclose(data.times, [0, 1, 2, 3, 4])
        x = data.trajectories().numpy()
        starts = x[:, 0, 0].astype(int)
        assert np.array_equal(x[..., 0], starts[:, None] + every * np.arange(states))
        assert np.array_equal(x[..., 1], x[..., 0] ** 2)
        covered[split] = np.unique(starts[:, None] + np.arange(9))
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        assert np.abs(covered[a][:, None] - covered[b]).min() > 9  # 9 stored times between them, as long as a window
    assert sum(map(len, covered.values())) > 250
    config = json.loads((tmp_path / "out/dataset.json").read_text())["config"]
    train = TrajectoryDataset(tmp_path / "out/data/train").trajectories()[:, 0, 0]
    breaks = 1 + int((train.diff() > 3).sum())
    assert config["window"] == {"states": 5, "every": 2, "stride": 3, "blocks": [44, 46]}
    assert breaks == len(config["window"]["blocks"])
    assert sum(config["window"]["blocks"]) == len(train)
    assert config["split"] == "blocks of time with gaps"


def test_a_random_split_of_windows_is_by_recording(tmp_path):
    """Asked for, whole recordings are set aside with all their windows."""
    u = np.broadcast_to(np.arange(10.0)[:, None, None], (10, 12, 3))
    np.savez(tmp_path / "a.npz", u=u, t=np.arange(12.0))
    out = import_trajectories([tmp_path / "a.npz"], tmp_path / "out", Choices(window=4, split_by="trajectory"))
    owners = [
        set(TrajectoryDataset(out / "data" / s).trajectories()[:, 0, 0].tolist()) for s in ("train", "valid", "test")
    ]
    assert sorted(n for owned in owners for n in owned) == list(range(10))
    assert [len(o) for o in owners] == [8, 1, 1]


def test_files_of_different_years_are_recordings_of_one_system(tmp_path):
    """Windows need no common origin of time, nor equal lengths; none lies across two files."""
    for year, n in ((2000, 60), (2010, 80)):
        times = np.arange(float(n)) + 1000 * (year - 2000)
        xr.Dataset({"u": (("time", "x"), np.stack([times, times], 1))}, {"time": times}).to_netcdf(
            tmp_path / f"{year}.nc", engine="h5netcdf"
        )
    out = import_trajectories([tmp_path], tmp_path / "data" / "out", Choices(window=3, boundary="periodic"))
    for split in ("train", "valid", "test"):
        x = TrajectoryDataset(out / "data" / split).trajectories()[:, :, 0, 0]
        assert (x.diff(dim=1) == 1).all()
        assert (x[:, 0] < 1000).any()
        assert (x[:, 0] >= 1000).any()


def test_the_phase_of_a_cycle_is_context(tmp_path):
    times = 3.0 * np.arange(100) + 40
    np.savez(tmp_path / "a.npz", t=times, x=np.arange(4.0), u=np.repeat(times[:, None], 4, 1))
    call = f"import {tmp_path}/a.npz --out {tmp_path}/out --window 3 --stride 2 --period 50"
    cli.main(call.split())
    data = TrajectoryDataset(tmp_path / "out/data/test")
    assert data.layout.static == ("phase_sine", "phase_cosine")
    x = data.trajectories()
    angle = 2 * math.pi * x[:, :1, :1] / 50  # of the first state of each window
    assert torch.allclose(x[:, :, 1:2], angle.sin().expand(-1, 3, 1, 4), atol=1e-5)
    assert torch.allclose(x[:, :, 2:], angle.cos().expand(-1, 3, 1, 4), atol=1e-5)
    with pytest.raises(ValueError, match="`period` must be a positive time and needs `window`"):
        Choices(period=3.0)


def test_uneven_times(tmp_path):
    """Months share one grid, a gap loses the windows across it, and times without a rhythm ask for interpolation."""
    lengths = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] * 10)
    months = np.concatenate([[0], np.cumsum(lengths)])
    np.savez(tmp_path / "m.npz", t=months, y=np.stack([months, months], 1))
    plan = plan_import([tmp_path / "m.npz"], Choices(window=3))
    assert plan.recorded.times[1].item() == pytest.approx(365 / 12, abs=0.5)
    assert any("are stored as their mean" in note for note in plan.notes)

    gap = np.concatenate([np.arange(60.0), 1000 + np.arange(60.0)])
    np.savez(tmp_path / "g.npz", t=gap, y=np.stack([gap, gap], 1))
    out = import_trajectories([tmp_path / "g.npz"], tmp_path / "gap", Choices(window=3))
    for split in ("train", "valid", "test"):
        assert (TrajectoryDataset(out / "data" / split).trajectories().diff(dim=1) == 1).all()

    with pytest.raises(ValueError, match=r"^`--stride` must be at most 120, the times of a recording, got 121"):
        plan_import([tmp_path / "g.npz"], Choices(window=3, stride=121))

    wild = np.cumsum(np.random.default_rng(0).exponential(size=60))
    np.savez(tmp_path / "w.npz", t=wild, y=np.stack([2 * wild, wild], 1))
    with pytest.raises(ValueError, match="interpolate with `--resample`"):
        plan_import([tmp_path / "w.npz"], Choices(window=3))
    out = import_trajectories([tmp_path / "w.npz"], tmp_path / "wild", Choices(window=3, resample=0.5))
    x = TrajectoryDataset(out / "data/train").trajectories()
    assert torch.allclose(x.diff(dim=1), torch.tensor([1.0, 0.5]).expand(len(x), 2, 2), atol=1e-5)


def test_windows_of_uneven_times_name_what_would_keep_them(tmp_path):
    """Jitter in places; a gap is left out either way, so that nothing is named where there is no more."""
    times = np.arange(300.0)
    times[::25] += 0.2
    for name, t in (("jitter", times), ("gap", np.r_[np.arange(130.0), np.arange(230.0, 400.0)])):
        np.savez(tmp_path / f"{name}.npz", t=t, y=np.stack([t, t], 1))
        notes = plan_import([tmp_path / f"{name}.npz"], Choices(window=4)).notes
        (said,) = [note for note in notes if "windows left out" in note]
        assert ("`--resample 1` interpolates to even times" in said) == (name == "jitter")
    notes = plan_import([tmp_path / "jitter.npz"], Choices(window=4, resample=1.0)).notes
    assert not any("left out" in note for note in notes)


def test_the_shortest_of_many_recordings_says_how_long_windows_may_be(tmp_path):
    """What is named at once is taken, whichever file comes first."""
    for i, n in enumerate((90, 60, 41)):
        np.savez(tmp_path / f"{i}.npz", t=np.arange(float(n)), y=np.ones((n, 2)).cumsum(0))
    with pytest.raises(ValueError, match=r"of 41 stored .*take at most 8 states, set .* with `--split-by trajectory`"):
        plan_import([tmp_path], Choices(window=15))
    assert plan_import([tmp_path], Choices(window=8)).picks["train"]
    assert plan_import([tmp_path], Choices(window=15, split_by="trajectory")).picks["train"]
    with pytest.raises(ValueError, match=r"take at most 5 states"):  # more aside takes more from training
        plan_import([tmp_path], Choices(window=8, valid=0.4, test=0.4))


def test_nothing_is_interpolated_across_a_gap(tmp_path):
    """Two hours of a logger that stood still in between, and times that grow apart as those of a solver do."""
    times = np.concatenate([np.arange(0, 60, 1.0), np.arange(160, 220, 1.0)])
    np.savez(tmp_path / "a.npz", t=times, y=np.stack([times, -times], 1))
    plan = plan_import([tmp_path / "a.npz"], Choices(window=3, resample=0.5))
    assert "201 times in gaps of the recording left out, not interpolated" in plan.notes  # 59.5, 60, ..., 159.5
    starts = [a for picks in plan.picks.values() for _, _, a in picks]
    recording = next(iter(plan.picks.values()))[0][0]
    assert all(np.allclose(np.diff(recording.times[a : a + 3]), 0.5) for a in starts)

    np.savez(tmp_path / "b.npz", t=np.geomspace(1, 1e4, 80), u=np.geomspace(1, 1e4, 160).reshape(80, 2))
    notes = plan_import([tmp_path / "b.npz"], Choices(window=3, resample=50.0)).notes
    assert not [n for n in notes if "gaps" in n]
    with pytest.raises(ValueError, match=r"must not make more than 100 times of one of the 80 of \S+, got 0.1"):
        plan_import([tmp_path / "b.npz"], Choices(window=3, resample=0.1))


@pytest.mark.parametrize("period", [0.0, math.nan, math.inf])
def test_periods_are_times(period):
    with pytest.raises(ValueError, match="`period` must be a positive time"):
        Choices(window=3, period=period)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_lie_between_what_is_left_and_share_no_times_with_it(parts):
    """Three blocks of 40 windows of 5 times: what is held out lies in every one of them."""
    window, starts = Window(states=5, every=1, stride=1), np.concatenate([100 * k + np.arange(40) for k in range(3)])
    config = {"window": {"states": 5, "every": 1, "stride": 1, "blocks": [40, 40, 40]}}
    found = held_out(120, parts, config)
    assert np.array_equal(np.sort(np.concatenate([part for part, _ in found])), np.arange(120))
    times = starts[:, None] + np.arange(window.span)
    for part, rest in found:
        assert not set(times[part].flat) & set(times[rest].flat)
        assert {start // 100 for start in starts[part]} == {0, 1, 2}
        assert len(rest) >= 120 - len(part) - 3 * 2 * 4  # three blocks, four neighbours on both sides


def test_blocks_that_are_too_short_or_of_other_data_divide_nothing():
    """A part would be empty, or a subset of the trajectories was taken: lengths of time are those of all of them."""
    for blocks in ([2] * 10, [30, 30]):
        config = {"window": {"states": 2, "every": 1, "stride": 2, "blocks": blocks}}
        assert part_of_each(20, 4, config).tolist() == [i // 5 for i in range(20)]
