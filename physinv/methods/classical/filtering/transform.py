"""The ensemble transform Kalman filter: the members move so that mean and covariance are those of Kalman's update.

With the members' deviations ``X``, what is seen of them, ``Y``, in units of the noise, and ``d`` the gap of the mean,

    A = (m - 1) I + Y Y^T,   x' = mean + X^T A^-1 Y d + X^T (sqrt(m - 1) A^(-1/2)) v_j

(Bishop, Etherton and Majumdar 2001; Hunt, Kostelich and Szunyogh 2007): no random numbers, and matrices of the size of
the ensemble.  A finite ensemble underestimates its errors.  The factor ``l`` by which its deviations have to grow is
either given or, by default, found at each time from the gap itself: the likelihood under the law of an ensemble
whose mean and covariance are estimated from its members (Bocquet 2011; Bocquet, Raanes and Hannart 2015),

    J(l) = sum_i d_i^2 / (m - 1 + l^2 s_i^2) + (1 + 1/m) / l^2 + 2 m / (m - 1) log l,

with ``s_i`` the singular values of ``Y`` and ``d_i`` the gap along its singular vectors.
"""

from __future__ import annotations

__all__ = ["EnsembleTransform"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physinv.laws.observation import Observation
from physinv.methods.classical.filtering.filter import Ensemble, Seen

_GRID, _LEAST, _MOST = 200, 0.5, 20.0  # factors that J is looked at
_NEWTON = 3  # and steps of parabolas from the best of these


@dataclass(frozen=True)
class EnsembleTransform:
    """The correction of an ensemble transform Kalman filter.

    Args:
        inflation: Factor of the members' deviations before each correction; None: found from what is seen.
        rotate: Whether members are turned at random, around their mean, after each correction, which keeps a few of
            them from leaving the rest; thousands of members need none, and the work grows with their cube.

    Raises:
        ValueError: If ``inflation`` is not positive.
    """

    inflation: float | None = None
    rotate: bool = True

    def __post_init__(self) -> None:
        if self.inflation is not None and not (math.isfinite(self.inflation) and self.inflation > 0):
            raise ValueError(f"`inflation` must be positive and finite, got {self.inflation}; 1.02 is usual.")

    def __call__(
        self, ensemble: Ensemble, observation: Observation, seen: Seen, generator: torch.Generator | None, /
    ) -> tuple[Ensemble, Ensemble]:
        """Correct an ensemble of equal weights.

        Args:
            ensemble: Members before.
            observation: Operator and noise.
            seen: Observed numbers, NaN where one is missing.
            generator: Source of the rotation.

        Returns:
            The corrected members, and the same again, turned.
        """
        batch, m = ensemble.log_weights.shape
        x = ensemble.states.reshape(batch, m, -1).double()
        values = observation.operator(ensemble.states.flatten(0, 1)).reshape(batch, m, -1).double()
        there = seen.isfinite()

        # Deviations and gap in units of the noise; nothing where a number is missing.
        centre, middle = x.mean(1, keepdim=True), values.mean(1, keepdim=True)
        X, Y = x - centre, (values - middle) * there[:, None] / observation.noise
        gap = torch.where(there, seen.double() - middle[:, 0], 0.0) / observation.noise

        # Y = U s V^T, and the factor of the deviations.
        U, s, Vt = torch.linalg.svd(Y, full_matrices=False)
        along = torch.einsum("bkp,bp->bk", Vt, gap)
        factor = _inflations(s, along, m) if self.inflation is None else s.new_full((batch, 1), self.inflation)
        X, s = factor[:, :, None] * X, factor * s

        # Outside of U the weights of the members' mean are 0 and their deviations stay.
        mean = torch.einsum("bmk,bk->bm", U, s * along / (m - 1 + s**2))
        shrink = ((m - 1) / (m - 1 + s**2)).sqrt() - 1
        found = centre + torch.einsum("bm,bmd->bd", mean, X)[:, None]
        deviations = X + (U * shrink[:, None]) @ (U.mT @ X)
        known = Ensemble((found + deviations).to(ensemble.states).reshape(ensemble.states.shape), ensemble.log_weights)
        if not self.rotate:
            return known, known
        turned = found + _rotation(batch, m, deviations, generator) @ deviations
        return known, Ensemble(turned.to(ensemble.states).reshape(ensemble.states.shape), ensemble.log_weights)


def _inflations(s: Tensor, along: Tensor, m: int) -> Tensor:
    """The factor of the smallest ``J`` for each row, ``(batch, 1)``."""

    def J(log: Tensor) -> Tensor:
        square = (2 * log).exp()[:, :, None]
        first = (along[:, None] ** 2 / (m - 1 + square * s[:, None] ** 2)).sum(2)
        return first + (1 + 1 / m) / square[:, :, 0] + 2 * m / (m - 1) * log

    places = torch.linspace(math.log(_LEAST), math.log(_MOST), _GRID, dtype=s.dtype, device=s.device)
    best = places[J(places.expand(len(s), -1)).argmin(1)][:, None]
    h = float(places[1] - places[0])
    for _ in range(_NEWTON):  # the vertex of the parabola through three points, within the grid's step
        low, here, high = J(best - h), J(best), J(best + h)
        bend = low - 2 * here + high
        best = best + torch.where(bend > 0, (low - high) / (2 * bend) * h, torch.zeros_like(bend)).clamp(-h, h)
        h /= 4
    return best.exp()


def _rotation(batch: int, m: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Random rotations of members that keep their mean."""
    z = torch.randn((batch, m - 1, m - 1), generator=generator, dtype=like.dtype, device=like.device)
    turn, r = torch.linalg.qr(z)
    turn = turn * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    ones = torch.ones((m, 1), dtype=like.dtype, device=like.device)
    basis = torch.linalg.qr(torch.cat([ones, torch.eye(m, m - 1, dtype=like.dtype, device=like.device)], 1))[0][:, 1:]
    found: Tensor = basis @ turn @ basis.T + 1 / m
    return found
