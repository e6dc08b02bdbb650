"""Updates of the weights by AdamW, and their moving average."""

from __future__ import annotations

__all__ = ["Updates", "schedule"]

import copy
import math

import torch
from torch import Tensor, nn

from physinv.config.settings import Settings


class Updates:
    """Update the weights of a model, and keep an exponential moving average of them.

    Args:
        model: Its parameters that require gradients are trained.
        settings: Training settings, of which ``weight_decay``, ``clip`` and ``ema`` count.
        rate: The highest learning rate, from which ``schedule`` starts.

    Attributes:
        average: A copy of the model with averaged weights.
        optimiser: AdamW.
    """

    def __init__(self, model: nn.Module, settings: Settings, rate: float) -> None:
        self.average = copy.deepcopy(model).requires_grad_(False)
        self._rate, self._clip, self._ema = rate, settings.clip, settings.ema
        pairs = zip(self.average.parameters(), model.parameters(), strict=True)
        self._averaged: list[Tensor] = [a for a, p in pairs if p.requires_grad]
        self._trainable = [p for p in model.parameters() if p.requires_grad]
        first = self._trainable[0]
        fused = first.device.type in ("cpu", "cuda") and all(p.is_floating_point() for p in self._trainable)
        self.optimiser = torch.optim.AdamW(
            self._trainable, lr=rate, weight_decay=settings.weight_decay, fused=fused
        )  # complex parameters can't be fused

    @property
    def rate(self) -> float:
        """The learning rate of the last update."""
        return float(self.optimiser.param_groups[0]["lr"])

    def step(self, loss: Tensor, *, progress: float, count: int) -> None:
        """Do one update.

        Args:
            loss: The loss of a batch, a scalar with its graph.
            progress: Share of the training that is done, which sets the learning rate.
            count: Number of this update, from 1 on: the average forgets the first weights faster.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate * schedule(progress)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._trainable, self._clip)
        self.optimiser.step()
        decay = min(self._ema, (1 + count) / (10 + count))
        torch._foreach_lerp_(self._averaged, [p.detach() for p in self._trainable], 1 - decay)


def schedule(progress: float, *, warmup: float = 0.02) -> float:
    """Return the learning rate as a share of the highest one: linear warm-up, then half a cosine to 0.

    Args:
        progress: Share of the training that is done.
        warmup: Share of the training that the warm-up takes.

    Example:
        >>> [round(schedule(p), 2) for p in (0.0, 0.01, 0.02, 0.51, 1.0)]
        [0.05, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return max(progress, 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1.0)))
