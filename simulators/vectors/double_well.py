"""An overdamped Langevin particle in a double well, in one or two dimensions."""

from __future__ import annotations

__all__ = ["DoubleWell"]

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.steps import Step, heun
from physinv.laws.exact_1d import Array, ScalarPosterior
from physinv.processes.layout import VectorLayout
from physinv.processes.parameters import number, parameter
from physinv.processes.potential import check_above_0
from physinv.processes.simulator import Simulator


@dataclass(frozen=True)
class DoubleWell(Simulator):
    """An overdamped Langevin particle in a double well, of mobility 1:

        dx = -grad U(x) dt + sqrt(2 kT) dW,    U = barrier (x_1^2 - 1)^2 + stiffness/2 x_2^2.

    In one dimension the second term is absent.  Particles start from two clouds at ``+-start`` (along ``x_1``; in two
    dimensions at ``x_2 = +-start`` as well) of standard deviation ``width``, with equal odds.

    Expected behaviour: the clouds fall into the wells at ``x_1 = +-1`` within a time of ``1 / (8 barrier)`` and
    exchange particles at a rate of about ``barrier exp(-barrier / kT)``; the stationary law is Boltzmann's, ``exp(-U /
    kT)``.

    Limits: ``temperature = 0`` is gradient descent; ``barrier = 0`` is free diffusion along ``x_1``.

    Good values: ``barrier / temperature`` from 1 to 5 and a ``horizon`` of a few exchanges.  After many more the final
    state does not depend on the initial one; after fewer it determines the initial well.
    """

    title: ClassVar[str] = "Langevin particle in a double well, overdamped"
    equation: ClassVar[str] = "dx = -grad U dt + sqrt(2 kT) dW,  U = barrier (x_1^2 - 1)^2 + stiffness/2 x_2^2"
    scheme: ClassVar[Step] = heun

    horizon: float = parameter(0.5, "T", "final time", unit="time", above=0)
    steps: int = parameter(50, "M", "stored time steps", minimum=1)
    dimension: int = parameter(1, "d", "space dimensions (1 or 2)", minimum=1, maximum=2)
    barrier: float = parameter(1.0, "B", "height of the barrier", unit="energy", minimum=0, varies=True)
    stiffness: float = parameter(
        2.0, "kappa", "spring constant along x_2", unit="energy/length^2", minimum=0, varies=True
    )
    temperature: float = parameter(0.5, "kT", "thermal energy", unit="energy", minimum=0)
    start: float = parameter(0.5, "c", "centre of the initial clouds", unit="length", minimum=0)
    width: float = parameter(0.15, "sigma", "their standard deviation", unit="length", above=0)
    inner: int = parameter(2, "m", "least number of Heun steps between stored times", minimum=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dimension,)

    @property
    def layout(self) -> VectorLayout:
        return VectorLayout("position", self.dimension)

    @property
    def longest_step(self) -> float:
        """0.5 over the fastest rate: ``U''`` where the Boltzmann factor is ``e^-20``, or at the starts."""
        barrier, kT = number(self.barrier), number(self.temperature)
        start = number(self.start) + 5 * number(self.width)
        climbed = 1 + math.sqrt(20 * kT / barrier) if barrier > 0 else 0.0  # x^2 at the energy 20 kT
        wall = 4 * barrier * (3 * max(climbed, start**2) - 1)
        rate = max(wall, number(self.stiffness) if self.dimension > 1 else 0.0)
        return 0.5 / rate if rate > 0 else math.inf

    @property
    def substeps(self) -> int:
        return max(self.inner, super().substeps)

    @property
    def inverse_temperature(self) -> float:
        """``1 / kT``.

        Raises:
            ValueError: If there is no Boltzmann law.
        """
        check_above_0(self, "temperature")
        walls = ("barrier", "stiffness")[: self.dimension]
        check_above_0(self, *walls, because=": nothing else confines the particle")
        return 1 / number(self.temperature)

    def potential(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return the potential energy ``U(x)`` of each state.

        Args:
            x: Positions, ``(batch, dimension)``, in units of length.

        Returns:
            ``(batch,)``, in units of energy.
        """
        energy = self.barrier * (x[:, 0] ** 2 - 1) ** 2
        return energy if self.dimension == 1 else energy + self.stiffness / 2 * x[:, 1] ** 2

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        y = x[:, :1]
        well = 4 * self.barrier * torch.addcmul(y, y, y.square(), value=-1)
        return well if self.dimension == 1 else torch.cat([well, -self.stiffness * x[:, 1:]], dim=1)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        return [x, -x]

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return (2 * self.temperature * torch.ones_like(t)).sqrt()

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        side = torch.where(torch.rand((batch, 1), generator=generator, device=device, dtype=dtype) < 0.5, -1.0, 1.0)
        cloud = torch.randn((batch, self.dimension), generator=generator, device=device, dtype=dtype)
        return self.start * side + self.width * cloud

    def initial_log_prob(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return ``log cosh(s / width^2) - (|x|^2 + dimension start^2) / (2 width^2)``, ``s = start sum_i x_i``.

        Both clouds lie on the diagonal, at ``+-start`` in every component.

        Args:
            x: Initial positions.
        """
        s = self.start * x.sum(1) / self.width**2
        return torch.logaddexp(s, -s) - x.square().sum(1) / (2 * self.width**2)

    def log_prior(self, x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        norm = math.log(2) + self.dimension * math.log(2 * math.pi * number(self.width) ** 2) / 2
        return self.initial_log_prob(x) - norm - self.dimension * self.start**2 / (2 * self.width**2)

    def exact(self) -> ScalarPosterior | None:
        if self.dimension > 1 or self.temperature == 0:
            return None
        reach = max(2.2, self.start + 6 * self.width, 1 + 6 * math.sqrt(2 * self.temperature * self.horizon))
        edges = np.linspace(-reach, reach, 801)

        def density(x: Array) -> Array:
            mass: Array = np.exp(-(((x[:, None] - self.start * np.array([-1, 1])) / self.width) ** 2) / 2).sum(1)
            return mass

        def force(x: Array) -> Array:
            return -4 * self.barrier * x * (x**2 - 1)

        return ScalarPosterior(force, math.sqrt(2 * self.temperature), self.horizon, edges, density)
