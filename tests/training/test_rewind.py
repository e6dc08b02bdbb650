"""States taken back by the physics: right, found once, and the same to training as if found anew every time."""

import math

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.models.build import build_model
from physinv.models.references.smoother import taken_back
from physinv.posterior.posterior import Posterior
from physinv.processes.registry import find
from physinv.processes.simulator import build
from physinv.reversal.smoother import smoother_loss
from physinv.training.carrying import Carrying
from physinv.training.loop import fit
from physinv.training.rewind import rewind

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
    back = taken_back(sim, x, t, dt)
    assert torch.allclose(back, x / sim.decay(dt, x), rtol=1e-12)  # rounding
    huge = taken_back(sim, torch.full_like(x, 1e16), t, dt)
    assert (huge == 0).all()


@pytest.mark.parametrize("window", [2, 3, 5])
def test_windows_carry_their_last_state_taken_back(burgers, window):
    sim, train, _ = burgers
    data = train.with_window(window)
    carrying = Carrying(data, rewind(sim, train))
    index = torch.tensor([0, 7, len(data) - 1, 3])
    states, times = carrying.__getitems__(index)
    plain, clock = data.__getitems__(index)
    assert len(carrying) == len(data)
    assert torch.equal(states[:, :-1], plain)
    assert torch.equal(times, clock)
    again = taken_back(sim, plain[:, -1], clock[:, -1], clock[:, -1] - clock[:, -2])
    assert torch.allclose(states[:, -1], again, rtol=1e-5, atol=1e-6)  # float32, other batches
    model = build_model(sim, train, SMALL)
    torch.nn.init.normal_(model.network.last.weight, std=0.1)
    with_it, without = (smoother_loss(model, sim, s, clock).item() for s in (states, plain))
    assert math.isclose(with_it, without, rel_tol=1e-5)
    wrong = torch.cat([plain, plain[:, -1:]], dim=1)
    assert not math.isclose(smoother_loss(model, sim, wrong, clock).item(), without, rel_tol=1e-3)  # it is made use of


def test_training_asks_the_physics_once_for_every_state(burgers, asked):
    sim, train, valid = burgers
    stored = 70 * 4
    model = build_model(sim, train, SMALL)
    for steps, passes in ((35, 2), (5, 0)):  # 35 updates of 16 windows: twice through the 280 windows
        asked.clear()
        fit(model, sim, train, valid, settings=SMALL, steps=steps)
        overhead = 20 * 4 + 20 * 4 + 8 * 20 * 4  # validation data, and calibration: single steps, then ensembles of 8
        part = 128 // 4 * 4  # the first part is rewound before it is known that one pass is too little
        assert sum(asked) / sim.substeps == overhead + (stored if passes else part + steps * 16)


def test_patience_ends_before_the_work_is_done(burgers, asked):
    sim, train, _ = burgers
    assert rewind(sim, train, patience=0.0) is None
    assert sum(asked) == 128 * sim.substeps
    assert rewind(sim, train, patience=1e6).shape == (70, 4, *sim.shape)


def test_a_step_of_the_reversal_asks_the_physics_once(burgers, asked):
    sim, train, _ = burgers
    posterior, final = Posterior(sim, build_model(sim, train, SMALL), train.times), train.states(-1, limit=6)
    for draw in (posterior.flow, posterior.mean_flow, lambda x: posterior.sample(x, 1)):
        asked.clear()
        draw(final)
        assert sum(asked) == 6 * 4 * sim.substeps
