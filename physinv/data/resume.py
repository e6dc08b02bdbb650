"""What earlier runs of ``generate`` left in a folder: kept if it fits, refused if it does not, swept up if broken."""

from __future__ import annotations

__all__ = ["check_space", "drop_unusable", "occupied", "refuse_complete", "refuse_others", "sweep"]

import contextlib
import errno
import json
import shutil
from pathlib import Path

from physinv.data.header import open_file, read_header
from physinv.data.plan import SPLITS, Plan, differences


def occupied(out: Path) -> bool:
    """Is there anything that overwriting would destroy?"""
    return (out / "dataset.json").exists() or any(True for s in SPLITS for _ in (out / "data" / s).glob("*.hdf5"))


def refuse_complete(out: Path, plan: Plan) -> None:
    """FileExistsError if the dataset that ``out`` calls complete is another one, or has all its files."""
    path = out / "dataset.json"
    if not path.exists():
        return
    try:
        config = json.loads(path.read_text("utf-8"))["config"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged: delete it to complete the data, or add `--overwrite`.") from None
    if told := differences(config, plan.config):
        raise FileExistsError(_other(out, told))
    if all((out / "data" / s.split / s.file).exists() for s in plan.shards):
        raise FileExistsError(f"{out} holds this dataset already, complete; add `--overwrite` to make it anew.")


def refuse_others(root: Path, plan: Plan, out: Path) -> None:
    """Every file that lies in the folders of the splits must be one that this plan would make."""
    planned = {(s.split, s.file): s for s in plan.shards}
    for split in SPLITS:
        for path in sorted((root / split).glob("*.hdf5")):
            shard = planned.get((split, path.name))
            if shard is None:
                raise FileExistsError(_other(out, f"{path.relative_to(out)} is not part of what was asked for"))
            header = read_header(path)
            told = differences(header.config, plan.config_of(shard))
            if not told and header.n_trajectories != shard.count:
                told = f"{path.relative_to(out)} holds {header.n_trajectories} trajectories there, {shard.count} here"
            if told:
                raise FileExistsError(_other(out, told))


def drop_unusable(root: Path, plan: Plan) -> None:
    """What an interrupted overwriting left is used if it fits, else removed."""
    try:
        refuse_others(root, plan, root)
    except (OSError, ValueError):
        shutil.rmtree(root)


def sweep(out: Path) -> None:
    """Remove what dead processes left half-written; BlockingIOError for a file that a living one has open."""
    for path in [*out.glob("*.tmp.*"), *(out / "data").rglob("*.tmp.*")]:
        if path.name.rpartition(".")[2].isdecimal():
            if ".hdf5" in path.suffixes:
                with contextlib.suppress(ValueError, FileNotFoundError):  # unreadable, because its writer died
                    open_file(path).close()
            path.unlink(missing_ok=True)


def check_space(root: Path, plan: Plan) -> None:
    """OSError before the work begins if the missing files won't fit on the disk."""
    missing = sum(s.count for s in plan.shards if not (root / s.split / s.file).exists())
    place = next(p for p in (root, *root.absolute().parents) if p.is_dir())
    free, needed = shutil.disk_usage(place).free, missing * plan.trajectory_bytes
    if needed > free:
        reason = f"the data need {needed / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free"
        raise OSError(errno.ENOSPC, f"No space left on device: {reason}", str(place))


def _other(out: Path, told: str) -> str:
    return f"{out} holds data of another configuration ({told}); take another folder, or add `--overwrite`."
