"""Heat 32x32 from sharp-edged fields, where the posterior is far from Gaussian.

python benchmarks/heat_edges.py    CRPS clearly below that of the Gaussian posterior (Wiener) with the same second
                                   moments, coverage of 90 % calibrated

Initial states are +-1 at every point, so an interval of samples that are +-1.00x covers +-1 or not by chance.
Coverage is therefore that of x_0 observed with an error of .05 or .2 (noise added to samples and truth alike, which
leaves a calibrated posterior calibrated), and that of the Fourier amplitudes, shell by shell.
"""

from __future__ import annotations

import torch
from common import ROOT, repeat, trained
from torch import Tensor

from physinv.config.settings import Settings
from physinv.equations.time_grids import logarithmic
from physinv.evaluation import metrics
from physinv.laws.exact import LinearGaussian
from physinv.models.references.linear import LinearReference
from physinv.posterior.posterior import Posterior
from physinv.reports import plots as plot
from simulators.fields.heat import Heat

OBSERVATIONS, SAMPLES = 60, 16


def once(seed: int, budget: float) -> dict[str, float]:
    run, test, seconds = trained("heat", seed, budget, Settings(), {"prior": "edges"})
    simulator, reference = run.simulator, LinearReference.of(run.model)
    assert isinstance(simulator, Heat)
    assert reference is not None
    truth, final = test.states(0, limit=OBSERVATIONS), test.states(-1, limit=OBSERVATIONS)
    generator = torch.Generator().manual_seed(seed)
    times = logarithmic(simulator.horizon, 32, simulator.horizon / 100)
    ours = Posterior(simulator, run.model, times).sample(final, SAMPLES, generator=generator)
    gaussian = LinearGaussian(simulator, simulator.horizon, reference.mean0.cpu(), reference.power0.cpu())
    figures = {"training seconds": seconds}
    for label, draws in (("physinv", ours), ("Gaussian", gaussian.sample(final, SAMPLES, generator=generator))):
        figures |= {f"{label}: {key}": value for key, value in scores(draws, truth, generator).items()}
    if seed == 0:
        figure = plot.reconstruction(truth, final, ours, simulator.layout)
        plot.save(figure, ROOT / "benchmarks" / "results" / "heat_edges.png")
    return figures


def scores(draws: Tensor, truth: Tensor, generator: torch.Generator) -> dict[str, float]:
    figures = {
        "CRPS, 16 samples": float(metrics.crps(draws, truth)),
        "relative L2 of one sample": float(metrics.sample_relative_l2(draws, truth)),
        "relative L2 of the mean of 16": float(metrics.relative_l2(draws.mean(1), truth)),
        "spread over skill": float(metrics.spread_skill(draws, truth)),
    }
    for error in (0.05, 0.2):
        seen, known = (x + error * torch.randn(x.shape, generator=generator) for x in (draws, truth))
        figures[f"coverage of 90 %, observed to {error}"] = float(metrics.coverage(seen, known))
    return figures | {
        f"coverage of 90 %, amplitudes of |k| = {low} ... {high}": value
        for (low, high), value in amplitudes(draws, truth).items()
    }


def amplitudes(draws: Tensor, truth: Tensor) -> dict[tuple[int, int], float]:
    n = truth.shape[-1]
    k = (torch.fft.fftfreq(n, 1 / n)[:, None] ** 2 + torch.fft.rfftfreq(n, 1 / n) ** 2).sqrt()
    ours, theirs = (torch.fft.rfft2(x, norm="ortho").real for x in (draws, truth))
    bands = {(low, high): (k >= low) & (k < high + 1) for low, high in ((1, 2), (3, 4), (5, 8), (9, 15))}
    return {b: float(metrics.coverage(ours[..., mask], theirs[..., mask])) for b, mask in bands.items()}


if __name__ == "__main__":
    repeat("heat-edges", __doc__, once, budget=240.0)
