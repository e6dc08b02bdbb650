"""Geometric Brownian motion: noise in proportion to the state, simulated and trained in logarithms."""

from __future__ import annotations

__all__ = ["GeometricBrownianMotion", "Price"]

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.multiplicative import Multiplicative
from physinv.laws.exact_1d import Array, ScalarPosterior
from physinv.processes.layout import VectorLayout
from physinv.processes.parameters import parameter
from physinv.processes.simulator import Simulator


@dataclass(frozen=True)
class Price(Multiplicative):
    """Geometric Brownian motion ``dx = growth x dt + volatility x dW`` in the price ``x > 0`` itself (Samuelson 1965).

    Args:
        growth: Mean rate of growth, in 1/time.
        volatility: Relative noise amplitude, in 1/time^1/2.
    """

    growth: float
    volatility: float

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.growth * x

    def amplitude(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.volatility * x

    def spurious(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return 2 * self.volatility**2 * x


@dataclass(frozen=True)
class GeometricBrownianMotion(Simulator):
    """Geometric Brownian motion in the logarithm ``y = log x`` of the price, whose noise is constant (Ito 1951):

        dx = growth x dt + volatility x dW
        dy = (growth - volatility^2/2) dt + volatility dW.

    ``price`` is the equation in ``x``.  Prices start from two lognormal clouds of logarithmic width ``width`` around
    ``e^(+-spread)``, with equal odds.  Euler steps of any length are exact.

    Expected behaviour: the clouds drift and widen by ``volatility sqrt(t)``.

    Limits: at ``spread = 0`` the posterior is Gaussian.

    Good values: ``volatility sqrt(horizon)`` half of ``spread`` or more: the clouds overlap at T, and the posterior is
    two-sided.
    """

    title: ClassVar[str] = "Geometric Brownian motion, in logarithms"
    equation: ClassVar[str] = "dy = (growth - volatility^2/2) dt + volatility dW,  y = log x"

    horizon: float = parameter(1.0, "T", "final time", unit="time", above=0)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    growth: float = parameter(0.1, "mu", "growth rate of the mean price", unit="1/time", varies=True)
    volatility: float = parameter(0.3, "sigma", "relative noise amplitude", unit="1/time^1/2", minimum=0)
    spread: float = parameter(0.5, "c", "logarithms of the two clouds' centres: +-c", minimum=0)
    width: float = parameter(0.1, "w", "their standard deviation in logarithms", above=0)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def layout(self) -> VectorLayout:
        return VectorLayout("log_price", 1)

    @property
    def longest_step(self) -> float:
        return math.inf

    @property
    def price(self) -> Price:
        """The same process in ``x = e^y``, with noise that depends on the state."""
        return Price(self.growth, self.volatility)

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return (self.growth - self.volatility**2 / 2) * torch.ones_like(x)

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.volatility * torch.ones_like(t)

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        coin = torch.rand((batch, 1), generator=generator, device=device, dtype=dtype)
        cloud = torch.randn((batch, 1), generator=generator, device=device, dtype=dtype)
        return self.spread * (coin - 0.5).sign() + self.width * cloud

    def exact(self) -> ScalarPosterior | None:
        if self.volatility == 0:
            return None
        centres = self.spread * np.array([-1, 1])
        pull = self.growth - self.volatility**2 / 2
        reach = self.spread + 6 * self.width + 6 * self.volatility * math.sqrt(self.horizon) + abs(pull) * self.horizon

        def density(y: Array) -> Array:
            mass: Array = np.exp(-(((y[:, None] - centres) / self.width) ** 2) / 2).sum(1)
            return mass

        edges = np.linspace(-reach, reach, 801)
        return ScalarPosterior(lambda y: pull * np.ones_like(y), self.volatility, self.horizon, edges, density)
