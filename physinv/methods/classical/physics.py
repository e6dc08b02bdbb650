"""The physics run backward, ``dx = f dt`` from T to 0, without score: a baseline for every posterior.

What the process has damped grows backward in time, noise included, without bound as the equation is ill-posed
(Hadamard 1923); results that are not finite are returned as they are.
"""

from __future__ import annotations

__all__ = ["Physics", "fit_physics", "load_physics"]

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import default_batch
from physinv.equations.sde import Linear
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import Setup, loaded_by
from physinv.processes.simulator import Simulator, refine


@dataclass(frozen=True)
class Physics(Answer):
    """The pre-image of ``x_T`` under the flow of the drift, by the simulator's ``drift_flow`` over its solver steps.

    It is an estimate without spread.  Linear processes take one exact step.  Simulators whose backward flow limits
    growth (the semilinear ones: ``e^2`` per stored interval and mode) do so here as well.

    Args:
        simulator: The process.
    """

    simulator: Simulator

    def tensors(self) -> dict[str, Tensor]:
        """Return what was fitted: nothing."""
        return {}

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        if n < 1:
            raise ValueError(f"`n` must be at least 1, got {n}.")
        return self.mean(final)[:, None].expand(-1, n, *final.shape[1:])

    @torch.no_grad()
    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        times = self.simulator.times
        fine = times[[0, -1]] if isinstance(self.simulator, Linear) else refine(*self.simulator.intervals())
        grid = fine.flip(0).tolist()
        parts = []
        for x in torch.split(final, default_batch(final)):
            for a, b in itertools.pairwise(grid):
                x = self.simulator.drift_flow(x, x.new_full((len(x),), a), x.new_full((len(x),), b))
            parts.append(x)
        return torch.cat(parts)


def load_physics(setup: Setup, tensors: Mapping[str, Tensor]) -> Physics:
    """Return the backward physics of a process again.

    Args:
        setup: What the run knows.
        tensors: None are needed.

    Returns:
        The backward flow.
    """
    return Physics(setup.simulator)


@loaded_by(load_physics, trains=False)
def fit_physics(problem: Problem) -> Physics:
    """Return the backward physics of a process; no training data are used.

    Args:
        problem: The process.

    Returns:
        The backward flow.

    Raises:
        NotApplicableError: For data without known physics.
    """
    if not problem.simulator.known:
        raise NotApplicableError("the physics must be known to be run backward; these data come without any.")
    return Physics(problem.simulator)
