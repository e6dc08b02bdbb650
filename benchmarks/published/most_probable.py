"""What the tasks of fields share: the most probable initial state by physinv, its error and its number of solves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import physinv as pi
from physinv.laws.covariance import isotropic
from physinv.methods.classical.forward import Forward
from physinv.methods.classical.gaussian_prior import gaussian_prior_of
from physinv.methods.classical.minimise import LeastSquares, lbfgs
from physinv.methods.classical.record_objective import RecordObjective
from physinv.methods.classical.strong_constraint import StrongConstraint, strong_constraint

WINDOWS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)  # shares of the time that the searches of strong_constraint run over
PROBES = 6


@dataclass(frozen=True)
class Watched:
    """A cost function that tells of each point at which its gradient is asked for."""

    objective: RecordObjective
    hear: Callable[[RecordObjective, Tensor, Tensor], None]

    def gradient(self, u: Tensor, /) -> tuple[Tensor, Tensor]:
        value, gradient = self.objective.gradient(u)
        self.hear(self.objective, u, value)
        return value, gradient

    def precondition(self, v: Tensor, /) -> Tensor:
        return self.objective.precondition(v)


def most_probable(
    process: pi.Simulator,
    known: Tensor,
    record: pi.ObservationRecord,
    iterations: int,
    draw: int = 100,
    hear: Callable[[RecordObjective, Tensor, Tensor], None] | None = None,
) -> StrongConstraint:
    """The answer to a record of a process without noise, with the Gaussian prior of known states."""
    forward = Forward(process, torch.zeros(process.shape), isotropic(1.0))
    prior = gaussian_prior_of(process, known)

    def minimise(objective: LeastSquares, u: Tensor) -> Tensor:
        if hear is not None and isinstance(objective, RecordObjective):
            return lbfgs(Watched(objective, hear), u, iterations=iterations)
        return lbfgs(objective, u, iterations=iterations)

    return strong_constraint(forward, prior, record, minimise, draw)


def solves(iterations: int) -> float:
    """Solves of the whole window: a gradient counts as three, the probes of the preconditioner as two each."""
    return sum(share * (3 * (iterations + 1) + 2 * (PROBES + 1) + 2) for share in WINDOWS)


def relative(found: Tensor, truth: Tensor) -> float:
    """Mean relative L2 error."""
    return float(((found - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)).mean())
