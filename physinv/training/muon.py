"""The optimiser Muon: orthogonal steps for hidden matrices, AdamW for everything else, as one optimiser."""

from __future__ import annotations

__all__ = ["Muon", "hidden_matrices", "orthogonalised"]

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.models.networks.layers import HiddenLinear

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic polynomial, steepest at 0
_ROUNDS = 5


class Muon(torch.optim.AdamW):
    """Update hidden matrices by orthogonalised momentum, and all other parameters by AdamW.

    With the gradient ``G`` of a matrix of ``m`` rows and ``n`` columns, and momentum ``mu``,

        M <- mu M + G,    W <- (1 - rate decay) W - rate max(1, m/n)^(1/2) O(G + mu M),

    where ``O`` replaces all singular values by numbers near 1 (:func:`orthogonalised`): every direction of the step
    counts alike, however small the gradient is there. The groups of matrices have ``muon=True``.

    Args:
        others: Parameters that AdamW updates.
        matrices: Parameters that are updated by orthogonal steps, each with two axes.
        rate: Learning rate of AdamW.
        matrix_rate: Learning rate of the matrices.
        weight_decay: Decay of both.
        momentum: Momentum ``mu`` of the matrices.
        fused: Whether AdamW runs as one kernel.

    References:
        Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks; Loshchilov and Hutter (2019) for
        AdamW.
    """

    def __init__(
        self,
        others: Sequence[Tensor],
        matrices: Sequence[Tensor],
        *,
        rate: float,
        matrix_rate: float,
        weight_decay: float,
        momentum: float = 0.95,
        fused: bool = False,
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(others), "muon": False},
            {"params": list(matrices), "muon": True, "lr": matrix_rate},
        ]
        super().__init__(groups, lr=rate, weight_decay=weight_decay, fused=fused)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have a gradient; the gradients of matrices are removed.

        Args:
            closure: Function that computes the loss again, or None.

        Returns:
            What ``closure`` returns.
        """
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            if group["muon"]:
                self._step_matrices(group)
        super().step()  # passes over the matrices, which have no gradient any more
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        """Orthogonal steps; matrices of one shape are one batch."""
        used = sorted((p for p in group["params"] if p.grad is not None), key=lambda p: tuple(p.shape))
        for (m, n), alike in groupby(used, key=lambda p: tuple(p.shape)):
            matrices = list(alike)
            gradients = [p.grad for p in matrices]
            for p in matrices:
                if not self.state[p]:  # AdamW asks for a count of steps when a state is loaded
                    self.state[p] = {"step": torch.zeros(()), "momentum": torch.zeros_like(p)}
                self.state[p]["step"] += 1
            moments = [self.state[p]["momentum"] for p in matrices]
            torch._foreach_mul_(moments, self.momentum)
            torch._foreach_add_(moments, gradients)
            ahead = torch._foreach_add(gradients, moments, alpha=self.momentum)
            steps = orthogonalised(torch.stack(list(ahead))).unbind(0)
            torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(matrices, list(steps), alpha=-group["lr"] * math.sqrt(max(1.0, m / n)))
            for p in matrices:
                p.grad = None


def orthogonalised(G: Float[Tensor, "batch m n"]) -> Float[Tensor, "batch m n"]:
    """Replace the singular values of matrices by numbers near 1, by five steps of a Newton-Schulz iteration.

        X <- a X + (b X X^T + c (X X^T)^2) X,    X = G / |G|,

    with ``a, b, c = 3.4445, -4.7750, 2.0315``. Singular values above .01 |G| end between .65 and 1.25; directions that
    are smaller by far stay small.

    Args:
        G: Matrices.

    Returns:
        ``U V^T`` for ``G = U S V^T``, up to that factor; 0 for 0.

    Example:
        >>> found = orthogonalised(torch.diag(torch.tensor([3.0, -1.0]))[None])[0]
        >>> [round(float(v)) for v in found.flatten()]
        [1, 0, 0, -1]
    """
    a, b, c = _COEFFICIENTS
    tall = G.shape[-2] > G.shape[-1]
    X = G.mT if tall else G
    X = X / X.norm(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(G.dtype).tiny)
    for _ in range(_ROUNDS):
        A = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X.mT if tall else X


def hidden_matrices(model: nn.Module) -> list[Tensor]:
    """List the trained matrices of the :class:`~physinv.models.networks.layers.HiddenLinear` layers of a model.

    Args:
        model: A network, or a model that holds one.

    Returns:
        The matrices, in the order of the layers.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, HiddenLinear)]
    return [layer.weight for layer in layers if layer.weight.requires_grad]
