"""Windows of a dataset that carry one state more: something about them that is dear to find and is found once."""

from __future__ import annotations

__all__ = ["Carrying"]

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset


class Carrying:
    """The windows of ``data``, each followed by the companion of its last state.

    ``companions (n, time - 1, *state)`` belong to the stored states after the first.  Items are ``(states (window + 1,
    *state), times (window,))``, made where the companions are.  ValueError for companions of another shape.
    """

    def __init__(self, data: TrajectoryDataset, companions: Float[Tensor, "n interval *state"]) -> None:
        wanted = (data.n_trajectories, len(data.times) - 1, *data.shape)
        if tuple(companions.shape) != wanted:
            raise ValueError(f"`companions` must have shape {wanted}, got {tuple(companions.shape)}.")
        self.data, self.companions = data, companions

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """A batch; items are numbered as in :class:`~physinv.data.dataset.TrajectoryDataset`."""
        states, times = self.data.__getitems__(indices)
        index = torch.as_tensor(indices, dtype=torch.int64).to(self.companions.device)
        window = self.data.window
        starts = len(self.data.times) - window + 1
        more = self.companions[index // starts, index % starts + window - 2]
        return torch.cat([states, more[:, None]], dim=1), times
