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

    One number per interval, channel and shell of wave numbers (or per channel, where modes are components).
    """
    moments = model.moments
    if not isinstance(moments, SmootherMoments):
        raise ValueError(f"`model` must have SmootherMoments as reference, got {type(moments).__name__}.")
    reverse, n = Reverse(sde, model), min(few, data.n_trajectories)
    times = moments.times
    later = data.states(0, limit=n)
    for i in range(len(times) - 1):
        earlier, later = later, data.states(i + 1, limit=n)
        total = torch.zeros_like(moments.left[i])
        for start, end in zip(torch.split(earlier, 64), torch.split(later, 64), strict=True):
            t0, t1 = times[i + 1].expand(len(end)), times[i].expand(len(end))
            _, gap, size = gap_and_size(reverse, end, start, t0, t1)
            total += moments.modes(gap / size).abs().square().sum(0)
        moments.left[i] = _averaged(total / n, moments, later)


def _averaged(values: Tensor, moments: SmootherMoments, like: Tensor) -> Tensor:
    """Mean over shells ``|k| = 0, 1, 2, ...`` of each channel, or over each channel."""
    if moments.basis == "identity":
        return values.mean(dim=tuple(range(1, values.ndim)), keepdim=True).expand_as(values).clone()
    *lead, last = like.shape[2:]
    axes = [torch.fft.fftfreq(n, 1 / n) for n in lead] + [torch.fft.rfftfreq(last, 1 / last)]
    k = sum(a**2 for a in torch.meshgrid(*axes, indexing="ij"))
    shell = torch.as_tensor(k).sqrt().round().long().flatten().to(values.device)
    flat = values.flatten(1)
    sums = values.new_zeros(len(flat), int(shell.max()) + 1).index_add_(1, shell, flat)
    count = torch.bincount(shell).to(values)
    out: Tensor = (sums / count)[:, shell].reshape(values.shape)
    return out
