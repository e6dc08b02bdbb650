"""The law of a field around a linear estimate: a normal law at every point, with noise that is correlated."""

from __future__ import annotations

__all__ = ["FieldIncrements"]

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.equations.fourier import fourier
from physinv.equations.symmetries import shifted
from physinv.laws.wiener import mirrored
from physinv.models.increments.base import LEAST, IncrementLaw
from physinv.models.jumps.crps import gaussian_crps
from physinv.models.jumps.field_noise import FieldNoise
from physinv.processes.layout import StateLayout

_FAR = 8.0  # deviations to which features are clamped
_SHARED = 10  # errors that count for the scale of a channel, beside those at one point
_LOGS = 6.0  # largest modulus of the logarithm of a deviation


class FieldIncrements(IncrementLaw):
    """Normal laws ``x_0 = m(x_T) + unit (mean + deviation xi)`` around a linear estimate ``m`` of a field.

    A network gives mean and deviation at every point.  It sees ``x_T``, the estimate, the estimated increment, static
    channels, which points hold data, and, unless the law is the same everywhere (periodic axes, no mask), where each
    point is and what it is on average.  The noise ``xi`` has the spectrum of the errors on validation data.

    Args:
        network: ``(features, 1) ->`` means, then logarithms of deviations, of the moving channels.
        layout: Layout of the states.
    """

    middle: Float[Tensor, "*state"]
    scale: Float[Tensor, "channels *one"]
    start: Float[Tensor, "*moving"]
    unit: Float[Tensor, "*moving"]
    places: Float[Tensor, "places *space"]
    holds: Float[Tensor, "one *space"]
    free: Float[Tensor, "moving *modes"]
    beyond: Float[Tensor, "*moving"]

    def __init__(self, network: nn.Module, layout: StateLayout) -> None:
        super().__init__(network, layout)
        like = layout.moving(torch.zeros(1, *layout.shape))
        modes = fourier(mirrored(like, layout.periodic)).shape[2:]
        self.register_buffer("middle", torch.zeros(layout.shape))
        self.register_buffer("scale", torch.ones_like(self.low))
        self.register_buffer("start", torch.zeros_like(like[0]))
        self.register_buffer("unit", torch.ones_like(like[0]))
        self.register_buffer("beyond", torch.zeros_like(like[0]))
        self.register_buffer("places", _places(layout))
        self.register_buffer(
            "holds", torch.ones(1, *like.shape[2:]) if layout.valid is None else layout.valid[None] * 1.0
        )
        self.register_buffer("free", torch.ones(like.shape[1], *modes))
        self.noise = FieldNoise(1, like.shape[1], layout.periodic, tuple(modes))

    @staticmethod
    def sizes(layout: StateLayout) -> tuple[int, int]:
        """Return the numbers of inputs and outputs of the network.

        Args:
            layout: Layout of the states.
        """
        moving = layout.moving(torch.zeros(1, *layout.shape)).shape[1]
        own = 0 if _uniform(layout) else 2 * moving + 1 + len(_places(layout))
        return layout.shape[0] + 2 * moving + own, 2 * moving

    @torch.no_grad()
    def adapt(
        self, initial: Float[Tensor, "n *state"], final: Float[Tensor, "n *state"], estimate: Float[Tensor, "n *state"]
    ) -> None:
        """Fit locations and scales, and the size of the errors of cross-fitted estimates.

        Args:
            initial: Initial states.
            final: Final states.
            estimate: Estimates of the initial states.
        """
        layout = self.layout
        self.bound(torch.cat([initial, final]))
        place, size = (final.mean(0), initial.mean(0)), layout.channel_mean
        if _uniform(layout):
            place = (size(final).expand_as(final[0]), size(initial).expand_as(initial[0]))
        self.middle.copy_(place[0])
        self.start.copy_(layout.moving(place[1]))
        deviation = size((final - place[0]).square()).sqrt()
        self.scale.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

        floor = (LEAST * layout.moving(self.scale)).square()
        self.unit.copy_(torch.maximum(self._mean(layout.moving(initial - estimate).square()), floor).sqrt())

    def loss(
        self,
        initial: Float[Tensor, "batch *state"],
        final: Float[Tensor, "batch *state"],
        estimate: Float[Tensor, "batch *state"],
        generator: torch.Generator | None,
        *,
        judged: bool = False,
    ) -> Float[Tensor, ""]:
        if _uniform(self.layout):  # the law is the same everywhere
            together = torch.stack([initial, final, estimate], 1)
            sides = torch.tensor(final.shape[2:], device=final.device)
            draw = torch.rand((len(final), len(sides)), generator=generator, device=final.device)
            moved = shifted(together.flatten(1, 2), (draw * sides).long())
            initial, final, estimate = moved.reshape(together.shape).unbind(1)
        mean, deviation = self._standard(final, estimate)
        target = self.layout.moving(initial - estimate) / self.unit
        score = gaussian_crps(target, mean, deviation) * self.holds
        return score.mean() / self.holds.mean()

    @torch.no_grad()
    def moments(
        self, final: Float[Tensor, "batch *state"], estimate: Float[Tensor, "batch *state"]
    ) -> tuple[Float[Tensor, "batch *moving"], Float[Tensor, "batch *moving"]]:
        """Return mean and deviation at every point, averaged over shifts that the network sees as different.

        Args:
            final: Final states.
            estimate: Linear estimates of the initial states.
        """
        stride = int(getattr(self.network, "stride", 1)) if _uniform(self.layout) else 1
        axes = list(range(2, final.ndim))
        shifts = [[by] * len(axes) for by in range(stride)]
        if len(axes) == 2:
            shifts = [list(by) for by in itertools.product(range(stride), repeat=2)]
        found = []
        for by in shifts:
            both = self._standard(final.roll(by, axes), estimate.roll(by, axes))
            found.append([x.roll([-b for b in by], axes) for x in both])
        mean, deviation = (torch.stack(parts).mean(0) for parts in zip(*found, strict=True))
        moved = self.layout.moving(estimate) + self.unit * mean
        return moved * self.holds, torch.hypot(self.unit * deviation, self.beyond) * self.holds

    @torch.no_grad()
    def draw(
        self,
        final: Float[Tensor, "batch *state"],
        estimate: Float[Tensor, "batch *state"],
        n: int,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch n *state"]:
        mean, deviation = (x.repeat_interleave(n, 0) for x in self.moments(final, estimate))
        drawn = mean + self.noise.draw(deviation, self.free, 0, generator=generator)
        whole = final.repeat_interleave(n, 0)
        return self.within(self.layout.set_moving(drawn, whole), whole).reshape(len(final), n, *final.shape[1:])

    @torch.no_grad()
    def mean(
        self, final: Float[Tensor, "batch *state"], estimate: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        return self.within(self.layout.set_moving(self.moments(final, estimate)[0], final), final)

    @torch.no_grad()
    def finish(
        self,
        initial: Float[Tensor, "n *state"],
        final: Float[Tensor, "n *state"],
        estimate: Float[Tensor, "n *state"],
        generator: torch.Generator,
    ) -> None:
        mean, deviation = self.moments(final, estimate)
        gap = (self.layout.moving(initial) - mean) * self.holds
        self.noise.fit(gap, deviation + (1 - self.holds), self.free, 0, generator=generator)

    @torch.no_grad()
    def widen(self, gap: Float[Tensor, "n *state"], times: float) -> None:
        size = math.sqrt(math.pi / 2) * self._mean(self.layout.moving(gap).abs())  # of normal errors the deviation
        self.beyond.copy_(times * size / self.noise.factor[0])  # by which noise is multiplied

    def _mean(self, numbers: Float[Tensor, "n *moving"]) -> Float[Tensor, "*moving"]:
        """Means point by point, shrunk to those of the channel as far as there are few examples."""
        channel = self.layout.channel_mean(numbers).expand_as(numbers[0])
        n = 0 if _uniform(self.layout) else len(numbers)
        return (n * numbers.mean(0) + _SHARED * channel) / (n + _SHARED)

    def _standard(self, final: Tensor, estimate: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation in units of the errors of the estimate."""
        moving = self.layout.moving
        groups = [
            (final - self.middle) / self.scale,
            (moving(estimate) - self.start) / moving(self.scale),
            moving(estimate - final) / self.unit,
        ]
        if not _uniform(self.layout):
            typical = (moving(self.middle) - moving(self.middle).mean()) / moving(self.scale)
            still = [typical, (self.unit / self.unit.mean()).log().clamp(-_FAR, _FAR), self.holds, self.places]
            groups += [x.expand(len(final), *x.shape) for x in still]
        features = torch.cat([x.clamp(-_FAR, _FAR) for x in groups], 1) * self.holds
        mean, logs = self.network(features, final.new_ones(len(final))).chunk(2, dim=1)
        return mean, (_LOGS * torch.tanh(logs / _LOGS)).exp()


def _uniform(layout: StateLayout) -> bool:
    """Whether the law of a field counts as the same at every point."""
    return layout.basis == "fourier"


def _places(layout: StateLayout) -> Float[Tensor, "places *space"]:
    """Where each point is: from -1 to 1 along axes with ends, on a circle along periodic ones."""
    sides, found = layout.shape[1:], []
    for axis, (n, wraps) in enumerate(zip(sides, layout.wraps, strict=True)):
        angle = torch.arange(n) * (2 * torch.pi / n)
        along = [angle.sin(), angle.cos()] if wraps else [torch.linspace(-1, 1, n)]
        found += [v.reshape([-1 if i == axis else 1 for i in range(len(sides))]).expand(sides) for v in along]
    return torch.stack(found)
