"""A fully connected network for vector states."""

from __future__ import annotations

__all__ = ["MLP"]

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.models.networks.dropout import Dropout
from physinv.models.networks.embedding import embed


class MLP(nn.Module):
    """``depth`` hidden layers of ``width`` with SiLU, the time embedded in ``frequencies`` sines and cosines.

    ``(batch, inputs), (batch,) -> (batch, outputs)``.  The last layer starts at zero: an untrained score model
    is its reference law.  ``dropout`` is the rate of a :class:`~physinv.models.networks.dropout.Dropout` after each
    layer.
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
        out: Tensor = self.layers(torch.cat([x, embed(t, self.frequencies)], dim=1))
        return out
