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

__all__ = ["ParticleReference"]

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, expand
from physinv.models.references.base import ReferenceLaw, between


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

    name = "particles"

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
