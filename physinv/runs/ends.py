"""The ends of trajectories that a reconstruction reads, block after block: memory for one, however many there are."""

from __future__ import annotations

__all__ = ["Ends"]

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.data.final_states import FinalStates
from physinv.evaluation.observed.familiarity import Familiarity, familiarity
from physinv.evaluation.observed.final_law import FinalLaw
from physinv.laws.observation import Observation
from physinv.posterior.posterior import default_batch
from physinv.processes.layout import StateLayout


class Ends:
    """Read true initial states, where they are known, and observed final states.

    Args:
        data: Trajectories, or observations alone.
        limit: Number of trajectories or observations, from the first on; None: all.

    Attributes:
        n: Number of observations.
        known: Whether initial states are known.
        block: Observations that are read at the same time, as many as :func:`default_batch` says: the number depends on
            the shape of a state alone.
    """

    def __init__(self, data: TrajectoryDataset | FinalStates, limit: int | None) -> None:
        self._data = data
        count = len(data.states) if isinstance(data, FinalStates) else data.n_trajectories
        self.n = min(limit or count, count)
        self.known = not isinstance(data, FinalStates)
        self.block = default_batch(self.final(0, 1))

    def starts(self) -> range:
        """Return the number of the first observation of each block."""
        return range(0, self.n, self.block)

    def final(self, first: int, last: int) -> Float[Tensor, "n *state"]:
        """Return final states.

        Args:
            first: Number of the first.
            last: Number after the last.
        """
        data = self._data
        return data.states[first:last] if isinstance(data, FinalStates) else data.states(-1, last - first, first=first)

    def truth(self, first: int, last: int) -> Float[Tensor, "n *state"]:
        """Return initial states, where they are known.

        Args:
            first: Number of the first.
            last: Number after the last.

        Raises:
            ValueError: If they are not.
        """
        if isinstance(self._data, FinalStates):
            raise ValueError("`data` must be trajectories, got observations alone, whose initial states nobody knows.")
        return self._data.states(0, last - first, first=first)

    def blocks(self) -> Iterator[Float[Tensor, "n *state"]]:
        """Return an iterator over the final states of one block after another."""
        return (self.final(a, min(a + self.block, self.n)) for a in self.starts())

    def spread(self, layout: StateLayout) -> float:
        """Return the standard deviation of all numbers of the final states that move.

        Args:
            layout: Layout of the states.
        """
        count, mean, square = 0, 0.0, 0.0
        for block in self.blocks():
            x = layout.moving(block).double()
            more, gap = x.numel(), float(x.mean()) - mean
            square += float((x - x.mean()).square().sum()) + gap**2 * count * more / (count + more)
            mean, count = mean + gap * more / (count + more), count + more
        return math.sqrt(square / max(1, count - 1))

    def seen(self, observation: Observation, at: int, final: Float[Tensor, "n *state"], noise: Seeds) -> Tensor:
        """Return what is observed of the final states of a block, with noise that does not depend on their number.

        Args:
            observation: The operator and its noise.
            at: Number of the first.
            final: Final states of the block that begins there, all or some of the first.
            noise: Streams of the noise; each block has one below it.

        Returns:
            Observed numbers ``(n, *seen)``.
        """
        generator = noise.child(at // self.block).generator(final.device)
        whole = torch.cat([final, final.new_zeros(self.block - len(final), *final.shape[1:])])
        return observation.observe(whole, generator=generator)[: len(final)]

    def familiarity(self, law: FinalLaw) -> Familiarity:
        """Return how far the observations lie from the training data.

        Args:
            law: Law of the final states of the training data.
        """
        parts = [familiarity(law, block.cpu()) for block in self.blocks()]
        distances = tuple(d for part in parts for d in part.distance)
        return Familiarity(distances, law.limit, tuple(c for part in parts for c in part.causes))
