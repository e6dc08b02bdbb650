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
MEMORY, LONG_MEMORY = 10, 50  # pairs of steps that a search remembers


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
    last: int | None = None,
    hear: Callable[[RecordObjective, Tensor, Tensor], None] | None = None,
) -> StrongConstraint:
    """The answer to a record of a process without noise, with the Gaussian prior of known states.

    The last search, for the initial state with errors as they are, has ``last`` iterations, and a longer memory.
    """
    forward = Forward(process, torch.zeros(process.shape), isotropic(1.0))
    prior = gaussian_prior_of(process, known)

    def minimise(objective: LeastSquares, u: Tensor) -> Tensor:
        assert isinstance(objective, RecordObjective)
        count, memory = iterations, MEMORY
        if last is not None and objective.begin == 0:
            count, memory = (last, LONG_MEMORY) if objective.soft == 1 else (iterations, MEMORY)
        return lbfgs(objective if hear is None else Watched(objective, hear), u, iterations=count, memory=memory)

    return strong_constraint(forward, prior, record, minimise, draw)


def solves(iterations: int, last: int | None = None) -> float:
    """Solves of the whole window: a gradient counts as three, the probes of the preconditioner as two each."""
    counts = [*[iterations] * (len(WINDOWS) - 1), iterations if last is None else last]
    return sum(share * (3 * (count + 1) + 2 * (PROBES + 1) + 2) for share, count in zip(WINDOWS, counts, strict=True))


def relative(found: Tensor, truth: Tensor) -> float:
    """Mean relative L2 error."""
    return float(((found - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)).mean())
