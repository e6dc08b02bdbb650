"""Simulators whose physics is a solver step ``x -> Phi_dt(x)`` and not a rate."""

from __future__ import annotations

__all__ = ["Stepped", "stepped"]

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE
from physinv.equations.solve import Step
from physinv.processes.simulator import Simulator


def _stepped(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    if not isinstance(sde, Stepped):
        raise ValueError(f"`stepped` solves Stepped simulators only, got {type(sde).__name__}; take euler.")
    gap, dt = (float(torch.as_tensor(d).detach()) for d in ((t1 - t0)[0], sde.dt))
    if abs(gap - dt) > 1e-3 * dt:  # float32 times of order 1 differ by 1e-7, that is 1e-5 of a step of .01
        raise ValueError(
            f"`times` of {type(sde).__name__} must lie its solver step {dt:.6g} apart, got {gap:.6g}; change `steps`, "
            "`inner` or `horizon`."
        )
    return sde.advance(x, t0) + sde.free(x) * sde.diffuse(dw[0], t0)


stepped = Step(_stepped, weak_order=1.0)
"""Euler-Maruyama with the simulator's own step: ``Phi_dt(x) + g dW``.  Raises ValueError for another step."""


@dataclass(frozen=True)
class Stepped(Simulator):
    """``dx = (Phi_dt(x) - x)/dt dt + g dW``: each step applies ``Phi_dt`` and then adds noise.

    A subclass gives :meth:`advance` in the place of ``drift``.  The drift is a rate of change only over a step of
    ``dt``: forward solves take no other step, and a reversal is best made with the same one.
    """

    step: ClassVar[Step] = stepped

    @property
    def dt(self) -> float:
        """The solver step: ``horizon / (steps substeps)``."""
        return self.horizon / (self.steps * self.substeps)

    @abstractmethod
    def advance(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """``Phi_dt(x)``: the state one step after ``t``, without noise."""

    def free(self, x: Float[Tensor, "batch *state"]) -> Tensor:
        """1 where noise acts, 0 where static context in ``x`` (such as obstacles) forbids it; broadcasts against x."""
        return torch.ones_like(x[:, :1])

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return (self.advance(x, t) - x) / self.dt
