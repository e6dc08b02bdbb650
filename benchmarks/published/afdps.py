"""AFDPS's analytic Navier-Stokes: 32 x 32, w_0 = 300 (k^2 + 9)^-2 white, unforced, Re 200, T = .2, every 2nd point.

Chen et al. (2025) publish a relative L2 error of about .33.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from most_probable import most_probable, relative, solves
from torch import Tensor

import physinv as pi
from physinv.config.seeds import seeds
from physinv.laws.operators import named
from simulators.fields.navier_stokes import NavierStokes
from simulators.numerics.spectral import coloured_field, resolved, squared_wavenumbers

PUBLISHED = {"every second point, relative L2 of the most probable state": 0.33}


@dataclass(frozen=True)
class Decaying(NavierStokes):
    """Navier-Stokes from the Gaussian field ``300 (k^2 + 9)^-2`` times white noise."""

    def from_noise(self, z: Tensor, generator: torch.Generator | None) -> Tensor:
        k2 = squared_wavenumbers(z)
        return coloured_field(z, (300.0 * (k2 + 9) ** -2.0).square() * (k2 > 0) * resolved(z, self.dealias))


def figures(seed: int, observations: int = 10, iterations: int = 30) -> dict[str, float]:
    """The figures of some observations."""
    process = Decaying(size=32, viscosity=0.005, noise=0.0, forcing="none", spin_up=0.0, horizon=0.2, steps=1, inner=4)
    generator = seeds(seed).child("comparison", "example").generator()
    known, truth = process.initial(2000, generator=generator), process.initial(observations, generator=generator)
    final = process.run(truth, noise=False)[:, -1]
    observation = named("every:2", 1e-3 * float(final.std()), process.shape)
    answer = most_probable(process, known, pi.ObservationRecord((0.2, observation)), iterations)
    found = answer.mean(observation.operator(final))
    return {
        "every second point, relative L2 of the most probable state": relative(found, truth),
        "solves for each observation": solves(iterations),
    }
