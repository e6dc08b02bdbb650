"""Where the states of a dataset lie, in memory or in files, and how windows of them are read.

Windows of files are read through a pool of blocks: a block is the neighbouring trajectories of one chunk, is read once
as a whole, and makes room for others when it has not been used for longest.  Windows drawn at random from more blocks
than the pool holds would read a block for every window.  So a training draws the blocks at random, as many as the pool
holds, and shuffles their windows (:meth:`Files.parts`).
"""

from __future__ import annotations

__all__ = ["Files", "Memory", "Storage"]

import bisect
import itertools
import math
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from physinv.data.file_format import Header
from physinv.data.hdf5.opening import open_file

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

_ALL = slice(None)
_FEWEST_BLOCKS = 8  # a pool of fewer is no use: windows of such trajectories are read one by one
_PART_WINDOWS = 2**20  # that are shuffled at once, at most
_ABSENT = -(2**62)
_HANDLES = 64  # files that are open at the same time, at most; an eighth of what the system allows where that is less


class Storage(ABC):
    """Where trajectories lie."""

    n: int
    """Number of trajectories."""

    @abstractmethod
    def windows(
        self, trajectory: Int64[Tensor, " b"], start: Int64[Tensor, " b"], length: int
    ) -> Float[Tensor, "b window *state"]:
        """Fetch windows.

        Args:
            trajectory: Numbers of the trajectories.
            start: In each of them the number of the first state.
            length: Number of states of a window.

        Returns:
            States ``(b, window, *state)``.
        """

    def parts(self, starts: int, *, generator: torch.Generator) -> Iterator[Int64[Tensor, " items"]]:
        """Yield the numbers of all windows once, in random order, in parts; by default all at once.

        Args:
            starts: Windows in a trajectory.
            generator: Source of randomness.

        Yields:
            Numbers of windows, counted trajectory after trajectory.
        """
        yield torch.randperm(self.n * starts, generator=generator)

    @abstractmethod
    def read(self, first: int, last: int, times: slice = _ALL) -> Float[Tensor, "n time *state"]:
        """Read neighbouring trajectories.

        Args:
            first: Number of the first.
            last: Number after the last.
            times: Numbers of the stored times.

        Returns:
            States ``(n, time, *state)``.
        """


class Memory(Storage):
    """Hold states in one tensor, of which a batch of windows is one ``index_select``.

    Args:
        states: The states.
    """

    def __init__(self, states: Float[Tensor, "n time *state"]) -> None:
        self.states, self.n = states, len(states)

    def windows(
        self, trajectory: Int64[Tensor, " b"], start: Int64[Tensor, " b"], length: int
    ) -> Float[Tensor, "b window *state"]:
        steps, shape = self.states.shape[1], self.states.shape[2:]
        index = (trajectory * steps + start)[:, None] + torch.arange(length, device=self.states.device)
        flat = self.states.view(self.n * steps, -1)
        return flat.index_select(0, index.flatten()).view(-1, length, *shape)

    def read(self, first: int, last: int, times: slice = _ALL) -> Float[Tensor, "n time *state"]:
        return self.states[first:last, times]


class Files(Storage):
    """Read states from HDF5 files, opened when first read, once per process: handles are neither forked nor pickled.

    Few files are open at a time, and few blocks of trajectories in memory, however many there are.  HDF5's own cache of
    chunks, some MiB for every dataset that is open, is switched off: blocks are read as a whole.

    Args:
        paths: The files.
        headers: Their headers.
        verify: Whether what is read is compared with the checksums of the files.
        pool: Bytes of trajectories that are kept in memory for windows.
    """

    def __init__(
        self, paths: Sequence[Path], headers: Sequence[Header], verify: bool = True, *, pool: int = 2**25
    ) -> None:
        self.paths, self.header, self.verify = list(paths), headers[0], verify
        self.layout_parts, self.steps = self.header.layout.parts(), len(self.header.times)
        self.offsets = [0, *itertools.accumulate(h.n_trajectories for h in headers)]
        self.n = self.offsets[-1]

        # blocks do not go beyond a file, and the last of a file may be shorter
        sizes = [h.trajectories_per_chunk for h in headers]
        begins = [range(a, b, n) for (a, b), n in zip(itertools.pairwise(self.offsets), sizes, strict=True)]
        self._edges = torch.tensor([*itertools.chain(*begins), self.n])
        self._rows = max(sizes)
        size = 4 * self._rows * self.steps * math.prod(self.header.shape)
        self._slots = min(len(self._edges) - 1, pool // size)
        self._pooled = self._slots >= min(_FEWEST_BLOCKS, len(self._edges) - 1)
        self._readers: dict[int, _Reader] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}}

    def windows(
        self, trajectory: Int64[Tensor, " b"], start: Int64[Tensor, " b"], length: int
    ) -> Float[Tensor, "b window *state"]:
        reader = self._reader
        with reader.lock:
            if not self._pooled:
                return self._one_by_one(trajectory, start, length)
            block = torch.bucketize(trajectory, self._edges[1:], right=True)
            row = reader.pool.rows(block, trajectory)
            if not len(row) or int(row.min()) >= 0:
                return reader.pool.memory.windows(row, start, length)

            # first what is here, then as many blocks at a time as the pool holds, in the order of the files
            here, out = row >= 0, torch.empty(len(trajectory), length, *self.header.shape)
            out[here] = reader.pool.memory.windows(row[here], start[here], length)
            for missing in torch.split(torch.unique(block[~here]), self._slots):
                for number in missing.tolist():
                    first, last = self._edges[number : number + 2].tolist()
                    reader.pool.load(number, first, last, self._fill)
                chosen = ~here & (block >= missing[0]) & (block <= missing[-1])
                row = reader.pool.rows(block[chosen], trajectory[chosen])
                out[chosen] = reader.pool.memory.windows(row, start[chosen], length)
            return out

    def parts(self, starts: int, *, generator: torch.Generator) -> Iterator[Int64[Tensor, " items"]]:
        """Yield the numbers of all windows once, in random order, a part at a time.

        A part is the windows, shuffled, of as many blocks as the pool holds, drawn at random from all files.  Every
        window comes once, at a place of which each is as likely as any other.  What differs from a shuffle of all is
        that windows of the same block come within the same part: of no account where trajectories are independent, and
        where they are pieces of one recording, a part still takes them from a hundred places.  Where the pool holds all
        blocks, there is one part, in the order of :meth:`Memory.parts`.

        Args:
            starts: Windows in a trajectory.
            generator: Source of randomness.

        Yields:
            Numbers of windows, counted trajectory after trajectory.
        """
        if not self._pooled or self._slots == len(self._edges) - 1:
            yield torch.randperm(self.n * starts, generator=generator)
            return
        most = max(1, min(self._slots, _PART_WINDOWS // (self._rows * starts)))
        blocks = torch.randperm(len(self._edges) - 1, generator=generator)
        for part in torch.split(blocks, most):
            edges = zip(self._edges[part].tolist(), self._edges[part + 1].tolist(), strict=True)
            items = torch.cat([torch.arange(a * starts, b * starts) for a, b in edges])
            yield items[torch.randperm(len(items), generator=generator)]

    def read(self, first: int, last: int, times: slice = _ALL) -> Float[Tensor, "n time *state"]:
        out = torch.empty(max(last - first, 0), len(range(self.steps)[times]), *self.header.shape)
        with self._reader.lock:
            self._fill(out.numpy(), first, times)
        return out

    @property
    def _reader(self) -> _Reader:
        """What this process has open."""
        if (process := os.getpid()) not in self._readers:
            shape = (self._slots, self._rows, self.steps, *self.header.shape)
            self._readers[process] = _Reader(len(self._edges) - 1, shape if self._pooled else (0, *shape[1:]))
        return self._readers[process]

    def _fill(self, array: NDArray[Any], first: int, times: slice) -> None:
        """Read the trajectories from number ``first`` on into ``array``, as many as it holds."""
        end, at = first + len(array), first
        while at < end:
            shard = bisect.bisect_right(self.offsets, at) - 1
            low, upto = self.offsets[shard], min(end, self.offsets[shard + 1])
            for place, moves, data in self._fields(shard):
                found = data[at - low : upto - low, times] if moves else data[at - low : upto - low][:, None]
                array[(slice(at - first, upto - first), _ALL, *place)] = found
            at = upto

    def _one_by_one(self, trajectory: Tensor, start: Tensor, length: int) -> Tensor:
        """Windows of large trajectories: no more is read than they hold."""
        out = torch.empty(len(trajectory), length, *self.header.shape)
        first, begin = trajectory.tolist(), start.tolist()
        for k in torch.argsort(trajectory * self.steps + start).tolist():  # neighbours on disk follow each other
            self._fill(out.numpy()[k : k + 1], first[k], slice(begin[k], begin[k] + length))
        return out

    def _fields(self, shard: int) -> list[_Field]:
        """Each dataset of a file, with its place in a state and whether it changes in time."""
        opened = self._reader.opened
        if shard not in opened:
            while len(opened) >= _most_handles():
                opened.popitem(last=False)[1][0].close()
            file, static = open_file(self.paths[shard], verify=self.verify, known=True), self.header.layout.static
            fields = file["t0_fields"]
            opened[shard] = file, [_Field(p, n not in static, _uncached(fields, n)) for n, p in self.layout_parts]
        opened.move_to_end(shard)
        return opened[shard][1]


class _Field(NamedTuple):
    """A dataset of a file, its place in a state, and whether it changes in time."""

    place: tuple[int | slice, ...]
    moves: bool
    data: h5py.Dataset


class _Reader:
    """What one process has open of a dataset: files, the least recently used first, and a pool of blocks."""

    def __init__(self, blocks: int, shape: tuple[int, ...]) -> None:
        self.lock = threading.Lock()
        self.opened: OrderedDict[int, tuple[h5py.File, list[_Field]]] = OrderedDict()
        self.pool = _Pool(blocks, shape)
        # HDF5 reads through Python here, which must not have gone when files are closed.
        weakref.finalize(self, _close, self.opened)


class _Pool:
    """Blocks of trajectories in memory, of which the least recently used make room for others.

    Args:
        blocks: Number of blocks that there are.
        shape: Number of blocks that find room, trajectories in a block, times, and shape of a state.
    """

    def __init__(self, blocks: int, shape: tuple[int, ...]) -> None:
        self.memory, self._size = Memory(torch.empty(shape[0] * shape[1], *shape[2:])), shape[1]
        self._shift = torch.full((blocks,), _ABSENT)  # row of a trajectory minus its number, for each block
        self._used = torch.zeros(blocks, dtype=torch.int64)  # the last call that used each block
        self._held = torch.full((shape[0],), -1)  # the block in each place
        self._calls = 0

    def rows(self, block: Int64[Tensor, " b"], trajectory: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """Rows of the memory that trajectories are in, negative for those that are not here."""
        self._calls += 1
        self._used.index_fill_(0, block, self._calls)
        return trajectory + self._shift.index_select(0, block)

    def load(self, block: int, first: int, last: int, fill: Callable[[NDArray[Any], int, slice], None]) -> None:
        """Take in a block that is not here, the trajectories from ``first`` to ``last``."""
        self._calls += 1
        last_used = torch.where(self._held < 0, -1, self._used[self._held])
        place = int(last_used.argmin())
        if (old := int(self._held[place])) >= 0:
            self._shift[old] = _ABSENT
            self._held[place] = -1
        row = place * self._size
        fill(self.memory.states[row : row + last - first].numpy(), first, _ALL)
        self._held[place], self._shift[block], self._used[block] = block, row - first, self._calls


def _close(opened: OrderedDict[int, tuple[h5py.File, list[_Field]]]) -> None:
    while opened:
        opened.popitem()[1][0].close()


def _uncached(group: h5py.Group, name: str) -> h5py.Dataset:
    """A dataset without HDF5's cache of chunks."""
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(0, 0, 1.0)
    return h5py.Dataset(h5py.h5d.open(group.id, name.encode(), access))


def _most_handles() -> int:
    """How many files may be open at the same time."""
    if resource is None:
        return _HANDLES
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _HANDLES if limit == resource.RLIM_INFINITY else max(1, min(_HANDLES, limit // 8))
