"""Placements of the solver's steps from T to 0, by name."""

from __future__ import annotations

__all__ = ["GRIDS", "check_grid", "step_grid"]

from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import Reverse
from physinv.equations.time_grids import linear, logarithmic, resample_times
from physinv.reversal.choose import default_step
from physinv.reversal.learned_grid import learned
from physinv.runs.run import Run

GRIDS = ("stored", "linear", "log", "learned")
"""Placements of the solver's steps; see :func:`step_grid`."""

_TIMED_TRAJECTORIES = 16  # trajectories on which the local errors of a learned grid are measured


def step_grid(run: Run, data: TrajectoryDataset | None, steps: int, grid: str) -> Float[Tensor, " grid"]:
    """Return the times of a reversal.

    Args:
        run: Trained run.
        data: Trajectories on which a ``"learned"`` grid measures its local errors; None where there are none.
        steps: Number of solver steps from T to 0.
        grid: ``"stored"``: spaced like the stored times.  ``"linear"``: equal steps.  ``"log"``: geometric from a
            hundredth of the horizon on, for initial states with structure on all scales.  ``"learned"``: equal local
            errors (:func:`~physinv.reversal.learned_grid.learned`).

    Returns:
        Increasing times from 0 to T, ``(steps + 1,)``, in the unit of time of the process.

    Raises:
        ValueError: If there is no grid of that name, or it needs trajectories.
    """
    check_grid(grid)
    horizon = float(run.times[-1])
    if grid == "stored":
        return resample_times(run.times, steps)
    if grid == "linear":
        return linear(horizon, steps)
    if grid == "log":
        return logarithmic(horizon, steps, horizon / 100)
    if data is None:
        raise ValueError("`grid` learned measures errors along trajectories, got observations alone; take stored.")
    timed = data.trajectories(slice(0, _TIMED_TRAJECTORIES)).to(run.device)
    reverse = Reverse(run.sde, run.model)
    return learned(reverse, timed, data.times, steps, step=default_step(run.sde, run.model))


def check_grid(grid: str) -> None:
    """Refuse a placement that there is not.

    Args:
        grid: Its name.

    Raises:
        ValueError: If there is no grid of that name.
    """
    if grid not in GRIDS:
        raise ValueError(f"`grid` must be one of {', '.join(GRIDS)}, got {grid!r}.")
