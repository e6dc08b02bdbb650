"""The backward solution: states at a later time taken to an earlier one by the physics alone, within the data's box."""

from __future__ import annotations

__all__ = ["backward_solution"]

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE
from physinv.models.jumps.base import Jump


@torch.no_grad()
def backward_solution(
    sde: SDE,
    x: Float[Tensor, "batch *state"],
    jump: Jump,
    times: Float[Tensor, " time"],
    low: Float[Tensor, "time *state"],
    high: Float[Tensor, "time *state"],
) -> Float[Tensor, "batch *state"]:
    """Solve the physics alone backward over the stored intervals of a jump, clamped to a box after every step.

    Dissipative physics grows without bounds backward in time.  Within the box the backward solution stays where states
    can be.

    Args:
        sde: The physics.
        x: States at the later time of the jump.
        jump: Numbers of the stored times at its ends.
        times: Stored times, in units of time, float64.
        low: Lowest values allowed at each stored time.
        high: Highest values allowed at each stored time.

    Returns:
        States at the earlier time of the jump.
    """
    grid: list[float] = times.tolist()
    known: dict[str, int] = {}  # how many steps an interval takes can need longer to find out than to take them
    path: list[tuple[int, float, float]] = []
    for m in range(jump.later, jump.earlier, -1):
        t0, t1 = grid[m], grid[m - 1]
        length = f"{t0 - t1:.9e}"
        if length not in known:
            known[length] = sde.substeps_in(t0 - t1)
        ticks = [t0 + (t1 - t0) * j / known[length] for j in range(known[length] + 1)]
        path += [(m - 1, a, b) for a, b in itertools.pairwise(ticks)]

    begun, ended = (x.new_tensor([step[k] for step in path])[:, None].expand(-1, len(x)) for k in (1, 2))
    for (m, _, _), a, b in zip(path, begun, ended, strict=True):
        moved = sde.drift_flow(x, a, b)
        if moved.device.type != "cpu" or not math.isfinite(float(moved.sum())):  # a sum is cheap where it is near
            moved = torch.where(moved.isfinite(), moved, x)
        x = moved.clamp(low[m], high[m])
    return x
