"""From data to figures: no two places of the code draw from one stream, and every stream is in the list of names."""

import re
import sys
from collections import defaultdict

import pytest

from physinv.config import seeds as module
from physinv.config.seeds import Seeds, seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.evaluate import evaluate
from physinv.methods.learned.deep_ensemble import fit_deep_ensemble
from physinv.methods.learned.regression import fit_dropout
from physinv.methods.own.method import fit_physinv
from physinv.methods.problem import Problem
from physinv.posterior.reconstruction import read_reconstruction
from physinv.reports.reconstruction import draw_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from simulators.fields.burgers import Burgers
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

SMALL = Settings(width=4, depth=1, batch=16, validate_every=2, validate_windows=16, loss="trajectory")


@pytest.fixture
def asked(monkeypatch):
    """Streams that physinv asked for, each with the lines of code that did so."""
    found, plain = defaultdict(set), Seeds.number.fget

    def watched(stream):
        if (place := asker(sys._getframe(1))) is not None:
            found[stream.path].add(place)
        return plain(stream)

    monkeypatch.setattr(Seeds, "number", property(watched))
    return found


def asker(frame):
    """The line of physinv behind a call, past the module of the streams itself and wrappers that check types."""
    while frame is not None:
        name = frame.f_globals["__name__"]
        if name.startswith("physinv.") and name != "physinv.config.seeds":
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def data(simulator, name, folder, seed=0):
    generate(DatasetPlan(simulator, {"train": 40, "valid": 12, "test": 6}, seed, name), folder)
    return [TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid", "test")]


def patterns():
    """The names in the list, as regular expressions: capitals stand for anything, three dots for further names."""
    for line in re.findall(r"^    (\w+ / .*?)   ", module.__doc__, re.MULTILINE):
        parts = ["[^/]+" if part.isupper() else re.escape(part) for part in line.strip().split(" / ")]
        yield re.compile("/".join(parts).replace(re.escape("..."), ".+"))


def check(asked, *, shared=()):
    """Every stream is listed; no two lines of code ask for one, except for ``shared`` ones."""
    listed = list(patterns())
    for path, places in asked.items():
        name = "/".join(map(str, path[1:]))
        assert any(pattern.fullmatch(name) for pattern in listed), f"{name} is not in the list of config/seeds.py"
        assert len(places) == 1 or name in shared, f"{name} is drawn from by {places}"
    low = [seeds.number % 2**32 for seeds in map(Seeds, list(asked))]
    assert len(set(low)) == len(low)


def test_a_vector_from_data_to_figures(asked, tmp_path):
    train, valid, test = data(DoubleWell(steps=4), "double-well", tmp_path / "d")
    settings = SMALL.model_copy(update={"physics": "learned"})
    train_run(tmp_path / "run", train, valid, settings=settings, budget=Budget(steps=8))
    reconstruct(load_run(tmp_path / "run"), test, tmp_path / "r.hdf5", SamplingPlan(samples=4, certify=2))
    recon = read_reconstruction(tmp_path / "r.hdf5")
    evaluate(recon)
    draw_reconstruction(recon, tmp_path / "figures")
    names = {"/".join(map(str, path[1:])) for path in asked}
    assert {"data/train/0/0", "model/network", "physics/network", "training/noise/0"} < names
    assert {"physics/training/noise/0", "training/validation/noise", "evaluation/exact"} < names
    check(asked)


def test_a_field_seen_in_part(asked, tmp_path):
    train, valid, test = data(Burgers(size=16, steps=3, inner=2), "burgers", tmp_path / "d")
    train_run(tmp_path / "run", train, valid, settings=SMALL, budget=Budget(steps=4))
    reconstruct(load_run(tmp_path / "run"), test, tmp_path / "r.hdf5", SamplingPlan(samples=4, observe="sensors:0.5"))
    names = {"/".join(map(str, path[1:])) for path in asked}
    assert {"training/smoother-noise/steps", "training/smoother-noise/ensembles"} < names
    assert {"observation/sensors", "observation/noise/0", "reconstruction/samples/0"} < names
    check(asked)


def test_methods(asked, tmp_path):
    train, valid, test = data(OrnsteinUhlenbeck(dim=2, steps=4), "ornstein-uhlenbeck", tmp_path / "d")
    final = test.states(-1)
    for fit in (fit_physinv, fit_deep_ensemble, fit_dropout):
        asked.clear()
        answer = fit(Problem(OrnsteinUhlenbeck(dim=2, steps=4), train, valid, SMALL, budget=Budget(steps=10)))
        answer.mean(final)
        if hasattr(answer, "log_prob"):
            answer.log_prob(test.states(0), final)
        check(asked)


def test_ensembles_of_neighbouring_seeds_share_no_member(asked, tmp_path):
    """Members used to be trained with seed + i: those of seeds 0, 1 and 2 were seven instead of fifteen."""
    train, valid, _ = data(OrnsteinUhlenbeck(dim=2, steps=4), "ornstein-uhlenbeck", tmp_path / "d")
    numbers = []
    for seed in range(3):
        asked.clear()
        problem = Problem(OrnsteinUhlenbeck(dim=2, steps=4), train, valid, SMALL, budget=Budget(steps=5), seed=seed)
        fit_deep_ensemble(problem)
        numbers += [seeds(path[0]).child(*path[1:]).number for path in asked]
    assert len(set(numbers)) == len(numbers)
    assert len({path[2] for path in asked if path[1] == "member"}) == 5


def test_images_and_noise_of_an_update_are_independent(asked, tmp_path):
    """They used to be one stream: the mirror image of a window told the signs of its sliced loss."""
    train, valid, _ = data(DoubleWell(steps=4), "double-well", tmp_path / "d")
    settings = SMALL.model_copy(update={"loss": "sliced"})
    train_run(tmp_path / "run", train, valid, settings=settings, budget=Budget(steps=8))
    names = {"/".join(map(str, path[1:])) for path in asked}
    assert {"training/images/1", "training/noise/1"} < names
    check(asked)
