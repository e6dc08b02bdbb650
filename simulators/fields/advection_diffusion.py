"""A tracer that a steady flow stirs while it diffuses, on a periodic square: Strang splitting in Fourier space."""

from __future__ import annotations

__all__ = ["AdvectionDiffusion"]

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.fourier import filtered, wavenumbers
from physinv.equations.steps import exponential
from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import number, parameter
from simulators.fields.heat import Heat
from simulators.numerics.priors import PRIORS, RandomField, scalar_field
from simulators.numerics.spectral import grid


@dataclass(frozen=True)
class AdvectionDiffusion(RandomField):
    """A tracer ``u`` that a steady flow ``v`` stirs while it diffuses, on ``[0, 2 pi]^2``, periodic:

        u_t + v . grad u = diffusivity Laplace(u) + noise xi,

    with ``xi`` white on the grid.  The flow is free of divergence, ``v = speed (d psi/dy, -d psi/dx)``:

    ============  =================================================================================
    ``uniform``   psi = y: everything is carried along x (``speed t`` in time t)
    ``shear``     psi = -cos y, v = (sin y, 0): blobs are drawn out into filaments (Kolmogorov flow)
    ``cellular``  psi = sin x sin y: four eddies that stir inside and exchange tracer by diffusion only
    ============  =================================================================================

    ``P v . grad(P u)`` is computed on the grid, with ``P`` the projection without the Nyquist modes: as v has wave
    number 1 at most, this is Galerkin's method, free of aliasing, and the flow leaves mean and variance of ``P u``
    alone.  Initial states: see :func:`~simulators.numerics.priors.scalar_field`.

    A solver step is ``S_{h/2} A_h S_{h/2}`` (Strang 1968): ``S`` diffusion and noise, exact; ``A`` advection, by a
    Runge-Kutta step.  It has order 2, and is exact without flow.

    Limits: without flow it is the stochastic heat equation.

    Good values: Peclet numbers ``speed / diffusivity`` around 50 and about half a turnover, ``speed horizon / 2 pi``,
    as the defaults have it.
    """

    title: ClassVar[str] = "Advection and diffusion of a tracer, steady flow, periodic"
    equation: ClassVar[str] = "u_t + v . grad u = diffusivity Laplace(u) + noise xi"
    weak_order: ClassVar[float] = 2.0
    draws: ClassVar[int] = 2

    horizon: float = parameter(3.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(24, "M", "stored time steps", minimum=1)
    size: int = parameter(32, "n", "grid points per axis", minimum=4)
    flow: str = parameter("cellular", "psi", "stream function", choices=("uniform", "shear", "cellular"))
    speed: float = parameter(1.0, "U", "largest velocity", unit="length/time", minimum=0)
    diffusivity: float = parameter(0.02, "D", "diffusivity", unit="length^2/time", minimum=0)
    noise: float = parameter(0.05, "g", "noise amplitude per pixel", unit="tracer/time^1/2", minimum=0)
    prior: str = parameter("edges", "p(u_0)", "initial states", choices=PRIORS)
    slope: float = parameter(4.0, "s", "power of the random field falls as |k|^-s", minimum=0)
    inner: int = parameter(2, "m", "least number of Strang steps between stored times", minimum=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.size, self.size)

    @property
    def layout(self) -> FieldLayout:
        return FieldLayout(("tracer",), ("x", "y"), (grid(self.size),) * 2, "PERIODIC")

    @property
    def longest_step(self) -> float:
        """One radian of the fastest wave, carried at ``speed`` (Runge-Kutta steps are stable up to 2.8)."""
        rate = number(self.speed) * self.size / 2
        return 1 / rate if rate > 0 else math.inf

    @property
    def substeps(self) -> int:
        return max(self.inner, super().substeps)

    @property
    def still(self) -> Heat:
        """The same process without flow."""
        return Heat(diffusivity=self.diffusivity, noise=self.noise)

    def velocity(self, like: Float[Tensor, "batch *state"]) -> tuple[Tensor, Tensor]:
        """Return ``v_x, v_y`` on the grid of ``like``, broadcastable against it, in length/time.

        Args:
            like: States, which give shape, dtype and device.
        """
        x = torch.arange(like.shape[-1], device=like.device, dtype=like.dtype) * (2 * math.pi / like.shape[-1])
        x, y = x[:, None], x[None, :]
        if self.flow == "uniform":
            return self.speed * torch.ones_like(x), torch.zeros_like(y)
        if self.flow == "shear":
            return self.speed * y.sin(), torch.zeros_like(y)
        return self.speed * x.sin() * y.cos(), -self.speed * x.cos() * y.sin()

    def advection(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return ``-P v . grad(P u)`` for states ``x``.

        Args:
            x: States.
        """
        n = x.shape[-1]
        p, q = wavenumbers((n, n), device=x.device, dtype=x.dtype)
        keep = (p.abs() < n / 2) & (q < n / 2)
        v, w = self.velocity(x)
        along_x, along_y = filtered(x, torch.stack([1j * p * keep, 1j * q * keep])).chunk(2, dim=1)
        return filtered(v * along_x + w * along_y, -keep.to(x.dtype))

    def stir(self, x: Float[Tensor, "batch *state"], dt: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return states after advection alone for a time ``dt`` (either way), by one Runge-Kutta step (Kutta 1901).

        Args:
            x: States.
            dt: Durations, of either sign.
        """
        h = match(dt, x)
        k1 = self.advection(x)
        k2 = self.advection(x + h / 2 * k1)
        k3 = self.advection(x + h / 2 * k2)
        k4 = self.advection(x + h * k3)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    def advance(
        self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor, dw: Float[Tensor, "draws batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        still, middle = self.still, (t0 + t1) / 2
        first, second = (dw[0] + dw[1]) / 2, (dw[0] - dw[1]) / 2  # increments of the two halves; they sum to dw[0]
        x = self.stir(exponential(still, x, t0, middle, first[None]), t1 - t0)
        return exponential(still, x, middle, t1, second[None])

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.advection(x) + self.still.drift(x, t)

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        """Solve by ``substeps`` solver steps without noise, which are stable over a stored interval."""
        still, h = self.still, (t1 - t0) / self.substeps
        zero = torch.zeros_like(h)
        for _ in range(self.substeps):
            x = still.drift_flow(self.stir(still.drift_flow(x, zero, h / 2), h), zero, h / 2)
        return x

    def apply_covariance(
        self, v: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor
    ) -> Float[Tensor, "batch *state"]:
        """Return ``q v`` of the process without flow, which only turns white noise: off by ``O((t1 - t0)^3)``."""
        return self.still.apply_covariance(v, t0, t1)

    def whiten(self, gap: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Tensor:
        """Return a gap in units of the noise of the process without flow."""
        return self.still.whiten(gap, t0, t1)

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.noise * torch.ones_like(t)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        """Return reflections of both axes at once (``shear``), of y (``uniform``) or of each, with either sign."""
        axes = {"uniform": ((-1,),), "shear": ((-2, -1),), "cellular": ((-2,), (-1,), (-2, -1))}[self.flow]
        mirrored = [x, *(x.flip(some).roll([1] * len(some), some) for some in axes)]
        return [sign * image for sign in (1, -1) for image in mirrored]

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        return scalar_field(self.prior, z, self.slope, generator)
