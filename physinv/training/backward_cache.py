"""The backward cache: stored states after the physics alone was solved backward, computed once for all of training.

The physics is the expensive part of a smoother step, and it does not depend on the network.
"""

from __future__ import annotations

__all__ = ["backward_states", "cached_windows"]

import math
import time

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.references.smoother_tables import physics_backward
from physinv.training.batches import Windows
from physinv.training.budget import Budget

_AT_ONCE = 128  # states in work
_SHARE = 0.1  # of a time budget: what filling the cache may take of it


@torch.no_grad()
def backward_states(
    sde: SDE, data: TrajectoryDataset, *, patience: float = math.inf
) -> Float[Tensor, "n interval *state"] | None:
    """Solve the physics alone backward from every stored state after the first, over the interval that ends there.

    Args:
        sde: The physics.
        data: Trajectories, in memory.
        patience: Seconds that this may take, as extrapolated from the first states.

    Returns:
        The backward states, in the order of the stored intervals, or None if ``patience`` would not suffice.
    """
    times = data.times.float().to(data.device)
    intervals, begun = len(times) - 1, time.perf_counter()
    stride = max(1, _AT_ONCE // intervals)
    back = torch.empty(data.n_trajectories, intervals, *data.shape, device=data.device)
    for first in range(0, data.n_trajectories, stride):
        x = data.trajectories(slice(first, first + stride))[:, 1:]
        t, dt = times[1:].repeat(len(x)), times.diff().repeat(len(x))
        back[first : first + stride] = physics_backward(sde, x.flatten(0, 1), t, dt).reshape(x.shape)
        if first == 0 and patience < math.inf:
            back[0, 0].sum().item()  # waits until a GPU has finished
            if (time.perf_counter() - begun) * data.n_trajectories > patience * len(x):
                return None
    return back


def cached_windows(sde: SDE, train: Windows, valid: Windows, *, budget: Budget, batch: int) -> tuple[Windows, Windows]:
    """Fill the backward cache of both datasets, as far as that pays.

    It pays for validation windows, which every validation sees again, and for training windows that are seen more than
    once. With a time budget, each may take a tenth of it. Datasets that are streamed from disk get no cache.

    Args:
        sde: The physics.
        train: Windows that are trained on.
        valid: Windows that are validated on.
        budget: How long training may take.
        batch: Windows per update.

    Returns:
        The windows of training and validation, with the cache where it was filled.
    """
    if not train.data.in_memory:
        return train, valid
    patience = math.inf if budget.seconds is None else _SHARE * budget.seconds
    intervals = train.data.n_trajectories * (len(train.data.times) - 1)
    if budget.steps is None or budget.steps * batch >= intervals:
        train = train.with_backward(backward_states(sde, train.data, patience=patience))
    if valid.data.in_memory:
        valid = valid.with_backward(backward_states(sde, valid.data, patience=patience))
    return train, valid
