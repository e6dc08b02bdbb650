"""The Cox-Ingersoll-Ross process: noise like the square root of the state, simulated and trained in square roots."""

from __future__ import annotations

__all__ = ["CoxIngersollRoss", "Rate"]

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, Multiplicative, match
from physinv.equations.solve import Step
from physinv.laws.exact_1d import Array, ScalarPosterior
from physinv.processes.layout import VectorLayout
from physinv.processes.simulator import Simulator, parameter

_LEAST = 1e-3  # keeps the force beyond zero, where a network may ask for it, finite


@dataclass(frozen=True)
class Rate(Multiplicative):
    """``dx = reversion (level - x) dt + noise sqrt(x) dW`` in ``x >= 0`` itself (Cox, Ingersoll and Ross 1985, eq. 17).

    Below zero, where only a discretised path gets, the noise is off (full truncation; Lord et al. 2010).
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


def _implicit(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    """The positive root of ``y' = y + (b/y' - reversion y'/2) dt + noise dW`` (Alfonsi 2005, eq. 4)."""
    if not isinstance(sde, CoxIngersollRoss):
        raise ValueError(f"`implicit` steps a CoxIngersollRoss, got {type(sde).__name__}; take euler or heun.")
    dt = match(t1 - t0, x)
    moved, inertia = x + sde.diffuse(dw[0], t0), 1 + sde.reversion / 2 * dt
    return (moved + (moved**2 + 4 * inertia * sde.push * dt).sqrt()) / (2 * inertia)


implicit = Step(_implicit, weak_order=1.0)
"""Euler, implicit in the drift: positive, strong order 1."""


@dataclass(frozen=True)
class CoxIngersollRoss(Simulator):
    """``dy = (b/y - reversion y/2) dt + noise dW`` for ``y = 2 sqrt(x)``, ``b = 2 reversion level - noise^2/2``.

    That is ``dx = reversion (level - x) dt + noise sqrt(x) dW`` in the coordinate whose noise is constant.  ``rate`` is
    the equation in ``x``, whose transition law is a noncentral chi-square, stationary law a Gamma.  Steps are implicit
    in the drift (Alfonsi 2005, section 2): they keep ``y`` positive.  Zero must be out of reach (Feller 1951),
    ``2 reversion level >= noise^2``.

    Starts are lognormal around ``low`` or ``high``, with equal odds and logarithmic width ``width``.  Good values:
    ``reversion horizon`` below 1 (much more, and the start is forgotten).
    """

    title: ClassVar[str] = "Cox-Ingersoll-Ross process, in square roots"
    equation: ClassVar[str] = (
        "dy = (b/y - reversion y/2) dt + noise dW,  y = 2 sqrt(x),  b = 2 reversion level - noise^2/2"
    )
    step: ClassVar[Step] = implicit

    horizon: float = parameter(0.7, "T", "final time", unit="time", minimum=1e-9)
    steps: int = parameter(32, "M", "stored time steps", minimum=1)
    reversion: float = parameter(1.0, "kappa", "rate of return to the level", unit="1/time", minimum=1e-6)
    level: float = parameter(1.0, "theta", "mean of the stationary law", unit="state", minimum=1e-6)
    noise: float = parameter(0.5, "g", "noise amplitude at x = 1", unit="(state/time)^1/2", minimum=0)
    low: float = parameter(0.1, "x_low", "median of one cloud of starts", unit="state", minimum=1e-6)
    high: float = parameter(2.0, "x_high", "median of the other", unit="state", minimum=1e-6)
    width: float = parameter(0.2, "w", "their standard deviation in logarithms", minimum=1e-6)
    inner: int = parameter(4, "m", "solver steps between stored times", minimum=1)

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
    def substeps(self) -> int:
        return self.inner

    @property
    def rate(self) -> Rate:
        """The same process in ``x = y^2/4``, with noise that depends on the state."""
        return Rate(self.reversion, self.level, self.noise)

    @property
    def push(self) -> float:
        """``b``: how strongly the drift pushes away from zero."""
        return 2 * self.reversion * self.level - self.noise**2 / 2

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.push / x.clamp(min=_LEAST) - self.reversion / 2 * x

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        return self.noise * torch.ones_like(t)

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        """``y^2(t1) = a y^2(t0) + 2b (1 - a) / reversion``, ``a = e^(-reversion (t1 - t0))``: exact, either way."""
        grown = -self.reversion * match(t1 - t0, x)
        square = grown.exp() * x.clamp(min=_LEAST) ** 2 - 2 * self.push / self.reversion * grown.expm1()
        return square.clamp(min=_LEAST**2).sqrt()

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
