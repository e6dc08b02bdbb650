"""Navier-Stokes, x_T seen at every 2nd, 4th or 8th grid point with noise .1 (2 % of its size): what can be told of x_0.

python benchmarks/navier_partial.py --seeds 0    400 trajectories, two minutes of training a seed.  Beside them all
                                                 of x_T without noise, and draws of the prior
"""

from __future__ import annotations

import time

import torch
from common import repeat, trained
from torch import Tensor

from physinv.config.settings import Settings
from physinv.evaluation import metrics
from physinv.laws.operators import named
from physinv.posterior.partial import sample_given
from physinv.posterior.posterior import Posterior

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
        observation = named(f"every:{factor}", NOISE, test.shape)
        y = observation.observe(final, generator=generator)
        begun = time.perf_counter()
        samples = sample_given(posterior, observation, y, SAMPLES, generator=generator)
        figures |= scores(f"{len(y[0].flatten())} points, every:{factor}", samples, truth, begun)
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
