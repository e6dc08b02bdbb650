"""Simulators whose physics is given as a solver step ``x -> Phi_dt(x)`` instead of a drift."""

from __future__ import annotations

__all__ = ["Stepped"]

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.processes.parameters import number
from physinv.processes.simulator import Simulator


@dataclass(frozen=True)
class Stepped(Simulator):
    """A process ``dx = (Phi_dt(x) - x)/dt dt + g dW``: each step applies ``Phi_dt`` and then adds noise.

    A subclass gives :meth:`propagated` in the place of ``drift``.  The drift is the mean rate of change over a step of
    ``dt``, so that forward solves take no other step, and a reversal should take the same one.
    """

    weak_order: ClassVar[float] = 1.0

    @property
    def dt(self) -> float:
        """Length of the solver step, ``horizon / (steps substeps)``, in units of time."""
        return self.horizon / (self.steps * self.substeps)

    @property
    def fixed_step(self) -> float:
        return self.dt

    @abstractmethod
    def propagated(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return ``Phi_dt(x)``, the states one step after ``t``, without noise.

        Args:
            x: States, ``(batch, *state)``.
            t: Their times, ``(batch,)``.

        Returns:
            ``(batch, *state)``.
        """

    def free(self, x: Float[Tensor, "batch *state"]) -> Tensor:
        """Return 1 where noise acts, and 0 where static context in ``x`` (such as obstacles) forbids it.

        Args:
            x: States, ``(batch, *state)``.

        Returns:
            A mask that broadcasts against ``x``.
        """
        return torch.ones_like(x[:, :1])

    def advance(
        self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor, dw: Float[Tensor, "draws batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        """Return ``Phi_dt(x) + g dW``.

        Raises:
            ValueError: If ``t1 - t0`` is not the solver step ``dt``.
        """
        gap, dt = number((t1 - t0)[0]), number(self.dt)
        if abs(gap - dt) > 1e-3 * dt:  # float32 times of order 1 differ by 1e-7, that is 1e-5 of a step of .01
            raise ValueError(
                f"`times` of {type(self).__name__} must lie its solver step {dt:.6g} apart, got {gap:.6g}; change "
                "`steps`, `inner` or `horizon`."
            )
        return self.propagated(x, t0) + self.free(x) * self.diffuse(dw[0], t0)

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return (self.propagated(x, t) - x) / self.dt
