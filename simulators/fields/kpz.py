"""Kardar-Parisi-Zhang equation on a periodic interval: a growing, roughening interface."""

from __future__ import annotations

__all__ = ["KPZ"]

import math
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
class KPZ(Semilinear, RandomField):
    """The Kardar-Parisi-Zhang equation of a growing interface of height ``h`` on ``[0, 2 pi]``, periodic:

        h_t = diffusivity h_xx + growth / 2 h_x^2 + noise xi.

    The noise is white in the resolved modes.  Initial states are Gaussian random fields with power
    ``exp(-(k / scale)^2)`` for ``k >= 1``, of rms ``strength``.

    Expected behaviour: ``Z = exp(growth h / (2 diffusivity))`` solves the heat equation with multiplicative noise (Cole
    and Hopf): hills widen, valleys close into cusps and vanish.  Stationary slopes ``h_x`` are Gaussian with the
    same variance ``sigma_k^2 / (2 diffusivity)`` in every resolved mode, whatever ``growth``.  The mean rises by
    ``growth / 2 <h_x^2>`` and is not stationary.

    Limits: with ``growth = 0`` it is the stochastic heat equation.

    Good values: ``diffusivity >= growth max|h_x| / size``.

    References:
        Kardar, Parisi and Zhang (1986), eq. 1.
    """

    title: ClassVar[str] = "Kardar-Parisi-Zhang equation, periodic"
    equation: ClassVar[str] = "h_t = diffusivity h_xx + growth / 2 h_x^2 + noise xi"

    horizon: float = parameter(1.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    size: int = parameter(128, "n", "grid points", minimum=4)
    diffusivity: float = parameter(0.03, "nu", "smoothing", unit="length^2/time", minimum=0, varies=True)
    growth: float = parameter(1.0, "lambda", "lateral growth", unit="length/time", varies=True)
    noise: float = parameter(0.03, "g", "rms noise per pixel", unit="length/time^1/2", minimum=0)
    scale: float = parameter(4.0, "k_0", "wave number at which the initial power falls off", minimum=0.5)
    strength: float = parameter(0.5, "h_0", "initial rms", unit="length", minimum=0)
    inner: int = parameter(4, "m", "least number of solver steps between stored times", minimum=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.size)

    @property
    def layout(self) -> FieldLayout:
        return FieldLayout(("height",), ("x",), (grid(self.size),), "PERIODIC")

    @property
    def longest_step(self) -> float:
        """0.75 radians of the fastest resolved wave at the speed ``growth h_x`` of the rms slope (stable: 2.8)."""
        slope2 = (number(self.strength) * number(self.scale)) ** 2 / 2  # at the start
        smoothing = number(self.diffusivity)
        slope2 += number(self.noise) ** 2 / (2 * smoothing) if smoothing > 0 else 0.0  # in equilibrium
        speed = abs(number(self.growth)) * slope2**0.5
        return 0.75 / (speed * self.wavenumber_max) if speed > 0 else math.inf

    def symbol(self, like: Float[Tensor, "batch channel *space"]) -> Tensor:
        return -self.diffusivity * squared_wavenumbers(like)

    def nonlinear(
        self, y: Complex[Tensor, "batch channel *modes"], like: Float[Tensor, "batch channel *space"]
    ) -> Complex[Tensor, "batch channel *modes"]:
        (k,) = derivatives(like)
        return self.growth / 2 * self.modes(self.unmodes((1j * k) * y, like).square())

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        return [x, reflect(x, 0)]

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        k2 = squared_wavenumbers(z)
        power = torch.exp(-k2 / float(self.scale) ** 2) * (k2 > 0) * resolved(z, self.dealias)
        return float(self.strength) * coloured_field(z, normalised(power, z))
