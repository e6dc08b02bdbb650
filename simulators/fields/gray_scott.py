"""Stochastic Gray-Scott reaction-diffusion system on a periodic square: spots that grow, split and die."""

from __future__ import annotations

__all__ = ["GrayScott"]

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import parameter
from simulators.numerics.semilinear import Semilinear
from simulators.numerics.spectral import coloured_field, grid, normalised, reflect, squared_wavenumbers


@dataclass(frozen=True)
class GrayScott(Semilinear):
    """The stochastic Gray-Scott system of two substances, ``U + 2 V -> 3 V`` and ``V`` -> inert, fed with ``U``:

        u_t = diffusion_u Laplace(u) - u v^2 + feed (1 - u) + noise xi_u
        v_t = diffusion_v Laplace(v) + u v^2 - (feed + kill) v + noise xi_v

    on ``[0, length)^2``, periodic.  Initial states: ``(1, 0)``, but ``(1/2, 1/4)`` where a Gaussian random field with
    power ``exp(-(k / scale)^2)`` exceeds 1.2 of its standard deviations, with soft edges, after a time ``spin_up``.

    Expected behaviour: ``(1, 0)`` is stable; where the noise or a seed brings enough ``v`` together, it feeds on ``u``
    and makes patterns with wave lengths of about ``10 sqrt(diffusion_v / feed)``: spots that divide with the defaults.

    Limits: the concentrations of a noisy run may fall below 0 by the noise.

    Good values: rates of Pearson's patterns, feed .02 to .06 and kill .05 to .065, and ``length`` of .5 or more.

    References:
        Gray and Scott (1984); Pearson (1993).
    """

    title: ClassVar[str] = "Stochastic Gray-Scott reaction-diffusion system, periodic"
    equation: ClassVar[str] = (
        "u_t = D_u Laplace(u) - u v^2 + F (1 - u),  v_t = D_v Laplace(v) + u v^2 - (F + k) v,  + noise"
    )
    dealias: ClassVar[float] = 1

    horizon: float = parameter(300.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(20, "M", "stored time steps", minimum=1)
    size: int = parameter(32, "n", "grid points per axis", minimum=4)
    length: float = parameter(0.64, "L", "edge of the square", unit="length", above=0)
    diffusion_u: float = parameter(2e-5, "D_u", "diffusivity of u", unit="length^2/time", minimum=0)
    diffusion_v: float = parameter(1e-5, "D_v", "diffusivity of v", unit="length^2/time", minimum=0)
    feed: float = parameter(0.035, "F", "rate of feeding", unit="1/time", minimum=0, varies=True)
    kill: float = parameter(0.062, "k", "rate of decay of v, beyond feed", unit="1/time", minimum=0)
    noise: float = parameter(0.001, "g", "rms noise per pixel", unit="1/time^1/2", minimum=0)
    scale: float = parameter(3.0, "k_0", "wave number at which the seeds' power falls off", minimum=0.5)
    spin_up: float = parameter(40.0, "t_0", "time that initial states have run for", unit="time", minimum=0)
    inner: int = parameter(6, "m", "least number of solver steps between stored times", minimum=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (2, self.size, self.size)

    @property
    def layout(self) -> FieldLayout:
        return FieldLayout(("u", "v"), ("x", "y"), (grid(self.size, float(self.length)),) * 2, "PERIODIC")

    @property
    def longest_step(self) -> float:
        """4: the autocatalysis has rates below ``2 u v``, about a half, whatever the parameters."""
        return 4.0

    def symbol(self, like: Float[Tensor, "batch channel *space"]) -> Tensor:
        q2 = (2 * math.pi / self.length) ** 2 * squared_wavenumbers(like)
        return torch.cat([-self.diffusion_u * q2 - self.feed, -self.diffusion_v * q2 - self.feed - self.kill], dim=1)

    def nonlinear(
        self, y: Complex[Tensor, "batch channel *modes"], like: Float[Tensor, "batch channel *space"]
    ) -> Complex[Tensor, "batch channel *modes"]:
        u, v = self.unmodes(y, like).unbind(1)
        eaten = self.modes((u * v**2)[:, None])
        fed = self.feed * self.size * (squared_wavenumbers(like) == 0).to(like)  # an orthonormal mode of the constant 1
        sign = y.new_tensor([-1.0, 1.0])[:, None, None]
        return torch.addcmul(torch.cat([fed, torch.zeros_like(fed)], dim=1).to(y), sign, eaten)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        """Return mirror images along each axis, both, and the diagonal."""
        return [x, reflect(x, 0), reflect(x, 1), reflect(x, 0, 1), x.mT]

    @property
    def spin_up_time(self) -> float:
        return float(self.spin_up)

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        z = torch.randn((batch, 1, *self.space), generator=generator, device=device, dtype=dtype)
        power = torch.exp(-squared_wavenumbers(z) / float(self.scale) ** 2) * (squared_wavenumbers(z) > 0)
        seed = torch.sigmoid(5 * (coloured_field(z, normalised(power, z)) - 1.2))
        return self.spun_up(torch.cat([1 - seed / 2, seed / 4], dim=1), float(self.spin_up), generator)
