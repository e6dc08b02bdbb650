"""The Cox-Ingersoll-Ross process: noise in proportion to the square root of the state, simulated in square roots."""

from __future__ import annotations

__all__ = ["CoxIngersollRoss", "Rate"]

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.multiplicative import Multiplicative
from physinv.laws.exact_1d import Array, ScalarPosterior
from physinv.processes.layout import VectorLayout
from physinv.processes.parameters import number, parameter
from physinv.processes.simulator import Simulator

_LEAST = 1e-3  # of the root of the level: keeps the force beyond zero, where a network may ask for it, finite


@dataclass(frozen=True)
class Rate(Multiplicative):
    """The Cox-Ingersoll-Ross process ``dx = reversion (level - x) dt + noise sqrt(x) dW`` in ``x >= 0`` itself.

    Below zero, where only a discretised path gets, the noise is off (full truncation; Lord et al. 2010).

    Args:
        reversion: Rate of return to the level, in 1/time.
        level: Mean of the stationary law, in units of the state.
        noise: Noise amplitude at ``x = 1``, in (state/time)^1/2.

    References:
        Cox, Ingersoll and Ross (1985), eq. 17.
    """

    reversion: float
    level: float
    noise: float

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.reversion * (self.level - x)

    def amplitude(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.noise * x.clamp(min=torch.finfo(x.dtype).tiny).sqrt()

    def spurious(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.noise**2 * (x > 0).to(x.dtype)


@dataclass(frozen=True)
class CoxIngersollRoss(Simulator):
    """The Cox-Ingersoll-Ross process in the coordinate ``y = 2 sqrt(x)``, whose noise is constant:

        dx = reversion (level - x) dt + noise sqrt(x) dW
        dy = (b/y - reversion y/2) dt + noise dW,    b = 2 reversion level - noise^2/2.

    ``rate`` is the equation in ``x``.  Starts ``x`` are lognormal around ``low`` or ``high``, with equal odds and
    logarithmic width ``width``.  Steps are implicit in the drift: they keep ``y`` positive, and have strong order 1.

    Expected behaviour: both clouds relax to ``level`` at the rate ``reversion``; the transition law of ``x`` is a
    noncentral chi-square, the stationary law a Gamma.

    Limits: zero must be out of reach, ``2 reversion level >= noise^2`` (Feller 1951).

    Good values: ``reversion horizon`` below 1; far above, the final state does not depend on the initial one.

    References:
        Cox, Ingersoll and Ross (1985), eq. 17; Alfonsi (2005), section 2, for the steps.
    """

    title: ClassVar[str] = "Cox-Ingersoll-Ross process, in square roots"
    equation: ClassVar[str] = (
        "dy = (b/y - reversion y/2) dt + noise dW,  y = 2 sqrt(x),  b = 2 reversion level - noise^2/2"
    )
    weak_order: ClassVar[float] = 1.0

    horizon: float = parameter(0.7, "T", "final time", unit="time", above=0)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    reversion: float = parameter(1.0, "kappa", "rate of return to the level", unit="1/time", above=0, varies=True)
    level: float = parameter(1.0, "theta", "mean of the stationary law", unit="state", above=0)
    noise: float = parameter(0.5, "g", "noise amplitude at x = 1", unit="(state/time)^1/2", minimum=0)
    low: float = parameter(0.1, "x_low", "median of one cloud of starts", unit="state", above=0)
    high: float = parameter(2.0, "x_high", "median of the other", unit="state", above=0)
    width: float = parameter(0.2, "w", "their standard deviation in logarithms", above=0)
    inner: int = parameter(4, "m", "least number of solver steps between stored times", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if 2 * self.reversion * self.level < self.noise**2:
            raise ValueError(
                "`noise` of CoxIngersollRoss must be at most sqrt(2 reversion level) = "
                f"{float(2 * self.reversion * self.level) ** 0.5:.4g}, or x reaches 0, got {float(self.noise):g}."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def layout(self) -> VectorLayout:
        return VectorLayout("twice_root", 1)

    @property
    def longest_step(self) -> float:
        """A tenth of the inverse of the fastest rate, that of the push away from zero at the lowest median."""
        rate = number(self.push) / (4 * min(number(self.low), number(self.high))) + number(self.reversion) / 2
        return 0.1 / rate

    def advance(
        self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor, dw: Float[Tensor, "draws batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        """Return the positive root of ``y' = y + (b/y' - reversion y'/2) dt + noise dW`` (Alfonsi 2005, eq. 4)."""
        dt = match(t1 - t0, x)
        moved, inertia = x + self.diffuse(dw[0], t0), 1 + self.reversion / 2 * dt
        return (moved + (moved**2 + 4 * inertia * self.push * dt).sqrt()) / (2 * inertia)

    @property
    def substeps(self) -> int:
        return max(self.inner, super().substeps)

    @property
    def rate(self) -> Rate:
        """The same process in ``x = y^2/4``, with noise that depends on the state."""
        return Rate(self.reversion, self.level, self.noise)

    @property
    def push(self) -> float:
        """``b``, the strength with which the drift pushes away from zero, in state/time."""
        return 2 * self.reversion * self.level - self.noise**2 / 2

    @property
    def _least(self) -> float:
        """The smallest ``y`` at which the force is taken."""
        return _LEAST * math.sqrt(number(self.level))

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.push / x.clamp(min=self._least) - self.reversion / 2 * x

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.noise * torch.ones_like(t)

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        """``y^2(t1) = a y^2(t0) + 2b (1 - a) / reversion``, ``a = e^(-reversion (t1 - t0))``: exact, either way."""
        grown = -self.reversion * match(t1 - t0, x)
        square = grown.exp() * x.clamp(min=self._least) ** 2 - 2 * self.push / self.reversion * grown.expm1()
        return square.clamp(min=self._least**2).sqrt()

    def initial(
        self,
        batch: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch *state"]:
        below = (torch.rand((batch, 1), generator=generator, device=device, dtype=dtype) < 0.5).to(dtype)
        cloud = torch.randn((batch, 1), generator=generator, device=device, dtype=dtype)
        median = self.low * below + self.high * (1 - below)
        return 2 * median.sqrt() * torch.exp(self.width / 2 * cloud)

    def exact(self) -> ScalarPosterior | None:
        if self.noise == 0:
            return None
        top = max(self.low, self.high) * np.exp(5 * self.width)
        reach = 2 * max(top, self.level) ** 0.5 + 5 * self.noise * min(self.horizon, 1 / self.reversion) ** 0.5
        medians = np.log(2 * np.sqrt([self.low, self.high]))

        def density(y: Array) -> Array:
            mass: Array = np.exp(-(((np.log(y)[:, None] - medians) / (self.width / 2)) ** 2) / 2).sum(1) / y
            return mass

        def force(y: Array) -> Array:
            return self.push / y - self.reversion / 2 * y

        return ScalarPosterior(force, self.noise, self.horizon, np.linspace(reach / 1000, reach, 801), density)
