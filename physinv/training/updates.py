"""Updates of the weights by AdamW or Muon, and their moving average."""

from __future__ import annotations

__all__ = ["Updates", "schedule"]

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from physinv.config.settings import Settings
from physinv.training.muon import Muon, hidden_matrices

_MATRIX_RATE = 5.0  # learning rate of Muon's matrices over that of AdamW: .02 beside 4e-3


class Updates:
    """Update the weights of a model, and keep an exponential moving average of them.

    Args:
        model: Its parameters that require gradients are trained.
        settings: Training settings, of which ``optimiser``, ``weight_decay``, ``clip`` and ``ema`` count.
        rate: The highest learning rate of AdamW, from which ``schedule`` starts.

    Raises:
        ValueError: If no parameter requires gradients.

    Attributes:
        average: A copy of the model with averaged weights.
        optimiser: AdamW, or :class:`~physinv.training.muon.Muon` where the network has hidden matrices for it.
    """

    def __init__(self, model: nn.Module, settings: Settings, rate: float) -> None:
        self.average = copy.deepcopy(model).requires_grad_(False)
        self._clip, self._ema = settings.clip, settings.ema
        pairs = zip(self.average.parameters(), model.parameters(), strict=True)
        self._averaged: list[Tensor] = [a for a, p in pairs if p.requires_grad]
        self._trainable: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        if not self._trainable:
            raise ValueError(
                "`model` must have weights to train, got none; call model.requires_grad_() on frozen ones."
            )
        first, alike = self._trainable[0], len({(p.device, p.dtype) for p in self._trainable}) == 1
        self._together = alike and first.device.type in ("cpu", "cuda") and not first.is_complex()
        self.optimiser = _optimiser(model, self._trainable, settings, rate, self._together)
        self._peaks = [group["lr"] for group in self.optimiser.param_groups]

    @property
    def rate(self) -> float:
        """The learning rate of AdamW in the last update."""
        return float(self.optimiser.param_groups[0]["lr"])

    def step(self, loss: Tensor, *, progress: float, count: int) -> None:
        """Do one update.

        Args:
            loss: The loss of a batch, a scalar with its graph.
            progress: Share of the training that is done, which sets the learning rate.
            count: Number of this update, from 1 on: the average forgets the first weights faster.

        Raises:
            ValueError: If the loss has no gradient.
        """
        if not loss.requires_grad:
            raise ValueError(
                "`loss` must depend on the weights of `model`, got one without a gradient; compute it of the model's "
                "output with torch, without detach and no_grad."
            )
        for group, peak in zip(self.optimiser.param_groups, self._peaks, strict=True):
            group["lr"] = peak * schedule(progress)
        for p in self._trainable:  # as `zero_grad` does, in a tenth of its time
            p.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        self._clip_gradients()
        self.optimiser.step()
        decay = min(self._ema, (1 + count) / (10 + count))
        with torch.no_grad():
            torch._foreach_lerp_(self._averaged, self._trainable, 1 - decay)

    def _clip_gradients(self) -> None:
        """Scale gradients down to a norm of at most ``clip``."""
        if not self._together:
            torch.nn.utils.clip_grad_norm_(self._trainable, self._clip, foreach=False)
            return
        gradients = [p.grad for p in self._trainable if p.grad is not None]  # the same, in half of the time
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        if norm.device.type == "cpu" and float(norm) + 1e-6 <= self._clip:  # no waiting there, and nothing to scale
            return
        torch._foreach_mul_(gradients, (self._clip / (norm + 1e-6)).clamp(max=1.0))


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


def _optimiser(
    model: nn.Module, trainable: Sequence[Tensor], settings: Settings, rate: float, fused: bool
) -> torch.optim.Optimizer:
    """The optimiser that the settings name; ``auto`` is Muon where the network has hidden matrices."""
    matrices = [] if settings.optimiser == "adamw" else hidden_matrices(model)
    if matrices:
        taken = {id(p) for p in matrices}
        others = [p for p in trainable if id(p) not in taken]
        rates = {"rate": rate, "matrix_rate": _MATRIX_RATE * rate}
        return Muon(others, matrices, **rates, weight_decay=settings.weight_decay, fused=fused)
    if settings.optimiser == "muon":
        raise ValueError(
            "setting `optimiser` = muon needs a network with hidden matrices, such as `network` = tokens, "
            f"got {type(model).__name__} without any; take auto or adamw."
        )
    return torch.optim.AdamW(trainable, lr=rate, weight_decay=settings.weight_decay, fused=fused)
