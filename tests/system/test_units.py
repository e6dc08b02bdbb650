"""The same data in another unit give the same fits, in that unit: no constant has a unit of its own."""

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.equations.broadcast import expand
from physinv.equations.sde import SDE
from physinv.models.learned_drift import start_drift
from physinv.models.references.low_rank import LowRankReference
from physinv.models.references.mixture import MixtureReference
from physinv.models.references.particles import ParticleReference
from physinv.models.references.smoother import SmootherReference
from simulators.fields.burgers import Burgers
from simulators.particles.langevin import OverdampedParticles, UnderdampedParticles
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

UNITS = (2.0**-20, 2.0**20)  # a millionth and a million, as powers of two: nothing is rounded by them

CASES = {
    "mixture": (MixtureReference, OrnsteinUhlenbeck(dim=2, steps=3)),
    "low-rank": (LowRankReference, OrnsteinUhlenbeck(dim=20, steps=3)),
    "particles": (ParticleReference, OverdampedParticles(particles=4, steps=3)),
    "underdamped": (ParticleReference, UnderdampedParticles(particles=4, steps=3)),
    "smoother": (SmootherReference, Burgers(size=16, steps=3)),
}


class Rescaled(SDE):
    """The process of ``u x`` where ``x`` is that of another SDE."""

    def __init__(self, sde, unit):
        self.sde, self.unit = sde, unit

    def drift(self, x, t):
        return self.unit * self.sde.drift(x / self.unit, t)

    def diffusion(self, t):
        return self.unit * expand(self.sde.diffusion(t), torch.ones(len(t), *self.sde.shape))

    def diffuse(self, v, t):
        return self.unit * self.sde.diffuse(v, t)

    def drift_flow(self, x, t0, t1):
        return self.unit * self.sde.drift_flow(x / self.unit, t0, t1)

    def images(self, x):
        return self.sde.images(x)


class InUnits(TrajectoryDataset):
    """A dataset whose states are multiplied by ``unit``; where ``fixed``, all trajectories start at the same state."""

    def __init__(self, data, unit, fixed=False):
        vars(self).update(vars(data))
        self.unit, self.fixed = unit, fixed

    def states(self, time_index, limit=None):
        x = super().states(time_index, limit=limit)
        return self.unit * (x[:1].expand_as(x) if self.fixed and time_index == 0 else x)

    def blocks(self, limit=None):
        for block in super().blocks(limit=limit):
            yield self.unit * block


def unit_of(simulator, size):
    """``size`` for all numbers of a state but the species of particles, which have no unit."""
    unit = torch.full(simulator.shape, size)
    if simulator.layout.positions:
        unit[..., -1] = 1
    return unit


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    made = {}

    def of(simulator):
        if simulator not in made:
            folder = tmp_path_factory.mktemp("data") / "d"
            generate(DatasetPlan(simulator, {"train": 200}, 0, "any"), folder)
            made[simulator] = TrajectoryDataset(folder / "data" / "train").load()
        return made[simulator]

    return of


@pytest.mark.parametrize("fixed", [False, True], ids=["", "fixed start"])
@pytest.mark.parametrize("size", UNITS)
@pytest.mark.parametrize("kind", CASES)
def test_reference_laws(kind, size, fixed, data, generator):
    law, simulator = CASES[kind]
    unit, plain = unit_of(simulator, size), data(simulator)
    ours, theirs = (
        law.fit(Rescaled(simulator, u), InUnits(plain, u, fixed), Settings()) for u in (torch.ones_like(unit), unit)
    )
    for i, t in enumerate(plain.times.float()):
        x = InUnits(plain, torch.ones_like(unit), fixed).states(i, limit=5)
        at = t.expand(len(x))
        out = torch.randn(
            len(x),
            *([*x.shape[1:-1], ours.channels_out] if simulator.layout.positions else [ours.channels_out, *x.shape[2:]]),
            generator=generator,
        )
        same(theirs.score(unit * x, at) * unit, ours.score(x, at))
        same(theirs.features(unit * x, at), ours.features(x, at))
        same(theirs.lift(out, unit * x, at) * unit, ours.lift(out, x, at))


@pytest.mark.parametrize("size", [2.0**-50, *UNITS])
def test_learned_drifts(size, data):
    simulator = CASES["mixture"][1]
    plain, settings = data(simulator), Settings(width=8, depth=1)
    ours, theirs = (start_drift(InUnits(plain, u), settings) for u in (1.0, size))
    x = plain.states(1, limit=20)
    t, _ = torch.zeros(len(x)), [drift.requires_grad_(False) for drift in (ours, theirs)]
    same(theirs.drift(size * x, t) / size, ours.drift(x, t))
    same(theirs.noise / size, ours.noise)


def same(found, wanted):
    """Equal up to the rounding of float32 in some hundred operations, in units of the largest number."""
    assert bool(wanted.isfinite().all())
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
