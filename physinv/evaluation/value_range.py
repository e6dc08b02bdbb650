"""The share of samples outside the range of all known initial states: no truth lies there, so no sample should."""

from __future__ import annotations

__all__ = ["beyond_by", "outside", "value_range"]

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.processes.layout_base import StateLayout

_MARGIN = 0.01  # of the range: a sample at 1.001 where all truths are at 1 is no stranger


def value_range(
    states: Float[Tensor, "n *state"], layout: StateLayout
) -> tuple[Float[Tensor, "n *one_state"], Float[Tensor, "n *one_state"]]:
    """Return the smallest and the largest number of each state, per channel of a field or component of a vector.

    Args:
        states: Initial states; static channels are left out, and points without data.
        layout: What their axes are.

    Returns:
        Lower and upper ends, shaped like :meth:`~physinv.processes.layout_base.StateLayout.channel_mean` behind the
        axis of the states.
    """
    x = layout.moving(states)
    channel = layout.channel_axis % x.ndim
    if layout.valid is not None:
        shape = [*x.shape[:2], -1, *[1] * (x.ndim - 3)]
        x = x[..., layout.valid.to(x.device)].reshape(shape)
    axes = [axis for axis in range(1, x.ndim) if axis != channel]
    return (x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)) if axes else (x, x)


def outside(
    samples: Float[Tensor, "n members *state"], known: Float[Tensor, "count *state"], layout: StateLayout
) -> tuple[Bool[Tensor, "n members"], float]:
    """Find the samples with any number outside the range of known initial states.

    The range is that of each component of a vector, of each channel of a field and of each component of all particles;
    a hundredth of it is allowed at both ends.

    Args:
        samples: Samples of initial states.
        known: Initial states from the prior: the truths, or training data.
        layout: What the axes of a state are.

    Returns:
        True for each sample outside, and the share that is expected of new states from the prior: the share of the
        known ones outside the range of all others.

    Raises:
        ValueError: If there are fewer than 2 known states.

    Example:
        >>> from physinv.processes.layout import VectorLayout
        >>> known = torch.linspace(0, 1, 101)[:, None]
        >>> far, expected = outside(torch.tensor([[[0.5], [2.0]]]), known, VectorLayout("x", 1))
        >>> far.tolist(), round(expected, 3)
        ([[False, True]], 0.02)
    """
    if len(known) < 2:
        raise ValueError(f"`known` must hold at least 2 states to have a range, got {len(known)}.")
    low, high = (end.flatten(1) for end in value_range(known, layout))
    lower, upper = (end.flatten(1) for end in value_range(samples.flatten(0, 1), layout))
    out = _beyond(lower, upper, low.amin(0), high.amax(0)).reshape(samples.shape[:2])

    # Without each known state in turn: the second smallest and second largest take the place of its own.
    lows, highs = low.sort(0).values, high.sort(0).values
    least = torch.where(low == lows[0], lows[1], lows[0])
    most = torch.where(high == highs[-1], highs[-2], highs[-1])
    return out, float(_beyond(low, high, least, most).double().mean())


def beyond_by(
    samples: Float[Tensor, "n members *state"], known: Float[Tensor, "count *state"], layout: StateLayout
) -> tuple[float, float]:
    """Return which share of the numbers in samples lies outside the range of known states, and by how much at most.

    Args:
        samples: Samples of initial states.
        known: Initial states from the prior.
        layout: What the axes of a state are.

    Returns:
        The share of numbers outside, a hundredth of the range being allowed, and the largest distance from the range
        over its size.
    """
    lows, highs = value_range(known, layout)
    low, high = lows.amin(0, keepdim=True), highs.amax(0, keepdim=True)
    share, most = 0.0, 0.0
    for drawn in samples:  # one observation after the other: there may be many points
        x = layout.moving(drawn)
        beyond = torch.maximum(low - x, x - high)
        valid = beyond if layout.valid is None else beyond[..., layout.valid.to(x.device)]
        size = (high - low).expand_as(beyond)
        size = size if layout.valid is None else size[..., layout.valid.to(x.device)]
        share += float((valid > _MARGIN * size).double().mean()) / len(samples)
        most = max(most, float((valid / size.clamp(min=torch.finfo(size.dtype).tiny)).max()))
    return share, most


def _beyond(lower: Tensor, upper: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Whether states with these ends reach beyond a range; NaN does."""
    allowed = _MARGIN * (high - low)
    return ~((lower >= low - allowed) & (upper <= high + allowed)).all(-1)
