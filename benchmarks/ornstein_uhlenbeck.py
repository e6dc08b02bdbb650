"""OU with a three-component mixture in four dimensions: our posterior samples against exact ones, by C2ST.

python benchmarks/ornstein_uhlenbeck.py    trains one minute; C2ST averaged over 10 observations <= .55 (.5 is perfect)
"""

from __future__ import annotations

import torch
from common import arguments, report, trained

from physinv.devices import threads_for
from physinv.grids import resample_times
from physinv.posterior import Posterior
from physinv.settings import Settings
from physinv.two_sample import c2st

SAMPLES = 2000


def main() -> None:
    args = arguments(__doc__ or "", 60.0)
    figures: dict[str, object] = {}
    # With one Gaussian as the reference law the network has to find the mixture by itself: the harder test.
    for label, components in (("mixture reference", 6), ("Gaussian reference", 1)):
        run, test, seconds = trained("ornstein-uhlenbeck", args.seed, args.budget, Settings(components=components))
        exact = run.simulator.exact()
        assert exact is not None
        final = test.states(len(test.times) - 1, limit=10)
        generator = torch.Generator().manual_seed(args.seed)
        with threads_for(test.shape):
            ours = Posterior(run.simulator, run.model, resample_times(run.times, 160)).sample(
                final, SAMPLES, generator=generator
            )
            theirs, again = (exact.sample(final, SAMPLES, generator=generator) for _ in range(2))
            scores = [float(c2st(a, b, generator=generator)) for a, b in zip(ours, theirs, strict=True)]
            floor = [float(c2st(a, b, generator=generator)) for a, b in zip(again, theirs, strict=True)]
        figures |= {
            f"{label}: training seconds": seconds,
            f"{label}: C2ST, mean of 10 observations": sum(scores) / len(scores),
            f"{label}: C2ST, largest": max(scores),
            f"{label}: exact against exact": sum(floor) / len(floor),
        }
    report("ornstein-uhlenbeck", figures, args)


if __name__ == "__main__":
    main()
