"""From data to samples, the same data in another unit give the same answer in that unit: no constant has a unit."""

import functools
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import physinv as pi
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.checks import check_samples
from physinv.evaluation.metrics import crps
from physinv.methods.problem import Problem
from physinv.methods.registry import fit_method
from physinv.processes.layout import VectorLayout
from physinv.training.budget import Budget
from simulators.fields.heat import Heat
from simulators.numerics.semilinear import Semilinear
from simulators.numerics.spectral import coloured_field, grid, normalised, squared_wavenumbers
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

EXACT = (2.0**-40, 2.0**50)  # 1e-12 and 1e15: powers of two round nothing
ROUNDED = (1e-15, 1e12)  # variances of 1e-30 leave float32 too little for modes of rounding


@dataclass(frozen=True)
class Wells(pi.Simulator):
    """Two numbers, each in two wells at plus and minus ``unit``."""

    title, equation, longest_step, layout = "wells", "dx = (x - x^3 / unit^2) dt + g dW", 0.1, VectorLayout("x", 2)
    steps: int = pi.parameter(4, "M", "stored time steps", minimum=1)
    unit: float = pi.parameter(1.0, "u", "where the wells are", unit="state", above=0)
    rate: float = pi.parameter(1.0, "r", "inverse of the unit of time", unit="1/time", above=0)

    def drift(self, x, t):
        return self.rate * (x - x * (x / self.unit) ** 2)

    def diffusion(self, t):
        return 0.5 * self.unit * math.sqrt(self.rate) * torch.ones_like(t)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return self.unit * torch.randn((batch, 2), generator=generator, device=device, dtype=dtype)


@dataclass(frozen=True)
class Steepening(Semilinear):
    """Burgers' equation, with a velocity in units of ``unit``."""

    title, equation = "burgers", "u_t = D u_xx - u u_x / unit + g xi"
    horizon: float = pi.parameter(0.5, "T", "final time", unit="time", above=0)
    steps: int = pi.parameter(4, "M", "stored time steps", minimum=1)
    noise: float = pi.parameter(0.05, "g", "noise", minimum=0)
    unit: float = pi.parameter(1.0, "u", "unit of velocity", above=0)

    @property
    def layout(self):
        return pi.FieldLayout("u", "x", [grid(16)])

    def symbol(self, like):
        return -0.05 * squared_wavenumbers(like)

    def nonlinear(self, y, like):
        u, k = self.unmodes(y, like), torch.arange(9, dtype=like.dtype)
        return -0.5j * k * self.modes(u * (u / self.unit))

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        z = torch.randn((batch, 1, 16), generator=generator, device=device, dtype=dtype)
        return self.unit * coloured_field(z, normalised(torch.exp(-squared_wavenumbers(z) / 9), z))


@dataclass(frozen=True)
class Warm(Heat):
    """The heat equation from initial states of the size ``unit``."""

    unit: float = pi.parameter(1.0, "u", "unit of temperature", above=0)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return self.unit * super().initial(batch, generator=generator, device=device, dtype=dtype)

    def exact(self):
        return None


KINDS = {
    "linear vector": lambda u: OrnsteinUhlenbeck(dim=2, steps=4, noise=0.5 * u, spread=1.5 * u, width=0.3 * u),
    "vector": lambda u: Wells(unit=u),
    "linear field": lambda u: Warm(size=4, steps=4, noise=0.1 * u, unit=u),
    "field": lambda u: Steepening(noise=0.05 * u, unit=u),
}
KNOWN = Settings(width=4, depth=1, batch=16, components=2, validate_windows=64, fresh="off")
LEARNED = KNOWN.model_copy(update={"physics": "learned"})


@functools.cache
def in_one(kind, settings):
    """The answer of a kind where the unit is 1, which several tests compare with."""
    with tempfile.TemporaryDirectory() as folder:
        return answer(KINDS[kind](1.0), 1.0, settings, Path(folder))


def answer(simulator, unit, settings, folder):
    """Samples of physinv's own method, their CRPS, and checks, all in the unit."""
    name = folder / f"{unit:g}"
    generate(DatasetPlan(simulator, {"train": 100, "valid": 30, "test": 20}, 0, "any"), name)
    train, valid, test = (TrajectoryDataset(name / "data" / split).load() for split in ("train", "valid", "test"))
    found = fit_method("physinv", Problem(simulator, train, valid, settings, Budget(steps=8)))
    truth, final, random = test.states(0), test.states(-1), torch.Generator().manual_seed(0)
    samples = found.sample(final, 4, generator=random)
    checks = check_samples(samples, truth, final, simulator, generator=random)
    return samples / unit, float(crps(samples, truth)) / unit, [(c.name, c.value, c.error, c.warning) for c in checks]


@pytest.mark.parametrize(("settings", "units"), [(KNOWN, EXACT), (LEARNED, EXACT[:1])], ids=["known", "learned"])
@pytest.mark.parametrize("kind", KINDS)
def test_powers_of_two_change_nothing(kind, settings, units, tmp_path):
    """Linear processes compare log densities, whose rounding depends on the unit: 1e-5 of a logarithm of 30."""
    samples, score, checks = in_one(kind, settings)
    assert bool(samples.isfinite().all())
    for unit in units:
        again = answer(KINDS[kind](unit), unit, settings, tmp_path)
        assert torch.allclose(again[0], samples, rtol=0, atol=1e-3), unit
        if "linear" not in kind:
            assert torch.equal(again[0], samples), unit
            assert again[1] == score
            assert again[2] == checks


@pytest.mark.parametrize("kind", KINDS)
def test_other_units_change_what_rounding_does(kind, tmp_path):
    """The CRPS within 1 %: data and weights differ in the seventh digit, and training amplifies that a little.

    For fields, where this takes seconds, in the unit that leaves float32 less.
    """
    _, score, _ = in_one(kind, KNOWN)
    for unit in ROUNDED if "vector" in kind else ROUNDED[:1]:
        assert answer(KINDS[kind](unit), unit, KNOWN, tmp_path)[1] == pytest.approx(score, rel=0.01), unit


@pytest.mark.parametrize("settings", [KNOWN, LEARNED], ids=["known", "learned"])
def test_time_has_no_unit_either(settings, tmp_path):
    """A process of nanoseconds or of decades; powers of four, so that the root of time is not rounded."""
    _, score, _ = answer(Wells(horizon=1.0), 1.0, settings, tmp_path)
    for i, rate in enumerate((2.0**-30, 2.0**30)):
        simulator = Fast(horizon=1 / rate, rate=rate)
        again = answer(simulator, 1.0, settings, tmp_path / str(i))
        assert again[1] == pytest.approx(score, rel=0.01)


class Fast(Wells):
    """Wells with steps as short as they are fast."""

    @property
    def longest_step(self):
        return 0.1 / self.rate
