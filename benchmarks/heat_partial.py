"""Heat 32x32, a quarter of the pixels observed at T with noise .05: both routes to p(x_0 | y) beside the exact one.

python benchmarks/heat_partial.py    trains half a minute a seed; CRPS of two stages <= 1.1 x exact.  The last rows have
                                     noise g .5 instead of .1, without training (the reference is exact there): what
                                     the guides leave out of the physics' noise shows in their spread
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from common import repeat, trained
from torch import Tensor, nn

from physinv.config.settings import Settings
from physinv.equations.time_grids import resample_times
from physinv.evaluation import metrics
from physinv.laws.exact import LinearGaussian
from physinv.laws.observation import Observation
from physinv.laws.operators import random_mask, sensors
from physinv.models.references.linear import LinearReference
from physinv.models.score import ScoreModel
from physinv.posterior.guidance import dps, moment_matching, pigdm, sample_guided
from physinv.posterior.partial import sample_given
from physinv.posterior.posterior import Posterior
from simulators.fields.heat import Heat

OBSERVATIONS, SAMPLES, STEPS, FRACTION, NOISE = 24, 16, 16, 0.25, 0.05


class Nothing(nn.Module):
    """The network of a score model that is its reference and nothing else."""

    def forward(self, features: Tensor, tau: Tensor) -> Tensor:
        return torch.zeros_like(features[:, :1])


def once(seed: int, budget: float) -> dict[str, float]:
    run, test, seconds = trained("heat", seed, budget, Settings())
    heat = run.simulator
    assert isinstance(heat, Heat)
    truth, final = test.states(0, limit=OBSERVATIONS), test.states(-1, limit=OBSERVATIONS)
    generator = torch.Generator().manual_seed(seed)
    posterior = Posterior(heat, run.model, resample_times(run.times, STEPS))
    figures = {"training seconds": seconds, **compare(posterior, exact_law(heat), truth, final, generator)}
    rough = Heat(noise=0.5)
    law = exact_law(rough)
    reference = LinearReference(rough, law.mean0.float(), law.power.float())
    model = ScoreModel(reference, Nothing(), (float(rough.times[1]), rough.horizon))
    states = rough.simulate(OBSERVATIONS, generator=generator)
    rows = compare(
        Posterior(rough, model, resample_times(rough.times, STEPS)), law, states[:, 0], states[:, -1], generator
    )
    return figures | {f"g = .5, {key}": value for key, value in rows.items()}


def exact_law(heat: Heat) -> LinearGaussian:
    exact = heat.exact()
    assert exact is not None
    return exact


def compare(
    posterior: Posterior, law: LinearGaussian, truth: Tensor, final: Tensor, generator: torch.Generator
) -> dict[str, float]:
    """All ways to p(x_0 | y) for the same sensors and observations."""
    mask = random_mask(tuple(truth.shape[1:]), FRACTION, generator=generator)
    observation = Observation(sensors(mask), NOISE)
    y = observation.observe(final, generator=generator)
    given, guided = (partial(f, posterior, observation, y, SAMPLES) for f in (sample_given, sample_guided))
    ways: dict[str, Callable[..., Tensor]] = {
        "exact": partial(law.given(observation).sample, y, SAMPLES),
        "two stages": given,
        "guided, moment matching": partial(guided, guide=moment_matching),
        "guided, pigdm": partial(guided, guide=pigdm),
        "guided, dps": partial(guided, guide=dps),
    }
    figures: dict[str, float] = {}
    for name, draw in ways.items():
        begun = time.perf_counter()
        samples = draw(generator=generator)
        seconds = (time.perf_counter() - begun) / len(y)
        figures |= {
            f"{name}: CRPS, {SAMPLES} samples": float(metrics.crps(samples, truth)),
            f"{name}: relative L2 of the mean": float(metrics.relative_l2(samples.mean(1), truth)),
            f"{name}: spread over skill": float(metrics.spread_skill(samples, truth)),
            f"{name}: coverage of 90 %": float(metrics.coverage(samples, truth)),
            f"{name}: seconds per observation": seconds,
        }
    key = f"CRPS, {SAMPLES} samples"
    for name in list(ways)[1:]:
        figures[f"{name}: CRPS over exact"] = figures[f"{name}: {key}"] / figures[f"exact: {key}"]
    return figures


if __name__ == "__main__":
    repeat("heat-partial", __doc__, once, budget=30.0)
