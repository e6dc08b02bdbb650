"""Stored trajectories as windows of neighbouring states, streamed from files or held in memory."""

from __future__ import annotations

__all__ = ["TrajectoryDataset"]

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import Dataset

from physinv.config.devices import as_device
from physinv.config.inputs import Numbers, Times, as_paths, check_count, check_generator, describe
from physinv.config.outputs.replace import settle_above
from physinv.data.file_format import Header, read_header
from physinv.data.hdf5.finding import check_origin, find_files
from physinv.data.process import check_config_times
from physinv.data.storage import Files, Memory
from physinv.processes.layout import StateLayout

if TYPE_CHECKING:
    import xarray as xr

BLOCK_BYTES = 2**24
"""Bytes of states that are read at once where all data are read."""

_PER_FILE = ("shard",)  # the only keys of config_json in which the files of a dataset may differ


class TrajectoryDataset(Dataset[tuple[Tensor, Tensor]]):
    """Serve all windows of all stored trajectories, one trajectory after the other.

    An item is ``(states (window, *state), times (window,))``, float32.  :meth:`__getitems__` fetches a batch at once;
    with a DataLoader pass ``collate_fn=TrajectoryDataset.collate``.  Streaming is safe in worker processes (fork and
    spawn); :meth:`load` gives the same dataset in memory, where no workers are needed.

    Args:
        source: One file, several files, or a folder of ``*.hdf5``, such as ``datasets/heat/data/train``.
        window: Number of neighbouring states in an item, from 2 to all states of a trajectory.
        verify: Whether what is read is compared with the checksums of the files; those of earlier versions have none.

    Attributes:
        path: The first of what ``source`` names.
        paths: All files.
        times: Stored times ``t_0 < ... < t_M``, shape ``(time,)``, float64.
        window: Number of states in an item.

    Raises:
        FileNotFoundError: If there is nothing to read.
        BlockingIOError: If a file is being written.
        ValueError: If files are damaged, foreign, or do not belong together, or ``window`` does not fit.
    """

    def __init__(self, source: Path | str | Sequence[Path | str], window: int = 2, *, verify: bool = True) -> None:
        self.path = next(iter(as_paths(source, "source", "give the folder of a split")), Path())
        settle_above(self.path)
        self.paths = find_files(source)
        headers = [read_header(path, verify=verify) for path in self.paths]
        check_origin(self.paths, [header.config for header in headers])
        _check_agreement(self.paths, headers)
        self._header = headers[0]
        check_config_times(self.paths[0], self._header.times, self._header.config)
        self._states: Memory | Files = Files(self.paths, headers, verify)
        self.times: Float[Tensor, " time"] = torch.tensor(self._header.times, dtype=torch.float64)
        self._times32 = self.times.float()
        self.window = self._checked(window)

    @classmethod
    def from_arrays(
        cls,
        x: Numbers,
        *,
        times: Times,
        coordinates: Mapping[str, Numbers] | None = None,
        names: str | Sequence[str] | None = None,
        units: str | Mapping[str, str] | None = None,
        boundary: str | Mapping[str, str] | None = None,
    ) -> TrajectoryDataset:
        """Make a dataset of arrays, in memory.

        Args:
            x: States: ``(sample, time, component)`` for vectors; for fields ``(sample, time, channel, *space)``, or
                without the axis of channels where there is one name.
            times: Times of the states, shape ``(time,)``.
            coordinates: For fields the positions along each axis of space, by its name, in the order of the axes.
            names: Name of the vector or of its components, or names of the channels.
            units: Unit of all channels, or of some by name.
            boundary: What lies at the ends of the axes: ``"periodic"``, ``"wall"`` or ``"open"``, or one for each.

        Returns:
            The trajectories, in memory; their physics is to be learned.

        Example:
            >>> x = torch.zeros(10, 5, 8)
            >>> data = TrajectoryDataset.from_arrays(x, times=range(5), coordinates={"x": range(8)}, names="height")
            >>> data.n_trajectories, data.shape, data.layout.names
            (10, (1, 8), ('height',))
        """
        from physinv.data.imports.arrays import from_arrays

        return from_arrays(x, times=times, coordinates=coordinates, names=names, units=units, boundary=boundary)

    @classmethod
    def from_xarray(
        cls,
        data: xr.Dataset | xr.DataArray,
        variable: str | Sequence[str] | None = None,
        *,
        boundary: str | Mapping[str, str] | None = None,
    ) -> TrajectoryDataset:
        """Make a dataset of xarray's, in memory.

        Args:
            data: States along ``time``, and ``sample`` if there are many; other axes are space, or ``component``.
            variable: Names of the variables that make up a state; None takes those of the most axes.
            boundary: What lies at the ends of the axes.

        Returns:
            The trajectories, in memory; points that are NaN always are a mask.
        """
        from physinv.data.imports.arrays import from_xarray

        return from_xarray(data, variable, boundary=boundary)

    def to_xarray(self) -> xr.Dataset:
        """Return all trajectories with names, units and coordinates, for xarray's tools and ``to_netcdf``."""
        from physinv.data.imports.arrays import to_xarray

        return to_xarray(self)

    @classmethod
    def of_states(cls, states: Float[Tensor, "n time *state"], header: Header, path: Path) -> TrajectoryDataset:
        """Hold states in memory under a header that describes them.

        Args:
            states: The states.
            header: Their layout, times and configuration.
            path: Where they come from, for messages.

        Returns:
            The dataset.
        """
        other = cls.__new__(cls)
        other.path, other.paths, other._header, other._states = path, [path], header, Memory(states)
        other.times = torch.tensor(header.times, dtype=torch.float64)
        other._times32, other.window = other.times.float(), 2
        return other

    @property
    def name(self) -> str:
        """Name of the dataset, which is that of its simulator (of its class for ``module:Class``)."""
        return self._header.name

    @property
    def layout(self) -> StateLayout:
        """Names, axes and positions of the state."""
        return self._header.layout

    @property
    def config(self) -> dict[str, Any]:
        """Configuration with which the files were made."""
        return _common(self._header)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one state."""
        return self._header.shape

    @property
    def n_trajectories(self) -> int:
        """Number of trajectories in all files."""
        return self._states.n

    @property
    def nbytes(self) -> int:
        """Bytes that all states take in memory."""
        return 4 * self.n_trajectories * len(self.times) * math.prod(self.shape)

    @property
    def in_memory(self) -> bool:
        """Whether states are held in memory (after :meth:`load`) rather than streamed."""
        return isinstance(self._states, Memory)

    @property
    def device(self) -> torch.device:
        """Device on which items are made."""
        return self._times32.device

    def __len__(self) -> int:
        return self.n_trajectories * self._starts

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "window *state"], Float[Tensor, " window"]]:
        if not isinstance(index, Integral):
            raise TypeError(f"`index` must be the number of a window, got {describe(index)}; see `states` for many.")
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index` must be between {-len(self)} and {len(self) - 1}, got {index}.")
        states, times = self.__getitems__([index % len(self)])
        return states[0], times[0]

    def __getitems__(
        self, indices: Sequence[int] | Tensor
    ) -> tuple[Float[Tensor, "batch window *state"], Float[Tensor, "batch window"]]:
        """Fetch a batch of windows.

        Args:
            indices: Numbers of items; with ``starts`` windows per trajectory, item ``i`` begins at state
                ``i % starts`` of trajectory ``i // starts``.

        Returns:
            States ``(batch, window, *state)`` and their times ``(batch, window)``, float32, on :attr:`device`.

        Raises:
            IndexError: If a number is negative or too large.
        """
        index = torch.as_tensor(indices, dtype=torch.int64)
        low, high = (int(index.min()), int(index.max())) if len(index) else (0, 0)
        if low < 0 or high >= len(self):
            raise IndexError(f"`indices` must be between 0 and {len(self) - 1}, got {low} to {high}.")
        index = index.to(self.device)
        trajectory, start = index // self._starts, index % self._starts
        offsets = torch.arange(self.window, device=self.device)
        return self._states.windows(trajectory, start, self.window), self._times32[start[:, None] + offsets]

    @staticmethod
    def collate(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return ``batch`` as it is, for a DataLoader: :meth:`__getitems__` has stacked the items already.

        Args:
            batch: States and times, stacked.
        """
        return batch

    def with_window(self, window: int) -> TrajectoryDataset:
        """Return the same data with another window length; memory and open files are shared.

        Args:
            window: Number of states in an item.

        Raises:
            ValueError: If it is less than 2, or more than a trajectory has.
        """
        other = copy.copy(self)
        other.window = self._checked(window)
        return other

    def shuffled(self, *, generator: torch.Generator) -> Iterator[Int64[Tensor, " items"]]:
        """Yield the numbers of all items once, in random order.

        In memory they come all at once. Streamed, they come in parts, each the shuffled windows of chunks that are
        drawn at random from all files, so that every chunk is read once (:meth:`physinv.data.storage.Files.parts`).

        Args:
            generator: Source of randomness.

        Yields:
            Numbers of items, for :meth:`__getitems__`.
        """
        check_generator(generator)
        yield from self._states.parts(self._starts, generator=generator)

    def ends(self) -> TrajectoryDataset:
        """Return the first and last states alone, in memory, as trajectories of two times."""
        other = copy.copy(self)
        other._states = Memory(torch.stack([self.states(0), self.states(-1)], dim=1))
        other.times, other._times32, other.window = self.times[[0, -1]], self._times32[[0, -1]], 2
        return other

    def with_states(
        self, states: Float[Tensor, "n time *state"], layout: StateLayout | None = None
    ) -> TrajectoryDataset:
        """Return a dataset of other states in memory, at the same times.

        Args:
            states: The states.
            layout: Their layout; None: the same.
        """
        other = copy.copy(self)
        if layout is not None:
            other._header = replace(self._header, layout=layout, shape=tuple(layout.shape))
        other._states = Memory(states)
        return other

    def load(self, device: torch.device | str | None = None) -> TrajectoryDataset:
        """Return the same data in memory.

        Args:
            device: Device whose memory takes the states, and on which items are made; None is the CPU.

        Raises:
            ValueError: If a state is not finite.
        """
        target = as_device(device)
        states = torch.empty(self.n_trajectories, len(self.times), *self.shape, device=target)
        at = 0
        for block in self.blocks():
            states[at : at + len(block)] = self._finite(block)
            at += len(block)
        other = copy.copy(self)
        other._states, other._times32 = Memory(states), self._times32.to(target)
        return other

    def states(self, time_index: int, limit: int | None = None, *, first: int = 0) -> Float[Tensor, "n *state"]:
        """Read the states at one time.

        Args:
            time_index: Number of the time, 0 for initial, -1 for final states.
            limit: Number of trajectories, from the first; None for all.
            first: Number of the first trajectory.

        Returns:
            One state of each trajectory, shape ``(n, *state)``.

        Raises:
            ValueError: If there is no such time or trajectory, ``limit`` is less than 1, or a state is not finite.
        """
        steps, n = len(self.times), self.n_trajectories
        if not isinstance(time_index, Integral):
            raise ValueError(
                f"`time_index` must be the number of a time, 0 to {steps - 1}, got {describe(time_index)}; "
                "`times` lists the times."
            )
        if not -steps <= time_index < steps:
            raise ValueError(f"`time_index` must be between {-steps} and {steps - 1}, got {time_index}.")
        if limit is not None and check_count(limit, "limit", -n) < 1:
            raise ValueError(f"`limit` must be at least 1, got {limit}; leave it out to get all {n} trajectories.")
        if check_count(first, "first", 0) >= n:
            raise ValueError(f"`first` must be below {n}, the number of trajectories, got {first}.")
        at = time_index % steps
        last = n if limit is None else min(first + limit, n)
        return self._finite(self._states.read(first, last, slice(at, at + 1))[:, 0])

    def trajectories(self, which: slice = slice(None)) -> Float[Tensor, "n time *state"]:
        """Read whole trajectories.

        Args:
            which: Numbers of the trajectories, a slice without a step, such as ``slice(0, 10)``.

        Returns:
            All states, shape ``(n, time, *state)``, as they are stored.

        Raises:
            ValueError: If it is no slice, or has a step.
        """
        if not isinstance(which, slice):
            raise ValueError(f"`which` must be a slice, such as slice(0, 10), got {describe(which)}.")
        first, last, step = which.indices(self.n_trajectories)
        if step != 1:
            raise ValueError(f"`which` must be a slice without a step, got step {step}; stride the result instead.")
        return self._states.read(first, max(first, last))

    def blocks(self, limit: int | None = None) -> Iterator[Float[Tensor, "n time *state"]]:
        """Read whole trajectories in order, about :data:`BLOCK_BYTES` at a time.

        Args:
            limit: Number of trajectories, from the first; None for all.

        Yields:
            States of neighbouring trajectories, shape ``(n, time, *state)``.
        """
        size = max(1, BLOCK_BYTES * self.n_trajectories // self.nbytes)
        count = self.n_trajectories if limit is None else min(limit, self.n_trajectories)
        for first in range(0, count, size):
            yield self._states.read(first, min(first + size, count))

    def _finite(self, states: Tensor) -> Tensor:
        if not bool(states.isfinite().all()):
            raise ValueError(f"{self.path} holds states that are not finite; generate it again (see `physinv info`).")
        return states

    @property
    def _starts(self) -> int:
        return len(self.times) - self.window + 1

    def _checked(self, window: int) -> int:
        most = len(self.times)
        if not 2 <= check_count(window, "window", -most) <= most:
            where = f"the {most} states per trajectory of {self.paths[0].name}"
            raise ValueError(f"`window` must be between 2 and {where}, got {window}.")
        return window


def _check_agreement(paths: Sequence[Path], headers: Sequence[Header]) -> None:
    told = ({"layout": h.layout, "times": h.times, "parameters": h.parameters, "config": _common(h)} for h in headers)
    first, *others = told
    for path, other in zip(paths[1:], others, strict=True):
        for key, value in other.items():
            if value != first[key]:
                raise ValueError(f"{path} and {paths[0]} differ in `{key}`; give files of one split of one dataset.")


def _common(header: Header) -> dict[str, Any]:
    return {k: v for k, v in header.config.items() if k not in _PER_FILE}
