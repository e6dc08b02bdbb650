"""Simulate a dataset into HDF5 files: sharded, resumable, reproducible to the byte.

    <out>/data/<split>/<name>_000.hdf5 ...    the files, each of which appears whole (:mod:`physinv.data.writer`)
    <out>/stats.yaml                          statistics of the training split, field by field
    <out>/dataset.json                        configuration, seeds, sha256 of every file, versions

dataset.json is written last: where it is, the dataset is complete.

A run that was killed keeps its finished files, and the next one makes the rest.  All random numbers of a part come
from a generator of its own, seeded by (seed, split, file, part), so the bytes do not depend on what was interrupted,
and no split shares noise with another.  Overwriting builds a new dataset in a hidden folder first, which takes the
place of the old one as a whole when it is complete (:mod:`physinv.config.outputs.replace`).
"""

from __future__ import annotations

__all__ = ["Progress", "file_entry", "generate"]

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from physinv.config.devices import as_device
from physinv.config.files import sha256, write_text
from physinv.config.inputs import as_path, check_function, check_instance
from physinv.config.outputs.locks import lock_folder
from physinv.config.outputs.replace import complete, staging, swap
from physinv.config.versions import versions
from physinv.data.dataset import TrajectoryDataset
from physinv.data.inspect import FieldStatistics
from physinv.data.plan import DatasetPlan, Shard
from physinv.data.resume import (
    check_free_space,
    dataset_files,
    drop_unusable_rebuild,
    holds_data,
    refuse_finished,
    refuse_other_files,
    refuse_other_statistics,
    remove_empty,
    remove_leftovers,
)
from physinv.data.writer import TrajectoryWriter
from physinv.processes.check_process import check_draws
from physinv.processes.check_steps import check_steps
from physinv.processes.parameters import describe
from physinv.processes.simulator import Simulator

Progress = Callable[[int, int], None]
"""``(trajectories done, trajectories in all)``, called at the start and after every part."""


def generate(plan: DatasetPlan, out: Path | str, *, overwrite: bool = False, progress: Progress | None = None) -> Path:
    """Make a dataset; finished files of an interrupted run are kept.

    Args:
        plan: What to make.
        out: Folder of the dataset.
        overwrite: Replace the data that are there.
        progress: Function that is told how far the work is.

    Returns:
        ``out``, whose folders ``data/train``, ``data/valid`` and ``data/test``
        :class:`~physinv.data.dataset.TrajectoryDataset` reads.

    Raises:
        FileExistsError: If ``out`` holds a complete dataset, or data of another plan, and ``overwrite`` is not set.
        BlockingIOError: If another process writes there.
        ValueError: If the simulation diverges, or initial states do not come from their generator.
        OSError: If the disk is full, or may not be written to.

    Example:
        >>> import tempfile
        >>> from simulators.vectors.double_well import DoubleWell
        >>> plan = DatasetPlan(DoubleWell(), {"train": 20, "valid": 5}, seed=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     out = generate(plan, folder)
        ...     TrajectoryDataset(out / "data" / "train").n_trajectories
        20
    """
    name = type(plan).__name__ if isinstance(plan, Simulator) else "simulator"
    check_instance(plan, DatasetPlan, "plan", f"give DatasetPlan({name}(...), {{'train': 100, 'valid': 10}})")
    out = as_path(out, "out", "give the folder of the dataset")
    if progress is not None:
        check_function(progress, "progress", "(done, all) -> None")
    check_draws(plan.simulator)
    check_steps(plan.simulator)
    with lock_folder(out, "generate"):
        complete(out)
        refuse_other_statistics(out)
        remove_leftovers(out)

        # Existing data are resumed, refused, or replaced once all new files are there.
        place, old = out, []
        if overwrite and holds_data(out):
            place, old = staging(out), dataset_files(out)
            drop_unusable_rebuild(place / "data", plan)
        else:
            refuse_finished(out, plan)
            refuse_other_files(out / "data", plan, out)
        root = place / "data"
        check_free_space(root, plan)
        statistics = FieldStatistics(plan.simulator.layout)
        try:
            _simulate_missing(root, plan, statistics, progress)
        finally:
            remove_empty(root)

        # dataset.json lists all files, and declares them complete.
        files = {
            f"data/{s.split}/{s.file}": {**file_entry(root / s.split / s.file), "trajectories": s.count}
            for s in plan.shards
        }
        summary = {"config": plan.config, "seeds": _seeds(plan), "files": files, "versions": versions()}
        write_text(place / "stats.yaml", yaml.safe_dump(statistics.result()))
        write_text(place / "dataset.json", json.dumps(summary, indent=1) + "\n")
        if place != out:
            swap(place, out, old)
    return out


def file_entry(path: Path) -> dict[str, Any]:
    """Return what dataset.json lists about a file: its SHA-256 and its bytes.

    Args:
        path: The file.
    """
    return {"sha256": sha256(path), "bytes": path.stat().st_size}


def _simulate_missing(root: Path, plan: DatasetPlan, statistics: FieldStatistics, progress: Progress | None) -> None:
    """Make the files that are not there; what is written to train on goes into the statistics, part after part."""
    missing = [s for s in plan.shards if not (root / s.split / s.file).exists()]
    done = plan.total - sum(s.count for s in missing)
    if progress is not None:
        progress(done, plan.total)
    device, dtype = as_device(plan.device), getattr(torch, plan.dtype)
    for shard in plan.shards:
        path = root / shard.split / shard.file
        if shard not in missing:
            if shard.split == "train":
                _add_stored(statistics, TrajectoryDataset(path), shard)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = TrajectoryWriter(
            path,
            name=plan.stem,
            layout=plan.simulator.layout,
            shape=plan.simulator.shape,
            times=plan.simulator.times,
            count=shard.count,
            parameters=describe(plan.simulator),
            config=plan.config_of(shard),
        )
        with writer, torch.no_grad():
            for count, seed in shard.chunks:
                generator = torch.Generator(device).manual_seed(seed)
                states = plan.simulator.simulate(count, generator=generator, device=device, dtype=dtype)
                stored = writer.write(states, seed=seed)
                if shard.split == "train":
                    statistics.add(stored)
                done += count
                if progress is not None:
                    progress(done, plan.total)


def _add_stored(statistics: FieldStatistics, data: TrajectoryDataset, shard: Shard) -> None:
    """Add a finished file in the parts in which it was made, so that sums are rounded alike."""
    first = 0
    for count, _ in shard.chunks:
        statistics.add(data.trajectories(slice(first, first + count)))
        first += count


def _seeds(plan: DatasetPlan) -> dict[str, list[list[int]]]:
    """Per split and file, the seeds of its parts."""
    splits = plan.config["splits"]
    return {split: [[s for _, s in shard.chunks] for shard in plan.shards if shard.split == split] for split in splits}
