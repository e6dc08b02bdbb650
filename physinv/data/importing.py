"""Import trajectories that others wrote as a dataset in our layout, with splits.

    <out>/data/<split>/recorded_000.hdf5 ...   <out>/stats.yaml   <out>/dataset.json

What is read is found by :mod:`physinv.data.sources`, what is written is planned by :mod:`physinv.data.imports.plan`.
All new files are written in a hidden folder first, and appear together (:mod:`physinv.config.outputs.replace`).  Data
are streamed, a part at a time.
"""

from __future__ import annotations

__all__ = ["Choices", "Planned", "check_values", "import_trajectories", "refuse_existing", "write_import"]

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
import xarray as xr
import yaml
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from physinv.config.files import write_text
from physinv.config.outputs.locks import lock_folder
from physinv.config.outputs.refusals import OVERWRITE
from physinv.config.outputs.replace import complete, staging, swap
from physinv.config.versions import versions
from physinv.data.checks import value_warnings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import Progress, file_entry
from physinv.data.hdf5.blocks import seal
from physinv.data.imports.choices import Choices
from physinv.data.imports.missing import in_float32, refuse_missing
from physinv.data.imports.particles import continued
from physinv.data.imports.plan import ImportPlan, plan_import
from physinv.data.imports.splits import Pick
from physinv.data.inspect import field_statistics
from physinv.data.plan import CHUNK_BYTES, TRAJECTORIES_PER_SHARD
from physinv.data.resume import dataset_files, refuse_other_statistics
from physinv.data.writer import TrajectoryWriter

_MOST_CHECKED = 2**30  # bytes of states that a look at a file reads, some seconds


def import_trajectories(
    sources: Sequence[Path | str | xr.Dataset],
    out: Path | str,
    choices: Choices | None = None,
    *,
    trajectories_per_shard: int = TRAJECTORIES_PER_SHARD,
    chunk_bytes: int = CHUNK_BYTES,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Copy trajectories that others wrote into a dataset folder, as float32; after an error the folder is as it was.

    Args:
        sources: Files, folders of files, one folder that is split already, into ``train``, ``valid`` and ``test`` (or
            ``data/train``, ...), or datasets of xarray.
        out: Folder of the dataset.
        choices: What to take, and what the files do not say; None: what they say.
        trajectories_per_shard: Trajectories in one file, at most.
        chunk_bytes: Bytes of trajectories that are read at once, at most, but for one whole trajectory.
        overwrite: Replace the data that are there.
        progress: Function that is told how far the work is.

    Returns:
        ``out``.

    Raises:
        FileNotFoundError: If there is nothing to read.
        FileExistsError: If ``out`` holds data and ``overwrite`` is not set.
        ValueError: If files are of unknown format, do not belong together, or hold numbers that are not finite.

    Example:
        >>> import tempfile
        >>> walks = np.cumsum(np.random.default_rng(0).normal(size=(20, 5, 2)), axis=1)
        >>> data = xr.Dataset({"x": (("sample", "time", "component"), walks)}, {"time": np.arange(5.0)})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     out = import_trajectories([data], folder)
        ...     TrajectoryDataset(out / "data" / "train").n_trajectories
        16
    """
    refuse_existing(Path(out), overwrite)
    plan = plan_import(sources, choices or Choices(), chunk_bytes)
    return write_import(
        plan,
        out,
        trajectories_per_shard=trajectories_per_shard,
        chunk_bytes=chunk_bytes,
        overwrite=overwrite,
        progress=progress,
    )


def write_import(
    plan: ImportPlan,
    out: Path | str,
    *,
    trajectories_per_shard: int = TRAJECTORIES_PER_SHARD,
    chunk_bytes: int = CHUNK_BYTES,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write what :func:`~physinv.data.imports.plan.plan_import` found.

    Args:
        plan: What to write.
        out: Folder of the dataset.
        trajectories_per_shard: Trajectories in one file, at most.
        chunk_bytes: Bytes of trajectories that are read at once, at most, but for one whole trajectory.
        overwrite: Replace the data that are there.
        progress: Function that is told how far the work is.

    Returns:
        ``out``.

    Raises:
        FileExistsError: If ``out`` holds data and ``overwrite`` is not set.
        ValueError: If ``out`` holds the files to be read, or states are not finite.
        BlockingIOError: If another process writes there.
    """
    out = Path(out)
    refuse_existing(out, overwrite)
    inside = [r.path for r in plan.recordings if out.resolve() in Path(r.path).resolve().parents]
    if inside:
        raise ValueError(f"`--out` must be a folder of its own, {out} holds {inside[0]}, which is to be imported.")
    with lock_folder(out, "import"):
        complete(out)
        refuse_other_statistics(out)
        refuse_existing(out, overwrite)
        place, old = staging(out), dataset_files(out)
        try:
            shutil.rmtree(place, ignore_errors=True)
            _write_whole(place, plan, trajectories_per_shard, chunk_bytes, progress)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        swap(place, out, old)
    return out


def check_values(plan: ImportPlan, *, most_bytes: int = _MOST_CHECKED, chunk_bytes: int = CHUNK_BYTES) -> bool:
    """Read all states that an import would write, and refuse what it would refuse.

    Args:
        plan: What would be written.
        most_bytes: Bytes of states that are read at all; larger data are not checked.
        chunk_bytes: Bytes of trajectories that are read at once, at most, but for one whole trajectory.

    Returns:
        Whether the states were few enough to be checked.

    Raises:
        ValueError: If numbers are missing, infinite, or too large for float32.
    """
    one = 8 * len(plan.recorded.times) * math.prod(plan.recorded.shape)
    if one * sum(map(len, plan.picks.values())) > most_bytes:
        return False
    for picked in plan.picks.values():
        for _ in _read(picked, plan, max(1, chunk_bytes // one), chunk_bytes):
            pass
    return True


class Planned:
    """What an import would write for training, read as a dataset is (:class:`~physinv.data.checks.Blocks`).

    Args:
        plan: What would be written.

    Attributes:
        layout: The layout of the states.
    """

    def __init__(self, plan: ImportPlan) -> None:
        self._plan, self.layout = plan, plan.recorded.layout

    def blocks(self, limit: int | None = None) -> Iterator[Float[Tensor, "n time *state"]]:
        """Read the first trajectories, a chunk at a time.

        Args:
            limit: How many; None for all.

        Yields:
            States, shape ``(n, time, *state)``.
        """
        one = 8 * len(self._plan.recorded.times) * math.prod(self._plan.recorded.shape)
        picked = self._plan.picks["train"][:limit]
        for states in _read(picked, self._plan, max(1, CHUNK_BYTES // one), CHUNK_BYTES):
            yield torch.from_numpy(states)


def refuse_existing(out: Path, overwrite: bool) -> None:
    """Raise FileExistsError if a folder holds a dataset.

    Args:
        out: The folder.
        overwrite: Whether it may be replaced.

    Raises:
        FileExistsError: If it holds one that may not.
    """
    if not overwrite and any((out / name).exists() for name in ("dataset.json", "data")):
        raise FileExistsError(f"{out} holds data already; choose another --out, or add {OVERWRITE}.")


def _write_whole(place: Path, plan: ImportPlan, shard: int, chunk_bytes: int, progress: Progress | None) -> None:
    """A dataset with statistics and dataset.json, in a folder of its own."""
    root = place / "data"
    _write_all(root, plan, shard, chunk_bytes, progress)
    train = TrajectoryDataset(root / "train")
    statistics, notes = yaml.safe_dump(field_statistics(train)), [*plan.notes, *value_warnings(train)]
    files = {f"data/{p.parent.name}/{p.name}": file_entry(p) for p in sorted(root.glob("*/*.hdf5"))}
    named = {s: sorted({r.path for r, _, _ in p}) for s, p in plan.picks.items()}
    summary = {"config": plan.config, "sources": named, "notes": notes, "files": files, "versions": versions()}
    write_text(place / "stats.yaml", statistics)
    write_text(place / "dataset.json", json.dumps(summary, indent=1) + "\n")


def _write_all(root: Path, plan: ImportPlan, shard: int, chunk_bytes: int, progress: Progress | None) -> None:
    recorded = plan.recorded
    done, total = 0, sum(map(len, plan.picks.values()))
    chunk = max(1, chunk_bytes // (8 * len(recorded.times) * math.prod(recorded.shape)))
    for split, picked in plan.picks.items():
        (root / split).mkdir(parents=True)
        for number, start in enumerate(range(0, len(picked), shard)):
            part = picked[start : start + shard]
            path = root / split / f"recorded_{number:03d}.hdf5"
            writer = TrajectoryWriter(
                path,
                name="recorded",
                layout=recorded.layout,
                shape=recorded.shape,
                times=recorded.times,
                count=len(part),
                parameters=plan.config["physics"],
                config={**plan.config, "split": split, "shard": number},
            )
            with writer:
                for states in _read(part, plan, chunk, chunk_bytes):
                    writer.write(torch.from_numpy(states))
                    done += len(states)
                    if progress is not None:
                        progress(done, total)
            _write_varying(path, part)


def _read(picked: Sequence[Pick], plan: ImportPlan, chunk: int, chunk_bytes: int) -> Iterator[NDArray[np.float32]]:
    """The picked trajectories in order: neighbours in a file together, at most ``chunk`` at once."""
    at, every = 0, plan.length.step
    while at < len(picked):
        recording, sample, start = picked[at]
        n = 1
        if plan.length.stop is None:  # whole trajectories
            while n < chunk and at + n < len(picked) and picked[at + n] == (recording, sample + n, 0):
                n += 1
            x = recording.read(slice(sample, sample + n), slice(None, None, every))
        else:  # windows of one recording, whose times are read once
            reach = start + max(plan.length.stop, chunk * every)
            while n < chunk and at + n < len(picked) and picked[at + n][:2] == (recording, sample):
                if picked[at + n][2] + plan.length.stop > reach:
                    break
                n += 1
            last = picked[at + n - 1][2] + plan.length.stop
            series = recording.read(slice(sample, sample + 1), slice(start, last))[0]
            offsets = np.arange(0, plan.length.stop, every)
            x = series[np.array([a - start for _, _, a in picked[at : at + n]])[:, None] + offsets]
        x = continued(x, plan.recorded.layout) if plan.recorded.layout.positions else x
        known = plan.known(picked[at : at + n])
        if known.shape[1]:
            shape = (n, x.shape[1], known.shape[1], *x.shape[3:])
            x = np.concatenate([x, np.broadcast_to(known.reshape(n, 1, -1, *[1] * (x.ndim - 3)), shape)], axis=2)
        yield _finite(x, plan, recording.path, sample, chunk_bytes)
        at += n


def _finite(x: NDArray[np.float64], plan: ImportPlan, path: str, first: int, chunk_bytes: int) -> NDArray[np.float32]:
    """States in float32, with 0 at points without data."""
    if plan.mask is not None:
        x = np.where(plan.mask, x, 0.0)
    if np.isnan(x).any():
        refuse_missing(plan.recordings, chunk_bytes)
    return in_float32(x, path, first)


def _write_varying(path: Path, picked: Sequence[Pick]) -> None:
    """Numbers that differ from trajectory to trajectory, where The Well's readers look for them."""
    names = list(picked[0][0].varying)
    if not names:
        return
    with h5py.File(path, "r+") as file:
        scalars = file["scalars"]
        for name in names:
            values = np.array([r.varying[name][i] for r, i, _ in picked], dtype=np.float32)
            data = scalars.create_dataset(name, data=values, track_times=False)
            data.attrs["sample_varying"], data.attrs["time_varying"] = np.bool_(True), np.bool_(False)
        told = [*scalars.attrs["field_names"], *names]
        scalars.attrs["field_names"] = np.array(told, dtype=h5py.string_dtype())
    seal(path)
