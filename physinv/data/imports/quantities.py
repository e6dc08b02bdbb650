"""Numbers that are better handed in as others: a positive quantity over many decades, an angle that wraps."""

from __future__ import annotations

__all__ = ["Quantity"]

import math

import torch
from jaxtyping import Float
from torch import Tensor

_KEPT = 20_000  # numbers of a block of which quantiles are taken
_TAILS = 0.01, 0.5, 0.99
_DECADES = 3.0  # between the outer quantiles
_TURNS = 2 * math.pi, 360.0
_ROUNDED = 1e-3  # of a turn: by how much numbers may leave it
_AROUND, _HALF = 0.75, (0.4, 0.6)  # of a turn: changes that go around, and such that no wrapping explains
_LEAST = 2  # changes that go around


class Quantity:
    """Collect what is told of the numbers of one part of a state.

    Args:
        name: What it is called.

    Example:
        >>> angle = Quantity("`angle`")
        >>> angle.add(torch.tensor([[3.0, -3.1, 3.1, -3.0]]))
        >>> angle.told()[0].partition(":")[0]
        '`angle` jumps by nearly 2 pi between neighbouring times and stays within a range of that width'
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._low, self._high = math.inf, -math.inf
        self._kept: list[Tensor] = []
        self._around, self._half = [0] * len(_TURNS), [0] * len(_TURNS)

    def add(self, x: Float[Tensor, "n time *part"]) -> None:
        """Take in more numbers.

        Args:
            x: The part of trajectories.
        """
        if not x.numel():
            return
        self._low, self._high = min(self._low, float(x.min())), max(self._high, float(x.max()))
        if self._low > 0:
            self._kept.append(x.flatten()[:: max(1, x.numel() // _KEPT)].double())
        change = x.diff(dim=1).abs() if max(abs(self._low), abs(self._high)) <= (1 + _ROUNDED) * max(_TURNS) else None
        for i, turn in enumerate(_TURNS):
            if change is not None and self._high - self._low <= (1 + _ROUNDED) * turn:
                self._around[i] += int((change > _AROUND * turn).sum())
                self._half[i] += int(((change > _HALF[0] * turn) & (change < _HALF[1] * turn)).sum())

    def told(self) -> list[str]:
        """Return a sentence that says what to hand in instead, or none."""
        for turn, around, half in zip(_TURNS, self._around, self._half, strict=True):
            inside = self._high - self._low <= (1 + _ROUNDED) * turn
            if inside and around >= _LEAST and half <= around / 10:
                called = "360" if turn == max(_TURNS) else "2 pi"
                return [
                    f"{self._name} jumps by nearly {called} between neighbouring times and stays within a range of "
                    "that width: an angle that wraps; give its sine and cosine."
                ]
        if not (self._low > 0 and self._kept):
            return []

        # Uniform and exponential numbers come near 0 as well: quantiles, of which logarithms lie more evenly.
        tails = torch.tensor(_TAILS, dtype=torch.float64)
        low, middle, high = torch.quantile(torch.cat(self._kept)[: 10 * _KEPT], tails).tolist()
        decades, above = math.log10(high / low), math.log10(high / middle)
        uneven = (high - middle) / max(middle - low, 1e-300), above / max(decades - above, 1e-300)
        if decades <= _DECADES or abs(math.log(max(uneven[0], 1e-300))) <= abs(math.log(max(uneven[1], 1e-300))):
            return []
        return [
            f"{self._name} is positive everywhere and spans {decades:.1f} decades (98 % of its numbers lie between "
            f"{low:.2g} and {high:.2g}): take its logarithm, so that samples are positive and small values count."
        ]
