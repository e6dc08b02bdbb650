"""Weighted particles: resampling, how many count, and the entries of a record that become known on the way."""

from __future__ import annotations

__all__ = ["Cloud", "systematic"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from physinv.laws.record import ObservationRecord


def systematic(
    weights: Float[Tensor, "batch particles"], n: int, *, generator: torch.Generator | None = None
) -> Int[Tensor, "batch n"]:
    """Draw indices of particles by their weights, with one uniform number for each row.

    Args:
        weights: Weights that sum to 1.
        n: Number of draws.
        generator: Source of randomness.

    Returns:
        Indices, increasing along each row.

    References:
        Kitagawa (1996), Monte Carlo filter and smoother for non-Gaussian nonlinear state space models.
    """
    start = torch.rand((len(weights), 1), generator=generator, dtype=torch.float64, device=weights.device)
    places = (torch.arange(n, device=weights.device) + start) / n
    ladder = weights.double().cumsum(1)
    return torch.searchsorted(ladder / ladder[:, -1:], places).clamp(max=weights.shape[1] - 1)


@dataclass
class Cloud:
    """Particles of each row of observations, whose trajectories grow by one time after another.

    Args:
        record: What is observed.
        y: Observed numbers, one row for each trajectory.
        log_weights: Log weights.
        level: The noise level of states, where a record has one that is unknown.

    Attributes:
        times: Times of the states held, in the order in which they came.
        states: States at these times, ``(batch, particles, *state)`` each; resampled together.
        origin: Which of the first particles each one descends from.
        log_evidence: The log of the mean weight so far.
        least: The smallest effective number of particles so far.
    """

    record: ObservationRecord
    y: Float[Tensor, "batch seen"]
    log_weights: Float[Tensor, "batch particles"]
    level: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        batch, count = self.log_weights.shape
        self.times: list[float] = []
        self.states: list[Tensor] = []
        self.origin = torch.arange(count, device=self.y.device).repeat(batch, 1)
        self.log_evidence = self.log_weights.new_zeros(batch)
        self.least = self.log_weights.new_full((batch,), float(count))
        self._told: set[int] = set()

    def add(
        self,
        t: float,
        states: Float[Tensor, "batch particles *state"],
        *,
        used: Sequence[int] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        """Take the states at one more time, weight them by the entries now complete, and resample where few count.

        Args:
            t: The time.
            states: States of all particles.
            used: Entries that the particles were drawn by, and that are not to count once more.
            generator: Source of randomness.
        """
        self.times.append(t)
        self.states.append(states)
        self._told.update(used)
        ready = [
            i
            for i, entry in enumerate(self.record.entries)
            if i not in self._told and t in entry.times and set(entry.times) <= set(self.times)
        ]
        for i in ready:
            self._told.add(i)
            self.log_weights = self.log_weights + self._likelihood(i)
        if not ready:
            return

        # The mean weight is the density of what was seen; then equal weights again where few particles count.
        total = self.log_weights.logsumexp(1)
        self.log_evidence = self.log_evidence + total
        self.log_weights = self.log_weights - total[:, None]
        self.least = torch.minimum(self.least, self.effective)
        few = self.effective < self.log_weights.shape[1] / 2
        if bool(few.any()):
            self._resample(few, generator)

    @property
    def effective(self) -> Float[Tensor, " batch"]:
        """How many particles count, ``(sum w)^2 / sum w^2``."""
        return 1 / self.log_weights.softmax(1).square().sum(1)

    @property
    def ancestors(self) -> Float[Tensor, " batch"]:
        """How many of the first particles count, ``1 / sum p^2``, with ``p`` the weight of all descendants of one."""
        shares = torch.zeros_like(self.log_weights).scatter_add_(1, self.origin, self.log_weights.softmax(1))
        return (1 / shares.square().sum(1)).to(self.y)

    def draw(
        self, n: int, times: Sequence[float], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        """Draw trajectories by their weights, in random order.

        Args:
            n: Draws for each row.
            times: Times held, in any order.
            generator: Source of randomness.

        Returns:
            States at the times asked for, in their order.
        """
        at = systematic(self.log_weights.softmax(1), n, generator=generator)
        order = torch.rand(at.shape, generator=generator, device=at.device).argsort(1)
        at = at.gather(1, order)
        rows = torch.arange(len(at), device=at.device)[:, None]
        return torch.stack([self.states[self.times.index(t)][rows, at] for t in times], 2)

    def _likelihood(self, i: int) -> Tensor:
        """The log-likelihood of one entry for each particle."""
        entry = self.record.entries[i]
        seen = [self.states[self.times.index(t)] for t in entry.times]
        batch, count = seen[0].shape[:2]
        alone = self.record.alone(i)
        paths = {t: x.flatten(0, 1) for t, x in zip(entry.times, seen, strict=True)}
        begin = sum(self.record.sizes(seen[0][:1, 0])[:i])
        size = alone.sizes(seen[0][:1, 0])[0]
        y = self.y[:, begin : begin + size].repeat_interleave(count, 0)
        states = torch.stack([paths[t] for t in alone.times], 1)
        found = alone.log_prob(y, states, None if self.level is None else self.level(states[:, 0]))
        return found.reshape(batch, count).double().nan_to_num(-math.inf, -math.inf, -math.inf)

    def _resample(self, few: Tensor, generator: torch.Generator | None) -> None:
        """Give the particles of some rows equal weights."""
        count = self.log_weights.shape[1]
        at = systematic(self.log_weights.softmax(1), count, generator=generator)
        at = torch.where(few[:, None], at, torch.arange(count, device=at.device))
        rows = torch.arange(len(at), device=at.device)[:, None]
        self.states = [x[rows, at] for x in self.states]
        self.origin = self.origin[rows, at]
        self.log_weights = torch.where(few[:, None], -math.log(count), self.log_weights)
