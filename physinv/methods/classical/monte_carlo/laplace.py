"""Laplace's approximation of the density of paths, with explicit factors: what preconditions the chains.

Near a path ``c*`` the density is about ``N(c*, C)``, ``C = (1 + K^T K)^-1`` with ``K = dr/dc`` the derivative of the
residual, which has few rows.  With ``K K^T = U s^2 U^T`` and ``V = U^T K / s``, orthonormal rows,

    C^a = 1 - V^T [1 - (1 + s^2)^-a] V,

so that roots and inverses cost two products with ``V``.
"""

from __future__ import annotations

__all__ = ["Laplace", "descend", "linearise"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.methods.classical.monte_carlo.path import PathObjective, gradients
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
    """

    centre: Float[Tensor, "batch D"]
    rows: Float[Tensor, "batch r D"]
    squares: Float[Tensor, "batch r"]

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
        """Return the path coordinates ``c* + C^(1/2) xi``.

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

    def given(
        self, first: Float[Tensor, "batch n d"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n D"]:
        """Draw paths from the approximation, given their first coordinates: those of ``x_0``.

        A draw of whole paths is moved by ``C_0^T C_00^-1 (first - drawn)``, with ``C_0`` the first rows of ``C`` and
        ``C_00`` the first block (Matheron's rule).

        Args:
            first: The first d coordinates, n for each observation.
            generator: Source of randomness.

        Returns:
            Path coordinates that begin with those given.
        """
        d = first.shape[2]
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

    def at(self, index: Tensor) -> Laplace:
        """Return the approximations of some observations.

        Args:
            index: Which.

        Returns:
            The same for these.
        """
        return Laplace(self.centre[index], self.rows[index], self.squares[index])


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
    parts = [_factors(_derivative(objective.rows(s), centre[s])) for s in objective.chunks()]
    rows, squares = (torch.cat(p) for p in zip(*parts, strict=True))
    return Laplace(centre, rows, squares)


def descend(objective: PathObjective, c: Float[Tensor, "batch D"], steps: int) -> Float[Tensor, "batch D"]:
    """Minimise the objective by Gauss-Newton steps ``-C grad``, halved as long as that lowers it more.

    Args:
        objective: The objective, one row for each observation.
        c: Where to begin.
        steps: Number of linearisations.

    Returns:
        The paths reached.
    """
    parts = []
    for s in objective.chunks():
        part, x = objective.rows(s), c[s]
        for _ in range(steps):
            value, slope = gradients(part, x)
            step = -linearise(part, x).power(slope[:, None], 1.0)[:, 0]
            best = x
            for halving in range(_HALVINGS):
                tried = x + step / 2**halving
                new = part.value(tried)
                good = new < value
                best, value = torch.where(good[:, None], tried, best), torch.where(good, new, value)
            x = best
        parts.append(x)
    return torch.cat(parts)


def _derivative(objective: PathObjective, centre: Tensor) -> Tensor:
    """``K``, ``(batch, r, D)``, by one adjoint solve for each row."""
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
    return K.nan_to_num(0.0, 0.0, 0.0)


def _factors(K: Tensor) -> tuple[Tensor, Tensor]:
    """``V`` and ``s^2``; rows of ``V`` are 0 where ``s`` is, and enter nothing."""
    squares, U = torch.linalg.eigh((K @ K.mT).double())
    least = math.sqrt(torch.finfo(K.dtype).eps) * squares.amax(1, keepdim=True).clamp(max=1.0)
    kept = squares > least
    scale = torch.where(kept, squares.clamp(min=1e-30).rsqrt(), 0.0)
    rows = (U * scale[:, None]).mT.to(K) @ K
    return rows, torch.where(kept, squares, 0.0).to(K)
