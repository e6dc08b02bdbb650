"""Lorenz' chaotic systems of 1963 (three numbers) and 1996 (a ring of sites), with noise."""

from __future__ import annotations

__all__ = ["Chaotic", "Lorenz63", "Lorenz96"]

import collections
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.solve import march
from physinv.processes.layout import VectorLayout
from physinv.processes.parameters import parameter
from physinv.processes.substeps import spin_up_steps
from simulators.numerics.priors import RandomField
from simulators.numerics.rk4_noise import SmoothFlow

_SPIN_UP_STEP = 0.01  # of a spin-up, at most


@dataclass(frozen=True)
class Chaotic(SmoothFlow, RandomField):
    """A vector process with isotropic noise whose initial states are Gaussian, then run for a time ``spin_up``."""

    spread: float = parameter(1.0, "sigma", "standard deviation of the draws", unit="state", above=0)
    spin_up: float = parameter(0.0, "t_0", "time that initial states have run for", unit="time", minimum=0)
    noise: float = parameter(1.0, "g", "noise amplitude", unit="state/time^1/2", minimum=0)

    @property
    @abstractmethod
    def centre(self) -> tuple[float, ...]:
        """Mean of the draws that initial states are made of."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.centre),)

    @property
    def spin_up_time(self) -> float:
        return float(self.spin_up)

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        x = z.new_tensor(self.centre) + self.spread * z
        if self.spin_up == 0:
            return x
        count = max(1, spin_up_steps(self, "spin_up", self.spin_up, self.spin_up / _SPIN_UP_STEP))
        times = torch.linspace(0, self.spin_up, count + 1, dtype=torch.float64)
        states = march(self, x, times, step=self.step, generator=generator)
        (last,) = collections.deque(states, maxlen=1)
        return last

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.noise * torch.ones_like(t)

    def initial_log_prob(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"] | None:
        """Return the Gaussian log density up to a constant; None after a spin-up.

        Args:
            x: Initial states.
        """
        if self.spin_up > 0:
            return None
        return -((x - x.new_tensor(self.centre)) / self.spread).square().sum(1) / 2


@dataclass(frozen=True)
class Lorenz63(Chaotic):
    """Convection between a warm and a cold plate, cut down to three numbers, with noise on each:

        dx = prandtl (y - x) dt + noise dW_1
        dy = (x (rayleigh - z) - y) dt + noise dW_2
        dz = (x y - aspect z) dt + noise dW_3.

    Initial states are Gaussian around ``(0, 0, 25)`` with the standard deviation ``spread``, and have run for a time
    ``spin_up``, noise included.

    Expected behaviour: at the defaults states circle two points and change sides at times that nobody foresees: errors
    grow as ``e^(0.9 t)``.  Below ``rayleigh`` of 24.7 they come to rest at one of the two points, below 1 at 0.

    Limits: without noise the attractor is a set of dimension 2.06, onto which nothing leads back exactly.

    Good values: ``spin_up`` of 5 or more for states of the attractor; ``horizon`` up to 1.

    References:
        Lorenz (1963), eq. 25-27.
    """

    title: ClassVar[str] = "Convection in three numbers, chaotic (Lorenz 1963)"
    equation: ClassVar[str] = "dx = prandtl (y - x) dt + ..., dy = (x (rayleigh - z) - y) dt, dz = (x y - aspect z) dt"

    horizon: float = parameter(0.8, "T", "final time", unit="time", above=0)
    steps: int = parameter(40, "M", "stored time steps", minimum=1)
    prandtl: float = parameter(10.0, "sigma", "Prandtl number", minimum=0, varies=True)
    rayleigh: float = parameter(28.0, "rho", "Rayleigh number over its critical value", minimum=0, varies=True)
    aspect: float = parameter(8 / 3, "beta", "aspect ratio of the rolls", minimum=0, varies=True)
    spread: float = parameter(6.0, "sigma_0", "standard deviation of the initial draws", unit="state", above=0)

    @property
    def centre(self) -> tuple[float, ...]:
        return (0.0, 0.0, 25.0)

    @property
    def layout(self) -> VectorLayout:
        return VectorLayout("convection", 3)

    @property
    def longest_step(self) -> float:
        """0.02: the rms error of a unit of time without noise is .01, of states whose deviation is 8."""
        return 0.02

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        u, v, w = x[:, :1], x[:, 1:2], x[:, 2:]
        parts = (self.prandtl * (v - u), u * (self.rayleigh - w) - v, u * v - self.aspect * w)
        return torch.cat(parts, dim=1)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        return [x, x * x.new_tensor([-1.0, -1.0, 1.0])]


@dataclass(frozen=True)
class Lorenz96(Chaotic):
    """A quantity at ``sites`` places on a circle of latitude, carried along, damped and driven, with noise:

        dx_i = ((x_{i+1} - x_{i-2}) x_{i-1} - x_i + forcing) dt + noise dW_i,    indices modulo sites.

    Initial states are Gaussian around 2 with the standard deviation ``spread``, and have run for a time
    ``spin_up``, noise included.

    Expected behaviour: the products keep ``sum_i x_i^2``; at ``forcing`` 8 and 40 sites waves of about 8 sites travel
    and errors double in 0.4 units of time (five days in Lorenz' scale).  Below 8/9 the rest state is stable.

    Limits: with 4 sites at least every site has four different neighbours.

    Good values: the defaults, or 40 sites without noise and a ``spin_up`` of 5, the usual test of data assimilation.

    References:
        Lorenz (1996), Predictability: a problem partly solved, eq. 1.
    """

    title: ClassVar[str] = "Waves on a ring of sites, chaotic (Lorenz 1996)"
    equation: ClassVar[str] = "dx_i = ((x_{i+1} - x_{i-2}) x_{i-1} - x_i + forcing) dt + noise dW_i"

    horizon: float = parameter(0.4, "T", "final time", unit="time", above=0)
    steps: int = parameter(16, "M", "stored time steps", minimum=1)
    sites: int = parameter(40, "n", "number of sites", minimum=4)
    forcing: float = parameter(8.0, "F", "what drives every site", unit="state/time", varies=True)
    spread: float = parameter(3.0, "sigma_0", "standard deviation of the initial draws", unit="state", above=0)

    @property
    def centre(self) -> tuple[float, ...]:
        return (2.0,) * self.sites

    @property
    def layout(self) -> VectorLayout:
        return VectorLayout("quantity", self.sites)

    @property
    def longest_step(self) -> float:
        """0.025: the rms error of a unit of time without noise is .001, of states whose deviation is 3.6."""
        return 0.025

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        carried = (x.roll(-1, 1) - x.roll(2, 1)) * x.roll(1, 1)
        return carried - x + self.forcing
