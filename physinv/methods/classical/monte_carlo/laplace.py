"""Laplace's approximation of the density of paths, with explicit factors, and coordinates that follow its curvature.

Near a path ``c*`` the density is about ``N(c*, C)``, ``C = (1 + K^T K)^-1`` with ``K = dr/dc`` the derivative of the
residual, which has few rows.  With ``K K^T = U s^2 U^T`` and ``V = U^T K / s``, orthonormal rows,

    C^a = 1 - V^T [1 - (1 + s^2)^-a] V,

so that roots and inverses cost two products with ``V``.

The residual is sharp: the noise of one step allows little of what that of all steps can make up for, and chains need
short steps where the derivative turns.  :func:`integrate_late` makes it less so.
"""

from __future__ import annotations

__all__ = ["Laplace", "descend", "integrate_late", "linearise", "newton"]

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.methods.classical.monte_carlo.path import Late, PathObjective, gradients, values
from physinv.methods.problem import NotApplicableError

_HALVINGS = 6
_MEMORY = {"cpu": 2**32}  # bytes of V
_ELSEWHERE = 2**35


@dataclass(frozen=True)
class Laplace:
    """The Gaussian ``N(c*, C)`` of each observation.

    Args:
        centre: ``c*``.
        rows: The orthonormal rows ``V``.
        squares: ``s^2``.
        left: ``U s``, so that ``K = left V``.
        residual: ``r(c*)``.
        first: The number of coordinates of ``x_0``.
    """

    centre: Float[Tensor, "batch D"]
    rows: Float[Tensor, "batch r D"]
    squares: Float[Tensor, "batch r"]
    left: Float[Tensor, "batch r r"]
    residual: Float[Tensor, "batch r"]
    first: int

    def power(self, v: Float[Tensor, "batch n D"], a: float) -> Float[Tensor, "batch n D"]:
        """Return ``C^a v``.

        Args:
            v: Vectors, n for each observation.
            a: The exponent: 1/2 for draws, 1 for Newton's step, -1/2 to whiten.

        Returns:
            Vectors of the same shape.
        """
        weight = 1 - (1 + self.squares) ** -a
        return v - torch.bmm(torch.bmm(v, self.rows.mT) * weight[:, None], self.rows)

    def path(self, xi: Float[Tensor, "batch n D"]) -> Float[Tensor, "batch n D"]:
        """Return ``c* + C^(1/2) xi``.

        Args:
            xi: Coordinates in which the approximation is standard normal.

        Returns:
            Path coordinates.
        """
        return self.centre[:, None] + self.power(xi, 0.5)

    def whiten(self, c: Float[Tensor, "batch n D"]) -> Float[Tensor, "batch n D"]:
        """Return ``C^(-1/2) (c - c*)``, the inverse of :meth:`path`.

        Args:
            c: Path coordinates.

        Returns:
            Coordinates in which the approximation is standard normal.
        """
        return self.power(c - self.centre[:, None], -0.5)

    def along(self, held: slice) -> Float[Tensor, "batch n D"]:
        """Return by how much the conditional mean of a path moves with each of some coordinates, the others held.

        Args:
            held: Which.

        Returns:
            ``C_h C_hh^-1``, transposed: 1 at the coordinate itself, 0 at the others.
        """
        columns = self._columns(held)
        moved: Tensor = torch.linalg.solve(columns[:, :, held].double(), columns.double())
        return moved.to(columns)

    def variances(self, held: slice) -> Float[Tensor, "batch n"]:
        """Return the variances of some coordinates.

        Args:
            held: Which.
        """
        return self._columns(held)[:, :, held].diagonal(dim1=1, dim2=2)

    def _columns(self, held: slice) -> Tensor:
        """The columns of ``C`` of some coordinates, as rows."""
        unit = torch.eye(self.centre.shape[1], dtype=self.centre.dtype, device=self.centre.device)[held]
        return self.power(unit.expand(len(self.centre), -1, -1), 1.0)

    def given(
        self, first: Float[Tensor, "batch n d"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n D"]:
        """Draw paths from the approximation, given their first coordinates: those of ``x_0``.

        A draw of whole paths is moved by ``C_0^T C_00^-1 (first - drawn)``, with ``C_0`` the first rows of ``C`` and
        ``C_00`` the first block (Matheron's rule).

        Args:
            first: The first coordinates, n for each observation.
            generator: Source of randomness.

        Returns:
            Path coordinates, that begin with those given.
        """
        d = self.first
        xi = torch.randn(
            (*first.shape[:2], self.centre.shape[1]), generator=generator, dtype=first.dtype, device=first.device
        )
        drawn = self.path(xi)

        # C_00, its inverse, and what the rest of a path owes to the difference.
        head = self.rows[:, :, :d].double()
        weight = (1 - 1 / (1 + self.squares))[:, :, None]
        block = torch.eye(d, dtype=head.dtype, device=head.device) - head.mT @ (weight * head)
        gap = torch.linalg.solve(block, (first - drawn[:, :, :d]).double().mT).mT
        gap, head = gap.to(first.dtype), head.to(first.dtype)
        moved = drawn[:, :, d:] - torch.bmm(torch.bmm(gap, head.mT) * weight.mT, self.rows[:, :, d:])
        return torch.cat([first, moved], dim=2)

    def at(self, index: Tensor | slice) -> Laplace:
        """Return the approximations of some observations.

        Args:
            index: Which.

        Returns:
            The same for these.
        """
        centre, rows, squares = self.centre[index], self.rows[index], self.squares[index]
        return Laplace(centre, rows, squares, self.left[index], self.residual[index], self.first)


def linearise(objective: PathObjective, centre: Float[Tensor, "batch D"]) -> Laplace:
    """Return Laplace's approximation with the derivative at a path of each observation.

    Args:
        objective: The objective, one row for each observation.
        centre: The paths.

    Returns:
        The approximations.

    Raises:
        NotApplicableError: If the derivative of one observation needs more memory than there should be.
    """
    first, size = objective.model.law.numbers, objective.model.at_once
    parts = []
    for at in range(0, len(centre), size):
        some = slice(at, at + size)
        parts.append(_factors(*_derivative(objective.rows(some), centre[some])))
    rows, squares, left, residual = (torch.cat(p) for p in zip(*parts, strict=True))
    return Laplace(centre, rows, squares, left, residual, first)


def descend(objective: PathObjective, c: Float[Tensor, "batch D"], steps: int) -> Laplace:
    """Minimise the objective by Gauss-Newton steps ``-C grad``, halved as long as that lowers it more.

    Args:
        objective: The objective, one row for each observation.
        c: Where to begin.
        steps: Number of linearisations; none after one from which no path moves.

    Returns:
        Laplace's approximation at the paths reached.
    """
    for _ in range(steps):
        near = linearise(objective, c)
        c = newton(objective, near)
        if torch.equal(c, near.centre):
            return near
    return linearise(objective, c)


def newton(objective: PathObjective, reference: Laplace, held: slice | None = None) -> Float[Tensor, "batch D"]:
    """Take one Gauss-Newton step ``-C grad`` from the centre of a reference, halved as long as that lowers it more.

    Args:
        objective: The objective, one row for each observation.
        reference: Laplace's approximation.
        held: Coordinates that stay as they are; None: none.

    Returns:
        The paths reached; the centre itself where nothing is lower.
    """
    c = best = reference.centre
    value, slope = gradients(objective, c)
    step = -reference.power(slope[:, None], 1.0)[:, 0]
    if held is not None:
        step = step - torch.bmm(step[:, None, held], reference.along(held))[:, 0]
    for halving in range(_HALVINGS):
        tried = c + step / 2**halving
        new = values(objective, tried)
        good = new < value
        best, value = torch.where(good[:, None], tried, best), torch.where(good, new, value)
    return best


def integrate_late(objective: PathObjective, reference: Laplace, share: float) -> tuple[PathObjective, Laplace]:
    """Integrate out the noise of the last steps, linearised at the centre of the reference.

    The residual ``r = r(w*) + K_l (w_l - w_l*)`` is Gaussian given the rest of the path.  It is less sharp by as much
    as that noise adds to the noise of the last step, and chains may take longer steps.  The end of a path is known from
    ``x_T``, so that little is lost: the derivative of the last steps hardly varies over the posterior.

    Args:
        objective: The objective, one row for each observation.
        reference: Laplace's approximation.
        share: Share of the steps, from the last one back.

    Returns:
        The objective without that noise, and its approximation.
    """
    model, d = objective.model, reference.first
    each = model.step.draws * math.prod(model.simulator.shape)
    count = min(int(share * (len(model.grid) - 1)) * each, reference.centre.shape[1] - d)
    if count == 0:
        return objective, reference
    K = reference.left @ reference.rows
    late = K[:, :, -count:]
    variances, vectors = torch.linalg.eigh((late @ late.mT).double())
    whitening = ((vectors * (1 + variances.clamp(min=0)).rsqrt()[:, None]) @ vectors.mT).to(K)
    noise = reference.centre[:, -count:]
    shift = torch.bmm(late, noise[:, :, None])[:, :, 0]
    residual = torch.bmm(whitening, (reference.residual - shift)[:, :, None])[:, :, 0]
    some = replace(objective, late=Late(noise, shift, whitening))
    return some, Laplace(reference.centre[:, :-count], *_factors(residual, whitening @ K[:, :, :-count]), d)


def _derivative(objective: PathObjective, centre: Tensor) -> tuple[Tensor, Tensor]:
    """``r`` and ``K``, ``(batch, r, D)``, by one adjoint solve for each row."""
    with torch.enable_grad():
        c = centre.detach().requires_grad_()
        r = objective.residual(c)
        size = r.shape[1] * c.shape[1] * c.element_size()
        if size > _MEMORY.get(c.device.type, _ELSEWHERE):
            raise NotApplicableError(
                f"paths of this process take {size / 2**30:.0f} GiB each; lower `steps` or `size`."
            )
        K = c.new_empty((len(c), r.shape[1], c.shape[1]))
        for i in range(r.shape[1]):
            (K[:, i],) = torch.autograd.grad(r[:, i].sum(), c, retain_graph=True)
    return r.detach().nan_to_num(0.0, 0.0, 0.0), K.nan_to_num(0.0, 0.0, 0.0)


def _factors(r: Tensor, K: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``V``, ``s^2``, ``U s`` and ``r``; rows of ``V`` are 0 where ``s`` is, and enter nothing."""
    squares, U = torch.linalg.eigh((K @ K.mT).double())
    least = math.sqrt(torch.finfo(K.dtype).eps) * squares.amax(1, keepdim=True).clamp(max=1.0)
    kept = squares > least
    scale = torch.where(kept, squares.clamp(min=torch.finfo(squares.dtype).tiny).rsqrt(), 0.0)
    rows = (U * scale[:, None]).mT.to(K) @ K
    squares = torch.where(kept, squares, 0.0)
    return rows, squares.to(K), (U * squares.sqrt()[:, None]).to(K), r
