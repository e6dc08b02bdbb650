"""Jump kernels of particles: a normal law around a learned mean of every particle, equivariant.

    x_s = m(x_t) + unit (mean + deviation xi),    (mean, log deviation) = network(features(x_t), (s + t) / T),

``m`` a linear estimate, ``unit`` the size of its errors.  Mean and deviation are trained by the continuous ranked
probability score; the deviation is the same for all components of a vector.  Correlations between particles come from
the errors on validation data (:mod:`physinv.models.jumps.particle_noise`).  A chain of such jumps has laws that are far
from normal, such as that of two species which lay opposite to each other in a direction that nobody knows.

Features are ``x_t``, the linear estimate, and the drift at ``x_t``.  (The physics run backward within the range of the
data tells hardly more, and takes longer than the training.)
"""

from __future__ import annotations

__all__ = ["GRIDS", "ParticleJumps", "empty_particle_jumps", "fit_particle_jumps"]

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.jumps.base import Jump, JumpKernel, jump_grids, jumps_of
from physinv.models.jumps.crps import gaussian_crps
from physinv.models.jumps.field import field_jumps
from physinv.models.jumps.particle_noise import ParticleNoise
from physinv.models.networks.build import build_network
from physinv.models.references.particles import length_unit
from physinv.processes.layout import StateLayout

GRIDS = 3  # of 1, 2 and 4 jumps
_MANY = 64  # particles up to which there are so many: draws after the first jump take a network for each
_ROWS = 4096  # trajectories that suffice for linear estimates
_RIDGE = 1e-6  # of the mean square of a regressor
_LEAST = 1e-6  # of the largest scale: what hardly varies is not scaled up
_LOGS = 6.0  # largest modulus of the logarithm of a deviation
_FAR = 8.0  # units to which the drift is clamped
_GROUPS = 3  # vectors in the features for each vector of a particle
_FITTED, _FEWEST = 2**15, 64  # numbers of validation states that noise is fitted to, and fewest of these states


class ParticleJumps(JumpKernel):
    """The laws ``p(x_s | x_t)`` of particles for a table of jumps; see the module.

    Args:
        network: A network of features and a number in [0, 2], which tells jumps apart: it gives vectors of every
            particle, then a scalar for each of them.
        sde: The physics.
        layout: Layout of the states.
        times: Stored times, float64.
        grids: Number of grids: 1, for a jump from the last time to the first, or :data:`GRIDS`.

    References:
        Satorras, Hoogeboom and Welling (2021), E(n) equivariant graph neural networks.
    """

    centre: Float[Tensor, "time k"]
    unit: Float[Tensor, "time k"]
    slope: Float[Tensor, "jumps species regressors vectors"]
    offset: Float[Tensor, "jumps species k"]
    error: Float[Tensor, "jumps k"]
    length: Float[Tensor, ""]

    def __init__(
        self, network: nn.Module, sde: SDE, layout: StateLayout, times: Float[Tensor, " time"], grids: int = GRIDS
    ) -> None:
        jumps = _table(len(times) - 1, grids)
        super().__init__(network, sde, jumps)
        self.layout, self.times, self.grids = layout, times.double().cpu(), grids
        n, m, self.dimension, self.k = len(times), len(jumps), layout.positions, layout.shape[1] - 1
        vectors = self.k // self.dimension
        for name in ("centre", "unit"):
            self.register_buffer(name, torch.full((n, self.k), float(name == "unit")))
        self.register_buffer("slope", torch.zeros(m, 2, 3 * vectors, vectors))
        self.register_buffer("offset", torch.zeros(m, 2, self.k))
        self.register_buffer("error", torch.ones(m, self.k))
        self.register_buffer("length", torch.tensor(_spacing(layout)))
        self.noise = ParticleNoise(m, self.k)

    @property
    def built_with(self) -> dict[str, int]:
        return {"grids": self.grids}

    @torch.no_grad()
    def adapt(self, data: TrajectoryDataset) -> None:
        """Fit locations, scales and ranges at every stored time, and the linear estimate of every jump.

        Args:
            data: Training trajectories, of which the first 4096 count.
        """
        layout = self.layout
        if not layout.box:
            self.length.copy_(length_unit(layout, data.states(-1, limit=256).cpu()))
        for i in range(len(self.times)):
            x = data.states(i, limit=_ROWS)
            self.centre[i] = layout.centre(x)[..., : self.k].reshape(-1)
            self.unit[i] = layout.pooled((x - layout.centre(x)).square()).sqrt()[..., : self.k].reshape(-1)
        self.unit.copy_(self.unit.clamp(min=_LEAST * float(self.unit.amax())))
        for j, (s, t) in enumerate(self.jumps):
            x, y = data.states(t, limit=_ROWS), data.states(s, limit=_ROWS)
            self._regress(x, (y[..., : self.k] - self.centre[s]) / self.unit[s], j)

    @torch.no_grad()
    def prepare(self, later: Float[Tensor, "batch n c"], jump: int) -> Float[Tensor, "batch 2 n k"]:
        """Return the linear estimate in units of earlier states, and the drift over the jump in those of later ones.

        Args:
            later: States at the later time of the jump.
            jump: Number of the jump in the table.
        """
        s, t = self.jumps[jump]
        time = later.new_full((len(later),), float(self.times[t]))
        drift = self.sde.drift(later, time)[..., : self.k] * float(self.times[t] - self.times[s]) / self.unit[t]
        groups = [
            self._estimate(later, jump),
            drift.nan_to_num(0.0).clamp(-_FAR, _FAR),
        ]
        return torch.stack(groups, dim=1)

    def loss(
        self,
        earlier: Float[Tensor, "batch n c"],
        later: Float[Tensor, "batch n c"],
        prepared: Float[Tensor, "batch 2 n k"],
        jump: Int64[Tensor, " batch"],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return the continuous ranked probability score, averaged over everything, in units of the linear estimate's
        errors.
        """
        mean, deviation = self._standard(later, prepared, jump)
        s = self.table[jump][:, 0]
        value = (earlier[..., : self.k] - self.centre[s][:, None]) / self.unit[s][:, None]
        target = (value - prepared[:, 0]) / self.error[jump][:, None]
        return gaussian_crps(target, mean, deviation).mean()

    @torch.no_grad()
    def moments(
        self, later: Float[Tensor, "batch n c"], jump: int
    ) -> tuple[Float[Tensor, "batch n k"], Float[Tensor, "batch n k"]]:
        """Return mean and standard deviation of the moving components of earlier states.

        Args:
            later: States at the later time of the jump.
            jump: Number of the jump in the table.
        """
        s, number = self.jumps[jump].earlier, torch.full((len(later),), jump, dtype=torch.int64, device=later.device)
        prepared = self.prepare(later, jump)
        mean, deviation = self._standard(later, prepared, number)
        unit = self.unit[s] * self.error[jump]
        return self.centre[s] + self.unit[s] * prepared[:, 0] + unit * mean, unit * deviation

    def mean(self, later: Float[Tensor, "batch n c"], jump: int) -> Float[Tensor, "batch n c"]:
        return self._whole(self.moments(later, jump)[0], later)

    @torch.no_grad()
    def draw(
        self, later: Float[Tensor, "batch n c"], jump: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n c"]:
        """Draw one earlier state for each later state; mean and deviation of equal neighbours are computed once."""
        different, row = torch.unique_consecutive(later, dim=0, return_inverse=True)
        mean, deviation = self.moments(different, jump)
        xi = self.noise.draw(deviation[row], later[..., self.k :], jump, generator=generator)
        return self._whole(mean[row] + xi, later)

    @torch.no_grad()
    def finish(self, data: TrajectoryDataset, *, seed: Seed = 0) -> None:
        """Fit the noise of the draws of a trained kernel to trajectories that it was not trained on.

        Args:
            data: Validation trajectories.
            seed: Not used: nothing is drawn.
        """
        n = max(_FITTED // math.prod(self.layout.shape), _FEWEST)
        for i, (s, t) in enumerate(self.jumps):
            earlier, later = (data.states(m, limit=n) for m in (s, t))
            mean, deviation = self.moments(later, i)
            self.noise.fit(earlier[..., : self.k] - mean, deviation, later[..., self.k :], i)

    def _standard(self, later: Tensor, prepared: Tensor, jump: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation in units of the errors of the linear estimate."""
        t, k = self.table[jump][:, 1], self.k
        here = (later[..., :k] - self.centre[t][:, None]) / self.unit[t][:, None]
        place = later[..., : self.dimension] / self.length
        number = (self.times / self.times[-1]).to(later)[self.table].sum(1)[jump]
        features = torch.cat([place, here, *prepared.unbind(1), later[..., k:]], dim=-1)
        mean, logs = self.network(features, number).split([k, k // self.dimension], dim=-1)
        logs = (_LOGS * torch.tanh(logs / _LOGS)).repeat_interleave(self.dimension, dim=-1)
        return mean, logs.exp()

    def _whole(self, moving: Tensor, like: Tensor) -> Tensor:
        """States with the species of others."""
        return torch.cat([moving, like[..., self.k :]], dim=-1)

    def _regressors(self, x: Tensor, t: int) -> Float[Tensor, "batch n regressors d"]:
        """Vectors of every particle, and their means over its species and over all."""
        z = ((x[..., : self.k] - self.centre[t]) / self.unit[t]).reshape(*x.shape[:-1], -1, self.dimension)
        first = (x[..., -1:] > 0).to(x)
        member = torch.cat([first, 1 - first], -1)
        mean = member.mT @ z.flatten(2) / member.sum(1).clamp(min=1)[..., None]
        own = (member @ mean).reshape(z.shape)
        return torch.cat([z, own, z.mean(1, keepdim=True).expand_as(z)], dim=2)

    def _estimate(self, later: Tensor, jump: int) -> Float[Tensor, "batch n k"]:
        """The linear estimate, in units of earlier states."""
        which = (later[..., -1] <= 0).long()
        terms = self.slope[jump].mT[which] @ self._regressors(later, self.jumps[jump].later)
        return terms.flatten(2) + self.offset[jump][which]

    def _regress(self, later: Tensor, target: Tensor, jump: int) -> None:
        """The linear estimate of one jump, for each species, and the size of its errors."""
        regressors, first = self._regressors(later, self.jumps[jump].later), later[..., -1] > 0
        for species, member in enumerate((first, ~first)):
            if not bool(member.any()):
                continue
            a, b = regressors[member].double(), target[member].double()
            b = b.reshape(len(b), -1, self.dimension)
            middle = [torch.zeros_like(x[0]) if self.layout.isotropic else x.mean(0) for x in (a, b)]
            a, b = a - middle[0], b - middle[1]
            square = torch.einsum("mrd,mqd->rq", a, a)
            square += _RIDGE * square.diagonal().mean() * torch.eye(len(square)).to(square)
            slope = torch.linalg.solve(square, torch.einsum("mrd,mvd->rv", a, b))
            self.slope[jump, species] = slope.to(later)
            self.offset[jump, species] = (middle[1] - torch.einsum("rd,rv->vd", middle[0], slope)).flatten().to(later)
        gap = (self._estimate(later, jump) - target).square().mean((0, 1)).reshape(-1, self.dimension).mean(1)
        self.error[jump] = gap.sqrt().clamp(min=_LEAST).repeat_interleave(self.dimension)


def fit_particle_jumps(sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: Seed = 0) -> ParticleJumps:
    """Build the jump kernels of particles, with linear estimates fitted to data and an untrained network.

    Args:
        sde: The physics.
        data: Training trajectories.
        settings: Training settings, of which those of the network count.
        seed: Seed of the network's first weights.

    Returns:
        The kernels, before training.
    """
    kernel = empty_particle_jumps(sde, data.times, data.layout, settings, seed=seed).to(data.device)
    kernel.adapt(data)
    return kernel


def empty_particle_jumps(
    sde: SDE,
    times: Float[Tensor, " time"],
    layout: StateLayout,
    settings: Settings,
    *,
    grids: int | None = None,
    seed: Seed = 0,
) -> ParticleJumps:
    """Build jump kernels that know no data yet: into these a saved state is loaded.

    Args:
        sde: The physics.
        times: Stored times.
        layout: Layout of the states.
        settings: Training settings, of which those of the network count.
        grids: Number of grids of jumps: 1 or :data:`GRIDS`; None: 1 of more than 64 particles.
        seed: Seed of the network's first weights.

    Returns:
        The kernels, with empty tables.
    """
    d, k = layout.positions, layout.shape[1] - 1
    grids = grids or (GRIDS if layout.shape[0] <= _MANY else 1)
    network = build_network(
        layout,
        d + _GROUPS * k + 1,
        k + k // d,
        settings,
        seed=seeds(seed).child("model", "network"),
        numbers=k // d,
        unit=_spacing(layout),
    )
    return ParticleJumps(network, sde, layout, times, grids)


def _table(intervals: int, grids: int) -> list[Jump]:
    """The jumps that are trained: those of all grids, or one to the first time with another that teaches it."""
    return field_jumps(intervals) if grids == 1 else jumps_of(jump_grids(intervals))


def _spacing(layout: StateLayout) -> float:
    """The distance of neighbours of evenly spread particles in a box; 1 in open space."""
    return layout.box / layout.shape[0] ** (1 / layout.positions) if layout.box else 1.0
