"""Discrete chains as noising processes: DDPM is ``VP(chain(betas))``, SMLD is ``VE(levels(sigmas))``, on their times.

The continuous process has the kernels of the chain, exactly, between the times ``0, T/N, ..., T``.
"""

from __future__ import annotations

__all__ = ["chain", "cosine_betas", "geometric_levels", "grid", "levels", "linear_betas"]

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import as_tensor, check_count
from physinv.equations.noising.schedules import Table


def chain(betas: Tensor | Sequence[float], horizon: float = 1.0) -> Table:
    """Return the schedule of :class:`~physinv.equations.noising.processes.VP` whose steps add noise ``beta_i``.

    Args:
        betas: Variances of the noise of the steps, from data to noise, each between 0 and 1.
        horizon: Time of the last state.

    Returns:
        A schedule with ``B = -log(1 - beta_i)`` in step i.

    Raises:
        ValueError: If a beta does not lie between 0 and 1: with 1 a step leaves nothing of the state, and no reverse
            step knows from where it came.

    Example:
        >>> from physinv.equations.noising import VP
        >>> process, like = VP(chain([0.1, 0.5])), torch.zeros(1, 1)
        >>> round(process.variance(0.5, torch.ones(1), like).item(), 6)
        0.5
    """
    beta = as_tensor(betas, "betas").double().cpu()
    if beta.ndim != 1 or not len(beta):
        raise ValueError(f"`betas` must be one row of numbers, got shape {tuple(beta.shape)}.")
    beta = _checked(beta)
    return Table(_times(len(beta), horizon), _increasing(-torch.log1p(-beta)))


def levels(sigmas: Float[Tensor, " level"] | Sequence[float], horizon: float = 1.0) -> Table:
    """Return the schedule of :class:`~physinv.equations.noising.processes.VE` with given noise levels.

    Args:
        sigmas: Standard deviations of the noise, increasing from above 0.
        horizon: Time of the largest one.

    Returns:
        A schedule with ``sigma_i^2`` between 0 and ``i T / N``.

    Raises:
        ValueError: If the levels do not increase from above 0.

    Example:
        >>> from physinv.equations.noising import VE
        >>> process, like = VE(levels([0.5, 2.0])), torch.zeros(1, 1)
        >>> process.variance(0.0, torch.ones(1), like).item()
        4.0
    """
    given = as_tensor(sigmas, "sigmas").double().cpu()
    variance = given.reshape(-1) ** 2
    steps = torch.cat([variance[:1], variance.diff()])
    if given.ndim != 1 or not len(given) or not bool((given > 0).all() and (steps > 0).all()):
        raise ValueError(f"`sigmas` must increase from above 0, got {given.flatten()[:4].tolist()}.")
    return Table(_times(len(variance), horizon), _increasing(steps))


def grid(steps: int, horizon: float = 1.0) -> Float[Tensor, " time"]:
    """Return the times ``0, T/N, ..., T`` of a chain, float64.

    Args:
        steps: Number of steps ``N``.
        horizon: ``T``.
    """
    return torch.tensor(_times(check_count(steps, "steps"), horizon), dtype=torch.float64)


def linear_betas(steps: int, first: float = 0.1, last: float = 20.0) -> Float[Tensor, " step"]:
    """Return ``beta_i`` that grow linearly from ``first / N`` to ``last / N`` (Ho et al. 2020, with N = 1000).

    Args:
        steps: Number of steps ``N``, more than ``last``, so that all are below 1.
        first: First beta times ``N``.
        last: Last beta times ``N``.

    Returns:
        ``(steps,)``, float64.

    Raises:
        ValueError: If one is not between 0 and 1.

    Example:
        >>> [round(beta, 4) for beta in linear_betas(1000)[[0, -1]].tolist()]
        [0.0001, 0.02]
    """
    return _checked(torch.linspace(first, last, check_count(steps, "steps"), dtype=torch.float64) / steps)


def cosine_betas(steps: int, offset: float = 0.008, most: float = 0.999) -> Float[Tensor, " step"]:
    """Return ``beta_i = 1 - abar_i / abar_(i-1)`` with ``abar`` the square of a cosine, at most ``most``.

    Args:
        steps: Number of steps ``N``.
        offset: How far from 0 the angle starts.
        most: Largest beta; the last one would be 1.

    Returns:
        ``(steps,)``, float64.

    Raises:
        ValueError: If one is not between 0 and 1.

    References:
        Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic models, eq. 17.

    Example:
        >>> cosine_betas(1000)[-1].item()
        0.999
    """
    share = torch.linspace(0, 1, check_count(steps, "steps") + 1, dtype=torch.float64)
    kept = ((share + offset) / (1 + offset) * math.pi / 2).cos() ** 2
    return _checked((1 - kept[1:] / kept[:-1]).clamp(max=most))


def geometric_levels(count: int, low: float = 0.01, high: float = 1.0) -> Float[Tensor, " level"]:
    """Return noise levels in geometric progression, from ``low`` to ``high`` (Song and Ermon 2019).

    Args:
        count: Number of levels.
        low: Smallest standard deviation.
        high: Largest one, about the largest distance between two states of the data (Song and Ermon 2020).

    Returns:
        ``(count,)``, float64.

    Raises:
        ValueError: If ``0 < low < high`` does not hold.

    Example:
        >>> geometric_levels(3, 0.5, 2.0)
        tensor([0.5000, 1.0000, 2.0000], dtype=torch.float64)
    """
    if not 0 < low < high:
        raise ValueError(f"`low` and `high` must be 0 < low < high, got {low:g} and {high:g}.")
    steps = torch.linspace(0, 1, check_count(count, "count"), dtype=torch.float64)
    return low * (high / low) ** steps


def _checked(beta: Tensor) -> Tensor:
    """The same numbers, if all are variances of steps that leave some of the data."""
    wrong = (~((beta > 0) & (beta < 1))).nonzero()
    if len(wrong):
        i = int(wrong[0])
        remedy = "; take more steps" if beta[i] >= 1 else ""
        raise ValueError(f"`betas` must lie between 0 and 1, got {float(beta[i]):g} at step {i + 1}{remedy}.")
    return beta


def _times(steps: int, horizon: float) -> tuple[float, ...]:
    return (*(i * horizon / steps for i in range(steps)), horizon)


def _increasing(parts: Tensor) -> tuple[float, ...]:
    return (0.0, *parts.cumsum(0).tolist())
