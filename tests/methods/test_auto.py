"""The choice among methods: never worse than the linear estimate, reproducible, and told."""

import json

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.methods import METHODS, NotApplicableError, Problem, fit_method
from physinv.methods.auto import Chosen, Trial, fit_auto, underlying
from physinv.methods.saving import loaded_by
from physinv.runs.files import logs
from physinv.runs.run import load_run, train_run
from physinv.runs.run_json import choice, read_info
from physinv.training.budget import Budget
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
from tests.recorded_cases import recorded

QUICK = Settings(width=8, depth=1, batch=64, validate_every=5, validate_windows=64)
TWO = OrnsteinUhlenbeck(dim=2, components=2, width=0.3, noise=0.8, steps=2)  # far from Gaussian: linear is poor
GAUSS = OrnsteinUhlenbeck(dim=2, components=1, spread=0.0, width=1.0, steps=2)


def make(simulator, folder):
    generate(DatasetPlan(simulator, {"train": 200, "valid": 100, "test": 20}, 0, "ornstein-uhlenbeck"), folder)
    return {s: TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid", "test")}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make(TWO, tmp_path_factory.mktemp("ou") / "d")


@pytest.fixture
def problem(data):
    return Problem(TWO, data["train"], data["valid"], QUICK, Budget(steps=100))


class Off:
    """The exact posterior, moved away from the truth."""

    def __init__(self, shift):
        self.exact, self.shift = TWO.exact(), shift

    def mean(self, final):
        return self.exact.mean(final) + self.shift

    def sample(self, final, n, *, generator=None):
        return self.exact.sample(final, n, generator=generator) + self.shift

    def tensors(self):
        return {"shift": torch.tensor(self.shift)}


def candidate(name, shift_of, monkeypatch):
    """Register a candidate whose shift depends on the updates that it may spend."""
    spent = []

    def fit(problem):
        spent.append(problem.budget.steps)
        if shift_of is None:
            raise NotApplicableError("it has no meaning here")
        return Off(shift_of(problem.budget.steps))

    monkeypatch.setitem(METHODS._parts, name, loaded_by(lambda setup, tensors: Off(float(tensors["shift"])))(fit))
    return spent


def test_the_best_candidate_gets_the_rest_of_the_budget(problem, monkeypatch):
    good = candidate("good", lambda steps: 3 / steps, monkeypatch)
    bad = candidate("bad", lambda steps: 2.0, monkeypatch)
    chosen = fit_auto(problem, candidates=("bad", "good"), share=0.2)
    assert (good, bad) == ([20, 60], [20])
    assert chosen.method == "good"
    assert chosen.answer.shift == pytest.approx(3 / 60)
    assert [(t.method, t.share) for t in chosen.trials] == [
        ("linear", 0.0),
        ("bad", 0.2),
        ("good", 0.2),
        ("good", pytest.approx(0.6)),
    ]
    scores = [t.relative for t in chosen.trials]
    assert scores[0] == 1.0
    assert scores[1] > scores[2] > scores[3]
    assert underlying(chosen) is chosen.answer


def test_a_single_candidate_gets_the_whole_budget(problem, monkeypatch):
    only = candidate("only", lambda steps: 0.0, monkeypatch)
    assert fit_auto(problem, candidates=("only",)).method == "only"
    assert only == [100]


def test_more_training_that_makes_it_worse_is_not_taken(problem, monkeypatch):
    candidate("overfits", lambda steps: 0.0 if steps <= 30 else 1.0, monkeypatch)
    candidate("worse", lambda steps: 2.0, monkeypatch)
    chosen = fit_auto(problem, candidates=("overfits", "worse"), share=0.3)
    assert chosen.answer.shift == 0.0
    assert chosen.trials[3].relative > chosen.trials[1].relative


def test_among_equals_the_trained_one_is_taken(problem, monkeypatch):
    """On a Gaussian process the linear estimate scores as the exact posterior, up to noise of either sign."""
    candidate("equal", lambda steps: 0.0, monkeypatch)
    assert fit_auto(problem, candidates=("equal",)).method == "equal"


def test_it_is_never_worse_than_the_linear_estimate(problem, monkeypatch):
    candidate("bad", lambda steps: 5.0, monkeypatch)
    candidate("infinite", lambda steps: float("inf"), monkeypatch)
    candidate("inapplicable", None, monkeypatch)
    chosen = fit_auto(problem, candidates=("bad", "infinite", "inapplicable"))
    assert chosen.method == "linear"
    told = {t.method: t.failed for t in chosen.trials if t.failed}
    assert told["infinite"].endswith("of finite numbers, got NaN or infinity.")
    assert told["inapplicable"] == "it has no meaning here"
    with pytest.raises(NotApplicableError, match="no meaning here"):  # nothing could be trained
        fit_auto(problem, candidates=("inapplicable",))
    with pytest.raises(ValueError, match="`share` must be positive and leave something of the budget to the best of 2"):
        fit_auto(problem, candidates=("bad", "infinite"), share=0.5)


@pytest.mark.parametrize(("stride", "shift", "kept"), [(1, 0.5, True), (100, 0.5, False), (1, 50.0, False)])
def test_windows_that_all_overlap_say_little_for_the_linear_estimate(stride, shift, kept, data, tmp_path, monkeypatch):
    """Whose spread is that of its errors on these very windows; but errors that are far larger speak for it."""
    candidate("other", lambda steps: shift, monkeypatch)
    states = {split: data[split].trajectories() for split in ("train", "valid")}
    about = {"states": 2, "every": 99, "stride": stride}
    cut = recorded(tmp_path, TWO.layout, data["train"].times, states, window=about)
    found = fit_auto(Problem(TWO, cut["train"], cut["valid"], QUICK, Budget(steps=100)), candidates=("other",))
    assert found.trials[1].relative > 1
    assert found.method == ("other" if kept else "linear")


def test_a_component_in_large_units_does_not_decide_alone(data, tmp_path, monkeypatch):
    """Draws that are right in a component of millions and far off in the other one, and the other way round."""
    unit = torch.tensor([1e6, 1.0])
    states = {split: data[split].trajectories() * unit for split in ("train", "valid")}
    cut = recorded(tmp_path, TWO.layout, data["train"].times, states)

    class Units(Off):
        def sample(self, final, n, *, generator=None):
            return super().sample(final / unit, n, generator=generator) * unit

        def mean(self, final):
            return super().mean(final / unit) * unit

    for name, shift in (("first", [0.0, 3.0]), ("second", [0.1, 0.0])):
        monkeypatch.setitem(METHODS._parts, name, lambda problem, shift=shift: Units(torch.tensor(shift)))
    problem = Problem(TWO, cut["train"], cut["valid"], QUICK, Budget(steps=100))
    assert fit_auto(problem, candidates=("first", "second"), share=0.2).method == "second"


def test_scores_are_those_of_the_samples(tmp_path):
    """The exact posterior of a Gaussian process is what the linear estimate finds: all scores are near 1."""
    data = make(GAUSS, tmp_path / "d")
    problem = Problem(GAUSS, data["train"], data["valid"], QUICK)
    chosen = fit_method("auto", problem, {"candidates": ("exact",), "observations": 100, "draws": 64})
    exact = chosen.trials[1]
    # CRPS of a calibrated Gaussian: deviation / sqrt(pi); 200 numbers of deviation .75 of their mean
    deviation = float(GAUSS.exact().posterior(problem.valid.states(-1)[:1]).covs[0, 0, 0, 0].sqrt())
    assert exact.crps == pytest.approx(deviation / 3.1416**0.5, rel=4 * 0.75 / 200**0.5)
    assert exact.relative == pytest.approx(1.0, abs=0.05)
    assert exact.share == 0.0


def test_a_run_stores_choice_and_figures_and_resumes(data, tmp_path):
    def train(name, **more):
        return train_run(
            tmp_path / name,
            data["train"],
            data["valid"],
            method="auto",
            options={"draws": 4, "observations": 20, "candidates": ["physinv", "flow-matching"]},
            settings=QUICK,
            budget=Budget(steps=25),
            **more,
        )

    class StopError(Exception):
        pass

    def stop(done, record):
        if done > 0.5:
            raise StopError

    train("whole")
    with pytest.raises(StopError):
        train("parts", progress=stop)
    train("parts", resume=True)
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    notes = read_info(whole)["notes"]
    assert notes == read_info(parts)["notes"]
    assert [t["method"] for t in notes["trials"]][:3] == ["linear", "physinv", "flow-matching"]
    best = min(notes["trials"][1:], key=lambda t: t["relative"])
    assert notes["chosen"] == (best["method"] if best["relative"] - best["error"] <= 1 else "linear")
    assert {"trial-physinv", "trial-flow-matching"} < set(logs(whole))
    lines = choice(whole)
    assert lines[0] == f"chosen: {notes['chosen']}"
    assert lines[1].endswith("1.000 of the linear estimate's")
    run = load_run(whole)
    assert run.method == "auto"
    assert not isinstance(run.answer, Chosen)  # what it can do is what the chosen one can
    assert json.loads(json.dumps(notes)) == notes
    assert Trial(**notes["trials"][0]).share == 0.0
