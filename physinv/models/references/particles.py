"""Exchangeable Gaussian reference law of particles: one mean and two covariances for each species.

Particles of one species are exchangeable.  Of their coordinates ``y_i`` (positions, or positions and momenta), the mean
over the species ``Y_s = 1/n_s sum_i y_i`` and the deviations ``e_i = y_i - Y_s`` are independent under a Gaussian, with

    Y ~ N(M, B),    cov(e_i, e_j) = W_s (delta_ij - 1/n_s),

``B`` over all species together, so that the means of different species may be correlated.  Hence, for a particle of
species s,

    grad_i log q = -W_s^-1 e_i - 1/n_s [B^-1 (Y - M)]_s.

This is the exact law of independent particles in a harmonic trap that start around Gaussian centres.  Interactions of
pairs (particles keep apart) are not part of it; the network has to learn them.
"""

from __future__ import annotations

__all__ = ["ParticleReference", "fit_tables", "length_unit"]

import math
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seed
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.broadcast import expand
from physinv.equations.sde import SDE
from physinv.models.references.base import ReferenceLaw, equilibrium_score, raised
from physinv.models.references.tables import between
from physinv.processes.layout import StateLayout

if TYPE_CHECKING:
    from typing import Self

_NEIGHBOUR_STATES = 256  # states from which the distance of neighbours is estimated
_MAX_TRAJECTORIES = 4096  # enough for means and covariances
_POINT_MASS = 1e-12  # of the largest variance at any time: that of particles which do not vary


class SpeciesDecomposition(NamedTuple):
    """States of particles, decomposed by species.

    Args:
        member: 1 where a particle belongs to a species, else 0, ``(batch, n, S)``.
        size: Particles of each species, at least 1, ``(batch, S)``.
        deviation: Deviations ``e_i`` from the mean of the species, ``(batch, n, k)``.
        centre: Means of the species minus those of the law, ``Y - M``, ``(batch, S k)``.
    """

    member: Tensor
    size: Tensor
    deviation: Tensor
    centre: Tensor


class ParticleReference(ReferenceLaw):
    """The exchangeable Gaussian reference law of particles, interpolated linearly between the stored times.

    A state is ``(n, k + 1)``: ``k = d`` (positions) or ``k = 2 d`` (positions and momenta), and the species, +1 or -1.
    ``S`` is the number of species, 1 or 2.

    Features: the position in units of ``unit``; as vectors of order one the position and (with momenta) the momentum
    minus their means, the same averaged over the particle's species, the reference score, and the physics ``2 f /
    g^2``, the last two of the components on which noise acts; the species.

    The network's output, one vector for each particle, counts in units of ``W^(-1/2)`` and enters only where noise
    acts: in underdamped dynamics the score of the momenta is learned, that of the positions stays the reference law's.

    Args:
        sde: The physics.
        times: Stored times.
        mean: Means ``M`` of the species.
        within: Covariances ``W_s`` of the deviations.
        centre: Covariance ``B`` of the means of all species.
        unit: Unit of length of the features; see :func:`length_unit`.
        period: Period of the positions along each axis; 0: none.
        isotropic: Whether the law of the states is invariant under rotations and reflections.
    """

    name: ClassVar[str] = "particles"

    def __init__(
        self,
        sde: SDE,
        times: Float[Tensor, " time"],
        mean: Float[Tensor, "time species k"],
        within: Float[Tensor, "time species k k"],
        centre: Float[Tensor, "time speciesk speciesk"],
        unit: Float[Tensor, ""],
        period: Float[Tensor, " d"],
        isotropic: Tensor,
    ) -> None:
        super().__init__()
        self.sde, self.dimension = sde, len(period)
        self.vectors, self.scalars = 2 + 2 * (mean.shape[-1] // len(period)), 1
        self.channels_in, self.channels_out = self.dimension * (1 + self.vectors) + 1, self.dimension
        tables = {"times": times, "mean": mean, "within": within, "centre": centre}
        for name, table in {**tables, "unit": unit, "period": period, "isotropic": isotropic}.items():
            self.register_buffer(name, table)
        own = within.diagonal(dim1=-2, dim2=-1).mean(1)  # (time, k), averaged over species
        shared = centre.diagonal(dim1=-2, dim2=-1).reshape(mean.shape).mean(1)
        self.register_buffer("spread", _per_vector(own + shared, self.dimension), persistent=False)
        self.register_buffer("local", _per_vector(own, self.dimension)[:, -1], persistent=False)

    @classmethod
    def suits(cls, sde: SDE, layout: StateLayout) -> bool:
        """Tell whether the states are particles."""
        return cls.name in layout.references

    @classmethod
    def fit(cls, sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: Seed = 0) -> Self:
        """Fit means and covariances of the species at every stored time."""
        layout, n = data.layout, min(_MAX_TRAJECTORIES, data.n_trajectories)
        states = (data.states(i, limit=n).double() for i in range(len(data.times)))
        tables = [fit_tables(torch.cat(sde.images(x)).cpu()) for x in states]
        mean, within, centre = (torch.stack(table) for table in zip(*tables, strict=True))
        mean, within, centre = mean.float(), _regular(within).float(), _regular(centre).float()
        unit = length_unit(layout, data.states(-1, limit=min(_NEIGHBOUR_STATES, n)).cpu())
        period = torch.full((len(layout.coordinates[1]),), layout.box)
        return cls(sde, data.times.float(), mean, within, centre, unit, period, torch.tensor(layout.isotropic))

    @property
    def length(self) -> float:
        """Return the unit of length in which the features count positions, ``unit``."""
        return float(self.unit)

    def _decompose(self, x: Float[Tensor, "batch n c"], t: Float[Tensor, " batch"]) -> SpeciesDecomposition:
        """Decompose states by species."""
        y, first = x[..., :-1], (x[..., -1] > 0).to(x.dtype)
        member = torch.ones_like(x[..., -1:]) if self.mean.shape[1] == 1 else torch.stack([first, 1 - first], -1)
        size = member.sum(1).clamp(min=1)
        Y = torch.einsum("bns,bnk->bsk", member, y) / size[..., None]
        return SpeciesDecomposition(member, size, y - member @ Y, (Y - between(self.times, self.mean, t)).flatten(1))

    def _noisy(self) -> slice:
        """Components on which noise acts: the last ``d`` before the species."""
        k = self.mean.shape[-1]
        return slice(k - self.dimension, k)

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        """Return the score of positions and momenta; that of the species is 0."""
        p = self._decompose(x, t)
        shared = torch.cholesky_solve(p.centre[..., None], _cholesky(between(self.times, self.centre, t)))
        shared = shared.view(len(x), -1, x.shape[-1] - 1) / p.size[..., None]
        inverse = torch.cholesky_inverse(_cholesky(between(self.times, self.within, t)))
        own = torch.einsum("bns,bskl,bnl->bnk", p.member, inverse, p.deviation)
        return torch.cat([-own - p.member @ shared, torch.zeros_like(x[..., -1:])], dim=-1)

    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the log density of positions and momenta given the species (which have no density)."""
        p, k = self._decompose(x, t), x.shape[-1] - 1
        W, B = _cholesky(between(self.times, self.within, t)), _cholesky(between(self.times, self.centre, t))
        z = torch.linalg.solve_triangular(B, p.centre[..., None], upper=False)
        inverse = torch.cholesky_inverse(W)
        square = torch.einsum("bns,bnk,bskl,bnl->b", p.member, p.deviation, inverse, p.deviation)
        logs = 2 * W.diagonal(dim1=-2, dim2=-1).log().sum(-1) + k * math.log(2 * math.pi)
        det = ((p.size - 1) * logs).sum(-1) + 2 * B.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        det = det + p.centre.shape[-1] * math.log(2 * math.pi) + k * p.size.log().sum(-1)
        log_q: Tensor = -(square + z.square().sum((1, 2)) + det) / 2
        return log_q

    def _physics(self, x: Tensor, t: Tensor) -> Tensor:
        """``2 f / g^2`` of the noisy components; 0 without noise."""
        g = expand(self.sde.diffusion(t), x).expand_as(x)[..., self._noisy()]
        f = self.sde.drift(x, t)[..., self._noisy()]
        return equilibrium_score(f, g)

    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Return positions, deviations, means, reference score, physics and species of every particle."""
        d, p = self.dimension, self._decompose(x, t)
        centre = p.member @ p.centre.view(len(x), -1, self.mean.shape[-1])
        spread, local = between(self.times, self.spread, t)[:, None], between(self.times, self.local, t)[:, None, None]
        parts = [x[..., :d] / self.unit]
        for off in (p.deviation + centre, centre):
            parts += [off[..., i * d : (i + 1) * d] / spread[..., i : i + 1] for i in range(spread.shape[-1])]
        parts += [self.score(x, t)[..., self._noisy()] * local, self._physics(x, t) * local, x[..., -1:]]
        return torch.cat(parts, dim=-1)

    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        """Multiply the network's output by ``W^(-1/2)``, in the components on which noise acts."""
        local = between(self.times, self.local, t)[:, None, None]
        pad = (self.mean.shape[-1] - self.dimension, 1)
        lifted: Tensor = torch.nn.functional.pad(out / local, pad)
        return lifted


def _per_vector(variances: Float[Tensor, "time k"], d: int) -> Float[Tensor, "time vectors"]:
    """Standard deviation per component of each vector."""
    deviation: Tensor = variances.reshape(len(variances), -1, d).mean(-1).sqrt()
    return deviation


def _cholesky(C: Float[Tensor, "*batch k k"]) -> Float[Tensor, "*batch k k"]:
    """Lower Cholesky factor, without the check for errors that would wait for a GPU."""
    lower: Tensor = torch.linalg.cholesky_ex(C).L
    return lower


def fit_tables(x: Float[Tensor, "m n c"]) -> tuple[Tensor, Tensor, Tensor]:
    """Estimate the means and covariances of an exchangeable Gaussian.

    A species of one particle has no deviations; its ``W``, which then only sets a scale, is the variance of its mean.
    Covariances of point masses are singular.

    Args:
        x: States, all with the same species in the same places.

    Returns:
        ``M (S, k)``, ``W (S, k, k)`` and ``B (S k, S k)``.
    """
    y, first = x[..., :-1], x[0, :, -1] > 0
    groups = [y[:, g] for g in (first, ~first) if bool(g.any())]
    means = torch.stack([g.mean(1) for g in groups], dim=1)  # (m, S, k)
    flat = (means - means.mean(0)).flatten(1)
    centre = flat.T @ flat / max(len(x) - 1, 1)
    within = []
    for i, g in enumerate(groups):
        e = g - means[:, i, None] if g.shape[1] > 1 else g - g.mean(0)
        within.append(torch.einsum("mnk,mnl->kl", e, e) / max(len(x) * max(g.shape[1] - 1, 1), 1))
    return means.mean(0), torch.stack(within), centre


def _regular(C: Float[Tensor, "time *batch k k"]) -> Float[Tensor, "time *batch k k"]:
    """``C`` plus a millionth of its mean variance, so that point masses have a score too."""
    scale = raised(C.diagonal(dim1=-2, dim2=-1).mean(-1), _POINT_MASS)[..., None, None]
    return C + 1e-6 * scale * torch.eye(C.shape[-1], dtype=C.dtype)


def length_unit(layout: StateLayout, x: Float[Tensor, "m n c"]) -> Float[Tensor, ""]:
    """Return the median distance of a particle to its nearest neighbour, the unit of lengths in features.

    For states of a single particle, and where neighbours coincide: the standard deviation of all coordinates, or 1 if
    that is 0 as well.

    Args:
        layout: Layout of the states; its box is the period of the positions.
        x: States at one time.
    """
    q = x[:, :, : len(layout.coordinates[1])]
    near = _nearest(q, layout.box).median() if q.shape[1] > 1 else q.new_zeros(())
    return q.new_tensor(float(near) or float(q.std(correction=0)) or 1.0).float()


def _nearest(q: Float[Tensor, "m n d"], box: float) -> Float[Tensor, "m n"]:
    """Distance of each particle to the nearest other one."""
    gaps = q[:, :, None] - q[:, None]
    gaps = gaps - box * (gaps / box).round() if box else gaps
    return (gaps.square().sum(-1) + torch.diag(torch.full((q.shape[1],), torch.inf))).amin(-1).sqrt()
