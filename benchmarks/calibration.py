"""Double well and quadratic process: is the posterior calibrated?  Fokker-Planck is the judge.

python benchmarks/calibration.py    SBC p > .05 (1000 observations, ranks among 19 draws), coverage of 90 % within 2 %
                                    (2000 observations), probabilities of either side against Fokker-Planck

Observations are fresh ones.  The quadratic process starts from +-1: samples are assigned to the start that they
hit, and ranks of equal numbers are drawn at random, so that a calibrated posterior has uniform ranks.
"""

from __future__ import annotations

import math

import torch
from common import repeat, trained
from scipy.stats import chisquare
from torch import Tensor

from physinv.config.devices import threads_for
from physinv.config.settings import Settings
from physinv.evaluation import metrics
from physinv.laws.exact_1d import ScalarPosterior
from physinv.posterior.posterior import Posterior

OBSERVATIONS, RANKED, DRAWS = 2000, 1000, 19


def once(seed: int, budget: float) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name in ("double-well", "quadratic"):
        run, test, seconds = trained(name, seed, budget, Settings(), train=2500)
        exact, generator = run.simulator.exact(), torch.Generator().manual_seed(seed + 1000)
        assert isinstance(exact, ScalarPosterior)
        with threads_for(test.shape):
            fresh = run.simulator.simulate(OBSERVATIONS, generator=generator)
            truth, final = fresh[:, 0], fresh[:, -1]
            posterior = Posterior(run.simulator, run.model, run.times)
            figures[f"{name}: training seconds"] = seconds
            both = {"physinv": posterior.sample(final, DRAWS, generator=generator)}
            both["exact"] = exact.sample(final, DRAWS, generator=generator)
            for label, draws in both.items():
                if name == "quadratic":
                    figures[f"{name}: hits within 1 %, {label}"] = float(
                        ((draws.abs() - 1).abs() < 0.01).double().mean()
                    )
                    draws = draws.sign()
                figures |= {f"{name}: {key}, {label}": value for key, value in ranks(draws, truth, seed).items()}
                figures[f"{name}: CRPS, {label}"] = float(metrics.crps(draws, truth))
            at = torch.quantile(final[:, 0], torch.linspace(0.01, 0.99, 7))[:, None]
            ours = (posterior.sample(at, 3000, generator=generator) > 0).double().mean((1, 2))
            known = exact.probabilities(at) @ torch.from_numpy(exact.points > 0).double()
            figures[f"{name}: P(x_0 > 0 given x_T), largest error of 7"] = float((ours - known).abs().max())
    return figures


def ranks(draws: Tensor, truth: Tensor, seed: int) -> dict[str, float]:
    """Coverage of the central 18 of 20 ranks over all observations, and the chi-squared test of uniformity of some."""
    generator = torch.Generator().manual_seed(seed)
    every = metrics.rank_histogram(draws, truth, generator=generator).double()
    some = metrics.rank_histogram(draws[:RANKED], truth[:RANKED], generator=generator).double()
    p = float(chisquare(some.numpy()).pvalue)
    assert math.isclose(float(every.sum()), OBSERVATIONS)
    return {"coverage of 90 %": float(every[1:-1].sum() / every.sum()), "SBC p": p}


if __name__ == "__main__":
    repeat("calibration", __doc__, once, budget=30.0)
