"""How much variance a trained network leaves to the steps of :data:`~physinv.smoothing.smooth`, on other data."""

from __future__ import annotations

__all__ = ["calibrate"]

import torch
from torch import Tensor

from physinv.score import ScoreModel
from physinv.sde import SDE, Reverse
from physinv.smoother_moments import SmootherMoments
from physinv.smoothing import gap_and_size
from physinv.trajectories import TrajectoryDataset


@torch.no_grad()
def calibrate(model: ScoreModel, sde: SDE, data: TrajectoryDataset, *, few: int = 512) -> None:
    """Set ``left`` of the model's reference: mean square of what steps miss over ``C sigma^2``, on ``data`` not trained
    on.

    One number per interval, channel and shell of wave numbers (or per channel, where modes are components); modes that
    are known exactly, or hold nothing, don't count.
    """
    moments = model.moments
    if not isinstance(moments, SmootherMoments):
        raise ValueError(f"`model` must have SmootherMoments as reference, got {type(moments).__name__}.")
    reverse, n = Reverse(sde, model), min(few, data.n_trajectories)
    times = moments.times
    later = data.states(0, limit=n).to(times.device)
    for i in range(len(times) - 1):
        earlier, later = later, data.states(i + 1, limit=n).to(times.device)
        total = torch.zeros_like(moments.left[i])
        for start, end in zip(torch.split(earlier, 64), torch.split(later, 64), strict=True):
            t0, t1 = times[i + 1].expand(len(end)), times[i].expand(len(end))
            _, gap, size = gap_and_size(reverse, end, start, t0, t1)
            total += moments.modes(gap / size).abs().square().sum(0)
        moments.left[i] = _averaged(total / n, moments.alive(i).to(total), moments, later)


def _averaged(values: Tensor, weight: Tensor, moments: SmootherMoments, like: Tensor) -> Tensor:
    """Mean over shells ``|k| = 0, 1, 2, ...`` of each channel, or over each channel, of what has ``weight`` 1, not 0.

    0 where nothing has any.
    """
    values = weight * values
    if moments.basis == "identity":
        parts = tuple(range(1, values.ndim))
        mean = values.sum(parts, keepdim=True) / weight.sum(parts, keepdim=True).clamp(min=1)
        return mean.expand_as(values).clone()
    *lead, last = like.shape[2:]
    axes = [torch.fft.fftfreq(n, 1 / n) for n in lead] + [torch.fft.rfftfreq(last, 1 / last)]
    k = sum(a**2 for a in torch.meshgrid(*axes, indexing="ij"))
    shell = torch.as_tensor(k).sqrt().round().long().flatten().to(values.device)
    empty = values.new_zeros(len(values), int(shell.max()) + 1)
    sums, count = (empty.index_add(1, shell, v.flatten(1)) for v in (values, weight))
    out: Tensor = (sums / count.clamp(min=1))[:, shell].reshape(values.shape)
    return out
