"""Gaussian reference law of low rank plus diagonal, for states too large for a dense covariance and without a spectrum.

At each stored time ``q_t = N(m, C)`` with ``C = U U^T + diag(D)``: ``r`` factors ``U (d, r)``, directions in which the
components vary together, and the variance ``D`` of each component on its own.  By Woodbury's formula everything costs
``d r^2`` instead of ``d^3``:

    C^-1 v = D^-1 (v - U M^-1 U^T D^-1 v),    det C = det M det D,    M = I + U^T D^-1 U.
"""

from __future__ import annotations

__all__ = ["LowRankReference", "factor_analysis"]

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seed
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.broadcast import expand
from physinv.equations.sde import SDE, Linear
from physinv.laws.covariance import Covariance, low_rank
from physinv.models.references.base import ReferenceLaw, equilibrium_score, raised
from physinv.models.references.tables import between
from physinv.processes.layout import StateLayout

if TYPE_CHECKING:
    from typing import Self

_MAX_RANK = 16
_MAX_TRAJECTORIES = 4096  # enough for mean and factors
_POINT_MASS = 1e-16  # of the largest variance of a component at any time: that of states which do not vary
_EM_ITERATIONS = 50  # from the principal components; by then the likelihood no longer changes


class LowRankReference(ReferenceLaw):
    """The Gaussian reference law ``N(m_t, U_t U_t^T + diag(D_t))``, interpolated linearly between the stored times.

    Features are the state over its standard deviation, the reference score over its own, ``(C^-1)_ii^(1/2)``, and, if
    ``sde`` is given, the physics ``d`` in that unit, where

        d(x) = phi(x) - phi(m_t),    phi = 2 f / g^2  (the score that the physics has in equilibrium).

    The network's output counts in units of ``(C^-1)_ii^(1/2)``; if ``sde`` is given, a second half of it multiplies
    ``d``.

    Args:
        sde: The physics; None: features without physics.
        times: Stored times.
        mean: Means ``m``.
        factor: Factors ``U``.
        diagonal: Variances ``D``.
        bounds: Lowest and highest states in the data.
    """

    name: ClassVar[str] = "low-rank"

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

    @classmethod
    def suits(cls, sde: SDE, layout: StateLayout) -> bool:
        """Tell whether the state is a vector of two numbers or more."""
        return cls.name in layout.references and math.prod(layout.shape) > 1

    @classmethod
    def fit(cls, sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: Seed = 0) -> Self:
        """Fit by factor analysis at every stored time; under a linear SDE at the first one only, carried exactly."""
        linear = sde if isinstance(sde, Linear) and sde.basis == "identity" else None
        n = min(_MAX_TRAJECTORIES, data.n_trajectories)
        means: list[Tensor] = []
        factors: list[Tensor] = []
        diagonals: list[Tensor] = []
        bounds: list[Tensor] = []
        for i, t in enumerate(data.times):
            # Under a linear SDE the law of the first time is carried exactly; else every time is fitted on its own.
            x = torch.cat(sde.images(data.states(i, limit=n).double())).cpu()
            if linear is None or i == 0:
                mean, (U, D) = x.mean(0), factor_analysis(x.flatten(1), _MAX_RANK)
                U, D = U.reshape(*data.shape, _MAX_RANK), D.reshape(data.shape)
            else:
                decay, q = linear.decay(0.0, t[None], x[:1])[0], linear.variance(0.0, t[None], x[:1])[0]
                mean, U, D = decay * means[0], decay[..., None] * factors[0], decay**2 * diagonals[0] + q
            means.append(mean)
            factors.append(_aligned(U, factors[-1]) if factors else U)
            diagonals.append(D)
            bounds.append(torch.stack([x.amin(0), x.amax(0)]))

        # Columns of U that are zero at every time cost time and change nothing.
        factor = torch.stack(factors)
        used = max(1, int((factor.flatten(0, -2).abs().amax(0) > 0).sum()))
        diagonal = raised(torch.stack(diagonals), _POINT_MASS)
        tables = (torch.stack(means), factor[..., :used], diagonal, torch.stack(bounds))
        physics = sde if len(data.shape) == 1 else None
        return cls(physics, data.times.float(), *(table.float() for table in tables))

    @classmethod
    def from_tensors(cls, sde: SDE, tensors: Mapping[str, Tensor]) -> Self:
        """Make the law again from its buffers; vectors get features of the physics, fields do not."""
        physics = sde if tensors["mean"].ndim == 2 else None
        return cls(physics, *(tensors[name] for name in ("times", "mean", "factor", "diagonal", "bounds")))

    def _at(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``x - m (g, n, d)``, ``D (g, 1, d)``, ``U (g, d, r)``, Cholesky factor of ``M (g, r, r)``.

        One group of ``n = batch`` states if all have the same time, as in a reversal, else ``g = batch`` groups of one.
        """
        t = t[:1] if bool((t == t[:1]).all()) else t
        v = (x - between(self.times, self.mean, t)).reshape(len(t), -1, x[0].numel())
        D = between(self.times, self.diagonal, t).flatten(1)
        U = between(self.times, self.factor, t).flatten(1, -2)
        return v, D[:, None], U, _capacitance(U, D)

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the score ``-C^-1 (x - m)`` by Woodbury's formula."""
        v, D, U, L = self._at(x, t)
        inner = torch.cholesky_solve(U.mT @ (v / D).mT, L)
        return (((U @ inner).mT - v) / D).reshape(x.shape)

    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the log density ``log q_t(x)`` by Woodbury's formula."""
        v, D, U, L = self._at(x, t)
        z = torch.linalg.solve_triangular(L, U.mT @ (v / D).mT, upper=False)
        square = (v**2 / D).sum(-1) - (z**2).sum(1)
        half_logdet = D.log().sum(-1) / 2 + L.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        log_q: Tensor = -square / 2 - half_logdet - v.shape[-1] / 2 * math.log(2 * math.pi)
        return log_q.flatten()

    def mean_at(self, t: float) -> Float[Tensor, "1 *state"]:
        """Return the mean ``m_t``."""
        return between(self.times, self.mean, self.times.new_full((1,), t))

    def covariance_at(self, t: float) -> Covariance:
        """Return the covariance ``U U^T + diag(D)``."""
        at = self.times.new_full((1,), t)
        factor, own = (between(self.times, table, at) for table in (self.factor, self.diagonal))
        return low_rank(factor.flatten(0, -2), own.flatten())

    def precision(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the diagonal of ``C^-1``."""
        return between(self.times, self.inverse, t)

    def limits(self, t: Float[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
        """Return the lowest and highest states in the data at ``t``, widened by half of their distance on each side."""
        low, high = between(self.times, self.bounds, t).unbind(1)
        margin = (high - low) / 2
        return low - margin, high + margin

    def _physics(self, sde: SDE, x: Tensor, t: Tensor) -> Tensor:
        """``d(x)``; 0 for components without noise."""
        g = expand(sde.diffusion(t), x).expand_as(x)
        gap = sde.drift(x, t) - sde.drift(between(self.times, self.mean, t), t)
        return equilibrium_score(gap, g)

    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Return state, reference score and physics, each over its own scale; the last two through asinh."""
        unit = self.precision(x, t).sqrt()
        parts = [
            (x - between(self.times, self.mean, t)) / between(self.times, self.variance, t).sqrt(),
            (self.score(x, t) / unit).asinh(),
        ]
        if self.sde is not None:
            parts.append((self._physics(self.sde, x, t) / unit).asinh())
        return torch.cat(parts, dim=1)

    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Multiply the network's output by ``(C^-1)_ii^(1/2)``, and add its second half times ``d``."""
        unit = self.precision(x, t).sqrt()
        if self.sde is None:
            return unit * out
        local, physics = out.chunk(2, dim=1)
        return unit * local + physics * self._physics(self.sde, x, t)


def factor_analysis(x: Float[Tensor, "n d"], rank: int) -> tuple[Float[Tensor, "d rank"], Float[Tensor, " d"]]:
    """Return the maximum-likelihood ``U, D`` of ``N(mean, U U^T + diag(D))`` for the rows of a data matrix.

    The fit starts from probabilistic PCA of the standardised columns, ``W = V (Lambda - sigma^2)^(1/2)`` with
    ``sigma^2`` the mean of the ``d - r`` smallest eigenvalues, and gives every component its own ``D`` by
    expectation-maximisation. The number of factors is that of the eigenvalues beyond ``(1 + sqrt(d/n))^2``, the largest
    eigenvalue to be expected of ``n`` samples of independent components; at least 1 and at most ``rank``.

    Args:
        x: Data, one row for each sample.
        rank: Largest number of factors.

    Returns:
        Factors ``U``, whose unused columns are 0, and variances ``D``, at least 1e-4 of the variance of a component;
        nothing but zeros where no row differs from zero.

    References:
        Tipping and Bishop (1999), Probabilistic principal component analysis, eq. 7 and 8; Rubin and Thayer (1982), EM
        algorithms for ML factor analysis; Marchenko and Pastur (1967), for the bound on the eigenvalues.
    """
    # Standardise, so that the unit of a component does not decide whether it becomes a factor.
    n, d = x.shape
    spread, size = (float(v.square().mean().sqrt()) for v in (x - x.mean(0), x))
    scale = x.std(0, unbiased=False).clamp(min=1e-3 * spread + 1e-12 * size)  # the latter is more than rounding
    z = (x - x.mean(0)) / torch.where(scale > 0, scale, torch.ones_like(scale))
    S = z.T @ z / n

    # Start from probabilistic PCA with as many factors as eigenvalues are no sampling noise.
    values, vectors = torch.linalg.eigh(S)
    r = int((values > (1 + math.sqrt(d / n)) ** 2).sum().clamp(1, min(rank, d - 1)))
    sigma2 = values[:-r].mean().clamp(min=1e-4)
    U = vectors[:, -r:] * (values[-r:] - sigma2).clamp(min=0).sqrt()
    D = sigma2.expand(d)

    # Expectation-maximisation gives every component its own D.
    eye = torch.eye(r, dtype=x.dtype, device=x.device)
    for _ in range(_EM_ITERATIONS):
        gain = torch.cholesky_solve((U / D[:, None]).T, _capacitance(U, D))  # E[factors | z] = gain z
        shared = S @ gain.T
        U = torch.linalg.solve(gain @ shared + eye - gain @ U, shared.T).T
        D = (S.diagonal() - (U * shared).sum(1)).clamp(min=1e-4)
    padded = torch.nn.functional.pad(U, (0, rank - r))
    return padded * scale[:, None], D * scale**2


def _aligned(U: Float[Tensor, "*state rank"], before: Float[Tensor, "*state rank"]) -> Float[Tensor, "*state rank"]:
    """``U Q`` with the orthogonal ``Q`` that brings it closest to ``before`` (Schoenemann 1966); ``U U^T`` stays."""
    left, _, right = torch.linalg.svd(U.flatten(0, -2).T @ before.flatten(0, -2))
    turned: Tensor = U @ (left @ right)
    return turned


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
