"""Where the states of a dataset lie, in memory or in files, and how windows of them are read."""

from __future__ import annotations

__all__ = ["Files", "Memory"]

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from physinv.data.file_format import Header
from physinv.data.hdf5.opening import open_file

_ALL = slice(None)


class Memory:
    """Hold states in one tensor, of which a batch of windows is one ``index_select``.

    Args:
        states: The states.
    """

    def __init__(self, states: Float[Tensor, "n time *state"]) -> None:
        self.states, self.n = states, len(states)

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
        steps, shape = self.states.shape[1], self.states.shape[2:]
        index = (trajectory * steps + start)[:, None] + torch.arange(length, device=self.states.device)
        flat = self.states.view(self.n * steps, -1)
        return flat.index_select(0, index.flatten()).view(-1, length, *shape)

    def read(self, first: int, last: int, times: slice = _ALL) -> Float[Tensor, "n time *state"]:
        """Read neighbouring trajectories.

        Args:
            first: Number of the first.
            last: Number after the last.
            times: Numbers of the stored times.

        Returns:
            States ``(n, time, *state)``.
        """
        return self.states[first:last, times]


class Files:
    """Read states from HDF5 files, opened when first read, once per process: handles are neither forked nor pickled.

    Args:
        paths: The files.
        headers: Their headers.
        verify: Whether what is read is compared with the checksums of the files.
    """

    def __init__(self, paths: Sequence[Path], headers: Sequence[Header], verify: bool = True) -> None:
        self.paths, self.header, self.verify = list(paths), headers[0], verify
        self.parts, self.steps = self.header.layout.parts(), len(self.header.times)
        self.offsets = [0, *itertools.accumulate(h.n_trajectories for h in headers)]
        self.n = self.offsets[-1]
        self._handles: dict[tuple[int, int], list[tuple[tuple[int | slice, ...], bool, h5py.Dataset]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}

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
        out = torch.empty(len(trajectory), length, *self.header.shape)
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

    def read(self, first: int, last: int, times: slice = _ALL) -> Float[Tensor, "n time *state"]:
        """Read neighbouring trajectories.

        Args:
            first: Number of the first.
            last: Number after the last.
            times: Numbers of the stored times.

        Returns:
            States ``(n, time, *state)``.
        """
        out = torch.empty(max(last - first, 0), len(range(self.steps)[times]), *self.header.shape)
        array = out.numpy()
        for shard, (a, b) in enumerate(itertools.pairwise(self.offsets)):
            low, high = max(first, a), min(last, b)
            if low < high:
                rows, at = slice(low - a, high - a), slice(low - first, high - first)
                for place, moves, data in self._fields(shard):
                    array[(at, slice(None), *place)] = data[rows, times] if moves else data[rows][:, None]
        return out

    def _fields(self, shard: int) -> list[tuple[tuple[int | slice, ...], bool, h5py.Dataset]]:
        """Each dataset of a file, with its place in a state and whether it changes in time."""
        key = (os.getpid(), shard)
        if key not in self._handles:
            file = open_file(self.paths[shard], verify=self.verify, known=True)
            fields, static = file["t0_fields"], self.header.layout.static
            self._handles[key] = [(place, name not in static, fields[name]) for name, place in self.parts]
        return self._handles[key]
