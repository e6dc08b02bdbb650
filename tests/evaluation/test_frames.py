"""Frames of trajectories are scored time by time, beside the exact smoother."""

import dataclasses
import json

import pytest
import torch

from physinv.cli import main
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.evaluate import evaluate
from physinv.evaluation.frames import exact_frames, exact_given, frame_metrics, missing_metrics
from physinv.laws.operators import OPERATORS
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.imputation import trajectories_with_gaps
from physinv.runs.records import RecordPlan, reconstruct_record
from physinv.runs.run import fit_run
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

HEAT = Heat(size=8, dimension=1, steps=4)


@pytest.fixture(scope="module")
def smoothed(tmp_path_factory):
    """Trajectories seen at two of five times, drawn by the exact smoother, and a time beyond the last stored one."""
    folder = tmp_path_factory.mktemp("frames")
    generate(DatasetPlan(HEAT, {"train": 20, "valid": 10, "test": 30}, 0, "heat"), folder / "d")
    data = {s: TrajectoryDataset(folder / "d" / "data" / s) for s in ("train", "valid", "test")}
    times = HEAT.times.tolist()
    run = fit_run(data["train"], data["valid"], method="exact")
    plan = RecordPlan(
        observe="every:2", at=(times[1], times[4]), observed_noise=0.2, frames=(*times[1:], 2 * times[-1]), samples=32
    )
    reconstruct_record(run, data["test"], folder / "r.hdf5", plan)
    return folder / "r.hdf5"


def test_exact_draws_score_as_the_exact_smoother(smoothed):
    found = frame_metrics(read_reconstruction(smoothed))
    assert [frame.time for frame in found] == pytest.approx(HEAT.times.tolist()[1:])  # no truth beyond the last
    for frame in found:
        # two ensembles of 32 draws of the same law, 240 numbers: a few per cent apart
        assert frame.crps == pytest.approx(frame.exact_crps, rel=0.08)
        assert frame.coverage_90 == pytest.approx(frame.exact_coverage_90, abs=0.06)
        assert 0.8 < frame.exact_coverage_90 < 0.96
    seen, missing = found[0], found[1]
    assert seen.crps > 0
    assert missing.crps > 0


def test_operators_without_a_closed_form_have_no_exact_answer(tmp_path):
    OPERATORS.register("squares-of-frames", torch.square)  # for the rest of this process
    generate(DatasetPlan(OrnsteinUhlenbeck(steps=4), {"train": 20, "valid": 10, "test": 20}, 0), tmp_path / "d")
    data = {s: TrajectoryDataset(tmp_path / "d" / "data" / s) for s in ("train", "valid", "test")}
    run = fit_run(data["train"], data["valid"], method="importance", options={"runs": 2000})
    times = run.times.tolist()
    for observe, known in (("squares-of-frames", False), ("everything", True)):
        plan = RecordPlan(observe=observe, at=(times[4],), observed_noise=0.2, frames=(0.0,), samples=4, limit=4)
        reconstruct_record(run, data["test"], tmp_path / f"{observe}.hdf5", plan)
        recon = read_reconstruction(tmp_path / f"{observe}.hdf5")
        assert (exact_given(recon) is not None) == known
        assert (frame_metrics(recon)[0].exact_crps is not None) == known
        rows = {row.metric: row for row in evaluate(recon)}
        assert (rows["crps"].exact is not None) == known


def test_frames_of_other_times_score_worse(smoothed):
    recon = read_reconstruction(smoothed)
    wrong = dataclasses.replace(recon, frames=recon.frames.flip(2))
    right, off = frame_metrics(recon), frame_metrics(wrong)
    assert off[0].crps > 1.1 * right[0].crps
    assert off[0].exact_crps == pytest.approx(right[0].exact_crps)
    wide = dataclasses.replace(recon, frames=recon.frames + torch.randn(recon.frames.shape))
    assert frame_metrics(wide)[0].coverage_90 > right[0].coverage_90 + 0.03


def test_the_command_line_shows_them(smoothed, tmp_path, capsys):
    main(["evaluate", str(smoothed), "--json", str(tmp_path / "t.json")])
    shown = capsys.readouterr().out
    told = json.loads((tmp_path / "t.json").read_text())["frames"]
    assert "frames" in shown
    assert len(told) == 4
    assert f"{told[0]['crps']:.4g}" in shown
    assert f"{told[0]['exact_crps']:.4g}" in shown


def test_without_frames_or_a_linear_process_there_is_nothing_to_show(smoothed):
    recon = read_reconstruction(smoothed)
    assert frame_metrics(dataclasses.replace(recon, frames=None)) == []
    assert exact_frames(dataclasses.replace(recon, seen=None)) is None
    alone = [dataclasses.asdict(f) for f in frame_metrics(dataclasses.replace(recon, seen=None))]
    assert {frame["exact_crps"] for frame in alone} == {None}


def test_initial_states_that_are_a_mixture_have_an_exact_smoother_too(tmp_path):
    """Ornstein-Uhlenbeck from three Gaussians: method exact beside the exact law, also with the noise unknown."""
    process = OrnsteinUhlenbeck(dim=2, steps=4)
    generate(DatasetPlan(process, {"train": 20, "valid": 10, "test": 60}, 0, "ornstein-uhlenbeck"), tmp_path / "d")
    data = {s: TrajectoryDataset(tmp_path / "d" / "data" / s) for s in ("train", "valid", "test")}
    run, times = fit_run(data["train"], data["valid"], method="exact"), process.times.tolist()
    plan = RecordPlan(at=(times[1], times[4]), observed_noise=0.2, frames=tuple(times), samples=32)
    reconstruct_record(run, data["test"], tmp_path / "r.hdf5", plan)
    recon = read_reconstruction(tmp_path / "r.hdf5")
    for frame in frame_metrics(recon):
        # 60 trajectories of 2 numbers, two ensembles of 32 draws of the same law
        assert frame.crps == pytest.approx(frame.exact_crps, rel=0.1)
        assert frame.coverage_90 == pytest.approx(frame.exact_coverage_90, abs=0.09)
    rows = {row.metric: row for row in evaluate(recon)}
    assert rows["crps"].value == pytest.approx(rows["crps"].exact, rel=0.1)
    unknown = dataclasses.replace(plan, observed_noise="log_uniform:0.1:0.4", samples=4, limit=2)
    reconstruct_record(run, data["test"], tmp_path / "u.hdf5", unknown)
    rows = {row.metric: row for row in evaluate(tmp_path / "u.hdf5")}
    assert rows["crps"].exact is not None
    assert rows["crps_observed_noise"].exact is not None


def test_missing_entries_of_such_a_process_are_scored_beside_the_exact_smoother(tmp_path):
    process = OrnsteinUhlenbeck(dim=1, steps=4)
    generate(DatasetPlan(process, {"train": 20, "valid": 10, "test": 200}, 0, "ornstein-uhlenbeck"), tmp_path / "d")
    data = {s: TrajectoryDataset(tmp_path / "d" / "data" / s) for s in ("train", "valid", "test")}
    run = fit_run(data["train"], data["valid"], method="exact")
    gaps = trajectories_with_gaps(run, tmp_path / "d" / "data" / "test", hide=["every:2"], seed=0)
    plan = RecordPlan(frames=tuple(process.times.tolist()), samples=32)
    reconstruct_record(run, gaps, tmp_path / "r.hdf5", plan)
    told = missing_metrics(read_reconstruction(tmp_path / "r.hdf5"))
    assert told.crps == pytest.approx(told.exact_crps, rel=0.1)
