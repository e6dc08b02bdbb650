"""A residual network for vectors, in the place of physinv's MLP."""

import torch
from torch import nn


class ResidualNet(nn.Module):
    """Blocks ``h + W2 silu(W1 [h, tau])``; the last layer starts at zero, so that training starts at the reference law.

    Args:
        inputs: Features that the reference law hands in.
        outputs: Numbers that it wants back.
        width: Hidden units.
        depth: Blocks.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 64, depth: int = 3):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.wide = nn.ModuleList(nn.Linear(width + 1, width) for _ in range(depth))
        self.back = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, features, tau):
        h = self.first(features)
        for wide, back in zip(self.wide, self.back, strict=True):
            h = h + back(nn.functional.silu(wide(torch.cat([h, tau[:, None]], dim=1))))
        return self.last(h)
