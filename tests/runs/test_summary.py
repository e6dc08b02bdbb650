"""What a run keeps of its training data: it is read as it was written, and runs without it still reconstruct."""

import math

import numpy as np
import pytest
import torch

from physinv.config.files import load_tensors, save_tensors
from physinv.data.dataset import TrajectoryDataset
from physinv.data.final_states import final_states
from physinv.data.generate import generate
from physinv.data.importing import import_trajectories
from physinv.data.imports.choices import Choices
from physinv.data.plan import DatasetPlan
from physinv.data.process import process_of
from physinv.evaluation.evaluate import check_predictive, evaluate
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.files import SUMMARY
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, train_run
from physinv.runs.run_json import read_info, write_info
from physinv.runs.sampling.plan import SamplingPlan
from physinv.runs.summary import (
    TrainingSummary,
    few_windows,
    read_summary,
    seen_in_training,
    summarise,
    write_summary,
)
from physinv.training.budget import Budget
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

PROCESS = OrnsteinUhlenbeck(dim=2, steps=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("summary")
    generate(DatasetPlan(PROCESS, {"train": 100, "valid": 40, "test": 10}, 0, "ornstein-uhlenbeck"), folder / "d")
    return {s: TrajectoryDataset(folder / "d" / "data" / s) for s in ("train", "valid", "test")}


def test_summaries_are_read_as_they_were_written(data, tmp_path):
    summary = summarise(PROCESS, data["train"], data["valid"])
    write_summary(tmp_path, summary, {})
    again = read_summary(tmp_path, {}, PROCESS.layout, torch.device("cpu"))
    x = data["test"].states(-1)
    assert torch.equal(again.law.distance(x), summary.law.distance(x))
    assert torch.equal(again.linear.mean(x), summary.linear.mean(x))
    assert torch.equal(again.initial, data["train"].states(0))
    (tmp_path / SUMMARY).write_bytes((tmp_path / SUMMARY).read_bytes()[:300])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        read_summary(tmp_path, {}, PROCESS.layout, torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("initial", torch.zeros(5, 3)),
        ("law.scale", torch.zeros(3, 3)),
        ("linear.deviation", torch.zeros(3, 1, 2)),
        ("linear.weights", torch.zeros(3, 2)),
        ("linear.weights", torch.full((2, 2), math.nan)),
        ("linear.deviation", torch.ones(2, dtype=torch.bfloat16)),  # which NumPy does not know
    ],
)
def test_summaries_of_other_shapes_are_damage(name, other, data, tmp_path):
    write_summary(tmp_path, summarise(PROCESS, data["train"], data["valid"]), {})
    tensors, header = load_tensors(tmp_path / SUMMARY)
    save_tensors(tmp_path / SUMMARY, tensors | {name: other}, header)
    with pytest.raises(ValueError, match=r"summary\.safetensors is damaged: .*; train again"):
        read_summary(tmp_path, {}, PROCESS.layout, torch.device("cpu"))


def test_summaries_of_another_run_are_refused(data, tmp_path):
    write_summary(tmp_path, summarise(PROCESS, data["train"], data["valid"]), {"seed": 0})
    with pytest.raises(ValueError, match=r"summary\.safetensors does not belong to .*; put back the file"):
        read_summary(tmp_path, {"seed": 1}, PROCESS.layout, torch.device("cpu"))


def test_runs_without_a_summary_still_reconstruct(data, tmp_path):
    train_run(tmp_path / "run", data["train"], data["valid"], method="exact", budget=Budget(steps=1))
    (tmp_path / "run" / SUMMARY).unlink()
    with pytest.raises(ValueError, match=r"run lacks summary\.safetensors, which was written with it; put back"):
        load_run(tmp_path / "run")
    info = read_info(tmp_path / "run")
    del info["summary"]  # as runs of earlier versions are
    write_info(tmp_path / "run", info)
    run = load_run(tmp_path / "run")
    assert run.summary is None
    seen = final_states(data["test"].states(-1), run.simulator.layout)
    assert reconstruct(run, seen, tmp_path / "x.hdf5", SamplingPlan(samples=8)) is None
    assert check_predictive(tmp_path / "x.hdf5")[1].warnings == ()
    reconstruct(run, data["test"], tmp_path / "y.hdf5", SamplingPlan(samples=8, certify=2))
    row = next(r for r in evaluate(tmp_path / "y.hdf5") if r.metric == "crps")
    assert row.climatology is None
    assert row.linear is None
    assert row.persistence > row.value  # x_T is no estimate where most of x_0 is lost


def test_strict_refuses_before_anything_is_written(data, tmp_path):
    train_run(tmp_path / "run", data["train"], data["valid"], method="exact", budget=Budget(steps=1))
    seen = final_states(1000 * data["test"].states(-1), PROCESS.layout)
    with pytest.raises(ValueError, match="All 10 observations differ"):
        reconstruct(tmp_path / "run", seen, tmp_path / "x.hdf5", strict=True)
    assert not (tmp_path / "x.hdf5").exists()
    found = reconstruct(tmp_path / "run", seen, tmp_path / "x.hdf5", SamplingPlan(samples=8))
    assert read_reconstruction(tmp_path / "x.hdf5").info["familiarity"]["warnings"] == found.warnings


def test_training_data_are_known_again(data, tmp_path):
    """Samples of the data that a run was trained on are no test of it, in whatever folder they lie."""
    train_run(tmp_path / "run", data["train"], data["valid"], method="exact", budget=Budget(steps=1))
    told: list[str] = []
    for split in ("train", "test"):
        reconstruct(
            tmp_path / "run", data[split], tmp_path / f"{split}.hdf5", SamplingPlan(samples=2), warn=told.append
        )
    assert len(told) == 1
    assert "100 of the first 100 initial states are among those that the run was trained on" in told[0]
    assert "`test` folder" in told[0]
    assert read_reconstruction(tmp_path / "train.hdf5").info["warnings"] == told
    with pytest.raises(ValueError, match="was trained on"):
        reconstruct(tmp_path / "run", data["train"], tmp_path / "no.hdf5", SamplingPlan(samples=2), strict=True)
    assert not (tmp_path / "no.hdf5").exists()


def test_initial_states_that_repeat_say_nothing():
    """Where all trajectories begin at the same state, new ones do as well."""
    same = torch.zeros(20, 2)
    assert seen_in_training(TrainingSummary(None, same, None), same) == []
    assert seen_in_training(None, same) == []
    known = torch.arange(40.0).reshape(20, 2)
    assert seen_in_training(TrainingSummary(None, known, None), torch.cat([known[:4], known[:5] + 0.5])) == []
    assert seen_in_training(TrainingSummary(None, known, None), torch.cat([known[:5], known[:5] + 0.5])) != []


def test_the_training_data_of_large_fields_are_told_by_the_few_that_are_kept():
    known = torch.arange(40.0).reshape(20, 2)
    few = TrainingSummary(None, known[:3], None)  # of large states no more are kept
    assert seen_in_training(few, known) != []
    assert seen_in_training(few, known + 0.5) == []


def test_recordings_keep_initial_states_of_all_of_their_time(tmp_path):
    """Of a trend the first windows alone would be no climatology, and the others would be far from the law at T."""
    n = 700
    x = torch.arange(float(n))[:, None, None] + torch.tensor([0.0, 0.5])[None, :, None]
    train, valid = (TrajectoryDataset.from_arrays(x[part], times=[0.0, 1.0]) for part in (slice(0, 680), slice(680, n)))
    summary = summarise(process_of(train), train, valid)
    assert float(summary.initial.min()) == 0
    assert float(summary.initial.max()) == 679
    assert float(summary.initial.mean()) == pytest.approx(339.5, abs=1)
    # 512 of 680 were kept: three of four of the training states are found again, wherever they begin, and no others
    assert seen_in_training(summary, x[300:360, 0], 680) != []
    assert seen_in_training(summary, x[680:, 0], 680) == []
    assert seen_in_training(summary, x[300:360, 0] + 0.25, 680) == []


def test_validation_windows_that_overlap_say_little_of_the_width(tmp_path):
    told = few_windows({"independent": 1.6})
    assert len(told) == 1
    assert "worth 1.6 independent trajectories" in told[0]
    assert few_windows({"independent": 8.0}) == few_windows({}) == []  # {}: of an earlier version, or simulated

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 1, generator=generator).cumsum(0)
    np.save(tmp_path / "x.npy", x.numpy())
    for window, warned in ((3, 0), (9, 1), (40, 1)):  # of 1000 times 100 for validation, in up to ten blocks
        data = tmp_path / f"d{window}"
        import_trajectories([tmp_path / "x.npy"], data, Choices(times="1", dims="time,component", window=window))
        train, valid, test = (TrajectoryDataset(data / "data" / part) for part in ("train", "valid", "test"))
        train_run(tmp_path / f"r{window}", train, valid, method="linear", budget=Budget(steps=1))
        told = []
        out = tmp_path / f"{window}.hdf5"
        reconstruct(tmp_path / f"r{window}", test, out, SamplingPlan(samples=2), warn=told.append)
        assert sum("independent trajectories: too few" in line for line in told) == warned
