"""Grids of times ``0 = t_0 < ... < t_M = T`` at which a reversal makes its steps.

All grids are float64 and increase; flip them to go back.
"""

from __future__ import annotations

__all__ = ["equidistributed", "linear", "logarithmic", "resample_times", "shared_equally"]

import math

import torch
from jaxtyping import Float
from torch import Tensor


def linear(horizon: float, steps: int) -> Float[Tensor, " grid"]:
    """Return equidistant times ``t_n = n T / M``.

    Args:
        horizon: Final time ``T``, in units of time.
        steps: Number of steps ``M``.

    Returns:
        ``steps + 1`` times.

    Raises:
        ValueError: If ``horizon`` is not positive and finite, or ``steps`` below 1.
    """
    _check(horizon, steps)
    return torch.linspace(0, horizon, steps + 1, dtype=torch.float64)


def logarithmic(horizon: float, steps: int, first: float) -> Float[Tensor, " grid"]:
    """Return times in geometric progression, ``t_0 = 0`` and ``t_n = first (T / first)^((n - 1)/(M - 1))``.

    Steps that grow with time suit initial states with structure at all scales, of which small scales decay first.

    Args:
        horizon: Final time ``T``, in units of time.
        steps: Number of steps ``M``, 2 or more.
        first: The first time after 0, in units of time.

    Returns:
        ``steps + 1`` times.

    Raises:
        ValueError: If ``first`` does not lie between 0 and ``horizon``, or ``steps`` is below 2.

    Example:
        >>> [round(t, 9) for t in logarithmic(8.0, 4, 1.0).tolist()]
        [0.0, 1.0, 2.0, 4.0, 8.0]
    """
    _check(horizon, steps)
    if steps < 2:
        raise ValueError(f"`steps` must be at least 2 for a logarithmic grid, got {steps}.")
    if not 0 < first < horizon:
        raise ValueError(f"`first` must lie between 0 and the horizon {horizon:g}, got {first:g}.")
    inner = torch.linspace(math.log(first), math.log(horizon), steps, dtype=torch.float64).exp()
    inner[0], inner[-1] = first, horizon
    return torch.cat([inner.new_zeros(1), inner])


def equidistributed(times: Float[Tensor, " time"], speed: Float[Tensor, " time"], steps: int) -> Float[Tensor, " grid"]:
    """Return the grid whose steps hold equal shares of ``int speed dt`` (de Boor 1974).

    The integral is that of the trapezoidal rule; between neighbouring times the speed counts as constant.

    Args:
        times: Two or more increasing times, in units of time; the grid spans them.
        speed: Density of the steps at each of ``times``, per unit of time, 0 or more, such as a rate of change of the
            states; its scale does not matter.  Where it is 0 everywhere the grid is linear.
        steps: Number of steps.

    Returns:
        ``steps + 1`` times.

    Raises:
        ValueError: If ``times`` do not increase, or ``speed`` is negative or not finite anywhere.
    """
    t, w = times.double(), speed.double()
    if len(t) < 2 or not bool((t.diff() > 0).all()):
        raise ValueError("`times` must hold two or more strictly increasing numbers.")
    _check(float(t[-1] - t[0]), steps)
    if not bool((torch.isfinite(w) & (w >= 0)).all()):
        raise ValueError("`speed` must be finite and nowhere negative.")
    return shared_equally(t, (w[1:] + w[:-1]) / 2, steps)


def shared_equally(
    times: Float[Tensor, " time"], speed: Float[Tensor, " interval"], steps: int
) -> Float[Tensor, " grid"]:
    """Return the grid whose steps hold equal shares of ``int speed dt``, for a speed constant on each interval.

    Args:
        times: Increasing times, in units of time; the grid spans them.
        speed: Density of the steps between neighbouring times, per unit of time, 0 or more; its scale does not matter,
            and 0 everywhere counts as 1.
        steps: Number of steps.

    Returns:
        ``steps + 1`` times.
    """
    share = speed * times.diff()
    if not bool(share.sum() > 0):
        share = times.diff()
    done = torch.cat([share.new_zeros(1), share.cumsum(0)]) / share.sum()
    at = torch.linspace(0, 1, steps + 1, dtype=torch.float64, device=times.device)[1:-1]
    i = torch.searchsorted(done, at, right=True).clamp(1, len(times) - 1)
    inner = times[i - 1] + (at - done[i - 1]) / (done[i] - done[i - 1]) * times.diff()[i - 1]
    return torch.cat([times[:1], inner, times[-1:]])


def resample_times(times: Float[Tensor, " time"], steps: int) -> Float[Tensor, " grid"]:
    """Return a grid of another number of steps over the same interval, dense where the given times are.

    Args:
        times: Increasing times, in units of time.
        steps: Number of steps, 1 or more.

    Returns:
        ``steps + 1`` times, by linear interpolation of ``times`` over their index.

    Raises:
        ValueError: If ``steps`` is below 1.
    """
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
