"""The backward cache: right, filled once, and the same to training as if the physics were solved every time."""

import dataclasses
import math

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.models.build import build_model
from physinv.models.references.smoother_tables import physics_backward
from physinv.posterior.posterior import Posterior
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.training.backward_cache import backward_states
from physinv.training.batches import Windows
from physinv.training.budget import Budget
from physinv.training.loop import fit
from physinv.training.objectives.smoother import smoother_loss

SMALL = Settings(width=8, depth=1, batch=16, validate_windows=32, validate_every=100)


@pytest.fixture(scope="module")
def burgers(tmp_path_factory):
    out = tmp_path_factory.mktemp("burgers")
    sim = build(find("burgers"), {"size": 32, "steps": 4, "inner": 3})
    generate(DatasetPlan(sim, {"train": 70, "valid": 20}, 0, "burgers"), out)
    train, valid = (TrajectoryDataset(out / "data" / s).load() for s in ("train", "valid"))
    return sim, train, valid


@pytest.fixture
def asked(burgers, monkeypatch):
    """How many states the physics has carried, batch by batch."""
    kind, counts = type(burgers[0]), []
    plain = kind.drift_flow
    monkeypatch.setattr(kind, "drift_flow", lambda self, x, a, b: counts.append(len(x)) or plain(self, x, a, b))
    return counts


def test_linear_physics_is_taken_back_exactly():
    sim = build(find("ornstein-uhlenbeck"), {})
    x = torch.randn(5, *sim.shape, dtype=torch.float64)
    t, dt = torch.full((5,), 0.7, dtype=torch.float64), torch.full((5,), 0.4, dtype=torch.float64)
    back = physics_backward(sim, x, t, dt)
    assert torch.allclose(back, x / sim.decay(0.0, dt, x), rtol=1e-12)  # rounding
    diverged = physics_backward(sim, x, t, torch.full_like(dt, 100.0))  # e^100 times as large
    assert (diverged == 0).all()


@pytest.mark.parametrize("window", [2, 3, 5])
def test_windows_carry_their_last_state_physics_backward(burgers, window):
    sim, train, _ = burgers
    plain = Windows(train).with_window(window)
    cached = plain.with_backward(backward_states(sim, train))
    index = torch.tensor([0, 7, len(plain) - 1, 3])
    batch, bare = cached.batch(index), plain.batch(index)
    assert len(cached) == len(plain)
    assert torch.equal(batch.states, bare.states)
    assert torch.equal(batch.times, bare.times)
    assert bare.backward is None
    t = batch.times
    again = physics_backward(sim, batch.states[:, -1], t[:, -1], t[:, -1] - t[:, -2])
    assert torch.allclose(batch.backward, again, rtol=1e-5, atol=1e-6)  # float32, other batches
    model = build_model(sim, train, SMALL)
    torch.nn.init.normal_(model.network.last.weight, std=0.1)
    with_it, without = (smoother_loss(model, sim, b).item() for b in (batch, bare))
    assert math.isclose(with_it, without, rel_tol=1e-5)
    wrong = dataclasses.replace(bare, backward=bare.states[:, -1])
    assert not math.isclose(smoother_loss(model, sim, wrong).item(), without, rel_tol=1e-3)  # it is made use of


def test_training_asks_the_physics_once_for_every_state(burgers, asked):
    sim, train, valid = burgers
    stored = 70 * 4
    model = build_model(sim, train, SMALL)
    for steps, passes in ((35, 2), (5, 0)):  # 35 updates of 16 windows: twice through the 280 windows
        asked.clear()
        fit(model, sim, train, valid, settings=SMALL, budget=Budget(steps=steps))
        overhead = 20 * 4 + 20 * 4 + 8 * 20 * 4  # validation data, and calibration: single steps, then ensembles of 8
        assert sum(asked) / sim.substeps == overhead + (stored if passes else steps * 16)


def test_patience_ends_before_the_work_is_done(burgers, asked):
    sim, train, _ = burgers
    assert backward_states(sim, train, patience=0.0) is None
    assert sum(asked) == 128 * sim.substeps
    assert backward_states(sim, train, patience=1e6).shape == (70, 4, *sim.shape)


def test_a_step_of_the_reversal_asks_the_physics_once(burgers, asked):
    sim, train, _ = burgers
    posterior, final = Posterior(sim, build_model(sim, train, SMALL), train.times), train.states(-1, limit=6)
    for draw in (posterior.flow, posterior.mean_flow, lambda x: posterior.sample(x, 1)):
        asked.clear()
        draw(final)
        assert sum(asked) == 6 * 4 * sim.substeps
