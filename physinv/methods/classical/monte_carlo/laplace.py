"""Laplace's approximation of the density of paths, with explicit factors, and coordinates that follow its curvature.

Near a path ``c*`` the density is about ``N(c*, C)``, ``C = (1 + K^T K)^-1`` with ``K = dr/dc`` the derivative of the
residual, which has few rows.  With ``K K^T = U s^2 U^T`` and ``V = U^T K / s``, orthonormal rows,

    C^a = 1 - V^T [1 - (1 + s^2)^-a] V,

so that roots and inverses cost two products with ``V``.

The residual is sharp: the noise of one step allows little of what the noise of all steps can make up for.  So paths are
bent: noise takes up what the final state owes to ``x_0`` beyond the linear,

    c = (u, w - K_w^T (1 + K_w K_w^T)^-1 rho(u)),   rho(u) = r(u, w*) - r(u*, w*) - K_u (u - u*),

with ``c* = (u*, w*)``.  This changes no volume (the shift of ``w`` depends on ``u`` alone) and nothing to first order.
Straight coordinates want steps three to ten times shorter.
"""

from __future__ import annotations

__all__ = ["Laplace", "Target", "descend", "linearise"]

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.methods.classical.monte_carlo.path import PathObjective
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
        inner: ``(1 + K_w K_w^T)^-1``.
        residual: ``r(c*)``.
        first: The number of coordinates of ``x_0``.
    """

    centre: Float[Tensor, "batch D"]
    rows: Float[Tensor, "batch r D"]
    squares: Float[Tensor, "batch r"]
    left: Float[Tensor, "batch r r"]
    inner: Float[Tensor, "batch r r"]
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

    def straight(self, xi: Float[Tensor, "batch n D"]) -> Float[Tensor, "batch n D"]:
        """Return ``c* + C^(1/2) xi``.

        Args:
            xi: Coordinates in which the approximation is standard normal.

        Returns:
            Path coordinates before they are bent.
        """
        return self.centre[:, None] + self.power(xi, 0.5)

    def whiten(self, c: Float[Tensor, "batch n D"]) -> Float[Tensor, "batch n D"]:
        """Return ``C^(-1/2) (c - c*)``, the inverse of :meth:`straight`.

        Args:
            c: Path coordinates before they are bent.

        Returns:
            Coordinates in which the approximation is standard normal.
        """
        return self.power(c - self.centre[:, None], -0.5)

    def shift(self, u: Float[Tensor, "batch n d"], residual: Float[Tensor, "batch n r"]) -> Float[Tensor, "batch n W"]:
        """Return ``K_w^T (1 + K_w K_w^T)^-1 rho(u)``, which bends paths.

        Args:
            u: The first coordinates of paths.
            residual: ``r(u, w*)``.

        Returns:
            The shift of the noise.
        """
        d = self.first
        away = torch.bmm(torch.bmm(u - self.centre[:, None, :d], self.rows[:, :, :d].mT), self.left.mT)
        rho = residual - self.residual[:, None] - away
        return torch.bmm(torch.bmm(torch.bmm(rho, self.inner), self.left), self.rows)[:, :, d:]

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
            Path coordinates, before they are bent, that begin with those given.
        """
        d = self.first
        xi = torch.randn(
            (*first.shape[:2], self.centre.shape[1]), generator=generator, dtype=first.dtype, device=first.device
        )
        drawn = self.straight(xi)

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
        parts = (getattr(self, f.name) for f in fields(self))
        return Laplace(*(p[index] if isinstance(p, Tensor) else p for p in parts))


@dataclass(frozen=True)
class Target:
    """Minus the log density of paths in coordinates before they are bent, n rows for each observation.

    Args:
        objective: The objective, one row for each observation.
        reference: Laplace's approximations.
        n: Rows for each observation.
    """

    objective: PathObjective
    reference: Laplace
    n: int

    def bent(self, c: Float[Tensor, "rows D"]) -> Float[Tensor, "rows D"]:
        """Return paths, bent.

        Args:
            c: Coordinates before.

        Returns:
            Coordinates of paths.
        """
        return torch.cat([t._bent(c[rows]) for t, rows in self._parts()])

    def unbent(self, c: Float[Tensor, "rows D"]) -> Float[Tensor, "rows D"]:
        """Return the coordinates that :meth:`bent` maps to given paths.

        Args:
            c: Coordinates of paths.

        Returns:
            Coordinates before.
        """
        return 2 * c - self.bent(c)  # the shift depends on u alone

    @torch.no_grad()
    def value(self, c: Float[Tensor, "rows D"]) -> Float[Tensor, " rows"]:
        """Return the value of each row, in float64; infinite where the solver diverges.

        Args:
            c: Coordinates before paths are bent.

        Returns:
            One number for each row.
        """
        return torch.cat([t._value(c[rows]) for t, rows in self._parts()]).nan_to_num(math.inf, math.inf)

    @torch.enable_grad()
    def gradient(self, c: Float[Tensor, "rows D"]) -> tuple[Float[Tensor, " rows"], Float[Tensor, "rows D"]]:
        """Return values and gradients, in chunks that suit the memory.

        Args:
            c: Coordinates before paths are bent.

        Returns:
            One value and one gradient for each row.
        """
        values, slopes = [], []
        for part, rows in self._parts():
            x = c[rows].detach().requires_grad_()
            value = part._value(x)
            slopes += torch.autograd.grad(value.sum(), x)
            values.append(value.detach())
        return torch.cat(values).nan_to_num(math.inf, math.inf), torch.cat(slopes)

    def _value(self, c: Tensor) -> Tensor:
        return self._every.value(self._bent(c))

    def _bent(self, c: Tensor) -> Tensor:
        d, lead = self.reference.first, (-1, self.n)
        if c.shape[1] == d:  # no noise on the way
            return c
        u, w = c[:, :d], c[:, d:]
        still = self.reference.centre[:, d:].repeat_interleave(self.n, 0)
        residual = self._every.residual(torch.cat([u, still], 1))
        shift = self.reference.shift(u.reshape(*lead, d), residual.reshape(*lead, residual.shape[1]))
        return torch.cat([u, w - shift.reshape(w.shape)], 1)

    @property
    def _every(self) -> PathObjective:
        return self.objective.repeated(self.n)

    def _parts(self) -> Iterator[tuple[Target, slice]]:
        """Some observations with the rows that belong to them."""
        size = max(1, self.objective.model.at_once // self.n)
        for at in range(0, len(self.objective.final), size):
            some = slice(at, at + size)
            target = Target(self.objective.rows(some), self.reference.at(some), self.n)
            yield target, slice(at * self.n, (at + size) * self.n)


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
    parts = [
        (
            centre[at : at + size],
            *_factors(*_derivative(objective.rows(slice(at, at + size)), centre[at : at + size]), first),
        )
        for at in range(0, len(centre), size)
    ]
    return Laplace(*(torch.cat(p) for p in zip(*parts, strict=True)), first)


def descend(objective: PathObjective, c: Float[Tensor, "batch D"], steps: int) -> Laplace:
    """Minimise the objective by Gauss-Newton steps along bent paths, halved as long as that lowers it more.

    Args:
        objective: The objective, one row for each observation.
        c: Where to begin.
        steps: Number of linearisations.

    Returns:
        Laplace's approximation at the paths reached.
    """
    for _ in range(steps):
        reference = linearise(objective, c)
        target = Target(objective, reference, 1)
        value, slope = target.gradient(c)
        step = -reference.power(slope[:, None], 1.0)[:, 0]
        best = c
        for halving in range(_HALVINGS):
            tried = c + step / 2**halving
            new = target.value(tried)
            good = new < value
            best, value = torch.where(good[:, None], tried, best), torch.where(good, new, value)
        c = target.bent(best)
    return linearise(objective, c)


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


def _factors(r: Tensor, K: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``V``, ``s^2``, ``U s``, ``(1 + K_w K_w^T)^-1``; rows of ``V`` are 0 where ``s`` is, and enter nothing."""
    squares, U = torch.linalg.eigh((K @ K.mT).double())
    least = math.sqrt(torch.finfo(K.dtype).eps) * squares.amax(1, keepdim=True).clamp(max=1.0)
    kept = squares > least
    scale = torch.where(kept, squares.clamp(min=1e-30).rsqrt(), 0.0)
    rows = (U * scale[:, None]).mT.to(K) @ K
    squares = torch.where(kept, squares, 0.0)

    late = K[:, :, first:]
    gram = (late @ late.mT).double()
    gram.diagonal(dim1=1, dim2=2).add_(1.0)
    inner = torch.linalg.inv(gram)
    return rows, squares.to(K), (U * squares.sqrt()[:, None]).to(K), inner.to(K), r
