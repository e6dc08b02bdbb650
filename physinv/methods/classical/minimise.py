"""The cost function of variational assimilation, its derivatives, and two ways down: L-BFGS and Gauss-Newton.

    J(u) = |u|^2 / 2 + |r(u)|^2 / 2,   r(u) = R^(-1/2) (F(m + S^(1/2) u) + b - x_T)

Every observation has a minimisation of its own, with its own steps; all run side by side.
"""

from __future__ import annotations

__all__ = [
    "STARTS",
    "Cost",
    "CostFunction",
    "LeastSquares",
    "Linearised",
    "gauss_newton",
    "lbfgs",
    "misses",
    "sharpened",
    "warn_of_misses",
]

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from physinv.methods.classical.coordinates import ControlVariable
from physinv.methods.classical.forward import Forward

Precondition = Callable[[Tensor], Tensor]

STARTS = 64
"""Draws of the prior among which a second search begins."""

_ENOUGH = 1e-4  # of the demanded decrease that a step must reach (Armijo 1966)
_HALVINGS = 6
_RATIO, _MOST = 3.0, 12  # of the errors of one search to those of the next, and most of these
_MISSED, _CHANCE = 2.0, 5.0  # mean square residual, and standard deviations of chance, over which a point misses


@dataclass(frozen=True)
class LeastSquares:
    """A cost function ``J(u) = |u|^2 / 2 + |r(u)|^2 / 2`` of each observation, in whitened coordinates ``u``.

    Args:
        precondition: A symmetric positive approximation of the inverse Hessian of ``J``.
    """

    precondition: Precondition = field(default=lambda v: v, kw_only=True)

    @abstractmethod
    def residual(self, u: Float[Tensor, "batch d"]) -> Float[Tensor, "batch r"]:
        """Return the residual ``r(u)``, standard normal at the truth; differentiable.

        Args:
            u: Whitened coordinates.

        Returns:
            Flat vectors.
        """

    @torch.no_grad()
    def value(self, u: Float[Tensor, "batch d"]) -> Float[Tensor, " batch"]:
        """Return ``J(u)``, summed in float64; infinite where the solver diverges.

        Args:
            u: Whitened coordinates.

        Returns:
            One value for each observation.
        """
        return _value(u, self.residual(u))

    @torch.enable_grad()
    def gradient(self, u: Float[Tensor, "batch d"]) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch d"]]:
        """Return ``J(u)`` and its gradient ``u + (dr/du)^T r``, by the adjoint of the solver.

        Args:
            u: Whitened coordinates.

        Returns:
            Values and gradients, one for each observation.
        """
        u = u.detach().requires_grad_()
        r = self.residual(u)
        (pull,) = torch.autograd.grad(r, u, r.detach())
        return _value(u.detach(), r.detach()), u.detach() + pull

    @torch.enable_grad()
    def linearise(self, u: Float[Tensor, "batch d"]) -> Linearised:
        """Return the residual and its derivative at ``u``; products with the derivative reuse one recorded solve.

        Args:
            u: Whitened coordinates.

        Returns:
            The residual with products by its derivative.
        """
        u = u.detach().requires_grad_()
        r = self.residual(u)
        w = torch.zeros_like(r, requires_grad=True)
        (pull,) = torch.autograd.grad(r, u, w, create_graph=True)

        def adjoint(v: Tensor) -> Tensor:
            return torch.autograd.grad(r, u, v, retain_graph=True)[0]

        def tangent(v: Tensor) -> Tensor:  # pull = K^T w is linear in w, and the adjoint of that map is K
            return torch.autograd.grad(pull, w, v, retain_graph=True)[0]

        return Linearised(r.detach(), tangent, adjoint, self.precondition)


@dataclass(frozen=True)
class CostFunction(LeastSquares):
    """The cost function of final states that are seen whole.

    Args:
        forward: The observation model.
        prior: Coordinates of the prior.
        final: Observed final states ``x_T``.
    """

    forward: Forward
    prior: ControlVariable
    final: Float[Tensor, "batch *state"]

    def residual(self, u: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
        return self.forward.misfit(self.prior.root(u, self.final), self.final)


@dataclass(frozen=True)
class Linearised:
    """The residual at one point and its derivative ``K = dr/du``.

    Args:
        residual: ``r(u)``.
        tangent: ``v`` to ``K v``.
        adjoint: ``w`` to ``K^T w``.
        precondition: A symmetric positive approximation of ``(I + K^T K)^-1``.
    """

    residual: Float[Tensor, "batch d"]
    tangent: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]
    precondition: Precondition

    def solve(self, rhs: Float[Tensor, "batch d"], iterations: int) -> Float[Tensor, "batch d"]:
        """Return ``(I + K^T K)^-1 rhs`` by preconditioned conjugate gradients.

        Args:
            rhs: Right-hand sides, one for each observation.
            iterations: Most iterations; an observation that has converged earlier stays unchanged.

        Returns:
            Approximate solutions, one for each observation.

        References:
            Hestenes and Stiefel (1952), Methods of conjugate gradients for solving linear systems.
        """
        x, r = torch.zeros_like(rhs), rhs
        z = p = self.precondition(r)
        rz = _dot(r, z)
        least = torch.finfo(rhs.dtype).eps ** 2 * rz
        for _ in range(iterations):
            going = rz > least
            if not bool(going.any()):
                break
            q = p + self.adjoint(self.tangent(p))
            a = torch.where(going, rz / torch.where(going, _dot(p, q), 1.0), 0.0)
            x, r = x + a * p, r - a * q
            z = self.precondition(r)
            new = _dot(r, z)
            p, rz = z + torch.where(going, new / torch.where(going, rz, 1.0), 0.0) * p, new
        return x


@runtime_checkable
class Cost(Protocol):
    """A cost function of each observation, as :func:`lbfgs` asks for it."""

    def gradient(self, u: Float[Tensor, "batch d"], /) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch d"]]:
        """Return values and gradients.

        Args:
            u: Coordinates.
        """

    def precondition(self, v: Float[Tensor, "batch d"], /) -> Float[Tensor, "batch d"]:
        """Return the product with an approximation of the inverse Hessian.

        Args:
            v: Vectors.
        """


def lbfgs(
    objective: Cost,
    u: Float[Tensor, "batch d"],
    *,
    iterations: int,
    memory: int = 10,
) -> Float[Tensor, "batch d"]:
    """Minimise ``J`` by L-BFGS, with one evaluation of ``J`` and its gradient per iteration.

    An observation whose step fails to lower ``J`` enough, or makes it infinite, tries a shorter one in the next
    iteration: the minimum of the interpolating parabola, between a tenth and a half of the last step.  Pairs without
    positive curvature are discarded.

    Args:
        objective: The cost function.
        u: Starting points.
        iterations: Number of iterations.
        memory: Pairs of steps and gradient changes remembered.

    Returns:
        The points reached.

    References:
        Nocedal (1980), Updating quasi-Newton matrices with limited storage; Armijo (1966) for sufficient decrease.
    """
    value, gradient = objective.gradient(u)
    steps = u.new_zeros((memory, *u.shape))
    changes, inverse = torch.zeros_like(steps), u.new_zeros((memory, len(u), 1))
    direction, scale = -objective.precondition(gradient), torch.ones_like(gradient[:, :1])
    length = scale
    for _ in range(iterations):
        tried = u + length * direction
        new_value, new_gradient = objective.gradient(tried)

        # Accept a step for each observation by itself (Armijo's rule, up to rounding).
        slope = _dot(gradient, direction)
        demanded = value + (_ENOUGH * length * slope)[:, 0].double() + _rounding(value, u)
        good = (new_value <= demanded)[:, None]

        # Remember the pair where the step was accepted and the curvature along it is positive.
        step, change = tried - u, new_gradient - gradient
        curved = _dot(step, change)
        useful = good & (curved > 1e-10 * _dot(step, step))
        steps = torch.where(useful, torch.cat([steps[1:], step[None]]), steps)
        changes = torch.where(useful, torch.cat([changes[1:], change[None]]), changes)
        inverse = torch.where(useful, torch.cat([inverse[1:], 1 / curved[None]]), inverse)
        scale = torch.where(useful, curved / _dot(change, objective.precondition(change)), scale)

        # Move, or shorten the step.
        u, gradient = torch.where(good, tried, u), torch.where(good, new_gradient, gradient)
        bend = (new_value - value)[:, None].to(u.dtype) - length * slope
        shorter = (-slope * length / (2 * bend)).nan_to_num(0.1).clamp(0.1, 0.5) * length
        length = torch.where(good, torch.ones_like(length), shorter)
        value = torch.where(good[:, 0], new_value, value)
        fresh = _two_loops(gradient, steps, changes, inverse, scale, objective.precondition)
        direction = torch.where(good, fresh, direction)
    return u


def gauss_newton(
    objective: LeastSquares, u: Float[Tensor, "batch d"], *, outer: int, inner: int
) -> Float[Tensor, "batch d"]:
    """Minimise ``J`` by incremental 4D-Var: solve ``(I + K^T K) du = -(u + K^T r)`` repeatedly.

    Of the steps ``du, du/2, ..., du/32`` and 0 each observation takes the one of the smallest ``J``.

    Args:
        objective: The cost function.
        u: Starting points.
        outer: Number of linearisations.
        inner: Iterations of conjugate gradients for each of them.

    Returns:
        The points reached.

    References:
        Courtier, Thepaut and Hollingsworth (1994), A strategy for operational implementation of 4D-Var.
    """
    value = objective.value(u)
    for _ in range(outer):
        local = objective.linearise(u)
        step = local.solve(-(u + local.adjoint(local.residual)), inner)
        best, bound = u, value + _rounding(value, u)  # near the minimum the step is more exact than J
        for halving in range(_HALVINGS):
            tried = u + step / 2**halving
            new = objective.value(tried)
            good = new < bound
            best, value = torch.where(good[:, None], tried, best), torch.where(good, new, value)
            bound = torch.where(good, new - _rounding(new, u), bound)
        u = best
    return u


def misses(
    u: Float[Tensor, "batch d"], residual: Float[Tensor, "batch r"], numbers: Int[Tensor, " batch"]
) -> Bool[Tensor, " batch"]:
    """Return which points cannot be the minimum, since the truth has less.

    ``|r|^2`` of the truth is chi-squared with as many degrees of freedom as there are observed numbers, ``2 J`` with
    those of ``u`` beside.  Both are smaller at the minimum of ``J``, the first on average.  So no truth is needed to
    tell a point with which nothing can be right.

    Args:
        u: Points, in whitened coordinates.
        residual: Residuals ``r`` of them.
        numbers: How many numbers of each are observed.

    Returns:
        Whether ``|r|^2`` is more than twice its mean at the truth, or ``2 J`` more than that, and five standard
        deviations.
    """
    seen, every = numbers.double(), numbers.double() + u.shape[1]
    squares = residual.double().square().sum(1)
    total = squares + u.double().square().sum(1)
    right = squares <= _MISSED * seen + _CHANCE * (2 * seen).sqrt()
    return ~(right & (total <= every + _CHANCE * (2 * every).sqrt()))


def sharpened(
    residual: Callable[[Tensor], Tensor],
    points: Sequence[Float[Tensor, "batch d"]],
    down: Callable[[float, Tensor], Tensor],
) -> Float[Tensor, "batch d"]:
    """Seek a minimum from the nearest of some points, while errors shrink to what they are.

    Of a long window, or of few and sharp sensors, ``J`` has many minima.  Errors as large as what is missed leave few
    of them, and each minimum is near that of errors a third as large.

    Args:
        residual: Residuals of points.
        points: Where to begin: of these each row takes the one at which it misses least.
        down: ``(factor of all errors, u)`` to the minimum below ``u`` of the cost function with such errors.

    Returns:
        The points reached.
    """
    with torch.no_grad():
        squares = torch.stack([residual(u).double().square().mean(1).nan_to_num(math.inf, math.inf) for u in points])
    best = squares.argmin(0)
    u = torch.stack(list(points))[best, torch.arange(len(best), device=best.device)]
    size = max(1.0, float(squares.amin(0).amax().sqrt()))
    for i in range(min(_MOST, math.ceil(math.log(size, _RATIO))) if math.isfinite(size) else _MOST, -1, -1):
        u = down(_RATIO**i, u)
    return u


def warn_of_misses(
    u: Float[Tensor, "batch d"], residual: Float[Tensor, "batch r"], numbers: Int[Tensor, " batch"], remedy: str
) -> None:
    """Warn of points that cannot be the minimum.

    Args:
        u: Points, in whitened coordinates.
        residual: Residuals of them.
        numbers: How many numbers of each are observed.
        remedy: What can be done.
    """
    off = misses(u, residual, numbers)
    if count := int(off.sum()):
        missed, away = (
            float((x[off].double().square().sum(1) / n).sqrt().median())
            for x, n in ((residual, numbers[off]), (u, u.shape[1]))
        )
        warnings.warn(
            f"the most probable state was not found, in {count} of {len(off)}: in the median it misses what is seen "
            f"by {missed:.2g} times its errors, {away:.2g} deviations from the prior's mean (a true state: 1 and 1); "
            f"the search ended in a wrong valley or too early, or errors are larger than given; {remedy}.",
            stacklevel=4,
        )


def _two_loops(
    gradient: Tensor, steps: Tensor, changes: Tensor, inverse: Tensor, scale: Tensor, precondition: Precondition
) -> Tensor:
    """``-H gradient`` (Nocedal 1980); pairs not yet computed, or discarded, have ``inverse`` 0 and no effect."""
    q, weights = gradient, []
    for s, y, rho in reversed(list(zip(steps, changes, inverse, strict=True))):
        weights.append(rho * _dot(s, q))
        q = q - weights[-1] * y
    q = scale * precondition(q)
    for s, y, rho, weight in zip(steps, changes, inverse, reversed(weights), strict=True):
        q = q + (weight - rho * _dot(y, q)) * s
    return -q


def _value(u: Tensor, r: Tensor) -> Tensor:
    J: Tensor = (u.double().square().sum(1) + r.double().square().sum(1)) / 2
    return J.nan_to_num(math.inf, math.inf)


def _rounding(value: Tensor, u: Tensor) -> Tensor:
    """Differences of ``J`` below the precision of ``u``."""
    return torch.finfo(u.dtype).eps * value.abs()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1, keepdim=True)
