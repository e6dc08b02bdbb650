"""Schedules of noising processes: the rate ``beta(t)`` and its integral."""

from __future__ import annotations

__all__ = ["Cosine", "Geometric", "Schedule", "Table", "LinearRate"]

import itertools
import math
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Real
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from physinv.config.inputs import describe

_ROUNDING = 1.2e-7  # of float32, relative


@runtime_checkable
class Schedule(Protocol):
    """The rate of a noising process as a function of time, with its integral.

    A schedule whose rate jumps may say when, by ``kinks``, increasing times: likelihoods are accurate then.

    Attributes:
        horizon: Last time ``T`` of the schedule.
    """

    @property
    def horizon(self) -> float:
        """Last time ``T``."""

    def rate(self, t: Tensor) -> Tensor:
        """Return ``beta(t)``, per unit of time.

        Args:
            t: Times.

        Returns:
            The rates, of the shape of ``t``.
        """

    def integral(self, t0: Tensor | float, t1: Tensor) -> Tensor:
        """Return ``B = int beta dt`` from ``t0`` to ``t1``, negative where ``t1 < t0``.

        Args:
            t0: Times.
            t1: Times.

        Returns:
            The integral, of the shape of ``t1``.
        """


@dataclass(frozen=True)
class LinearRate(Schedule):
    """A rate that grows linearly, ``beta(t) = first + (last - first) t / T`` (Ho et al. 2020; Song et al. 2021).

    Args:
        first: Rate at 0.
        last: Rate at ``T``.
        horizon: ``T``.

    Raises:
        ValueError: If a rate is negative, both are 0, or the horizon is not positive.

    Example:
        >>> round(LinearRate(0.1, 20.0).integral(0.0, torch.tensor(1.0)).item(), 4)
        10.05
    """

    first: float = 0.1
    last: float = 20.0
    horizon: float = 1.0

    def __post_init__(self) -> None:
        _check_numbers(self)
        if not (min(self.first, self.last) >= 0 and max(self.first, self.last) > 0):
            raise ValueError(f"`first` and `last` must be rates of 0 or more, got {self.first:g} and {self.last:g}.")
        _check_horizon(self.horizon)

    def rate(self, t: Tensor) -> Tensor:
        """Return ``beta(t)``.

        Args:
            t: Times.
        """
        return self.first + (self.last - self.first) / self.horizon * t

    def integral(self, t0: Tensor | float, t1: Tensor) -> Tensor:
        """Return ``(t1 - t0)`` times the rate at their middle.

        Args:
            t0: Times at which intervals begin.
            t1: Times at which they end.
        """
        return (t1 - t0) * self.rate((t0 + t1) / 2)


@dataclass(frozen=True)
class Cosine(Schedule):
    """The cosine schedule, ``e^(-B(0, t)) = cos^2(theta) / cos^2(theta_0)`` with ``theta`` linear in time.

    ``theta_0 = pi/2 offset / (1 + offset)`` as Nichol and Dhariwal have it. Their angle ends at ``pi/2``, where nothing
    of the data is left and the rate is infinite, so that they clip it. Here it ends where a share ``left`` of the
    variance of the data is left.

    Args:
        offset: How far from 0 the angle starts, so that the rate at 0 is not too small.
        left: ``e^(-B)`` at ``T``.
        horizon: ``T``.

    Raises:
        ValueError: If ``left`` does not lie between 0 and 1, or another number is not positive.

    References:
        Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic models, eq. 17.

    Example:
        >>> round(Cosine(left=1e-4).integral(0.0, torch.tensor(1.0)).neg().exp().item(), 7)
        0.0001
    """

    offset: float = 0.008
    left: float = 1e-4
    horizon: float = 1.0

    def __post_init__(self) -> None:
        _check_numbers(self)
        if not (0 < self.left < 1 and self.offset >= 0):
            raise ValueError(f"`left` must lie in (0, 1) and `offset` be >= 0, got {self.left:g}, {self.offset:g}.")
        _check_horizon(self.horizon)

    def rate(self, t: Tensor) -> Tensor:
        """Return ``beta(t) = 2 tan(theta) dtheta/dt``.

        Args:
            t: Times.
        """
        start, speed = self._angle
        return 2 * speed * torch.tan(start + speed * t)

    def integral(self, t0: Tensor | float, t1: Tensor) -> Tensor:
        """Return ``2 log(cos(theta_0) / cos(theta_1))``, without cancellation for short steps.

        Args:
            t0: Times at which intervals begin.
            t1: Times at which they end.
        """
        start, speed = self._angle
        a, h = start + speed * t0, speed * (t1 - t0)
        tangent = torch.as_tensor(a, dtype=t1.dtype, device=t1.device).tan()
        # cos(a + h) / cos(a) - 1 = -2 sin(h/2)^2 - tan(a) sin(h)
        return -2 * torch.log1p(-2 * (h / 2).sin() ** 2 - tangent * h.sin())

    @property
    def _angle(self) -> tuple[float, float]:
        """The angle at 0 and its derivative."""
        start = math.pi / 2 * self.offset / (1 + self.offset)
        end = math.acos(math.sqrt(self.left) * math.cos(start))
        return start, (end - start) / self.horizon


@dataclass(frozen=True)
class Geometric(Schedule):
    """Noise of deviation ``sigma(t) = low (high / low)^(t / T)``: ``beta = d sigma^2 / dt`` (Song et al. 2021, eq. 30).

    Args:
        low: Deviation at 0; data noised from 0 to ``t`` have ``sigma^2(t) - low^2``.
        high: Deviation at ``T``.
        horizon: ``T``.

    Raises:
        ValueError: If ``0 < low < high`` does not hold, or the horizon is not positive.

    Example:
        >>> Geometric(0.5, 2.0).integral(0.0, torch.tensor(1.0)).item()
        3.75
    """

    low: float = 0.01
    high: float = 50.0
    horizon: float = 1.0

    def __post_init__(self) -> None:
        _check_numbers(self)
        if not 0 < self.low < self.high:
            raise ValueError(f"`low` and `high` must be 0 < low < high, got {self.low:g} and {self.high:g}.")
        _check_horizon(self.horizon)

    def sigma(self, t: Tensor | float) -> Tensor | float:
        """Return ``sigma(t)``.

        Args:
            t: Times.

        Returns:
            Deviations, of the shape of ``t``.
        """
        deviation: Tensor | float = self.low * (self.high / self.low) ** (t / self.horizon)
        return deviation

    def rate(self, t: Tensor) -> Tensor:
        """Return ``2 sigma^2 log(high / low) / T``.

        Args:
            t: Times.
        """
        rate: Tensor = 2 * torch.as_tensor(self.sigma(t)) ** 2 * (math.log(self.high / self.low) / self.horizon)
        return rate

    def integral(self, t0: Tensor | float, t1: Tensor) -> Tensor:
        """Return ``sigma^2(t1) - sigma^2(t0)``.

        Args:
            t0: Times at which intervals begin.
            t1: Times at which they end.
        """
        growth = torch.expm1(2 * math.log(self.high / self.low) / self.horizon * (t1 - t0))
        grown: Tensor = self.sigma(t0) ** 2 * growth
        return grown


@dataclass(frozen=True)
class Table(Schedule):
    """Given integrals at given times, with constant rates between them: discrete chains are continuous with it.

    Args:
        times: Increasing times, the first one 0.
        integrals: ``B(0, t)`` at these times, increasing from 0.

    Raises:
        ValueError: If times or integrals do not increase from 0.

    Example:
        >>> Table((0.0, 1.0, 2.0), (0.0, 0.5, 2.0)).integral(0.0, torch.tensor([0.5, 1.5]))
        tensor([0.2500, 1.2500])
    """

    times: tuple[float, ...]
    integrals: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("times", "integrals"):
            found = getattr(self, name)
            rising = all(a < b < math.inf for a, b in itertools.pairwise(found))  # false for NaN, too
            if len(found) < 2 or found[0] != 0 or not rising:
                raise ValueError(f"`{name}` must be finite and increase from 0, got {list(found[:4])}.")

    @property
    def horizon(self) -> float:
        """Last time."""
        return self.times[-1]

    @property
    def kinks(self) -> tuple[float, ...]:
        """Times at which one rate follows another."""
        return self.times[1:-1]

    def rate(self, t: Tensor) -> Tensor:
        """Return the rate of the interval that ends at ``t`` or contains it.

        Args:
            t: Times.
        """
        times, integrals, i = self._interval(t)
        return ((integrals[i] - integrals[i - 1]) / (times[i] - times[i - 1])).to(t)

    def integral(self, t0: Tensor | float, t1: Tensor) -> Tensor:
        """Return the difference of the interpolated integrals, taken in float64.

        Args:
            t0: Times at which intervals begin.
            t1: Times at which they end.
        """
        start = torch.as_tensor(t0, dtype=torch.float64, device=t1.device)
        return (self._total(t1.double()) - self._total(start)).to(t1.dtype)

    def _total(self, t: Tensor) -> Tensor:
        times, integrals, i = self._interval(t)
        share = (t - times[i - 1]) / (times[i] - times[i - 1])
        return integrals[i - 1] + share * (integrals[i] - integrals[i - 1])

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor, float]:
        """Times, integrals, and how far times on the grid may be off: they may be rounded to float32."""
        times, integrals = (torch.tensor(v, dtype=torch.float64) for v in (self.times, self.integrals))
        step = float(times.diff().min())
        return times, integrals, min(1e-6 * step + _ROUNDING * self.times[-1], step / 2)

    def _interval(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        times, integrals, rounding = self._tables
        times, integrals = times.to(t.device), integrals.to(t.device)
        i = torch.searchsorted(times, (t.double() - rounding).contiguous())
        return times, integrals, i.clamp(1, len(times) - 1)


def _check_numbers(schedule: LinearRate | Cosine | Geometric) -> None:
    """Refuse words, arrays and infinities in the place of numbers."""
    for field in fields(schedule):
        if not isinstance(value := getattr(schedule, field.name), Real):
            raise ValueError(f"`{field.name}` of {type(schedule).__name__} must be a number, got {describe(value)}.")
        if math.isinf(value):  # NaN is refused by the rules of each schedule, infinity may keep them
            raise ValueError(f"`{field.name}` of {type(schedule).__name__} must be finite, got {value:g}.")


def _check_horizon(horizon: float) -> None:
    if not (math.isfinite(horizon) and horizon > 0):
        raise ValueError(f"`horizon` must be positive and finite, got {horizon:g}.")
