"""Partial, noisy observations of the final state, ``y = H x_T + sigma n`` with white noise ``n``.

``H`` is any linear function of batched states (:mod:`physinv.laws.operators` has the usual ones).  Gaussian laws are
conditioned on observations by dense algebra in observation space: matrices of ``seen x seen`` and ``seen x state``
numbers, up to some 2000 observed numbers.
"""

from __future__ import annotations

__all__ = [
    "Covariance",
    "Observation",
    "Operator",
    "diagonal",
    "displayed_state",
    "isotropic",
    "jacobian",
    "linearised",
    "low_rank",
]

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Operator = Callable[[Tensor], Tensor]
"""``(batch, *state) -> (batch, *seen)``, linear, and on each state of the batch by itself."""


@dataclass(frozen=True)
class Observation:
    """A linear observation with white noise, ``p(y | x) = N(y; H x, sigma^2 I)``.

    Args:
        operator: ``H``, a linear function of states.
        noise: Standard deviation ``sigma``, in the unit of the observed numbers.

    Raises:
        ValueError: If ``noise`` is not positive and finite.

    Example:
        >>> first = Observation(lambda x: x[:, :1], noise=0.5)
        >>> first.score(torch.tensor([[1.0]]), torch.tensor([[0.0, 3.0]]))
        tensor([[4., 0.]])
    """

    operator: Operator
    noise: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise ValueError(
                f"`noise` must be positive and finite, got {self.noise}; for exact data take 1e-3 of their size."
            )

    def observe(
        self, x: Float[Tensor, "batch *state"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch *seen"]:
        """Draw an observation ``y = H x + sigma n`` of each state.

        Args:
            x: States.
            generator: Source of randomness, on the device of ``x``.
        """
        clean = self.operator(x)
        n = torch.randn(clean.shape, generator=generator, dtype=clean.dtype, device=clean.device)
        return clean + self.noise * n

    def log_prob(self, y: Float[Tensor, "batch *seen"], x: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
        """Return the log-likelihood ``log p(y | x)``.

        Args:
            y: Observed numbers.
            x: One state for each observation.
        """
        n = ((y - self.operator(x)) / self.noise).flatten(1)
        return -n.square().sum(1) / 2 - n.shape[1] * math.log(math.sqrt(2 * math.pi) * self.noise)

    def covariance(self, rows: Float[Tensor, "seen *state"]) -> Float[Tensor, "seen seen"]:
        """Return the covariance ``sigma^2 I`` of the noise.

        Args:
            rows: The operator as a matrix (:func:`jacobian`), from which size, dtype and device are taken.
        """
        return self.noise**2 * torch.eye(len(rows), dtype=rows.dtype, device=rows.device)

    def score(self, y: Float[Tensor, "batch *seen"], x: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the score of the likelihood, ``grad_x log p(y | x) = H^T (y - H x) / sigma^2``.

        Args:
            y: Observed numbers.
            x: One state for each observation.
        """
        clean, adjoint = linearised(self.operator, x)
        return adjoint((y - clean) / self.noise**2)


@dataclass(frozen=True)
class Covariance:
    """``C`` as two linear functions of ``(batch, *state)``: ``apply`` v to ``C v``, ``root`` white noise to N(0, C)."""

    apply: Callable[[Tensor], Tensor]
    root: Callable[[Tensor], Tensor]

    def given(
        self, rows: Float[Tensor, "seen *state"], noise: Float[Tensor, "seen seen"]
    ) -> tuple[Callable[[Tensor], Tensor], Covariance]:
        """Gain ``K`` and covariance of ``x ~ N(m, C)`` given ``y = H x + N(0, R)``: mean ``m + K (y - H m)``.

            K = C H^T M^-1,    C' = C - K H C,    M = H C H^T + R

        ``rows`` is H as a matrix (:func:`jacobian`), ``noise`` is R.  With ``R^(-1/2) H C H^T R^(-1/2) = U l U^T``,
        ``r = sqrt(1 + l)`` and ``V = R^(-1/2) U`` we have ``M^-1 = V r^-2 V^T``, and

            x' = u - C H^T F H u,    F = V 1/(r (r + 1)) V^T,    u ~ N(0, C)

        has the covariance ``C'``, since ``2 F - F H C H^T F = M^-1``: the reduced gain of the square-root filter
        (Andrews 1968; Whitaker and Hamill 2002), which needs no draws of observation noise as Matheron's rule
        does.  The matrices are made in float64.
        """
        shape, dtype = rows.shape[1:], rows.dtype
        H, cross = rows.flatten(1), self.apply(rows).flatten(1).double()
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
    """``variance I``."""
    if not (math.isfinite(variance) and variance > 0):
        raise ValueError(f"`variance` must be positive and finite, got {variance}.")
    return Covariance(lambda v: variance * v, lambda z: math.sqrt(variance) * z)


def diagonal(
    modes: Callable[[Tensor], Tensor], unmodes: Callable[[Tensor, Tensor], Tensor], power: Tensor
) -> Covariance:
    """Return the covariance that is diagonal in an orthonormal basis.

    Args:
        modes: States ``(batch, *state)`` to coefficients.
        unmodes: Coefficients back to states of the shape of its second argument.
        power: Variance ``E|y|^2`` of each coefficient.
    """

    def filtered(v: Tensor, gain: Tensor) -> Tensor:
        return unmodes(gain * modes(v), v)

    return Covariance(lambda v: filtered(v, power), lambda z: filtered(z, power.sqrt()))


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


def jacobian(operator: Operator, at: Float[Tensor, "1 *state"]) -> Float[Tensor, "seen *state"]:
    """Return the derivative of an operator at a state; for a linear operator, its matrix.

    Args:
        operator: Observation operator.
        at: The state.

    Returns:
        One row of the shape of a state for each observed number.

    Example:
        >>> jacobian(lambda x: x.sum(1, keepdim=True), torch.zeros(1, 3))
        tensor([[1., 1., 1.]])
    """
    seen = operator(at).shape[1:]
    number = math.prod(seen)
    adjoint = linearised(operator, at.expand(number, *at.shape[1:]))[1]
    return adjoint(torch.eye(number, dtype=at.dtype, device=at.device).reshape(number, *seen))


def linearised(operator: Operator, at: Float[Tensor, "batch *state"]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the value of an operator, and its transposed derivative there.

    Args:
        operator: Observation operator.
        at: States.

    Returns:
        ``(batch, *seen)``, and a function of ``(batch, *seen)`` to ``(batch, *state)``.
    """
    value, adjoint = torch.func.vjp(operator, at)[:2]
    return value, lambda v: adjoint(v)[0]


def displayed_state(observation: Observation, y: Float[Tensor, "batch *seen"], shape: tuple[int, ...]) -> Tensor:
    """Return the state of least norm that is observed as ``y``, ``H^+ y``, for figures.

    Args:
        observation: Linear operator ``H``; its noise plays no part.
        y: Observed numbers.
        shape: Shape of one state.

    Returns:
        States ``(batch, *shape)``.

    Example:
        >>> first = Observation(lambda x: x[:, :1], noise=0.5)
        >>> displayed_state(first, torch.tensor([[2.0]]), (2,))
        tensor([[2., 0.]])
    """
    H = jacobian(observation.operator, y.new_zeros(1, *shape)).flatten(1)
    state: Tensor = y.flatten(1) @ torch.linalg.pinv(H).T
    return state.reshape(len(y), *shape)
