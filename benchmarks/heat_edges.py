"""Heat 16x16 from sharp-edged fields: what the network adds to the best Gaussian (Wiener) posterior.

python benchmarks/heat_edges.py    trains two and a half minutes; no exact posterior is known, so the yardstick is the
                                   Gaussian posterior with the data's second moments, which the score model starts from
"""

from __future__ import annotations

import torch
from common import arguments, report, trained

from physinv import metrics, plot
from physinv.exact import LinearGaussian
from physinv.moments import LinearMoments
from physinv.posterior import Posterior
from physinv.settings import Settings
from simulators.heat import Heat

OBSERVATIONS, SAMPLES = 100, 16


def main() -> None:
    args = arguments(__doc__ or "", 150.0)
    run, test, seconds = trained("heat", args.seed, args.budget, Settings(), {"prior": "edges", "size": 16})
    simulator, moments = run.simulator, run.model.moments
    assert isinstance(simulator, Heat)
    assert isinstance(moments, LinearMoments)
    truth, final = test.states(0, limit=OBSERVATIONS), test.states(-1, limit=OBSERVATIONS)
    generator = torch.Generator().manual_seed(args.seed)
    ours = Posterior(simulator, run.model, run.times).sample(final, SAMPLES, generator=generator)
    gaussian = LinearGaussian(simulator, simulator.horizon, moments.mean0.cpu(), moments.power0.cpu())
    figures: dict[str, object] = {"training seconds": seconds}
    for label, samples in (("physinv", ours), ("Gaussian", gaussian.sample(final, SAMPLES, generator=generator))):
        figures |= {
            f"{label}: CRPS, 16 samples": float(metrics.crps(samples, truth)),
            f"{label}: relative L2 of one sample": float(metrics.sample_relative_l2(samples, truth)),
            f"{label}: relative L2 of the mean of 16": float(metrics.relative_l2(samples.mean(1), truth)),
            f"{label}: coverage of 90 %": float(metrics.coverage(samples, truth)),
            f"{label}: spread over skill": float(metrics.spread_skill(samples, truth)),
        }
    report("heat-edges", figures, args)
    plot.save(plot.reconstruction(truth, final, ours, simulator.layout), args.out / "heat_edges.png")


if __name__ == "__main__":
    main()
