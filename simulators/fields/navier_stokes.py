"""Two-dimensional incompressible Navier-Stokes equations in vorticity form: decaying and forced turbulence."""

from __future__ import annotations

__all__ = ["NavierStokes"]

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from physinv.equations.fourier import multiplicity
from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import number, parameter
from simulators.numerics.priors import RandomField
from simulators.numerics.semilinear import Semilinear
from simulators.numerics.spectral import (
    coloured_field,
    grid,
    normalised,
    reflect,
    resolved,
    squared_wavenumbers,
    wavenumbers,
)


@dataclass(frozen=True)
class NavierStokes(Semilinear, RandomField):
    """The incompressible Navier-Stokes equations for the vorticity ``w = v_x - u_y`` on ``[0, 2 pi]^2``, periodic:

        w_t + u . grad w = viscosity Laplace(w) - drag w + F + noise xi.

    ==============  ================================================================================================
    ``none``        decaying turbulence: ``F = 0``, ``xi`` white in the resolved modes but the mean
    ``kolmogorov``  body force ``amplitude sin(wavenumber y)`` along x, ``F = -amplitude wavenumber cos(wavenumber
                    y)``; ``xi`` as before (Kochkov et al. 2021: wave number 4, amplitude 1, drag .1)
    ``stochastic``  ``F = 0``, and ``xi`` drives the ring ``|k| = wavenumber +- 1`` alone, white in time: energy comes
                    in at the known rate :meth:`energy_input`
    ==============  ================================================================================================

    Initial states are Gaussian random fields with power ``k^2 exp(-(k / scale)^2)`` and a root-mean-square vorticity
    ``strength`` which have run for a time ``spin_up``.

    Expected behaviour: vortices of the same sign merge, filaments between them are dissipated.

    Limits: at ``viscosity`` far below ``strength (3 / size)^2`` filaments reach the grid.

    Good values: the defaults, with noise and on 64 points.  Of the initial-vorticity inversion of InverseBench (Zheng
    et al. 2025) they have the Reynolds number 200, the forcing ``-4 cos(4 y)``, T = 1 and the time 5 that fields have
    evolved for; that has 128 points and no noise (``datasets/navier-stokes-inversebench``), and draws of another
    Gaussian law before the 5.
    """

    title: ClassVar[str] = "Two-dimensional Navier-Stokes equations, vorticity, periodic"
    equation: ClassVar[str] = "w_t + u . grad w = viscosity Laplace(w) - drag w + F + noise xi"

    horizon: float = parameter(1.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(16, "M", "stored time steps", minimum=1)
    size: int = parameter(64, "n", "grid points per axis", minimum=4)
    viscosity: float = parameter(
        0.005, "nu", "viscosity, 1 / Reynolds number", unit="length^2/time", minimum=0, varies=True
    )
    drag: float = parameter(0.0, "alpha", "linear drag", unit="1/time", minimum=0, varies=True)
    noise: float = parameter(0.2, "g", "rms noise per pixel", unit="1/time^3/2", minimum=0)
    forcing: str = parameter("kolmogorov", "F", "what drives it", choices=("none", "kolmogorov", "stochastic"))
    amplitude: float = parameter(1.0, "A", "body force (kolmogorov)", unit="length/time^2", minimum=0, varies=True)
    wavenumber: int = parameter(4, "k_f", "wave number of the forcing", minimum=1)
    strength: float = parameter(4.0, "w_0", "rms vorticity before the spin-up", unit="1/time", minimum=0)
    scale: float = parameter(4.0, "k_0", "wave number at which the initial power falls off", minimum=0.5)
    spin_up: float = parameter(5.0, "t_0", "time that initial states have run for", unit="time", minimum=0)
    inner: int = parameter(3, "m", "least number of solver steps between stored times", minimum=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.size, self.size)

    @property
    def layout(self) -> FieldLayout:
        return FieldLayout(("vorticity",), ("x", "y"), (grid(self.size),) * 2, "PERIODIC")

    @property
    def longest_step(self) -> float:
        """0.45 radians of the fastest resolved wave at the speed that initial states or the forcing set.

        The rms speed is up to 1.8 times that after the spin-up, and in one state of hundreds some place is 6 times as
        fast; the solver is stable up to 2.8 radians.
        """
        eddies = number(self.strength) / number(self.scale)
        match self.forcing:
            case "kolmogorov":
                driven = (number(self.amplitude) / self.wavenumber) ** 0.5
            case "stochastic":
                age = number(self.horizon) + number(self.spin_up)
                driven = number(self.noise) / self.wavenumber * age**0.5
            case _:
                driven = 0.0
        speed = (eddies**2 + driven**2) ** 0.5 if self.forcing == "stochastic" else max(eddies, driven)
        return 0.45 / (speed * self.wavenumber_max) if speed > 0 else math.inf

    def symbol(self, like: Float[Tensor, "batch channel *space"]) -> Tensor:
        return -self.viscosity * squared_wavenumbers(like) - self.drag

    def velocity_modes(
        self, y: Complex[Tensor, "batch one *modes"], like: Float[Tensor, "batch channel *space"]
    ) -> Complex[Tensor, "batch two *modes"]:
        """Return the modes of the velocity ``(u, v) = (psi_y, -psi_x)``, ``Laplace(psi) = -w``.

        Args:
            y: Modes of the vorticity.
            like: States of the shape in question.

        Returns:
            ``(batch, 2, *modes)``.
        """
        return _operators(tuple(like.shape[2:]), like.device, like.dtype, self.wavenumber)[0] * y

    def nonlinear(
        self, y: Complex[Tensor, "batch channel *modes"], like: Float[Tensor, "batch channel *space"]
    ) -> Complex[Tensor, "batch channel *modes"]:
        """``-u . grad w = (d_yy - d_xx)(u v) + d_xy(u^2 - v^2)`` (Basdevant 1983: four transforms), and ``F``."""
        _, along, across, wave = _operators(tuple(like.shape[2:]), like.device, like.dtype, self.wavenumber)
        velocity = self.unmodes(self.velocity_modes(y, like), like)
        u, v = velocity[:, :1], velocity[:, 1:]
        product, difference = self.modes(u * v), self.modes(torch.addcmul(u.square(), v, v, value=-1))
        force = -self.amplitude * self.wavenumber * wave if self.forcing == "kolmogorov" else torch.zeros_like(wave)
        return torch.addcmul(torch.addcmul(force, along, product), across, difference)

    def colour(self, like: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "one one_or_channel *modes"]:
        k2 = squared_wavenumbers(like)
        noisy = resolved(like, self.dealias) * (k2 > 0)
        if self.forcing != "stochastic":
            return noisy
        return noisy * ((k2.sqrt() - self.wavenumber).abs() <= 1)

    def energy(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return the mean of ``|u|^2 / 2`` over the box for vorticities ``x``, ``(batch,)``.

        Args:
            x: Vorticities, in 1/time.
        """
        power = self.modes(x).abs().square() / squared_wavenumbers(x).clamp(min=1) * multiplicity(x)
        return power.sum((1, 2, 3)) / (2 * self.size**2)

    def enstrophy(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return the mean of ``w^2 / 2`` over the box for vorticities ``x``, ``(batch,)``.

        ``d<E>/dt = energy_input - 2 viscosity <Z> - 2 drag <E>`` where F does no work.

        Args:
            x: Vorticities, in 1/time.
        """
        return x.square().mean((1, 2, 3)) / 2

    def energy_input(self, like: Float[Tensor, "batch *state"]) -> Float[Tensor, ""]:
        """Return the mean energy that the noise brings in per unit of time.

        Args:
            like: States, which give shape, dtype and device.
        """
        per_mode = self.deviation(like) ** 2 / squared_wavenumbers(like).clamp(min=1)
        return (per_mode * multiplicity(like)).sum() / (2 * self.size**2)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        """Return states turned by 180 degrees, and mirrored (vorticity changes sign) as far as the force allows."""
        turned = reflect(x, 0, 1)
        if self.forcing != "kolmogorov":
            return [x, turned, -reflect(x, 0), -reflect(x, 1)]
        if self.size % (2 * self.wavenumber):
            return [x, turned]
        return [x, turned, -reflect(x, 1).roll(self.size // (2 * self.wavenumber), -1)]

    @property
    def spin_up_time(self) -> float:
        return float(self.spin_up)

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        k2 = squared_wavenumbers(z)
        power = k2 * torch.exp(-k2 / float(self.scale) ** 2) * resolved(z, self.dealias)
        return self.spun_up(
            float(self.strength) * coloured_field(z, normalised(power, z)), float(self.spin_up), generator
        )


@functools.lru_cache(maxsize=16)
def _operators(
    space: tuple[int, ...], device: torch.device, dtype: torch.dtype, wavenumber: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Complex constants per mode: what turns vorticity into velocity, the factors of ``u v`` and ``u^2 - v^2``, and
    ``cos(wavenumber y)``."""
    with torch.inference_mode(False):
        like = torch.empty((1, 1, *space), device=device, dtype=dtype)
        p, q = wavenumbers(like)
        k2 = squared_wavenumbers(like).clamp(min=1)
        wave = ((p == 0) & (q.abs() == wavenumber)).to(dtype) * (space[0] / 2)
        return torch.cat([1j * q / k2, -1j * p / k2], dim=1), p**2 - q**2 + 0j, -p * q + 0j, wave + 0j
