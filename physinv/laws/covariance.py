"""Covariances of Gaussian laws of states, as linear maps of batches: no matrix over all components is ever formed."""

from __future__ import annotations

__all__ = ["Covariance", "diagonal", "isotropic", "low_rank"]

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Map = Callable[[Tensor], Tensor]
"""A linear map of states, ``(batch, *state) -> (batch, *state)``."""


@dataclass(frozen=True)
class Covariance:
    """The covariance ``C`` of a Gaussian law of states, given by what it does to states.

    Args:
        apply: ``v`` to ``C v``.
        root: ``z`` to ``F z`` with ``F F^T = C``: white noise becomes a draw from ``N(0, C)``.
        inverse_root: ``v`` to ``F^(-1) v``, where it is known; directions without variance give 0.

    Example:
        >>> C = Covariance(lambda v: 4 * v, lambda z: 2 * z)
        >>> C.root(torch.ones(1, 2))
        tensor([[2., 2.]])
    """

    apply: Map
    root: Map
    inverse_root: Map | None = None

    def whiten(self, v: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return ``C^(-1/2) v``, standard normal for draws ``v`` from ``N(0, C)``.

        Args:
            v: Deviations from the mean, ``(batch, *state)``.

        Returns:
            The whitened deviations; directions without variance give 0.

        Raises:
            ValueError: If this covariance was built without its inverse root.
        """
        if self.inverse_root is None:
            raise ValueError("`inverse_root` must be given for a covariance that is to whiten, got None.")
        return self.inverse_root(v)

    def given(self, rows: Float[Tensor, "seen *state"], noise: Float[Tensor, "seen seen"]) -> tuple[Map, Covariance]:
        """Condition ``x ~ N(m, C)`` on a noisy linear observation ``y = H x + N(0, R)``.

            K = C H^T M^-1,    C' = C - K H C,    M = H C H^T + R

        With ``R^(-1/2) H C H^T R^(-1/2) = U l U^T``, ``r = sqrt(1 + l)`` and ``V = R^(-1/2) U`` we have
        ``M^-1 = V r^-2 V^T``, and

            x' = u - C H^T F H u,    F = V 1/(r (r + 1)) V^T,    u ~ N(0, C)

        has the covariance ``C'``, since ``2 F - F H C H^T F = M^-1``.  This reduced gain of the square-root filter
        needs no draws of observation noise, unlike Matheron's rule.  The matrices are computed in float64.

        Args:
            rows: The observation operator ``H`` as a matrix, one row of the shape of a state for each observed number.
            noise: The covariance ``R`` of the observation noise.

        Returns:
            The gain, a map of ``y - H m`` to ``K (y - H m)``, and the covariance ``C'`` given ``y``.

        References:
            Andrews (1968), A square root formulation of the Kalman covariance equations;
            Whitaker and Hamill (2002), Ensemble data assimilation without perturbed observations.
        """
        shape, dtype = rows.shape[1:], rows.dtype
        H, cross = rows.flatten(1), self.apply(rows).flatten(1).double()

        # Whiten by the noise, so that the smallest eigenvalue of what is inverted is 1.
        L = torch.linalg.cholesky(noise.double())
        white = torch.linalg.solve_triangular(L, H.double() @ cross.T, upper=False)
        white = torch.linalg.solve_triangular(L, white.T, upper=False)
        eigenvalues, U = torch.linalg.eigh((white + white.T) / 2)
        r = (1 + eigenvalues.clamp(min=0)).sqrt()
        V = torch.linalg.solve_triangular(L.T, U, upper=True)
        whole, reduced = (((V * w) @ (V.T @ cross)).to(dtype) for w in (1 / r**2, 1 / (r * (r + 1))))

        def gain(gap: Tensor, filled: Tensor = whole) -> Tensor:
            return (gap.flatten(1) @ filled).reshape(-1, *shape)

        def apply(v: Tensor) -> Tensor:
            u = self.apply(v)
            return u - gain(u.flatten(1) @ H.T)

        def root(z: Tensor) -> Tensor:
            u = self.root(z)
            return u - gain(u.flatten(1) @ H.T, reduced)

        return gain, Covariance(apply, root)


def isotropic(variance: float) -> Covariance:
    """Return the covariance ``variance I``.

    Args:
        variance: Variance of every component, in the square of the state's unit.

    Returns:
        The covariance, with its inverse root.

    Raises:
        ValueError: If ``variance`` is not positive and finite.
    """
    if not (math.isfinite(variance) and variance > 0):
        raise ValueError(f"`variance` must be positive and finite, got {variance}.")
    deviation = math.sqrt(variance)
    return Covariance(lambda v: variance * v, lambda z: deviation * z, lambda v: v / deviation)


def diagonal(
    modes: Callable[[Tensor], Tensor],
    unmodes: Callable[[Tensor, Tensor], Tensor],
    variance: Tensor,
    *,
    rest: float | None = None,
) -> Covariance:
    """Return the covariance ``E diag(v) E^H + rest (I - E E^H)`` for an orthonormal basis ``E``.

    Args:
        modes: ``E^H``, ``(batch, *state) -> (batch, *modes)``.
        unmodes: ``E``, called with the modes and a batch of states of the shape and dtype wanted.
        variance: The variances ``v``, ``(*modes)``, real and not negative.
        rest: Variance of the directions that an incomplete basis leaves out; None for a complete basis.

    Returns:
        A covariance whose root is symmetric; directions without variance map to 0, also by ``whiten``.

    Example:
        >>> C = diagonal(lambda x: x, lambda y, like: y, torch.tensor([4.0, 0.0]))
        >>> C.whiten(torch.ones(1, 2))
        tensor([[0.5000, 0.0000]])
    """

    def power(x: Tensor, exponent: float) -> Tensor:
        scale = torch.where(variance > 0, variance.abs() ** exponent, torch.zeros_like(variance)).to(x)
        if rest is None:
            return unmodes(scale * modes(x), x)
        outside = rest**exponent if rest > 0 else 0.0
        return outside * x + unmodes((scale - outside) * modes(x), x)

    return Covariance(lambda v: power(v, 1.0), lambda z: power(z, 0.5), lambda v: power(v, -0.5))


def low_rank(U: Float[Tensor, "d r"], D: Float[Tensor, " d"]) -> Covariance:
    """Return the covariance ``C = U U^T + diag(D)``.

    With ``A = D^(-1/2) U = W l^(1/2) X^T`` its root is ``D^(1/2) (1 + A A^T)^(1/2)``, where
    ``(1 + A A^T)^(1/2) = 1 + A X 1/(sqrt(1 + l) + 1) X^T A^T``.

    Args:
        U: Factors: directions in which the components vary together.
        D: Variance of each component on its own.
    """
    A = U / D.sqrt()[:, None]
    eigenvalues, X = torch.linalg.eigh(A.T @ A)
    A = A @ X
    weight = 1 / ((1 + eigenvalues.clamp(min=0)).sqrt() + 1)

    def apply(v: Tensor) -> Tensor:
        w = v.flatten(1)
        out: Tensor = (w @ U @ U.T + D * w).reshape(v.shape)
        return out

    def root(z: Tensor) -> Tensor:
        w = z.flatten(1)
        out: Tensor = ((w + (w @ A * weight) @ A.T) * D.sqrt()).reshape(z.shape)
        return out

    return Covariance(apply, root)
