"""Solver step for vectors that move smoothly: a Runge-Kutta step between two halves of the noise."""

from __future__ import annotations

__all__ = ["SmoothFlow"]

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from physinv.processes.simulator import Simulator


@dataclass(frozen=True)
class SmoothFlow(Simulator):
    """A process ``dx = f dt + g dW`` with constant noise whose solver step is

        x' = Phi_h(x + n_1) + n_2,    n_1, n_2 ~ N(0, g^2 h / 2), independent.

    ``Phi_h`` is one step of the classical Runge-Kutta method (Kutta 1901): order 4 without noise, weak order 2 with it
    (Strang 1968).
    """

    weak_order: ClassVar[float] = 2.0
    draws: ClassVar[int] = 2

    def advance(
        self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor, dw: Float[Tensor, "draws batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        first, second = (dw[0] + dw[1]) / 2, (dw[0] - dw[1]) / 2
        return self.drift_flow(x + self.diffuse(first, t0), t0, t1) + self.diffuse(second, t1)
