"""States at any times from posterior draws of the past: those after the last observation are forecasts."""

from __future__ import annotations

__all__ = ["Inside", "frames_at"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, as_times
from physinv.processes.simulator import Simulator

Inside = Callable[[list[float]], Float[Tensor, "batch n time *state"]]
"""Increasing times up to the last observation to draws of the states at them."""


def frames_at(
    simulator: Simulator, times: Times, last: float, inside: Inside, *, generator: torch.Generator | None = None
) -> Float[Tensor, "batch n time *state"]:
    """Return draws of trajectories at any times; what comes after the last observation is simulated with new noise.

    Args:
        simulator: The process.
        times: Times in any order, 0 or later.
        last: Time of the last observation.
        inside: Draws of the states at increasing times up to ``last``.
        generator: Source of the new noise.

    Returns:
        One trajectory for each draw, its states in the order of ``times``.

    Raises:
        ValueError: If there is no time, or one is negative.
    """
    wanted = as_times(times).tolist()
    if not wanted or min(wanted) < 0:
        raise ValueError(f"`times` must be 0 or later, got {wanted}; processes begin at 0.")
    late = sorted({t for t in wanted if t > last})
    early = sorted({t for t in wanted if t <= last} | ({last} if late else set()))
    found = inside(early)
    if late:
        end = found[:, :, -1].flatten(0, 1)
        ahead = simulator.run(end, [last, *late], generator=generator)[:, 1:]
        found = torch.cat([found, ahead.reshape(*found.shape[:2], *ahead.shape[1:])], 2)
    every = early + late
    return found[:, :, [every.index(t) for t in wanted]]
