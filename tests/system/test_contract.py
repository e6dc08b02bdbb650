"""Every registered simulator, reference law, reverse step and objective keeps the contract of its interface.

Combinations that claim to fit give finite results of the right shape, dtype and device, pass gradients on, and are the
same after saving and loading.  Those that do not fit say so in one line.
"""

import copy
import functools
import itertools
import math

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.equations.sde import Reverse
from physinv.models.build import build_model
from physinv.models.references.registry import REFERENCES, fit_reference, load_reference
from physinv.processes.parameters import build
from physinv.processes.registry import SIMULATORS
from physinv.reversal.choose import STEPS, default_step
from physinv.training.objectives.base import Batch
from physinv.training.objectives.registry import OBJECTIVES, find_objective

TINY = {
    "heat": {"size": 8, "steps": 4},
    "heat-walls": {"size": 8, "steps": 4},
    "heat-conductivity": {"size": 6, "steps": 4},
    "advection-diffusion": {"size": 8, "steps": 4},
    "wave": {"size": 8, "steps": 4},
    "burgers": {"size": 16, "steps": 4},
    "kuramoto-sivashinsky": {"size": 32, "steps": 4, "spin_up": 1.0},
    "navier-stokes": {"size": 8, "steps": 4, "spin_up": 0.1},
    "navier-stokes-3d": {"size": 4, "steps": 4},
    "allen-cahn": {"size": 8, "steps": 4, "horizon": 0.4},
    "kpz": {"size": 16, "steps": 4},
    "gray-scott": {"size": 8, "steps": 4, "spin_up": 1.0},
    "multiplicative-heat": {"size": 16, "steps": 4},
    "buoyancy": {"size": 6, "steps": 4},
    "particles": {"particles": 6, "steps": 4},
    "particles-underdamped": {"particles": 6, "steps": 4},
    "lorenz-96": {"sites": 8, "steps": 4},
    "quadratic": {"steps": 10},
}
NAMES = [name for name in SIMULATORS.names() if SIMULATORS.find(name).known]
COUNT = 12  # trajectories


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Simulator and training data by name, made when first asked for."""
    cache = {}

    def get(name):
        if name not in cache:
            simulator = build(SIMULATORS.find(name), TINY.get(name, {"steps": 4}))
            folder = tmp_path_factory.mktemp(name)
            generate(DatasetPlan(simulator, {"train": COUNT}, seed=0, name=name), folder)
            cache[name] = simulator, TrajectoryDataset(folder / "data" / "train").load()
        return cache[name]

    return get


@pytest.fixture(scope="module")
def fitted(made):
    """An untrained model by the names of process and law, fitted when first asked for; each caller has its own copy."""

    @functools.cache
    def fit(name, law):
        simulator, data = made(name)
        return build_model(simulator, data, Settings(reference=law, width=8, depth=1), seed=0)

    return lambda name, law: copy.deepcopy(fit(name, law))


def randomised(model):
    """Weights that are not zero anywhere, so that every part of the model has a say."""
    with torch.no_grad():
        for i, p in enumerate(model.network.parameters()):
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    return model


def outcome(call):
    """What ``call`` returns and "", or None and the line in which it refuses."""
    try:
        return call(), ""
    except ValueError as error:
        text = str(error)
    assert len(text.splitlines()) == 1
    return None, text


@pytest.mark.parametrize("name", NAMES)
def test_simulators(name, made):
    """Drift, diffusion, symmetries, own step and initial states of one shape and dtype, finite, the same per seed."""
    simulator, data = made(name)
    for dtype in (torch.float32, torch.float64):
        g = lambda: torch.Generator().manual_seed(1)  # noqa: E731
        x = simulator.initial(3, generator=g(), dtype=dtype)
        assert x.shape == (3, *simulator.shape)
        assert x.dtype == dtype
        assert torch.equal(x, simulator.initial(3, generator=g(), dtype=dtype))
        t = x.new_full((3,), float(simulator.times[1]))
        f = simulator.drift(x, t)
        assert f.shape == x.shape
        assert f.dtype == dtype
        assert bool(f.isfinite().all())
        assert simulator.diffuse(torch.ones_like(x), t).shape == x.shape
        assert all(image.shape == x.shape and image.dtype == dtype for image in simulator.images(x))
        for image in zip(*(simulator.images(y) for y in simulator.images(x)), strict=True):
            assert len(image) == len(simulator.images(x))
        path = simulator.run(x, generator=g())
        assert path.shape == (3, len(simulator.times), *simulator.shape)
        assert path.dtype == dtype
        assert bool(path.isfinite().all())
    layout = simulator.layout
    assert layout.shape == simulator.shape == data.shape
    assert data.layout == layout
    assert layout.set_moving(layout.moving(x), torch.zeros_like(x)).shape == x.shape


@pytest.mark.parametrize(("name", "law"), [*itertools.product(NAMES, REFERENCES.names())])
def test_reference_laws(name, law, made, fitted):
    simulator, data = made(name)
    if not REFERENCES.find(law).suits(simulator, data.layout):
        with pytest.raises(ValueError, match=f"reference law `{law}` does not fit"):
            fit_reference(simulator, data, Settings(reference=law))
        return
    model = randomised(fitted(name, law))
    reference = model.reference
    x, t = data.states(2), torch.full((COUNT,), float(data.times[2]))
    score = reference.score(x, t)
    assert score.shape == x.shape
    assert score.dtype == x.dtype
    assert bool(score.isfinite().all())
    assert reference.log_prob(x, t).shape == (COUNT,)
    features = reference.features(x, t)
    channel = -1 if x.ndim == 3 and data.layout.network == "particles" else 1
    assert features.shape[channel] == reference.channels_in
    assert bool(features.isfinite().all())
    out = model.network(features, t)
    assert out.shape[channel] == reference.channels_out
    assert reference.lift(out, x, t).shape == x.shape
    whole = model(x, t)
    assert whole.shape == x.shape
    assert bool(whole.isfinite().all())
    again = load_reference(law, simulator, dict(model.state_dict()))
    assert torch.equal(again.score(x, t), score)
    assert torch.equal(again.features(x, t), features)
    whole.square().mean().backward()
    gradients = [p.grad for p in model.network.parameters()]
    assert any(g is not None and bool(g.abs().sum() > 0) for g in gradients)
    precision = reference.precision(x, t)
    if precision is not None:
        low, high = reference.limits(t)
        assert precision.shape == x.shape
        assert bool((precision > 0).all())
        assert bool(((low <= x) & (x <= high)).all())
    assert model.double().reference.score(x.double(), t.double()).dtype == torch.float64


def fitting(simulator, data):
    return [law for law in REFERENCES.names() if REFERENCES.find(law).suits(simulator, data.layout)]


@pytest.mark.parametrize(("name", "step"), [*itertools.product(NAMES, STEPS.names())])
def test_reverse_steps(name, step, made, fitted):
    """Every step takes a state back for every eta, or says in one line what it needs."""
    simulator, data = made(name)
    taken = STEPS.find(step)
    x = data.states(-1)
    t0, t1 = (torch.full((COUNT,), float(data.times[i])) for i in (-1, -2))
    g = torch.Generator().manual_seed(0)
    dw = torch.randn((taken.draws, *x.shape), generator=g) * math.sqrt(float(data.times[-1] - data.times[-2]))
    for law in fitting(simulator, data):
        model = fitted(name, law)
        for eta in (0.0, 1.0):
            reverse = Reverse(simulator, model, eta)
            if taken is default_step(simulator, model):
                y = taken(reverse, x, t0, t1, dw)
                assert y.shape == x.shape
                assert y.dtype == x.dtype
                assert bool(y.isfinite().all())
                continue
            y, refusal = outcome(lambda: taken(reverse, x, t0, t1, dw))  # noqa: B023
            if refusal:
                assert f"`{step.rstrip('2')}`" in refusal
            else:
                assert y.shape == x.shape
                assert y.dtype == x.dtype


@pytest.mark.parametrize(("name", "objective"), [*itertools.product(NAMES, OBJECTIVES.names())])
def test_objectives(name, objective, made, fitted):
    """Every objective is a finite number with gradients, the same for the same generator, or says what it needs."""
    simulator, data = made(name)
    model = randomised(fitted(name, fitting(simulator, data)[0]))
    loss = find_objective(objective).loss
    count, length = (1, 2) if objective == "implicit" else (2, 3)  # it takes a gradient for each of their numbers
    states = data.trajectories(slice(0, count))[:, -length:]
    times = data.times[-length:].float().expand(count, length)

    def value():
        batch = Batch(states, times, generator=torch.Generator().manual_seed(3))
        return loss(model, simulator, batch)

    found, refusal = outcome(value)
    if refusal:
        assert "`" in refusal
        return
    assert found.shape == ()
    assert bool(found.isfinite())
    if objective != "implicit" or states.numel() < 100:  # whose gradients would be taken once more
        with torch.no_grad():  # as for validation
            again = value()
        # sums of gradients may be taken in another order, and terms of order one cancel: float32 leaves 1e-6 of them
        assert torch.allclose(found, again, rtol=1e-4, atol=1e-5)
    found.backward()
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.network.parameters())
