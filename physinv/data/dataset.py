"""``TrajectoryDataset``: every window of every stored trajectory, streamed from files or held in memory."""

from __future__ import annotations

__all__ = ["TrajectoryDataset"]

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from physinv.data.header import Header, read_header
from physinv.data.storage import Files, Memory, Storage
from physinv.processes.layout import StateLayout

_PER_SHARD = ("shard",)  # the only keys of config_json in which the files of a dataset may differ


class TrajectoryDataset(Dataset[tuple[Tensor, Tensor]]):
    """Items ``(states (window, *state), times (window,))``, float32: all windows, trajectory after trajectory.

    ``source`` is one file, several, or a folder of ``*.hdf5``.  :meth:`__getitems__` fetches a batch at once;
    with a DataLoader pass ``collate_fn=TrajectoryDataset.collate``.  Streaming is safe in worker processes (fork
    and spawn); :meth:`load` gives the same dataset in memory, where no workers are needed.

    ``times (time)``, float64: the stored times.  ``shape``: of one state.  ``config``: how the data were made.
    Raises FileNotFoundError if there is nothing to read, BlockingIOError for a file being written, ValueError for
    files that are damaged, foreign, or do not belong together, and for a ``window`` longer than the trajectories.
    """

    def __init__(self, source: Path | str | Sequence[Path | str], window: int = 2) -> None:
        self.path = Path(source) if isinstance(source, (str, Path)) else Path(source[0]) if source else Path()
        self.paths = _find(source)
        headers = [read_header(path) for path in self.paths]
        _check_agreement(self.paths, headers)
        self._head = headers[0]
        self._storage: Storage = Files(self.paths, headers)
        self.times: Float[Tensor, " time"] = torch.tensor(self._head.times, dtype=torch.float64)
        self._clock = self.times.float()
        self.window = self._checked(window)

    @property
    def name(self) -> str:
        """The name of the dataset, which is that of its simulator (of its class for ``module:Class``)."""
        return self._head.name

    @property
    def layout(self) -> StateLayout:
        """Names, axes and positions of the state."""
        return self._head.layout

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that the files were made with."""
        return {k: v for k, v in self._head.config.items() if k not in _PER_SHARD}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one state."""
        return self._storage.shape

    @property
    def n_trajectories(self) -> int:
        """Trajectories in all files."""
        return self._storage.n

    @property
    def nbytes(self) -> int:
        """Bytes that all states take in memory."""
        return 4 * self._storage.n * self._storage.steps * math.prod(self.shape)

    @property
    def in_memory(self) -> bool:
        """Held in memory (after :meth:`load`) rather than streamed."""
        return isinstance(self._storage, Memory)

    @property
    def device(self) -> torch.device:
        """Where items are made."""
        return self._storage.device

    def __len__(self) -> int:
        return self.n_trajectories * self._starts

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "window *state"], Float[Tensor, " window"]]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index` must be between {-len(self)} and {len(self) - 1}, got {index}.")
        states, times = self.__getitems__([index % len(self)])
        return states[0], times[0]

    def __getitems__(
        self, indices: Sequence[int] | Tensor
    ) -> tuple[Float[Tensor, "batch window *state"], Float[Tensor, "batch window"]]:
        """A batch of windows; item ``i`` is the window from state ``i % starts`` of trajectory ``i // starts`` on."""
        index = torch.as_tensor(indices, dtype=torch.int64)
        low, high = (int(index.min()), int(index.max())) if len(index) else (0, 0)
        if low < 0 or high >= len(self):
            raise IndexError(f"`indices` must be between 0 and {len(self) - 1}, got {low} to {high}.")
        index = index.to(self.device)
        trajectory, start = index // self._starts, index % self._starts
        offsets = torch.arange(self.window, device=self.device)
        return self._storage.windows(trajectory, start, self.window), self._clock[start[:, None] + offsets]

    @staticmethod
    def collate(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Pass a batch through: what :meth:`__getitems__` returns is stacked already."""
        return batch

    def with_window(self, window: int) -> TrajectoryDataset:
        """The same data with another window length; memory and open files are shared."""
        other = copy.copy(self)
        other.window = self._checked(window)
        return other

    def ends(self) -> TrajectoryDataset:
        """First and last states alone, in memory: trajectories of two times."""
        other = copy.copy(self)
        other._storage = Memory(torch.stack([self.states(0), self.states(-1)], dim=1))
        other.times, other._clock, other.window = self.times[[0, -1]], self._clock[[0, -1]], 2
        return other

    def load(self, device: torch.device | str | None = None) -> TrajectoryDataset:
        """The same data in the memory of ``device`` (default: CPU); items are made there."""
        target = torch.device("cpu" if device is None else device)
        states = torch.empty(self.n_trajectories, len(self.times), *self.shape, device=target)
        block = self.block()
        for first in range(0, self.n_trajectories, block):
            part = self._storage.read(first, min(first + block, self.n_trajectories))
            states[first : first + block] = self._finite(part)
        other = copy.copy(self)
        other._storage, other._clock = Memory(states), self._clock.to(target)
        return other

    def states(self, time_index: int, limit: int | None = None) -> Float[Tensor, "n *state"]:
        """State number ``time_index`` (0: initial, -1: final) of all trajectories, or of the first ``limit``."""
        steps, n = len(self.times), self.n_trajectories
        if not -steps <= time_index < steps:
            raise ValueError(f"`time_index` must be between {-steps} and {steps - 1}, got {time_index}.")
        if limit is not None and limit < 1:
            raise ValueError(f"`limit` must be at least 1, got {limit}; leave it out to get all {n} trajectories.")
        return self._finite(self._storage.snapshot(time_index % steps, n if limit is None else min(limit, n)))

    def trajectories(self, which: slice = slice(None)) -> Float[Tensor, "n time *state"]:
        """Whole trajectories; ``which`` is a slice without a step, e.g. ``slice(0, 10)``."""
        first, last, step = which.indices(self.n_trajectories)
        if step != 1:
            raise ValueError(f"`which` must be a slice without a step, got step {step}; stride the result instead.")
        return self._storage.read(first, max(first, last))

    def block(self, nbytes: int = 2**24) -> int:
        """How many trajectories fit into ``nbytes``, at least 1: the stride for streaming through the data."""
        return max(1, nbytes * self.n_trajectories // self.nbytes)

    def _finite(self, states: Tensor) -> Tensor:
        if not bool(states.isfinite().all()):
            raise ValueError(
                f"{self.path} holds states that are not finite; see `physinv info`, and generate it again."
            )
        return states

    @property
    def _starts(self) -> int:
        return self._storage.steps - self.window + 1

    def _checked(self, window: int) -> int:
        most = self._storage.steps
        if not 2 <= window <= most:
            where = f"the {most} states per trajectory of {self.paths[0].name}"
            raise ValueError(f"`window` must be between 2 and {where}, got {window}.")
        return window


def _find(source: Path | str | Iterable[Path | str]) -> list[Path]:
    if not isinstance(source, (str, Path)):
        paths = [Path(p) for p in source]
        if not paths:
            raise FileNotFoundError("`source` must name at least one file, got none.")
        return paths
    path = Path(source)
    if path.is_file():
        return [path]
    if not path.is_dir():
        inside = sorted(path.parent.parent.glob(f"*/data/{path.name}")) if path.parent.name == "data" else []
        hint = f"did you mean {inside[0].parent.parent}?" if inside else "make it with `physinv generate`."
        raise FileNotFoundError(f"there is no file or folder {path}; {hint}")
    paths = sorted(path.glob("*.hdf5"))
    if not paths:
        inner = path / "data" / "train"
        hint = f"did you mean {inner}?" if inner.is_dir() else "make some with `physinv generate`."
        raise FileNotFoundError(f"{path} holds no .hdf5 files; {hint}")
    return paths


def _check_agreement(paths: Sequence[Path], headers: Sequence[Header]) -> None:
    first = _comparable(headers[0])
    for path, header in zip(paths[1:], headers[1:], strict=True):
        for key, value in _comparable(header).items():
            if value != first[key]:
                raise ValueError(f"{path} and {paths[0]} differ in `{key}`; give files of one split of one dataset.")


def _comparable(header: Header) -> Mapping[str, Any]:
    config = {k: v for k, v in header.config.items() if k not in _PER_SHARD}
    return {"layout": header.layout, "times": header.times, "parameters": header.parameters, "config": config}
