"""What flows and bridges between two Gaussian numbers arrive at: with and without the start as an input.

For a Gaussian pair (start, end) the expectations of an interpolant are linear,

    E[end | x_s]           = K x_s               or, with the start as an input,
    E[end | x_s, start]    = K x_s + H start,

and so is what leads from a start to the end: ``N(slope start, variance)``.  The posterior has ``slope = C / V_start``
and ``variance = V_end - C^2 / V_start``, with the covariance ``C``.  Without the start as an input

- the straight flow is one point, ``slope = (V_end / V_start)^(1/2)``: that of the probability flow,
- a bridge has a slope and a variance that depend on its noise,

though ``slope^2 V_start + variance = V_end`` in both cases: the law of all ends is right, that of an end given its
start is not.  With the start as an input bridges are exact.
"""

from __future__ import annotations

__all__ = ["Arrival", "GaussianPair"]

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from physinv.equations.bridges import adaptive
from physinv.equations.paths.interpolants import Interpolant

_TOLERANCE = 1e-9  # of the solver
_EDGE = 1e-12  # from where a bridge is followed, and up to where: at the ends its drift has the form 0/0


class Arrival(NamedTuple):
    """The law ``N(slope start, variance)`` of ends given their start.

    Attributes:
        slope: How the mean depends on the start.
        variance: Variance about that mean.
    """

    slope: float
    variance: float


@dataclass(frozen=True)
class GaussianPair:
    """Two numbers of mean 0, jointly Gaussian.

    Args:
        start: Variance of the start, above 0.
        covariance: Covariance of start and end.
        end: Variance of the end.

    Raises:
        ValueError: If this is no covariance matrix.

    Example:
        An Ornstein-Uhlenbeck process of rate and noise .5, from N(0, 1) over a time of 2:

        >>> from math import exp
        >>> pair = GaussianPair(start=exp(-2) + (1 - exp(-2)) / 4, covariance=exp(-1), end=1.0)
        >>> [round(pair.posterior().slope, 4), round(pair.posterior().variance ** 0.5, 4)]
        [1.0466, 0.7842]
        >>> round(pair.flow().slope, 5)  # of x_0 along the straight flow that does not know x_T
        1.68669
    """

    start: float
    covariance: float
    end: float

    def __post_init__(self) -> None:
        if not (self.start > 0 and self.end * self.start >= self.covariance**2):
            raise ValueError(
                "`start`, `covariance` and `end` must be those of a pair, with start > 0 and covariance^2 <= "
                f"start * end, got {self.start:g}, {self.covariance:g}, {self.end:g}."
            )

    def posterior(self) -> Arrival:
        """Return the law of the end given the start."""
        slope = self.covariance / self.start
        return Arrival(slope, self.end - slope * self.covariance)

    def gains(self, path: Interpolant, s: Tensor, *, given: bool) -> tuple[Tensor, Tensor]:
        """Return ``K`` and ``H`` of ``E[end | x_s]``, or of ``E[end | x_s, start]``.

        Args:
            path: The interpolant.
            s: Places on the path, between 0 and 1.
            given: Whether the start is an input.

        Returns:
            The two gains; the second is 0 without the start as an input.
        """
        blur = path.spread(s) ** 2
        if given:
            slope, left = self.posterior()
            k = s * left / (s**2 * left + blur)
            return k, slope * (1 - k * s) - k * (1 - s)
        across = (1 - s) * self.covariance + s * self.end
        now = (1 - s) ** 2 * self.start + 2 * s * (1 - s) * self.covariance + s**2 * self.end + blur
        return across / now, torch.zeros_like(s)

    def flow(self) -> Arrival:
        """Return where the straight flow ``dx = E[end - start | x_s] ds`` leads to, without the start as an input.

        With the start as an input there is no such flow: two points of a straight line tell where it ends.
        """

        def rate(s: Tensor, slope: Tensor) -> Tensor:
            now = (1 - s) ** 2 * self.start + 2 * s * (1 - s) * self.covariance + s**2 * self.end
            return ((1 - s) * (self.covariance - self.start) + s * (self.end - self.covariance)) / now * slope

        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        reached = adaptive(rate, torch.ones(1, dtype=torch.float64), ends, rtol=_TOLERANCE, atol=_TOLERANCE)
        return Arrival(float(reached[-1]), 0.0)

    def bridge(self, noise: float, *, given: bool) -> Arrival:
        """Return where the bridge ``dx = E[pull | x_s] ds + sigma dW`` leads to.

        Args:
            noise: ``sigma``, above 0.
            given: Whether the start is an input of the expectation.

        Raises:
            ValueError: If ``noise`` is not above 0.
        """
        if not noise > 0:
            raise ValueError(f"`noise` must be above 0, got {noise:g}; without noise there is `flow()`.")
        path = Interpolant(noise)

        def rate(u: Tensor, law: Tensor) -> Tensor:
            s = u.clamp(_EDGE, 1 - _EDGE)
            k, h = self.gains(path, s, given=given)
            a, b = (k - 1) / (1 - s), h / (1 - s)
            return torch.stack([a * law[0] + b, 2 * a * law[1] + noise**2])

        ends = torch.tensor([0.0, 1 - 1e-6], dtype=torch.float64)
        law = adaptive(rate, torch.tensor([1.0, 0.0], dtype=torch.float64), ends, rtol=_TOLERANCE, atol=_TOLERANCE)
        return Arrival(*law[-1].tolist())
