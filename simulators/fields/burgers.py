"""Stochastic Burgers equation on a periodic box in one or two dimensions."""

from __future__ import annotations

__all__ = ["Burgers"]

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import number, parameter
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
class Burgers(Semilinear, RandomField):
    """The stochastic Burgers equation on ``[0, 2 pi]^dimension``, periodic:

        u_t + (u . grad) u = viscosity Laplace(u) + noise xi.

    ``u`` is a number in one dimension and a vector in two.  The noise is white in all resolved modes but the mean, so
    that the mean is constant in one dimension.  Each component starts as a Gaussian random field with power
    ``exp(-(|k| / scale)^2)`` for ``|k| >= 1`` and unit pixel variance; in two dimensions it has both a potential and a
    rotational part.

    Expected behaviour: shocks form after a time of about ``1 / scale``, are ``4 viscosity / jump`` wide and merge
    later; each merger destroys the structure between two shocks.

    Limits: without viscosity shocks steepen until the grid no longer resolves them.

    Good values: two grid spacings or more in a shock, ``viscosity >= 2 / size``.

    References:
        Burgers (1948).
    """

    title: ClassVar[str] = "Stochastic Burgers equation, periodic"
    equation: ClassVar[str] = "u_t + (u . grad) u = viscosity Laplace(u) + noise xi"

    horizon: float = parameter(1.5, "T", "final time", unit="time", above=0)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    size: int = parameter(128, "n", "grid points per axis", minimum=4)
    dimension: int = parameter(1, "d", "space dimensions (1 or 2)", minimum=1, maximum=2)
    viscosity: float = parameter(0.02, "nu", "viscosity", unit="length^2/time", minimum=0, varies=True)
    noise: float = parameter(0.05, "g", "rms noise per pixel", unit="length/time^3/2", minimum=0)
    scale: float = parameter(3.0, "k_0", "wave number at which the initial power falls off", minimum=0.5)
    inner: int = parameter(4, "m", "least number of solver steps between stored times", minimum=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dimension, *[self.size] * self.dimension)

    @property
    def layout(self) -> FieldLayout:
        axes = ("x", "y")[: self.dimension]
        names = ("velocity",) if self.dimension == 1 else ("velocity_x", "velocity_y")
        return FieldLayout(names, axes, (grid(self.size),) * self.dimension, "PERIODIC")

    @property
    def longest_step(self) -> float:
        """2.5 radians of the fastest resolved wave, at a velocity of 4.5 standard deviations; more where it is damped.

        ETDRK4 is stable up to about ``2.8 + viscosity k^2 dt`` radians.  The variance is that of the initial states, 1,
        plus what the noise may add.
        """
        fastest: float = 4.5 * (self.dimension * (1 + number(self.noise) ** 2 * number(self.horizon))) ** 0.5
        k = self.wavenumber_max
        return 2.5 / (k * max(fastest - number(self.viscosity) * k, 1.0))

    def symbol(self, like: Float[Tensor, "batch channel *space"]) -> Tensor:
        return -self.viscosity * squared_wavenumbers(like)

    def nonlinear(
        self, y: Complex[Tensor, "batch channel *modes"], like: Float[Tensor, "batch channel *space"]
    ) -> Complex[Tensor, "batch channel *modes"]:
        """``-u u_x = -(u^2)_x / 2``; in two dimensions ``-grad(|u|^2 / 2) - omega (-u_y, u_x)``."""
        if self.dimension == 1:
            (k,) = derivatives(like)
            return (-0.5j * k) * self.modes(self.unmodes(y, like).square())
        p, q = derivatives(like)
        p, q = 1j * p, 1j * q
        velocity = self.unmodes(y, like)
        u, v = velocity[:, :1], velocity[:, 1:]
        w = self.unmodes(torch.addcmul(p * y[:, 1:], q, y[:, :1], value=-1), like)
        squared = self.modes(torch.addcmul(u.square(), v, v))
        along, across = self.modes(w * v), self.modes(w * u)
        return torch.cat([torch.addcmul(along, p, squared, value=-0.5), -0.5 * q * squared - across], dim=1)

    def colour(self, like: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "one one_or_channel *modes"]:
        return resolved(like, self.dealias) * (squared_wavenumbers(like) > 0)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        """Return mirror images along each axis; the component of the velocity along it changes sign."""
        if self.dimension == 1:
            return [x, -reflect(x, 0)]
        sign = x.new_tensor([-1.0, 1.0])[:, None, None]
        return [x, sign * reflect(x, 0), -sign * reflect(x, 1), -reflect(x, 0, 1), x.flip(1).mT]

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        k2 = squared_wavenumbers(z)
        return coloured_field(z, normalised(torch.exp(-k2 / float(self.scale) ** 2) * self.colour(z), z))
