"""An exchangeable Gaussian as the reference law of particles, one mean and two covariances for each species.

Particles of one species are exchangeable: of their coordinates ``y_i`` (positions, or positions and momenta), the mean
over the species ``Y_s = 1/n_s sum_i y_i`` and the deviations ``e_i = y_i - Y_s`` are independent under a Gaussian, with

    Y ~ N(M, B),    cov(e_i, e_j) = W_s (delta_ij - 1/n_s),

``B`` over all species together, so clouds may be correlated.  Hence, for a particle of species s,

    grad_i log q = -W_s^-1 e_i - 1/n_s [B^-1 (Y - M)]_s.

That is the exact law of independent particles in a harmonic trap whose clouds start around Gaussian centres.  What
pairs do to each other (they keep apart) is not in it and has to be learned.
"""

from __future__ import annotations

__all__ = ["ParticleReference", "fit_tables", "length_unit"]

import math
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE, expand
from physinv.models.references.base import ReferenceLaw, between
from physinv.processes.layout import StateLayout

if TYPE_CHECKING:
    from typing import Self

_FEW = 256  # states that tell how close particles are
_MANY = 4096  # trajectories that suffice for means and covariances


class Split(NamedTuple):
    """Membership ``(b, n, S)``, sizes ``(b, S)``, deviations ``(b, n, k)``, centred means over species ``(b, S k)``."""

    member: Tensor
    size: Tensor
    deviation: Tensor
    centre: Tensor


class ParticleReference(ReferenceLaw):
    """States ``(n, k + 1)``: ``k = d`` (positions) or ``2 d`` (positions, momenta), and the species, +1 or -1.

    ``mean (time, S, k)``, ``within (time, S, k, k)`` = W and ``centre (time, S k, S k)`` = B are interpolated linearly
    between the stored ``times``; ``S`` is 1 or 2 species.  ``unit`` is the features' length, ``period (d)`` that
    of the positions (0: none), ``isotropic`` whether the law knows no directions.

    Features: the position in units of ``unit``; as vectors of order one the position and (with momenta) the momentum
    off their means, the same averaged over the particle's species, the reference score and the physics ``2 f / g^2`` of
    what the noise acts on; the species.
    The network's output, one vector per particle, counts in units of ``W^(-1/2)`` and enters where there is noise
    only: in underdamped dynamics the score of the momenta is learned, that of the positions stays the reference's.
    """

    name: ClassVar[str] = "particles"

    times: Tensor
    mean: Tensor
    within: Tensor
    centre: Tensor
    unit: Tensor
    period: Tensor
    isotropic: Tensor

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

    spread: Tensor
    local: Tensor

    @classmethod
    def suits(cls, sde: SDE, layout: StateLayout) -> bool:
        return cls.name in layout.references

    @classmethod
    def fit(cls, sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: int = 0) -> Self:
        layout, few = data.layout, min(_MANY, data.n_trajectories)
        states = (data.states(i, limit=few).double() for i in range(len(data.times)))
        tables = [fit_tables(torch.cat(sde.images(x)).cpu()) for x in states]
        mean, within, centre = (torch.stack(table).float() for table in zip(*tables, strict=True))
        unit = length_unit(layout, data.states(-1, limit=min(_FEW, few)).cpu())
        period = torch.full((len(layout.coordinates[1]),), layout.box)
        return cls(sde, data.times.float(), mean, within, centre, unit, period, torch.tensor(layout.isotropic))

    @property
    def length(self) -> float:
        """Unit of length in which the features count positions: ``unit``."""
        return float(self.unit)

    def _split(self, x: Float[Tensor, "batch n c"], t: Float[Tensor, " batch"]) -> Split:
        y, first = x[..., :-1], (x[..., -1] > 0).to(x.dtype)
        member = torch.ones_like(x[..., -1:]) if self.mean.shape[1] == 1 else torch.stack([first, 1 - first], -1)
        size = member.sum(1).clamp(min=1)
        Y = torch.einsum("bns,bnk->bsk", member, y) / size[..., None]
        return Split(member, size, y - member @ Y, (Y - between(self.times, self.mean, t)).flatten(1))

    def _noisy(self) -> slice:
        """The components that noise acts on: the last ``d`` before the species."""
        k = self.mean.shape[-1]
        return slice(k - self.dimension, k)

    def score(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        p = self._split(x, t)
        shared = torch.cholesky_solve(p.centre[..., None], _cholesky(between(self.times, self.centre, t)))
        shared = shared.view(len(x), -1, x.shape[-1] - 1) / p.size[..., None]
        inverse = torch.cholesky_inverse(_cholesky(between(self.times, self.within, t)))
        own = torch.einsum("bns,bskl,bnl->bnk", p.member, inverse, p.deviation)
        return torch.cat([-own - p.member @ shared, torch.zeros_like(x[..., -1:])], dim=-1)

    def log_prob(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """``log q_t`` of positions and momenta, the species given (they have no density)."""
        p, k = self._split(x, t), x.shape[-1] - 1
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
        return torch.where(g > 0, 2 * f / g.square().clamp(min=1e-12), torch.zeros_like(f))

    def features(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        d, p = self.dimension, self._split(x, t)
        centre = p.member @ p.centre.view(len(x), -1, self.mean.shape[-1])
        spread, local = between(self.times, self.spread, t)[:, None], between(self.times, self.local, t)[:, None, None]
        parts = [x[..., :d] / self.unit]
        for off in (p.deviation + centre, centre):
            parts += [off[..., i * d : (i + 1) * d] / spread[..., i : i + 1] for i in range(spread.shape[-1])]
        parts += [self.score(x, t)[..., self._noisy()] * local, self._physics(x, t) * local, x[..., -1:]]
        return torch.cat(parts, dim=-1)

    def lift(self, out: Tensor, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Tensor:
        local = between(self.times, self.local, t)[:, None, None]
        pad = (self.mean.shape[-1] - self.dimension, 1)
        lifted: Tensor = torch.nn.functional.pad(out / local, pad)
        return lifted


def _per_vector(variances: Float[Tensor, "time k"], d: int) -> Float[Tensor, "time vectors"]:
    """Standard deviation per component of each vector."""
    deviation: Tensor = variances.reshape(len(variances), -1, d).mean(-1).sqrt()
    return deviation


def _cholesky(C: Float[Tensor, "*batch k k"]) -> Float[Tensor, "*batch k k"]:
    lower: Tensor = torch.linalg.cholesky_ex(C).L
    return lower


def fit_tables(x: Float[Tensor, "m n c"]) -> tuple[Tensor, Tensor, Tensor]:
    """``M (S, k)``, ``W (S, k, k)`` and ``B (S k, S k)`` of states that all have the same species in the same places.

    A species of one particle has no deviations; its ``W``, which then only sets a scale, is the variance of its mean.
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
    return means.mean(0), _regular(torch.stack(within)), _regular(centre)


def _regular(C: Float[Tensor, "*batch k k"]) -> Float[Tensor, "*batch k k"]:
    """A millionth of the mean variance added, so that point clouds have a score too."""
    scale = C.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None].clamp(min=1e-12)
    return C + 1e-6 * scale * torch.eye(C.shape[-1], dtype=C.dtype)


def length_unit(layout: StateLayout, x: Float[Tensor, "m n c"]) -> Float[Tensor, ""]:
    """Return the median distance of a particle to its nearest neighbour, the unit of lengths in features.

    For states of a single particle: the standard deviation of its coordinates.

    Args:
        layout: StateLayout of the states; its box is the period of the positions.
        x: States at one time.
    """
    q = x[:, :, : len(layout.coordinates[1])]
    unit = _nearest(q, layout.box).median() if q.shape[1] > 1 else q.std()
    return unit.float().clamp(min=1e-6)


def _nearest(q: Float[Tensor, "m n d"], box: float) -> Float[Tensor, "m n"]:
    """Distance of each particle to the nearest other one."""
    gaps = q[:, :, None] - q[:, None]
    gaps = gaps - box * (gaps / box).round() if box else gaps
    return (gaps.square().sum(-1) + torch.diag(torch.full((q.shape[1],), torch.inf))).amin(-1).sqrt()
