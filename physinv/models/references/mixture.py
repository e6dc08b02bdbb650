"""Gaussian-mixture reference law of vectors: one component for each cluster of initial states."""

from __future__ import annotations

__all__ = ["MixtureReference"]

import math
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.broadcast import expand, one_for_all
from physinv.equations.sde import SDE
from physinv.laws.covariance import Covariance, isotropic
from physinv.laws.mixture import Mixture, cluster
from physinv.laws.observation import Observation, jacobian
from physinv.models.references.base import ReferenceLaw, equilibrium_score, raised
from physinv.models.references.here import Here
from physinv.models.references.tables import between, blended, located
from physinv.processes.layout import StateLayout

if TYPE_CHECKING:
    from typing import Self

_MAX_DIMENSION = 16  # components of a state up to which full covariances are fitted
_MAX_TRAJECTORIES = 4096  # enough for means and covariances
_STATES_PER_CLUSTER = 10  # times d + 1: initial states needed to fit one more cluster
_POINT_MASS = 1e-12  # of the largest variance at any time: that of states which do not vary


class MixtureReference(ReferenceLaw):
    """A Gaussian mixture whose component ``k`` follows the trajectories that started in cluster ``k``.

    Features are the state over its root mean square, the state whitened by the responsible component, the physics ``d``
    in that unit, and the responsibilities ``r_k``, where

        d(x) = phi(x) - sum_k r_k phi(m_k),    phi = 2 f / g^2  (the score that the physics has in equilibrium).

    The network's output has two halves: the first counts in units of the inverse standard deviation of the responsible
    component (which resolves narrow, well-separated components), the second multiplies ``d`` (which shapes the tails).

    Args:
        sde: The physics.
        times: Stored times, between which all tables are interpolated linearly.
        weights: Probabilities of the components.
        means: Means ``m_k``.
        factors: Lower Cholesky factors of the covariances ``C_k``.
        bounds: Lowest and highest states in the data.

    Raises:
        ValueError: If the shapes of the tables do not fit each other.
    """

    name: ClassVar[str] = "mixture"

    def __init__(
        self,
        sde: SDE,
        times: Float[Tensor, " time"],
        weights: Float[Tensor, " k"],
        means: Float[Tensor, "time k d"],
        factors: Float[Tensor, "time k d d"],
        bounds: Float[Tensor, "time 2 d"],
    ) -> None:
        super().__init__()
        self.sde = sde
        n, k, d = (*means.shape, 0, 0, 0)[:3]
        found = [tuple(x.shape) for x in (times, weights, means, factors, bounds)]
        if found != [(n,), (k,), (n, k, d), (n, k, d, d), (n, 2, d)]:
            told = ", ".join(map(str, found))
            raise ValueError(
                f"`times`, `weights`, `means`, `factors` and `bounds` of a mixture do not fit, got {told}."
            )
        self.channels_in, self.channels_out = 3 * d + (k if k > 1 else 0), 2 * d
        centre = (weights[:, None] * means).sum(1)
        spread = ((means - centre[:, None]) ** 2 + (factors**2).sum(-1)) * weights[:, None]
        self.register_buffer("times", times)
        self.register_buffer("weights", weights)
        self.register_buffer("means", means)
        self.register_buffer("factors", factors)
        self.register_buffer("bounds", bounds)
        # What is interpolated at the same times is one table.
        parts = [means, factors, centre, spread.sum((1, 2)).div(d).sqrt()[:, None]]
        self.register_buffer("tables", torch.cat([x.flatten(1) for x in parts], dim=1), persistent=False)

    @classmethod
    def suits(cls, sde: SDE, layout: StateLayout) -> bool:
        """Tell whether the state is a vector of at most 16 components."""
        return cls.name in layout.references and layout.shape[0] <= _MAX_DIMENSION

    @classmethod
    def fit(cls, sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: Seed = 0) -> Self:
        """Fit component ``k`` to the trajectories that started in cluster ``k``, at every stored time.

        ``settings.components`` bounds the number of clusters; the number used minimises the Bayesian information
        criterion on the initial states.
        """
        # Clusters of initial states; a cluster needs enough of them to estimate its mean and covariance.
        dim, n = data.shape[0], min(_MAX_TRAJECTORIES, data.n_trajectories)
        start = torch.cat(sde.images(data.states(0, limit=n).double()))
        rows = len(start)
        generator = seeds(seed).generator()
        most = min(settings.components, max(1, rows // (_STATES_PER_CLUSTER * (dim + 1))))
        member = cluster(start, most, generator=generator) if most > 1 else start.new_ones(rows, 1)
        share = member.mean(0)

        # Mean and covariance of each cluster at every stored time; a small ridge keeps point masses regular.
        means, covs, sizes, bounds = [], [], [], []
        for i in range(len(data.times)):
            x = torch.cat(sde.images(data.states(i, limit=n).double()))
            mean = member.T @ x / (share * rows)[:, None]
            gap = x[None] - mean[:, None]
            means.append(mean)
            covs.append((member.T[:, :, None] * gap).mT @ gap / (share * rows)[:, None, None])
            sizes.append(x.var(0, unbiased=False).mean())
            bounds.append(torch.stack([x.amin(0), x.amax(0)]))
        ridges = 1e-6 * raised(torch.stack(sizes), _POINT_MASS)[:, None, None, None]
        factors = torch.linalg.cholesky(torch.stack(covs) + ridges * torch.eye(dim, dtype=torch.float64))
        tables = (table.float() for table in (torch.stack(means), factors, torch.stack(bounds)))
        return cls(sde, data.times.float(), share.float(), *tables)

    def here(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Here:
        """Return the parts of the law for some states, which share responsibilities, whitened states and physics."""
        return _Here(self, x, t) if type(self) is MixtureReference else super().here(x, t)  # others may override parts

    def law(self, t: float) -> Mixture:
        """Return the reference law at one time as a mixture.

        Args:
            t: Time.
        """
        at = self.means.new_full((1,), t)
        factor = between(self.times, self.factors, at)[0]
        return Mixture(self.weights, between(self.times, self.means, at)[0], factor @ factor.mT)

    def mean_at(self, t: float) -> Float[Tensor, "1 *state"]:
        """Return the mean of the mixture."""
        return self.law(t).mean()[None]

    def covariance_at(self, t: float) -> Covariance:
        """Return ``v I`` with the smallest variance ``v`` of any component in any direction."""
        return isotropic(float(torch.linalg.eigvalsh(self.law(t).covs.double()).min()))

    def sample(self, n: int, t: float, *, generator: torch.Generator | None = None) -> Float[Tensor, "n *state"]:
        """Draw states from the mixture."""
        return self.law(t).sample(n, generator=generator)

    def sample_given(
        self,
        observation: Observation,
        y: Float[Tensor, "batch *seen"],
        n: int,
        t: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch n *state"]:
        """Draw from the mixture with ``w_k N(y; H m_k, M_k)``, ``m_k + K_k (y - H m_k)`` and covariance.

        The covariance is ``(I - K H) C (I - K H)^T + K R K^T``, in float64: sharp sensors leave little of what float32
        knows.
        """
        law = self.law(t)
        H = jacobian(observation.operator, law.mean()[None]).double()
        law = Mixture(law.weights.double(), law.means.double(), law.covs.double())
        noise = observation.covariance(H)
        M = H @ law.covs @ H.mT + noise
        seen = Mixture(law.weights, law.means @ H.mT, (M + M.mT) / 2)
        K = torch.linalg.solve(seen.covs, H @ law.covs).mT
        told = y.flatten(1).double()
        gap = told[:, None] - seen.means
        left = torch.eye(H.shape[1], dtype=H.dtype, device=H.device) - K @ H
        covs = left @ law.covs @ left.mT + K @ noise @ K.mT
        given = Mixture(
            seen.components(told)[0].softmax(-1),
            law.means + (K @ gap.unsqueeze(-1)).squeeze(-1),
            ((covs + covs.mT) / 2).expand(len(y), *covs.shape),
        )
        return given.sample(n, generator=generator).to(y)

    def limits(self, t: Float[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
        """Return the lowest and highest states in the data at ``t``, widened by half of their distance on each side.

        Beyond these limits the network was never trained, and explicit steps of physics run backward grow without
        bound; clamping keeps such outliers finite.
        """
        low, high = between(self.times, self.bounds, t).unbind(1)
        margin = (high - low) / 2
        return low - margin, high + margin

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the score ``-sum_k r_k C_k^-1 (x - m_k)``."""
        return _Here(self, x, t).score()

    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the log density of the mixture."""
        return torch.logsumexp(_Here(self, x, t).logs, 0) - x.shape[-1] / 2 * math.log(2 * math.pi)

    def precision(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the diagonal of ``sum_k r_k C_k^-1``, the curvature of the responsible component."""
        return _Here(self, x, t).precision(len(x))

    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Return state, whitened state, physics and, for more than one component, the responsibilities."""
        return _Here(self, x, t).features()

    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Turn the network's two halves into a score: the first whitened by the responsible component, the second times
        ``d``.
        """
        return _Here(self, x, t).lift(out)


class _Here(Here):
    """The mixture at some states: what its parts share is computed once.

    Components come before states in all of it: sums over a few components of many states then take a fraction of the
    time.
    """

    law: MixtureReference

    @cached_property
    def tables(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Means and factors of the components, and the centre and scale of all, with one row for each time: one row
        alone, where they are one time.
        """
        _, k, d = self.law.means.shape
        rows = blended(self.law.tables, *located(self.law.times, self.t[_rows(self.t)]))
        means, factors, centre, scale = torch.split(rows, [k * d, k * d * d, d, 1], dim=1)
        return means.view(-1, k, d), factors.view(-1, k, d, d), centre, scale

    @cached_property
    def means(self) -> Tensor:
        """Means of the components, ``(k, rows, d)``."""
        return self.tables[0].transpose(0, 1).contiguous()

    @cached_property
    def inverse(self) -> Tensor:
        """Inverse factors, ``(k, rows, d, d)``."""
        factor = self.tables[1].transpose(0, 1).contiguous()
        if factor.shape[-1] == 1:
            return factor.reciprocal()
        eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
        inverse: Tensor = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
        return inverse

    @cached_property
    def z(self) -> Tensor:
        """Whitened states, ``(k, batch, d)``."""
        return _times(self.inverse, self.x - self.means)

    @cached_property
    def logs(self) -> Tensor:
        """``log w_k N(x; m_k, C_k)`` up to ``d/2 log 2 pi``, ``(k, batch)``."""
        size = self.law.weights.log()[:, None] + _sum(self.inverse.diagonal(dim1=-2, dim2=-1).log())
        return size - _sum(self.z.square()) / 2

    @cached_property
    def r(self) -> Tensor:
        """Responsibilities, ``(k, batch, 1)``."""
        return self.logs.softmax(0)[..., None]

    @cached_property
    def physics(self) -> Tensor:
        """``d(x)``; 0 for components without noise."""
        x, t, sde, (k, rows, d) = self.x, self.t, self.law.sde, self.means.shape
        there = sde.drift(self.means.flatten(0, 1), t[:rows].repeat(k)).reshape(k, rows, d)
        gap = sde.drift(x, t) - (self.r * there).sum(0)
        return equilibrium_score(gap, expand(sde.diffusion(t), x).expand_as(x))

    def score(self) -> Float[Tensor, "batch *state"]:
        return -self._within(self.z)

    def precision(self, n: int) -> Float[Tensor, "n *state"]:
        found: Tensor = (self.r[:, :n] * self.inverse[:, :n].square().sum(-2)).sum(0)
        return found

    def features(self) -> Tensor:
        r, (_, _, centre, scale) = self.r, self.tables
        local = (r * self.inverse.diagonal(dim1=-2, dim2=-1)).sum(0)
        parts = [
            (self.x - centre) / scale,
            (r * self.z).sum(0).asinh(),
            (self.physics / local).asinh(),
        ]
        return torch.cat(parts + ([r[..., 0].T] if len(r) > 1 else []), dim=1)

    def lift(self, out: Tensor) -> Float[Tensor, "batch *state"]:
        local, physics = out.chunk(2, dim=1)
        return self._within(local.expand_as(self.z)) + physics * self.physics

    def _within(self, white: Tensor) -> Tensor:
        """What is white within each component, in units of the state, as the responsible one has it."""
        found: Tensor = (self.r * _times(self.inverse.mT, white)).sum(0)
        return found


def _sum(values: Tensor) -> Tensor:
    """Sums over the components of a state."""
    return values[..., 0] if values.shape[-1] == 1 else values.sum(-1)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrices times vectors; for one dimension the product of two numbers, which takes far less time."""
    return matrix[..., 0] * vector if vector.shape[-1] == 1 else (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _rows(table: Tensor) -> slice:
    """The rows of a table that differ: the first one where all states have the same time."""
    return slice(0, 1) if one_for_all(table) else slice(None)
