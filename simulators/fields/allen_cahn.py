"""Stochastic Allen-Cahn equation on a periodic box in one or two dimensions: phases, interfaces, coarsening."""

from __future__ import annotations

__all__ = ["AllenCahn"]

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from physinv.equations.fourier import multiplicity
from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import number, parameter
from physinv.processes.potential import check_above_0
from simulators.numerics.priors import RandomField
from simulators.numerics.semilinear import Semilinear
from simulators.numerics.spectral import coloured_field, grid, normalised, reflect, squared_wavenumbers


@dataclass(frozen=True)
class AllenCahn(Semilinear, RandomField):
    """The stochastic Allen-Cahn equation on ``[0, 2 pi]^dimension``, periodic:

        u_t = width^2 Laplace(u) + (1 - u^2) (u + tilt) + noise xi,

    with ``xi`` white on the grid.  Initial states are Gaussian random fields with power ``exp(-(|k| / scale)^2)``, mean
    included, and pixel variance ``strength^2``.  The reaction acts point by point, on all modes.

    Expected behaviour: without tilt it descends the energy ``mean of width^2 |grad u|^2 / 2 + (1 - u^2)^2 / 4``, on the
    grid too.  Phases ``u = +-1`` form within a time of about 2, then small domains shrink at the speed ``width^2
    curvature``.  Interfaces are ``tanh(x / (sqrt(2) width))``; a ``tilt`` in (-1, 1) lets them travel at the speed
    ``sqrt(2) width tilt``, the phase of its sign growing.

    Limits: interfaces narrower than the grid spacing are pinned by the grid.

    Good values: ``width`` of 1.5 grid spacings or more; noise of some .1 bends interfaces without making new phases.

    References:
        Allen and Cahn (1979).
    """

    title: ClassVar[str] = "Stochastic Allen-Cahn equation, periodic"
    equation: ClassVar[str] = "u_t = width^2 Laplace(u) + (1 - u^2) (u + tilt) + noise xi"
    dealias: ClassVar[float] = 1

    horizon: float = parameter(4.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    size: int = parameter(32, "n", "grid points per axis", minimum=4)
    dimension: int = parameter(2, "d", "space dimensions (1 or 2)", minimum=1, maximum=2)
    width: float = parameter(0.3, "eps", "width of interfaces", unit="length", minimum=0, varies=True)
    tilt: float = parameter(0.0, "a", "advantage of the phase +1", minimum=-1, maximum=1, varies=True)
    noise: float = parameter(0.1, "g", "rms noise per pixel", unit="1/time^1/2", minimum=0)
    scale: float = parameter(3.0, "k_0", "wave number at which the initial power falls off", minimum=0.5)
    strength: float = parameter(0.5, "u_0", "initial rms", minimum=0)
    inner: int = parameter(2, "m", "least number of solver steps between stored times", minimum=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, *[self.size] * self.dimension)

    @property
    def layout(self) -> FieldLayout:
        return FieldLayout(("phase",), ("x", "y")[: self.dimension], (grid(self.size),) * self.dimension, "PERIODIC")

    @property
    def longest_step(self) -> float:
        """0.1, or 2 over the rate of the reaction at four standard deviations of the start (stable: 2.8)."""
        largest = max(1.0, 4 * number(self.strength))
        return min(0.1, 2 / (3 * largest**2 - 1 + 2 * abs(number(self.tilt)) * largest))

    def symbol(self, like: Float[Tensor, "batch channel *space"]) -> Tensor:
        return -(self.width**2) * squared_wavenumbers(like)

    def nonlinear(
        self, y: Complex[Tensor, "batch channel *modes"], like: Float[Tensor, "batch channel *space"]
    ) -> Complex[Tensor, "batch channel *modes"]:
        u = self.unmodes(y, like)
        tilted = u + self.tilt
        return self.modes(torch.addcmul(tilted, tilted, u.square(), value=-1))

    def energy(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return the mean over the box of ``width^2 |grad u|^2 / 2 + (1 - u^2)^2 / 4``, which an untilted run descends.

        Args:
            x: States, ``(batch, 1, *space)``.

        Returns:
            ``(batch,)``.
        """
        bent = self.modes(x).abs().square() * squared_wavenumbers(x) * multiplicity(x)
        bending = self.width**2 / 2 * bent.flatten(1).sum(1) / math.prod(self.space)
        return bending + (1 - x**2).square().flatten(1).mean(1) / 4

    @property
    def inverse_temperature(self) -> float:
        """``2 / noise^2``, since the mobility of every pixel is 1.

        Raises:
            ValueError: If there is no Boltzmann law.
        """
        check_above_0(self, "noise")
        return 2 / number(self.noise) ** 2

    def potential(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return the energy whose gradient is minus the drift, tilt included: the sum over pixels.

        Args:
            x: States, ``(batch, 1, *space)``.
        """
        pixels = math.prod(self.space)
        return pixels * self.energy(x) - self.tilt * (x - x**3 / 3).flatten(1).sum(1)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        """Return mirror images along each axis, with phases exchanged too unless one of them is preferred."""
        mirrored = [x, *(reflect(x, i) for i in range(self.dimension))]
        if self.dimension == 2:
            mirrored += [reflect(x, 0, 1), x.mT]
        return mirrored if self.tilt != 0 else [*mirrored, *(-m for m in mirrored)]

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        power = torch.exp(-squared_wavenumbers(z) / float(self.scale) ** 2)
        return float(self.strength) * coloured_field(z, normalised(power, z))
