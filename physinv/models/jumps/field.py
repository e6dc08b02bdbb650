"""Jumps of fields backward in time: ``p(x_s | x_t)`` for stored times ``s < t`` as a normal law around a learned mean.

    x_s = m(x_t) + unit (mean + deviation xi),    (mean, log deviation) = network(features(x_t, s, t), t / T),

``m`` the linear estimate, ``unit`` the size of its errors, ``xi`` noise of one spectrum and unit variance. Mean and
deviation are trained by the continuous ranked probability score, pixel by pixel. The posterior of one observation of a
nonlinear field is close to a normal law; what limits its quality is how well the mean is learned.

Features are ``x_t``, the linear estimate, and the physics run from ``-x_t`` over a quarter, a half and all of
``t - s``, with the opposite sign again. For quadratic nonlinearities that is the nonlinear part run backward in time
while dissipation still damps; it is stable whatever the process, since it is a forward run.
"""

from __future__ import annotations

__all__ = ["FieldJumps", "fit_field_jumps", "load_field_jumps"]

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from physinv.config.seeds import Seed, seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.broadcast import match
from physinv.equations.fourier import fourier, multiplicity
from physinv.equations.sde import SDE
from physinv.equations.symmetries import reflected, shifted
from physinv.laws.wiener import filter_channels, mirrored
from physinv.models.jumps.crps import gaussian_crps
from physinv.models.jumps.field_tables import FieldTables, fit_field_tables
from physinv.models.jumps.laplace import Forward, laplace_noise, mode_basis
from physinv.models.jumps.noise import coloured_noise, filter_modes, noise_shape, noise_spectrum
from physinv.models.jumps.physics import flow
from physinv.models.networks.build import build_network
from physinv.processes.layout import StateLayout

_PARTS = (0.25, 0.5, 1.0)  # of the duration of a jump over which the physics is run for features
_FAR = 8.0  # root mean squares to which features are clamped: a process need not make sense of -x
_LOGS = 6.0  # largest modulus of the logarithm of a deviation
_VIEWS = 32  # most views of a state that are averaged
_CHUNK = 256  # states at once
_MODES = 128  # most uncertain modes for which noise gets the correlations of the physics
_FLOOR = 1e-4  # of the mean power that the noise adds: least power in a mode


class FieldJumps(nn.Module):
    """The laws ``p(x_s | x_t)`` of a field for pairs of stored times.

    Args:
        sde: The process: its physics makes features, its symmetries multiply the data.
        layout: Layout of the states. Static channels of a draw are those of ``x_t``.
        network: A network of ``features`` and a time in [0, 1]; means of all moving channels come out first, then
            logarithms of deviations.
        tables: The linear estimates and units.

    Attributes:
        network: What is trained.
    """

    times: Tensor
    pair: Tensor
    mean_state: Tensor
    scale: Tensor
    gain: Tensor
    unit: Tensor
    free: Tensor
    spectrum: Tensor
    shape: Tensor
    calibration: Tensor
    prior: Tensor
    bias: Tensor
    added: Tensor

    def __init__(self, sde: SDE, layout: StateLayout, network: nn.Module, tables: FieldTables) -> None:
        super().__init__()
        self.sde, self.layout, self.network = sde, layout, network
        for name, table in tables._asdict().items():
            self.register_buffer(_BUFFERS.get(name, name), table)

    def context(
        self, later: Float[Tensor, "batch *state"], s: Int64[Tensor, " batch"], t: Int64[Tensor, " batch"]
    ) -> Float[Tensor, "batch groups *state"]:
        """Return what the network sees of the later states, in units of the states; it is the dear part of a jump.

        Args:
            later: States ``x_t``.
            s: Numbers of the earlier stored times.
            t: Numbers of the later ones.

        Returns:
            ``x_t``, the linear estimate of ``x_s``, and the physics run from ``-x_t``, with the static channels of
            ``x_t``.

        Raises:
            ValueError: If no jump between such times was fitted.
        """
        found = later.new_empty(len(later), 2 + len(_PARTS), *later.shape[1:])
        pair = self._pairs(s, t)
        for k in sorted(set(pair.tolist())):
            rows = (pair == k).nonzero().squeeze(1)
            first, last = int(s[rows[0]]), int(t[rows[0]])
            for part in rows.split(_CHUNK):
                found[part] = torch.stack(self._groups(later[part], first, last, k), dim=1)
        return found

    def loss(
        self,
        earlier: Float[Tensor, "batch *state"],
        later: Float[Tensor, "batch *state"],
        s: Int64[Tensor, " batch"],
        t: Int64[Tensor, " batch"],
        *,
        context: Float[Tensor, "batch groups *state"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return the mean score of the earlier states, in units of the error of the linear estimate.

        Every pair of states is seen under a symmetry of the process and shifted by less than a token, chosen at random.

        Args:
            earlier: States ``x_s``.
            later: States ``x_t``.
            s: Numbers of the earlier stored times.
            t: Numbers of the later ones.
            context: :meth:`context` of the later states, if it was computed before.
            generator: Source of the random views, on the CPU.

        Returns:
            The continuous ranked probability score, averaged over everything.
        """
        context = self.context(later, s, t) if context is None else context
        states = torch.cat([earlier[:, None], context], dim=1)
        batch, groups, shape = *states.shape[:2], states.shape[2:]

        # One random view for each pair of states, the same for all that belongs to it.
        flat, device = states.flatten(0, 1), states.device
        image = torch.randint(len(self.sde.images(flat[:1])), (batch,), generator=generator)
        flat = reflected(self.sde, flat, image.to(device).repeat_interleave(groups))
        shift = torch.randint(self._stride, (batch, len(shape) - 1), generator=generator).to(device)
        states = shifted(flat.reshape(batch, groups * shape[0], *shape[1:]), shift).reshape(batch, groups, *shape)

        mean, deviation = self._standard(states[:, 1:], s, t)
        pair = self._pairs(s, t)
        target = self.layout.moving(states[:, 0] - states[:, 2]) / self.unit[pair]
        return gaussian_crps(target, mean, deviation).mean()

    @torch.no_grad()
    def moments(
        self, later: Float[Tensor, "batch *state"], s: Int64[Tensor, " batch"], t: Int64[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch *state"], Float[Tensor, "batch *moving"]]:
        """Return mean and standard deviation of the earlier states, averaged over views of the later ones.

        Args:
            later: States ``x_t``.
            s: Numbers of the earlier stored times.
            t: Numbers of the later ones.

        Returns:
            Means, and deviations of the moving channels.
        """
        parts = [self._moments(*part) for part in zip(*(torch.split(v, _CHUNK) for v in (later, s, t)), strict=True)]
        means, deviations = zip(*parts, strict=True)
        return torch.cat(means), torch.cat(deviations)

    def mean(
        self, later: Float[Tensor, "batch *state"], s: Int64[Tensor, " batch"], t: Int64[Tensor, " batch"]
    ) -> Float[Tensor, "batch *state"]:
        """Return the mean ``E[x_s | x_t]``.

        Args:
            later: States ``x_t``.
            s: Numbers of the earlier stored times.
            t: Numbers of the later ones.
        """
        return self.moments(later, s, t)[0]

    @torch.no_grad()
    def sample(
        self,
        later: Float[Tensor, "batch *state"],
        s: Int64[Tensor, " batch"],
        t: Int64[Tensor, " batch"],
        *,
        generator: torch.Generator | None = None,
        draws: int = 1,
    ) -> Float[Tensor, "batch_draws *state"]:
        """Draw earlier states.

        Args:
            later: States ``x_t``.
            s: Numbers of the earlier stored times.
            t: Numbers of the later ones.
            generator: Source of the noise, on the device of ``later``.
            draws: Draws for each state, of which mean and deviation are computed once.

        Returns:
            The draws of the first state, then those of the second, ``(batch draws, *state)``.
        """
        mean, deviation = self.moments(later, s, t)
        pair = self._pairs(s, t)
        drawn = torch.empty(len(mean), draws, *mean.shape[1:], dtype=mean.dtype, device=mean.device)
        for k in sorted(set(pair.tolist())):
            rows = (pair == k).nonzero().squeeze(1)
            first, last = int(s[rows[0]]), int(t[rows[0]])
            for part in rows.split(_CHUNK // 4):
                noise = self._noise(mean[part], deviation[part], later[part], first, last, draws, generator)
                here = mean[part][:, None].expand(-1, draws, *mean.shape[1:])
                moved = self.layout.moving(here) + self.calibration[k] * noise
                drawn[part] = self.layout.set_moving(moved, here)
        return drawn.flatten(0, 1)

    @torch.no_grad()
    def finish(self, data: TrajectoryDataset, pairs: Sequence[tuple[int, int]]) -> None:
        """Fit what is left of a trained model to trajectories that it was not trained on.

        That is the spectrum of the noise, what the deviation changes of it, and one factor of the deviation for each
        channel, by the score of the loss.

        Args:
            data: Validation trajectories.
            pairs: Pairs of stored times that are in use.
        """
        factors = torch.linspace(0.7, 1.4, 36, device=self.unit.device)
        for s, t in pairs:
            earlier, later = data.states(s), data.states(t)
            index = torch.zeros(len(later), dtype=torch.int64, device=later.device)
            mean, deviation = self.moments(later, index + s, index + t)
            k = int(self.pair[s, t])
            gap = self.layout.moving(earlier - mean)
            scores = torch.stack(
                [self.layout.channel_mean(gaussian_crps(gap, 0 * gap, f * deviation)) for f in factors]
            )
            self.calibration[k] = factors[scores.argmin(0)]
            self.spectrum[k] = noise_spectrum(gap / deviation, self.layout.periodic)
            self.shape[k] = noise_shape(gap, deviation, self.spectrum[k], self.layout.periodic)
            self._fit_forward(earlier, later, s, t)

    def _fit_forward(self, earlier: Tensor, later: Tensor, s: int, t: int) -> None:
        """Mean and power of what the noise adds between two times, where Laplace's approximation has a use for them."""
        k, space = int(self.pair[s, t]), tuple(earlier.shape[2:])
        count = float((self.free[k] * multiplicity(earlier)).sum())
        if not self.layout.periodic or count > _MODES:
            return
        gap = self.layout.moving(later - flow(self.sde, earlier, [float(self.times[t] - self.times[s])])[0])
        if bool(gap.isfinite().all()):
            self.bias[k] = self.layout.channel_mean(gap)
            power = fourier(gap - self.bias[k]).abs().square().mean(0)
            least = _FLOOR * (power * multiplicity(gap)).sum() / (power.shape[0] * math.prod(space))
            self.added[k] = power.clamp(min=float(least))

    def _noise(
        self,
        mean: Tensor,
        deviation: Tensor,
        later: Tensor,
        s: int,
        t: int,
        draws: int,
        generator: torch.Generator | None,
    ) -> Float[Tensor, "batch draws *moving"]:
        """Draws minus their mean, of one pair of times."""
        k, periodic = int(self.pair[s, t]), self.layout.periodic
        wide = deviation[:, None].expand(-1, draws, *deviation.shape[1:]).flatten(0, 1)
        xi = coloured_noise(
            self.spectrum[k].expand(len(wide), *self.spectrum[k].shape), wide, periodic, generator=generator
        )
        noise = filter_modes(wide * xi, self.free[k] * self.shape[k], periodic).unflatten(0, (len(mean), draws))
        if not bool(self.added[k].any()):
            return noise
        basis = mode_basis(self.free[k], tuple(mean.shape[2:]))
        centre = self.layout.moving(self.mean_state[s])
        forward = Forward(
            lambda x, y: self._misfit(x, y, s, t), noise=self.added[k], mean=centre, prior=self.prior[s], basis=basis
        )
        xi = laplace_noise(forward, self.layout.moving(mean), later, draws, generator=generator)
        better = filter_modes((deviation[:, None] * xi).flatten(0, 1), self.free[k], periodic).reshape(noise.shape)
        sound = better.flatten(1).isfinite().all(1).reshape(-1, *[1] * (noise.ndim - 1))
        return torch.where(sound, better, noise)

    def _misfit(self, moving: Tensor, later: Tensor, s: int, t: int) -> Tensor:
        """``F(x) + b - x_t`` in the moving channels."""
        reached = flow(self.sde, self.layout.set_moving(moving, later), [float(self.times[t] - self.times[s])])[0]
        return self.layout.moving(reached - later) + self.bias[self.pair[s, t]]

    def _groups(self, later: Tensor, s: int, t: int, k: int) -> list[Tensor]:
        """The context of states of one pair of times."""
        layout, moving = self.layout, self.layout.moving(later)
        gap = mirrored(later - self.mean_state[t], layout.periodic)
        estimate = filter_channels(torch.view_as_complex(self.gain[k]), gap)
        for axis, n in enumerate(later.shape[2:], 2):
            estimate = estimate.narrow(axis, 0, n)
        estimate = estimate + layout.moving(self.mean_state[s])

        # The physics from -x_t; where it fails, features only lose their meaning.
        duration = float(self.times[t] - self.times[s])
        opposite, runs = layout.set_moving(-moving, later), []
        for x in flow(self.sde, opposite, [duration * part for part in _PARTS]):
            far = _FAR * layout.moving(self.scale[s])
            runs.append(layout.moving(-x).nan_to_num(0.0).clamp(-far, far))
        return [later, *(layout.set_moving(v, later) for v in (estimate, *runs))]

    def _standard(self, context: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation in units of the errors of the linear estimate, for states as they are seen."""
        moving = self.layout.moving
        first = context[:, 0] / self.scale[t]
        rest = [moving(x / self.scale[s]) for x in context[:, 1:].unbind(1)]
        start = match(self.times[s] / self.times[-1], first).expand(-1, 1, *first.shape[2:])
        out = self.network(torch.cat([first, *rest, start], dim=1), self.times[t] / self.times[-1])
        mean, logs = out.chunk(2, dim=1)
        return mean, (_LOGS * torch.tanh(logs / _LOGS)).exp()

    def _moments(self, later: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`moments` of a few states."""
        layout, context = self.layout, self.context(later, s, t)
        unit, total, spread = self.unit[self._pairs(s, t)], torch.zeros(()), torch.zeros(())
        groups, shape = context.shape[1], context.shape[2:]
        images, axes = self.sde.images(context.flatten(0, 1)), list(range(2, later.ndim))
        views = self._views(len(images), len(axes))
        for i, shift in views:
            seen = images[i].roll(shift, axes).reshape(-1, groups, *shape)
            z, deviation = self._standard(seen, s, t)
            mean = layout.set_moving(layout.moving(seen[:, 1]) + unit * z, seen[:, 1])
            wide = layout.set_moving(layout.moving(mean) + unit * deviation, mean)
            mean, wide = (self.sde.images(x.roll([-by for by in shift], axes))[i] for x in (mean, wide))
            total, spread = total + mean, spread + layout.moving(wide - mean).abs()
        # In modes that the linear estimate knows it stays as it is.
        pair, estimate = self._pairs(s, t), layout.moving(context[:, 1])
        learned = layout.moving(total / len(views)) - estimate
        mean = estimate + filter_modes(learned, self.free[pair], layout.periodic)
        return layout.set_moving(mean, later), spread / len(views)

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

    def _pairs(self, s: Tensor, t: Tensor) -> Tensor:
        """Numbers of pairs of times."""
        found = self.pair[s, t]
        if bool((found < 0).any()):
            i = int((found < 0).nonzero()[0])
            raise ValueError(
                f"there is no jump from stored time {int(t[i])} to {int(s[i])}; give pairs that were fitted."
            )
        return found


_BUFFERS = {"mean": "mean_state"}  # tables whose name is that of a method


def fit_field_jumps(
    sde: SDE,
    data: TrajectoryDataset,
    settings: Settings,
    *,
    seed: Seed,
    pairs: Sequence[tuple[int, int]] | None = None,
) -> FieldJumps:
    """Build the jumps of a field from training data, not trained yet.

    Args:
        sde: The process.
        data: Training trajectories.
        settings: Training settings, of which those of the network count; without a network it is ``tokens``.
        seed: Seed of the network's first weights.
        pairs: Pairs of stored times; None: those of :func:`~physinv.models.jumps.field_tables.jump_pairs`.

    Returns:
        The jumps, on the device of the data.
    """
    tables = fit_field_tables(sde, data, pairs)
    stream = seeds(seed).child("model", "network")
    return FieldJumps(sde, data.layout, _network(data.layout, tables, settings, stream), tables).to(data.device)


def load_field_jumps(sde: SDE, layout: StateLayout, settings: Settings, tensors: Mapping[str, Tensor]) -> FieldJumps:
    """Build the jumps of a field from the tensors of a trained model.

    Args:
        sde: The process.
        layout: Layout of the states.
        settings: The settings that it was trained with.
        tensors: Its ``state_dict()``.

    Returns:
        The trained jumps.
    """
    tables = FieldTables(*(tensors[_BUFFERS.get(name, name)].clone() for name in FieldTables._fields))
    jumps = FieldJumps(sde, layout, _network(layout, tables, settings, seeds(0)), tables)
    jumps.load_state_dict(dict(tensors))
    return jumps


def _network(layout: StateLayout, tables: FieldTables, settings: Settings, seed: Seed) -> nn.Module:
    """The network of a model: the token network unless the settings name another one."""
    channels, moving = layout.shape[0], tables.unit.shape[1]
    settings = settings if settings.network else settings.model_copy(update={"network": "tokens"})
    inputs = channels + (1 + len(_PARTS)) * moving + 1
    return build_network(layout, inputs, 2 * moving, settings, seed=seed)
