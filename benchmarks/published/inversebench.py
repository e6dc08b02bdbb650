"""InverseBench's Navier-Stokes: 128 x 128, Re 200, forcing -4 cos 4y, fields evolved 5 units, T = 1, every 2nd point.

Zheng et al. (2025) publish for every second point without noise the relative L2 errors .120 of EnKG, with 319,488
solves for each observation, .325 of DPG and .577 of EKI.
"""

from __future__ import annotations

import torch
from most_probable import most_probable, relative, solves

import physinv as pi
from physinv.config.seeds import seeds
from physinv.laws.operators import named
from simulators.fields.navier_stokes import NavierStokes

PUBLISHED = {
    "every 2, noise 0: relative L2 of the most probable state": 0.120,
    "solves for each observation": 319_488,
}


def figures(
    seed: int,
    observations: int = 1,
    iterations: int = 40,
    known: int = 48,
    factor: int = 2,
    noise: float = 0.0,
    draws: int = 0,
    size: int = 128,
) -> dict[str, float]:
    """The figures of some observations; the prior is a Gaussian with the spectrum of ``known`` fields."""
    process = NavierStokes(size=size, viscosity=0.005, noise=0.0, horizon=1.0, steps=1, inner=size // 2)
    generator = seeds(seed).child("comparison", "example").generator()
    fields = torch.cat([process.initial(2, generator=generator) for _ in range(-(-(known + observations) // 2))])
    truth = fields[known : known + observations]
    final = process.run(truth, noise=False)[:, -1]
    observation = named(f"every:{factor}", noise or 1e-3 * float(final.std()), process.shape)
    y = observation.observe(final, generator=generator) if noise else observation.operator(final)
    answer = most_probable(process, fields[:known], pi.ObservationRecord((1.0, observation)), iterations)
    name = f"every {factor}, noise {noise:g}"
    found = {f"{name}: relative L2 of the most probable state": relative(answer.mean(y), truth)}
    if draws:
        samples = answer.sample(y, draws, generator=generator)
        found |= {
            f"{name}: CRPS": float(pi.metrics.crps(samples, truth)),
            f"{name}: coverage of 90 %": float(pi.metrics.coverage(samples, truth)),
        }
    return found | {"solves for each observation": solves(iterations)}
