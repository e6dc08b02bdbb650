"""What earlier runs of ``generate`` left in a folder: used if it fits, refused if it does not, removed if broken."""

from __future__ import annotations

__all__ = [
    "check_free_space",
    "dataset_files",
    "drop_unusable_rebuild",
    "holds_data",
    "refuse_finished",
    "refuse_other_files",
    "refuse_other_statistics",
    "remove_empty",
    "remove_leftovers",
]

import contextlib
import errno
import math
import os
import re
import shutil
from pathlib import Path

from physinv.config.failures import told_bytes
from physinv.config.files import MOST_TEXT, check_regular
from physinv.config.json_text import read_object
from physinv.config.outputs.refusals import OVERWRITE, check_kind
from physinv.config.outputs.replace import staging
from physinv.config.outputs.temporary import sweep
from physinv.data.file_format import read_header
from physinv.data.hdf5.opening import open_file
from physinv.data.plan import SPLITS, DatasetPlan, differences
from physinv.data.process import check_times

_SHARD = re.compile(r"_\d{3,}\.hdf5$")  # how names of files of a dataset end


def holds_data(out: Path) -> bool:
    """Return whether the dataset folder ``out`` holds anything that overwriting would destroy.

    Args:
        out: Folder of a dataset, which need not exist.
    """
    return (out / "dataset.json").exists() or any(True for s in SPLITS for _ in (out / "data" / s).glob("*.hdf5"))


def refuse_finished(out: Path, plan: DatasetPlan) -> None:
    """Refuse a folder whose dataset is finished.

    Args:
        out: Folder of the dataset.
        plan: What is to be made there.

    Raises:
        FileExistsError: If its dataset.json is that of another plan, or of this one and no file is missing.
        ValueError: If dataset.json is damaged.
    """
    path = out / "dataset.json"
    if not path.exists():
        return
    check_regular(path, MOST_TEXT)
    try:
        config = read_object(path.read_bytes(), str(path)).get("config")
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise ValueError(f"{path} is damaged: delete it to complete the data, or add {OVERWRITE}.") from None
    if told := differences(config, plan.config):
        raise FileExistsError(_other_configuration(out, told))
    if all((out / "data" / s.split / s.file).exists() for s in plan.shards):
        raise FileExistsError(f"{out} holds this dataset already, complete; add {OVERWRITE} to make it anew.")


def refuse_other_files(root: Path, plan: DatasetPlan, out: Path) -> None:
    """Refuse a folder that holds a file which ``plan`` would not make.

    Args:
        root: Folder of the splits.
        plan: What is to be made there.
        out: Folder of the dataset, as messages name it.

    Raises:
        FileExistsError: If there is a file of another plan.
        ValueError: If a file is damaged.
    """
    planned = {(s.split, s.file): s for s in plan.shards}
    for split in SPLITS:
        for path in sorted((root / split).glob("*.hdf5")):
            shard = planned.get((split, path.name))
            if shard is None:
                told = f"{path.relative_to(out)} is not part of what was asked for"
                raise FileExistsError(_other_configuration(out, told))
            header = read_header(path)
            told = differences(header.config, plan.config_of(shard))
            if not told and header.n_trajectories != shard.count:
                told = f"{path.relative_to(out)} holds {header.n_trajectories} trajectories there, {shard.count} here"
            if told:
                raise FileExistsError(_other_configuration(out, told))
            check_times(path, header.times, plan.simulator)


def drop_unusable_rebuild(root: Path, plan: DatasetPlan) -> None:
    """Remove what an interrupted overwriting left, unless it is part of ``plan``.

    Args:
        root: Folder of the new splits.
        plan: What is to be made there.
    """
    try:
        refuse_other_files(root, plan, root)
    except (OSError, ValueError):
        shutil.rmtree(root)


def remove_leftovers(out: Path) -> None:
    """Remove temporary files of processes that died.

    Args:
        out: Folder of the dataset.

    Raises:
        BlockingIOError: If a living process writes there.
    """
    places = out, staging(out)
    for folder in (*places, *(place / "data" / split for place in places for split in SPLITS)):
        for path in sweep(folder):
            raise BlockingIOError(f"{path} is being written by another process; wait until that has finished.")


def refuse_other_statistics(out: Path) -> None:
    """Refuse to write statistics over a file of the same name.

    Args:
        out: Folder of the dataset.

    Raises:
        FileExistsError: If it holds a ``stats.yaml`` that is no table of statistics.
    """
    check_kind(out / "stats.yaml", "table of statistics", (b"mean:",))


def dataset_files(out: Path) -> list[Path]:
    """Return the files of a dataset that another one would replace; files of other kinds stay where they are.

    Args:
        out: Folder of the dataset.

    Raises:
        ValueError: If a folder of a split holds an HDF5 file that physinv did not write: a new dataset would be read
            together with it.
    """
    found = [path for name in ("dataset.json", "stats.yaml") if (path := out / name).is_file()]
    for split in SPLITS:
        for path in sorted((out / "data" / split).glob("*.hdf5")):
            if not _SHARD.search(path.name) or _foreign(path):
                raise ValueError(f"{path} was not written by physinv, and would be read with the new data; move it.")
            found.append(path)
    return found


def _foreign(path: Path) -> bool:
    """Whether a whole HDF5 file is of others."""
    try:
        with open_file(path) as file:
            return "physinv" not in set(file)
    except ValueError:  # damaged
        return False


def check_free_space(root: Path, plan: DatasetPlan) -> None:
    """Check, before the work begins, that a trajectory fits into memory, and the missing files on the disk.

    Args:
        root: Folder of the splits, which need not exist.
        plan: What is to be made there.

    Raises:
        OSError: If the files do not.
        ValueError: If a trajectory does not.
    """
    if (one := plan.trajectory_bytes) > (memory := _memory()):
        raise ValueError(
            f"`simulator` makes trajectories that need {told_bytes(one)} of memory each, this machine has "
            f"{told_bytes(memory)}; take fewer steps, points or components."
        )
    missing = sum(s.count for s in plan.shards if not (root / s.split / s.file).exists())
    place = next(p for p in (root, *root.absolute().parents) if p.is_dir())
    free, needed = shutil.disk_usage(place).free, missing * plan.trajectory_bytes
    if needed > free:
        reason = f"the data need {told_bytes(needed)}, but only {told_bytes(free)} are free"
        raise OSError(errno.ENOSPC, f"No space left on device: {reason}", str(place))


def _memory() -> float:
    """Bytes of memory of this machine, as far as it says so."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows
        return math.inf


def _other_configuration(out: Path, told: str) -> str:
    return f"{out} holds data of another configuration ({told}); take another folder, or add {OVERWRITE}."


def remove_empty(root: Path) -> None:
    """Remove the folders of splits that hold nothing, and theirs if that is empty then, after a refusal.

    Args:
        root: Folder ``data`` of a dataset, which need not exist.
    """
    for folder in (*(root / split for split in SPLITS), root):
        with contextlib.suppress(OSError):  # missing, or not empty
            folder.rmdir()
