"""A record that no closed form answers: each method beside runs of the process that are weighted by hand.

python benchmarks/own_records.py    a damped rotation in the plane, whose speed depends on the radius: squared radii, an
                                    average over three times, two sensors of different noise, missing numbers
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

import physinv as pi
from physinv.methods.classical.monte_carlo.laplace import descend
from physinv.methods.classical.monte_carlo.mcmc import PathPosterior
from physinv.methods.classical.monte_carlo.particle_smoother import ParticleSmoother
from physinv.methods.classical.monte_carlo.path import fit_path_model
from physinv.methods.classical.monte_carlo.weak_constraint import lowered, weak_constraint
from physinv.processes.layout import VectorLayout

DRAWS, RUNS, WANTED = 4000, 400_000, [0.0, 1.0, 2.5]


@dataclass(frozen=True)
class Spiral(pi.Simulator):
    """A damped rotation with noise."""

    horizon: float = 2.0
    steps: int = 20
    noise: float = 0.4

    @property
    def layout(self) -> VectorLayout:
        return VectorLayout("position", 2)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        square = x.square().sum(1, keepdim=True)
        turned = torch.stack([-x[:, 1], x[:, 0]], 1)
        return -0.5 * x * (square - 1).clamp(-3, 3) + (1 + square / (1 + square)) * turned

    def diffusion(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.noise)

    def initial(self, batch: int, *, generator=None, device=None, dtype=torch.float32) -> Tensor:  # type: ignore[no-untyped-def]
        return torch.randn((batch, 2), generator=generator, device=device, dtype=dtype)

    def initial_log_prob(self, x: Tensor) -> Tensor:
        return -x.square().sum(1) / 2


def by_hand(process: Spiral, record: pi.ObservationRecord, y: Tensor, generator: torch.Generator) -> Tensor:
    """Draws of runs by the weights of all that is seen of them, without resampling on the way."""
    times, found = sorted({*WANTED, *record.times}), []
    for row in y:
        states = process.simulate(RUNS, times, generator=generator)
        seen = states[:, [times.index(t) for t in record.times]]
        weights = record.log_prob(row.expand(RUNS, -1), seen).double().softmax(0)
        print(f"  runs that count: {float(1 / weights.square().sum()):.0f}")
        kept = torch.multinomial(weights, DRAWS, replacement=True, generator=generator)
        found.append(states[kept][:, [times.index(t) for t in WANTED]])
    return torch.stack(found)


def main() -> None:
    """Print means and deviations of x(0) and x(2.5), and what each method says of itself."""
    torch.set_num_threads(1)
    process, generator = Spiral(), torch.Generator().manual_seed(0)
    radius = pi.Observation(lambda x: x.square().sum(1, keepdim=True), 0.2)
    one, average = pi.Observation(lambda x: x[:, :1], 0.3), pi.Observation(lambda x: x[:, 1:], 0.1)
    record = pi.ObservationRecord((0.5, radius), ((1.0, 1.2, 1.4), average), (1.5, radius), (1.6, one), (2.0, one))
    y = record.observe(process.simulate(4, [0.0, *record.times], generator=generator)[:, 1:], generator=generator)
    y[1, 2], y[2, :2] = torch.nan, torch.nan
    model = fit_path_model(process, generator=generator)
    answers = {
        "importance": ParticleSmoother(process, record, 50_000),
        "mcmc": PathPosterior(model, None, 4, 400, 50, 2, 0, particles=64).given(record),
        "gauss-newton": weak_constraint(process, record, functools.partial(descend, steps=10)),
        "lbfgs": weak_constraint(process, record, functools.partial(lowered, iterations=40, memory=10)),
    }
    drawn = {"by hand": by_hand(process, record, y, generator)}
    for name, answer in answers.items():
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            drawn[name] = answer.sample_at(y, DRAWS, WANTED, generator=generator)
        print("\n".join(f"  {name}: {w.message}" for w in told))
    for name, draws in drawn.items():
        for row, x in enumerate(draws):
            numbers = [x[:, i].mean(0).tolist() + x[:, i].std(0).tolist() for i in (0, 2)]
            print(f"{name:13} {row}  " + "   ".join(f"{v:6.3f}" for part in numbers for v in part), flush=True)


if __name__ == "__main__":
    main()
