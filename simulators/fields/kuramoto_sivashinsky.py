"""Stochastic Kuramoto-Sivashinsky equation on a periodic interval."""

from __future__ import annotations

__all__ = ["KuramotoSivashinsky"]

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import parameter
from simulators.numerics.priors import RandomField
from simulators.numerics.semilinear import Semilinear
from simulators.numerics.spectral import (
    coloured_field,
    derivatives,
    grid,
    normalised,
    reflect,
    resolved,
    squared_wavenumbers,
)


@dataclass(frozen=True)
class KuramotoSivashinsky(Semilinear, RandomField):
    """The stochastic Kuramoto-Sivashinsky equation on ``[0, length)``, periodic:

        u_t = -u u_x - u_xx - u_xxxx + noise xi.

    The noise is white in the resolved modes but the mean, which stays at 0.  Initial states lie on the attractor:
    random long waves of rms 1 that have run for a time ``spin_up``.

    Expected behaviour: mode ``q = 2 pi k / length`` grows at the rate ``q^2 - q^4`` until ``u u_x`` carries its energy
    to short waves, where it is dissipated: chaos for ``length`` of 22 and more, with a largest Lyapunov exponent of
    .048 at 22 (Cvitanovic, Davidchack and Siminos 2010).

    Limits: for ``length`` below ``2 pi`` everything decays.

    Good values: one grid point per unit of length or more, ``horizon`` of about one Lyapunov time (20).

    References:
        Kuramoto (1978); Sivashinsky (1977).
    """

    title: ClassVar[str] = "Stochastic Kuramoto-Sivashinsky equation, periodic"
    equation: ClassVar[str] = "u_t = -u u_x - u_xx - u_xxxx + noise xi"

    horizon: float = parameter(20.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    size: int = parameter(64, "n", "grid points", minimum=4)
    length: float = parameter(22.0, "L", "length of the interval", unit="length", above=0)
    noise: float = parameter(0.1, "g", "rms noise per pixel", unit="state/time^1/2", minimum=0)
    spin_up: float = parameter(150.0, "t_0", "time that initial states have run for", unit="time", minimum=0)
    inner: int = parameter(4, "m", "least number of solver steps between stored times", minimum=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.size)

    @property
    def layout(self) -> FieldLayout:
        return FieldLayout(("velocity",), ("x",), (grid(self.size, float(self.length)),), "PERIODIC")

    @property
    def longest_step(self) -> float:
        """1/4, a hundredth of the Lyapunov time: the equation has no parameter but its length."""
        return 0.25

    def symbol(self, like: Float[Tensor, "batch channel *space"]) -> Tensor:
        q2 = (2 * math.pi / self.length) ** 2 * squared_wavenumbers(like)
        return q2 - q2**2

    def nonlinear(
        self, y: Complex[Tensor, "batch channel *modes"], like: Float[Tensor, "batch channel *space"]
    ) -> Complex[Tensor, "batch channel *modes"]:
        """``-u u_x = -(u^2)_x / 2``."""
        (k,) = derivatives(like)
        return (-1j * math.pi / self.length * k) * self.modes(self.unmodes(y, like).square())

    def colour(self, like: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "one one_or_channel *modes"]:
        return resolved(like, self.dealias) * (squared_wavenumbers(like) > 0)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        return [x, -reflect(x, 0)]

    @property
    def spin_up_time(self) -> float:
        return float(self.spin_up)

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        q2 = (2 * math.pi / float(self.length)) ** 2 * squared_wavenumbers(z)
        x = coloured_field(z, normalised((q2 < 1) * self.colour(z), z))
        return self.spun_up(x, float(self.spin_up), generator)
