"""Stored states taken back by the physics alone: found once, and carried along with the windows of training."""

from __future__ import annotations

__all__ = ["Rewound", "rewind"]

import math
import time
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.sde import SDE
from physinv.smoother_moments import taken_back
from physinv.trajectories import TrajectoryDataset

_PART = 128  # states in work at once


class Rewound:
    """The windows of ``data``, each with one state more: its last one taken back over the stored interval before it.

    ``back (n, time - 1, *state)`` comes from :func:`rewind`.  Items are ``(states (window + 1, *state), times
    (window,))``.
    """

    def __init__(self, data: TrajectoryDataset, back: Float[Tensor, "n interval *state"]) -> None:
        self.data, self.back = data, back

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        states, times = self.data.__getitems__(indices)
        index = torch.as_tensor(indices, dtype=torch.int64).to(self.back.device)
        window = self.data.window
        starts = len(self.data.times) - window + 1
        back = self.back[index // starts, index % starts + window - 2]
        return torch.cat([states, back[:, None]], dim=1), times


@torch.no_grad()
def rewind(sde: SDE, data: TrajectoryDataset, patience: float = math.inf) -> Float[Tensor, "n interval *state"] | None:
    """Every stored state after the first, :func:`taken_back` over the interval that it ends.

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
