"""Navier-Stokes, x_T seen at every 2nd, 4th or 8th grid point with noise .1 (2 % of its size): what can be told of x_0.

python benchmarks/navier_partial.py --seeds 0    400 trajectories, two minutes of training a seed.  Beside them all
                                                 of x_T without noise, and draws of the prior
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from common import repeat, trained
from torch import Tensor

from physinv.config.settings import Settings
from physinv.evaluation import metrics
from physinv.posterior.posterior import Posterior
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.sampling.plan import SamplingPlan

OBSERVATIONS, SAMPLES, TRAJECTORIES, NOISE, FACTORS = 16, 8, 400, 0.1, (2, 4, 8)


def once(seed: int, budget: float) -> dict[str, float]:
    run, test, seconds = trained("navier-stokes", seed, budget, Settings(), train=TRAJECTORIES)
    truth, final = test.states(0, limit=OBSERVATIONS), test.states(-1, limit=OBSERVATIONS)
    generator = torch.Generator().manual_seed(seed)
    posterior = Posterior(run.sde, run.model, run.times)
    begun = time.perf_counter()
    figures = {"training seconds": seconds}
    figures |= scores("all of x_T", posterior.sample(final, SAMPLES, generator=generator), truth, begun)
    for factor in FACTORS:
        plan = SamplingPlan(
            samples=SAMPLES, limit=OBSERVATIONS, seed=seed, observe=f"every:{factor}", observed_noise=NOISE, certify=0
        )
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as tmp:
            reconstruct(run, test, Path(tmp) / "r.hdf5", plan)
            samples = read_reconstruction(Path(tmp) / "r.hdf5").samples
        figures |= scores(f"{test.shape[-1] ** 2 // factor**2} points, every:{factor}", samples, truth, begun)
    begun = time.perf_counter()
    known = run.simulator.initial(OBSERVATIONS * SAMPLES, generator=generator)
    return figures | scores("nothing (draws of the prior)", known.reshape(-1, SAMPLES, *test.shape), truth, begun)


def scores(row: str, samples: Tensor, truth: Tensor, begun: float) -> dict[str, float]:
    return {
        f"{row}: CRPS": float(metrics.crps(samples, truth)),
        f"{row}: relative L2 of the mean": float(metrics.relative_l2(samples.mean(1), truth)),
        f"{row}: spread over skill": float(metrics.spread_skill(samples, truth)),
        f"{row}: coverage of 90 %": float(metrics.coverage(samples, truth)),
        f"{row}: seconds per observation": (time.perf_counter() - begun) / len(truth),
    }


if __name__ == "__main__":
    repeat("navier-partial", __doc__, once, budget=120.0)
