"""Physics from data alone: drift and noise to statistical error, posteriors as good as with the true physics."""

import math

import numpy as np
import pytest
import torch
from recorded_cases import recorded
from safetensors.torch import load_file, save_file

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import crps
from physinv.models.build import build_model
from physinv.models.learned_drift import LearnedDrift, load_drift, start_drift
from physinv.posterior.posterior import Posterior
from physinv.processes.layout import FieldLayout, VectorLayout
from physinv.training.budget import Budget
from physinv.training.fit_drift import fit_drift
from physinv.training.loop import fit
from physinv.training.objectives.base import Batch
from physinv.training.objectives.drift import DriftAndScore, drift_loss, joint_loss
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

WELL, OU, DT = DoubleWell(), OrnsteinUhlenbeck(dim=2, noise=0.5), 0.01
SETTINGS = Settings(width=32, depth=2, batch=2048, validate_every=50, validate_windows=8192)


def made(simulator, name, folder, **splits):
    generate(DatasetPlan(simulator, splits, 0, name), folder)
    return [TrajectoryDataset(folder / "data" / s).load() for s in splits]


@pytest.fixture(scope="module")
def well(tmp_path_factory):
    return made(WELL, "double-well", tmp_path_factory.mktemp("well") / "d", train=1500, valid=200, test=300)


@pytest.fixture(scope="module")
def drift(well):
    return fit_drift(well[0], well[1], settings=SETTINGS, budget=Budget(steps=50))


def parameters_spent(drift, simulator, data):
    """E|f - f*|^2 N dt / g^2 where the data are: a regression with p free parameters has p by chance, d = 1 each."""
    x = data.trajectories()[:, :-1].flatten(0, 1)
    t, dt = torch.zeros(len(x)), float(data.times[1])
    gap = drift.drift(x, t) - simulator.drift(x, t)
    return float((gap.square().mean() * len(x) * dt / simulator.diffusion(t[:1]) ** 2).detach())


def test_drift_of_a_double_well(well, drift):
    # 34 weights in the last layer, of which the data determine some ten: chi^2 with 34 degrees of freedom is below 71
    # with probability .9998.  No drift at all would cost E f^2 N dt / g^2 = 1600; twice the drift as much.
    assert parameters_spent(drift, WELL, well[0]) < 71
    x = well[0].trajectories()[:, :-1].flatten(0, 1)
    assert float((WELL.drift(x, torch.zeros(len(x))) ** 2).mean()) * len(x) * DT > 1000


def test_noise_of_a_double_well(drift):
    # standard error of g over 75000 squared increments: 1 / sqrt(2 * 75000) = .26 %; 34 weights lower it by .02 %
    assert float(drift.noise) == pytest.approx(math.sqrt(2 * WELL.temperature), rel=4 * 0.0026)


def test_drift_and_noise_of_two_components(tmp_path):
    (data,) = made(OU, "ornstein-uhlenbeck", tmp_path / "d", train=1000)
    drift = start_drift(data, SETTINGS)
    assert parameters_spent(drift, OU, data) / 2 < 71
    # steps of .05: without meeting half-way g would be off by rate dt / 2 = 1.25 %, five standard errors of .25 %
    assert drift.noise.tolist() == pytest.approx([OU.noise] * 2, rel=4 * 0.0025)
    assert drift.diffusion(torch.zeros(3)).shape == (3, 2)


def test_posterior_with_learned_physics(well, drift, generator):
    train, valid, test = well
    truth, final = test.states(0), test.states(-1)
    settings = SETTINGS.model_copy(update={"rate": 3e-3, "batch": 1024, "validate_windows": 1024})
    model = build_model(drift, train, settings)
    fit(model, drift, train, valid, settings=settings, budget=Budget(steps=120))
    assert all(not p.requires_grad for p in drift.parameters())
    ours = Posterior(drift, model, train.times).sample(final, 16, generator=generator)
    exact = WELL.exact().sample(final, 64, generator=generator)
    assert float(crps(ours, truth)) < 1.1 * float(crps(exact, truth))
    # a posterior mean in place of the samples, or the prior, would be 25 % worse or more
    assert float(crps(exact.mean(1, keepdim=True).repeat(1, 2, 1), truth)) > 1.2 * float(crps(exact, truth))


def test_trained_together(well):
    """One loss for both: it falls below what the reference had, and moves both networks."""
    train, valid, _ = well
    drift = start_drift(train, SETTINGS)
    score = build_model(drift, train, SETTINGS.model_copy(update={"components": 1}))
    pair = DriftAndScore(drift, score)
    before = {k: v.clone() for k, v in pair.network.state_dict().items()}
    small = SETTINGS.model_copy(update={"batch": 1024, "validate_windows": 1024})
    history = fit(pair, drift, train, valid, settings=small, budget=Budget(steps=150), loss=joint_loss)
    assert history.records[-1].best < history.records[0].valid - 0.005
    changed = {k.split(".")[0] for k, v in pair.network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"0", "1"}
    assert score.reference.sde is drift
    assert parameters_spent(drift, WELL, train) < 160  # a tenth of what no drift at all costs


@pytest.mark.parametrize("window", [2, 4])
def test_losses_are_minimised_by_the_true_drift(window, generator):
    """The slope along a rescaled drift vanishes at the truth; what is left is the noise, less what the drift damps."""
    x = OU.simulate(20_000, generator=generator)[:, 10 : 10 + window]
    times = OU.times[10 : 10 + window].float().expand(len(x), window)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.c = torch.nn.Parameter(torch.tensor(1.0))

        def forward(self, features, t):
            return self.c * -OU.rate * features[:, :2]

    one, zero = torch.ones(2), torch.zeros(2)
    drift = LearnedDrift(
        Network(), centre=zero, scale=one, offset=zero, slope=torch.zeros(2, 2), unit=one, noise=OU.noise * one
    )
    loss = drift_loss(drift, drift, Batch(x, times))
    (slope,) = torch.autograd.grad(loss, drift.network.c, create_graph=True)
    (bend,) = torch.autograd.grad(slope, drift.network.c)
    # the minimiser's standard error is g / sqrt(N dt E f^2) with N = 40000 components, E f^2 = .25 * 1.1
    assert float((slope / bend).detach()) == pytest.approx(0, abs=4.5 * OU.noise / math.sqrt(40_000 * 0.05 * 0.27))
    assert float(loss.detach()) == pytest.approx(1 - OU.rate * 0.05 * window / 2, abs=0.03)


def test_saved_and_loaded_as_plain_tensors(drift, tmp_path):
    save_file({k: v.contiguous() for k, v in drift.state_dict().items()}, tmp_path / "drift.safetensors")
    again = load_drift(load_file(tmp_path / "drift.safetensors"), VectorLayout("position", 1), SETTINGS)
    x, t = torch.linspace(-2, 2, 9)[:, None], torch.zeros(9)
    assert torch.equal(again.drift(x, t), drift.drift(x, t))
    assert torch.equal(again.diffusion(t), drift.diffusion(t))


def test_fields_have_one_noise_per_channel(tmp_path):
    heat = Heat(size=8, steps=20, horizon=0.02, diffusivity=0.02)
    (data,) = made(heat, "heat", tmp_path / "d", train=200)
    drift = start_drift(data, Settings(width=4, depth=1))
    assert drift.noise.shape == (1, 1, 1)
    x = data.states(3)
    assert drift.drift(x, torch.zeros(len(x))).shape == x.shape
    # before training the drift is local and misses diffusion, |r| <= .64: that adds (r u)^2 dt / g^2 < .64 % to g^2;
    # 256000 increments have a standard error of .14 %
    assert float(drift.noise) == pytest.approx(heat.noise, rel=0.0032 + 4 * 0.0014)


def test_other_models_are_refused(well):
    states, times = well[0].__getitems__(torch.arange(3))
    with pytest.raises(ValueError, match="`score` must be a LearnedDrift or a DriftAndScore here, got function"):
        drift_loss(lambda x, t: x, WELL, Batch(states, times))
    with pytest.raises(ValueError, match=r"`score` must be a DriftAndScore here, got function"):
        joint_loss(lambda x, t: x, WELL, Batch(states, times))


def test_a_drift_may_depend_on_time(tmp_path):
    """A vector that is pushed at a rate of t: the steady drift misses it, the timed one finds it."""
    rng, times = np.random.default_rng(0), np.linspace(0, 2, 21)
    steps = (times[1:] ** 2 - times[:-1] ** 2) / 2 + 0.05 * np.sqrt(0.1) * rng.normal(size=(400, 20))
    states = np.concatenate([rng.normal(size=(400, 1)), steps], 1).cumsum(1)[..., None]
    data = recorded(tmp_path, VectorLayout("q", 1), times, {"train": states})["train"]
    x, t = data.states(10), torch.full((400,), 1.5)
    timed, steady = (start_drift(data, Settings(width=32, depth=2, drift=kind)) for kind in ("timed", "steady"))
    # the standard error of the mean increment of a step is g / sqrt(N dt) = .008, and the network draws the line in t
    # to .1; an error of that size adds .1^2 dt to g^2 dt. The steady drift knows t from x, up to where x began
    assert float(timed.drift(x, t).detach().mean()) == pytest.approx(1.5, abs=0.1)
    assert 0.05 * (1 - 0.03) < float(timed.noise) < (0.05**2 + 0.1**2 * 0.1) ** 0.5
    assert float(steady.noise) > 1.5 * float(timed.noise)
    assert (timed.timed, steady.timed) == (True, False)
    again = load_drift(timed.state_dict(), VectorLayout("q", 1), Settings(width=32, depth=2, drift="timed"))
    assert torch.equal(again.drift(x, t), timed.drift(x, t))


def test_data_without_noise_leave_some(tmp_path):
    """Exact decay: what the drift leaves unexplained goes to 0, the noise to a thousandth of the increments."""
    times = np.linspace(0, 1, 11)
    states = np.linspace(1, 2, 50)[:, None, None] * np.exp(-times)[:, None]
    data = recorded(tmp_path, VectorLayout("q", 1), times, {"train": states})["train"]
    drift = start_drift(data, Settings(width=16, depth=2))
    rate = (np.diff(states, axis=1) ** 2 / 0.1).mean() ** 0.5
    assert 1e-3 * rate * 0.999 <= float(drift.noise) < 0.05 * rate


def test_static_channels_stay_as_they_are(tmp_path):
    """A heater that is on or off is seen by the drift of the other channel, and has none of its own."""
    rng, times = np.random.default_rng(0), np.linspace(0, 1, 11)
    on = rng.integers(0, 2, size=(200, 1, 1)) * np.ones((1, 11, 5))
    states = np.stack([on * times[:, None] + 0.01 * rng.normal(size=on.shape), on], 2)
    layout = FieldLayout(("u", "heater"), "x", [range(5)], "WALL", "heater")
    data = recorded(tmp_path, layout, times, {"train": states})["train"]
    drift = start_drift(data, Settings(width=4, depth=1))
    found = drift.drift(data.states(3), torch.zeros(200)).detach()
    assert not found[:, 1].any()
    assert not drift.noise[1].any()
    pushed = data.states(3)[:, 1] > 0
    # the mean increment of .1 per step of .1 is known to .01 * sqrt 2 / sqrt(1000 * 10) / .1 = .0014 at the ends alone
    assert float(found[:, 0][pushed].mean() - found[:, 0][~pushed].mean()) == pytest.approx(1.0, abs=0.05)
