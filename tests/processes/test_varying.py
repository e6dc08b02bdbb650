"""Processes with unknown parameters: each trajectory is that of its own value, whatever is beside it in the batch."""

import dataclasses
import math
import pickle
import re

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.process import process_of
from physinv.processes.parameters import build, describe
from physinv.processes.priors import LogUniform, Uniform
from physinv.processes.registry import simulators
from physinv.processes.varying import vary
from simulators.fields.allen_cahn import AllenCahn
from simulators.fields.heat import Heat
from simulators.particles.langevin import OverdampedParticles
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

TINY = {
    "heat": {"size": 8},
    "heat-walls": {"size": 8},
    "burgers": {"size": 16},
    "kpz": {"size": 16},
    "navier-stokes": {"size": 8, "spin_up": 0.1},
    "navier-stokes-3d": {"size": 6},
    "allen-cahn": {"size": 8},
    "gray-scott": {"size": 8, "spin_up": 1.0},
    "multiplicative-heat": {"size": 8},
    "lorenz-96": {"sites": 6, "spin_up": 0.1},
}
FREE = [(name, f) for name, cls in simulators().items() for f in dataclasses.fields(cls) if f.metadata.get("varies")]
DOUBLE = torch.float64


@pytest.mark.parametrize(("name", "field"), FREE, ids=lambda x: getattr(x, "name", x))
def test_each_state_moves_by_its_own_value(name, field):
    """Drift, flow and steps of a batch with five values are those of five processes, one with each value."""
    middle = field.default or 0.1
    given = TINY.get(name, {}) | {"steps": 3, field.name: {"uniform": [0.5 * middle, 1.5 * middle]}}
    varying = build(simulators()[name], given)
    x = varying.initial(5, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    values, state = varying.values(x), varying.state(x)
    assert len(values.unique()) == 5
    assert torch.equal(varying.joined(state, values), x)
    t, h = torch.zeros(5, dtype=DOUBLE), varying.horizon / 3 / varying.substeps
    dw = math.sqrt(h) * torch.randn((varying.draws, *x.shape), generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    moved = varying.advance(x, t, t + h, dw), varying.drift_flow(x, t, t + h), varying.drift(x, t)
    for i, value in enumerate(values[:, 0].tolist()):
        alone = dataclasses.replace(varying.inner, **{field.name: value})
        one, t0, noise = state[i : i + 1], t[:1], dw[:, i : i + 1, : varying.inner.shape[0]]
        wanted = alone.advance(one, t0, t0 + h, noise), alone.drift_flow(one, t0, t0 + h), alone.drift(one, t0)
        for ours, theirs in zip(moved, wanted, strict=True):
            assert torch.allclose(varying.state(ours)[i : i + 1], theirs, rtol=1e-12, atol=1e-12)
    assert torch.equal(varying.values(moved[0]), values)
    assert not varying.values(moved[2]).any()
    assert varying.longest_step is not None
    run = varying.run(x, generator=torch.Generator().manual_seed(2))
    assert torch.equal(varying.values(run[:, -1]), values)


def test_values_follow_their_prior_and_states_do_not_depend_on_the_batch():
    varying = vary(OrnsteinUhlenbeck(dim=2, steps=4), {"rate": LogUniform(0.1, 2.0)})
    x = varying.initial(4000, generator=torch.Generator().manual_seed(0))
    u = LogUniform(0.1, 2.0).share(varying.values(x)[:, 0]).sort().values
    # Kolmogorov's distance of 4000 uniform numbers exceeds 1.95 / sqrt(n) in one of 1000 cases
    assert float((u - (torch.arange(4000) + 0.5) / 4000).abs().max()) < 1.95 / math.sqrt(4000)
    whole = varying.run(x[:6], noise=False)
    assert torch.equal(whole[:3], varying.run(x[:3], noise=False))
    decay = torch.exp(-varying.values(x[:6]) * varying.horizon)
    assert torch.allclose(varying.state(whole[:, -1]), decay * varying.state(x[:6]), atol=1e-5)


def test_noise_of_heat_has_the_variance_of_each_value(generator):
    """From 0: every mode has the variance of its own diffusivity."""
    varying = vary(Heat(size=4, steps=2), {"diffusivity": Uniform(0.5, 4.0)})
    n = 20_000
    values = torch.tensor([0.5, 4.0], dtype=DOUBLE).repeat_interleave(n)[:, None]
    end = varying.run(varying.joined(torch.zeros(2 * n, 1, 4, 4, dtype=DOUBLE), values), generator=generator)[:, -1]
    for half, value in ((slice(0, n), 0.5), (slice(n, None), 4.0)):
        alone = dataclasses.replace(varying.inner, diffusivity=value)
        power = alone.modes(varying.state(end)[half]).abs().square().mean(0)
        want = alone.variance(0.0, torch.full((1,), alone.horizon, dtype=DOUBLE), varying.state(end)[:1])[0]
        assert torch.allclose(power / want, torch.ones_like(power), atol=5 * math.sqrt(2 / n))


def test_datasets_hold_the_values_and_the_priors(tmp_path):
    for inner, prior in (
        (DoubleWell(steps=4), {"barrier": Uniform(0.5, 2.0)}),
        (Heat(size=4, dimension=1, steps=3), {"diffusivity": LogUniform(0.5, 2.0)}),
    ):
        varying = vary(inner, prior)
        out = generate(DatasetPlan(varying, {"train": 12}), tmp_path / type(inner).__name__)
        data = TrajectoryDataset(out / "data" / "train")
        assert process_of(data) == varying
        assert data.layout == varying.layout
        assert data.config["parameters"][varying.unknown[0]] == next(iter(prior.values())).described()
        assert len(varying.values(data.states(0)).unique()) == 12
        assert torch.equal(varying.values(data.states(0)), varying.values(data.states(-1)))
        assert data.paths[0].name.startswith({"DoubleWell": "double-well", "Heat": "heat"}[type(inner).__name__])


def test_it_is_built_again_copied_and_changed():
    given = {"size": 8, "dimension": 1, "diffusivity": {"uniform": [0.5, 2.0]}}
    varying = build(Heat, given)
    assert build(varying.process, describe(varying)) == varying
    assert varying.process is Heat
    assert varying.unknown == ("diffusivity",)
    x = varying.initial(2)
    varying.run(x)  # fills what is computed once
    assert pickle.loads(pickle.dumps(varying)) == varying
    longer = dataclasses.replace(varying, horizon=1.0, steps=2)
    assert longer.inner.horizon == 1.0
    assert longer.times.tolist() == [0.0, 0.5, 1.0]
    image = varying.images(x)[1]
    assert torch.equal(varying.state(image), -varying.state(x))
    assert torch.equal(varying.values(image), varying.values(x))


def test_mirror_images_are_those_that_all_values_share():
    """States of opposite sign are as likely without a tilt alone, which is the middle of this prior."""
    varying = build(AllenCahn, {"size": 8, "dimension": 1, "tilt": {"uniform": [-0.5, 0.5]}})
    x = varying.joined(torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([[0.4], [-0.3]]))
    images = varying.images(x)
    assert len(images) == 2
    for image, moved in zip(images, varying.images(varying.drift(x, torch.zeros(2))), strict=True):
        torch.testing.assert_close(varying.drift(image, torch.zeros(2)), moved)


def test_the_solver_step_is_that_of_the_stiffest_value():
    varying = vary(DoubleWell(steps=5), {"barrier": Uniform(0.5, 8.0)})
    steps = [dataclasses.replace(varying.inner, barrier=b).longest_step for b in (0.5, 8.0)]
    assert varying.longest_step == min(steps)
    at = varying.at(torch.tensor([[0.5], [0.6]]))
    assert (at.longest_step, at.substeps) == (varying.longest_step, varying.substeps)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: build(Heat, {"noise": {"uniform": [0.1, 0.2]}}),
            "`noise` of Heat can't have a prior; these can: diffu",
        ),
        (
            lambda: build(Heat, {"prior": {"uniform": [0, 1]}}),
            "`prior` of Heat can't have a prior; these can: diffusiv",
        ),
        (
            lambda: build(Heat, {"diffusivity": {"uniform": [-1, 1]}}),
            "`diffusivity` of Heat must be at least 0, got -1.0",
        ),
        (
            lambda: build(OrnsteinUhlenbeck, {"rate": {"normal": [0.5, 0.2]}}),
            "`rate` of OrnsteinUhlenbeck must be above",
        ),
        (
            lambda: build(OverdampedParticles, {"mobility": {"uniform": [1, 2]}}),
            "`mobility` of OverdampedParticles can't have a prior; none of its parameters can.",
        ),
    ],
)
def test_what_cannot_vary_is_told_in_one_line(make, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        make()
    assert "\n" not in str(caught.value)
