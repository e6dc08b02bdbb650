"""Stochastic heat equation in an uneven medium: conductivity is a random field, other for every trajectory."""

from __future__ import annotations

__all__ = ["HeatConductivity"]

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.solve import Step, heun
from physinv.processes.layout import FieldLayout
from physinv.processes.simulator import Simulator, parameter
from simulators.numerics.priors import spots
from simulators.numerics.spectral import gaussian_field, grid

_STABLE = 2.0  # |rate| dt up to which Heun's method does not grow what decays
_ACCURATE = 0.5  # up to which the variance of the fastest mode is right to 8 %


@dataclass(frozen=True)
class HeatConductivity(Simulator):
    """``u_t = div(kappa(x) grad u) + noise xi`` on a periodic ``[0, 2 pi]^dimension``; ``xi`` is white on the grid.

    The state has two channels: ``temperature`` and ``conductivity``, which stays as it is (f = g = 0 there), so that
    the reconstruction knows it.  ``kappa = diffusivity contrast^{tanh w}`` with a smooth Gaussian random field ``w``
    of unit variance (power ``|k|^-6``), hence between ``diffusivity / contrast`` and ``diffusivity contrast``.

    Finite volumes, second order: the flux through the face between two cells is ``-kappa_face (u' - u) / dx`` with
    ``kappa_face`` the mean of its cells (LeVeque 2002, section 4.2), so heat is conserved to rounding.  Heun's method
    needs ``4 d diffusivity contrast dt / dx^2 <= 2``; ``inner = 0`` takes as many steps as keep this below 1/2.
    Good values: the defaults.  Where the medium conducts well the start is forgotten, where it does not it is kept.
    Keep ``4 d diffusivity contrast dt / dx^2`` around 1 for stored steps too: reversals over longer ones are unstable.

    Priors:
    ``gaussian``  Gaussian random field with power ``|k|^-slope``, unit pixel variance;
    ``spots``     one to five Gaussian hot or cold spots of height 1 to 2, spatial mean removed;
    ``edges``     the sign of such a random field: plateaus at +-1 with sharp edges.
    """

    title: ClassVar[str] = "Stochastic heat equation, conductivity varies in space"
    equation: ClassVar[str] = "u_t = div(kappa(x) grad u) + noise xi,  kappa_t = 0"
    step: ClassVar[Step] = heun

    horizon: float = parameter(0.2, "T", "final time", unit="time", minimum=1e-9)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    size: int = parameter(32, "n", "cells per axis", minimum=3)
    dimension: int = parameter(2, "d", "space dimensions (1 or 2)", minimum=1)
    diffusivity: float = parameter(0.25, "D", "geometric mean of kappa", unit="length^2/time", minimum=0)
    contrast: float = parameter(3.0, "C", "largest kappa over D, and D over the smallest", minimum=1)
    noise: float = parameter(0.1, "g", "noise amplitude per cell", unit="temperature/time^1/2", minimum=0)
    prior: str = parameter("edges", "p(u_0)", "initial temperature", choices=("gaussian", "spots", "edges"))
    slope: float = parameter(4.0, "s", "power of its random field falls as |k|^-s", minimum=0)
    inner: int = parameter(0, "m", "Heun steps between stored times (0: as many as needed)", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dimension > 2:
            raise ValueError(f"`dimension` of HeatConductivity must be 1 or 2, got {self.dimension}; take 2.")
        least = math.ceil(self._stiffness / _STABLE)
        if 0 < self.inner < least:
            raise ValueError(
                f"`inner` of HeatConductivity must be at least {least} (stability: 4 d D C dt / dx^2 <= {_STABLE:g}) "
                f"or 0 (chosen for you), got {self.inner}."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return (2, *[self.size] * self.dimension)

    @property
    def layout(self) -> FieldLayout:
        axes, names = ("x", "y")[: self.dimension], ("temperature", "conductivity")
        where = (grid(self.size),) * self.dimension
        return FieldLayout(names, axes, where, "PERIODIC", static=("conductivity",))

    @property
    def substeps(self) -> int:
        return self.inner or max(1, math.ceil(self._stiffness / _ACCURATE))

    @property
    def _stiffness(self) -> float:
        """``|rate|`` of the fastest mode that can occur, times the stored step."""
        fastest = 4 * self.dimension * self.diffusivity * self.contrast / self._spacing**2
        return float(torch.as_tensor(fastest * self.horizon / self.steps).detach())

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
        """Runge-Kutta steps, as many as keep a stored interval stable (``|rate| dt <= 2`` each)."""
        n = max(1, math.ceil(self._stiffness / _STABLE))
        h = (t1 - t0) / n
        for i in range(n):
            x = super().drift_flow(x, t0 + i * h, t0 + (i + 1) * h)
        return x

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        """``(batch, 2)``, padded on the right: ``noise`` for the temperature, 0 for the conductivity."""
        return torch.stack([self.noise * torch.ones_like(t), torch.zeros_like(t)], dim=1)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        sign = x.new_tensor([-1.0, 1.0]).reshape(2, *[1] * self.dimension)
        axes = tuple(range(-self.dimension, 0))  # windows of states have an axis more in front
        mirrored = x.flip(axes).roll([1] * len(axes), axes)
        return [x, sign * x, mirrored, sign * mirrored]

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        z = torch.randn((batch, *self.shape), generator=generator, device=device, dtype=dtype)
        kappa = self.diffusivity * self.contrast ** gaussian_field(z[:, 1:], 6.0).tanh()
        if self.prior == "spots":
            return torch.cat([spots(z[:, :1], generator), kappa], dim=1)
        u = gaussian_field(z[:, :1], self.slope)
        if self.prior == "edges":
            u = torch.where(u > 0, 1.0, -1.0).to(dtype)
        return torch.cat([u, kappa], dim=1)
