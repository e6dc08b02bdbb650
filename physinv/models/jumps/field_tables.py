"""What jumps of fields are measured in: a linear estimate of each earlier state, and the size of its errors.

For stored times ``s < t`` the linear estimate is Wiener's filter, ``x_s ~ m_s + G (x_t - m_t)``, mode by mode; fields
with walls are continued by their mirror image.
"""

from __future__ import annotations

__all__ = ["FieldTables", "fit_field_tables", "jump_pairs"]

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.equations.fourier import fourier
from physinv.equations.sde import SDE
from physinv.laws.wiener import filter_channels, mirrored, wiener_gains

_TRAJECTORIES = 2048  # that suffice for gains
_HELD_OUT = 5  # one in so many trajectories chooses the penalty
_PENALTIES = tuple(10.0**-p for p in range(2, 8))
_KNOWN = 1e-8  # of the mean power of the errors of the linear estimate: modes with less are known
_LEAST = 1e-6  # of the largest scale of a channel: what hardly varies is not scaled up
_EVERY_PAIR = 8  # most intervals of a trajectory of which all pairs of times are fitted
_LATE = 0.7  # share of the times from which on a jump to 0 is fitted in any case


class FieldTables(NamedTuple):
    """The fitted numbers, over stored times or over pairs of them.

    Args:
        times: Stored times, ``(time,)``.
        pair: Number of the pair ``(s, t)``, or -1 where none was fitted, ``(time, time)``.
        mean: Mean ``m_t`` of the states, ``(time, *state)``.
        scale: Root mean square of ``x_t``, per channel, ``(time, channels, *1)``.
        gain: Gains of the linear estimate, real and imaginary parts, ``(pair, channels, moving, *modes, 2)``.
        unit: Root mean square error of the linear estimate, per channel, ``(pair, moving, *1)``.
        free: 1 in modes that the linear estimate leaves uncertain, 0 in those that it knows, such as conserved ones and
            those in which no earlier state has any power, ``(pair, moving, *modes)``.
        spectrum: Power of the noise of a draw in each mode, mean 1, ``(pair, moving, *modes)``.
        shape: Factor of each mode of that noise times the deviation, ``(pair, moving, *modes)``.
        calibration: Factor of the deviation of a draw, ``(pair, moving, *1)``.
        prior: Power of the states in each mode, ``(time, moving, *modes)``.
        bias: Mean of what the noise adds between two times, ``(pair, moving, *1)``.
        added: Power of what it adds in each mode; 0 where it is not known, ``(pair, moving, *modes)``.
    """

    times: Tensor
    pair: Tensor
    mean: Tensor
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


def jump_pairs(intervals: int) -> list[tuple[int, int]]:
    """List the pairs of stored times between which jumps are fitted: all, or those that grids of few jumps need.

    Beyond 8 intervals these are the neighbours on grids of 1, 2, 4 and 8 jumps, and the jumps to 0 from the last 30 %
    of the times.

    Args:
        intervals: Number of intervals between stored times.

    Returns:
        Pairs ``(s, t)``, sorted.

    Example:
        >>> jump_pairs(2)
        [(0, 1), (0, 2), (1, 2)]
    """
    if intervals <= _EVERY_PAIR:
        return [(s, t) for s in range(intervals) for t in range(s + 1, intervals + 1)]
    pairs = {(0, t) for t in range(1, intervals + 1) if t >= _LATE * intervals}
    for jumps in (1, 2, 4, 8):
        grid = [round(intervals * j / jumps) for j in range(jumps + 1)]
        pairs |= set(itertools.pairwise(grid))
    return sorted(pairs)


@torch.no_grad()
def fit_field_tables(sde: SDE, data: TrajectoryDataset, pairs: Sequence[tuple[int, int]] | None = None) -> FieldTables:
    """Fit the linear estimates of earlier states by later ones.

    Args:
        sde: The process, whose symmetries multiply the data.
        data: Training trajectories, of which the first 2048 count.
        pairs: Pairs of stored times; None: those of :func:`jump_pairs`.

    Returns:
        The tables, in float32 on the device of the data.
    """
    layout, count = data.layout, len(data.times)
    pairs = jump_pairs(count - 1) if pairs is None else list(pairs)
    states = [torch.cat(sde.images(data.states(i, limit=_TRAJECTORIES))) for i in range(count)]
    held = torch.arange(len(states[0]), device=data.device) % _HELD_OUT == 0
    means = [x.mean(0) for x in states]
    scales = [layout.channel_mean(x.square()).sqrt() for x in states]
    wide = [mirrored(x - m, layout.periodic) for x, m in zip(states, means, strict=True)]

    # One filter for each pair; trajectories that are held out choose the penalty and show the size of the errors.
    gains, units, free, number = [], [], [], torch.full((count, count), -1)
    for k, (s, t) in enumerate(pairs):
        x, y = wide[t], layout.moving(wide[s])
        found = wiener_gains(x[~held], y[~held], _PENALTIES) if bool((~held).any()) else wiener_gains(x, y, (1.0,))
        errors = [layout.channel_mean((filter_channels(g, x[held]) - y[held]).square()) for g in found]
        total = layout.channel_mean(y.square()).clamp(min=torch.finfo(y.dtype).tiny)
        best = min(range(len(found)), key=lambda j: float((errors[j] / total).sum()))
        least = _LEAST * layout.moving(scales[s]).amax()
        gains.append(torch.view_as_real(found[best]))
        units.append(torch.maximum(errors[best].sqrt(), least))
        left = fourier(filter_channels(found[best], x) - y).abs().square().mean(0)
        free.append((left > _KNOWN * left.mean(dim=tuple(range(1, left.ndim)), keepdim=True)).to(left))
        number[s, t] = k

    modes = gains[0].shape[2:-1]
    unit = torch.stack(units)
    return FieldTables(
        times=data.times.float().to(data.device),
        pair=number.to(data.device),
        mean=torch.stack(means),
        scale=_raised(torch.stack(scales)),
        gain=torch.stack(gains),
        unit=unit.clamp(min=torch.finfo(unit.dtype).tiny),
        free=torch.stack(free),
        spectrum=unit.new_ones(len(pairs), unit.shape[1], *modes),
        shape=unit.new_ones(len(pairs), unit.shape[1], *modes),
        calibration=torch.ones_like(unit),
        prior=torch.stack([fourier(layout.moving(x)).abs().square().mean(0) for x in wide]),
        bias=torch.zeros_like(unit),
        added=unit.new_zeros(len(pairs), unit.shape[1], *modes),
    )


def _raised(scale: Tensor) -> Tensor:
    """Scales of channels, raised where a channel hardly varies, and 1 where nothing does."""
    largest = scale.amax()
    return torch.maximum(scale, _LEAST * largest) if float(largest) > 0 else torch.ones_like(scale)
