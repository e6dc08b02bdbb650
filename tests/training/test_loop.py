"""The loop: it learns the score, follows the curriculum, and sees the same batches however it is interrupted."""

import pytest
import torch

from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.models.build import build_model
from physinv.reversal.split import split
from physinv.training.budget import Budget
from physinv.training.loop import fit
from physinv.training.objectives.base import Batch, Objective
from physinv.training.objectives.trajectory import trajectory_loss
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ou")
    sim = OrnsteinUhlenbeck(dim=2, steps=20)
    generate(DatasetPlan(sim, {"train": 400, "valid": 100, "test": 50}, 0, "ornstein-uhlenbeck"), folder / "d")
    return {s: TrajectoryDataset(folder / "d" / "data" / s) for s in ("train", "valid", "test")}


def test_network_learns_what_a_gaussian_reference_misses(data, generator):
    """Three well-separated Gaussians, reference one: the loss falls towards that of the true score."""
    sim = OrnsteinUhlenbeck(dim=2, steps=20)
    settings = Settings(loss="trajectory", components=1, width=32, depth=2, batch=1024, validate_every=100, rate=3e-3)
    model = build_model(sim, data["train"], settings)
    train, valid = data["train"].load(), data["valid"].load()
    history = fit(model, sim, train, valid, settings=settings, budget=Budget(steps=400))
    states, times = valid.__getitems__(torch.arange(len(valid)))

    def true_score(x, t):
        out = torch.empty_like(x)
        for value in t.unique():
            out[t == value] = sim.score(x[t == value], t[t == value])
        return out

    floor = float(trajectory_loss(true_score, sim, Batch(states, times), step=split))
    first, last = history.records[0].valid, history.records[-1].best
    assert first > floor + 0.01  # otherwise there would be nothing to learn
    assert last < floor + 0.35 * (first - floor)


def test_a_batch_that_fits_nowhere_is_refused_with_what_it_takes(data):
    """4 bytes for each of 2 numbers at 21 times."""
    sim, settings = OrnsteinUhlenbeck(dim=2, steps=20), Settings(batch=10**12, components=1)
    model = build_model(sim, data["train"], settings)
    with pytest.raises(ValueError, match=r"^an update of `batch` = 10{12} takes 168 TB of memory, .* smaller `batch`"):
        fit(model, sim, data["train"], data["valid"], settings=settings, budget=Budget(steps=1))


def watching(seen):
    """The trajectory loss, which notes the windows, the noise and what else it is given while it trains."""

    def loss(score, sde, batch):
        if torch.is_grad_enabled():
            noise = torch.rand(2, generator=batch.generator)
            seen.append((batch.window, batch.states.clone(), noise, batch.estimate, batch.times))
        return trajectory_loss(score, sde, batch)

    return loss


def test_the_curriculum_is_followed_in_equal_shares(data):
    sim, seen = OrnsteinUhlenbeck(dim=2, steps=20), []
    settings = Settings(width=8, depth=1, batch=32, windows=(2, 3, 5), validate_every=100, validate_windows=64)
    model = build_model(sim, data["train"], settings)
    fit(model, sim, data["train"], data["valid"], settings=settings, budget=Budget(steps=9), loss=watching(seen))
    assert [window for window, *_ in seen] == [2, 2, 2, 3, 3, 3, 5, 5, 5]


@pytest.mark.parametrize(("window", "states"), [(2, 2), (7, 7), (None, 21)])
def test_an_objective_sets_its_window(data, window, states):
    sim, seen = OrnsteinUhlenbeck(dim=2, steps=20), []
    settings = Settings(width=8, depth=1, batch=32, validate_every=100, validate_windows=64)
    objective = Objective(watching(seen), window=window)
    model = build_model(sim, data["train"], settings)
    fit(model, sim, data["train"], data["valid"], settings=settings, budget=Budget(steps=1), loss=objective)
    assert [window for window, *_ in seen] == [states]


def test_batches_carry_the_estimate_of_their_own_trajectory(data):
    """Estimates that are the first states themselves, so that it can be told whose each of them is."""
    sim, seen = OrnsteinUhlenbeck(dim=2, steps=20), []
    train, valid = data["train"].load().ends(), data["valid"].load().ends()
    settings = Settings(width=8, depth=1, batch=32, validate_every=100, validate_windows=64)
    model = build_model(sim, data["train"], settings)
    estimates = (train.states(0), valid.states(0))
    options = {"settings": settings, "budget": Budget(steps=3), "loss": watching(seen)}
    fit(model, sim, train, valid, estimates=estimates, **options)
    assert all(torch.equal(estimate, states[:, 0]) for _, states, _, estimate, _ in seen)
    with pytest.raises(ValueError, match="`estimates` must have shape"):
        fit(model, sim, train, valid, estimates=(estimates[1], estimates[1]), **options)


def test_a_finished_model_was_finished_on_validation_data(data):
    sim, finished = OrnsteinUhlenbeck(dim=2, steps=20), []
    settings = Settings(width=8, depth=1, batch=32, validate_every=100, validate_windows=64)
    model = build_model(sim, data["train"], settings)
    objective = Objective(trajectory_loss, finish=lambda *given, seed: finished.append((*given, seed)))
    fit(model, sim, data["train"], data["valid"], settings=settings, budget=Budget(steps=1), loss=objective)
    assert finished == [(model, sim, data["valid"], seeds(0).child("training"))]
