"""Stochastic heat equation on a periodic box in 1, 2 or 3 dimensions, solved exactly in Fourier space."""

from __future__ import annotations

__all__ = ["Heat"]

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import Linear
from physinv.equations.steps import Step, exponential
from physinv.laws.exact import LinearGaussian
from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import parameter
from simulators.numerics.priors import PRIORS, RandomField, scalar_field
from simulators.numerics.spectral import grid, power_law, squared_wavenumbers


@dataclass(frozen=True)
class Heat(Linear, RandomField):
    """The stochastic heat equation ``u_t = diffusivity Laplace(u) + noise xi`` on ``[0, 2 pi]^dimension``, periodic.

    ``xi`` is white on the grid.  Every Fourier mode is an Ornstein-Uhlenbeck process with rate ``-diffusivity k^2``, so
    a step of any length is exact.  Initial states: see :func:`~simulators.numerics.priors.scalar_field`, those with
    ``edges`` of ``slope`` 4 at least.

    Expected behaviour: structure on scales below ``2 pi / k`` with ``diffusivity k^2 horizon > 1`` is lost in the
    noise; that is what the posterior is about.

    Limits: only the ``gaussian`` prior has an exact posterior.

    Good values: the defaults are those of Holzschuh, Vegetti and Thuerey (2023).
    """

    title: ClassVar[str] = "Stochastic heat equation, periodic"
    equation: ClassVar[str] = "u_t = diffusivity Laplace(u) + noise xi"
    basis: ClassVar[str] = "fourier"
    scheme: ClassVar[Step] = exponential

    horizon: float = parameter(0.2, "T", "final time", unit="time", above=0)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    size: int = parameter(32, "n", "grid points per axis", minimum=2)
    dimension: int = parameter(2, "d", "space dimensions (1, 2 or 3)", minimum=1, maximum=3)
    diffusivity: float = parameter(1.0, "D", "diffusivity", unit="length^2/time", minimum=0, varies=True)
    noise: float = parameter(0.1, "g", "noise amplitude per pixel", unit="temperature/time^1/2", minimum=0)
    prior: str = parameter("gaussian", "p(x_0)", "initial states", choices=PRIORS)
    slope: float = parameter(4.0, "s", "power of the random field falls as |k|^-s", minimum=0)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, *[self.size] * self.dimension)

    @property
    def layout(self) -> FieldLayout:
        axes = ("x", "y", "z")[: self.dimension]
        return FieldLayout(("temperature",), axes, (grid(self.size),) * self.dimension, "PERIODIC")

    def rates(self, like: Float[Tensor, "batch *state"]) -> Tensor:
        return -self.diffusivity * squared_wavenumbers(like)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        return [x, -x]

    def from_noise(
        self, z: Float[Tensor, "batch *state"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch *state"]:
        return scalar_field(self.prior, z, max(self.slope, 4.0) if self.prior == "edges" else self.slope, generator)

    def log_prior(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"] | None:
        """Return the log density of the ``gaussian`` prior, in all modes but the mean, which is 0."""
        return gaussian_log_prob(self.modes(x), power_law(x, self.slope), x) if self.prior == "gaussian" else None

    def exact(self) -> LinearGaussian | None:
        if self.prior != "gaussian":
            return None
        like = torch.zeros((1, *self.shape), dtype=torch.float64)
        return LinearGaussian(self, self.horizon, like[0], power_law(like, self.slope))
