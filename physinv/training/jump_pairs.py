"""Pairs of states at the ends of jumps, of trajectories that are simulated anew while training goes on."""

from __future__ import annotations

__all__ = ["ENOUGH", "Fresh", "JumpPairs", "choose_fresh"]

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physinv.config.seeds import Seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.broadcast import default_batch
from physinv.equations.sde import SDE
from physinv.models.jumps.base import JumpKernel
from physinv.processes.simulator import Simulator
from physinv.training.final_estimate import Observer
from physinv.training.objectives.base import Batch

ENOUGH = 0.25
"""Share of the trajectories of a round: with so many stored ones, these are the first round."""

Fresh = Literal["off", "noise", "states"]
"""What is new in every round of trajectories: nothing, the noise from stored initial states, or these as well."""

_Pool = tuple[Tensor, Tensor]  # ends of all jumps of trajectories, and what the kernel prepares at the later ones
_EMPTY = torch.empty(0), torch.empty(0)

_NUMBERS, _ROWS = 2**19, 4096  # of the states of a round at one time, and of trajectories in a round
_CHEAP = 2**14  # numbers up to which a solver step takes about as long as for one
_UPDATES, _TOGETHER = 32, 2**20  # updates whose batches are drawn at once, and numbers in the states of these
_LEAST = 200  # updates between two rounds
_WORTH, _SMALL = 8, 4  # most updates that a solver step of a round has to be worth, and numbers in states worth one
_PART, _REPLACED = 2**16, 4  # fewest numbers of a part of a round at one time, and most parts
_SEVERAL = 4  # times the pairs of validation: states that these are drawn from
_PIECES = 16  # of the trajectories whose images are made at once


@dataclass(frozen=True)
class JumpPairs:
    """Make batches of pairs ``(x_s, x_t)`` at the ends of jumps.

    Trajectories come in rounds.  A round is simulated anew, or read from the data, and its later states are prepared by
    the kernel once.  The first round is read in any case where the data are not few: a training that is short spends no
    time on simulating.  Rounds of fields have parts, of which the oldest one is replaced at a time: simulating
    them is dear, and networks do not learn them by heart as soon.  Updates draw trajectories and jumps of the
    round at random, those of small states for 32 updates at once.  What an update sees depends on the seed and its
    number alone.

    Args:
        kernel: The jump kernel, which names the jumps and prepares the later states.
        sde: The physics.
        train: Trajectories to train on.
        valid: Trajectories to validate on.
        fresh: What is new in every round; see :func:`choose_fresh` for what suits the physics.
        rows: Most trajectories in a round; None: 4096, fewer of large states, up to 16384 of very small ones.
        observed: What final states are replaced by where only a part of them is observed; those of ``train`` and
            ``valid`` are replaced already.
    """

    kernel: JumpKernel
    sde: SDE
    train: TrajectoryDataset
    valid: TrajectoryDataset
    fresh: Fresh = "off"
    rows: int | None = None
    observed: Observer | None = None

    @property
    def most(self) -> int:
        """Most trajectories in a round: their states at one time hold about 2^19 numbers, 256 to 4096 states.

        More, of one to three numbers each, are simulated in hardly more time.
        """
        numbers = math.prod(self.train.shape)
        return self.rows or min(max(_NUMBERS // numbers, 256), max(_ROWS, _CHEAP // numbers))

    @property
    def parts(self) -> int:
        """Number of parts of a round, of which one is replaced at a time: up to 4 of fields, which are dear.

        Networks of vectors learn a round by heart within a few hundred updates: all of it is replaced.
        """
        if self.fresh == "off" or not self.train.layout.space:
            return 1
        return min(max(self.most * math.prod(self.train.shape) // _PART, 1), _REPLACED)

    @property
    def every(self) -> int:
        """Number of updates after which a part is replaced: simulating takes a small share of the time.

        A solver step of few numbers takes less time than an update, and networks of vectors learn a round by heart
        within a few hundred updates, one of more trajectories within so many more.
        """
        steps = sum(self.sde.substeps_in(interval) for interval in self.train.times.diff().tolist())
        worth = min(max(math.prod(self.train.shape) // _SMALL, 1), _WORTH)
        return max(_LEAST, worth * steps) * max(self.most, _ROWS) // _ROWS

    def training(self, *, size: int, seeds: Seeds, start: int) -> Iterator[Batch]:
        """Yield the batches of all updates from number ``start`` on, without end.

        Args:
            size: Pairs in a batch.
            seeds: Streams ``fresh`` (per part of a round), ``order`` (of updates that are drawn together) and ``noise``
                (per update) are below these.
            start: Number of the first update.

        Yields:
            One batch for each update.
        """
        every, held, known, pool, drawn = self.every, -1, dict[int, _Pool](), _EMPTY, dict[int, Batch]()
        several = min(max(1, _TOGETHER // (size * math.prod(self.train.shape))), _UPDATES)
        for update in itertools.count(start):
            if update // every != held:
                held = update // every
                known = self._replaced(known, range(held, held + self.parts), seeds)
                pool, drawn = _joined(known), {}
            if update not in drawn:
                first = update - (update - held * every) % several
                drawn = dict(enumerate(self._batches(pool, size, seeds, first, several), first))
            yield drawn[update]

    def validation(self, *, count: int, size: int, seeds: Seeds) -> list[Batch]:
        """Return about ``count`` pairs of the validation trajectories, in equal batches, two at least.

        Args:
            count: Number of pairs.
            size: Pairs in a batch, at least: without gradients larger batches take less time.
            seeds: Streams ``windows`` are below these.
        """
        size, rows = max(size, min(self.most, count // 2)), slice(0, min(self.most, count))
        images = seeds.child("images").generator()
        pool = self._pool(_imaged(self.sde, self.valid.trajectories(rows), min(self.most, _SEVERAL * count), images))
        return [self._batches(pool, size, seeds.child("windows"), i, 1)[0] for i in range(max(2, count // size))]

    def _replaced(self, known: dict[int, _Pool], wanted: range, seeds: Seeds) -> dict[int, _Pool]:
        """The parts of a round with these numbers, of which only those that are not known yet are made."""
        return {i: known[i] if i in known else self._pool(self._part(i, seeds.child("fresh", i))) for i in wanted}

    @torch.no_grad()
    def _part(self, number: int, stream: Seeds) -> Float[Tensor, "n time *state"]:
        """The trajectories of a part; those of the first round have the numbers below :attr:`parts`."""
        data, device, most = self.train, self.train.device, max(1, self.most // self.parts)
        size = min(most, math.ceil((n := data.n_trajectories) / self.parts))
        stored = self.fresh == "off" or (number < self.parts and n >= ENOUGH * self.most)
        if stored or not isinstance(self.sde, Simulator):
            first = number * size % max(1, n - size + 1)  # every part is full, or holds its share of all there are
            held = data.trajectories(slice(first, first + size))
            return _imaged(self.sde, held, most, stream.generator())
        generator = stream.generator(device)
        if self.fresh == "states":
            x = self.sde.initial(most, generator=generator, device=device)
        else:
            x = _picked(data, torch.randperm(n, generator=stream.child("rows").generator())[:size])
        images = self.sde.images(x)
        which = torch.randint(len(images), (len(x),), generator=generator, device=device)
        x = torch.stack(images)[which, torch.arange(len(x), device=device)]
        states = self.sde.run(x, data.times, generator=generator)
        finite = states.isfinite()
        if not bool(finite.all()):
            states = states[finite.flatten(1).all(1)]
        if not len(states):
            raise ValueError("all trajectories simulated anew became infinite; raise `steps`, or train with fresh=off.")
        if self.observed is not None:
            states = self.observed.estimated(states, generator=generator)
        return states

    @torch.no_grad()
    def _pool(self, states: Tensor) -> _Pool:
        """The ends of each jump of trajectories, and what the kernel prepares at the later one."""
        parts = torch.split(states, default_batch(states[:, 0]))
        ends = _rows(states.transpose(0, 1), self.kernel.table).movedim(2, 0)
        return ends.contiguous(), torch.cat([self.kernel.prepare_all(part) for part in parts])

    def _batches(self, pool: _Pool, size: int, seeds: Seeds, first: int, several: int) -> list[Batch]:
        """The batches of several updates: trajectories and jumps drawn at random, all at once."""
        ends, prepared = pool
        draws = seeds.child("order", first).generator()
        row, jump = (torch.randint(m, (several, size), generator=draws).to(ends.device) for m in prepared.shape[:2])
        place = row * prepared.shape[1] + jump
        pairs, known = _rows(ends.flatten(0, 1), place), _rows(prepared.flatten(0, 1), place)
        times = _rows(self.train.times.to(pairs)[self.kernel.table], jump)
        noise = [seeds.child("noise", first + i).generator(ends.device) for i in range(several)]
        every = zip(pairs, times, noise, jump, known, strict=True)
        return [Batch(x, t, generator=g, jump=j, prepared=p) for x, t, g, j, p in every]


def _joined(parts: dict[int, _Pool]) -> _Pool:
    """All parts as one; afterwards they are views of it, so that they are in memory once."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    ends, prepared = (torch.cat(every) for every in zip(*parts.values(), strict=True))
    sizes = [len(part) for part, _ in parts.values()]
    parts.update(zip(parts, zip(torch.split(ends, sizes), torch.split(prepared, sizes), strict=True), strict=True))
    return ends, prepared


def choose_fresh(fresh: str, sde: SDE) -> Fresh:
    """Return what a training simulates anew.

    Args:
        fresh: The setting ``fresh``; ``"auto"`` takes new initial states and noise where there is a simulator, and new
            noise alone where it has no initial states.
        sde: The physics; learned physics and recorded data have no simulator.

    Raises:
        ValueError: If something new is asked for and there is no simulator.
    """
    known = isinstance(sde, Simulator) and sde.known
    if fresh == "auto":
        return "off" if not known else "states" if cast(Simulator, sde).startable else "noise"
    if fresh != "off" and not known:
        raise ValueError(f"`fresh` = {fresh} needs a simulator, recorded data have none; take fresh=off.")
    if fresh == "states" and not cast(Simulator, sde).startable:
        raise ValueError("`fresh` = states needs initial states, recorded data have none but their own; take noise.")
    return cast(Fresh, fresh)


def _rows(values: Float[Tensor, "n *any"] | Int64[Tensor, "n *any"], numbers: Int64[Tensor, "*rows"]) -> Tensor:
    """``values[numbers]``, in a fraction of the time."""
    return values.index_select(0, numbers.flatten()).reshape(*numbers.shape, *values.shape[1:])


def _picked(data: TrajectoryDataset, rows: Tensor) -> Float[Tensor, "n *state"]:
    """Initial states of some trajectories, read as many at a time as there are rows."""
    out = torch.empty((len(rows), *data.shape), device=data.device)
    for first in range(0, data.n_trajectories, len(rows)):
        block = data.states(0, len(rows), first=first)
        inside = (rows >= first) & (rows < first + len(rows))
        out[inside.to(out.device)] = block[(rows[inside] - first).to(block.device)]
    return out


def _imaged(
    sde: SDE, states: Float[Tensor, "n time *state"], most: int, generator: torch.Generator
) -> Float[Tensor, "m time *state"]:
    """As many different images of each trajectory under the symmetries of the process as make up to ``most``, one at
    least, chosen at random."""
    found: list[Tensor] = []
    for part in torch.split(states, max(1, len(states) // _PIECES)):
        images = torch.stack([x.reshape(part.shape) for x in sde.images(part.flatten(0, 1))])
        each, rows = min(max(1, most // len(states)), len(images)), torch.arange(len(part))
        first = torch.randint(len(images), (len(part),), generator=generator)
        found += [images[((first + i) % len(images)).to(part.device), rows.to(part.device)] for i in range(each)]
    return torch.cat(found)
