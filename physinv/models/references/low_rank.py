"""Gaussian reference of low rank plus diagonal, for states too large for a dense covariance and without a spectrum.

At each stored time ``q_t = N(m, C)`` with ``C = U U^T + D``: ``r`` directions ``U (d, r)`` in which components move
together, and what each does on its own.  By Woodbury's formula everything costs ``d r^2`` instead of ``d^3``:

    C^-1 v = D^-1 (v - U M^-1 U^T D^-1 v),    det C = det M det D,    M = I + U^T D^-1 U.
"""

from __future__ import annotations

__all__ = ["LowRankReference", "factor_analysis"]

import math

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, expand
from physinv.models.references.base import ReferenceLaw, between

_SWEEPS = 50  # of expectation-maximisation; from the principal components the likelihood is flat by then


class LowRankReference(ReferenceLaw):
    """``N(m_t, U_t U_t^T + diag(D_t))``, interpolated linearly between the stored ``times``.

    ``mean (time, *state)``, ``factor (time, *state, r)``, ``diagonal (time, *state)``, ``bounds (time, 2, *state)``
    (the box that the process was seen in).  Features are the state over its standard deviation, the reference score
    over its own, ``(C^-1)_ii^(1/2)``, and, if ``sde`` is given, the physics ``d`` in that unit, where

        d(x) = phi(x) - phi(m_t),    phi = 2 f / g^2  (the score that the physics has in equilibrium).

    The network's output counts in units of ``(C^-1)_ii^(1/2)``; with ``sde`` a second half multiplies ``d``.
    """

    name = "low-rank"

    times: Tensor
    mean: Tensor
    factor: Tensor
    diagonal: Tensor
    bounds: Tensor
    variance: Tensor
    inverse: Tensor

    def __init__(
        self,
        sde: SDE | None,
        times: Float[Tensor, " time"],
        mean: Float[Tensor, "time *state"],
        factor: Float[Tensor, "time *state rank"],
        diagonal: Float[Tensor, "time *state"],
        bounds: Float[Tensor, "time 2 *state"],
    ) -> None:
        super().__init__()
        self.sde, channels = sde, mean.shape[1]
        self.channels_in, self.channels_out = (2 * channels, channels) if sde is None else (3 * channels, 2 * channels)
        self.register_buffer("times", times)
        self.register_buffer("mean", mean)
        self.register_buffer("factor", factor)
        self.register_buffer("diagonal", diagonal)
        self.register_buffer("bounds", bounds)
        self.register_buffer("variance", diagonal + factor.square().sum(-1), persistent=False)
        self.register_buffer("inverse", _inverse_diagonal(factor, diagonal), persistent=False)

    def _at(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``x - m (g, n, d)``, ``D (g, 1, d)``, ``U (g, d, r)``, Cholesky factor of ``M (g, r, r)``.

        One group of ``n = batch`` states if they share their time, as in a reversal, else ``g = batch`` groups of one.
        """
        t = t[:1] if bool((t == t[:1]).all()) else t
        v = (x - between(self.times, self.mean, t)).reshape(len(t), -1, x[0].numel())
        D = between(self.times, self.diagonal, t).flatten(1)
        U = between(self.times, self.factor, t).flatten(1, -2)
        return v, D[:, None], U, _capacitance(U, D)

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        v, D, U, L = self._at(x, t)
        inner = torch.cholesky_solve(U.mT @ (v / D).mT, L)
        return (((U @ inner).mT - v) / D).reshape(x.shape)

    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """``log q_t(x)``."""
        v, D, U, L = self._at(x, t)
        z = torch.linalg.solve_triangular(L, U.mT @ (v / D).mT, upper=False)
        square = (v**2 / D).sum(-1) - (z**2).sum(1)
        half_logdet = D.log().sum(-1) / 2 + L.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        log_q: Tensor = -square / 2 - half_logdet - v.shape[-1] / 2 * math.log(2 * math.pi)
        return log_q.flatten()

    def precision(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Diagonal of ``C^-1``."""
        return between(self.times, self.inverse, t)

    def box(self, t: Float[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
        """Lowest and highest state at ``t``, as seen, widened by half the extent on each side."""
        low, high = between(self.times, self.bounds, t).unbind(1)
        margin = (high - low) / 2
        return low - margin, high + margin

    def _physics(self, sde: SDE, x: Tensor, t: Tensor) -> Tensor:
        """``d(x)``; 0 for components without noise."""
        g = expand(sde.diffusion(t), x).expand_as(x)
        gap = sde.drift(x, t) - sde.drift(between(self.times, self.mean, t), t)
        return torch.where(g > 0, 2 * gap / g.square().clamp(min=1e-12), torch.zeros_like(gap))

    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        unit = self.precision(x, t).sqrt()
        parts = [
            (x - between(self.times, self.mean, t)) / between(self.times, self.variance, t).sqrt(),
            (self.score(x, t) / unit).asinh(),
        ]
        if self.sde is not None:
            parts.append((self._physics(self.sde, x, t) / unit).asinh())
        return torch.cat(parts, dim=1)

    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        unit = self.precision(x, t).sqrt()
        if self.sde is None:
            return unit * out
        local, physics = out.chunk(2, dim=1)
        return unit * local + physics * self._physics(self.sde, x, t)


def factor_analysis(x: Float[Tensor, "n d"], rank: int) -> tuple[Float[Tensor, "d rank"], Float[Tensor, " d"]]:
    """``U, D`` that make ``N(mean, U U^T + diag(D))`` most likely for the rows of ``x``.

    Starts from probabilistic PCA of the standardised columns, ``W = V (Lambda - sigma^2)^(1/2)`` with ``sigma^2`` the
    mean of the ``d - r`` smallest eigenvalues (Tipping and Bishop 1999, eq. 7 and 8), and lets every component have its
    own ``D`` by expectation-maximisation (Rubin and Thayer 1982).  The rank used is that of the eigenvalues beyond
    ``(1 + sqrt(d/n))^2``, the most that ``n`` samples of independent components show (Marchenko and Pastur 1967), at
    least 1 and at most ``rank``; further columns of ``U`` are 0.  ``D`` is at least 1e-4 of a component's variance.
    """
    n, d = x.shape
    scale = x.std(0, unbiased=False).clamp(min=1e-3 * float((x - x.mean(0)).square().mean().sqrt()) + 1e-6)
    z = (x - x.mean(0)) / scale
    S = z.T @ z / n
    values, vectors = torch.linalg.eigh(S)
    r = int((values > (1 + math.sqrt(d / n)) ** 2).sum().clamp(1, min(rank, d - 1)))
    sigma2 = values[:-r].mean().clamp(min=1e-4)
    U = vectors[:, -r:] * (values[-r:] - sigma2).clamp(min=0).sqrt()
    D = sigma2.expand(d)
    eye = torch.eye(r, dtype=x.dtype, device=x.device)
    for _ in range(_SWEEPS):
        gain = torch.cholesky_solve((U / D[:, None]).T, _capacitance(U, D))  # E[factors | z] = gain z
        shared = S @ gain.T
        U = torch.linalg.solve(gain @ shared + eye - gain @ U, shared.T).T
        D = (S.diagonal() - (U * shared).sum(1)).clamp(min=1e-4)
    padded = torch.nn.functional.pad(U, (0, rank - r))
    return padded * scale[:, None], D * scale**2


def _capacitance(U: Float[Tensor, "*batch d rank"], D: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch rank rank"]:
    """Lower Cholesky factor of ``M = I + U^T D^-1 U``."""
    eye = torch.eye(U.shape[-1], dtype=U.dtype, device=U.device)
    lower: Tensor = torch.linalg.cholesky(eye + U.mT @ (U / D[..., None]))
    return lower


def _inverse_diagonal(factor: Float[Tensor, "time *state rank"], diagonal: Float[Tensor, "time *state"]) -> Tensor:
    """``(C^-1)_ii``, ``(time, *state)``; at least ``1 / C_ii``, which rounding must not undercut."""
    U, D = factor.flatten(1, -2), diagonal.flatten(1)
    half = torch.linalg.solve_triangular(_capacitance(U, D), (U / D[..., None]).mT, upper=False)
    least = 1 / (D + U.square().sum(-1))
    inverse: Tensor = torch.maximum(1 / D - half.square().sum(1), least).reshape(diagonal.shape)
    return inverse
