"""OU with a three-component mixture in four dimensions: our posterior samples against exact ones, by C2ST.

python benchmarks/ornstein_uhlenbeck.py    C2ST averaged over 10 observations <= .55 (.5 is perfect); the budget is for
                                           each of two trainings
"""

from __future__ import annotations

import torch
from common import repeat, trained

from physinv.config.devices import threads_for
from physinv.config.settings import Settings
from physinv.equations.time_grids import resample_times
from physinv.evaluation.two_sample import c2st
from physinv.posterior.posterior import Posterior

SAMPLES = 2000


def once(seed: int, budget: float) -> dict[str, float]:
    figures: dict[str, float] = {}
    # With one Gaussian as the reference law the network has to find the mixture by itself: the harder test.
    for label, components in (("mixture reference", 6), ("Gaussian reference", 1)):
        run, test, seconds = trained("ornstein-uhlenbeck", seed, budget, Settings(components=components))
        exact = run.simulator.exact()
        assert exact is not None
        final, generator = test.states(-1, limit=10), torch.Generator().manual_seed(seed)
        with threads_for(test.shape):
            posterior = Posterior(run.simulator, run.model, resample_times(run.times, 160))
            ours = posterior.sample(final, SAMPLES, generator=generator)
            theirs, again = (exact.sample(final, SAMPLES, generator=generator) for _ in range(2))
            scores = [float(c2st(a, b, generator=generator)) for a, b in zip(ours, theirs, strict=True)]
            floor = [float(c2st(a, b, generator=generator)) for a, b in zip(again, theirs, strict=True)]
        figures |= {
            f"{label}: training seconds": seconds,
            f"{label}: C2ST, mean of 10 observations": sum(scores) / len(scores),
            f"{label}: C2ST, largest": max(scores),
            f"{label}: exact against exact": sum(floor) / len(floor),
        }
    return figures


if __name__ == "__main__":
    repeat("ornstein-uhlenbeck", __doc__, once, budget=10.0)
