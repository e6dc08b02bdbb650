"""Runs on disk: they resume to the byte, survive kills, hold registered names, and are refused when damaged."""

import json
import signal
import time

import pytest
import torch
from command_cases import started_code

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.models.learned_drift import LearnedDrift
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, read_info, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from physinv.training.checkpoint import load_tensors
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

pytestmark = pytest.mark.usefixtures("few_judges")

QUICK = Settings(width=16, depth=2, batch=128, validate_every=10, validate_windows=256)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ou")
    sim = OrnsteinUhlenbeck(dim=2, steps=20)
    generate(DatasetPlan(sim, {"train": 400, "valid": 100, "test": 50}, 0, "ornstein-uhlenbeck"), folder / "d")
    return {s: TrajectoryDataset(folder / "d" / "data" / s) for s in ("train", "valid", "test")}


def bytes_of(run):
    return (run / "model.safetensors").read_bytes()


def test_interrupted_and_resumed_equals_uninterrupted(data, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_run(whole, data["train"], data["valid"], settings=QUICK, budget=Budget(steps=60), seed=3)

    class StopError(Exception):
        pass

    def stop_at_30(done, record):
        if record.step == 30:
            raise StopError

    with pytest.raises(StopError):
        train_run(
            parts, data["train"], data["valid"], settings=QUICK, budget=Budget(steps=60), seed=3, progress=stop_at_30
        )
    assert not (parts / "model.safetensors").exists()
    with pytest.raises(ValueError, match="unfinished run; go on with"):
        load_run(parts)
    with (parts / "log.jsonl").open("a") as log:
        log.write('{"step": 40, "half a li')  # killed while writing
    history = train_run(
        parts, data["train"], data["valid"], settings=QUICK, budget=Budget(steps=60), seed=3, resume=True
    )
    assert bytes_of(whole) == bytes_of(parts)
    assert [r.step for r in history.records] == [0, 10, 20, 30, 40, 50, 60]
    logged = [json.loads(line)["step"] for line in (parts / "log.jsonl").read_text().splitlines()]
    assert logged == [0, 10, 20, 30, 40, 50, 60]


def test_same_seed_same_bytes_other_seed_other_bytes(data, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_run(
            tmp_path / name,
            data["train"],
            data["valid"],
            method="physinv",
            settings=QUICK,
            budget=Budget(steps=15),
            seed=seed,
        )
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b") != bytes_of(tmp_path / "c")


def test_streamed_data_train_to_the_same_weights(data, tmp_path):
    for name, memory in (("memory", 1.0), ("stream", 1e-9)):
        settings = QUICK.model_copy(update={"memory": memory})
        train_run(
            tmp_path / name,
            data["train"],
            data["valid"],
            method="physinv",
            settings=settings,
            budget=Budget(steps=15),
            seed=1,
        )
    a, b = (load_tensors(tmp_path / n / "model.safetensors")[0] for n in ("memory", "stream"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_killed_run_resumes(data, tmp_path):
    run = tmp_path / "run"
    code = f"""
import torch; torch.set_num_threads(1)
from pathlib import Path
from physinv.training.budget import Budget
from physinv.runs.run import train_run
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
train, valid = (TrajectoryDataset(p) for p in ({str(data["train"].path)!r}, {str(data["valid"].path)!r}))
settings = Settings(width=16, depth=2, batch=128, validate_every=10, validate_windows=256)
train_run(Path({str(run)!r}), train, valid, settings=settings, budget=Budget(steps=4000), seed=3)
"""
    with started_code(code, cwd=tmp_path) as process:
        deadline = time.time() + 240  # of a busy machine
        while time.time() < deadline and not (run / "checkpoint.safetensors").exists():
            time.sleep(0.05)
        time.sleep(0.3)
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    tensors, header = load_tensors(run / "checkpoint.safetensors")
    counters = json.loads(header["counters"])
    assert tensors
    assert 0 <= counters["step"] < 4000
    settings = Settings(width=16, depth=2, batch=128, validate_every=10, validate_windows=256)
    with pytest.raises(FileExistsError, match="add `--resume`"):
        train_run(run, data["train"], data["valid"], settings=settings, budget=Budget(steps=4000), seed=3)
    with pytest.raises(ValueError, match="was begun with `seed` = 3, now 4"):
        train_run(run, data["train"], data["valid"], settings=settings, budget=Budget(steps=4000), seed=4, resume=True)


def test_a_time_is_kept_to(data, tmp_path):
    history = train_run(tmp_path / "r", data["train"], data["valid"], settings=QUICK, budget=Budget(seconds=0.5))
    assert 0.5 <= history.records[-1].seconds < 5


def test_paths_may_be_text(data, tmp_path):
    run = f"{tmp_path}/run"
    train_run(run, data["train"], data["valid"], settings=QUICK, budget=Budget(steps=2))
    assert load_run(run).info == load_run(tmp_path / "run").info


def test_run_files_hold_registered_names(data, tmp_path):
    train_run(tmp_path / "run", data["train"], data["valid"], settings=QUICK, budget=Budget(steps=2))
    info = read_info(tmp_path / "run")
    assert (info["simulator"], info["method"], info["settings"]["loss"]) == ("ornstein-uhlenbeck", "auto", "auto")
    assert {t["method"] for t in info["notes"]["trials"]} == {"linear", "physinv"}
    train_run(tmp_path / "own", data["train"], data["valid"], method="physinv", settings=QUICK, budget=Budget(steps=2))
    assert read_info(tmp_path / "own")["notes"] == {"model": "score", "reference": "mixture"}
    assert (info["steps"], info["budget"]) == (2, None)


def test_settings_are_checked_before_anything_is_removed(data, tmp_path):
    run = tmp_path / "run"
    train_run(run, data["train"], data["valid"], settings=QUICK, budget=Budget(steps=2))
    before = bytes_of(run)
    for wrong, words in (({"loss": "denoise"}, "did you mean `denoising`"), ({"windows": (2, 99)}, "between 2 and")):
        with pytest.raises(ValueError, match=words):
            train_run(
                run,
                data["train"],
                data["valid"],
                settings=QUICK.model_copy(update=wrong),
                budget=Budget(steps=2),
                overwrite=True,
            )
    assert bytes_of(run) == before


def test_damaged_runs_are_refused_in_one_line(data, tmp_path):
    run = tmp_path / "r"
    with pytest.raises(ValueError, match="is not a run"):
        load_run(run)
    train_run(run, data["train"], data["valid"], settings=QUICK, budget=Budget(steps=5))
    good = bytes_of(run)
    (run / "model.safetensors").write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match="may be truncated"):
        load_run(run)
    (run / "model.safetensors").write_bytes(good)
    assert load_run(run).info["seed"] == 0
    (run / "run.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        load_run(run)


def test_a_run_with_learned_physics(tmp_path):
    """Drift and noise from the data alone, stored with the run, used by the reversal; the same bytes again."""
    well = DoubleWell(steps=10)
    generate(DatasetPlan(well, {"train": 500, "valid": 50, "test": 30}, 0, "double-well"), tmp_path / "data")
    train, valid, test = (TrajectoryDataset(tmp_path / "data" / "data" / s) for s in ("train", "valid", "test"))
    settings = QUICK.model_copy(update={"physics": "learned"})
    for name in ("a", "b"):
        train_run(tmp_path / name, train, valid, settings=settings, budget=Budget(steps=20))
    run = load_run(tmp_path / "a")
    assert isinstance(run.sde, LearnedDrift)
    # 500 trajectories of 10 steps: the standard error of a variance is sqrt(2/5000), of g half of that
    assert float(run.sde.noise) == pytest.approx(float(well.diffusion(torch.zeros(1))), rel=5 * 0.01)
    x, t = torch.linspace(-1, 1, 5)[:, None], torch.full((5,), 0.2)
    assert float((run.sde.drift(x, t) - well.drift(x, t)).abs().mean()) < 0.5  # the drift itself is of size 1.5
    for name in ("a", "b"):
        reconstruct(load_run(tmp_path / name), test, tmp_path / f"{name}.hdf5", SamplingPlan(samples=4, certify=2))
    a, b = (read_reconstruction(tmp_path / f"{n}.hdf5").samples for n in ("a", "b"))
    assert torch.equal(a, b)
    with pytest.raises(ValueError, match=r"`settings` = \{'physics': 'learned'\}, now \{'physics': 'simulator'\};"):
        train_run(tmp_path / "a", train, valid, settings=QUICK, budget=Budget(steps=20), resume=True)
    (tmp_path / "a" / "score" / "physics.safetensors").unlink()  # only training that goes on needs it
    assert torch.equal(load_run(tmp_path / "a").sde.drift(x, t), run.sde.drift(x, t))
