"""DAPPER's twin experiments: Lorenz' systems of 1963 and 1996 without noise, all of the state seen again and again.

Lorenz 1963: every 25th step of .01 with variance 2.  Lorenz 1996: 40 sites, every step of .05 with variance 1.  The
score is the root mean square error of the estimate from what is seen until then, averaged over times after a burn-in.
DAPPER publishes (``dapper/mods/Lorenz63/sakov2012.py``, ``Lorenz96/sakov2008.py``) .27 of a particle filter, .31 of an
iterative smoother and .60 of an ensemble Kalman filter for the first, .18 for the second.
"""

from __future__ import annotations

import torch
from torch import Tensor

import physinv as pi
from physinv.config.seeds import seeds
from physinv.laws.operators import everything
from physinv.methods.classical.filtering.particles import WeightedParticles
from physinv.methods.classical.filtering.transform import EnsembleTransform
from simulators.vectors.lorenz import Lorenz63, Lorenz96

BURN_IN = 8.0  # units of time that do not count
PUBLISHED = {"Lorenz 1963, particle filter": 0.27, "Lorenz 1963, EnKF": 0.60, "Lorenz 1996, EnKF": 0.18}


def figures(seed: int, cycles: int = 1000) -> dict[str, float]:
    """The figures of both systems."""
    return lorenz_1963(seed, cycles) | lorenz_1996(seed, cycles)


def lorenz_1963(seed: int, cycles: int) -> dict[str, float]:
    """The figures of three numbers."""
    process = Lorenz63(noise=0.0, horizon=0.25, steps=25)
    first = torch.tensor([1.509, -1.531, 25.46])
    rows = {"particle filter": (WeightedParticles(jitter=0.7, least=0.05), 4000), "EnKF": (EnsembleTransform(), 10)}
    found = {}
    for name, (analysis, members) in rows.items():
        found[f"Lorenz 1963, {name}"] = error(process, first, 2.0, 2.0**0.5, 0.25, cycles, analysis, members, seed)
    return found


def lorenz_1996(seed: int, cycles: int) -> dict[str, float]:
    """The figures of 40 sites."""
    process = Lorenz96(noise=0.0, horizon=0.05, steps=1)
    begin = torch.full((40,), 8.0)
    begin[0] += 0.01
    first = process.run(begin[None], [0.0, 20.0], noise=False)[0, -1]
    return {
        "Lorenz 1996, EnKF": error(process, first, 0.001, 1.0, 0.05, cycles, EnsembleTransform(), 40, seed),
    }


def error(
    process: pi.Simulator,
    first: Tensor,
    variance: float,
    noise: float,
    interval: float,
    cycles: int,
    analysis: WeightedParticles | EnsembleTransform,
    members: int,
    seed: int,
) -> float:
    """The root mean square error of a filter over one record; truth and members begin around the same state."""
    generator = seeds(seed).child("comparison", "example").generator()
    times = [round(interval * (i + 1), 6) for i in range(cycles)]
    start = first + variance**0.5 * torch.randn((members + 1, len(first)), generator=generator)
    truth = process.run(start[:1], [0.0, *times], noise=False)[:, 1:]
    record = pi.ObservationRecord(*((t, pi.Observation(everything, noise)) for t in times))
    y = record.observe(truth, generator=generator)
    found = pi.filter_record(process, record, y, analysis, members, start=start[None, 1:], generator=generator)
    gaps = (found.mean - truth).square().mean(2).sqrt()[0]
    return float(gaps[torch.tensor(times) > BURN_IN].mean())
