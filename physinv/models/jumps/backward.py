"""The backward solution: states at a later time taken to an earlier one by the physics alone, within the data's box."""

from __future__ import annotations

__all__ = ["backward_solution", "backward_solutions", "needed_corrections"]

import itertools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE
from physinv.models.jumps.base import Jump
from physinv.processes.simulator import Simulator

_CORRECTIONS = 2  # of every step of the backward solution, where the error of the solver's step counts
_TRIED = 512  # trajectories that tell
_COUNTS = 0.9  # median error of the corrected backward solution over that of the other, from which it does


def backward_solution(
    sde: SDE,
    x: Float[Tensor, "batch *state"],
    jump: Jump,
    times: Float[Tensor, " time"],
    low: Float[Tensor, "time *state"],
    high: Float[Tensor, "time *state"],
    *,
    corrections: int = 0,
) -> Float[Tensor, "batch *state"]:
    """Return the backward solution at the earlier time of one jump; see :func:`backward_solutions`.

    Args:
        sde: The physics.
        x: States at the later time of the jump.
        jump: Numbers of the stored times at its ends.
        times: Stored times, in units of time, float64.
        low: Lowest values allowed at each stored time.
        high: Highest values allowed at each stored time.
        corrections: Of every step, towards the state from which the solver's own step leads to the later one.
    """
    ends = [jump.earlier]
    return backward_solutions(sde, x, jump.later, ends, times, low, high, corrections=corrections)[jump.earlier]


@torch.no_grad()
def backward_solutions(
    sde: SDE,
    x: Float[Tensor, "batch *state"],
    later: int,
    earlier: Sequence[int],
    times: Float[Tensor, " time"],
    low: Float[Tensor, "time *state"],
    high: Float[Tensor, "time *state"],
    *,
    corrections: int = 0,
) -> dict[int, Float[Tensor, "batch *state"]]:
    """Solve the physics alone backward over stored intervals, clamped to a box after every step.

    Dissipative physics grows without bounds backward in time.  Within the box the backward solution stays where states
    can be.

    The flow of the drift is not what made the data: the solver's step differs from it by the error of its order, which
    may be many times the noise.  Corrections ``y <- y + x - step(y)`` invert the step itself.

    Args:
        sde: The physics.
        x: States at the later time.
        later: Number of that time among the stored ones.
        earlier: Numbers of earlier ones.
        times: Stored times, in units of time, float64.
        low: Lowest values allowed at each stored time.
        high: Highest values allowed at each stored time.
        corrections: Of every step, towards the state from which the solver's own step leads to the later one; for
            simulators whose data that step made.

    Returns:
        States at each of the earlier times, by its number.
    """
    grid: list[float] = times.tolist()
    known: dict[str, int] = {}  # how many steps an interval takes can need longer to find out than to take them
    path: list[tuple[int, float, float]] = []
    for m in range(later, min(earlier), -1):
        t0, t1 = grid[m], grid[m - 1]
        length = f"{t0 - t1:.9e}"
        if length not in known:
            known[length] = sde.substeps_in(t0 - t1)
        ticks = [t0 + (t1 - t0) * j / known[length] for j in range(known[length] + 1)]
        path += [(m - 1, a, b) for a, b in itertools.pairwise(ticks)]

    # NaN and infinity stay in the sum of all moved states: it is looked at once, not after every step.
    box = [_bounds(low[m], high[m]) for m in range(len(grid))]
    found, total = dict[int, Tensor](), torch.zeros_like(x)
    for careful in (x.device.type != "cpu", True):
        y, found = x, {}
        begun, ended = (x.new_tensor([step[k] for step in path])[:, None].expand(-1, len(x)) for k in (1, 2))
        for (m, _, _), a, b in zip(path, begun, ended, strict=True):
            moved = sde.drift_flow(y, a, b)
            if corrections and isinstance(sde, Simulator):
                moved = _corrected(sde, moved, y, b, a, high[m] - low[m], corrections)
            if careful:
                moved = torch.where(moved.isfinite(), moved, y)
            else:
                total += moved
            y = box[m](moved)
            if m in earlier:
                found[m] = y  # the last one that is reached within the interval stays
        if careful or bool(total.sum().isfinite()):
            break
    return found


def needed_corrections(
    sde: SDE,
    x: Float[Tensor, "n time *state"],
    jumps: Sequence[Jump],
    times: Float[Tensor, " time"],
    low: Float[Tensor, "time *state"],
    high: Float[Tensor, "time *state"],
    moving: Callable[[Tensor], Tensor],
) -> int:
    """Return how many corrections steps take: some where they bring the backward solution nearer to the earlier states.

    Where noise is what separates the two they are left out, since they take as long as half of the solution.

    Args:
        sde: The physics.
        x: Trajectories, of which the first 512 tell.
        jumps: The jumps, of which the longest tells.
        times: Stored times, in units of time, float64.
        low: Lowest values allowed at each stored time.
        high: Highest values allowed at each stored time.
        moving: Takes the components that are not static.
    """
    if not (isinstance(sde, Simulator) and sde.startable):
        return 0  # nobody knows by which solver the data were made
    ends, x = max(jumps, key=lambda jump: jump.later - jump.earlier), x[:_TRIED]
    errors = []
    for count in (0, _CORRECTIONS):
        back = backward_solution(sde, x[:, ends.later], ends, times, low, high, corrections=count)
        errors.append(moving(back - x[:, ends.earlier]).abs().median(0).values)
    return _CORRECTIONS if bool((errors[1] < _COUNTS * errors[0]).any()) else 0


def _bounds(low: Float[Tensor, " *state"], high: Float[Tensor, " *state"]) -> Callable[[Tensor], Tensor]:
    """What keeps states between bounds; for single numbers on a CPU these are numbers, which takes half of the time."""
    if low.numel() == 1 and low.device.type == "cpu":
        least, most = float(low), float(high)
        return lambda x: x.clamp(least, most)
    return lambda x: torch.minimum(torch.maximum(x, low), high)  # clamp takes twice as long for two tensors


def _corrected(
    simulator: Simulator, start: Tensor, x: Tensor, t0: Tensor, t1: Tensor, unit: Tensor, corrections: int
) -> Tensor:
    """States from which the solver's step without noise leads nearer to given ones than from where they start.

    Steps that are not short beside the rates of the physics are left as they are: corrections lead away there.
    """
    still, unit = start.new_zeros(simulator.draws, *start.shape), unit.clamp(min=torch.finfo(start.dtype).tiny)
    gap = x - simulator.advance(start, t0, t1, still)
    for _ in range(corrections):
        tried = start + gap
        left = x - simulator.advance(tried, t0, t1, still)
        nearer = (left / unit).square().flatten(1).sum(1) < (gap / unit).square().flatten(1).sum(1)
        nearer = nearer.reshape(-1, *[1] * (x.ndim - 1))
        start, gap = torch.where(nearer, tried, start), torch.where(nearer, left, gap)
    return start
