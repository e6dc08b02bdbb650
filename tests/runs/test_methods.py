"""Every method is trained, resumed, loaded and used from a folder; those without training need none."""

import sys

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.methods import Problem, fit_method
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.files import files_of, logs
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import fit_run, load_run, train_run
from physinv.runs.run_json import read_info
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

pytestmark = pytest.mark.usefixtures("few_judges")

QUICK = Settings(width=8, depth=1, batch=64, validate_every=5, validate_windows=64)


class StopError(Exception):
    """What ends a training from outside."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, simulator = tmp_path_factory.mktemp("ou"), OrnsteinUhlenbeck(dim=2, steps=4)
    generate(DatasetPlan(simulator, {"train": 100, "valid": 40, "test": 10}, 0, "ornstein-uhlenbeck"), folder / "d")
    return {s: TrajectoryDataset(folder / "d" / "data" / s) for s in ("train", "valid", "test")}


def train(run, data, method, **more):
    return train_run(run, data["train"], data["valid"], method=method, settings=QUICK, budget=Budget(steps=20), **more)


@pytest.mark.parametrize(
    ("method", "options", "folders"),
    [
        ("flow-matching", {"steps": 4}, [""]),
        ("prior", {}, [""]),
        ("deep-ensemble", {"members": 2}, ["member-0", "member-1"]),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(method, options, folders, data, tmp_path):
    whole, parts, heard = tmp_path / "whole", tmp_path / "parts", []
    history = train(whole, data, method, options=options, seed=3)
    assert list(logs(whole)) == folders
    assert [r.step for lines in logs(whole).values() for r in lines] == [r.step for r in history.records]

    def stop_late(done, record):
        heard.append(done)
        if len(heard) == 2 * len(folders) + 2:  # with two networks: in the second one
            raise StopError

    with pytest.raises(StopError):
        train(parts, data, method, options=options, seed=3, progress=stop_late)
    with pytest.raises(ValueError, match="unfinished run; go on with"):
        load_run(parts)
    first = (parts / folders[0] / "checkpoint.safetensors").stat().st_mtime_ns
    train(parts, data, method, options=options, seed=3, resume=True)
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    if len(folders) > 1:  # what is finished is not trained again
        assert (parts / folders[0] / "checkpoint.safetensors").stat().st_mtime_ns == first
        assert heard == sorted(heard)
        assert max(heard) > 0.5


def test_a_run_gives_what_the_method_gives(data, tmp_path):
    history = train(tmp_path / "run", data, "flow-matching", options={"steps": 4}, seed=3)
    assert history.records[-1].step == 20
    run, info = load_run(tmp_path / "run"), read_info(tmp_path / "run")
    assert (info["method"], info["options"], info["notes"]) == ("flow-matching", {"steps": 4}, {})
    simulator, (one, two) = run.simulator, (data[s].load() for s in ("train", "valid"))
    problem = Problem(simulator, one, two, QUICK, Budget(steps=20), seed=3)
    answer, final = fit_method("flow-matching", problem, {"steps": 4}), data["test"].states(-1)
    draws = [a.sample(final, 3, generator=torch.Generator().manual_seed(0)) for a in (answer, run.answer)]
    assert torch.equal(*draws)
    reconstruct(run, data["test"], tmp_path / "samples.hdf5", SamplingPlan(samples=3, certify=2))
    reconstruct(run, data["test"], tmp_path / "mean.hdf5", SamplingPlan(answer="mean", certify=0))
    samples, mean = (read_reconstruction(tmp_path / f"{name}.hdf5") for name in ("samples", "mean"))
    assert samples.samples.shape == (10, 3, 2)
    assert (samples.info["method"], samples.info["answer"], samples.info["steps"]) == ("flow-matching", "samples", None)
    assert torch.equal(mean.samples[:, 0], answer.mean(final))
    with pytest.raises(ValueError, match="a run of method `flow-matching` has no score model"):
        run.model  # noqa: B018
    for asked in ({"steps": 8}, {"grid": "log"}, {"answer": "flow"}, {"observe": "sensors:0.5"}):
        with pytest.raises(ValueError, match=f"`{next(iter(asked))}` = .* is for methods with a score model"):
            reconstruct(run, data["test"], tmp_path / "never.hdf5", SamplingPlan(**asked))


def test_another_method_or_option_is_another_run(data, tmp_path):
    train(tmp_path / "run", data, "deep-ensemble", options={"members": 2})
    with pytest.raises(ValueError, match="was begun with `method` = deep-ensemble, now regression"):
        train(tmp_path / "run", data, "regression", resume=True)
    with pytest.raises(ValueError, match=r"was begun with `options` = .* now \{'members': 3\}"):
        train(tmp_path / "run", data, "deep-ensemble", options={"members": 3}, resume=True)
    other = tmp_path / "run" / "other"
    train(other, data, "linear")
    train(tmp_path / "run", data, "linear", overwrite=True)
    assert logs(tmp_path / "run") == {}
    assert load_run(other).method == "linear"  # another run below this one stays
    for path in files_of(tmp_path / "run"):
        path.unlink()
    assert sorted(p.name for p in tmp_path.rglob("*.safetensors")) == ["model.safetensors", "summary.safetensors"]


@pytest.mark.parametrize("method", ["linear", "gauss-newton", "exact"])
def test_what_takes_no_training_needs_no_run(method, data, tmp_path):
    fitted = fit_run(data["train"], data["valid"], method=method)
    train(tmp_path / "run", data, method)
    for name, run in (("a", fitted), ("b", tmp_path / "run")):
        reconstruct(run, data["test"], tmp_path / f"{name}.hdf5", SamplingPlan(samples=2, certify=2))
    a, b = (read_reconstruction(tmp_path / f"{name}.hdf5") for name in ("a", "b"))
    assert torch.equal(a.samples, b.samples)
    assert a.info["method"] == a.info["run"]["method"] == method
    with pytest.raises(ValueError, match="method `regression` takes training; run `physinv train"):
        fit_run(data["train"], data["valid"], method="regression")


def test_a_method_from_outside_is_saved_or_refused_before_training(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outside_run.py").write_text(
        "from physinv.methods import loaded_by\n"
        "class Mean:\n"
        "    def __init__(self, value):\n        self.value = value\n"
        "    def mean(self, final):\n        return self.value.expand_as(final)\n"
        "    def sample(self, final, n, *, generator=None):\n"
        "        return self.mean(final)[:, None].expand(-1, n, *final.shape[1:])\n"
        "    def tensors(self):\n        return {'value': self.value}\n"
        "def load(setup, tensors, *, gain=1.0):\n    return Mean(tensors['value'])\n"
        "@loaded_by(load)\n"
        "def fit(problem, *, gain=1.0):\n    return Mean(gain * problem.train.states(0).mean(0))\n"
        "def fit_unmarked(problem):\n    raise RuntimeError('trained')\n"
    )
    try:
        train(tmp_path / "run", data, "outside_run:fit", options={"gain": 2.0})
        answer, final = load_run(tmp_path / "run").answer, data["test"].states(-1)
        assert torch.equal(answer.mean(final)[0], 2 * data["train"].states(0).mean(0))
        with pytest.raises(ValueError, match=r"`outside_run:fit_unmarked` can't be saved as a run: mark its function"):
            train(tmp_path / "never", data, "outside_run:fit_unmarked")
        assert not (tmp_path / "never").exists()
    finally:
        sys.modules.pop("outside_run", None)


def test_two_networks_do_not_share_a_folder(data, tmp_path):
    problem = Problem(OrnsteinUhlenbeck(dim=2, steps=4), *(data[s].load() for s in ("train", "valid")), QUICK)
    problem = problem.__class__(**{**vars(problem), "budget": Budget(steps=2), "folder": tmp_path / "run"})
    fit_method("regression", problem)
    with pytest.raises(ValueError, match="holds another network of this run"):
        fit_method("regression", problem)
    fit_method("regression", problem.part("second", share=0.5))
    assert list(logs(tmp_path / "run")) == ["", "second"]
