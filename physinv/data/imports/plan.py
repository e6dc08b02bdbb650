"""What an import will write, before it writes anything: states, times, splits, and how each was understood."""

from __future__ import annotations

__all__ = ["Choices", "ImportPlan", "Pick", "plan_import"]

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from physinv.config.seeds import seeds
from physinv.data.imports.missing import find_mask
from physinv.data.imports.recording import Recording
from physinv.data.imports.windows import Window, blocks_of_time, common_grid, starts_in
from physinv.data.plan import CHUNK_BYTES, SPLITS
from physinv.data.sources.read import FAMILIES, open_source
from physinv.data.sources.states import states_of
from physinv.processes.parameters import describe
from physinv.processes.recorded import Recorded

Pick = tuple[Recording, int, int]
"""A trajectory: where it is, the number of its sample there, and the stored time at which it begins."""

_ATTRIBUTE_BYTES = 60_000  # text that an HDF5 attribute holds, with something to spare
_SPLIT_BY = ("time", "trajectory")


@dataclass(frozen=True)
class Choices:
    """Say what the files do not say, and what of them to take.

    Args:
        variable: Names of the variables that make up a state, separated by commas.
        dims: Names of their axes in the order of the file, separated by commas.
        times: Name of a variable with the times, a time step, or ``first:last``.
        positions: By axis of space the name of a variable, a spacing, or ``first:last``.
        boundary: What lies at the ends: ``periodic``, ``wall`` or ``open``, or ``axis=word`` for each axis.
        every: Keep one of so many stored times; times are counted from the first.
        window: Cut recordings into trajectories of so many states.
        stride: Stored times from the start of one window to that of the next; None: ``every``.
        resample: Interpolate to times so far apart.
        valid: Share of the data for validation, where sources are not split.
        test: Share of the data for tests, where sources are not split.
        split_by: ``"time"`` or ``"trajectory"``: what is set aside. None: blocks of time where there are windows.
        seed: Seed with which trajectories are drawn for each split.
    """

    variable: str | None = None
    dims: str | None = None
    times: str | None = None
    positions: Mapping[str, str] = field(default_factory=dict)
    boundary: str | None = None
    every: int = 1
    window: int | None = None
    stride: int | None = None
    resample: float | None = None
    valid: float = 0.1
    test: float = 0.1
    split_by: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"`every` must be at least 1, got {self.every}.")
        if self.window is not None and self.window < 2:
            raise ValueError(f"`window` must be at least 2 states, got {self.window}.")
        if self.stride is not None and (self.window is None or self.stride < 1):
            raise ValueError(f"`stride` must be at least 1 and needs `window`, got {self.stride}.")
        if self.split_by not in (None, *_SPLIT_BY):
            raise ValueError(f"`split_by` must be one of {', '.join(_SPLIT_BY)}, got {self.split_by!r}.")
        if self.split_by == "time" and self.window is None:
            raise ValueError("`split_by` time needs windows; give `--window`, a number of states.")
        for name, share in (("valid", self.valid), ("test", self.test)):
            if not 0 < share < 1:
                raise ValueError(f"`{name}` must be a share between 0 and 1, got {share:g}.")
        if self.valid + self.test >= 1:
            raise ValueError(f"`valid` and `test` must leave data to train on, got {self.valid:g} and {self.test:g}.")


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
    """

    recorded: Recorded
    picks: Mapping[str, Sequence[Pick]]
    length: slice
    mask: NDArray[np.bool_] | None
    config: Mapping[str, Any]
    notes: tuple[str, ...]

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
        shown["stored"] = f"{first.count} trajectories of {len(first.times)} times" + (
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
    split = _open(sources, choices)
    everything = [r for recordings in split.values() for r in recordings]
    first = _agreeing(everything)
    notes, whole = list(dict.fromkeys(n for r in everything for n in r.notes)), "" in split
    window = _window(first, choices, sum(r.count for r in split.get("", ())) if whole else None)

    # Points that are missing always are a mask. Files that declare more than they hold end here.
    mask = find_mask(everything, chunk_bytes)

    # Each split gets its trajectories: whole ones, or windows in blocks of time, or all windows of its own files.
    by_time = window is not None and choices.split_by != "trajectory"
    if window is None:
        grid = first.times[:: choices.every] - first.times[0]
        picks = {s: [(r, i, 0) for r in rs for i in range(r.count)] for s, rs in split.items()}
    else:
        starts = _starts(first, window, choices if whole and by_time else None)
        grid, kept, told = common_grid(first.times, sorted({s for ss in starts.values() for s in ss}), window)
        notes += told
        which = {s: [a for a in ss if a in set(kept)] for s, ss in starts.items()}
        picks = _windows(split, which)
    if len(grid) < 2:
        raise ValueError(f"`every` must leave 2 or more of the {len(first.times)} stored times, got {choices.every}.")
    if whole and not by_time:
        picks = _shares(picks[""], choices)
    how = "blocks of time with gaps" if whole and by_time else "trajectories at random" if whole else "as the folder is"
    if whole and by_time and window is not None and window.overlaps:
        notes.append("windows overlap, so splits are blocks of time, a window apart")
    empty = [s for s, p in picks.items() if not p]
    if empty:
        raise ValueError(f"no window is left for {', '.join(empty)}; take shorter windows or a smaller `--stride`.")

    recorded = Recorded.of(first.layout if mask is None else first.layout.masked(mask), grid)
    config = {
        "simulator": "recorded",
        "parameters": describe(recorded),
        "splits": {s: len(p) for s, p in picks.items()},
        "split": how,
        "seed": choices.seed,
        "every": choices.every,
        "physics": first.constants,
        **first.about,
    }
    if window is not None:
        config["window"] = {"states": window.states, "every": window.every, "stride": window.stride}
    plain = json.loads(json.dumps(config))
    if len(json.dumps(plain)) > _ATTRIBUTE_BYTES:
        raise ValueError("the positions and times are too many to be listed: they must be evenly spaced, or fewer.")
    length = slice(0, window.span if window else None, choices.every)
    return ImportPlan(recorded, picks, length, mask, plain, tuple(notes))


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
                    raise ValueError(f"{base} must hold a folder `valid` beside `train`, for validation.")
                return {s: [_recording(p, choices) for p in files] for s, files in found.items()}
    paths = (_files(Path(s)) if not isinstance(s, xr.Dataset) and _is_folder(Path(s)) else [s] for s in sources)
    return {"": [_recording(p, choices) for p in itertools.chain(*paths)]}


def _recording(source: Path | str | xr.Dataset, choices: Choices) -> Recording:
    opened = source if isinstance(source, xr.Dataset) else open_source(source)
    if opened.attrs.get("physinv"):
        raise ValueError(f"{source} was written by physinv; it needs no import, use it as it is.")
    c = choices
    states = states_of(opened, c.variable, c.dims, times=c.times, positions=c.positions, boundary=c.boundary)
    recording = Recording(states)
    return recording if c.resample is None else recording.resampled(c.resample)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.suffix != ".zarr" and not any((path / n).exists() for n in (".zgroup", "zarr.json"))


def _files(folder: Path) -> list[Path]:
    suffixes = {".hdf5", ".h5", ".nc", ".mat", ".npy", ".npz", *(s for f in FAMILIES for s in f.suffixes)}
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes)
    if not files:
        raise FileNotFoundError(f"{folder} holds no files of a known format (.hdf5, .h5, .nc, .mat, .npz, ...).")
    return files


def _agreeing(recordings: Sequence[Recording]) -> Recording:
    """The first recording, if all others hold the same kind of states at the same times, of the same physics."""
    first = recordings[0]
    for other in recordings[1:]:
        for what in ("layout", "times", "constants"):
            a, b = getattr(first, what), getattr(other, what)
            if not (np.array_equal(a, b) if what == "times" else a == b):
                name = "parameters" if what == "constants" else what
                raise ValueError(f"{other.path} and {first.path} differ in their {name}; import one system at a time.")
    return first


def _window(first: Recording, choices: Choices, count: int | None) -> Window | None:
    """The window, if there is one; too few trajectories to be split need it."""
    n = len(first.times)
    if choices.window is None:
        if count is not None and count < 3 and n > 3:
            some = "one recording" if count == 1 else f"{count} trajectories"
            raise ValueError(
                f"{first.path} holds {some} of {n} times; cut it into trajectories with `--window`, for example "
                f"{max(2, min(8, n // 8))}."
            )
        return None
    window = Window(choices.window, choices.every, choices.stride or choices.every)
    if window.span > n:
        raise ValueError(f"`--window` spans {window.span} of the {n} stored times of {first.path}; take fewer states.")
    return window


def _starts(first: Recording, window: Window, choices: Choices | None) -> dict[str, list[int]]:
    """Where windows begin: in blocks of time for each split, or anywhere under the name ""."""
    n = len(first.times)
    if choices is None:
        return {"": starts_in(0, n, window)}
    found: dict[str, list[int]] = {s: [] for s in SPLITS}
    for split, a, b in blocks_of_time(n, window, choices.valid, choices.test):
        found[split] += starts_in(a, b, window)
    return found


def _windows(split: Mapping[str, list[Recording]], starts: Mapping[str, list[int]]) -> dict[str, list[Pick]]:
    if set(starts) == {""}:
        return {s: [(r, i, a) for r in rs for i in range(r.count) for a in starts[""]] for s, rs in split.items()}
    return {s: [(r, i, a) for r in split[""] for i in range(r.count) for a in ss] for s, ss in starts.items()}


def _shares(every: Sequence[Pick], choices: Choices) -> dict[str, list[Pick]]:
    """A random set of trajectories for each split, with all their windows, each in the order of the files."""
    owners = list(dict.fromkeys((id(r), i) for r, i, _ in every))
    n = len(owners)
    aside = {name: max(1, round(share * n)) for name, share in (("valid", choices.valid), ("test", choices.test))}
    if n - sum(aside.values()) < 1:
        raise ValueError(f"`valid` and `test` must leave trajectories to train on, got {aside} of {n}.")
    order = torch.randperm(n, generator=seeds(choices.seed).child("import", "shares").generator()).tolist()
    a, b = aside["valid"], aside["valid"] + aside["test"]
    chosen = {"train": order[b:], "valid": order[:a], "test": order[a:b]}
    taken = {name: {owners[i] for i in which} for name, which in chosen.items()}
    return {name: [p for p in every if (id(p[0]), p[1]) in owned] for name, owned in taken.items()}
