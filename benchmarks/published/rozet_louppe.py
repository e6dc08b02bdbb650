"""Rozet and Louppe's Lorenz 1963: trajectories of 65 states given a/8, seen every 8th step or at every step.

A step is one Runge-Kutta step of .025 plus noise of variance .025 on each number; initial states are those after 1024
such steps.  ``few``: every 8th state with a deviation of .05; ``many``: every state with .25.  For 1024 draws of each
observation Rozet and Louppe (2023, fig. 4) publish log p(x), log p(y|x), and the Wasserstein distance to draws of a
particle filter of 16,384 particles; against another run of itself that filter has 81.8, 14.4, 5.2 and 81.4, -2.7, 6.5.
Our draws are compared with such a filter as well: its particles with their past, as physinv runs them for averages.

How likely one observation is varies with its noise: log p(y|x) of 65 numbers with noise has a standard deviation of 5.7
over observations, whoever draws x, and its mean is known, (log(1 / (2 pi sigma^2)) - 1) / 2 for each number: 14.2 for
``few``, -2.1 for ``many``.  A truth is one more draw of the posterior, so what draws have more than the truth of the
same observation is 0 on average, and varies less: that is what says whether draws are right.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import physinv as pi
from physinv.config.seeds import seeds
from physinv.methods.classical.monte_carlo.particle_smoother import ParticleSmoother
from simulators.vectors.lorenz import Lorenz63

STEP, STATES = 0.025, 65
DRAWS = 64  # for each of the observations whose likelihoods are averaged
SETTINGS = {"few": (8, 0.05), "many": (1, 0.25)}
PUBLISHED = {
    "few: log p(x)": 81.8,
    "few: log p(y|x)": 14.4,
    "few: distance of two runs": 5.2,
    "many: log p(x)": 81.4,
    "many: log p(y|x)": -2.7,
    "many: distance of two runs": 6.5,
}


@dataclass(frozen=True)
class NoisySteps(Lorenz63):
    """Lorenz 1963 in steps of .025, each followed by noise of variance .025."""

    draws: ClassVar[int] = 1

    @property
    def longest_step(self) -> float:
        return STEP

    def advance(self, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
        return self.drift_flow(x, t0, t1) + self.diffuse(dw[0], t1)


def figures(
    seed: int,
    observations: int = 4,
    draws: int = 1024,
    particles: int = 16_384,
    likelihoods: int = 16,
    for_likelihoods: int = 4096,
    settings: Sequence[str] = tuple(SETTINGS),
) -> dict[str, float]:
    """The figures of some observations, and log p(y|x) of more of them, with particles ``for_likelihoods``.

    Without observations there is log p(y|x) alone.
    """
    times = [round(STEP * i, 6) for i in range(STATES)]
    process = NoisySteps(noise=1.0, spread=1.0, spin_up=STEP * 1024, horizon=times[-1], steps=STATES - 1)
    generator = seeds(seed).child("comparison", "example").generator()
    truth = process.simulate(max(observations, 1), times, generator=generator)
    found: dict[str, float] = {}
    for name in settings:
        every, noise = SETTINGS[name]
        sensor = pi.Observation(lambda x: x[:, :1] / 8, noise)
        record = pi.ObservationRecord(*((t, sensor) for t in times[::every]))
        found |= {
            f"{name}: {key}": value
            for key, value in plausible(process, record, likelihoods, for_likelihoods, seed).items()
        }
        if observations:
            y = record.observe(truth[:observations, ::every], generator=generator)
            smoother = ParticleSmoother(process, record, particles)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                x, other = (smoother.sample_at(y, draws, times, generator=generator) for _ in range(2))
                kept = torch.cat(
                    [c.draw(draws, times, generator=generator) for c in smoother.clouds(y, times, generator=generator)]
                )
            found[f"{name}: log p(x)"] = float(log_prior(process, x).mean())
            seen = record.log_prob(y.repeat_interleave(draws, 0), x[:, :, ::every].flatten(0, 1))
            found[f"{name}: log p(y|x)"] = float(seen.mean())
            found[f"{name}: distance of two runs"] = distance(x, other)
            found[f"{name}: distance to particles with their past"] = distance(x, kept)
    return found


def plausible(
    process: NoisySteps, record: pi.ObservationRecord, count: int, particles: int, seed: int
) -> dict[str, float]:
    """Mean of log p(y|x) over observations, as it must be, of draws, and of draws less that of the truth."""
    generator = seeds(seed).child("comparison", "samples").generator()
    states = process.simulate(count, list(record.times), generator=generator)
    y = record.observe(states, generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        x = ParticleSmoother(process, record, particles).sample_at(y, DRAWS, list(record.times), generator=generator)
    seen = record.log_prob(y.repeat_interleave(DRAWS, 0), x.flatten(0, 1)).reshape(count, DRAWS).mean(1)
    gap, scale = seen - record.log_prob(y, states), record.deviations(states[:1, 0])
    return {
        f"log p(y|x) of {count} observations": float(seen.mean()),
        "its mean over all observations": -float(((2 * math.pi * scale.square()).log() + 1).sum()) / 2,
        "log p(y|x) less that of the truth": float(gap.mean()),
        "standard error of that": float(gap.std()) / math.sqrt(count),
    }


def log_prior(process: NoisySteps, x: Tensor) -> Tensor:
    """The log density of trajectories given their first state, ``(batch, n)``."""
    before, after = x[:, :, :-1].flatten(0, 2), x[:, :, 1:].flatten(0, 2)
    zero = before.new_zeros(len(before))
    gap = (after - process.drift_flow(before, zero, zero + STEP)) / math.sqrt(STEP)
    each = -gap.square() / 2 - math.log(math.sqrt(2 * math.pi * STEP))
    return each.sum(1).reshape(*x.shape[:2], -1).sum(2)


def distance(x: Tensor, other: Tensor) -> float:
    """The mean Wasserstein distance of two sets of draws of each observation."""
    found = []
    for a, b in zip(x.flatten(2), other.flatten(2), strict=True):
        cost = torch.cdist(a, b).numpy()
        found.append(float(cost[linear_sum_assignment(cost)].mean()))
    return sum(found) / len(found)
