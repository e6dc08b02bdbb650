"""The grid of times on which a reverse step makes the same local error in each of its steps."""

from __future__ import annotations

__all__ = ["learned"]

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import Reverse
from physinv.equations.steps import Step
from physinv.equations.time_grids import shared_equally
from physinv.models.references.base import ReferenceLaw


@torch.no_grad()
def learned(
    reverse: Reverse,
    states: Float[Tensor, "batch time *state"],
    times: Float[Tensor, " points"],
    steps: int,
    *,
    step: Step,
    smoothing: float = 0.1,
) -> Float[Tensor, " grid"]:
    """Return the grid on which a step makes the same local error in each of its steps.

    A method of order p errs by ``C(t) h^(p+1)`` in a step h, so equal errors need steps in proportion to
    ``C^(-1/(p+1))`` (de Boor 1974).  ``C`` is measured on stored trajectories, where the process lives: on each stored
    interval, one step backward against two halves (Richardson 1911),

        C(t) = rms(step(x, h) - step(step(x, h/2), h/2)) / (1 - 2^-p) / h^(p+1),

    without noise.  With a Gaussian reference under a linear SDE only what the network adds makes an error.  There
    differences are multiplied by the factor ``sqrt(S_0/S)`` per mode by which they grow until ``t = 0``; otherwise they
    are divided by the spread of the states at ``t``.

    Args:
        reverse: The reversal to be solved.
        states: Stored trajectories, ``(batch, time, *state)``.
        times: Their increasing times, in units of time.
        steps: Number of steps of the grid.
        step: The step that will be taken on it; its order is ``step.weak_order``.
        smoothing: Share of the steps that is spread evenly over time, in case ``C`` was measured too small somewhere.

    Returns:
        ``steps + 1`` increasing times, float64.

    Raises:
        ValueError: If ``step`` is exact, ``smoothing`` lies outside [0, 1], ``steps`` is below 1, or there are not as
            many states as times.
    """
    if not math.isfinite(step.weak_order):
        raise ValueError("`step` must have a finite order: a step without error needs no grid.")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"`smoothing` must lie between 0 and 1, got {smoothing:g}.")
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")
    if states.shape[1] != len(times):
        raise ValueError(f"`states` must have one state for each of the {len(times)} times, got {states.shape[1]}.")
    p, grid = step.weak_order, times.double().tolist()
    density = []
    for i, (b, a) in enumerate(itertools.pairwise(grid)):
        x, h = states[:, i + 1], a - b
        still = x.new_zeros(()).expand(step.draws, *x.shape)
        t0, half, t1 = (x.new_full((len(x),), t) for t in (a, (a + b) / 2, b))
        once = step(reverse, x, t0, t1, still)
        twice = step(reverse, step(reverse, x, t0, half, still), half, t1, still)
        error = _size(reverse, (once - twice) / (1 - 2**-p), states[:, i], t1) / h ** (p + 1)
        density.append(error ** (1 / (p + 1)))
    speed, t = torch.tensor(density, dtype=torch.float64), torch.tensor(grid, dtype=torch.float64)
    mean = (speed * t.diff()).sum() / (t[-1] - t[0])
    return shared_equally(t, (1 - smoothing) * speed + smoothing * mean, steps)


def _size(reverse: Reverse, error: Tensor, x: Tensor, t: Tensor) -> float:
    """Size of ``error`` at ``t`` in the reference law's units, or over the spread of the states ``x``."""
    if (reference := ReferenceLaw.of(reverse.score)) is not None:
        return reference.error_size(error, x, t)
    spread = (x - x.mean(0)).square().mean().sqrt().clamp(min=torch.finfo(x.dtype).tiny)
    return float(error.square().mean().sqrt() / spread)
