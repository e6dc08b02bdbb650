"""Generating trajectories, beside a plain ``torchsde.sdeint`` of the same process in the same run.

python benchmarks/speed/generation.py       CPU milliseconds per repetition, and ratios; writes results/generation.json

Ornstein-Uhlenbeck, 40 steps, 41 stored times, float32, one thread.  Ours is ``simulator.run``, whose steps are exact
in law.  ``plain`` is ``torchsde.sdeint(equation, x, times, dt=dt)`` with nothing else said, for the shortest class by
hand: torchsde then takes its own default scheme (Roessler's SRK), one step per stored time as ours.  All other columns
are for Euler steps, the cheapest there are, on the Brownian path that we found to be the fastest, through
:class:`physinv.equations.bridges.ForTorchsde` and by hand; the faster one counts.

``plain``        the plain call over ours
``same steps``   Euler over ours, with one step per stored time, as ours
``finer``        Euler with as many steps as make the mean and the variance at the end right to ``TOLERANCE``
``drawing``      the normal numbers alone: what no program with this generator can do without
``at most``      ``same steps`` for a program that did nothing else
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchsde
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no package
from common import ROOT, write

from physinv.equations.bridges import ForTorchsde
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

BATCH = 1024
TOLERANCE = 0.003  # of the finer Euler steps, relative


class ByHand(torch.nn.Module):
    """``dx = -rate x dt + noise dW`` in torchsde's terms."""

    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self, sim: OrnsteinUhlenbeck) -> None:
        super().__init__()
        self.rate, self.noise = float(sim.rate), float(sim.noise)

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return -self.rate * y

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.full_like(y, self.noise)


def bias(sim: OrnsteinUhlenbeck, inner: int) -> float:
    """Relative error of Euler's method at T, with ``inner`` steps per stored time: the worse of mean and variance."""
    n, rate = sim.steps * inner, float(sim.rate)
    h = sim.horizon / n
    decay, exact = 1 - rate * h, math.exp(-rate * sim.horizon)
    variance = h * (1 - decay ** (2 * n)) / (1 - decay**2)
    return max(abs(decay**n / exact - 1), abs(variance * 2 * rate / (1 - exact**2) - 1))


def plain(equation: torch.nn.Module, x: Tensor, times: Tensor) -> Tensor:
    """By torchsde with nothing said but the step."""
    states: Tensor = torchsde.sdeint(equation, x, times, dt=float(times[1] - times[0]))
    return states


def plain_bias(sim: OrnsteinUhlenbeck) -> float:
    """Relative error of the mean of :func:`plain` at T: what it makes of 1 without noise."""
    end = plain(ByHand(dataclasses.replace(sim, noise=0.0)), torch.ones(1, 1, dtype=torch.float64), sim.times)[-1]
    return abs(float(end) / math.exp(-sim.rate * sim.horizon) - 1)


def euler(equation: torch.nn.Module, x: Tensor, times: Tensor, inner: int, seed: int) -> Tensor:
    """By torchsde; the options of its Brownian motion are the fastest of those that we tried."""
    dt = float(times[1] - times[0]) / inner
    brownian = torchsde.BrownianInterval(
        float(times[0]),
        float(times[-1]),
        size=x.shape,
        dtype=x.dtype,
        entropy=seed,
        dt=dt,
        tol=dt / 2,
        levy_area_approximation="none",
    )
    states: Tensor = torchsde.sdeint(equation, x, times, bm=brownian, dt=dt, method="euler")
    return states


def milliseconds(job: Callable[[], object]) -> float:
    """Of CPU time, which other programs on the machine disturb less than the time on the clock."""
    begun = time.process_time()
    job()
    return 1e3 * (time.process_time() - begun)


def once(dim: int, seed: int, finer: int) -> dict[str, float]:
    sim = OrnsteinUhlenbeck(dim=dim)
    times, generator = sim.times, torch.Generator().manual_seed(seed)
    x = torch.randn((BATCH, dim), generator=generator)
    spare, hand = torch.empty_like(x), ByHand(sim)
    took = {
        "ours": milliseconds(lambda: sim.run(x, generator=generator)),
        "drawing": milliseconds(lambda: [spare.normal_(generator=generator) for _ in range(sim.steps)]),
        "torchsde, bridge": milliseconds(lambda: euler(ForTorchsde(sim, sim.shape), x, times, 1, seed)),
        "torchsde, by hand": milliseconds(lambda: euler(hand, x, times, 1, seed)),
        "torchsde, by hand, finer": milliseconds(lambda: euler(hand, x, times, finer, seed)),
        "torchsde, plain": milliseconds(lambda: plain(hand, x, times)),
    }
    return took | {
        "plain": took["torchsde, plain"] / took["ours"],
        "same steps": min(took["torchsde, bridge"], took["torchsde, by hand"]) / took["ours"],
        "at most": min(took["torchsde, bridge"], took["torchsde, by hand"]) / took["drawing"],
        "finer": took["torchsde, by hand, finer"] / took["ours"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sim = OrnsteinUhlenbeck()
    finer = next(n for n in range(1, 1000) if bias(sim, n) <= TOLERANCE)
    print(f"bias of Euler's method: {bias(sim, 1):.2%}, with {finer} steps per stored time {bias(sim, finer):.2%}")
    print(f"bias of the mean of the plain call: {plain_bias(sim):.1e}")
    figures: dict[str, list[float]] = {}
    with torch.no_grad():
        once(1, 0, 1)  # to warm up
        for dim in (1, 1024):
            for seed in range(args.repetitions):
                for key, value in once(dim, seed, finer).items():
                    figures.setdefault(f"dim {dim}: {key}", []).append(value)
    for key, values in figures.items():
        print(f"{key:36s} median {sorted(values)[len(values) // 2]:9.2f}   {min(values):9.2f} to {max(values):9.2f}")
    head = {
        "benchmark": "generation",
        "unit": "CPU milliseconds; `plain`, `same steps`, `at most` and `finer` are ratios",
        "steps per stored time, finer": finer,
        "bias of Euler's method": [bias(sim, 1), bias(sim, finer)],
        "bias of the mean of the plain call": plain_bias(sim),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "generation.json", head, figures)


if __name__ == "__main__":
    main()
