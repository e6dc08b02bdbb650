"""Three-dimensional incompressible Navier-Stokes equations for the velocity: decaying turbulence on a periodic cube."""

from __future__ import annotations

__all__ = ["NavierStokes3D"]

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import number, parameter
from simulators.numerics.priors import RandomField
from simulators.numerics.semilinear import Coefficients, Semilinear
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
class NavierStokes3D(Semilinear, RandomField):
    """The incompressible Navier-Stokes equations for the velocity ``u`` on ``[0, 2 pi]^3``, periodic:

        u_t = P (u x curl u) + viscosity Laplace(u) + noise P xi,

    with the projection ``P`` on fields without divergence, which takes pressure and gradients away.  ``xi`` is white in
    the resolved modes but the mean, so that the mean velocity stays; ``noise`` counts before the projection, which
    leaves two thirds of its variance.

    Initial states are Gaussian fields without divergence, curls of potentials with the amplitude ``exp(-(k -
    scale)^2 / 2)``, of rms speed ``strength``.

    Expected behaviour: vortices stretch each other into thin tubes, enstrophy grows for a time of about ``2 / (strength
    scale)`` and is dissipated; energy falls at the rate ``2 viscosity`` times the enstrophy.

    Limits: at ``viscosity`` far below ``strength / size`` tubes reach the grid.

    Good values: small grids; 16 points, ``viscosity`` .01 and a ``horizon`` of 2 are a known test of inversion.

    References:
        Orszag (1971), Numerical simulation of incompressible flows within simple boundaries: accuracy; Canuto et al.
        (1988), section 7.2, for the rotational form.
    """

    title: ClassVar[str] = "Three-dimensional Navier-Stokes equations, velocity, periodic"
    equation: ClassVar[str] = "u_t = P (u x curl u) + viscosity Laplace(u) + noise P xi"

    horizon: float = parameter(1.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(8, "M", "stored time steps", minimum=1)
    size: int = parameter(16, "n", "grid points per axis", minimum=4)
    viscosity: float = parameter(0.02, "nu", "viscosity", unit="length^2/time", minimum=0, varies=True)
    noise: float = parameter(0.05, "g", "rms noise per pixel and component", unit="length/time^3/2", minimum=0)
    strength: float = parameter(1.0, "u_0", "initial rms speed", unit="length/time", minimum=0)
    scale: float = parameter(2.0, "k_0", "wave number of the largest initial amplitude", minimum=0.5)
    inner: int = parameter(1, "m", "least number of solver steps between stored times", minimum=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, *[self.size] * 3)

    @property
    def layout(self) -> FieldLayout:
        axes = ("x", "y", "z")
        return FieldLayout([f"velocity_{a}" for a in axes], axes, (grid(self.size),) * 3, "PERIODIC")

    @property
    def longest_step(self) -> float:
        """0.7 radians of the fastest resolved wave at the initial rms speed (stable: 2.8 at four times that speed)."""
        speed = number(self.strength)
        return 0.7 / (speed * self.wavenumber_max) if speed > 0 else math.inf

    def symbol(self, like: Float[Tensor, "batch channel *space"]) -> Tensor:
        return -self.viscosity * squared_wavenumbers(like)

    def projected(
        self, y: Complex[Tensor, "*lead three *modes"], like: Float[Tensor, "batch channel *space"]
    ) -> Complex[Tensor, "*lead three *modes"]:
        """Return the part of a field without divergence, ``y - k (k . y) / k^2``.

        Args:
            y: Modes of a vector field.
            like: States of the shape in question.
        """
        k = _wave_vectors(like)
        k2 = k.square().sum(1, keepdim=True)
        along = (k * y).sum(-4, keepdim=True) / torch.where(k2 > 0, k2, torch.ones_like(k2))
        return y - k * along

    def nonlinear(
        self, y: Complex[Tensor, "batch channel *modes"], like: Float[Tensor, "batch channel *space"]
    ) -> Complex[Tensor, "batch channel *modes"]:
        """``P (u x omega)``: nine transforms."""
        p, q, r = (1j * k for k in derivatives(like))
        u, v, w = y[:, :1], y[:, 1:2], y[:, 2:]
        curl = torch.cat([q * w - r * v, r * u - p * w, p * v - q * u], dim=1)
        velocity, vorticity = self.unmodes(y, like), self.unmodes(curl, like)
        return self.projected(self.modes(torch.linalg.cross(velocity, vorticity, dim=1)), like)

    def colour(self, like: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "one one_or_channel *modes"]:
        return resolved(like, self.dealias) * (squared_wavenumbers(like) > 0)

    def diffuse(self, v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.unmodes(self.projected(self.deviation(v) * self.modes(v), v), v)

    def apply_covariance(
        self, v: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor
    ) -> Float[Tensor, "batch *state"]:
        return self.solenoidal(super().apply_covariance(v, t0, t1))

    def whiten(self, gap: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Tensor:
        return self.solenoidal(super().whiten(gap, t0, t1))

    def noisy_modes(
        self,
        y: Complex[Tensor, "batch channel *modes"],
        c: Coefficients,
        dw: Float[Tensor, "two batch channel *space"],
        like: Float[Tensor, "batch channel *space"],
    ) -> Complex[Tensor, "batch channel *modes"]:
        first, second = self.projected(self.modes(dw), like)
        y = self.flow_modes(torch.addcmul(y, c.kick, first + second), c, like)
        return torch.addcmul(y, c.kick, first - second)

    def solenoidal(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the part of velocities without divergence.

        Args:
            x: Velocities, ``(batch, 3, n, n, n)``.
        """
        return self.unmodes(self.projected(self.modes(x), x), x)

    def divergence(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch one *space"]:
        """Return ``div u`` of velocities, ``(batch, 1, n, n, n)``.

        Args:
            x: Velocities.
        """
        k = _wave_vectors(x)
        return self.unmodes((1j * k * self.modes(x)).sum(1, keepdim=True), x)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        """Return mirror images along each axis; the component of the velocity along it changes sign."""
        found = [x]
        for axis in range(3):
            sign = x.new_ones(3)
            sign[axis] = -1.0
            mirrored = reflect(x.flatten(0, -5), axis).reshape(x.shape)
            found.append(sign[:, None, None, None] * mirrored)
        return found

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        k2 = squared_wavenumbers(z)
        power = k2 * torch.exp(-((k2.sqrt() - float(self.scale)) ** 2)) * resolved(z, self.dealias)
        # two of the three components of a mode are left, each of the same variance
        return self.strength / math.sqrt(2) * self.solenoidal(coloured_field(z, normalised(power, z)))


def _wave_vectors(like: Tensor) -> Float[Tensor, "one three *modes"]:
    """Wave numbers of the derivatives along the three axes, in every mode."""
    p, q, r = derivatives(like)
    zero = torch.zeros_like(p + q + r)
    return torch.cat([zero + p, zero + q, zero + r], dim=1)
