"""The share of samples outside the range of all known initial states: no truth lies there, so no sample should."""

from __future__ import annotations

__all__ = ["Bound", "beyond_by", "outside", "passed_bound", "value_range"]

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.processes.layout_base import StateLayout

_MARGIN = 0.01  # of the range: a sample at 1.001 where all truths are at 1 is no stranger
_ROUNDING = 1e-6  # of the range


@dataclass(frozen=True)
class Bound:
    """An end of the range of known states that samples pass.

    Args:
        part: Number of the component or channel.
        below: Whether it is the lower end.
        value: Where it is; 0 for components that have one sign.
        share: Share of the samples beyond it.
    """

    part: int
    below: bool
    value: float
    share: float


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
    a hundredth of it is allowed at both ends. Components of a vector that have one sign, such as counts and
    concentrations, may cross 0 by no more than a hundredth of their median size: the range of numbers over several
    decades is that of the largest.

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
    (low, high), (lower, upper) = _ends(known, layout), _ends(samples.flatten(0, 1), layout)
    signed = _one_sign(known, low, high, layout)
    out = _beyond(lower, upper, low.amin(0), high.amax(0), signed).any(-1).reshape(samples.shape[:2])

    # Without each known state in turn: the second smallest and second largest take the place of its own.
    lows, highs = low.sort(0).values, high.sort(0).values
    least = torch.where(low == lows[0], lows[1], lows[0])
    most = torch.where(high == highs[-1], highs[-2], highs[-1])
    return out, float(_beyond(low, high, least, most, signed).any(-1).double().mean())


def passed_bound(
    samples: Float[Tensor, "n members *state"], known: Float[Tensor, "count *state"], layout: StateLayout
) -> Bound:
    """Find the end of the range of known states that most samples pass.

    Args:
        samples: Samples of initial states.
        known: Initial states from the prior.
        layout: What the axes of a state are.

    Returns:
        The end of the range of a component or channel, by the rule of :func:`outside`, and the share beyond it.

    Example:
        >>> from physinv.processes.layout import VectorLayout
        >>> known = torch.linspace(0, 1, 101)[:, None]
        >>> passed_bound(torch.tensor([[[0.5], [-2.0]]]), known, VectorLayout("x", 1))
        Bound(part=0, below=True, value=0.0, share=0.5)
    """
    (low, high), (lower, upper) = _ends(known, layout), _ends(samples.flatten(0, 1), layout)
    signed = _one_sign(known, low, high, layout)
    least, most = low.amin(0), high.amax(0)
    shares = _beyond(lower, upper, least, most, signed).double().mean(0)
    at = int(shares.argmax())
    below, part = at < len(least), at % len(least)
    end = 0.0 if bool(torch.cat(signed)[at].isfinite()) else float((least if below else most)[part])
    return Bound(part, below, end, float(shares[at]))


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


def _ends(states: Tensor, layout: StateLayout) -> tuple[Tensor, Tensor]:
    """The range of each state, ``(state, part)``."""
    low, high = (end.flatten(1) for end in value_range(states, layout))
    return low, high


def _one_sign(known: Tensor, low: Tensor, high: Tensor, layout: StateLayout) -> tuple[Tensor, Tensor]:
    """Where components of a vector may go at both ends if they have one sign; infinite for all others."""
    least, most = low.amin(0), high.amax(0)
    free = torch.full_like(least, torch.inf)
    if layout.space or layout.positions:  # values around 0 in between are of little weight there
        return -free, free
    sizes = low.abs().where(low != 0, low.new_tensor(torch.nan)).nanmedian(0).values.nan_to_num(0.0)
    crossed = torch.maximum(_MARGIN * sizes, _ROUNDING * (most - least))
    return torch.where(least >= 0, -crossed, -free), torch.where(most <= 0, crossed, free)


def _beyond(lower: Tensor, upper: Tensor, low: Tensor, high: Tensor, signed: tuple[Tensor, Tensor]) -> Tensor:
    """Whether states with these ends reach beyond a range, below each part and then above; NaN does."""
    allowed = _MARGIN * (high - low)
    least, most = torch.maximum(low - allowed, signed[0]), torch.minimum(high + allowed, signed[1])
    return ~torch.cat([lower >= least, upper <= most], -1)
