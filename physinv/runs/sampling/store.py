"""The parts of a reconstruction file, as xarray and netCDF readers find them: arrays over named dimensions."""

from __future__ import annotations

__all__ = ["Store", "check_fits", "new_store", "reserved"]

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physinv.config.checksums import seal_hdf5
from physinv.config.devices import check_disk, check_memory
from physinv.config.hdf5_sink import HDF5Sink, new_file
from physinv.config.outputs.locks import lock_file
from physinv.config.outputs.refusals import refuse_existing, refuse_inputs
from physinv.data.dataset import TrajectoryDataset
from physinv.data.final_states import FinalStates
from physinv.data.hdf5.blocks import seal
from physinv.evaluation.observed.familiarity import Familiarity
from physinv.posterior.stored import check_replaceable
from physinv.processes.layout import StateLayout
from physinv.runs.summary import TrainingSummary

_ATTRIBUTES = ("method", "answer", "steps", "samples", "seed", "simulator", "data", "device")
_LONGEST = 1000  # characters of an attribute; the whole is in info_json
_CHUNK_BYTES = 2**16  # of an array of states: each chunk costs some memory, and time to find it
_COPIES = 4  # of the samples of one observation, in memory at the same time


class Store:
    """Write a reconstruction into an open HDF5 file.

    Args:
        file: The file, empty and open for writing.
        layout: Layout of the states, which names channels and axes.
        n: Number of observations.
        k: Draws for each.
        units: Units of channels and axes, by name.
        components: Names of the numbers of a vector, where somebody named them.
    """

    def __init__(
        self,
        file: h5py.File,
        layout: StateLayout,
        n: int,
        k: int,
        units: Mapping[str, str],
        components: Sequence[str] = (),
    ) -> None:
        self.file, self.layout, self.units = file, layout, units
        self.sizes = {"observation_index": n, "draw": k}
        axes: dict[str, Any] = {"observation_index": range(n), "draw": range(k)}
        sizes = zip(layout.dims, layout.shape, strict=True)
        axes |= {name: range(size) for name, size in sizes if name not in layout.axes}
        axes |= dict(zip(layout.axes, layout.coordinates, strict=True))
        if "channel" in axes:
            axes["channel"] = list(layout.names)
        if components and len(named := (*components, *layout.static)) == layout.shape[-1]:
            axes[layout.axes[0]] = named
        for name, values in axes.items():
            values = list(values)
            kind = (
                h5py.string_dtype() if values and isinstance(values[0], str) else "f8" if name in layout.axes else "i8"
            )
            scale = file.create_dataset(name, data=np.array(values, dtype=kind))
            scale.make_scale(name)
            if name in units:
                scale.attrs["units"] = units[name]

    def states(self, name: str, *lead: str | int) -> h5py.Dataset:
        """Create a float32 array of states, in chunks of 64 KiB or one observation, with its dimension scales.

        Args:
            name: Its name.
            lead: What precedes the axes of a state: names of dimensions, or the length of one of its own.

        Returns:
            The dataset, still empty.
        """
        dims = [d if isinstance(d, str) else self._dimension(d) for d in lead]
        shape = (*(self.sizes[d] for d in dims), *self.layout.shape)
        rows = min(shape[0], max(1, _CHUNK_BYTES // max(1, 4 * math.prod(shape[1:])))) if shape else 1
        chunks = (rows, *shape[1:]) if len(dims) + len(self.layout.dims) > 2 and 0 not in shape else None
        data = self.file.create_dataset(name, shape, dtype="f4", chunks=chunks)
        for i, dim in enumerate((*dims, *self.layout.dims)):
            data.dims[i].attach_scale(self.file[dim])
        told = {self.units[c] for c in self.layout.names if c in self.units}
        if len(told) == 1:
            data.attrs["units"] = told.pop()
        return data

    def parameters(self, names: Sequence[str], *, known: bool) -> tuple[h5py.Dataset | None, h5py.Dataset | None]:
        """Create the arrays of unknown parameters.

        Args:
            names: Names of the parameters.
            known: Whether true initial states are known, which have them in their static parts.

        Returns:
            The dataset of draws ``(n, k, parameters)`` and that of true values ``(n, parameters)``, both still empty;
            None for what there is not.
        """
        if not names:
            return None, None
        scale = self.file.create_dataset("parameter", data=np.array(list(names), dtype=h5py.string_dtype()))
        scale.make_scale("parameter")
        n, k = self.sizes["observation_index"], self.sizes["draw"]
        draws = self.file.create_dataset("parameters", (n, k, len(names)), dtype="f4")
        true = self.file.create_dataset("true_parameters", (n, len(names)), dtype="f4") if known else None
        lead = {draws: ("observation_index", "draw")} | ({} if true is None else {true: ("observation_index",)})
        for data, dims in lead.items():
            for i, dim in enumerate((*dims, "parameter")):
                data.dims[i].attach_scale(self.file[dim])
        return draws, true

    def seen(self, shape: tuple[int, ...]) -> h5py.Dataset:
        """Create the array of observed numbers, one row for each observation.

        Args:
            shape: Shape of what is observed of one state.

        Returns:
            The dataset, still empty.
        """
        return self.file.create_dataset("seen", (self.sizes["observation_index"], *shape), dtype="f4")

    def time(self, times: Sequence[float]) -> None:
        """Create the dimension of the times of trajectories.

        Args:
            times: The times, in the unit of time of the process.
        """
        self.sizes["time"] = len(times)
        scale = self.file.create_dataset("time", data=np.array(times, dtype="f8"))
        scale.make_scale("time")
        if "time" in self.units:
            scale.attrs["units"] = self.units["time"]

    def blanked(self, states: Tensor) -> NDArray[np.float32]:
        """Return states as an array, with NaN where there are no data.

        Args:
            states: States, with any number of leading axes.
        """
        valid = self.layout.valid
        shown = states.cpu() if valid is None else torch.where(valid, states.cpu(), torch.nan)
        return np.asarray(shown.numpy())

    def background(self, summary: TrainingSummary | None, final: Iterable[Tensor] | None) -> None:
        """Write what samples are compared with: initial states of the training data, and the linear estimate.

        Args:
            summary: What the run kept of its training data.
            final: Final states, a block after another, where they were observed whole.
        """
        if summary is None:
            return
        self.states("climatology", len(summary.initial))[...] = self.blanked(summary.initial)
        if summary.linear is not None and final is not None:
            linear, target, at = summary.linear, self.states("linear", "observation_index"), 0
            for block in final:
                target[at : at + len(block)] = self.blanked(linear.mean(block.to(linear.mean_final)))
                at += len(block)
            self.states("linear_deviation")[...] = self.blanked(linear.deviation)

    def origin(self, observed: FinalStates | None, familiar: Familiarity | None) -> None:
        """Write where each observation comes from, and how far it lies from the training data.

        Args:
            observed: Observations alone; None for those of a dataset.
            familiar: Their distances.
        """
        n = self.sizes["observation_index"]
        found: dict[str, Any] = {}
        if observed is not None:
            found["source"] = np.array(list(map(_in_utf8, observed.sources[:n])), dtype=h5py.string_dtype())
            found["source_index"] = np.array(observed.indices[:n], dtype="i8")
        if familiar is not None:
            found["distance"] = np.array(familiar.distance, dtype="f8")
        for name, values in found.items():
            data = self.file.create_dataset(name, data=values)
            data.dims[0].attach_scale(self.file["observation_index"])

    def info(self, info: Mapping[str, Any]) -> None:
        """Write how the samples were made, as attributes and, complete, as JSON; then the checksums of everything.

        Args:
            info: What is to be told.
        """
        for key in _ATTRIBUTES:
            if info[key] is not None:
                value = info[key]
                self.file.attrs[key] = _in_utf8(value)[:_LONGEST] if isinstance(value, str) else value
        self.file.attrs["Conventions"] = "CF-1.8"
        self.file.create_dataset("info_json", data=json.dumps(info))
        seal_hdf5(self.file)

    def _dimension(self, length: int) -> str:
        """A dimension without positions, of its own for each length."""
        known = [
            name for name, size in self.sizes.items() if size == length and name not in ("observation_index", "time")
        ]
        if known:
            return known[0]
        name = f"draw_of_{length}"
        scale = self.file.create_dataset(name, data=np.arange(length))
        scale.make_scale(name)
        self.sizes[name] = length
        return name


@contextmanager
def new_store(path: Path) -> Iterator[tuple[h5py.File, HDF5Sink]]:
    """Make the file of a reconstruction inside a ``with`` block, and put checksums of all its bytes behind its end.

    Args:
        path: The file, which is made or emptied.

    Yields:
        The file, open for writing, for a :class:`Store`, and its sink, which tells early that the disk is full.

    Raises:
        OSError: If something could not be written.
    """
    with new_file(path) as opened:
        yield opened
    seal(path)  # HDF5 itself may hang over damaged bytes, so that none are given to it


def check_fits(n: int, k: int, layout: StateLayout, path: Path) -> None:
    """Refuse samples that fit neither into memory nor on the disk, before anything is computed.

    Args:
        n: Number of observations.
        k: Draws for each.
        layout: Layout of the states.
        path: The file to write.

    Raises:
        ValueError: If the samples of one observation do not fit into memory, or all of them on the disk.
    """
    one, drawn, few = 4.0 * k * math.prod(layout.shape), f"`samples` = {k}", "take fewer samples"
    check_memory(_COPIES * one, f"{drawn} of one observation", few)
    check_disk(n * one, path.parent, f"{drawn} of {n} observations", f"{few}, or a `limit` of observations")


@contextmanager
def reserved(
    out: Path, data: TrajectoryDataset | FinalStates | list[Path], *, overwrite: bool, verb: str = "reconstruct"
) -> Iterator[None]:
    """Reserve the file of a reconstruction for this process inside the block.

    Args:
        out: The file.
        data: What is read, or its files, which it must not be.
        overwrite: Whether an older reconstruction may be replaced.
        verb: What writes, for whoever comes second.

    Yields:
        Nothing.

    Raises:
        BlockingIOError: If another process writes it.
        FileExistsError: If it exists and may not be replaced.
        ValueError: If it is what is read, or no reconstruction.
    """
    refuse_inputs(out, "out", data if isinstance(data, list) else _read_of(data))
    with lock_file(out, verb):
        refuse_existing(out, "out", overwrite=overwrite)
        if out.exists():
            check_replaceable(out)
        yield


def _read_of(data: TrajectoryDataset | FinalStates) -> list[Path]:
    """The files of observations; those of a dataset, and the folder where all files in it are read."""
    if isinstance(data, FinalStates):
        return [Path(source) for source in data.sources]
    folders = {path.parent for path in data.paths if path.parent == data.path != path}
    return [*data.paths, *folders]


def _in_utf8(name: str) -> str:
    """A name of any bytes, as that of a file may be, with escapes for those that are no UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()
