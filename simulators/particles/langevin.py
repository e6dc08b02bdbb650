"""Langevin dynamics of interacting particles: overdamped, and underdamped with noise on the momenta only."""

from __future__ import annotations

__all__ = ["OverdampedParticles", "UnderdampedParticles"]

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.steps import Step, heun
from physinv.processes.parameters import number, parameter
from simulators.particles.base import Particles


@dataclass(frozen=True)
class OverdampedParticles(Particles):
    """Interacting particles in a heat bath, overdamped: ``dq = mobility F(q) dt + sqrt(2 mobility kT) dW``.

    ``F = -grad U`` (:class:`~simulators.particles.base.Particles` describes ``U``, species and initial states).  Steps
    are Heun's.

    Expected behaviour: species that start apart mix; the stationary law in a trap is Boltzmann's, ``exp(-U / kT)``.

    Limits: ``pair = none`` leaves independent particles; ``temperature = 0`` is gradient descent.

    Good values: those of datasets/particles, two species that start apart in a trap and have mixed halfway at T.

    References:
        Ermak and McCammon (1978), without flow.
    """

    title: ClassVar[str] = "Interacting particles in a heat bath, overdamped"
    equation: ClassVar[str] = "dq = -mobility grad U dt + sqrt(2 mobility kT) dW"
    scheme: ClassVar[Step] = heun

    mobility: float = parameter(1.0, "mu", "mobility", unit="length^2/energy/time", minimum=0)

    @property
    def longest_step(self) -> float:
        """Half of the relaxation time in the trap, or the share of that of a contact which its stiffness asks for.

        The shares are .2 (soft), .02 (Yukawa) and .001 (WCA and Lennard-Jones) of ``diameter^2 / (mobility strength)``.
        """
        share = {"yukawa": 0.02, "wca": 0.001, "lennard-jones": 0.001}.get(self.pair, 0.2)
        rate = number(self.mobility) * max(self.contact / share, self.trap / 0.5)
        return 1 / rate if rate > 0 else math.inf

    def potential(self, x: Float[Tensor, "batch n c"]) -> Float[Tensor, " batch"]:
        return self.energy_and_force(x[..., : self.dimension], x[..., -1])[0]

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return torch.cat([self.mobility * self.force(x), torch.zeros_like(x[..., -1:])], dim=-1)

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self._amplitude((2 * self.mobility * self.temperature) ** 0.5, t)


@dataclass(frozen=True)
class UnderdampedParticles(Particles):
    """Interacting particles in a heat bath, underdamped, with noise on the momenta only:

        dq = p/m dt,    dp = F(q) dt - friction p dt + sqrt(2 friction m kT) dW.

    ``F = -grad U`` (:class:`~simulators.particles.base.Particles` describes ``U``, species and initial positions).
    Initial momenta are in equilibrium.

    Expected behaviour: at small friction particles oscillate in the trap, at large friction they diffuse as the
    overdamped ones with the mobility ``1 / (m friction)``.

    Limits: ``friction = 0`` conserves the energy.

    Good values: ``friction horizon`` around 1, where part of the initial momenta is still in the final state.

    References:
        Langevin (1908); Leimkuhler and Matthews (2013), eq. 6-10, for the steps (BAOAB).
    """

    title: ClassVar[str] = "Interacting particles in a heat bath, underdamped"
    equation: ClassVar[str] = "dq = p/m dt,  dp = -grad U dt - friction p dt + sqrt(2 friction m kT) dW"
    weak_order: ClassVar[float] = 2.0
    names: ClassVar[tuple[str, ...]] = ("position", "momentum")

    mass: float = parameter(1.0, "m", "mass of a particle", unit="mass", above=0)
    friction: float = parameter(1.0, "gamma", "friction", unit="1/time", minimum=0)

    @property
    def longest_step(self) -> float:
        """Half a radian of the oscillation in the trap, or the share of a contact's that its stiffness asks for.

        The shares are .2 (soft), .05 (Yukawa) and .005 (WCA and Lennard-Jones) of ``diameter sqrt(m / strength)``.
        """
        share = {"yukawa": 0.05, "wca": 0.005, "lennard-jones": 0.005}.get(self.pair, 0.2)
        rate = max(self.contact**0.5 / share, self.trap**0.5 / 0.5) / number(self.mass) ** 0.5
        return 1 / rate if rate > 0 else math.inf

    def advance(
        self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor, dw: Float[Tensor, "draws batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        """Return the states after kick, drift, heat bath, drift, kick (Leimkuhler and Matthews 2013, eq. 6-10).

        Second order, exact in the positions of a harmonic trap at any step; without noise or friction this is the
        velocity form of Verlet's method.
        """
        d, h = self.dimension, match(t1 - t0, x)
        q, p, species = x[..., :d], x[..., d : 2 * d], x[..., 2 * d :]
        p = p + h / 2 * self.force(x)
        q = q + h / 2 * p / self.mass
        warmth = self.mass * self.temperature * -torch.expm1(-2 * self.friction * h) / h  # times h: variance of O
        p = torch.exp(-self.friction * h) * p + warmth**0.5 * dw[0][..., d : 2 * d]
        q = q + h / 2 * p / self.mass
        p = p + h / 2 * self.force(torch.cat([q, p, species], dim=-1))
        return torch.cat([q, p, species], dim=-1)

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
