"""Draw trajectories backward through the particles of a filter, so that the past keeps its variety.

Particles that are resampled with their past have few ancestors left after a long record.  Here the particles of each
time are kept as they were, with their weights ``w_i``; a trajectory is drawn from its end,

    x_k = x_k^i  with probability  ~ w_i p(x_{k+1} | x_k^i),

with the density of one solver step (:mod:`~physinv.methods.classical.monte_carlo.kernel`), among thousands of them.

References:
    Godsill, Doucet and West (2004), Monte Carlo smoothing for nonlinear time series.
"""

from __future__ import annotations

__all__ = ["Passed", "draw_backward"]

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.steps import Step
from physinv.methods.classical.monte_carlo.kernel import fit_kernel
from physinv.posterior.several_times.particles import systematic
from physinv.processes.simulator import Simulator

_PAIRS = 2**23  # of draws and particles whose densities are computed in one step
_LEAST = 2048  # particles among which a draw chooses
_AT_ONCE = 2**22


@dataclass(frozen=True)
class Passed:
    """The particles of a filter at one time.

    Args:
        time: The time.
        states: Their states.
        log_weights: Their log weights, given what is seen until then.
    """

    time: float
    states: Float[Tensor, "particles *state"]
    log_weights: Float[Tensor, " particles"]


@torch.no_grad()
def draw_backward(
    simulator: Simulator,
    step: Step,
    passed: Sequence[Passed],
    n: int,
    times: Sequence[float],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n time *state"]:
    """Draw trajectories of the smoother.

    Args:
        simulator: The process.
        step: Its solver step, by which particles go from one time to the next.
        passed: Particles at the ends of all solver steps, in the order of time.
        n: Number of draws.
        times: Which of these times are wanted.
        generator: Source of randomness.

    Returns:
        States at the times wanted.
    """
    ladder = passed[-1].log_weights.softmax(0).cumsum(0)
    u = torch.rand((n, 1), generator=generator, dtype=ladder.dtype, device=ladder.device)[:, 0]
    x = passed[-1].states[torch.searchsorted(ladder, u * ladder[-1]).clamp(max=len(ladder) - 1)]
    found = {passed[-1].time: x}
    for later, now in itertools.pairwise(reversed(passed)):
        states = _fewer(now, max(_LEAST, _PAIRS // n), generator)
        kernel = fit_kernel(simulator, step, states, [now.time, later.time])
        parts = torch.split(x.flatten(1), max(1, _AT_ONCE // len(states)))
        x = torch.cat([_drawn(states, kernel.log_weights(part), generator) for part in parts])
        found[now.time] = x
    return torch.stack([found[t] for t in times], 1)


def _fewer(passed: Passed, most: int, generator: torch.Generator | None) -> Tensor:
    """Particles drawn by their weights, so that they count alike."""
    count = min(most, len(passed.states))
    return passed.states[systematic(passed.log_weights.exp()[None], count, generator=generator)[0]]


def _drawn(states: Tensor, log_weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """One state for each row of log weights, by the inverse of the cumulated weights at a random place."""
    ladder = log_weights.softmax(1).cumsum(1)
    places = torch.rand((len(ladder), 1), generator=generator, dtype=ladder.dtype, device=ladder.device)
    at = torch.searchsorted(ladder, places * ladder[:, -1:])[:, 0].clamp(max=ladder.shape[1] - 1)
    return states[at]
