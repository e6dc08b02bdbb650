"""Langevin dynamics of interacting particles: overdamped, and underdamped with noise on the momenta only."""

from __future__ import annotations

__all__ = ["OverdampedParticles", "UnderdampedParticles", "baoab"]

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, match
from physinv.equations.solve import Step, heun
from physinv.processes.simulator import parameter
from simulators.particles.base import Particles


@dataclass(frozen=True)
class OverdampedParticles(Particles):
    """``dq = mobility F(q) dt + sqrt(2 mobility kT) dW``, ``F = -grad U`` (Ermak and McCammon 1978, no flow).

    The stationary law in a trap is Boltzmann's, ``exp(-U / kT)``.  Heun steps; ``mobility strength / diameter^2`` times
    a step should stay below about 0.2 (soft) or 0.001 (WCA, Lennard-Jones, whose contacts are stiff).  Good values:
    those of datasets/particles, two species that start apart in a trap and have mixed halfway at T.
    """

    title: ClassVar[str] = "Interacting particles in a heat bath, overdamped"
    equation: ClassVar[str] = "dq = -mobility grad U dt + sqrt(2 mobility kT) dW"
    step: ClassVar[Step] = heun

    mobility: float = parameter(1.0, "mu", "mobility", unit="length^2/energy/time", minimum=0)

    def potential(self, x: Float[Tensor, "batch n c"]) -> Float[Tensor, " batch"]:
        return self.energy_and_force(x[..., : self.dimension], x[..., -1])[0]

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return torch.cat([self.mobility * self.force(x), torch.zeros_like(x[..., -1:])], dim=-1)

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self._amplitude((2 * self.mobility * self.temperature) ** 0.5, t)


def _baoab(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    """Kick, drift, heat bath, drift, kick (Leimkuhler and Matthews 2013, eq. 6-10); without noise or friction this is
    the velocity form of Verlet's method."""
    if not isinstance(sde, UnderdampedParticles):
        raise ValueError(f"`baoab` steps UnderdampedParticles only, got {type(sde).__name__}; take euler or heun.")
    d, h = sde.dimension, match(t1 - t0, x)
    q, p, species = x[..., :d], x[..., d : 2 * d], x[..., 2 * d :]
    p = p + h / 2 * sde.force(x)
    q = q + h / 2 * p / sde.mass
    warmth = sde.mass * sde.temperature * -torch.expm1(-2 * sde.friction * h) / h  # times h: variance of the O part
    p = torch.exp(-sde.friction * h) * p + warmth**0.5 * dw[0][..., d : 2 * d]
    q = q + h / 2 * p / sde.mass
    p = p + h / 2 * sde.force(torch.cat([q, p, species], dim=-1))
    return torch.cat([q, p, species], dim=-1)


baoab = Step(_baoab, weak_order=2.0)
"""Splitting of underdamped Langevin dynamics; second order, exact in the positions of a harmonic trap at any step."""


@dataclass(frozen=True)
class UnderdampedParticles(Particles):
    """``dq = p/m dt,  dp = F(q) dt - friction p dt + sqrt(2 friction m kT) dW`` (Langevin 1908); noise on momenta only.

    Initial momenta are in equilibrium.  Steps: :data:`baoab`; below ``0.2 diameter sqrt(m / strength)`` for soft
    particles, ``0.005`` of it for WCA and Lennard-Jones.  Good values: ``friction horizon`` around 1, where part of
    the initial momenta is still in the final state.
    """

    title: ClassVar[str] = "Interacting particles in a heat bath, underdamped"
    equation: ClassVar[str] = "dq = p/m dt,  dp = -grad U dt - friction p dt + sqrt(2 friction m kT) dW"
    step: ClassVar[Step] = baoab
    names: ClassVar[tuple[str, ...]] = ("position", "momentum")

    mass: float = parameter(1.0, "m", "mass of a particle", unit="mass", minimum=1e-9)
    friction: float = parameter(1.0, "gamma", "friction", unit="1/time", minimum=0)

    def _momentum_scale(self) -> float | Tensor:
        scale: float | Tensor = (self.mass * self.temperature) ** 0.5
        return scale

    def potential(self, x: Float[Tensor, "batch n c"]) -> Float[Tensor, " batch"]:
        d = self.dimension
        kinetic = x[..., d : 2 * d].square().sum((1, 2)) / (2 * self.mass)
        return kinetic + self.energy_and_force(x[..., :d], x[..., -1])[0]

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        p = x[..., self.dimension : 2 * self.dimension]
        return torch.cat([p / self.mass, self.force(x) - self.friction * p, torch.zeros_like(x[..., -1:])], dim=-1)

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self._amplitude((2 * self.friction * self.mass * self.temperature) ** 0.5, t)
