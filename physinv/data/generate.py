"""``generate``: simulator -> HDF5 files, sharded, resumable, reproducible to the byte.

    <out>/data/<split>/<name>_000.hdf5 ...    the files, each of which appears whole (:mod:`physinv.data.writer`)
    <out>/stats.yaml                          moments of the training split
    <out>/dataset.json                        configuration, seeds, sha256 of every file, versions

dataset.json is written last: where it is, the dataset is complete.

A run that was killed keeps its finished files, and the next one makes the rest.  All random numbers of a part come
from a generator of its own, seeded by (seed, split, file, part), so the bytes do not depend on what was interrupted,
and no split shares noise with another.  Overwriting builds the new files in ``<out>/data/.rebuild`` first, and only
when all are there removes the old ones.
"""

from __future__ import annotations

__all__ = ["Progress", "Recipe", "generate", "load_recipe"]

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from physinv.config.sink import publish
from physinv.data.dataset import TrajectoryDataset
from physinv.data.plan import SPLITS, Plan, Shard
from physinv.data.recipe import CHUNK_BYTES, SHARD, Recipe, load_recipe
from physinv.data.resume import check_space, drop_unusable, occupied, refuse_complete, refuse_others, sweep
from physinv.data.schema import versions
from physinv.data.statistics import statistics
from physinv.data.writer import TrajectoryWriter
from physinv.processes.check_steps import check_steps
from physinv.processes.simulator import Simulator, describe

Progress = Callable[[int, int], None]
"""``(trajectories done, trajectories in all)``, called at the start and after every part."""


def generate(
    simulator: Simulator,
    name: str,
    splits: Mapping[str, int],
    seed: int,
    out: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: Literal["float32", "float64"] = "float32",
    trajectories_per_shard: int = SHARD,
    chunk_bytes: int = CHUNK_BYTES,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Make the dataset in the folder ``out`` and return it; finished files of an interrupted run are kept.

    ``name`` is what ``simulator`` is registered as; it names the files.  ``splits`` maps train (valid, test) to
    numbers of trajectories.  ``dtype`` is that of the simulation, files hold float32.  At most ``chunk_bytes`` of
    trajectories are simulated at once.  The device is part of the configuration: other devices give other noise.

    Raises FileExistsError if ``out`` holds a complete dataset, or data of another configuration, and not
    ``overwrite``; BlockingIOError if another process is writing there; ValueError if the simulation diverges; OSError.
    """
    out = Path(out)
    plan = Plan(
        simulator,
        name,
        splits,
        seed,
        device=torch.device(device),
        dtype=dtype,
        trajectories_per_shard=trajectories_per_shard,
        chunk_bytes=chunk_bytes,
    )
    check_steps(simulator)
    sweep(out)
    root = out / "data"
    if overwrite and occupied(out):
        root = root / ".rebuild"
        drop_unusable(root, plan)
    else:
        refuse_complete(out, plan)
        refuse_others(root, plan, out)
    check_space(root, plan)
    _make_all(root, plan, progress)
    files = {f"data/{s.split}/{s.file}": _file_entry(root / s.split / s.file, s) for s in plan.shards}
    stats = statistics(TrajectoryDataset(root / "train"))
    if root != out / "data":
        _swap(root, out)
    summary = {"config": plan.config, "seeds": _seeds(plan), "files": files, "versions": versions()}
    _write_text(out / "stats.yaml", yaml.safe_dump(stats))
    _write_text(out / "dataset.json", json.dumps(summary, indent=1) + "\n")
    return out


def _make_all(root: Path, plan: Plan, progress: Progress | None) -> None:
    missing = [s for s in plan.shards if not (root / s.split / s.file).exists()]
    done = plan.total - sum(s.count for s in missing)
    if progress is not None:
        progress(done, plan.total)
    for shard in missing:
        (root / shard.split).mkdir(parents=True, exist_ok=True)
        writer = TrajectoryWriter(
            root / shard.split / shard.file,
            name=plan.name,
            layout=plan.simulator.layout,
            shape=plan.simulator.shape,
            times=plan.simulator.times,
            count=shard.count,
            parameters=describe(plan.simulator),
            config=plan.config_of(shard),
        )
        with writer, torch.no_grad():
            for count, seed in shard.chunks:
                generator = torch.Generator(plan.device).manual_seed(seed)
                states = plan.simulator.simulate(count, generator=generator, device=plan.device, dtype=plan.dtype)
                writer.write(states, seed=seed)
                done += count
                if progress is not None:
                    progress(done, plan.total)


def _file_entry(path: Path, shard: Shard) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "bytes": path.stat().st_size, "trajectories": shard.count}


def _seeds(plan: Plan) -> dict[str, list[list[int]]]:
    """Per split and file, the seeds of its parts."""
    splits = plan.config["splits"]
    return {split: [[s for _, s in shard.chunks] for shard in plan.shards if shard.split == split] for split in splits}


def _swap(root: Path, out: Path) -> None:
    """Put new splits in the place of old ones; without dataset.json the dataset counts as incomplete meanwhile."""
    (out / "dataset.json").unlink(missing_ok=True)
    for split in SPLITS:
        if (out / "data" / split).exists():
            shutil.rmtree(out / "data" / split)
        if (root / split).exists():
            (root / split).rename(out / "data" / split)
    shutil.rmtree(root)


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    try:
        temporary.write_text(text, "utf-8")
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
