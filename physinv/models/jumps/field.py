"""Jump kernels of fields: a normal law around a learned mean, with the spread that the data show.

    x_s = m(x_t) + unit (mean + deviation xi),    (mean, log deviation) = network(features(x_t), t / T),

``m`` the linear estimate (Wiener's filter), ``unit`` the size of its errors, ``xi`` noise of unit variance.  Mean and
deviation are trained by the continuous ranked probability score, point by point.  The posterior of one observation of a
nonlinear field is close to a normal law; what limits its quality is how well the mean is learned.  Correlations of the
noise come from the physics where few modes are uncertain (:mod:`physinv.models.jumps.physical_noise`), otherwise from
the errors of validation trajectories (:mod:`physinv.models.jumps.field_noise`).

Features are ``x_t``, the linear estimate, and the physics run from ``-x_t`` over a quarter, a half and all of the jump,
with the opposite sign again.  For quadratic nonlinearities that is the nonlinear part run backward in time while
dissipation still damps.  It is a forward run, and stable whatever the process.
"""

from __future__ import annotations

__all__ = ["FieldJumps", "empty_field_jumps", "field_jumps", "fit_field_jumps"]

import itertools
import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.broadcast import match
from physinv.equations.fourier import fourier
from physinv.equations.sde import SDE
from physinv.equations.symmetries import shifted
from physinv.laws.wiener import filter_channels, mirrored, wiener_gains
from physinv.models.jumps.base import Jump, JumpKernel
from physinv.models.jumps.crps import gaussian_crps
from physinv.models.jumps.field_noise import COPIES, FieldNoise, best_factor, filter_modes
from physinv.models.jumps.physical_noise import Forward, PhysicalNoise
from physinv.models.jumps.physics import flow
from physinv.models.networks.build import build_network
from physinv.processes.layout import StateLayout

_PARTS = (0.25, 0.5, 1.0)  # of the duration of a jump over which the physics is run for features
_LATE = 0.85  # share of the time span from where a second jump to 0 is trained, which teaches the first one
_FAR = 8.0  # root mean squares to which features are clamped: a process need not make sense of -x
_LOGS = 6.0  # largest modulus of the logarithm of a deviation
_VIEWS = 32  # most views of a state that are averaged
_ROWS = 2048  # trajectories that suffice for linear estimates
_HELD_OUT = 5  # one in so many of them chooses the penalty
_PENALTIES = tuple(10.0**-p for p in range(2, 8))
_KNOWN = 1e-8  # of the mean power of the errors of the linear estimate: modes with less are known
_LEAST = 1e-6  # of the largest scale of a channel at any time: what hardly varies is not scaled up
_WIDTH = 64  # numbers of a token
_FITTED, _FEWEST = 2**17, 32  # numbers of validation states that noise is fitted to, and fewest of these states
_JUDGED = 128  # validation trajectories that the noise of the physics is judged on
_WORSE = 1.02  # times the energy score of stationary noise: more the correlations of the physics must not cost


class FieldJumps(JumpKernel):
    """The laws ``p(x_s | x_t)`` of a field for a table of jumps; see the module.

    Static channels of a draw are those of ``x_t``.  In modes that the linear estimate knows, such as conserved ones and
    those in which no earlier state has any power, mean and draws are the linear estimate.

    Args:
        network: A network of features and a time in [0, 1]: means of all moving channels, then log deviations.
        sde: The physics, whose symmetries means are averaged over.
        layout: Layout of the states.
        times: Stored times, float64.
        jumps: The table of jumps.

    References:
        Gneiting et al. (2005), Calibrated probabilistic forecasting using ensemble model output statistics and minimum
        CRPS estimation.
    """

    centre: Float[Tensor, "time *state"]
    scale: Float[Tensor, "time channels *one"]
    gain: Float[Tensor, "jumps channels moving *modes two"]
    unit: Float[Tensor, "jumps moving *one"]
    free: Float[Tensor, "jumps moving *modes"]

    def __init__(
        self, network: nn.Module, sde: SDE, layout: StateLayout, times: Float[Tensor, " time"], jumps: list[Jump]
    ) -> None:
        super().__init__(network, sde, jumps)
        self.layout, self.times = layout, times.double().cpu()
        like = mirrored(layout.moving(torch.zeros(1, *layout.shape)), layout.periodic)
        n, k, channels, one = len(times), len(jumps), layout.shape[0], [1] * len(layout.space)
        moving, modes = like.shape[1], fourier(like).shape[2:]
        self.register_buffer("centre", torch.zeros(n, *layout.shape))
        self.register_buffer("scale", torch.ones(n, channels, *one))
        self.register_buffer("gain", torch.zeros(k, channels, moving, *modes, 2))
        self.register_buffer("unit", torch.ones(k, moving, *one))
        self.register_buffer("free", torch.ones(k, moving, *modes))
        self.noise = FieldNoise(k, moving, layout.periodic, tuple(modes))
        self.physical = PhysicalNoise(k, moving, layout.periodic, tuple(modes), tuple(layout.shape[1:]))

    @torch.no_grad()
    def adapt(self, data: TrajectoryDataset) -> None:
        """Fit locations and scales at every stored time, and the linear estimate of every jump.

        Args:
            data: Training trajectories, of which the first 2048 count, with their images under the symmetries.
        """
        layout, states = self.layout, {}
        for i in sorted({i for jump in self.jumps for i in jump}):
            x = torch.cat(self.sde.images(data.states(i, limit=_ROWS)))
            states[i] = x
            self.centre[i], self.scale[i] = x.mean(0), layout.channel_mean(x.square()).sqrt()
        seen = self.scale[sorted(states)]  # other times keep the scale 1, in which no state is measured
        largest = seen.amax(0)
        largest = torch.where(largest > 0, largest, torch.ones_like(largest))
        self.scale[sorted(states)] = torch.where(seen > _LEAST * largest, seen, largest)
        for k, (s, t) in enumerate(self.jumps):
            x, y = (mirrored(states[i] - self.centre[i], layout.periodic) for i in (t, s))
            y = layout.moving(y)

            # Trajectories that are held out choose the penalty and show the size of the errors.
            held = torch.arange(len(x), device=x.device) % _HELD_OUT == 0
            found = wiener_gains(x[~held], y[~held], _PENALTIES) if len(x) > 1 else wiener_gains(x, y, (1.0,))
            errors = [layout.channel_mean((filter_channels(g, x[held]) - y[held]).square()) for g in found]
            total = layout.channel_mean(y.square()).clamp(min=torch.finfo(y.dtype).tiny)
            best = min(range(len(found)), key=lambda j: float((errors[j] / total).sum()))
            self.gain[k] = torch.view_as_real(found[best])
            self.unit[k] = torch.maximum(errors[best].sqrt(), _LEAST * layout.moving(self.scale[s]))

            left = fourier(filter_channels(found[best], x) - y).abs().square().mean(0)
            self.free[k] = (left > _KNOWN * left.mean(dim=tuple(range(1, left.ndim)), keepdim=True)).to(left)

    @torch.no_grad()
    def prepare(self, later: Float[Tensor, "batch *state"], jump: int) -> Float[Tensor, "batch groups *state"]:
        """Return the linear estimate of earlier states, and the physics run from ``-x_t``.

        Args:
            later: States at the later time of the jump.
            jump: Number of the jump in the table.
        """
        layout, (s, t) = self.layout, self.jumps[jump]
        gap = mirrored(later - self.centre[t], layout.periodic)
        estimate = filter_channels(torch.view_as_complex(self.gain[jump]), gap)
        for axis, n in enumerate(later.shape[2:], 2):
            estimate = estimate.narrow(axis, 0, n)
        groups = [estimate + layout.moving(self.centre[s])]

        # The physics from -x_t; where it fails, features only lose their meaning.
        duration, far = float(self.times[t] - self.times[s]), _FAR * layout.moving(self.scale[s])
        opposite = layout.set_moving(-layout.moving(later), later)
        runs = flow(self.sde, opposite, [duration * part for part in _PARTS])
        groups += [layout.moving(-x).nan_to_num(0.0).clamp(-far, far) for x in runs]
        return torch.stack([layout.set_moving(v, later) for v in groups], dim=1)

    def loss(
        self,
        earlier: Float[Tensor, "batch *state"],
        later: Float[Tensor, "batch *state"],
        prepared: Float[Tensor, "batch groups *state"],
        jump: Int64[Tensor, " batch"],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return the continuous ranked probability score, averaged over everything, in units of the linear estimate's
        errors.  Each pair is seen under a symmetry of the process chosen at random, and periodic states shifted by less
        than the stride of the network.
        """
        states = torch.cat([earlier[:, None], later[:, None], prepared], dim=1)
        images = self.sde.images(states.flatten(0, 1))
        if len(images) > 1:
            which = torch.randint(len(images), (len(states),), generator=generator, device=states.device)
            rows = which * len(states) + torch.arange(len(states), device=states.device)
            states = torch.cat(images).reshape(-1, *states.shape[1:]).index_select(0, rows)
        if self._stride > 1:
            size = (len(states), states.ndim - 3)
            shift = torch.randint(self._stride, size, generator=generator, device=states.device)
            states = shifted(states.flatten(1, 2), shift).reshape(states.shape)
        mean, deviation = self._standard(states[:, 1:], jump)
        target = self.layout.moving(states[:, 0] - states[:, 2]) / self.unit[jump]
        return gaussian_crps(target, mean, deviation).mean()

    @torch.no_grad()
    def moments(
        self, later: Float[Tensor, "batch *state"], jump: int
    ) -> tuple[Float[Tensor, "batch *state"], Float[Tensor, "batch *moving"]]:
        """Return mean and standard deviation of the earlier states, averaged over views of the later ones.

        Args:
            later: States at the later time of the jump.
            jump: Number of the jump in the table.

        Returns:
            Means, and deviations of the moving channels.
        """
        layout, number = self.layout, torch.full((len(later),), jump, dtype=torch.int64, device=later.device)
        context = torch.cat([later[:, None], self.prepare(later, jump)], dim=1)
        unit, total, spread = self.unit[jump], torch.zeros(()), torch.zeros(())
        images, axes = self.sde.images(context.flatten(0, 1)), list(range(2, later.ndim))
        views = self._views(len(images), len(axes))
        for i, shift in views:
            seen = images[i].roll(shift, axes).reshape(context.shape)
            z, deviation = self._standard(seen, number)
            mean = layout.set_moving(layout.moving(seen[:, 1]) + unit * z, seen[:, 1])
            wide = layout.set_moving(layout.moving(mean) + unit * deviation, mean)
            both = torch.cat([mean, wide]).roll([-by for by in shift], axes)
            mean, wide = (self.sde.images(both)[i] if i else both).chunk(2)
            total, spread = total + mean, spread + layout.moving(wide - mean).abs()

        # In modes that the linear estimate knows it stays as it is.
        estimate = layout.moving(context[:, 1])
        learned = layout.moving(total / len(views)) - estimate
        mean = estimate + filter_modes(learned, self.free[jump], layout.periodic)
        return layout.set_moving(mean, later), spread / len(views)

    def mean(self, later: Float[Tensor, "batch *state"], jump: int) -> Float[Tensor, "batch *state"]:
        return self.moments(later, jump)[0]

    @torch.no_grad()
    def draw(
        self, later: Float[Tensor, "batch *state"], jump: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch *state"]:
        """Draw one earlier state for each later state; mean and deviation of equal neighbours are computed once."""
        different, row = torch.unique_consecutive(later, dim=0, return_inverse=True)
        mean, deviation = self.moments(different, jump)
        xi = self._noise(mean, deviation, different, row, jump, generator)
        return self.layout.set_moving(self.layout.moving(mean)[row] + xi, mean[row])

    @torch.no_grad()
    def finish(self, data: TrajectoryDataset, *, seed: Seed = 0) -> None:
        """Fit the noise of the draws of a trained kernel to trajectories that it was not trained on.

        Args:
            data: Validation trajectories.
            seed: Seed of the noise that is compared with the errors.
        """
        n = max(_FITTED // math.prod(self.layout.shape), _FEWEST)
        for k, (s, t) in enumerate(self.jumps):
            earlier, later = (data.states(i, limit=n) for i in (s, t))
            generator = seeds(seed).child("finish", k).generator(data.device)
            mean, deviation = self.moments(later, k)
            self.physical.forget(k)
            self.noise.fit(self.layout.moving(earlier - mean), deviation, self.free[k], k, generator=generator)
            if k == 0:  # that of the draws; others train the network
                self._fit_physical(earlier, later, mean, deviation, k, generator)

    def _fit_physical(
        self, earlier: Tensor, later: Tensor, mean: Tensor, deviation: Tensor, jump: int, generator: torch.Generator
    ) -> None:
        """The correlations of the physics, where draws with them are as near to the truth as wholes as without."""
        known = self.physical.fit(self._forward(jump), self.layout.moving, earlier, later, mean, self.free[jump], jump)
        if not known:
            return
        n = min(len(later), _JUDGED)
        gap, row = self.layout.moving(earlier - mean)[:n], torch.arange(n, device=mean.device).repeat(COPIES)

        def drawn() -> Tensor:
            xi = self._noise(mean[:n], deviation[:n], later[:n], row, jump, generator)
            return xi.reshape(COPIES, *gap.shape)

        self.physical.factor[jump] = best_factor(drawn(), gap)
        physical, added = _energy_score(drawn(), gap), self.physical.added[jump].clone()
        self.physical.forget(jump)
        if physical <= _WORSE * _energy_score(drawn(), gap):
            self.physical.added[jump] = added

    def _noise(
        self,
        mean: Tensor,
        deviation: Tensor,
        later: Tensor,
        row: Tensor,
        jump: int,
        generator: torch.Generator | None,
    ) -> Float[Tensor, "draws moving *space"]:
        """Noise for draws around means, with the correlations of the physics where they are known."""
        if self.physical.known(jump):
            centre = self.layout.moving(mean)
            return self.physical.draw(self._forward(jump), centre, deviation, later, row, jump, generator=generator)
        return self.noise.draw(deviation[row], self.free[jump], jump, generator=generator)

    def _forward(self, jump: int) -> Forward:
        """The physics without noise over a jump."""
        s, t = self.jumps[jump]
        duration = float(self.times[t] - self.times[s])

        def forward(moving: Tensor, later: Tensor) -> Tensor:
            return self.layout.moving(flow(self.sde, self.layout.set_moving(moving, later), [duration])[0])

        return forward

    def _standard(self, context: Tensor, jump: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation in units of the errors of the linear estimate, for states as they are seen."""
        ends = self.table[jump]
        first, rest = context[:, 0] / self.scale[ends[:, 1]], context[:, 1:] / self.scale[ends[:, 0]][:, None]
        rest = self.layout.moving(rest.flatten(0, 1)).reshape(len(first), -1, *first.shape[2:])
        part = (self.times / self.times[-1]).to(first)[ends]
        start = match(part[:, 0], first).expand(-1, 1, *first.shape[2:])
        mean, logs = self.network(torch.cat([first, rest, start], dim=1), part[:, 1]).chunk(2, dim=1)
        return mean, (_LOGS * torch.tanh(logs / _LOGS)).exp()

    def _views(self, images: int, axes: int) -> list[tuple[int, list[int]]]:
        """Images and shifts that are averaged: all of them, or shifts along the diagonal where those are too many."""
        shifts = [list(by) for by in itertools.product(range(self._stride), repeat=axes)]
        if images * len(shifts) > _VIEWS:
            shifts = [[by] * axes for by in range(self._stride)]
        return [(i, shift) for i in range(images) for shift in shifts]

    @property
    def _stride(self) -> int:
        """Number of different shifts along an axis that the network sees as different; 1 with walls."""
        return int(getattr(self.network, "stride", 1)) if self.layout.periodic else 1


def field_jumps(intervals: int) -> list[Jump]:
    """List the jumps that are trained for fields: to the first stored time, from the last and from one before it.

    The second teaches the network: it sees more states like those at the end.

    Args:
        intervals: Number of intervals between stored times.

    Returns:
        One or two jumps, that from the last stored time first.

    Example:
        >>> field_jumps(4)
        [Jump(earlier=0, later=4), Jump(earlier=0, later=3)]
    """
    late = round(_LATE * intervals)
    return [Jump(0, intervals), *([Jump(0, late)] if 0 < late < intervals else [])]


def fit_field_jumps(
    sde: SDE, data: TrajectoryDataset, settings: Settings, *, jumps: list[Jump] | None = None, seed: Seed = 0
) -> FieldJumps:
    """Build the jump kernels of a field, with linear estimates fitted to data and an untrained network.

    Args:
        sde: The physics.
        data: Training trajectories.
        settings: Training settings, of which those of the network count; without a network it is ``tokens``.
        jumps: The table of jumps; None: that of :func:`field_jumps`.
        seed: Seed of the network's first weights.

    Returns:
        The kernels, before training.
    """
    kernel = empty_field_jumps(sde, data.times, data.layout, settings, jumps=jumps, seed=seed).to(data.device)
    kernel.adapt(data)
    return kernel


def empty_field_jumps(
    sde: SDE,
    times: Float[Tensor, " time"],
    layout: StateLayout,
    settings: Settings,
    *,
    jumps: list[Jump] | None = None,
    seed: Seed = 0,
) -> FieldJumps:
    """Build jump kernels that know no data yet: into these a saved state is loaded.

    Args:
        sde: The physics.
        times: Stored times.
        layout: Layout of the states.
        settings: Training settings, of which those of the network count.
        jumps: The table of jumps; None: that of :func:`field_jumps`.
        seed: Seed of the network's first weights.

    Returns:
        The kernels, with empty tables.
    """
    channels, moving = layout.shape[0], layout.moving(torch.zeros(1, *layout.shape)).shape[1]
    if not settings.network:
        settings = settings.model_copy(update={"network": "tokens", "width": settings.width or _WIDTH})
    inputs = channels + (1 + len(_PARTS)) * moving + 1
    network = build_network(layout, inputs, 2 * moving, settings, seed=seeds(seed).child("model", "network"))
    return FieldJumps(network, sde, layout, times, field_jumps(len(times) - 1) if jumps is None else jumps)


def _energy_score(drawn: Float[Tensor, "copies n *state"], truth: Float[Tensor, "n *state"]) -> float:
    """The energy score of draws, over the whole of each state."""
    apart = (drawn - drawn.roll(1, 0)).flatten(2).norm(dim=2).mean()
    return float((drawn - truth).flatten(2).norm(dim=2).mean() - apart / 2)
