"""Free energies against closed forms: annealing from both sides, driven traps, and variational bounds.

python benchmarks/thermodynamics.py    every figure beside its exact value, under a minute: no training
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from common import repeat
from torch import Tensor

import physinv as pi
import physinv.thermodynamics as th
from physinv.thermodynamics.energy import slope
from physinv.thermodynamics.moves import Move, Moved
from simulators.vectors.double_well import DoubleWell

D, LEVELS, CHAINS, RUNS = 10, 1000, 1000, 20_000
F64 = torch.float64
EXACT_WORK = {  # of a trap that stiffens from 1 to 4: there and back, from the ODE of the variance
    0.1: (1.3689, -0.4087),
    1.0: (0.9361, -0.5465),
    10.0: (0.7261, -0.6638),
}


@dataclass(frozen=True)
class Trap(pi.Simulator):
    """A particle in the trap ``stiffness/2 (x - centre)^2``, of mobility and temperature 1."""

    title = "Trap"
    equation = "dx = -stiffness (x - centre) dt + sqrt(2) dW"
    layout = pi.VectorLayout("position", 1)

    stiffness: float = pi.parameter(1.0, "k", "spring constant", above=0)
    centre: float = pi.parameter(0.0, "c", "centre")

    inverse_temperature = 1.0

    def potential(self, x: Tensor) -> Tensor:
        return self.stiffness / 2 * (x[:, 0] - self.centre) ** 2

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return -self.stiffness * (x - self.centre)

    def diffusion(self, t: Tensor) -> Tensor:
        return 2**0.5 * torch.ones_like(t)

    def initial(self, batch: int, *, generator: Any = None, device: Any = None, dtype: Any = torch.float32) -> Tensor:
        return torch.randn((batch, 1), generator=generator, device=device, dtype=dtype)


@dataclass(frozen=True)
class Unadjusted(Move):
    """Langevin steps without Metropolis' test, to show what they do."""

    wanted = 1.0

    def __call__(self, energy: th.Energy, x: Tensor, *, generator: torch.Generator | None = None) -> Moved:
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        y = x - self.size * slope(energy, x)[1] + (2 * self.size) ** 0.5 * z
        return Moved(y, energy(y), torch.ones(len(x), dtype=torch.bool))


def gaussian(variance: float, mean: Tensor | float = 0.0) -> th.Energy:
    return lambda x: (x - mean).square().sum(1) / (2 * variance)


def annealing(generator: torch.Generator) -> dict[str, float]:
    """Bounds of log Z in 10 dimensions, 1000 levels, and what happens without Metropolis' test."""
    z = torch.randn((4, CHAINS, D), generator=generator, dtype=F64)
    shift = torch.zeros(D, dtype=F64)
    shift[0] = 2.0
    wide = th.geometric(gaussian(9.0), gaussian(4.0)), 3 * z[0], 2 * z[1]
    apart = th.geometric(gaussian(1.0, -shift), gaussian(1.0, shift)), z[2] - shift, z[3] + shift
    cases = (
        ("N(0, 9) to N(0, 4), HMC (at most .02)", wide, th.HMC(1.8, 2)),
        ("N(0, 9) to N(0, 4), MALA (at most .03)", wide, th.MALA(3.0)),
        ("N(-2) to N(2), HMC (at most .03)", apart, th.HMC(0.75, 2)),
        ("N(-2) to N(2), MALA (at most .2)", apart, th.MALA(0.5)),
    )
    figures = {}
    for label, (path, first, last), move in cases:
        found = th.sandwich(path, first, last, move, levels=LEVELS, generator=generator)
        figures |= {f"AIS, {label}: gap": found.gap, "    its standard error, " + label: found.gap_error}
    exact = D * math.log(2 / 3)
    for size, bias in ((0.6, "-.22"), (1.6, "-.65")):
        wrong = th.annealed_importance(wide[0], wide[1], Unadjusted(size), levels=3 * LEVELS, generator=generator)
        figures[f"AIS unadjusted, step {size}: bias ({bias})"] = wrong.log_mean - exact
    return figures


def dragged(seed: int) -> dict[str, float]:
    """A trap that is dragged: the work, and no difference of free energy."""
    figures = {}
    for v, tau in ((0.5, 4.0), (1.0, 2.0), (2.0, 1.0)):
        exact = v**2 * (tau - 1 + math.exp(-tau))
        found = th.free_energy(Trap(), "centre", 0.0, v * tau, duration=tau, runs=RUNS, steps=400, seed=seed)
        mean, error = float(found.work.mean()), float(found.work.std()) / RUNS**0.5
        estimate = found.estimates["jarzynski"]
        figures |= {
            f"dragged, v {v:g}, tau {tau:g}: mean work ({exact:.4f})": mean,
            f"dragged, v {v:g}: off by so many standard errors (4)": (mean - exact) / error,
            f"dragged, v {v:g}: Jarzynski, in standard errors (3)": estimate.value / estimate.error,
            f"dragged, v {v:g}: effective share": estimate.effective,
        }
    return figures


def stiffened(seed: int) -> dict[str, float]:
    """A trap that becomes four times as stiff: ln 2."""
    figures = {}
    for tau, exact in EXACT_WORK.items():
        steps = {0.1: 100, 1.0: 500, 10.0: 2000}[tau]
        found = th.free_energy(Trap(), "stiffness", 1.0, 4.0, duration=tau, runs=RUNS, steps=steps, seed=seed)
        best, line = found.estimates["bennett"], found.line
        for name, work, wanted in (("there", found.work, exact[0]), ("back", found.back, exact[1])):
            mean, error = float(work.mean()), float(work.std()) / RUNS**0.5
            figures |= {
                f"stiffened, tau {tau:g}: mean work {name} ({wanted})": mean,
                f"stiffened, tau {tau:g}: {name}, in standard errors": (mean - wanted) / error,
            }
        figures |= {
            f"stiffened, tau {tau:g}: Bennett (ln 2 = .6931)": best.value,
            f"stiffened, tau {tau:g}: Bennett, in standard errors (3)": (best.value - math.log(2)) / best.error,
            f"stiffened, tau {tau:g}: slope of Crooks' line (1)": line.slope,
            f"stiffened, tau {tau:g}: its standard error": line.error,
        }
    return figures


def bounds(generator: torch.Generator) -> dict[str, float]:
    """Two trapped particles that repel each other, k = 1, c = .3, beta = 2; and a double well."""
    beta, matrix = 2.0, torch.tensor([[0.7, 0.3], [0.3, 0.7]], dtype=F64)  # k/2 (x^2 + y^2) - c/2 (x - y)^2

    def pair(x: Tensor) -> Tensor:
        return beta * torch.einsum("bi,ij,bj->b", x, matrix, x) / 2

    start = 2 * torch.randn((10_000, 2), generator=generator, dtype=F64)
    base = gaussian(4.0)
    weights = th.annealed_importance(th.geometric(base, pair), start, th.HMC(0.5, 3), levels=50, generator=generator)
    free = -(weights.log_mean + math.log(2 * math.pi * 4)) / beta
    figures = {"two particles: F by annealing (-.801438)": free}
    for family, exact in (("gaussian", "-.801438"), ("mean-field", "-.750702")):
        found = th.variational(pair, start[:100], family=family, generator=generator)
        figures[f"two particles: bound, {family} ({exact})"] = found.bound / beta
    return figures


def wells(seed: int) -> dict[str, float]:
    """A barrier that is raised from 2 kT to 6 kT, against quadrature."""
    well, x = DoubleWell(), torch.linspace(-4, 4, 80_001, dtype=F64)[:, None]
    logs = [float((-th.reduced(replace(well, barrier=b))(x)).logsumexp(0)) for b in (1.0, 3.0)]
    found = th.free_energy(well, "barrier", 1.0, 3.0, duration=2.0, runs=10_000, seed=seed)
    best = found.estimates["bennett"]
    return {
        f"double well: Bennett ({logs[0] - logs[1]:.4f})": best.value,
        "double well: in standard errors (3)": (best.value - logs[0] + logs[1]) / best.error,
    }


def once(seed: int, budget: float) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    return annealing(generator) | dragged(seed) | stiffened(seed) | bounds(generator) | wells(seed)


if __name__ == "__main__":
    repeat("thermodynamics", __doc__, once, budget=0.0)
