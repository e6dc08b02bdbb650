"""What an import will write, before it writes anything: states, times, splits, and how each was understood."""

from __future__ import annotations

__all__ = ["ImportPlan", "plan_import"]

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from physinv.data.imports.choices import Choices
from physinv.data.imports.context import context_of
from physinv.data.imports.frames import stacked, together
from physinv.data.imports.missing import find_mask
from physinv.data.imports.particles import beside_particles
from physinv.data.imports.recording import Recording
from physinv.data.imports.splits import BY_TIME, Pick, split_up, window_of
from physinv.data.plan import CHUNK_BYTES, SPLITS
from physinv.data.sources.read import FAMILIES, open_source
from physinv.data.sources.roles import names_of, same_unit, word_of
from physinv.data.sources.states import states_of
from physinv.data.sources.valid_range import opened
from physinv.processes.layout import FieldLayout, StateLayout, layout_from
from physinv.processes.parameters import describe
from physinv.processes.recorded import Recorded

_ATTRIBUTE_BYTES = 60_000  # text that an HDF5 attribute holds, with something to spare
_MOST_BLOCKS = 100  # of training windows, up to which their lengths are noted
_PHASE = ("phase_sine", "phase_cosine")  # names of the channels of a cycle


@dataclass(frozen=True, eq=False)
class ImportPlan:
    """Hold what an import will write.

    Args:
        recorded: Layout and times of the trajectories.
        picks: Trajectories of each split.
        length: Stored times that a trajectory covers, and every how many one is kept.
        mask: Which points hold data; None: all.
        config: What files and dataset.json hold about the import.
        notes: Sentences about what was understood.
        period: Length of a cycle whose phase at the start of a trajectory is part of its states; None without one.
    """

    recorded: Recorded
    picks: Mapping[str, Sequence[Pick]]
    length: slice
    mask: NDArray[np.bool_] | None
    config: Mapping[str, Any]
    notes: tuple[str, ...]
    period: float | None = None

    def known(self, picked: Sequence[Pick]) -> NDArray[np.float64]:
        """Return the numbers that are known of trajectories beside their states, in the order of their names.

        Args:
            picked: The trajectories.

        Returns:
            Shape ``(trajectory, number)``: sine and cosine of the phase at which they begin, and the values of the
            context at all their stored times.
        """
        out = np.zeros((len(picked), 0))
        if self.period is not None:
            angle = 2 * np.pi * np.array([r.times[start] for r, _, start in picked]) / self.period
            out = np.stack([np.sin(angle), np.cos(angle)], axis=1)
        if self.recordings[0].context:
            at = np.arange(len(self.recorded.times)) * self.length.step
            values = [
                np.concatenate([v[sample, start + at] for v in r.context.values()]) for r, sample, start in picked
            ]
            out = np.concatenate([out, np.stack(values)], axis=1)
        return out

    @property
    def recordings(self) -> list[Recording]:
        """All files, each once."""
        return list(dict.fromkeys(r for picks in self.picks.values() for r, _, _ in picks))

    def summary(self) -> dict[str, Any]:
        """Return what was understood, for people: a value for each of a few names."""
        layout, first, times = self.recorded.layout, self.recordings[0], self.recorded.times
        unit = f" {self.config['time_unit']}" if self.config.get("time_unit") else ""
        units, axis_units = self.config.get("units", {}), self.config.get("axis_units", {})
        shown: dict[str, Any] = {"files": ", ".join(dict.fromkeys(r.path for r in self.recordings))}
        some = "1 trajectory" if first.count == 1 else f"{first.count} trajectories"
        shown["stored"] = f"{some} of {len(first.times)} times" + (
            "" if len(self.recordings) == 1 else " in the first file"
        )
        names = self.config.get("components") or layout.names
        shown["variables"] = ", ".join(f"{n} [{units[n]}]" if n in units else n for n in names)
        if layout.static:
            shown["static"] = ", ".join(layout.static)
        for axis, along, kind in zip(
            layout.space, layout.coordinates, layout.boundary.split(",") * len(layout.axes), strict=False
        ):
            of = f" {axis_units[axis]}" if axis in axis_units else ""
            shown[f"axis {axis}"] = f"{len(along)} points, {along[0]:g} to {along[-1]:g}{of}, {kind.lower()}"
        shown["state"] = f"{layout.kind} {' x '.join(map(str, layout.shape))}"
        shown["times"] = f"{len(times)}, 0 to {float(times[-1]):g}{unit}"
        if self.mask is not None:
            shown["valid points"] = f"{int(self.mask.sum())} of {self.mask.size}; 0 elsewhere, noted in /physinv/mask"
        for key, value in self.config["physics"].items():
            shown[key] = f"{value:g}"
        shown["splits"] = ", ".join(f"{s} {len(p)}" for s, p in self.picks.items()) + f" ({self.config['split']})"
        return {**shown, **{f"note {i}": text for i, text in enumerate(self.notes, 1)}}


def plan_import(
    sources: Sequence[Path | str | xr.Dataset], choices: Choices, chunk_bytes: int = CHUNK_BYTES
) -> ImportPlan:
    """Find out what an import would write.

    Args:
        sources: Files, folders of files, one folder that is split already, or datasets of xarray.
        choices: What to take, and what the files do not say.
        chunk_bytes: Bytes of trajectories that are read at once, at most, but for one whole state.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: If there is nothing to read.
        ValueError: If files are of unknown format, do not belong together, or lack what is needed.
    """
    found = _open(sources, choices)
    everything = [r for recordings in found.values() for r in recordings]
    window = window_of(found, choices)
    first = _agreeing(everything, same_times=window is None)

    # Points that are missing always are a mask. Files that declare more than they hold end here.
    mask, lost = find_mask(everything, chunk_bytes)
    splits = split_up(found, window, choices)
    layout = first.layout if mask is None else first.layout.masked(mask)
    known: tuple[str, ...] = _PHASE if choices.period is not None else ()
    known += tuple(f"{name}_{i}" for name in first.context for i in range(len(splits.grid)))
    if known:
        layout = _with_known(layout, known, mask)
    recorded = Recorded.of(layout, splits.grid)
    config = {
        "simulator": "recorded",
        "parameters": describe(recorded),
        "splits": {s: len(p) for s, p in splits.picks.items()},
        "split": splits.how,
        "seed": choices.seed,
        "every": choices.every,
        "physics": first.constants,
        **first.about,
    }
    if window is not None:
        config["window"] = {"states": window.states, "every": window.every, "stride": window.stride}
        blocks = _blocks(splits.picks["train"], window.stride)
        if splits.how == BY_TIME and len(blocks) <= _MOST_BLOCKS:
            config["window"]["blocks"] = blocks
    if choices.period is not None:
        config["period"] = choices.period
    plain = json.loads(json.dumps(config))
    if len(json.dumps(plain)) > _ATTRIBUTE_BYTES:
        raise ValueError("the positions and times are too many to be listed: they must be evenly spaced, or fewer.")
    length = slice(0, window.span if window else None, choices.every)
    notes = tuple(dict.fromkeys([*(n for r in everything for n in r.notes), *lost, *splits.notes]))
    return ImportPlan(recorded, splits.picks, length, mask, plain, notes, choices.period)


def _blocks(picked: Sequence[Pick], stride: int) -> list[int]:
    """How many windows follow each other, block by block."""
    ends = [i for i, (a, b) in enumerate(itertools.pairwise(picked), 1) if (*a[:2], a[2] + stride) != b]
    return [b - a for a, b in itertools.pairwise([0, *ends, len(picked)])]


def _with_known(layout: StateLayout, known: tuple[str, ...], mask: NDArray[np.bool_] | None) -> StateLayout:
    """The layout with more static channels, or static numbers of a vector."""
    if layout.positions:
        raise ValueError("`--context` and `--period` are for vectors and fields, got particles; leave them out.")
    names, static = (*layout.names, *known), (*layout.static, *known)
    if not layout.space:
        return layout_from(layout.kind, names, layout.axes, layout.coordinates, static=static)
    more = FieldLayout(names, layout.axes, layout.coordinates, layout.boundary, static)
    return more if mask is None else more.masked(mask)


def _open(sources: Sequence[Path | str | xr.Dataset], choices: Choices) -> dict[str, list[Recording]]:
    """Recordings by split, or all under the name "" where they are not split yet."""
    if not sources:
        raise ValueError("`sources` must name at least one file or folder, got none.")
    if len(sources) == 1 and not isinstance(sources[0], xr.Dataset):
        folder = Path(sources[0])
        for base in (folder / "data", folder):
            if (base / "train").is_dir():
                found = {s: _files(base / s) for s in SPLITS if (base / s).is_dir()}
                if "valid" not in found:
                    raise ValueError(
                        f"{base} must hold a folder `valid` beside `train`, for validation; put some of the training "
                        f"files there, or import {base / 'train'} alone, which is then divided."
                    )
                return {s: _recordings(files, choices) for s, files in found.items()}
    paths = (_files(Path(s)) if not isinstance(s, xr.Dataset) and _is_folder(Path(s)) else [s] for s in sources)
    return {"": _recordings(list(itertools.chain(*paths)), choices)}


def _recordings(sources: Sequence[Path | str | xr.Dataset], choices: Choices) -> list[Recording]:
    """A recording of each source; where initial and final states are files of their own, one of all of them."""
    frames = names_of(choices.frames)
    if not frames:
        return [_recording(_opened(source), names_of(choices.dims), choices) for source in sources]
    found = [stacked(one, frames, names_of(choices.dims)) for one in together([_opened(s) for s in sources], frames)]
    return [_recording(one, dims, choices) for one, dims in found]


def _opened(source: Path | str | xr.Dataset) -> xr.Dataset:
    found = opened(source) if isinstance(source, xr.Dataset) else open_source(source)
    if found.attrs.get("physinv"):
        raise ValueError(f"{source} was written by physinv; it needs no import, use it as it is.")
    return found


def _recording(source: xr.Dataset, dims: list[str], choices: Choices) -> Recording:
    c, beside, path = choices, names_of(choices.context), str(source.attrs.get("path", "the dataset"))
    context = context_of(source, beside, c.times) if beside else {}
    left = source.drop_vars([name for name in source.data_vars if {str(name), word_of(str(name))} & set(beside)])
    left, particles = beside_particles(left, dims, c.box, path)
    states = states_of(left, c.variable, dims, times=c.times, positions=c.positions, boundary=c.boundary)
    recording = Recording(states, context, particles)
    return recording if c.resample is None else recording.resampled(c.resample)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.suffix != ".zarr" and not any((path / n).exists() for n in (".zgroup", "zarr.json"))


def _files(folder: Path) -> list[Path]:
    suffixes = {".hdf5", ".h5", ".nc", ".mat", ".npy", ".npz", *(s for f in FAMILIES for s in f.suffixes)}
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes)
    if not files:
        raise FileNotFoundError(f"{folder} holds no files of a known format (.hdf5, .h5, .nc, .mat, .npz, ...).")
    return files


def _agreeing(recordings: Sequence[Recording], *, same_times: bool) -> Recording:
    """The first recording, if all others hold the same kind of states, in the same units, of the same physics, at the
    same times."""
    first = recordings[0]
    _check_units(recordings)
    for other in recordings[1:]:
        for what in ("layout", *(("times",) if same_times else ()), "constants"):
            a, b = getattr(first, what), getattr(other, what)
            if not (np.array_equal(a, b) if what == "times" else a == b):
                name = "parameters" if what == "constants" else what
                remedy = (
                    "cut them to windows of one length with `--window`, such as `--window 5`"
                    if what == "times"
                    else ("import one system at a time")
                )
                raise ValueError(f"{other.path} and {first.path} differ in their {name}; {remedy}.")
    return first


def _check_units(recordings: Sequence[Recording]) -> None:
    """Raise ValueError where two files say different units of one quantity, or columns in different orders.

    What says no unit may have that of the others.
    """
    known: dict[str, tuple[str, str]] = {}
    names, path = list(recordings[0].about.get("components", [])), recordings[0].path
    for r in recordings:
        if names and (own := list(r.about.get("components", []))) and own != names:
            raise ValueError(
                f"{path} has the columns {', '.join(names)}, {r.path} {', '.join(own)}; give all the same names in the "
                "same order, or choose them in one order with `--variable`."
            )
        told = {f"`{name}`": unit for name, unit in r.about.get("units", {}).items()}
        told |= {f"`{axis}`, an axis,": unit for axis, unit in r.about.get("axis_units", {}).items()}
        told |= {"time": str(r.about["time_unit"])} if "time_unit" in r.about else {}
        for name, unit in told.items():
            before, where = known.setdefault(name, (unit, r.path))
            if not same_unit(unit, before):
                raise ValueError(f"{name} is in {before} in {where}, and in {unit} in {r.path}; write all in one unit.")
