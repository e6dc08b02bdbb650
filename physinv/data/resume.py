"""What earlier runs of ``generate`` left in a folder: used if it fits, refused if it does not, removed if broken."""

from __future__ import annotations

__all__ = [
    "check_free_space",
    "dataset_files",
    "drop_unusable_rebuild",
    "holds_data",
    "refuse_finished",
    "refuse_other_files",
    "remove_leftovers",
]

import contextlib
import errno
import re
import shutil
from pathlib import Path

from physinv.config.files import read_json
from physinv.data.file_format import open_file, read_header
from physinv.data.plan import SPLITS, DatasetPlan, differences

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
    try:
        config = read_json(path)["config"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged: delete it to complete the data, or add `--overwrite`.") from None
    if told := differences(config, plan.config):
        raise FileExistsError(_other_configuration(out, told))
    if all((out / "data" / s.split / s.file).exists() for s in plan.shards):
        raise FileExistsError(f"{out} holds this dataset already, complete; add `--overwrite` to make it anew.")


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
        BlockingIOError: If a living process has one of them open.
    """
    for path in [*out.glob("*.tmp.*"), *(out / "data").rglob("*.tmp.*")]:
        if path.name.rpartition(".")[2].isdecimal():
            if ".hdf5" in path.suffixes:
                with contextlib.suppress(ValueError, FileNotFoundError):  # unreadable, because its writer died
                    open_file(path).close()
            path.unlink(missing_ok=True)


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
    """Check, before the work begins, that the missing files fit on the disk.

    Args:
        root: Folder of the splits, which need not exist.
        plan: What is to be made there.

    Raises:
        OSError: If they do not.
    """
    missing = sum(s.count for s in plan.shards if not (root / s.split / s.file).exists())
    place = next(p for p in (root, *root.absolute().parents) if p.is_dir())
    free, needed = shutil.disk_usage(place).free, missing * plan.trajectory_bytes
    if needed > free:
        reason = f"the data need {needed / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free"
        raise OSError(errno.ENOSPC, f"No space left on device: {reason}", str(place))


def _other_configuration(out: Path, told: str) -> str:
    return f"{out} holds data of another configuration ({told}); take another folder, or add `--overwrite`."
