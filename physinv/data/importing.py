"""Import trajectories that others wrote (:mod:`physinv.data.foreign`) as a dataset in our layout, with splits.

    <out>/data/<split>/recorded_000.hdf5 ...   <out>/stats.yaml   <out>/dataset.json

dataset.json comes last; until then all new files wait in ``<out>/data.import``.  Data are streamed, a part at a time.
"""

from __future__ import annotations

__all__ = ["import_trajectories"]

import itertools
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from physinv.config.seeds import seeds
from physinv.config.versions import versions
from physinv.data.dataset import TrajectoryDataset
from physinv.data.foreign import Boundary, Foreign, open_foreign
from physinv.data.generate import Progress, file_entry
from physinv.data.inspect import field_statistics
from physinv.data.plan import CHUNK_BYTES, SPLITS, TRAJECTORIES_PER_SHARD
from physinv.data.writer import TrajectoryWriter
from physinv.processes.parameters import describe
from physinv.processes.recorded import Recorded

Pick = tuple[Foreign, int]

_ATTRIBUTE_BYTES = 60_000  # text that an HDF5 attribute holds, with something to spare


def import_trajectories(
    sources: Sequence[Path | str],
    out: Path | str,
    *,
    valid: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    every: int = 1,
    boundary: Boundary | None = None,
    trajectories_per_shard: int = TRAJECTORIES_PER_SHARD,
    chunk_bytes: int = CHUNK_BYTES,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Copy trajectories that others wrote into a dataset folder, as float32; after an error the folder is as it was.

    Args:
        sources: Files, folders of ``*.hdf5`` and ``*.h5``, or one folder that is split already, into ``train``,
            ``valid`` and ``test`` (or ``data/train``, ...).
        out: Folder of the dataset.
        valid: Share of the trajectories for validation, where ``sources`` are not split.
        test: Share of the trajectories for evaluation, where ``sources`` are not split.
        seed: Seed with which the trajectories of each split are drawn.
        every: Keep one of so many stored times; times are counted from the first.
        boundary: What lies at the ends of the axes, where files do not say it or say it wrongly.
        trajectories_per_shard: Trajectories in one file, at most.
        chunk_bytes: Bytes of trajectories that are read at once, at most, but for one whole trajectory.
        overwrite: Replace the data that are there.
        progress: Function that is told how far the work is.

    Returns:
        ``out``.

    Raises:
        FileNotFoundError: If there is nothing to read.
        FileExistsError: If ``out`` holds data and ``overwrite`` is not set.
        ValueError: If files are of unknown layout, do not belong together, or hold numbers that are not finite.
    """
    out = Path(out)
    if every < 1:
        raise ValueError(f"`every` must be at least 1, got {every}.")
    if not overwrite and any((out / name).exists() for name in ("dataset.json", "data")):
        raise FileExistsError(f"{out} holds data already; choose another --out, or add --overwrite.")
    split = _open(sources, boundary)
    inside = [f.path for files in split.values() for f in files if out.resolve() in f.path.resolve().parents]
    if inside:
        raise ValueError(f"`--out` must be a folder of its own, {out} holds {inside[0]}, which is to be imported.")
    first = _agreeing([f for files in split.values() for f in files])
    times = first.times[::every] - first.times[0]
    if len(times) < 2:
        raise ValueError(f"`every` must leave 2 or more of the {len(first.times)} stored times, got {every}.")
    recorded = Recorded.of(first.layout, times)
    picks = _shares(split[""], valid, test, seed) if "" in split else {k: _all(files) for k, files in split.items()}
    config = {
        "simulator": "recorded",
        "parameters": describe(recorded),
        "splits": {s: len(p) for s, p in picks.items()},
        "seed": seed,
        "every": every,
        "origin": float(first.times[0]),
        "physics": first.parameters,
    }
    config = json.loads(json.dumps(config))
    if len(json.dumps(config)) > _ATTRIBUTE_BYTES:
        raise ValueError("the positions and times are too many to be listed: they must be evenly spaced, or fewer.")
    existed, root = out.exists(), out / "data.import"
    try:
        shutil.rmtree(root, ignore_errors=True)
        _write_all(root, recorded, picks, config, every, trajectories_per_shard, chunk_bytes, progress)
        (root / "stats.yaml").write_text(yaml.safe_dump(field_statistics(TrajectoryDataset(root / "train"))), "utf-8")
        files = {f"data/{p.parent.name}/{p.name}": file_entry(p) for p in sorted(root.glob("*/*.hdf5"))}
    except BaseException:
        shutil.rmtree(root if existed else out, ignore_errors=True)
        raise
    named = {s: sorted({str(f.path) for f, _ in p}) for s, p in picks.items()}
    summary = {"config": config, "sources": named, "files": files, "versions": versions()}
    (root / "dataset.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    _move(root, out)
    return out


def _open(sources: Sequence[Path | str], boundary: Boundary | None) -> dict[str, list[Foreign]]:
    """Files by split, or all under the name "" where they are not split yet."""
    paths = [Path(s) for s in sources]
    if not paths:
        raise ValueError("`sources` must name at least one file or folder, got none.")
    for base in (paths[0] / "data", paths[0]):
        if len(paths) == 1 and (base / "train").is_dir():
            found = {s: _files(base / s) for s in SPLITS if (base / s).is_dir()}
            if "valid" not in found:
                raise ValueError(f"{base} must hold a folder `valid` beside `train`, for validation.")
            return {s: [open_foreign(p, boundary) for p in files] for s, files in found.items()}
    every = itertools.chain(*(_files(p) if p.is_dir() else [p] for p in paths))
    return {"": [open_foreign(p, boundary) for p in every]}


def _files(folder: Path) -> list[Path]:
    files = sorted([*folder.glob("*.hdf5"), *folder.glob("*.h5")])
    if not files:
        raise FileNotFoundError(f"{folder} holds no .hdf5 or .h5 files.")
    return files


def _agreeing(files: Sequence[Foreign]) -> Foreign:
    """The first file, if all others hold the same kind of states at the same times, of the same physics."""
    first = files[0]
    for other in files[1:]:
        for what in ("layout", "times", "parameters"):
            a, b = getattr(first, what), getattr(other, what)
            if not (np.array_equal(a, b) if what == "times" else a == b):
                raise ValueError(f"{other.path} and {first.path} differ in their {what}; import one system at a time.")
    return first


def _all(files: Sequence[Foreign]) -> list[Pick]:
    return [(f, i) for f in files for i in range(f.count)]


def _shares(files: Sequence[Foreign], valid: float, test: float, seed: int) -> dict[str, list[Pick]]:
    """A random set of trajectories for each split, each in the order of the files."""
    every = _all(files)
    n, aside = len(every), {}
    for name, share in (("valid", valid), ("test", test)):
        if not 0 < share < 1:
            raise ValueError(f"`{name}` must be a share between 0 and 1, got {share:g}.")
        aside[name] = max(1, round(share * n))
    if n - sum(aside.values()) < 1:
        raise ValueError(f"`valid` and `test` must leave trajectories to train on, got {aside} of {n}.")
    order = torch.randperm(n, generator=seeds(seed).child("import", "shares").generator()).tolist()
    a, b = aside["valid"], aside["valid"] + aside["test"]
    chosen = {"train": order[b:], "valid": order[:a], "test": order[a:b]}
    return {name: [every[i] for i in sorted(which)] for name, which in chosen.items()}


def _write_all(
    root: Path,
    recorded: Recorded,
    picks: Mapping[str, list[Pick]],
    config: Mapping[str, Any],
    every: int,
    shard: int,
    chunk_bytes: int,
    progress: Progress | None,
) -> None:
    done, total = 0, sum(map(len, picks.values()))
    chunk = max(1, chunk_bytes // (4 * len(recorded.times) * math.prod(recorded.shape)))
    for split, picked in picks.items():
        (root / split).mkdir(parents=True)
        for number, start in enumerate(range(0, len(picked), shard)):
            part = picked[start : start + shard]
            writer = TrajectoryWriter(
                root / split / f"recorded_{number:03d}.hdf5",
                name="recorded",
                layout=recorded.layout,
                shape=recorded.shape,
                times=recorded.times,
                count=len(part),
                parameters=config["physics"],
                config={**config, "split": split, "shard": number},
            )
            with writer:
                for states in _read(part, every, chunk):
                    writer.write(torch.from_numpy(states))
                    done += len(states)
                    if progress is not None:
                        progress(done, total)


def _read(picked: Sequence[Pick], every: int, chunk: int) -> Iterator[NDArray[np.float32]]:
    """The picked trajectories in order: neighbours in a file together, at most ``chunk`` at once."""
    at = 0
    while at < len(picked):
        file, first = picked[at]
        n = 1
        while n < chunk and at + n < len(picked) and picked[at + n] == (file, first + n):
            n += 1
        yield file.read(first, first + n, every)
        at += n


def _move(root: Path, out: Path) -> None:
    """New files in the place of old ones; without dataset.json the dataset counts as incomplete meanwhile."""
    (out / "dataset.json").unlink(missing_ok=True)
    shutil.rmtree(out / "data", ignore_errors=True)
    (root / "stats.yaml").replace(out / "stats.yaml")
    (root / "dataset.json").rename(out / ".dataset.json")
    root.rename(out / "data")
    (out / ".dataset.json").replace(out / "dataset.json")
