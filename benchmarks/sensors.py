"""Some points of x_T seen with noise .1: what a run that is trained for them tells of x_0, and what two stages tell.

python benchmarks/sensors.py burgers --seeds 0 1 2     also navier-stokes; a minute of training for each row of points.
                                                       Beside them all of x_T without noise, and draws of the prior
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import dataset, repeat
from torch import Tensor

from physinv.evaluation import metrics
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget

NOISE, OBSERVATIONS, SAMPLES, FACTORS = 0.1, 50, 16, (2, 4, 8)
ANY, LEVELS = "random:0.1-0.6", "0.05-0.3"  # what one run for any sensors is trained for
TRAJECTORIES = {"burgers": 2000, "navier-stokes": 400}


def once(system: str, seed: int, budget: float) -> dict[str, float]:
    """The figures of all rows for one seed."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        data = dataset(system, seed, folder / "data", train=TRAJECTORIES[system])

        def scored(row: str, run: Path, observe: str | None = None) -> None:
            begun, noise = time.perf_counter(), None if observe is None else NOISE
            plan = SamplingPlan(samples=SAMPLES, limit=OBSERVATIONS, seed=seed, observe=observe, observed_noise=noise)
            reconstruct(run, data["test"], folder / "r.hdf5", plan, overwrite=True)
            found = read_reconstruction(folder / "r.hdf5")
            assert found.truth is not None
            figures.update(scores(row, found.samples, found.truth, time.perf_counter() - begun))

        def train(name: str, observe: str | None = None) -> Path:
            run, noise = folder / name, None if observe is None else LEVELS if observe == ANY else str(NOISE)
            train_run(
                run,
                data["train"],
                data["valid"],
                method="physinv",
                budget=Budget(seconds=budget),
                seed=seed,
                observe=observe,
                observed_noise=noise,
            )
            return run

        whole, anyhow = train("whole"), train("any", ANY)
        scored("all of x_T", whole)
        for factor in FACTORS:
            what = f"every:{factor}"
            scored(f"{what}, two stages", whole, what)
            scored(f"{what}, trained for any sensors", anyhow, what)
            scored(f"{what}, trained for it", train(f"seen-{factor}", what), what)
        truth = data["test"].states(0, limit=OBSERVATIONS)
        generator = torch.Generator().manual_seed(seed)
        known = load_run(whole).simulator.initial(len(truth) * SAMPLES, generator=generator)
        return figures | scores(
            "nothing (draws of the prior)", known.reshape(-1, SAMPLES, *truth.shape[1:]), truth, 0.0
        )


def scores(row: str, samples: Tensor, truth: Tensor, seconds: float) -> dict[str, float]:
    """The figures of a row."""
    return {
        f"{row}: CRPS": float(metrics.crps(samples, truth)),
        f"{row}: relative L2 of the mean": float(metrics.relative_l2(samples.mean(1), truth)),
        f"{row}: spread over skill": float(metrics.spread_skill(samples, truth)),
        f"{row}: coverage of 90 %": float(metrics.coverage(samples, truth)),
        f"{row}: seconds per observation": seconds / len(truth),
    }


if __name__ == "__main__":
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("system", choices=tuple(TRAJECTORIES), nargs="?")
    given, rest = first.parse_known_args()
    sys.argv[1:] = rest
    repeat(f"sensors-{given.system}", __doc__, lambda seed, s: once(given.system, seed, s), budget=60.0)
