"""Write trajectories, batch by batch, into one file that appears whole or not at all."""

from __future__ import annotations

__all__ = ["TrajectoryWriter"]

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.files import publish
from physinv.config.hdf5_sink import HDF5Sink
from physinv.config.outputs.temporary import temporary_path
from physinv.data.file_format import Header, write_header
from physinv.data.hdf5.blocks import seal
from physinv.processes.layout import StateLayout

_RESERVED_ATTRIBUTES = {
    "dataset_name",
    "grid_type",
    "n_spatial_dims",
    "n_trajectories",
    "simulation_parameters",
    "Conventions",
}


class TrajectoryWriter:
    """Write trajectories into a file (format: :mod:`physinv.data.file_format`).

    The data go to a temporary file beside ``path``, which is closed, flushed and renamed when the block ends; an
    exception or a killed process leaves no ``path``, and an older file as it was.

    Args:
        path: The file to write.
        name: Name of the dataset, which is that of its simulator.
        layout: Names, axes and positions of a state.
        shape: Shape of one state, that of ``layout``.
        times: Stored times, shape ``(time,)``, increasing, also in float32.
        count: Number of trajectories.
        parameters: Numbers, text, or tuples of them, by name; they become attributes of the file.
        config: How the data were made, as JSON.
        mask: Which points of a field hold data, an array over space; None: as ``layout`` says. All others get 0.

    Attributes:
        path: The file.
        header: All that the file says besides states and seeds.
        written: Number of trajectories so far.

    Raises:
        ValueError: If arguments do not fit each other.
        BlockingIOError: If another process writes to the temporary file.

    Example:
        >>> import tempfile
        >>> from physinv.processes.layout import VectorLayout
        >>> layout, times = VectorLayout("position", 3), torch.arange(5.0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "walk.hdf5"
        ...     with TrajectoryWriter(path, name="walk", layout=layout, shape=(3,), times=times, count=20) as writer:
        ...         for states in torch.zeros(2, 10, 5, 3):
        ...             stored = writer.write(states, seed=0)
        ...     path.exists()
        True
    """

    def __init__(
        self,
        path: Path | str,
        *,
        name: str,
        layout: StateLayout,
        shape: Sequence[int],
        times: Float[Tensor, " time"],
        count: int,
        parameters: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        mask: Bool[np.ndarray, "*space"] | None = None,
    ) -> None:
        self.path = Path(path)
        layout = layout if mask is None else layout.masked(mask)
        grid = tuple(times.detach().to("cpu", torch.float64).tolist())
        self.header = Header(name, layout, tuple(shape), grid, count, dict(parameters or {}), dict(config or {}))
        _check(self.header)
        self.written = 0
        self._temporary = temporary_path(self.path)
        self._sink: HDF5Sink | None = None
        self._file: h5py.File | None = None
        self._states: list[h5py.Dataset] = []

    def __enter__(self) -> TrajectoryWriter:
        try:
            self._sink = HDF5Sink(self._temporary)
            self._file = h5py.File(self._sink, "w")
            self._states = write_header(self._file, self.header)
        except BlockingIOError:  # of another writer, whose file it is
            raise
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, states: Float[Tensor, "batch time *state"], *, seed: int = 0) -> Float[Tensor, "batch time *state"]:
        """Append trajectories, and return them as they are stored.

        Args:
            states: Shape ``(batch, time, *state)``, of any float dtype, on any device; they are stored as float32.
            seed: Seed of their noise, stored for each of them.

        Returns:
            The same in float32, on the CPU, with 0 where there are no data.

        Raises:
            ValueError: For a wrong shape, too many trajectories, static parts that change in time, or numbers that
                are not finite in float32.
            OSError: If the disk is full.
        """
        if self._file is None or self._sink is None:
            raise ValueError("`write` must be called inside `with TrajectoryWriter(...) as writer:`.")
        expected, found = (len(self.header.times), *self.header.shape), tuple(states.shape)
        if found[1:] != expected:
            raise ValueError(f"`states` must have shape (batch, {', '.join(map(str, expected))}), got {found}.")
        first, last, count = self.written, self.written + len(states), self.header.n_trajectories
        if last > count:
            raise ValueError(f"`states` must bring no more than `count` = {count} trajectories in all, got {last}.")
        values = self.header.layout.emptied(states.detach().to("cpu", torch.float32))
        self._refuse_nonfinite(values)

        # one dataset for each part of the state; what is static has no time axis
        array, layout = values.numpy(), self.header.layout
        for data, (name, place) in zip(self._states, layout.parts(), strict=True):
            part = array[(..., *place)]
            if name in layout.static and (part != part[:, :1]).any():
                raise ValueError(f"`{name}` is static in `layout`, but `states` change it in time.")
            data[first:last] = part[:, 0] if name in layout.static else part
        self._file["physinv/seeds"][first:last] = np.uint64(seed)
        self._sink.check()
        self.written = last
        return values

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        if self.written < self.header.n_trajectories:
            self._discard()
            raise ValueError(
                f"`count` must be the number of trajectories written, {self.written}, got "
                f"{self.header.n_trajectories}; {self.path} was not made."
            )
        try:
            self._close()
            seal(self._temporary)
            publish(self._temporary, self.path)
        except BaseException:
            self._discard()
            raise

    def _refuse_nonfinite(self, values: Tensor) -> None:
        if bool(torch.isfinite(values).all()):
            return
        trajectory, time = torch.nonzero(~torch.isfinite(values))[0, :2].tolist()
        raise ValueError(
            f"`states` must be finite in float32, got NaN or infinity in trajectory {self.written + trajectory} "
            f"of {self.path.name} at t = {self.header.times[time]:.6g}; take smaller solver steps or other parameters."
        )

    def _close(self) -> None:
        file, sink, self._file, self._sink = self._file, self._sink, None, None
        try:
            if file is not None:
                file.close()
            if sink is not None:
                sink.check()
        finally:
            if sink is not None:
                sink.close()

    def _discard(self) -> None:
        try:
            if self._sink is not None:
                self._sink.error = OSError("discarded")
            with contextlib.suppress(OSError, RuntimeError):
                self._close()
        finally:
            self._temporary.unlink(missing_ok=True)


def _check(header: Header) -> None:
    layout, shape, times = header.layout, header.shape, header.times
    if header.n_trajectories < 1:
        raise ValueError(f"`count` must be at least 1, got {header.n_trajectories}.")
    if len(times) < 2 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise ValueError("`times` must be 2 or more finite numbers, strictly increasing; sort them and drop repeats.")
    if (np.diff(np.asarray(times, dtype=np.float32)) <= 0).any():
        raise ValueError("`times` must differ in float32, the precision of the file; take longer steps or other units.")
    expected = layout.shape
    if shape != expected:
        raise ValueError(f"`shape` must be that of `layout`, {expected}, got {shape}.")
    if taken := _RESERVED_ATTRIBUTES & set(header.parameters):
        raise ValueError(f"`parameters` must not be named {', '.join(sorted(taken))}: the format uses these names.")
