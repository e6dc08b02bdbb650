"""The ends of trajectories that a reconstruction reads, block after block: memory for one, however many there are."""

from __future__ import annotations

__all__ = ["SPREAD_OF", "Ends", "answered_together", "rows_of_spread"]

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.data.final_states import FinalStates
from physinv.equations.broadcast import default_batch, match
from physinv.evaluation.observed.familiarity import Familiarity, familiarity
from physinv.evaluation.observed.final_law import FinalLaw
from physinv.laws.observation import Observation, displayed_state
from physinv.processes.layout import StateLayout
from physinv.processes.priors import OBSERVED_NOISE
from physinv.processes.varying import Varying

SPREAD_OF = 4096
"""Most trajectories, from the first on, that the noise of observations is chosen for where nobody says what it is."""

_NUMBERS = 2**26  # numbers that are read at once for it, at most


def rows_of_spread(numbers: int, most: int = SPREAD_OF) -> int:
    """Return how many trajectories are read at once to choose a noise for: few of large ones.

    Args:
        numbers: Numbers that are read of each.
        most: How many they are at most.

    Example:
        >>> rows_of_spread(100), rows_of_spread(256 * 256), rows_of_spread(10**9)
        (4096, 1024, 1)
    """
    return max(1, min(most, _NUMBERS // numbers))


def answered_together(at: int, n: int, count: int, block: int, draws: int) -> list[range]:
    """Divide a block of observations into parts that are answered together.

    The first parts are small and grow (1, 1, 2, 4, ... observations).  Where parts begin and end does not depend on the
    limit: a part that it cuts is answered whole, at most twice as many observations as are kept, so that the samples of
    an observation are the same whatever the limit.

    Args:
        at: Number of the first observation of the block.
        n: Observations that are kept: the limit.
        count: Observations that there are.
        block: States that are computed together.
        draws: States for each observation.

    Returns:
        Numbers of the observations of each part; the last ones may lie beyond the limit, not beyond what there is.

    Example:
        >>> answered_together(0, 5, 100, 64, 8)
        [range(0, 1), range(1, 2), range(2, 4), range(4, 8)]
    """
    most, found = max(1, block // draws), list[range]()
    while at < n and (not found or at % block):
        end = at + min(most, max(1, at), block - at % block)
        found.append(range(at, min(end, count)))
        at = end
    return found


class Ends:
    """Read true initial states, where they are known, and observed final states.

    Args:
        data: Trajectories, or observations alone.
        limit: Number of trajectories or observations, from the first on; None: all.
        varying: The process with unknown parameters, which a method must not see in final states; None: there are none.
        levels: Streams of the deviations of noise that is unknown, where trajectories have none; each block has one
            below it.

    Attributes:
        n: Number of observations.
        known: Whether initial states are known.
        block: Observations that are read at the same time, as many as :func:`default_batch` says: the number depends on
            the shape of a state alone.
    """

    def __init__(
        self,
        data: TrajectoryDataset | FinalStates,
        limit: int | None,
        varying: Varying | None = None,
        levels: Seeds | None = None,
    ) -> None:
        self._data, self._varying, self._levels = data, varying, levels
        self._count = len(data.states) if isinstance(data, FinalStates) else data.n_trajectories
        self.n = min(limit or self._count, self._count)
        self.known = not isinstance(data, FinalStates)
        self.block = default_batch(self.final(0, 1))

    def starts(self) -> range:
        """Return the number of the first observation of each block."""
        return range(0, self.n, self.block)

    def parts(self, at: int, draws: int) -> list[range]:
        """Return the observations of a block that are answered together, each part with a stream of noise of its own.

        Args:
            at: Number of the first observation of the block.
            draws: States for each observation.

        Returns:
            Numbers of the observations of each part; the last ones may lie beyond the limit, not beyond the data.
        """
        return answered_together(at, self.n, self._count, self.block, draws)

    def final(self, first: int, last: int) -> Float[Tensor, "n *state"]:
        """Return final states.

        Args:
            first: Number of the first.
            last: Number after the last.
        """
        data = self._data
        x = data.states[first:last] if isinstance(data, FinalStates) else data.states(-1, last - first, first=first)
        return x if self._varying is None else self._varying.hidden(x)

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
        return self._with_levels(self._data.states(0, last - first, first=first), first)

    def displayed(self, observation: Observation, y: Float[Tensor, "n *seen"]) -> Float[Tensor, "n *state"]:
        """Return the smallest states that explain observed numbers, for figures; they tell no unknown parameters.

        Args:
            observation: The operator.
            y: Observed numbers.
        """
        if self._varying is None:
            return displayed_state(observation, y, tuple(self.final(0, 1).shape[1:]))
        return self._varying.hidden(displayed_state(observation, y, self._varying.inner.shape))

    def blocks(self) -> Iterator[Float[Tensor, "n *state"]]:
        """Return an iterator over the final states of one block after another."""
        return (self.final(a, min(a + self.block, self.n)) for a in self.starts())

    def spread(self, layout: StateLayout) -> float:
        """Return the standard deviation of all numbers of the first final states that move, whatever the limit.

        Args:
            layout: Layout of the states.
        """
        count, mean, square = 0, 0.0, 0.0
        known = min(self._count, max(self.block, SPREAD_OF))
        for at in range(0, known, self.block):
            x = layout.moving(self.final(at, min(at + self.block, known))).double()
            more, gap = x.numel(), float(x.mean()) - mean
            square += float((x - x.mean()).square().sum()) + gap**2 * count * more / (count + more)
            mean, count = mean + gap * more / (count + more), count + more
        return math.sqrt(square / max(1, count - 1))

    def seen(self, observation: Observation, at: int, final: Float[Tensor, "n *state"], noise: Seeds) -> Tensor:
        """Return what is observed of the final states of a block, with noise that does not depend on their number.

        Observations alone have their noise already, and get none.

        Args:
            observation: The operator and its noise.
            at: Number of the first.
            final: Final states of the block that begins there, all or some of the first.
            noise: Streams of the noise; each block has one below it.

        Returns:
            Observed numbers ``(n, *seen)``.
        """
        if not self.known:
            return observation.operator(final if self._varying is None else self._varying.state(final))
        generator = noise.child(at // self.block).generator(final.device)
        whole = torch.cat([final, final.new_zeros(self.block - len(final), *final.shape[1:])])
        if (varying := self._varying) is None:
            return observation.observe(whole, generator=generator)[: len(final)]
        clean = observation.operator(varying.state(whole))
        n = torch.randn(clean.shape, generator=generator, dtype=clean.dtype, device=clean.device)[: len(final)]
        return clean[: len(final)] + match(self._deviations(observation, at, len(final)).to(n), n) * n

    def _deviations(self, observation: Observation, at: int, n: int) -> Tensor:
        """The deviation of the noise of each observation: of each its own, where it is unknown."""
        assert self._varying is not None
        if OBSERVED_NOISE not in self._varying.unknown:
            return torch.full((n,), observation.noise)
        return self._varying.values(self.truth(at, at + n))[:, self._varying.unknown.index(OBSERVED_NOISE)]

    def _with_levels(self, x: Tensor, first: int) -> Tensor:
        """States with a deviation of the noise, drawn from its prior, where trajectories have none."""
        varying, levels = self._varying, self._levels
        if varying is None or levels is None or x.shape[1:] == varying.shape:
            return x
        prior = dict(varying.priors)[OBSERVED_NOISE]
        generator = levels.child(first // self.block).generator(x.device)
        u = torch.rand(self.block, generator=generator, device=x.device).double()[: len(x)]
        still = match(prior.quantile(u.clamp(1e-7, 1 - 1e-7)).to(x), x)
        return torch.cat([x, still.expand(len(x), 1, *x.shape[2:])], dim=1)

    def familiarity(self, law: FinalLaw, of: Callable[[int, Tensor], Tensor] | None = None) -> Familiarity:
        """Return how far the observations lie from the training data.

        Args:
            law: Law of the final states of the training data.
            of: Makes of the final states of the block that begins at a number what is compared; None: themselves.
        """
        blocks = zip(self.starts(), self.blocks(), strict=True)
        parts = [familiarity(law, (block if of is None else of(at, block)).cpu()) for at, block in blocks]
        distances = tuple(d for part in parts for d in part.distance)
        return Familiarity(distances, law.limit, tuple(c for part in parts for c in part.causes))
