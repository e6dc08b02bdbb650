"""Equations that physinv does not ship, as a user would write them: on these its posterior of fields is judged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

import physinv as pi
from simulators.numerics.semilinear import Semilinear
from simulators.numerics.spectral import coloured_field, grid, normalised, squared_wavenumbers


@dataclass(frozen=True)
class SwiftHohenberg(Semilinear):
    """A pattern that grows at one wavelength and is bounded by its own cube (Swift and Hohenberg 1977)."""

    title = "Stochastic Swift-Hohenberg equation, periodic"
    equation = "u_t = drive u - (1 + d^2/dx^2)^2 u - u^3 + noise xi"

    size: int = pi.parameter(32, "n", "grid points", minimum=8)
    drive: float = pi.parameter(0.7, "r", "growth rate of the pattern", unit="1/time")
    noise: float = pi.parameter(0.1, "g", "rms noise per pixel", unit="1/time^1/2", minimum=0)
    horizon: float = pi.parameter(1.5, "T", "final time", unit="time", above=0)
    steps: int = pi.parameter(16, "M", "stored intervals", minimum=1)

    @property
    def layout(self):
        return pi.FieldLayout("u", "x", [grid(self.size, 8 * math.pi)])

    def symbol(self, like):
        return self.drive - (1 - self._squared(like)).square()

    def nonlinear(self, y, like):
        return -self.modes(self.unmodes(y, like).pow(3))

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        z = torch.randn((batch, *self.shape), generator=generator, device=device, dtype=dtype)
        return 0.8 * coloured_field(z, normalised(torch.exp(-self._squared(z) / 3), z))

    def _squared(self, like):
        return squared_wavenumbers(like) / 16  # of a line of length 8 pi


@dataclass(frozen=True)
class ExcitableMedium(pi.Simulator):
    """Pulses that excite their neighbours and recover slowly (FitzHugh 1961, Nagumo 1962), by finite differences."""

    title = "Stochastic FitzHugh-Nagumo medium, periodic"
    equation = "u_t = D u_xx + u - u^3 - v + noise xi,  v_t = slow (u - v / 2) + noise xi"

    size: int = pi.parameter(24, "n", "grid points", minimum=8)
    diffusivity: float = pi.parameter(0.3, "D", "diffusivity of u", unit="length^2/time", minimum=0)
    slow: float = pi.parameter(0.4, "epsilon", "rate of recovery", unit="1/time", minimum=0)
    noise: float = pi.parameter(0.15, "g", "noise per grid point", unit="1/time^1/2", minimum=0)
    horizon: float = pi.parameter(1.5, "T", "final time", unit="time", above=0)
    steps: int = pi.parameter(6, "M", "stored intervals", minimum=1)

    longest_step = 0.05  # a quarter of what explicit steps of diffusion bear

    @property
    def layout(self):
        return pi.FieldLayout(("u", "v"), "x", [grid(self.size, 12.0)])

    def drift(self, x, t):
        u, v = x[:, 0], x[:, 1]
        spread = (u.roll(1, -1) - 2 * u + u.roll(-1, -1)) * (self.size / 12) ** 2
        return torch.stack([self.diffusivity * spread + u - u**3 - v, self.slow * (u - v / 2)], dim=1)

    def diffusion(self, t):
        return self.noise

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        z = torch.randn((batch, *self.shape), generator=generator, device=device, dtype=dtype)
        return 0.8 * coloured_field(z, normalised(torch.exp(-squared_wavenumbers(z) / 6), z))
