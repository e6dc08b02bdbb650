"""Stochastic heat equation 32x32: the reverse SDE and the flow beside the exact posterior.

python benchmarks/heat.py    trains five minutes; relative L2 and CRPS <= 1.05 x exact, spectral error <= .16,
                             coverage .88 ... .92, reconstruction MSE <= 1.2 x exact
"""

from __future__ import annotations

import time

import torch
from common import arguments, report, trained
from torch import Tensor

from physinv import metrics, plot
from physinv.grids import resample_times
from physinv.posterior import Posterior
from physinv.settings import Settings
from physinv.spectra import spectral_error

OBSERVATIONS = 100


def main() -> None:
    args = arguments(__doc__ or "", 300.0)
    run, test, seconds = trained("heat", args.seed, args.budget, Settings())
    exact = run.simulator.exact()
    assert exact is not None
    truth, final = test.states(0, limit=OBSERVATIONS), test.states(len(test.times) - 1, limit=OBSERVATIONS)
    generator = torch.Generator().manual_seed(args.seed)
    posterior = Posterior(run.simulator, run.model, resample_times(run.times, 32))
    begun = time.perf_counter()
    few = posterior.sample(final, 16, generator=generator)
    per_observation = (time.perf_counter() - begun) / OBSERVATIONS
    many = posterior.sample(final[:25], 64, generator=generator)

    def forward(x: Tensor) -> Tensor:
        return run.simulator.run(x, noise=False)[:, -1]

    def scores(few: Tensor, many: Tensor) -> dict[str, float]:
        return {
            "relative L2 of one sample": float(metrics.sample_relative_l2(few, truth)),
            "relative L2 of the mean of 16": float(metrics.relative_l2(few.mean(1), truth)),
            "CRPS, 16 samples": float(metrics.crps(few, truth)),
            "spectral error": float(torch.stack([spectral_error(few[:, i], truth) for i in range(4)]).mean()),
            "coverage of 90 %, 64 samples": float(metrics.coverage(many, truth[: len(many)])),
            "spread over skill": float(metrics.spread_skill(few, truth)),
            "reconstruction MSE": float(
                metrics.reconstruction_error(few.flatten(0, 1), truth.repeat_interleave(16, 0), forward)
            ),
        }

    ours = scores(few, many)
    theirs = scores(exact.sample(final, 16, generator=generator), exact.sample(final[:25], 64, generator=generator))
    figures: dict[str, object] = {"training seconds": seconds, "seconds per observation, 16 samples": per_observation}
    for key, value in ours.items():
        figures |= {key: value, f"{key}, exact": theirs[key], f"{key}, ratio": value / theirs[key]}
    for steps in (8, 32, 64):
        flow = Posterior(run.simulator, run.model, resample_times(run.times, steps)).flow(final)
        figures |= {
            f"flow, {steps} steps, reconstruction MSE": float(metrics.reconstruction_error(flow, truth, forward)),
            f"flow, {steps} steps, spectral error": float(spectral_error(flow, truth)),
        }
    flow = exact.flow(final)
    figures |= {
        "flow, exact, reconstruction MSE": float(metrics.reconstruction_error(flow, truth, forward)),
        "flow, exact, spectral error": float(spectral_error(flow, truth)),
    }
    report("heat", figures, args)
    layout = run.simulator.layout
    plot.save(plot.reconstruction(truth, final, few, layout), args.out / "heat.png")
    plot.save(plot.spectra(truth, final, few, layout, exact.sample(final, 1)), args.out / "heat_spectra.png")


if __name__ == "__main__":
    main()
