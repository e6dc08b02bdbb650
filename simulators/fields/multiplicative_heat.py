"""Heat equation with noise in proportion to the temperature, simulated and trained in logarithms."""

from __future__ import annotations

__all__ = ["MultiplicativeHeat", "Temperature"]

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.fourier import filtered, wavenumbers
from physinv.equations.multiplicative import Multiplicative
from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import number, parameter
from simulators.numerics.priors import RandomField
from simulators.numerics.spectral import gaussian_field, grid


@dataclass(frozen=True)
class Temperature(Multiplicative):
    """The heat equation ``du = diffusivity D2 u dt + noise u dW`` in ``u > 0`` itself on a ring of length ``2 pi``.

    Args:
        diffusivity: Factor of the second difference ``D2``, in length^2/time.
        noise: Relative noise amplitude, in 1/time^1/2.
    """

    diffusivity: float
    noise: float

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.diffusivity * (x.roll(1, -1) - 2 * x + x.roll(-1, -1)) / spacing(x) ** 2

    def amplitude(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.noise * x

    def spurious(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return 2 * self.noise**2 * x

    def heat(self, x: Float[Tensor, "batch *state"], dt: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return ``e^(diffusivity D2 dt) x``, exact in Fourier space.

        Args:
            x: Temperatures, ``(batch, 1, n)``.
            dt: Durations, ``(batch,)``.

        Returns:
            ``(batch, 1, n)``; positive for ``x > 0`` and ``dt >= 0``.
        """
        (k,) = wavenumbers((x.shape[-1],), device=x.device, dtype=x.dtype)
        rates = -self.diffusivity * (2 / spacing(x) * torch.sin(k * spacing(x) / 2)) ** 2
        return filtered(x, torch.exp(rates * match(dt, x)))


@dataclass(frozen=True)
class MultiplicativeHeat(RandomField):
    """The heat equation ``u_t = diffusivity u_xx + noise u xi`` on a periodic line, in the logarithm ``y = log u``.

    ``xi`` is white, pixel by pixel.  With ``r = y_{i+1} - y_i`` and ``l = y_{i-1} - y_i`` on a grid of spacing ``h``

        dy_i = (diffusivity (e^r + e^l - 2) / h^2 - noise^2/2) dt + noise dW_i,

    the parabolic Anderson model on a ring (Carmona and Molchanov 1994).  ``temperature`` is the equation in ``u``.  A
    step is half of the heat flow, the noise, and the other half (Strang 1968): ``u`` stays positive, and its mean obeys
    the heat equation exactly.  Initial states ``y`` are Gaussian random fields of power ``|k|^-slope`` and standard
    deviation ``contrast``.

    Expected behaviour: structure below ``2 pi / k`` with ``diffusivity k^2 horizon > 1`` is lost.

    Limits: with ``noise^2 horizon`` above 1 peaks outgrow everything (intermittency).

    Good values: ``noise^2 horizon`` well below 1.
    """

    title: ClassVar[str] = "Heat equation with multiplicative noise, in logarithms"
    equation: ClassVar[str] = "u_t = diffusivity u_xx + noise u xi,  y = log u"
    weak_order: ClassVar[float] = 2.0

    horizon: float = parameter(0.2, "T", "final time", unit="time", above=0)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    size: int = parameter(32, "n", "grid points", minimum=4)
    diffusivity: float = parameter(1.0, "D", "diffusivity", unit="length^2/time", minimum=0, varies=True)
    noise: float = parameter(0.5, "g", "relative noise amplitude per pixel", unit="1/time^1/2", minimum=0)
    contrast: float = parameter(1.0, "s", "standard deviation of log u at the start", minimum=0)
    slope: float = parameter(3.0, "p", "power of the random field falls as |k|^-p", minimum=0)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.size)

    @property
    def longest_step(self) -> float:
        """0.7 of the time in which the fastest mode decays: its noise has the right variance to 8 %."""
        fastest = 4 * number(self.diffusivity) * (self.size / (2 * math.pi)) ** 2
        return 0.7 / fastest if fastest > 0 else math.inf  # Strang: variance off by the factor z / sinh(z), z = .7

    @property
    def layout(self) -> FieldLayout:
        return FieldLayout(("log_temperature",), ("x",), (grid(self.size),), "PERIODIC")

    @property
    def temperature(self) -> Temperature:
        """The same process in ``u = e^y``, with noise that depends on the state."""
        return Temperature(self.diffusivity, self.noise)

    def advance(
        self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor, dw: Float[Tensor, "draws batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        half, dt = (t1 - t0) / 2, match(t1 - t0, x)
        warm = self.temperature.heat(torch.exp(x), half).log()
        shaken = warm + self.diffuse(dw[0], t0) - self.noise**2 / 2 * dt
        return self.temperature.heat(torch.exp(shaken), half).log()

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        bend = torch.expm1(x.roll(1, -1) - x) + torch.expm1(x.roll(-1, -1) - x)
        return self.diffusivity * bend / spacing(x) ** 2 - self.noise**2 / 2

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.noise * torch.ones_like(t)

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        return self.contrast * gaussian_field(z, self.slope)


def spacing(x: Float[Tensor, "batch *state"]) -> float:
    """Return the grid spacing ``h`` of states ``(batch, 1, n)`` on ``[0, 2 pi]``.

    Args:
        x: States.
    """
    return 2 * math.pi / x.shape[-1]
