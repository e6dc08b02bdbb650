"""Step grids ``0 = t_0 < ... < t_M = T``: where a reversal puts its steps.  All float64; flip them to go back."""

from __future__ import annotations

__all__ = ["equidistributed", "learned", "linear", "logarithmic", "resample_times"]

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import Reverse
from physinv.equations.solve import Step
from physinv.models.references.base import ReferenceLaw


def linear(horizon: float, steps: int) -> Float[Tensor, " grid"]:
    """``t_n = n T / M``."""
    _check(horizon, steps)
    return torch.linspace(0, horizon, steps + 1, dtype=torch.float64)


def logarithmic(horizon: float, steps: int, first: float) -> Float[Tensor, " grid"]:
    """``t_0 = 0``, ``t_n = first (T / first)^((n - 1)/(M - 1))``: for starts with structure at all scales."""
    _check(horizon, steps)
    if steps < 2:
        raise ValueError(f"`steps` must be at least 2 for a logarithmic grid, got {steps}.")
    if not 0 < first < horizon:
        raise ValueError(f"`first` must lie between 0 and the horizon {horizon:g}, got {first:g}.")
    inner = torch.linspace(math.log(first), math.log(horizon), steps, dtype=torch.float64).exp()
    inner[0], inner[-1] = first, horizon
    return torch.cat([inner.new_zeros(1), inner])


def equidistributed(times: Float[Tensor, " time"], speed: Float[Tensor, " time"], steps: int) -> Float[Tensor, " grid"]:
    """``steps`` steps over the span of ``times`` that hold equal shares of ``int speed dt`` (de Boor 1974).

    ``speed >= 0`` is given at increasing ``times`` and integrated by the trapezoidal rule; between neighbours it counts
    as constant.  Where it is 0 everywhere the grid is linear.  ValueError for anything negative or not finite.
    """
    t, w = times.double(), speed.double()
    if len(t) < 2 or not bool((t.diff() > 0).all()):
        raise ValueError("`times` must hold two or more strictly increasing numbers.")
    _check(float(t[-1] - t[0]), steps)
    if not bool((torch.isfinite(w) & (w >= 0)).all()):
        raise ValueError("`speed` must be finite and nowhere negative.")
    return _fill(t, (w[1:] + w[:-1]) / 2, steps)


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
    """The grid on which ``step`` makes the same local error in each of ``steps`` steps of ``reverse``.

    A method of order p errs by ``C(t) h^(p+1)`` in a step h, so equal errors need steps in proportion to
    ``C^(-1/(p+1))`` (de Boor 1974).  ``C`` is measured where the process lives, from stored trajectories (``states`` at
    increasing ``times``): on each stored interval, one step backward against two halves (Richardson 1911),

        C(t) = rms(step(x, h) - step(step(x, h/2), h/2)) / (1 - 2^-p) / h^(p+1),

    without noise.  With a Gaussian reference under a linear SDE only what the network adds makes an error.  A
    difference counts as what it grows to until ``t = 0``, ``sqrt(S_0/S)`` per mode there, and otherwise in units of the
    spread of the states at ``t``.  ``smoothing`` is the share of the steps that is spread evenly over time, in case
    ``C`` was measured too small somewhere.  p is ``step.weak_order``.
    """
    if not math.isfinite(step.weak_order):
        raise ValueError("`step` must have a finite order: a step without error needs no grid.")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"`smoothing` must lie between 0 and 1, got {smoothing:g}.")
    if states.shape[1] != len(times):
        raise ValueError(f"`states` must have one state for each of the {len(times)} times, got {states.shape[1]}.")
    _check(float(times[-1] - times[0]), steps)
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
    return _fill(t, (1 - smoothing) * speed + smoothing * mean, steps)


def resample_times(times: Float[Tensor, " time"], steps: int) -> Float[Tensor, " grid"]:
    """A grid of ``steps`` steps over the same interval, as dense as ``times`` where that is dense."""
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")
    at = torch.linspace(0, len(times) - 1, steps + 1, dtype=torch.float64, device=times.device)
    i = at.floor().long().clamp(max=len(times) - 2)
    w = at - i
    return (1 - w) * times[i] + w * times[i + 1]


def _check(horizon: float, steps: int) -> None:
    if not (math.isfinite(horizon) and horizon > 0):
        raise ValueError(f"`horizon` must be positive and finite, got {horizon:g}.")
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")


def _fill(t: Tensor, speed: Tensor, steps: int) -> Tensor:
    """Invert ``int speed dt``, with ``speed`` constant on each interval of ``t``."""
    share = speed * t.diff()
    if not bool(share.sum() > 0):
        share = t.diff()
    done = torch.cat([share.new_zeros(1), share.cumsum(0)]) / share.sum()
    at = torch.linspace(0, 1, steps + 1, dtype=torch.float64, device=t.device)[1:-1]
    i = torch.searchsorted(done, at, right=True).clamp(1, len(t) - 1)
    inner = t[i - 1] + (at - done[i - 1]) / (done[i] - done[i - 1]) * t.diff()[i - 1]
    return torch.cat([t[:1], inner, t[-1:]])


def _size(reverse: Reverse, error: Tensor, x: Tensor, t: Tensor) -> float:
    """Root mean square of ``error`` at ``t``, carried to 0 or over the spread of the states ``x``."""
    if (reference := ReferenceLaw.of(reverse.score)) is not None:
        return reference.error_size(error, x, t)
    spread = (x - x.mean(0)).square().mean().sqrt().clamp(min=torch.finfo(x.dtype).tiny)
    return float(error.square().mean().sqrt() / spread)
