"""Training: learns the score, resumes to the byte, validates, refuses; runs on disk survive kills."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from physinv.config.files import load_tensors
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.equations.sde import SDE, expand
from physinv.models.build import build_model
from physinv.models.references.linear import LinearReference
from physinv.models.references.mixture import MixtureReference
from physinv.models.references.smoother import SmootherReference
from physinv.training.loop import _order, fit
from physinv.training.run import load_run, train_run
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

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
    train_run(whole, data["train"], data["valid"], settings=QUICK, steps=60, seed=3)

    class StopError(Exception):
        pass

    def stop_at_30(done, record):
        if record.step == 30:
            raise StopError

    with pytest.raises(StopError):
        train_run(parts, data["train"], data["valid"], settings=QUICK, steps=60, seed=3, progress=stop_at_30)
    assert not (parts / "model.safetensors").exists()
    with pytest.raises(ValueError, match="unfinished run; go on with"):
        load_run(parts)
    with (parts / "log.jsonl").open("a") as log:
        log.write('{"step": 40, "half a li')  # killed while writing
    history = train_run(parts, data["train"], data["valid"], settings=QUICK, steps=60, seed=3, resume=True)
    assert bytes_of(whole) == bytes_of(parts)
    assert [r.step for r in history.records] == [0, 10, 20, 30, 40, 50, 60]
    logged = [json.loads(line)["step"] for line in (parts / "log.jsonl").read_text().splitlines()]
    assert logged == [0, 10, 20, 30, 40, 50, 60]


def test_same_seed_same_bytes_other_seed_other_bytes(data, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_run(tmp_path / name, data["train"], data["valid"], settings=QUICK, steps=15, seed=seed)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b") != bytes_of(tmp_path / "c")


def test_streamed_data_train_to_the_same_weights(data, tmp_path):
    for name, memory in (("memory", 1.0), ("stream", 1e-9)):
        settings = QUICK.model_copy(update={"memory": memory})
        train_run(tmp_path / name, data["train"], data["valid"], settings=settings, steps=15, seed=1)
    a, b = (load_tensors(tmp_path / n / "model.safetensors")[0] for n in ("memory", "stream"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_killed_run_resumes(data, tmp_path):
    run = tmp_path / "run"
    code = f"""
import torch; torch.set_num_threads(1)
from pathlib import Path
from physinv.training.run import train_run
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
train, valid = (TrajectoryDataset(p) for p in ({str(data["train"].path)!r}, {str(data["valid"].path)!r}))
settings = Settings(width=16, depth=2, batch=128, validate_every=10, validate_windows=256)
train_run(Path({str(run)!r}), train, valid, settings=settings, steps=4000, seed=3)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=os.getcwd())
    deadline = time.time() + 60
    while time.time() < deadline and not (run / "checkpoint.safetensors").exists():
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    tensors, header = load_tensors(run / "checkpoint.safetensors")
    counters = json.loads(header["counters"])
    assert tensors
    assert 0 <= counters["step"] < 4000
    settings = Settings(width=16, depth=2, batch=128, validate_every=10, validate_windows=256)
    with pytest.raises(FileExistsError, match="add --resume"):
        train_run(run, data["train"], data["valid"], settings=settings, steps=4000, seed=3)
    with pytest.raises(ValueError, match="was begun with `seed` = 3, now 4"):
        train_run(run, data["train"], data["valid"], settings=settings, steps=4000, seed=4, resume=True)


def test_network_learns_what_a_gaussian_reference_misses(data, generator):
    """Three well-separated Gaussians, reference one: the loss falls towards that of the true score."""
    sim = OrnsteinUhlenbeck(dim=2, steps=20)
    settings = Settings(loss="trajectory", components=1, width=32, depth=2, batch=1024, validate_every=100, rate=3e-3)
    model = build_model(sim, data["train"], settings)
    train, valid = data["train"].load(), data["valid"].load()
    history = fit(model, sim, train, valid, settings=settings, steps=400)
    from physinv.reversal.split import split
    from physinv.training.objectives.trajectory import trajectory_loss

    states, times = valid.__getitems__(torch.arange(len(valid)))

    def true_score(x, t):
        out = torch.empty_like(x)
        for value in t.unique():
            out[t == value] = sim.score(x[t == value], t[t == value])
        return out

    floor = float(trajectory_loss(true_score, sim, states, times, step=split))
    first, last = history.records[0].valid, history.records[-1].best
    assert first > floor + 0.01  # otherwise there would be nothing to learn
    assert last < floor + 0.35 * (first - floor)


def test_reference_laws_are_right(generator, tmp_path):
    heat = Heat(size=8, steps=4)
    generate(DatasetPlan(heat, {"train": 3000}, 0, "heat"), tmp_path / "heat")
    data = TrajectoryDataset(tmp_path / "heat" / "data" / "train").load()
    model = build_model(heat, data, QUICK)
    assert isinstance(model.reference, LinearReference)
    exact, x = heat.exact(), data.states(2)
    t = torch.full((len(x),), float(data.times[2]))
    power = heat.modes(x).abs().square().mean(0).flatten()[1:]
    reference = model.reference.spectrum(t[:1], x[:1]).now[0].flatten()[1:]
    assert torch.allclose(power / reference, torch.ones_like(power), atol=5 * (2 / 3000) ** 0.5)
    assert torch.allclose(
        model.reference.power0.flatten()[1:] / exact.power.float().flatten()[1:], torch.ones_like(power), atol=0.13
    )

    class Nonlinear(SDE):
        def drift(self, x, t):
            return -(x**3)

        def diffusion(self, t):
            return torch.ones_like(t)

    other = build_model(Nonlinear(), data, QUICK)
    assert isinstance(other.reference, SmootherReference)
    # E[(x - m) . score] = -(number of components) for a Gaussian reference with the data's own moments (of the first
    # 1024 trajectories); the mean mode, whose variance is that of the noise, included
    few = x[:1024]
    score = other.reference.score(few, t[:1024])
    assert float(((few - few.mean(0)) * score).sum() / few.numel()) == pytest.approx(-1.0, abs=1e-4)
    assert other(x[:5], t[:5]).shape == (5, 1, 8, 8)


def test_mixture_reference_finds_the_clusters(data):
    model = build_model(OrnsteinUhlenbeck(dim=2, steps=20), data["train"], QUICK)
    reference = model.reference
    assert isinstance(reference, MixtureReference)
    assert len(reference.weights) == 3
    true = OrnsteinUhlenbeck(dim=2).prior.weights
    # 400 trajectories: standard error of a share at most .025
    assert torch.allclose(reference.weights.sort().values, true.float().sort().values, atol=0.1)
    x = torch.randn(20, 2)
    t = torch.full((20,), 0.7)
    assert torch.allclose(reference.score(x, t), reference.law(0.7).score(x), rtol=1e-3, atol=1e-3)
    assert bool((reference.precision(x, t) > 0).all())


def test_physics_feature_vanishes_where_there_is_no_noise(tmp_path):
    sim = DoubleWell(temperature=0.0, steps=4)
    generate(DatasetPlan(sim, {"train": 200}, 0, "double-well"), tmp_path / "w")
    data = TrajectoryDataset(tmp_path / "w" / "data" / "train").load()
    model = build_model(sim, data, QUICK)
    states = data.states(2)
    t = torch.full((len(states),), float(data.times[2]))
    assert bool(model(states, t).isfinite().all())
    assert expand(torch.ones(3), torch.ones(3, 2, 2)).shape == (3, 1, 1)


def test_every_window_is_seen_once_an_epoch():
    order = _order(100, 10, 0, 0)
    first = torch.cat([next(order) for _ in range(10)])
    assert torch.equal(first.sort().values, torch.arange(100))
    late = _order(100, 10, 0, 7)
    again = _order(100, 10, 0, 0)
    for _ in range(7):
        next(again)
    assert all(torch.equal(next(late), next(again)) for _ in range(10))


def test_budget_in_seconds_and_bad_budgets(data, tmp_path):
    history = train_run(tmp_path / "r", data["train"], data["valid"], settings=QUICK, budget=0.5)
    assert 0.5 <= history.records[-1].seconds < 5
    with pytest.raises(ValueError, match="exactly one of"):
        train_run(tmp_path / "s", data["train"], data["valid"], settings=QUICK, budget=1.0, steps=1)
    with pytest.raises(ValueError, match="must be positive"):
        train_run(tmp_path / "s", data["train"], data["valid"], settings=QUICK, steps=-1)


def test_damaged_runs_are_refused_in_one_line(data, tmp_path):
    run = tmp_path / "r"
    with pytest.raises(ValueError, match="is not a run"):
        load_run(run)
    train_run(run, data["train"], data["valid"], settings=QUICK, steps=5)
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
    from physinv.models.learned_drift import LearnedDrift
    from physinv.posterior.reconstruct import SamplingPlan, read_reconstruction, reconstruct
    from simulators.vectors.double_well import DoubleWell

    well = DoubleWell(steps=10)
    generate(DatasetPlan(well, {"train": 500, "valid": 50, "test": 30}, 0, "double-well"), tmp_path / "data")
    train, valid, test = (TrajectoryDataset(tmp_path / "data" / "data" / s) for s in ("train", "valid", "test"))
    settings = QUICK.model_copy(update={"physics": "learned"})
    for name in ("a", "b"):
        train_run(tmp_path / name, train, valid, settings=settings, steps=20)
    run = load_run(tmp_path / "a")
    assert isinstance(run.sde, LearnedDrift)
    # 500 trajectories of 10 steps: the standard error of a variance is sqrt(2/5000), of g half of that
    assert float(run.sde.noise) == pytest.approx(float(well.diffusion(torch.zeros(1))), rel=5 * 0.01)
    x, t = torch.linspace(-1, 1, 5)[:, None], torch.full((5,), 0.2)
    assert float((run.sde.drift(x, t) - well.drift(x, t)).abs().mean()) < 0.5  # the drift itself is of size 1.5
    for name in ("a", "b"):
        reconstruct(load_run(tmp_path / name), test, tmp_path / f"{name}.hdf5", SamplingPlan(samples=4))
    a, b = (read_reconstruction(tmp_path / f"{n}.hdf5").samples for n in ("a", "b"))
    assert torch.equal(a, b)
    with pytest.raises(ValueError, match="was begun with `settings`"):
        train_run(tmp_path / "a", train, valid, settings=QUICK, steps=20, resume=True)
    (tmp_path / "a" / "physics.safetensors").unlink()
    with pytest.raises(ValueError, match=r"physics\.safetensors"):
        load_run(tmp_path / "a")
