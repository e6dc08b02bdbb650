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
        durations: Increasing lengths of time; those of a process with a fixed step are rounded to steps, one at least.

    Returns:
        The states after each duration.
    """
    if isinstance(sde, Simulator):  # which knows its own solver steps, and keeps what they have in common
        if (step := sde.fixed_step) is not None:
            durations = [step * max(1, round(d / step)) for d in durations]
        ends = sorted({0.0, *durations})
        times, counts = sde.intervals(ends)
        states = sde.trajectories(x, times, counts, noise=False)
        return [states[:, ends.index(d)] for d in durations]
    reached = []
    for a, b in itertools.pairwise([0.0, *durations]):
        x = sde.drift_flow(x, x.new_full((len(x),), a), x.new_full((len(x),), b))
        reached.append(x)
    return reached
