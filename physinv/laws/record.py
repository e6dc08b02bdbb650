"""Records of observations: several times, other sensors at each, time averages, missing numbers.

    y_i = mean over the times t of entry i of H_i(x_t) + sigma_i n_i

A record says when, what and how exactly.  The observed numbers are one row for each trajectory, those of the entries
side by side, with NaN where a number is missing.  A single observation of the final state is a record of one entry.
"""

from __future__ import annotations

__all__ = ["Entry", "Level", "ObservationRecord", "as_record"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import (
    as_states,
    as_tensor,
    as_times,
    check_batch,
    check_function,
    check_generator,
    check_instance,
    describe,
)
from physinv.laws.observation import Observation, check_finite, shown

_Courses = Float[Tensor, "batch time *state"]


@dataclass(frozen=True)
class Entry:
    """What is observed at one time, or of the average over several.

    Args:
        times: The times, in units of time; where there are several, the average of what is seen at each is observed.
        observation: Operator and standard deviation of the noise.
    """

    times: tuple[float, ...]
    observation: Observation


class Level(Protocol):
    """The law of a noise level that is unknown, such as ``physinv.processes.priors.LogUniform(0.02, 0.5)``."""

    @property
    def support(self) -> tuple[float, float]:
        """Smallest and largest level."""

    def quantile(self, u: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the levels below which a share ``u`` lies.

        Args:
            u: Shares, from 0 to 1.
        """

    def value(self, z: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the levels that standard normal numbers stand for.

        Args:
            z: Standard normal numbers.
        """

    def described(self) -> dict[str, list[float]]:
        """Return the law as recipes have it."""


@dataclass(frozen=True, init=False)
class ObservationRecord:
    """A record of observations of one trajectory, in any order of time.

    Operators may be any torch function of batched states, linear or not; exact answers need linear ones.

    Args:
        *pairs: ``(time, Observation)`` for each entry; in the place of the time several, whose average is observed.
        level: The law of a factor, unknown and the same for all entries, that the noise of each is multiplied by; with
            noise 1 it is the standard deviation itself.  None: the noise is known.

    Raises:
        ValueError: If there is no entry, a pair is none, a time is negative or not finite, or a level is not above 0.

    Example:
        >>> first = Observation(lambda x: x[:, :1], noise=0.5)
        >>> record = ObservationRecord((1.0, first), ((0.5, 2.0), first))
        >>> record.times
        (0.5, 1.0, 2.0)
        >>> record.clean(torch.tensor([[[2.0], [3.0], [4.0]]]))
        tensor([[3., 3.]])
    """

    entries: tuple[Entry, ...]
    level: Level | None

    def __init__(self, *pairs: Any, level: Level | None = None) -> None:
        if not pairs:
            raise ValueError("`pairs` must hold one or more (time, Observation), got none; add the first.")
        if level is not None:
            told = "give a law such as physinv.processes.priors.LogUniform(0.02, 0.5)"
            check_function(getattr(level, "quantile", level), "level", "(u) -> level", told)
            if not level.support[0] > 0:
                raise ValueError(f"`level` must be above 0, its law begins at {level.support[0]:g}; raise it.")
        object.__setattr__(self, "entries", tuple(_entry(pair) for pair in pairs))
        object.__setattr__(self, "level", level)

    @property
    def times(self) -> tuple[float, ...]:
        """All times at which something is seen, increasing."""
        return tuple(sorted({t for entry in self.entries for t in entry.times}))

    def clean(self, states: Float[Tensor, "batch time *state"]) -> Float[Tensor, "batch seen"]:
        """Return what is seen of trajectories without noise, differentiable.

        Args:
            states: Their states at :attr:`times`.

        Returns:
            The numbers of all entries, one row for each trajectory.

        Raises:
            ValueError: If the states are not at as many times as the record has.
        """
        return torch.cat([part.flatten(1) for part in self._parts(states)], 1)

    def observe(
        self,
        states: Float[Tensor, "batch time *state"],
        *,
        level: Float[Tensor, " batch"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch seen"]:
        """Draw a record of each trajectory.

        Args:
            states: States at :attr:`times`.
            level: The noise level of each trajectory, where it is unknown to others.
            generator: Source of randomness, on the device of the states.

        Returns:
            Observed numbers, one row for each trajectory.
        """
        check_generator(generator)
        states = as_tensor(states, "states")
        clean = self.clean(states)
        check_finite(clean, states)
        n = torch.randn(clean.shape, generator=generator, dtype=clean.dtype, device=clean.device)
        return clean + self.deviations(states[:1, 0], level).to(clean) * n

    def sizes(self, like: Float[Tensor, "1 *state"]) -> tuple[int, ...]:
        """Return how many numbers each entry has.

        Args:
            like: A state of the shape in question.

        Raises:
            ValueError: If an operator fails for such states.
        """
        return tuple(math.prod(self._shown(i, like).shape[1:]) for i in range(len(self.entries)))

    def deviations(
        self, like: Float[Tensor, "1 *state"], level: Float[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "*batch seen"]:
        """Return the standard deviation of the noise of each number.

        Args:
            like: A state of the shape in question.
            level: The noise level of each trajectory, where it is unknown to others.

        Returns:
            One row, or one for each level.

        Raises:
            ValueError: If the level is unknown, and not given.
        """
        if (level is None) != (self.level is None):
            told = "is unknown, and must be drawn together with the state; take mcmc, importance or exact"
            raise ValueError(f"the noise of this record {told if level is None else 'is known; leave `level` out'}.")
        parts = [
            like.new_full((size,), entry.observation.noise)
            for size, entry in zip(self.sizes(like), self.entries, strict=True)
        ]
        each = torch.cat(parts)
        return each if level is None else level[:, None] * each.to(level)

    def joined(self, values: Sequence[Any]) -> Float[Tensor, "batch seen"]:
        """Return observed numbers of all entries as one row for each trajectory.

        Args:
            values: ``(batch, *seen)`` for each entry, NaN where a number is missing.

        Raises:
            ValueError: If there are not as many as entries, or they are of different numbers of trajectories.
        """
        if len(values) != len(self.entries):
            raise ValueError(
                f"`values` must hold numbers for each of the {len(self.entries)} entries, got {len(values)}; give NaN "
                "where numbers are missing."
            )
        parts = [as_tensor(v, "values") for v in values]
        for part in parts:
            if part.ndim < 2 or len(part) != len(parts[0]):
                raise ValueError(
                    f"`values` must have shape (batch, *seen) with the same batch, got {tuple(part.shape)} beside "
                    f"{tuple(parts[0].shape)}; for one trajectory give value[None]."
                )
        return torch.cat([part.flatten(1).to(parts[0]) for part in parts], 1)

    def accepted(self, y: Any, like: Float[Tensor, "1 *state"]) -> Float[Tensor, "batch seen"]:
        """Return observed numbers in the precision and on the device of the states.

        Args:
            y: Observed numbers, one row for each trajectory, or ``(batch, *seen)`` of a record of one entry.
            like: A state of the shape in question.

        Raises:
            ValueError: If they are not as many as the record has, infinite, or all missing.
        """
        found = as_states(y, "y", like=like).flatten(1)
        if found.shape[1] != (seen := sum(self.sizes(like))):
            told = f"the {seen} numbers of the record for each trajectory"
            raise ValueError(f"`y` must hold {told}, got {found.shape[1]}.")
        if bool(found.isinf().any()):
            raise ValueError("`y` must be finite, or NaN where a number is missing, got infinity; give NaN there.")
        if bool((nothing := found.isnan().all(1)).any()):
            row = int(nothing.nonzero()[0])
            raise ValueError(f"`y` must hold a number for each trajectory, got NaN alone in row {row}; leave it out.")
        return found

    def residual(
        self, y: Float[Tensor, "batch seen"], states: _Courses, level: Float[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch seen"]:
        """Return what trajectories miss in units of the noise, standard normal at the truth; differentiable.

        Args:
            y: Observed numbers.
            states: States at :attr:`times`, a trajectory for each row.
            level: The noise level of each trajectory, where it is unknown to others.

        Returns:
            One number for each observed one; 0 where it is missing.
        """
        y, states = as_states(y, "y"), as_tensor(states, "states")
        check_batch(y, "y", states, "states")
        there = y.isfinite()
        gap = (self.clean(states) - torch.where(there, y, 0.0)) / self.deviations(states[:1, 0], level).to(y)
        return torch.where(there, gap, torch.zeros_like(gap))

    def log_prob(
        self, y: Float[Tensor, "batch seen"], states: _Courses, level: Float[Tensor, " batch"] | None = None
    ) -> Float[Tensor, " batch"]:
        """Return the log-likelihood ``log p(y | x)`` of trajectories, of the numbers that are not missing.

        Args:
            y: Observed numbers.
            states: States at :attr:`times`, a trajectory for each row.
            level: The noise level of each trajectory, where it is unknown to others.
        """
        y, states = as_states(y, "y"), as_tensor(states, "states")
        scale = self.deviations(states[:1, 0], level).log() + math.log(2 * math.pi) / 2
        each = self.residual(y, states, level).square() / 2 + torch.where(y.isfinite(), scale.to(y), 0.0)
        return -each.sum(1)

    def until(self, last: float) -> ObservationRecord | None:
        """Return the entries that end at a time or before it; None where there are none.

        Args:
            last: The time.
        """
        kept = tuple(entry for entry in self.entries if max(entry.times) <= last)
        return _of(kept, self.level) if kept else None

    def alone(self, i: int) -> ObservationRecord:
        """Return one of the entries as a record.

        Args:
            i: Its number.
        """
        return _of((self.entries[i],), self.level)

    def known(self, level: float) -> ObservationRecord:
        """Return the record with a noise that is known.

        Args:
            level: What the noise of all entries is multiplied by.
        """
        return _of([_with(e, e.observation.operator, level * e.observation.noise) for e in self.entries], None)

    def through(self, part: Callable[[Tensor], Tensor]) -> ObservationRecord:
        """Return the same record of larger states.

        Args:
            part: Takes the states that the operators are made for out of larger ones.
        """

        def of_part(operator: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            return lambda x: operator(part(x))

        made = [_with(e, of_part(e.observation.operator), e.observation.noise) for e in self.entries]
        return _of(made, self.level)

    def _parts(self, states: Tensor) -> list[Tensor]:
        """What each entry sees of trajectories, without noise."""
        states = as_tensor(states, "states")
        times = self.times
        if states.ndim < 3 or states.shape[1] != len(times):
            raise ValueError(
                f"`states` must have shape (batch, {len(times)}, *state), one for each time of the record, got "
                f"{tuple(states.shape)}; give the states at record.times."
            )
        at = {t: i for i, t in enumerate(times)}
        parts = []
        for entry in self.entries:
            seen = [entry.observation.operator(states[:, at[t]]) for t in entry.times]
            parts.append(seen[0] if len(seen) == 1 else torch.stack(seen).mean(0))
        return parts

    def _shown(self, i: int, like: Tensor) -> Tensor:
        """What an entry sees of one state, or one line that says which fails."""
        return shown(self.entries[i].observation.operator, like, f"`operator` of entry {i}")


def as_record(observed: ObservationRecord | Observation, horizon: float) -> ObservationRecord:
    """Return a record; an observation alone is one of the final state.

    Args:
        observed: A record, or one observation.
        horizon: Time T of the final state.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(observed, ObservationRecord):
        return observed
    check_instance(observed, Observation, "observation", "give Observation(operator, noise) or an ObservationRecord")
    return ObservationRecord((horizon, observed))


def _of(entries: Sequence[Entry], level: Level | None) -> ObservationRecord:
    return ObservationRecord(*((entry.times, entry.observation) for entry in entries), level=level)


def _with(entry: Entry, operator: Callable[[Tensor], Tensor], noise: float) -> Entry:
    """The entry with another observation."""
    return Entry(entry.times, Observation(operator, noise))


def _entry(pair: Any) -> Entry:
    """An entry of a pair, or one line that says what is wrong with it."""
    if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[1], Observation):
        got = f"({', '.join(map(describe, pair))})" if isinstance(pair, tuple) else describe(pair)
        raise ValueError(
            f"`pairs` must be (time, Observation), got {got}; write ObservationRecord((time, observation), ...)."
        )
    times = as_times(pair[0] if isinstance(pair[0], (Tensor, Sequence)) or hasattr(pair[0], "__len__") else [pair[0]])
    if not len(times) or bool((times < 0).any()):
        raise ValueError(f"`times` of an entry must be 0 or later, got {times.tolist()}; processes begin at 0.")
    return Entry(tuple(times.tolist()), pair[1])
