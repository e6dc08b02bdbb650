"""Where the states of a dataset are: streamed from files, or held in memory (of the CPU or a device)."""

from __future__ import annotations

__all__ = ["Files", "Memory", "Storage"]

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physinv.data.header import Header, open_file

Place = tuple[int | slice, ...]


class Storage(ABC):
    """``n`` trajectories of ``steps`` float32 states of one ``shape``, numbered through all files."""

    n: int
    steps: int
    shape: tuple[int, ...]
    device: torch.device

    @abstractmethod
    def windows(
        self, trajectory: Int64[Tensor, " b"], start: Int64[Tensor, " b"], length: int
    ) -> Float[Tensor, "b window *state"]:
        """``length`` states of each ``trajectory`` from ``start`` on; the index tensors are on :attr:`device`."""

    @abstractmethod
    def read(self, first: int, last: int) -> Float[Tensor, "n time *state"]:
        """All states of trajectories ``first`` to ``last`` (excluded)."""

    @abstractmethod
    def snapshot(self, time: int, limit: int) -> Float[Tensor, "n *state"]:
        """State number ``time`` of the first ``limit`` trajectories."""


class Memory(Storage):
    """One tensor ``(n, steps, *shape)``; a batch of windows is one ``index_select``."""

    def __init__(self, states: Float[Tensor, "n time *state"]) -> None:
        self.states = states
        self.n, self.steps, self.shape = len(states), states.shape[1], tuple(states.shape[2:])
        self.device = states.device

    def windows(
        self, trajectory: Int64[Tensor, " b"], start: Int64[Tensor, " b"], length: int
    ) -> Float[Tensor, "b window *state"]:
        index = (trajectory * self.steps + start)[:, None] + torch.arange(length, device=self.device)
        flat = self.states.view(self.n * self.steps, -1)
        return flat.index_select(0, index.flatten()).view(-1, length, *self.shape)

    def read(self, first: int, last: int) -> Float[Tensor, "n time *state"]:
        return self.states[first:last]

    def snapshot(self, time: int, limit: int) -> Float[Tensor, "n *state"]:
        return self.states[:limit, time]


class Files(Storage):
    """HDF5 files, opened when first read, once per process: handles are neither inherited by a fork nor pickled."""

    def __init__(self, paths: Sequence[Path], headers: Sequence[Header]) -> None:
        self.paths, first = list(paths), headers[0]
        self.parts, self.static = first.layout.parts(), first.layout.static
        self.steps, self.shape = len(first.times), first.shape
        self.offsets = [0, *itertools.accumulate(h.n_trajectories for h in headers)]
        self.n = self.offsets[-1]
        self.device = torch.device("cpu")
        self._handles: dict[tuple[int, int], list[tuple[Place, bool, h5py.Dataset]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}

    def windows(
        self, trajectory: Int64[Tensor, " b"], start: Int64[Tensor, " b"], length: int
    ) -> Float[Tensor, "b window *state"]:
        out = torch.empty(len(trajectory), length, *self.shape)
        order = torch.argsort(trajectory * self.steps + start).tolist()  # neighbours on disk follow each other
        first, begin, array = trajectory.tolist(), start.tolist(), out.numpy()
        shard = 0
        for k in order:
            while first[k] >= self.offsets[shard + 1]:
                shard += 1
            row, span = first[k] - self.offsets[shard], slice(begin[k], begin[k] + length)
            for place, moves, data in self._fields(shard):
                array[(k, slice(None), *place)] = data[row, span] if moves else data[row]
        return out

    def read(self, first: int, last: int) -> Float[Tensor, "n time *state"]:
        out = torch.empty(max(last - first, 0), self.steps, *self.shape)
        array = out.numpy()
        for shard, rows, at in self._pieces(first, last):
            for place, moves, data in self._fields(shard):
                array[(at, slice(None), *place)] = data[rows] if moves else data[rows][:, None]
        return out

    def snapshot(self, time: int, limit: int) -> Float[Tensor, "n *state"]:
        out = torch.empty(limit, *self.shape)
        array = out.numpy()
        for shard, rows, at in self._pieces(0, limit):
            for place, moves, data in self._fields(shard):
                array[(at, *place)] = data[rows, time] if moves else data[rows]
        return out

    def _pieces(self, first: int, last: int) -> Iterator[tuple[int, slice, slice]]:
        """The shards that hold trajectories ``first`` to ``last``: (shard, rows in it, rows in the result)."""
        for shard, (a, b) in enumerate(itertools.pairwise(self.offsets)):
            low, high = max(first, a), min(last, b)
            if low < high:
                yield shard, slice(low - a, high - a), slice(low - first, high - first)

    def _fields(self, shard: int) -> list[tuple[Place, bool, h5py.Dataset]]:
        """Each dataset of a file, with its place in a state and whether it changes in time."""
        key = (os.getpid(), shard)
        if key not in self._handles:
            file = open_file(self.paths[shard])
            fields = file["t0_fields"]
            self._handles[key] = [(place, name not in self.static, fields[name]) for name, place in self.parts]
        return self._handles[key]
