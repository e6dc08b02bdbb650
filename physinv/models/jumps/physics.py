"""The physics without noise over given lengths of time, as features of jumps."""

from __future__ import annotations

__all__ = ["flow"]

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE
from physinv.processes.simulator import Simulator


@torch.no_grad()
def flow(sde: SDE, x: Float[Tensor, "batch *state"], durations: Sequence[float]) -> list[Float[Tensor, "batch *state"]]:
    """Solve the physics without noise from given states.

    Args:
        sde: The process.
        x: States.
        durations: Increasing lengths of time.

    Returns:
        The states after each duration.
    """
    if isinstance(sde, Simulator):  # which knows its own solver steps, and keeps what they have in common
        times, counts = sde.intervals([0.0, *durations])
        return list(sde.trajectories(x, times, counts, noise=False).unbind(1)[1:])
    states, ends = [], [0.0, *durations]
    for a, b in itertools.pairwise(ends):
        x = sde.drift_flow(x, x.new_full((len(x),), a), x.new_full((len(x),), b))
        states.append(x)
    return states
