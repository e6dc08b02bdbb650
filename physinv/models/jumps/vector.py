"""Jump kernels of vector processes: Gaussian mixtures in local units around a regression on the backward solution."""

from __future__ import annotations

__all__ = ["COMPONENTS", "VectorJumps", "empty_vector_jumps", "fit_vector_jumps"]

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.jumps.backward import backward_solution, backward_solutions, needed_corrections
from physinv.models.jumps.base import Jump, JumpKernel, jump_grids, jumps_of
from physinv.models.jumps.conditional_mixture import ConditionalMixture, mixture_loss, mixture_outputs, mixture_slope
from physinv.models.networks.build import build_network
from physinv.models.networks.layers import embed
from physinv.models.networks.mlp import MLP
from physinv.processes.layout import StateLayout

COMPONENTS = 8
"""Gaussians of the mixture of each jump."""

_WIDER = 0.25  # of the range of the data: by how much the backward solution may leave it on either side
_RIDGE = 1e-6  # of the mean square of a regressor
_LEAST = 1e-4  # of the deviation of an earlier state: the smallest local unit
_ANEW = 8  # times that a draw outside the range of the data is repeated
_ROWS = 4096  # trajectories that locations and regressions are fitted to


class VectorJumps(JumpKernel):
    """Mixtures of Gaussians ``p(x_s | x_t)`` in local units, whose parameters a network gives.

    With the backward solution ``b`` of ``x_t`` (:func:`~physinv.models.jumps.backward.backward_solution`), the
    regression ``m = A [x_t, b] + c`` of ``x_s`` and the Cholesky factor ``U`` of the covariance of its residuals,

        x_s = m + U r,    r ~ sum_k w_k N(m_k, L^-1 D_k^2 L^-T),

    where the network gives the parameters of the mixture for ``x_t``, ``b``, ``asinh(U^-1 (b - m))`` and the jump.
    Draws are kept within the range of the data at ``s``: those outside are drawn anew.  Static components of a draw are
    those of ``x_t``; the law is one of the ``moving`` ones.

    Args:
        network: The network.
        sde: The physics.
        times: Stored times, float64.
        jumps: The table of jumps.
        layout: Layout of the states.
        components: Gaussians of each mixture.
        corrections: Of every step of the backward solution.

    References:
        Bishop (1994), Mixture density networks.
        Holzschuh, Vegetti, Thuerey (2023), Solving inverse physics problems with score matching, for windows of
        trajectories with the physics taken back.
    """

    low: Float[Tensor, "time d"]
    high: Float[Tensor, "time d"]
    centre: Float[Tensor, "time d"]
    unit: Float[Tensor, "time d"]
    back_centre: Float[Tensor, "jumps d"]
    back_unit: Float[Tensor, "jumps d"]
    slope: Float[Tensor, "jumps twice moving"]
    offset: Float[Tensor, "jumps moving"]
    factor: Float[Tensor, "jumps moving moving"]
    whitener: Float[Tensor, "jumps moving moving"]
    heard: Float[Tensor, "jumps heard"]  # the same with the embedded later end
    told: Float[Tensor, "jumps told"]  # what the network hears of each jump: its later and earlier end, and which

    def __init__(
        self,
        network: nn.Module,
        sde: SDE,
        times: Float[Tensor, " time"],
        jumps: list[Jump],
        layout: StateLayout,
        components: int = COMPONENTS,
        corrections: int = 0,
    ) -> None:
        super().__init__(network, sde, jumps)
        (d,), n, k, moving = layout.shape, len(times), len(jumps), _moving(layout)
        self.layout, self.components, self.corrections, self.times = (
            layout,
            components,
            corrections,
            times.double().cpu(),
        )
        for name in ("low", "high", "centre", "unit"):
            self.register_buffer(name, torch.zeros(n, d))
        for name in ("back_centre", "back_unit"):
            self.register_buffer(name, torch.zeros(k, d))
        self.register_buffer("offset", torch.zeros(k, moving))
        self.register_buffer("slope", torch.zeros(k, 2 * d, moving))
        ends = (self.times.float() / self.times[-1].float())[self.table]
        self.register_buffer("told", torch.cat([ends.flip(1), torch.eye(k)], 1), persistent=False)
        waves = embed(self.told[:, 0], network.frequencies) if isinstance(network, MLP) else self.told[:, :0]
        self.register_buffer("heard", torch.cat([self.told[:, 1:], waves], 1), persistent=False)
        for name in ("factor", "whitener"):
            self.register_buffer(name, torch.eye(moving).repeat(k, 1, 1))

    @property
    def built_with(self) -> dict[str, int]:
        return {"components": self.components, "corrections": self.corrections}

    @torch.no_grad()
    def adapt(self, trajectories: Float[Tensor, "n time d"]) -> None:
        """Fit ranges, locations and scales at every stored time, and the regression of every jump.

        Args:
            trajectories: States at all stored times.
        """
        x = trajectories
        self.low, self.high = x.amin(0), x.amax(0)
        moving = self.layout.moving
        self.corrections = needed_corrections(self.sde, x, self.jumps, self.times, *self._box(), moving)
        self.centre, self.unit = x.mean(0), _positive(x.std(0))
        for i, jump in enumerate(self.jumps):
            later, target = x[:, jump.later], x[:, jump.earlier]
            back = self._backward(later, i)
            self.back_centre[i], self.back_unit[i] = back.mean(0), _positive(back.std(0))

            # The regression, in float64 and standardised, so that units and near collinear regressors do no harm.
            inputs = self._regressors(later, back, i).double()
            gap = self.layout.moving((target - self.centre[jump.earlier]) / self.unit[jump.earlier]).double()
            square = inputs.T @ inputs / len(x)
            square += _RIDGE * torch.eye(len(square), dtype=square.dtype, device=square.device)
            slope = torch.linalg.solve(square, inputs.T @ gap / len(x))
            left = gap - inputs @ slope
            covariance = left.T @ left / len(x)
            covariance += _LEAST**2 * torch.eye(len(covariance), dtype=square.dtype, device=square.device)
            unit = self.layout.moving(self.unit[jump.earlier]).double()
            self.slope[i] = (slope * unit).to(x)
            self.offset[i] = self.layout.moving(self.centre[jump.earlier])
            factor = unit[:, None] * torch.linalg.cholesky(covariance)
            self.factor[i], self.whitener[i] = factor.to(x), torch.linalg.inv(factor).to(x)

    @torch.no_grad()
    def prepare(self, later: Float[Tensor, "batch d"], jump: int) -> Float[Tensor, "batch numbers"]:
        """Return what the network sees of later states, and the regression, which is the origin of the mixtures.

        Neither depends on the weights, so training computes them once for each round of trajectories.

        Args:
            later: States at the later time of the jump.
            jump: Number of the jump in the table.
        """
        return self._prepared(later, self._backward(later, jump), jump)

    @torch.no_grad()
    def prepare_all(self, states: Float[Tensor, "n time d"]) -> Float[Tensor, "n jumps numbers"]:
        """Prepare all jumps; equal later ends share backward solutions, and earlier states follow in local units."""
        jumps, found = self.jumps, dict[Jump, Tensor]()
        for later in {jump.later for jump in jumps}:
            ends = [jump.earlier for jump in jumps if jump.later == later]
            back = backward_solutions(
                self.sde, states[:, later], later, ends, self.times, *self._box(), corrections=self.corrections
            )
            found |= {Jump(earlier, later): x for earlier, x in back.items()}
        every = torch.stack([self._prepared(states[:, j.later], found[j], i) for i, j in enumerate(jumps)], dim=1)
        number = torch.arange(len(jumps), device=states.device).repeat(len(states))
        target = self._target(states[:, self.table[:, 0]].flatten(0, 1), every.flatten(0, 1), number)
        return torch.cat([every, target.reshape(*every.shape[:2], -1)], dim=2)

    def _prepared(self, later: Tensor, back: Tensor, jump: int) -> Tensor:
        """What :meth:`prepare` returns, from the backward solution."""
        inputs = self._regressors(later, back, jump)
        origin = self.offset[jump] + inputs @ self.slope[jump]
        local = ((self.layout.moving(back) - origin) @ self.whitener[jump].T).asinh()
        return torch.cat([inputs, local, origin], 1)

    def mixture(
        self, prepared: Float[Tensor, "batch numbers"], jump: Int64[Tensor, " batch"] | int
    ) -> tuple[ConditionalMixture, Float[Tensor, "batch moving"]]:
        """Return the mixtures in local units, and the regression that is their origin.

        Args:
            prepared: What :meth:`prepare` says about later states.
            jump: Numbers of the jumps, or one number for all.
        """
        seen, origin, *_ = self._parts(prepared)
        return ConditionalMixture.of(self._output(seen, jump), origin.shape[1], self.components), origin

    def log_prob(
        self,
        earlier: Float[Tensor, "batch d"],
        later: Float[Tensor, "batch d"],
        prepared: Float[Tensor, "batch numbers"],
        jump: Int64[Tensor, " batch"],
    ) -> Float[Tensor, " batch"]:
        """Return ``log p(x_s | x_t)`` in nats.

        Args:
            earlier: States at the earlier times.
            later: States at the later times.
            prepared: What :meth:`prepare` says about them.
            jump: Numbers of the jumps.
        """
        inside = self.mixture(prepared, jump)[0].log_prob(self._target(earlier, prepared, jump))
        return inside + self.whitener.diagonal(dim1=1, dim2=2).log().sum(1)[jump]

    def loss(
        self,
        earlier: Float[Tensor, "batch d"],
        later: Float[Tensor, "batch d"],
        prepared: Float[Tensor, "batch numbers"],
        jump: Int64[Tensor, " batch"],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return the negative log density of ``x_s`` per component, in local units.

        Args:
            earlier: States at the earlier times.
            later: States at the later times.
            prepared: What :meth:`prepare_all` says about both, or :meth:`prepare` about the later ones.
            jump: Numbers of the jumps.
            generator: Source of whatever the loss draws, on the device of ``later``; not used.
        """
        (seen, _, *known), k = self._parts(prepared), self.components
        target = known[0] if known else self._target(earlier, prepared, jump)
        if isinstance(self.network, MLP) and self.network.bare and torch.is_grad_enabled():
            inputs = torch.cat([seen, self.heard.index_select(0, jump)], 1)
            return self.network.loss(inputs, lambda numbers: mixture_slope(numbers, target, k))
        return mixture_loss(self._output(seen, jump), target, k)

    @torch.no_grad()
    def draw(
        self, later: Float[Tensor, "batch d"], jump: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch d"]:
        """Draw one earlier state for each later state, within the range of the data.

        What falls outside is drawn anew, so that hard edges of initial states collect no draws; what stays outside, as
        for later states that are far from the data, ends at the edge, where it is noticed.
        """
        return self._drawn(later, jump, _ANEW, generator)

    @torch.no_grad()
    def propose(
        self, later: Float[Tensor, "batch d"], jump: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch d"]:
        return self._drawn(later, jump, 0, generator)

    def _drawn(self, later: Tensor, jump: int, anew: int, generator: torch.Generator | None) -> Tensor:
        """Draws; the mixtures of equal neighbours are computed once."""
        new = torch.ones(len(later), dtype=torch.bool, device=later.device)
        new[1:] = (later[1:] != later[:-1]).any(1)
        different, row = later[new], new.cumsum(0) - 1  # unique_consecutive takes a hundred times longer
        mixture, origin = self.mixture(self.prepare(different, jump), jump)
        low, high = (end[self.jumps[jump].earlier] for end in (self.low, self.high))

        chosen = mixture if len(different) == len(later) else mixture.rows(row)
        moved = origin.index_select(0, row) + chosen.draw(generator=generator) @ self.factor[jump].T
        drawn = self.layout.set_moving(moved, later)
        for _ in range(anew):
            left = self.layout.moving(drawn - drawn.clamp(low, high)).any(1).nonzero()[:, 0]
            if not len(left):
                break
            at = row[left]
            moved = origin[at] + mixture.rows(at).draw(generator=generator) @ self.factor[jump].T
            drawn[left] = self.layout.set_moving(moved, later[left])
        return drawn.clamp(low, high)

    @torch.no_grad()
    def log_density(
        self, later: Float[Tensor, "batch d"], earlier: Float[Tensor, "batch d"], jump: int
    ) -> Float[Tensor, " batch"]:
        """Return the log density of what is proposed; minus infinity on and beyond the range of the data, where that is
        cut off.
        """
        number, s = torch.full((len(later),), jump, device=later.device), self.jumps[jump].earlier
        found = self.log_prob(earlier, later, self.prepare(later, jump), number).double()
        inside = ((earlier > self.low[s]) & (earlier < self.high[s])).all(1)
        return torch.where(inside, found, -torch.inf)

    @torch.no_grad()
    def mean(self, later: Float[Tensor, "batch d"], jump: int) -> Float[Tensor, "batch d"]:
        mixture, origin = self.mixture(self.prepare(later, jump), jump)
        return self.layout.set_moving(origin + mixture.mean() @ self.factor[jump].T, later)

    def _parts(self, prepared: Tensor) -> tuple[Tensor, ...]:
        """What the network sees of the later states, the regression and, if known, earlier states in local units."""
        inputs = 2 * self.low.shape[1] + (moving := self.offset.shape[1])
        return torch.split(prepared, [inputs, *[moving] * ((prepared.shape[1] - inputs) // moving)], 1)

    def _target(self, earlier: Tensor, prepared: Tensor, jump: Tensor) -> Tensor:
        """Earlier states in local units."""
        return self._white(self.layout.moving(earlier) - self._parts(prepared)[1], jump)

    def _output(self, seen: Tensor, jump: Tensor | int) -> Tensor:
        """The output of the network."""
        told = self.told[jump].expand(len(seen), -1)
        return self.network(torch.cat([seen, told[:, 1:]], 1), told[:, 0])  # type: ignore[no-any-return]

    def _backward(self, later: Tensor, jump: int) -> Tensor:
        """The backward solution from later states."""
        ends = self.jumps[jump]
        return backward_solution(self.sde, later, ends, self.times, *self._box(), corrections=self.corrections)

    def _box(self) -> tuple[Tensor, Tensor]:
        """The box of backward solutions, somewhat wider than the data."""
        margin = _WIDER * (self.high - self.low)
        return self.low - margin, self.high + margin

    def _white(self, gap: Tensor, jump: Tensor) -> Tensor:
        """Differences of earlier states in local units."""
        return torch.bmm(self.whitener.index_select(0, jump), gap[..., None])[..., 0]

    def _regressors(self, later: Tensor, back: Tensor, jump: int) -> Tensor:
        """The later state and its backward solution, standardised."""
        t = self.jumps[jump].later
        return torch.cat(
            [(later - self.centre[t]) / self.unit[t], (back - self.back_centre[jump]) / self.back_unit[jump]], 1
        )


def fit_vector_jumps(
    sde: SDE,
    data: TrajectoryDataset,
    settings: Settings,
    *,
    parts: tuple[int, ...] = (1, 2, 4),
    components: int = COMPONENTS,
    seed: Seed = 0,
) -> VectorJumps:
    """Build the jump kernels of a vector process, with regressions fitted to data and an untrained network.

    Args:
        sde: The physics.
        data: Training trajectories.
        settings: Training settings, of which those of the network count.
        parts: Numbers of jumps of the grids.
        components: Gaussians of the mixture of each jump.
        seed: Seed of the network's first weights.

    Returns:
        The kernels, before training.
    """
    kernel = empty_vector_jumps(
        sde, data.times, data.layout, settings, parts=parts, components=components, seed=seed
    ).to(data.device)
    x = data.trajectories(slice(0, _ROWS))
    kernel.adapt(torch.cat(sde.images(x)))
    return kernel


def empty_vector_jumps(
    sde: SDE,
    times: Float[Tensor, " time"],
    layout: StateLayout,
    settings: Settings,
    *,
    parts: tuple[int, ...] = (1, 2, 4),
    components: int = COMPONENTS,
    corrections: int = 0,
    seed: Seed = 0,
) -> VectorJumps:
    """Build jump kernels that know no data yet: into these a saved state is loaded.

    Args:
        sde: The physics.
        times: Stored times.
        layout: Layout of the states.
        settings: Training settings, of which those of the network count.
        parts: Numbers of jumps of the grids.
        components: Gaussians of the mixture of each jump.
        corrections: Of every step of the backward solution.
        seed: Seed of the network's first weights.

    Returns:
        The kernels, with empty tables.
    """
    (d,) = layout.shape
    jumps = jumps_of(jump_grids(len(times) - 1, parts))
    moving = _moving(layout)
    inputs, outputs = 2 * d + moving + 1 + len(jumps), mixture_outputs(moving, components)
    network = build_network(layout, inputs, outputs, settings, seed=seeds(seed).child("model", "network"))
    return VectorJumps(network, sde, times, jumps, layout, components, corrections)


def _moving(layout: StateLayout) -> int:
    """Components of a state that are not static."""
    return int(layout.moving(torch.zeros(1, *layout.shape)).shape[1])


def _positive(scale: Tensor) -> Tensor:
    """Scales, with 1 for what does not vary."""
    return torch.where(scale > 0, scale, torch.ones_like(scale))
