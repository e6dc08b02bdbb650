"""What was observed of the final state, ``y = H x_T + sigma n`` with white noise n.

``H`` is any linear function of batched states (the usual ones are in :mod:`physinv.laws.operators`);
:meth:`physinv.laws.covariance.Covariance.given` conditions Gaussian laws on them by dense algebra in observation space
(matrices of ``seen x seen`` and ``seen x state``, up to some 2000 observed numbers).
"""

from __future__ import annotations

__all__ = [
    "Observation",
    "Operator",
    "jacobian",
    "linearised",
    "picture",
]

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Operator = Callable[[Tensor], Tensor]
"""``(batch, *state) -> (batch, *seen)``, linear, and on each state of the batch by itself."""


@dataclass(frozen=True)
class Observation:
    """``p(y | x) = N(y; H x, sigma^2 I)``: the linear ``operator`` H and the standard deviation ``noise`` sigma."""

    operator: Operator
    noise: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise ValueError(
                f"`noise` must be positive and finite, got {self.noise}; for exact data take 1e-3 of their size."
            )

    def observe(
        self, x: Float[Tensor, "batch *state"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch *seen"]:
        """A draw of ``y = H x + sigma n`` for each state."""
        clean = self.operator(x)
        n = torch.randn(clean.shape, generator=generator, dtype=clean.dtype, device=clean.device)
        return clean + self.noise * n

    def log_prob(self, y: Float[Tensor, "batch *seen"], x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """``log p(y | x)``."""
        n = ((y - self.operator(x)) / self.noise).flatten(1)
        return -n.square().sum(1) / 2 - n.shape[1] * math.log(math.sqrt(2 * math.pi) * self.noise)

    def score(self, y: Float[Tensor, "batch *seen"], x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """``grad_x log p(y | x) = H^T (y - H x) / sigma^2``."""
        clean, adjoint = linearised(self.operator, x)
        return adjoint((y - clean) / self.noise**2)


def jacobian(operator: Operator, at: Float[Tensor, "1 *state"]) -> Float[Tensor, "seen *state"]:
    """Derivative of ``operator`` at a state, one row for each observed number; a linear one as a matrix."""
    seen = operator(at).shape[1:]
    number = math.prod(seen)
    adjoint = linearised(operator, at.expand(number, *at.shape[1:]))[1]
    return adjoint(torch.eye(number, dtype=at.dtype, device=at.device).reshape(number, *seen))


def linearised(operator: Operator, at: Float[Tensor, "batch *state"]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Value of ``operator``, and its transposed derivative there: ``(batch, *seen) -> (batch, *state)``."""
    value, adjoint = torch.func.vjp(operator, at)[:2]
    return value, lambda v: adjoint(v)[0]


def picture(observation: Observation, y: Float[Tensor, "batch *seen"], shape: tuple[int, ...]) -> Tensor:
    """The smallest state that would be seen as ``y``, ``H^+ y``, to look at: ``(batch, *shape)``."""
    H = jacobian(observation.operator, y.new_zeros(1, *shape)).flatten(1)
    state: Tensor = y.flatten(1) @ torch.linalg.pinv(H).T
    return state.reshape(len(y), *shape)
