"""Stochastic heat equation on a periodic box in 1, 2 or 3 dimensions, solved exactly in Fourier space."""

from __future__ import annotations

__all__ = ["Heat"]

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import Linear
from physinv.equations.solve import Step, exponential
from physinv.laws.exact import LinearGaussian
from physinv.processes.layout import FieldLayout
from physinv.processes.simulator import Simulator, parameter
from simulators.numerics.priors import spots
from simulators.numerics.spectral import gaussian_field, grid, power_law, squared_wavenumbers


@dataclass(frozen=True)
class Heat(Linear, Simulator):
    """``u_t = diffusivity Laplace(u) + noise xi`` on ``[0, 2 pi]^dimension``; ``xi`` is white on the grid.

    Every Fourier mode is an Ornstein-Uhlenbeck process with rate ``-diffusivity k^2``, so a step of any length is
    exact.  Good values: the defaults are those of Holzschuh et al. (2023).  Structure on scales below
    ``2 pi / k`` with ``diffusivity k^2 horizon > 1`` is lost in the noise; that is what the posterior is about.

    Priors:
    ``gaussian``  Gaussian random field with power ``|k|^-slope``, unit pixel variance (exact posterior known);
    ``spots``     one to five Gaussian hot or cold spots of height 1 to 2, spatial mean removed;
    ``edges``     the sign of a smooth random field: plateaus at +-1 with sharp edges, far from Gaussian.
    """

    title: ClassVar[str] = "Stochastic heat equation, periodic"
    equation: ClassVar[str] = "u_t = diffusivity Laplace(u) + noise xi"
    basis: ClassVar[str] = "fourier"
    step: ClassVar[Step] = exponential

    horizon: float = parameter(0.2, "T", "final time", unit="time", minimum=1e-9)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    size: int = parameter(32, "n", "grid points per axis", minimum=2)
    dimension: int = parameter(2, "d", "space dimensions (1, 2 or 3)", minimum=1)
    diffusivity: float = parameter(1.0, "D", "diffusivity", unit="length^2/time", minimum=0)
    noise: float = parameter(0.1, "g", "noise amplitude per pixel", unit="temperature/time^1/2", minimum=0)
    prior: str = parameter("gaussian", "p(x_0)", "initial states", choices=("gaussian", "spots", "edges"))
    slope: float = parameter(4.0, "s", "power of the random field falls as |k|^-s", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dimension > 3:
            raise ValueError(f"`dimension` of Heat must be 1, 2 or 3, got {self.dimension}.")

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

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        z = torch.randn((batch, *self.shape), generator=generator, device=device, dtype=dtype)
        if self.prior == "gaussian":
            return gaussian_field(z, self.slope)
        if self.prior == "edges":
            return torch.where(gaussian_field(z, max(self.slope, 4.0)) > 0, 1.0, -1.0).to(dtype)
        return spots(z, generator)

    def exact(self) -> LinearGaussian | None:
        if self.prior != "gaussian":
            return None
        like = torch.zeros((1, *self.shape), dtype=torch.float64)
        return LinearGaussian(self, self.horizon, like[0], power_law(like, self.slope))
