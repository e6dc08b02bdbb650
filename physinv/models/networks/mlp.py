"""A fully connected network for vector states."""

from __future__ import annotations

__all__ = ["MLP"]

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.models.networks.layers import Dropout, embed


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
