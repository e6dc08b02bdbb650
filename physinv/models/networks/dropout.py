"""Dropout of whole channels, with randomness as an argument."""

from __future__ import annotations

__all__ = ["Dropout", "dropping"]

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Dropout(nn.Module):
    """Sets each channel of each member of the batch to 0 with probability ``rate``, others grow by ``1 / (1 - rate)``.

    ``axis`` is that of the channels; over all other axes but the first a channel is dropped as a whole, since
    neighbours in space are alike (Tompson et al. 2015, section 3.2).  For vectors it is the dropout of Srivastava et
    al. (2014).  It is the identity except inside :func:`dropping`.
    """

    def __init__(self, rate: float, *, axis: int = 1) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"`dropout` must be a probability below 1, got {rate}; 0 switches it off.")
        self.rate, self.axis = rate, axis
        self.generator: torch.Generator | None = None

    def forward(self, x: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch *rest"]:
        if self.generator is None or self.rate == 0:
            return x
        shape = [1] * x.ndim
        shape[0], shape[self.axis] = x.shape[0], x.shape[self.axis]
        kept = torch.rand(shape, generator=self.generator, dtype=x.dtype, device=x.device) >= self.rate
        return x * kept / (1 - self.rate)


@contextmanager
def dropping(network: nn.Module, generator: torch.Generator | None) -> Iterator[None]:
    """Inside the block channels of ``network`` are dropped, as drawn by ``generator`` (None: they are not)."""
    layers = [layer for layer in network.modules() if isinstance(layer, Dropout)]
    for layer in layers:
        layer.generator = generator
    try:
        yield
    finally:
        for layer in layers:
            layer.generator = None
