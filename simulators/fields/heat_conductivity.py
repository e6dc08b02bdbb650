"""Stochastic heat equation in an uneven medium, whose conductivity is a random field, a new one in every trajectory."""

from __future__ import annotations

__all__ = ["HeatConductivity"]

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.steps import Step, heun
from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import number, parameter
from simulators.numerics.priors import PRIORS, RandomField, scalar_field
from simulators.numerics.spectral import gaussian_field, grid

_STABLE = 2.0  # |rate| dt up to which Heun's method does not grow what decays
_ACCURATE = 0.5  # up to which the variance of the fastest mode is right to 8 %


@dataclass(frozen=True)
class HeatConductivity(RandomField):
    """The stochastic heat equation in an uneven medium on ``[0, 2 pi]^dimension``, periodic:

        u_t = div(kappa(x) grad u) + noise xi,

    with ``xi`` white on the grid.  The state has two channels: ``temperature`` u and ``conductivity``, which stays as
    it is (f = g = 0 there), and is an input of the reconstruction.  ``kappa = diffusivity contrast^{tanh w}`` with a
    smooth Gaussian random field ``w`` of unit variance (power ``|k|^-6``), hence between ``diffusivity / contrast``
    and ``diffusivity contrast``.

    Finite volumes, second order: the flux through the face between two cells is ``-kappa_face (u' - u) / dx`` with
    ``kappa_face`` the mean of its cells (LeVeque 2002, section 4.2), so heat is conserved to rounding.  Steps are
    Heun's, so short that ``4 d diffusivity contrast dt / dx^2`` is at most 1/2.  Initial temperature: see
    :func:`~simulators.numerics.priors.scalar_field`.

    Expected behaviour: structure of the initial temperature is lost where the medium conducts well, and kept elsewhere.

    Limits: with ``contrast = 1`` it is the heat equation on a grid.

    Good values: the defaults.  Keep ``4 d diffusivity contrast dt / dx^2`` around 1 for stored steps too: reversals
    over longer ones are unstable.
    """

    title: ClassVar[str] = "Stochastic heat equation, conductivity varies in space"
    equation: ClassVar[str] = "u_t = div(kappa(x) grad u) + noise xi,  kappa_t = 0"
    scheme: ClassVar[Step] = heun

    horizon: float = parameter(0.2, "T", "final time", unit="time", above=0)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    size: int = parameter(32, "n", "cells per axis", minimum=3)
    dimension: int = parameter(2, "d", "space dimensions (1 or 2)", minimum=1, maximum=2)
    diffusivity: float = parameter(0.25, "D", "geometric mean of kappa", unit="length^2/time", minimum=0)
    contrast: float = parameter(3.0, "C", "largest kappa over D, and D over the smallest", minimum=1)
    noise: float = parameter(0.1, "g", "noise amplitude per cell", unit="temperature/time^1/2", minimum=0)
    prior: str = parameter("edges", "p(u_0)", "initial temperature", choices=PRIORS)
    slope: float = parameter(4.0, "s", "power of its random field falls as |k|^-s", minimum=0)
    inner: int = parameter(0, "m", "least number of Heun steps between stored times", minimum=0)

    @property
    def shape(self) -> tuple[int, ...]:
        return (2, *[self.size] * self.dimension)

    @property
    def layout(self) -> FieldLayout:
        axes, names = ("x", "y")[: self.dimension], ("temperature", "conductivity")
        where = (grid(self.size),) * self.dimension
        return FieldLayout(names, axes, where, "PERIODIC", static=("conductivity",))

    @property
    def longest_step(self) -> float:
        """Half of the time in which the fastest mode decays: its noise has the right variance to 8 %."""
        return _ACCURATE / self._fastest if self._fastest > 0 else math.inf

    @property
    def substeps(self) -> int:
        return max(self.inner, super().substeps)

    @property
    def _fastest(self) -> float:
        """``|rate|`` of the fastest mode that can occur."""
        return number(4 * self.dimension * self.diffusivity * self.contrast / self._spacing**2)

    @property
    def _spacing(self) -> float:
        return 2 * math.pi / self.size

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        u, kappa = x[:, :1], x[:, 1:]
        total = torch.zeros_like(u)
        for axis in range(2, x.ndim):
            flux = -(kappa + kappa.roll(-1, axis)) / 2 * (u.roll(-1, axis) - u) / self._spacing
            total = total - (flux - flux.roll(1, axis)) / self._spacing
        return torch.cat([total, torch.zeros_like(kappa)], dim=1)

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        """Solve by Runge-Kutta steps, as many as keep a stored interval stable (``|rate| dt <= 2`` each)."""
        n = max(1, math.ceil(self._fastest * number(self.horizon) / self.steps / _STABLE))
        h = (t1 - t0) / n
        for i in range(n):
            x = super().drift_flow(x, t0 + i * h, t0 + (i + 1) * h)
        return x

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        """Return ``(batch, 2)``: ``noise`` for the temperature, 0 for the conductivity."""
        return torch.stack([self.noise * torch.ones_like(t), torch.zeros_like(t)], dim=1)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        sign = x.new_tensor([-1.0, 1.0]).reshape(2, *[1] * self.dimension)
        axes = tuple(range(-self.dimension, 0))  # windows of states have an axis more in front
        mirrored = x.flip(axes).roll([1] * len(axes), axes)
        return [x, sign * x, mirrored, sign * mirrored]

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        kappa = self.diffusivity * self.contrast ** gaussian_field(z[:, 1:], 6.0).tanh()
        return torch.cat([scalar_field(self.prior, z[:, :1], self.slope, generator), kappa], dim=1)
