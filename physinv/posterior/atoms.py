"""Initial states that take few values: each number of a sample moves to the nearest of them.

Where every trajectory begins at one of some places, at rest, or at a fixed level, the posterior of that number is a
choice among the values that the training data have.  A density that was learned is a narrow peak around each of them;
its mass is right, its width is none of the posterior's.
"""

from __future__ import annotations

__all__ = ["Atoms", "find_atoms"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_MOST = 32  # values of a component
_FEWEST = 20  # states for each of them


@dataclass(frozen=True)
class Atoms:
    """A map of every number to the nearest value that its component takes.

    Args:
        values: Values of each component, increasing, with infinity for none; components without any stay as they are,
            and so do numbers behind these components, which are known.

    Example:
        >>> Atoms(torch.tensor([[-1.0, 1.0], [torch.inf, torch.inf]]))(torch.tensor([[0.9, 0.9], [-0.2, 0.3]]))
        tensor([[ 1.0000,  0.9000],
                [-1.0000,  0.3000]])
    """

    values: Float[Tensor, "components most"]

    def __call__(self, x: Float[Tensor, "*batch numbers"]) -> Float[Tensor, "*batch numbers"]:
        """Move the numbers of states.

        Args:
            x: States, with any number of batch axes.

        Returns:
            States of the same shape, dtype and device.
        """
        values = self.values.to(x)
        found = x.clone()
        for i, row in enumerate(values):
            known = row[row.isfinite()]
            if len(known):
                at = torch.bucketize(x[..., i].contiguous(), (known[1:] + known[:-1]) / 2)
                found[..., i] = torch.where(x[..., i].isfinite(), known[at], x[..., i])
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Return the values by name, to be saved."""
        return {"atoms": self.values}


def find_atoms(states: Float[Tensor, "n components"]) -> Atoms | None:
    """Look for components of initial states that take few values.

    Args:
        states: Initial states of the training data, without what never changes.

    Returns:
        The values, at most 32 of a component and one of 20 states or fewer; None: no component has so few.
    """
    rows = [component.unique() for component in states.T]
    rows = [row if len(row) <= min(_MOST, len(states) // _FEWEST) else row[:0] for row in rows]
    most = max(map(len, rows), default=0)
    if most == 0:
        return None
    values = states.new_full((len(rows), most), torch.inf)
    for place, row in zip(values, rows, strict=True):
        place[: len(row)] = row
    return Atoms(values)
