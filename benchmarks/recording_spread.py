"""Simulated recordings: how often intervals of the method for recordings hold the truth, for short and long ones.

    python benchmarks/recording_spread.py --times 400 2000 --seeds 0 1 2
    python benchmarks/recording_spread.py --only season bar

A recording is one series of a process with noise: linear ones (coupled components, a trend, five components, a
season, noise whose size wanders, rare large noise), a bar with a heater that is switched, a double well, a field.  It
is imported in windows of 7 states that overlap, and split by blocks of time as `physinv import` does; the law of
increments is trained for 400 updates (200 for the field).  One line is printed for each: the coverage of intervals of
90 % on the test windows, the CRPS over that of the linear estimate with its spread, and the factor of the spread; then
the means for each length, the root mean square of coverage - .9, and the deviation of the logarithm of the factor.
`--out FILE` writes the same as JSON.

To compare two states of the code, run it with each of them in PYTHONPATH: seeds make the same recordings.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from common import write
from numpy.typing import NDArray

from physinv.data.dataset import TrajectoryDataset
from physinv.data.importing import Choices, import_trajectories
from physinv.data.process import process_of
from physinv.evaluation.metrics import coverage, crps
from physinv.methods.learned.increments import fit_increments
from physinv.methods.problem import Problem
from physinv.training.budget import Budget

Series = NDArray[np.float64]
Made = tuple[Series, dict[str, Any]]
WINDOW, SAMPLES, STEPS, STEPS_OF_FIELDS = 7, 64, 400, 200


def autoregression(
    A: Any, noise: Any, n: int, rng: np.random.Generator, draw: Callable[..., Any] | None = None
) -> Series:
    """``x' = A x + noise xi`` after 200 steps; ``draw(i, d)`` gives ``xi``, normal numbers if there is none."""
    A, out = np.atleast_2d(A), []
    x = np.zeros(len(A))
    for i in range(n + 200):
        x = A @ x + np.asarray(noise) * (rng.normal(size=len(x)) if draw is None else draw(i, len(x)))
        out.append(x)
    return np.array(out[200:])


def coupled(n: int, rng: np.random.Generator) -> Made:
    """Three components that drive each other."""
    return autoregression([[0.9, 0.1, 0], [-0.1, 0.9, 0.05], [0, 0, 0.8]], [0.3, 0.3, 0.5], n, rng), {}


def trend(n: int, rng: np.random.Generator) -> Made:
    """Two components around lines that lead out of the range of training."""
    return autoregression(np.diag([0.9, 0.7]), [0.45, 0.7], n, rng) + np.linspace(0, 8, n)[:, None] * [1, -0.5], {}


def five(n: int, rng: np.random.Generator) -> Made:
    """Five components with a full matrix."""
    R = np.random.default_rng(7).normal(size=(5, 5))
    return autoregression(0.92 * R / np.abs(np.linalg.eigvals(R)).max(), 0.45 * np.ones(5), n, rng), {}


def season(n: int, rng: np.random.Generator) -> Made:
    """Anomalies around a cycle of 60 times, whose phase is known."""
    t = 2 * np.pi * np.arange(n) / 60
    cycle = 3 * np.stack([np.cos(t), 0.7 * np.sin(t + 0.3)], 1)
    return autoregression([[0.85, 0.1], [0, 0.9]], [0.45, 0.45], n, rng) + cycle, {"period": 60.0}


def wandering(n: int, rng: np.random.Generator) -> Made:
    """Noise whose size goes up and down over hundreds of times."""
    size = np.exp(autoregression(0.995, 0.06, n + 200, rng)[:, 0])
    return autoregression(np.diag([0.9, 0.8]), [0.45, 0.45], n, rng, lambda i, d: size[i] * rng.normal(size=d)), {}


def rare(n: int, rng: np.random.Generator) -> Made:
    """Noise of a t law with three degrees of freedom."""
    A = [[0.9, 0.05], [0, 0.8]]
    return autoregression(A, [0.3, 0.3], n, rng, lambda i, d: rng.standard_t(3, size=d) / 3**0.5), {}


def bar(n: int, rng: np.random.Generator) -> Made:
    """Five sensors along a bar with a heater at one end, which is known to be on or off."""
    x, on, out, heat = np.zeros(9), 0.0, [], []
    for i in range(20 * n + 500):
        on = 1 - on if i % 20 == 0 and rng.random() < 0.06 else on
        x = x + 0.15 * np.diff(np.r_[x[:1], x, x[-1:]], 2) - 0.004 * x + 0.02 * rng.normal(size=9)
        x[0] += 0.3 * on
        if i >= 500 and i % 20 == 0:
            out.append(x[::2] + 0.05 * rng.normal(size=5))
            heat.append(on)
    return np.array(out), {"context": np.array(heat)}


def wells(n: int, rng: np.random.Generator) -> Made:
    """A particle in a double well that goes over now and then."""
    x, out = 1.0, []
    for _ in range(n):
        for dw in rng.normal(size=25):
            x += 0.02 * (x - x**3) + 0.11 * dw
        out.append([x])
    return np.array(out), {}


def field(n: int, rng: np.random.Generator) -> Made:
    """Twelve points of a line between walls, with diffusion and noise that is alike at neighbours."""
    places, x, out = np.arange(12), np.zeros(12), []
    root = np.linalg.cholesky(np.exp(-np.abs(places[:, None] - places) / 3))
    for _ in range(n + 100):
        for _ in range(4):
            x = x + 0.2 * np.diff(np.r_[x[:1], x, x[-1:]], 2)
        x = 0.95 * x + 0.3 * root @ rng.normal(size=12)
        out.append(x)
    return np.array(out[100:]), {"field": True}


PROCESSES = (coupled, trend, five, season, wandering, rare, bar, wells, field)


def recorded(series: Series, about: dict[str, Any], folder: Path) -> dict[str, TrajectoryDataset]:
    """Import a series in windows that overlap: the splits."""
    time, more = {"time": np.arange(float(len(series)))}, {}
    if "field" in about:
        data = xr.Dataset({"u": (("time", "x"), series)}, {**time, "x": np.arange(float(series.shape[1]))})
        more["boundary"] = "wall"
    else:
        names = [f"c{i}" for i in range(series.shape[1])]
        data = xr.Dataset({name: ("time", series[:, i]) for i, name in enumerate(names)}, time)
        more["variable"] = ",".join(names)
    if "context" in about:
        data["heater"] = ("time", about["context"])
        more["context"] = "heater"
    if "period" in about:
        more["period"] = about["period"]
    import_trajectories([data], folder, Choices(window=WINDOW, stride=1, test=0.2, **more))
    return {split: TrajectoryDataset(folder / "data" / split).load() for split in ("train", "valid", "test")}


def judged(data: dict[str, TrajectoryDataset], steps: int, seed: int) -> dict[str, float]:
    """Coverage, CRPS over that of the linear estimate, and factor of the spread, of imported splits."""
    simulator, budget = process_of(data["train"]), Budget(steps=steps)
    answer = fit_increments(Problem(simulator, data["train"], data["valid"], budget=budget, seed=seed))
    layout, generator = data["test"].layout, torch.Generator().manual_seed(seed)
    truth, final = (data["test"].states(i) for i in (0, -1))
    with torch.no_grad():
        drawn, plain = (a.sample(final, SAMPLES, generator=generator) for a in (answer, answer.linear))
    ours, linear, real = layout.scored(drawn), layout.scored(plain), layout.scored(truth)
    return {
        "coverage": float(coverage(ours, real)),
        "coverage of linear": float(coverage(linear, real)),
        "crps over linear": float(crps(ours, real) / crps(linear, real)),
        "factor": answer.stretch,
    }


def once(process: Callable[[int, np.random.Generator], Made], n: int, seed: int) -> dict[str, float]:
    """Figures of one recording."""
    series, about = process(n, np.random.default_rng([seed, n]))
    with tempfile.TemporaryDirectory() as tmp, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return judged(recorded(series, about, Path(tmp)), STEPS_OF_FIELDS if "field" in about else STEPS, seed)


def main() -> None:
    """Read the command line, print a line for each recording, and the means for each length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, nargs="+", default=[400, 2000], help="stored times of a recording")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of recordings, training and sampling")
    parser.add_argument("--only", nargs="+", default=[], help="names of processes")
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    chosen = [p for p in PROCESSES if not args.only or p.__name__ in args.only]
    every: dict[str, list[float]] = {}
    for n in args.times:
        rows = []
        for seed in args.seeds:
            for process in chosen:
                rows.append(once(process, n, seed))
                told = ", ".join(f"{name} {value:.3f}" for name, value in rows[-1].items())
                print(f"{n} times, {process.__name__}, seed {seed}: {told}", flush=True)
        means = {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}
        means["off by"] = (math.fsum((row["coverage"] - 0.9) ** 2 for row in rows) / len(rows)) ** 0.5
        means["log factor"] = (math.fsum(math.log(row["factor"]) ** 2 for row in rows) / len(rows)) ** 0.5
        print(f"{n} times, mean of {len(rows)}: " + ", ".join(f"{k} {v:.3f}" for k, v in means.items()), flush=True)
        every |= {f"{n} times: {name}": [row[name] for row in rows] for name in rows[0]}
    if args.out:
        write(args.out, {"benchmark": "recording-spread", "seeds": args.seeds}, every)


if __name__ == "__main__":
    main()
