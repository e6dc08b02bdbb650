"""Stochastic heat equation 32x32, Gaussian random fields: everything beside the exact posterior.

python benchmarks/heat.py    `sde`: CRPS and relative L2 within 2 % of exact, variance within 10 % in every shell of
                             wave numbers, draws uncorrelated; `flow`: reconstruction MSE and spectral error <= 1.3 x
                             exact at 8, 32 and 64 steps; 16 samples of one observation in under .5 s
"""

from __future__ import annotations

import time

import torch
from common import ROOT, repeat, trained
from torch import Tensor

from physinv.config.settings import Settings
from physinv.equations.time_grids import resample_times
from physinv.evaluation import metrics
from physinv.evaluation.spectra import radial_spectrum, spectral_error
from physinv.laws.exact import LinearGaussian
from physinv.posterior.posterior import Posterior
from physinv.reports import plots as plot

OBSERVATIONS, SAMPLES, STEPS = 48, 16, (8, 32, 64)


def once(seed: int, budget: float) -> dict[str, float]:
    run, test, seconds = trained("heat", seed, budget, Settings())
    exact = run.simulator.exact()
    assert isinstance(exact, LinearGaussian)
    truth, final = test.states(0, limit=OBSERVATIONS), test.states(-1, limit=OBSERVATIONS)
    generator = torch.Generator().manual_seed(seed)
    figures = {"training seconds": seconds}

    def forward(x: Tensor) -> Tensor:
        return run.simulator.run(x, noise=False)[:, -1]

    def scores(draws: Tensor) -> dict[str, float]:
        return {
            "relative L2 of one sample": float(metrics.sample_relative_l2(draws, truth)),
            "relative L2 of the mean of 16": float(metrics.relative_l2(draws.mean(1), truth)),
            "CRPS, 16 samples": float(metrics.crps(draws, truth)),
            "spectral error": float(torch.stack([spectral_error(draws[:, i], truth) for i in range(4)]).mean()),
            "coverage of 90 %": float(metrics.coverage(draws, truth)),
            "spread over skill": float(metrics.spread_skill(draws, truth)),
            "reconstruction MSE": float(
                metrics.reconstruction_error(draws.flatten(0, 1), truth.repeat_interleave(SAMPLES, 0), forward)
            ),
        }

    theirs = scores(exact.sample(final, SAMPLES, generator=generator))
    for steps in STEPS:
        posterior = Posterior(run.simulator, run.model, resample_times(run.times, steps), batch=64)
        begun = time.perf_counter()
        draws = posterior.sample(final, SAMPLES, generator=generator)
        figures[f"{steps} steps: seconds per observation"] = (time.perf_counter() - begun) / OBSERVATIONS
        for key, value in scores(draws).items():
            figures |= {f"{steps} steps: {key}": value, f"{key}, exact": theirs[key]}
        figures |= {f"{steps} steps: {key}": value for key, value in shells(draws, exact, final).items()}
        flow = posterior.flow(final)
        figures |= {
            f"{steps} steps: flow, reconstruction MSE": float(metrics.reconstruction_error(flow, truth, forward)),
            f"{steps} steps: flow, spectral error": float(spectral_error(flow, truth)),
        }
        if seed == 0 and steps == 32:
            layout, folder = run.simulator.layout, ROOT / "benchmarks" / "results"
            plot.save(plot.reconstruction(truth, final, draws, layout), folder / "heat.png")
            plot.save(plot.spectra(truth, final, draws, layout, exact.sample(final, 1)), folder / "heat_spectra.png")
    flow = exact.flow(final)
    return figures | {
        "flow, reconstruction MSE, exact": float(metrics.reconstruction_error(flow, truth, forward)),
        "flow, spectral error, exact": float(spectral_error(flow, truth)),
    }


def shells(draws: Tensor, exact: LinearGaussian, final: Tensor) -> dict[str, float]:
    """Extremes over shells of ensemble variance / posterior variance; largest correlation of two draws."""
    noise = draws - exact.mean(final)[:, None]
    residual = (draws - draws.mean(1, keepdim=True)).flatten(0, 1)
    ours = radial_spectrum(residual)[1].mean((0, 1)) * SAMPLES / (SAMPLES - 1)
    reference = exact.sample(final, 64, generator=torch.Generator().manual_seed(1))
    spread = (reference - exact.mean(final)[:, None]).flatten(0, 1)
    ratio = (ours / radial_spectrum(spread)[1].mean((0, 1)))[1:]
    inner = torch.einsum("nkcxy,nlcxy->kl", noise, noise)
    correlation = inner / inner.diagonal().sqrt().outer(inner.diagonal().sqrt())
    return {
        "variance over exact, smallest of all shells": float(ratio.min()),
        "variance over exact, largest of all shells": float(ratio.max()),
        "largest correlation between two draws": float((correlation - torch.eye(SAMPLES)).abs().max()),
    }


if __name__ == "__main__":
    repeat("heat", __doc__, once, budget=60.0)
