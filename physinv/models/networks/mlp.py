"""A fully connected network for vector states."""

from __future__ import annotations

__all__ = ["MLP"]

import itertools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from physinv.models.networks.layers import Dropout, embed

Head = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A loss of the output of a network, and its gradient with respect to that."""


class MLP(nn.Module):
    """Map vectors and a time to vectors by fully connected layers with SiLU.

    The time is embedded by :func:`~physinv.models.networks.layers.embed`. The last layer starts at zero: an untrained
    score model equals its reference law.

    Args:
        inputs: Components of the input.
        outputs: Components of the output.
        width: Units of each hidden layer.
        depth: Number of hidden layers.
        frequencies: Sines and cosines of the time together, even.
        dropout: Rate of the :class:`~physinv.models.networks.layers.Dropout` after each hidden layer; 0 for none.

    Example:
        >>> MLP(3, 2)(torch.zeros(5, 3), torch.zeros(5)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self, inputs: int, outputs: int, *, width: int = 64, depth: int = 3, frequencies: int = 8, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.frequencies = frequencies
        sizes = [inputs + frequencies, *[width] * depth]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), nn.SiLU(), *([Dropout(dropout)] if dropout else [])]
        last = nn.Linear(sizes[-1], outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: Float[Tensor, "batch inputs"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch outputs"]:
        """Return the output ``(batch, outputs)`` for inputs ``x (batch, inputs)`` at times ``t`` in [0, 1]."""
        out: Tensor = self.layers(torch.cat([x, embed(t, self.frequencies)], dim=1))
        return out

    @property
    def bare(self) -> bool:
        """Whether there is nothing but layers of which :meth:`loss` knows the gradient."""
        return type(self) is MLP and all(type(layer) in (nn.Linear, nn.SiLU) for layer in self.layers)

    def loss(self, x: Float[Tensor, "batch features"], head: Head) -> Float[Tensor, ""]:
        """Return a loss of the output, with the gradient of all weights by hand: the same, without autograd's records.

        For the few layers of a small network, autograd takes as long for its records as for the products.

        Args:
            x: Inputs, and after them the embedded times.
            head: The loss of the output, and its gradient.

        Returns:
            The loss, which can be differentiated once with respect to the weights, and not to ``x``.
        """
        weights = [p for layer in self.layers if isinstance(layer, nn.Linear) for p in (layer.weight, layer.bias)]
        loss: Tensor = _Loss.apply(head, x, *weights)  # type: ignore[no-untyped-call]
        return loss


class _Loss(torch.autograd.Function):
    """A loss of the output of linear layers with SiLU between them."""

    @staticmethod
    def forward(ctx: Any, head: Head, x: Tensor, *weights: Tensor) -> Tensor:
        layers = list(zip(weights[::2], weights[1::2], strict=True))
        inputs, before = [x], []
        for weight, bias in layers[:-1]:
            before.append(torch.addmm(bias, inputs[-1], weight.t()))
            inputs.append(nn.functional.silu(before[-1]))
        loss, slope = head(torch.addmm(layers[-1][1], inputs[-1], layers[-1][0].t()))

        # From the last layer to the first.
        found: list[Tensor] = []
        for (weight, _), value in zip(reversed(layers), reversed(inputs), strict=True):
            found += [slope.sum(0), slope.t().mm(value)]
            if before:
                slope = torch.ops.aten.silu_backward(slope.mm(weight), before.pop())
        ctx.save_for_backward(*reversed(found))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *torch._foreach_mul(ctx.saved_tensors, above)
