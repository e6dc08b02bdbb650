"""Is the solver step of a process short enough?  Shorten it on a few trajectories and compare the laws."""

from __future__ import annotations

__all__ = ["check_steps"]

import itertools
import math

import torch
from torch import Tensor

from physinv.processes.check_process import check_process, draw_initial
from physinv.processes.simulator import Simulator, refine

_PARTS = 4  # of a solver step, in the finer solution
_APART = 0.2  # relative difference of mean square deviations that is refused: 10 % of the standard deviation
_BEYOND = 3.0  # ratio of the largest deviations that is refused: one of the solutions runs away
_NUMBERS = 2**16  # in all states of a pilot run


@torch.no_grad()
def check_steps(
    simulator: Simulator, trajectories: int | None = None, *, generator: torch.Generator | None = None
) -> None:
    """Refuse a process whose law changes when its solver step is shortened.

    Two solutions start from the same states and follow the same Brownian path, one in the solver steps of
    ``simulator``, the other in quarters of them (as Richardson 1911 judges a step by its halves).  At every stored time
    their mean square deviations from the mean of the finer solution are compared, pooled over the components of the
    state.  Nothing is done for a process that knows its
    :attr:`~physinv.processes.simulator.Simulator.longest_step`, or takes no other step than its own.

    Args:
        simulator: The process.
        trajectories: Number of trajectories to compare; the check costs five times as much as to simulate them.
            Default: 64, or for small states up to 2048.
        generator: Source of initial states and noise, on the CPU; default: one with seed 0.

    Raises:
        ValueError: If a solution is not finite or runs away from the other, or if their mean square deviations differ
            by more than 20 % beyond three standard errors.
    """
    if simulator.longest_step is not None or simulator.fixed_step is not None:
        return
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    small = min(2048, _NUMBERS // math.prod(simulator.shape))
    batch = trajectories or max(64, small)
    x = y = draw_initial(simulator, batch, generator=generator)
    check_process(simulator, x)
    times, counts = simulator.intervals()
    ends = iter(itertools.pairwise(refine(times, counts).tolist()))
    for t, n in zip(times[1:].tolist(), counts, strict=True):
        for a, b in itertools.islice(ends, n):
            x, y = _both(simulator, x, y, a, b, generator)
        problem = _difference(x, y)
        if problem:
            raise ValueError(
                f"the solver step of {type(simulator).__name__}, {float(times[1] - times[0]) / counts[0]:.3g}, is too "
                f"long: at t = {t:.3g} {problem} if it is shortened; raise `steps`, or give the class a `longest_step`."
            )


def _both(
    simulator: Simulator, x: Tensor, y: Tensor, a: float, b: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """``x`` after one step from ``a`` to ``b``, ``y`` after the parts of it, on the same Brownian path."""
    clock = [x.new_full((len(x),), a + (b - a) * i / _PARTS) for i in range(_PARTS + 1)]
    shape = (_PARTS, simulator.draws, *x.shape)
    dw = math.sqrt((b - a) / _PARTS) * torch.randn(shape, generator=generator, dtype=x.dtype)
    for (t0, t1), part in zip(itertools.pairwise(clock), dw, strict=True):
        y = simulator.advance(y, t0, t1, part)
    return simulator.advance(x, clock[0], clock[-1], dw.sum(0)), y


def _difference(x: Tensor, y: Tensor) -> str | None:
    """What tells the coarser solution ``x`` from the finer ``y``, if it matters."""
    x, y = x.flatten(1).double(), y.flatten(1).double()
    if not bool(x.isfinite().all() & y.isfinite().all()):
        return "states are infinite or NaN, or become so"
    centre = y.mean(0)
    coarse, fine = ((z - centre).square().mean(1) for z in (x, y))
    if not bool(coarse.max() > 0) and not bool(fine.max() > 0):
        return None
    far = float((fine.max() / coarse.max()).sqrt())
    if not 1 / _BEYOND <= far <= _BEYOND:
        return f"the largest deviation changes by a factor of {far:.3g}"
    gap, error = float((coarse - fine).mean().abs()), float((coarse - fine).std()) / math.sqrt(len(x))
    if gap - 3 * error > _APART * float(fine.mean()):
        return f"the standard deviation changes by a factor of {float((fine.mean() / coarse.mean()).sqrt()):.3g}"
    return None
