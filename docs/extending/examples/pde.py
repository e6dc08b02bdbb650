"""Stochastic Fisher-KPP equation on a periodic line: a PDE by its linear symbol and its nonlinear part."""

from dataclasses import dataclass

import torch

import physinv as pi
from simulators.numerics.semilinear import Semilinear
from simulators.numerics.spectral import coloured_field, grid, normalised, squared_wavenumbers


@dataclass(frozen=True)
class FisherKPP(Semilinear):
    """A population ``u`` that spreads and grows to 1 (Fisher 1937; Kolmogorov, Petrovsky and Piskunov 1937)."""

    title = "Stochastic Fisher-KPP equation, periodic"
    equation = "u_t = diffusivity u_xx + growth u (1 - u) + noise xi"

    size: int = pi.parameter(32, "n", "grid points", minimum=4)
    diffusivity: float = pi.parameter(0.05, "D", "diffusivity", unit="length^2/time", minimum=0)
    growth: float = pi.parameter(1.0, "r", "growth rate", unit="1/time", minimum=0)
    noise: float = pi.parameter(0.02, "g", "rms noise per pixel", unit="1/time^1/2", minimum=0)

    @property
    def layout(self):
        return pi.FieldLayout("population", "x", [grid(self.size)])

    def symbol(self, like):  # growth rate of each Fourier mode under the linear part
        return self.growth - self.diffusivity * squared_wavenumbers(like)

    def nonlinear(self, y, like):  # Fourier modes in, Fourier modes out
        return -self.growth * self.modes(self.unmodes(y, like).square())

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        z = torch.randn((batch, *self.shape), generator=generator, device=device, dtype=dtype)
        return 0.5 + 0.15 * coloured_field(z, normalised(torch.exp(-squared_wavenumbers(z) / 9), z))
