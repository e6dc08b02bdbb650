"""Stored states taken back by the physics alone, once for all of training."""

from __future__ import annotations

__all__ = ["rewind"]

import math
import time

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.references.smoother_tables import physics_backward as taken_back

_PART = 128  # states in work at once


@torch.no_grad()
def rewind(sde: SDE, data: TrajectoryDataset, patience: float = math.inf) -> Float[Tensor, "n interval *state"] | None:
    """Every stored state after the first, :func:`~physinv.models.references.smoother.taken_back` over the interval
    that it ends.

    None if that would take longer than ``patience`` seconds, by the first of its parts.
    """
    times = data.times.float().to(data.device)
    intervals, begun = len(times) - 1, time.perf_counter()
    stride = max(1, _PART // intervals)
    back = torch.empty(data.n_trajectories, intervals, *data.shape, device=data.device)
    for first in range(0, data.n_trajectories, stride):
        x = data.trajectories(slice(first, first + stride))[:, 1:]
        t, dt = times[1:].repeat(len(x)), times.diff().repeat(len(x))
        back[first : first + stride] = taken_back(sde, x.flatten(0, 1), t, dt).reshape(x.shape)
        if first == 0 and patience < math.inf:
            back[0, 0].sum().item()  # a GPU has then done it
            if (time.perf_counter() - begun) * data.n_trajectories > patience * len(x):
                return None
    return back
