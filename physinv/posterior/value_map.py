"""A map of samples to the values, and the roughness, of the initial states that a method was trained on.

Of every channel the quantiles of all values of samples, pooled over points, draws and observations, are moved to the
quantiles of all values of the training states:

    v  ->  F_train^{-1}( F_samples(v) )

Over many observations exact samples have the law of the prior, so that for them the map is the identity up to sampling
error.  A method whose noise is Gaussian puts values where the prior has none, around plateaus for example; the map
puts them back.  It acts on each number by itself.

Samples of fields are smoothed before, since errors of single points would become spots of a wrong value: by a Gaussian
of the width with which mapped samples have the total variation of the training states.  Exact samples have it without
smoothing.
"""

from __future__ import annotations

__all__ = ["QUANTILES", "ValueMap", "fit_value_map", "pooled_values", "smoothed", "value_distance"]

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.models.jumps.field_noise import filter_modes
from physinv.processes.layout_base import StateLayout

QUANTILES = 2001
"""Quantiles of each channel, those of 0 and 1 included."""

_MOST = 2**22  # values of each channel that quantiles are computed from; more tell nothing new

_ROUNDING = 1e-5  # of the largest value: values that differ by less count as equal

_ROUGH = 1.02  # times the total variation of the training states: rougher samples are smoothed
_WIDEST, _ROUNDS = 2.0, 6  # grid points, and rounds of the bisection: widths to .03

Images = Callable[[Tensor], list[Tensor]]
"""States to themselves and their images under symmetries of the prior, as ``SDE.images``."""


@dataclass(frozen=True)
class ValueMap:
    """A monotone, piecewise linear map of the values of each channel.

    Values beyond the first and the last quantile go to the ends of the range of the training states.

    Args:
        layout: What the axes of a state are; static channels stay as they are.
        knots: Quantiles of the samples, increasing.
        images: What they are moved to, increasing.
        widths: Standard deviation of the Gaussian by which each channel of a field is smoothed first, in grid points;
            None: nothing is smoothed.

    Example:
        >>> from physinv.processes.layout import VectorLayout
        >>> double = ValueMap(VectorLayout("x", 1), torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 2.0]]))
        >>> double(torch.tensor([[0.25], [3.0]]))
        tensor([[0.5000],
                [2.0000]])
    """

    layout: StateLayout
    knots: Float[Tensor, "channels quantiles"]
    images: Float[Tensor, "channels quantiles"]
    widths: Float[Tensor, " channels"] | None = None

    def __call__(self, x: Float[Tensor, "*batch_and_state"]) -> Float[Tensor, "*batch_and_state"]:
        """Map the values of states.

        Args:
            x: States, with any number of batch axes.

        Returns:
            States of the same shape, dtype and device.
        """
        moving = self.layout.moving(x)
        axis = _channel_axis(self.layout)
        if self.widths is not None:
            moving = smoothed(moving, self.widths.to(moving), self.layout)
        by_channel = moving.movedim(axis, 0)
        v = by_channel.reshape(len(by_channel), -1).contiguous()
        knots, images = self.knots.to(v), self.images.to(v)

        # Between equal knots the last one counts: all of them have one image.
        above = torch.searchsorted(knots, v, right=True).clamp(1, knots.shape[1] - 1)
        k0, k1 = knots.gather(1, above - 1), knots.gather(1, above)
        y0, y1 = images.gather(1, above - 1), images.gather(1, above)
        width = k1 - k0
        share = torch.where(width > 0, (v - k0) / torch.where(width > 0, width, torch.ones_like(width)), 1.0)
        mapped = torch.lerp(y0, y1, share.clamp(0, 1)).reshape(by_channel.shape).movedim(0, axis)
        return self.layout.set_moving(mapped, x)

    def tensors(self) -> dict[str, Tensor]:
        """Return what :meth:`from_tensors` makes the map of again, to be saved."""
        widths = {} if self.widths is None else {"widths": self.widths}
        return {"knots": self.knots, "images": self.images} | widths

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], layout: StateLayout) -> ValueMap:
        """Make a map of its tensors.

        Args:
            tensors: What :meth:`tensors` returned.
            layout: What the axes of a state are.

        Returns:
            The map.

        Raises:
            ValueError: If tensors are missing, or do not fit together.
        """
        found = [tensors[name] for name in ("knots", "images") if name in tensors]
        if len(found) < 2 or found[0].shape != found[1].shape or found[0].ndim != 2:
            shapes = {name: tuple(t.shape) for name, t in tensors.items()}
            raise ValueError(
                f"`tensors` must hold `knots` and `images` of one shape, got {shapes}; save the map again."
            )
        return ValueMap(layout, found[0], found[1], tensors.get("widths"))


def fit_value_map(
    samples: Float[Tensor, "n *state"],
    states: Float[Tensor, "m *state"],
    layout: StateLayout,
    images: Images,
    *,
    smooth: bool = True,
) -> ValueMap:
    """Fit the map from the values of samples to those of initial states of the prior.

    Args:
        samples: Samples of the method, for many observations.
        states: Initial states that it was trained on.
        layout: What the axes of a state are.
        images: Symmetries of the prior: values of all images are pooled, which makes the map odd where the prior is
            even, whatever the few observations say.
        smooth: Whether samples of fields that are rougher than the states are smoothed first.

    Returns:
        The map; of fields whose samples are rougher than the states with the widths by which they are smoothed.
    """
    targets = _quantiles(pooled_values(states, layout, images))
    plain = _between(samples, targets, layout, images)
    if not (layout.space and smooth):
        return plain

    # Every channel that is too rough is smoothed as much as makes it right, found by bisection.
    wanted = _variation(states, layout)
    rough = _variation(plain(samples), layout) > _ROUGH * wanted
    low, high = torch.zeros_like(wanted), torch.where(rough, _WIDEST, 0.0).to(wanted)
    for _ in range(_ROUNDS if bool(rough.any()) else 0):
        widths = (low + high) / 2
        found = _between(samples, targets, layout, images, widths)
        still = _variation(found(samples), layout) > wanted
        low, high = torch.where(still & rough, widths, low), torch.where(still, high, widths)
    return _between(samples, targets, layout, images, (low + high) / 2) if bool(rough.any()) else plain


def smoothed(
    x: Float[Tensor, "*batch channels *space"], widths: Float[Tensor, " channels"], layout: StateLayout
) -> Float[Tensor, "*batch channels *space"]:
    """Smooth fields by Gaussians; between walls they are continued by their mirror image.

    Args:
        x: Moving channels of fields.
        widths: Standard deviation for each channel, in grid points.
        layout: What the axes of a state are.

    Returns:
        Fields of the same shape.

    Example:
        >>> from physinv.processes.layout import FieldLayout
        >>> wave = torch.cos(torch.arange(8.0) * torch.pi / 2)  # decays by exp(-(pi / 2)^2 / 2) = .291
        >>> smoothed(wave[None, None], torch.ones(1), FieldLayout("u", "x", [range(8)]))[0, 0, 0]
        tensor(0.2912)
    """
    axes = len(layout.space)
    flat = x.flatten(0, x.ndim - axes - 2) if x.ndim > axes + 1 else x[None]
    sizes = [n if layout.periodic else 2 * n for n in x.shape[x.ndim - axes :]]
    waves = [torch.fft.fftfreq(n) for n in sizes[:-1]] + [torch.fft.rfftfreq(sizes[-1])]
    squares = functools.reduce(
        torch.add, (k.square().reshape([-1 if i == j else 1 for j in range(axes)]) for i, k in enumerate(waves))
    )
    gain = torch.exp(-2 * math.pi**2 * squares.to(x) * widths.square().reshape(-1, *[1] * axes))
    out = filter_modes(flat, gain, layout.periodic).reshape(x.shape)
    # Without a width values stay as they are, to the last bit: atoms remain atoms.
    return torch.where(widths.reshape(-1, *[1] * axes) > 0, out, x)


def pooled_values(
    states: Float[Tensor, "n *state"], layout: StateLayout, images: Images
) -> Float[Tensor, "channels values"]:
    """Return all values of each moving channel, in increasing order, those of images with other values included.

    Args:
        states: States.
        layout: What their axes are.
        images: Symmetries of the prior.
    """
    most = max(1, _MOST // max(1, states[0].numel()))
    states = states[:: -(-len(states) // most)]
    kept: list[Tensor] = []
    for image in images(states):
        values = layout.moving(image).movedim(_channel_axis(layout), 0)
        ordered = values.reshape(len(values), -1).sort(1).values
        # A mirror image has the same values.
        if not any(_equal(ordered, other) for other in kept):
            kept.append(ordered)
    return torch.cat(kept, 1).sort(1).values


def value_distance(
    a: Float[Tensor, "channels some"], b: Float[Tensor, "channels others"]
) -> Float[Tensor, " channels"]:
    """Return the Kolmogorov-Smirnov distance between two sets of values of each channel.

    Args:
        a: Values in increasing order (:func:`pooled_values`).
        b: Others, in increasing order.

    Returns:
        The largest difference of the two distribution functions.

    Example:
        >>> value_distance(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
        tensor([0.7500])
    """
    at = torch.cat([a, b], 1).contiguous()
    below = [torch.searchsorted(x.contiguous(), at, right=True) / x.shape[1] for x in (a, b)]
    return (below[0] - below[1]).abs().amax(1)


def _between(
    samples: Tensor, targets: Tensor, layout: StateLayout, images: Images, widths: Tensor | None = None
) -> ValueMap:
    """The map from the quantiles of samples, smoothed before or not, to given ones."""
    if widths is not None:
        samples = layout.set_moving(smoothed(layout.moving(samples), widths, layout), samples)
    knots, targets = _quantiles(pooled_values(samples, layout, images)), targets.clone()

    # Equal values of samples have one image, the mean of those of their quantiles: atoms stay atoms.
    for channel, row in enumerate(knots):
        _, group, count = torch.unique_consecutive(row, return_inverse=True, return_counts=True)
        total = targets.new_zeros(len(count)).index_add_(0, group, targets[channel])
        targets[channel] = (total / count)[group]
    return ValueMap(layout, knots, targets, widths)


def _variation(x: Tensor, layout: StateLayout) -> Float[Tensor, " channels"]:
    """Mean modulus of the difference of neighbouring points, for every moving channel."""
    moving = layout.moving(x)
    steps = [moving.diff(dim=axis).abs().transpose(0, 1).flatten(1).mean(1) for axis in range(2, moving.ndim)]
    return torch.stack(steps).mean(0)


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether values are the same up to rounding, in units of the largest of each channel."""
    size = b.abs().amax(1, keepdim=True)
    return bool(((a - b).abs() <= _ROUNDING * size).all())


def _quantiles(ordered: Tensor) -> Tensor:
    """Quantiles of each channel, interpolated between values in increasing order."""
    n = ordered.shape[1]
    place = torch.linspace(0, n - 1, QUANTILES, dtype=torch.float64, device=ordered.device)
    low = place.long().clamp(max=n - 1)
    high = (low + 1).clamp(max=n - 1)
    return torch.lerp(ordered[:, low], ordered[:, high], (place - low).to(ordered))


def _channel_axis(layout: StateLayout) -> int:
    """The axis of the channels (or components), counted from the end."""
    return layout.channel_axis - 1 - len(layout.shape) if layout.channel_axis > 0 else layout.channel_axis
