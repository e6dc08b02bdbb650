"""Stochastic heat equation in a box with walls, in 1 or 2 dimensions, solved exactly by sine or cosine transforms."""

from __future__ import annotations

__all__ = ["HeatWalls"]

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import Linear
from physinv.equations.steps import Step, exponential
from physinv.laws.exact import LinearGaussian
from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import parameter
from simulators.numerics.priors import PRIORS, RandomField, spots
from simulators.numerics.transforms import backward, centres, forward, gaussian_field, power_law, squared_wavenumbers


@dataclass(frozen=True)
class HeatWalls(Linear, RandomField):
    """The stochastic heat equation ``u_t = diffusivity Laplace(u) + noise xi`` on ``[0, pi]^dimension`` with walls.

    ``xi`` is white on the grid, whose points are cell centres: the walls lie half a cell outside.

    =============  =====================================================================
    ``dirichlet``  walls are kept at ``u = 0``: heat leaves
    ``neumann``    ``du/dn = 0``, insulated: without noise the total heat stays
    =============  =====================================================================

    Every mode ``sin(k x)`` or ``cos(k x)``, k integer, is an Ornstein-Uhlenbeck process with rate
    ``-diffusivity |k|^2``, so a step of any length is exact (Carslaw and Jaeger 1959, chapter 3).

    Initial states: ``gaussian``, a random field with power ``|k|^-slope`` in these modes and mean variance 1;
    ``spots``, one to five Gaussian bumps of height 1 to 2 and either sign; ``edges``, the sign of such a random field.

    Expected behaviour: as for ``heat``, but structure ends at the walls.

    Limits: only the ``gaussian`` prior has an exact posterior.

    Good values: ``diffusivity k^2 horizon`` from below 1 for the largest structures to far above for the smallest, as
    the defaults have it.
    """

    title: ClassVar[str] = "Stochastic heat equation with walls"
    equation: ClassVar[str] = "u_t = diffusivity Laplace(u) + noise xi,  u = 0 or du/dn = 0 at the walls"
    basis: ClassVar[str] = "walls"
    scheme: ClassVar[Step] = exponential

    horizon: float = parameter(0.05, "T", "final time", unit="time", above=0)
    steps: int = parameter(24, "M", "stored time steps", minimum=1)
    size: int = parameter(32, "n", "cells per axis", minimum=2)
    dimension: int = parameter(2, "d", "space dimensions (1 or 2)", minimum=1, maximum=2)
    walls: str = parameter("dirichlet", "wall", "what holds at the walls", choices=("dirichlet", "neumann"))
    diffusivity: float = parameter(1.0, "D", "diffusivity", unit="length^2/time", minimum=0, varies=True)
    noise: float = parameter(0.1, "g", "noise amplitude per cell", unit="temperature/time^1/2", minimum=0)
    prior: str = parameter("edges", "p(x_0)", "initial states", choices=PRIORS)
    slope: float = parameter(4.0, "s", "power of the random field falls as |k|^-s", minimum=0)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, *[self.size] * self.dimension)

    @property
    def layout(self) -> FieldLayout:
        axes = ("x", "y")[: self.dimension]
        return FieldLayout(("temperature",), axes, (centres(self.size),) * self.dimension, "WALL")

    def modes(self, x: Float[Tensor, "batch *state"]) -> Tensor:
        return forward(x, self.walls)

    def unmodes(self, y: Tensor, like: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return backward(y, self.walls)

    def rates(self, like: Float[Tensor, "batch *state"]) -> Tensor:
        return -self.diffusivity * squared_wavenumbers(like, self.walls)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        mirrored = x.flip(tuple(range(-self.dimension, 0)))
        return [x, -x, mirrored, -mirrored]

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        if self.prior == "spots":
            return spots(z, generator, periodic=False)
        field = gaussian_field(z, self.slope, self.walls)
        return torch.where(field > 0, 1.0, -1.0).to(z.dtype) if self.prior == "edges" else field

    def exact(self) -> LinearGaussian | None:
        if self.prior != "gaussian":
            return None
        like = torch.zeros((1, *self.shape), dtype=torch.float64)
        return LinearGaussian(self, self.horizon, like[0], power_law(like, self.slope, self.walls))
