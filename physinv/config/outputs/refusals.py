"""Outputs that a command may write: never what it reads, and nothing of another kind."""

from __future__ import annotations

__all__ = ["OVERWRITE", "check_folder", "check_kind", "check_replaced", "refuse_existing", "refuse_inputs"]

from collections.abc import Iterable
from pathlib import Path

OVERWRITE = "`--overwrite` (Python: `overwrite=True`)"  # for messages, which both the command line and Python show


def check_folder(path: Path) -> None:
    """Refuse a path that no folder can have, before anything is computed for it.

    Args:
        path: A folder that is to be written into, or made.

    Raises:
        NotADirectoryError: If it, or a part of the path to it, is something else, or a link that leads nowhere.
    """
    for place in (path, *path.parents):
        if place.is_dir():
            return
        if place.exists():
            raise NotADirectoryError(f"{place} must be a folder, and there is a file of that name; take another name.")
        if place.is_symlink():
            raise NotADirectoryError(f"{place} must be a folder, and is a link that leads nowhere; take another name.")


def check_replaced(path: Path) -> None:
    """Refuse to replace a pipe, a socket or a device by a file: others use it.

    Args:
        path: A file that is to be written.

    Raises:
        FileExistsError: If it is one of these.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise FileExistsError(f"{path} is a pipe or a device, which no file replaces; take the name of a file.")


def check_kind(path: Path, kind: str, beginnings: tuple[bytes, ...]) -> None:
    """Refuse to replace a file by one of another kind.

    Args:
        path: A file that is to be written, and need not exist; an empty one may be replaced.
        kind: What is to be written, in a word.
        beginnings: First bytes of files of that kind.

    Raises:
        FileExistsError: If there is a file that begins in another way, or a folder.
    """
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder, which no {kind} replaces; take the name of a file.")
    if path.is_file():
        with path.open("rb") as file:
            first = file.read(max(map(len, beginnings)))
        if first and not first.startswith(beginnings):
            raise FileExistsError(f"{path} is no {kind}, and is not replaced by one; choose another path, or move it.")


def refuse_inputs(path: Path, option: str, inputs: Iterable[Path | str]) -> None:
    """Refuse to write over what is read, or into a folder of data that is read.

    Args:
        path: What is to be written.
        option: The argument or option that names it, for messages.
        inputs: Files that are read, and folders of which everything is read.

    Raises:
        ValueError: If it is one of them, by whatever name, or lies in one of them, or among the trajectories of a
            dataset.
    """
    target = path.resolve()
    for given in map(Path, inputs):
        if target == given.resolve() or (path.exists() and given.exists() and path.samefile(given)):
            raise ValueError(f"`{option}` must not be what is read, got {path}; choose another path.")
        if given.is_dir() and given.resolve() in target.parents:
            raise ValueError(f"`{option}` must not lie in {given}, which is read, got {path}; choose another path.")
    split = target.parent
    if not path.exists() and split.parent.name == "data" and (split.parent.parent / "dataset.json").is_file():
        raise ValueError(
            f"`{option}` must not lie among the trajectories of {split.parent.parent}, got {path}; choose another path."
        )


def refuse_existing(path: Path, option: str, *, overwrite: bool) -> None:
    """Refuse to replace a file unless that is asked for.

    Args:
        path: What is to be written.
        option: The argument or option that names it, for messages.
        overwrite: Whether it may replace a file.

    Raises:
        FileExistsError: If there is a file that may not be replaced, a folder, or a device.
    """
    if path.is_dir():
        raise FileExistsError(f"`{option}` must name a file, {path} is a folder; add a name to it.")
    check_replaced(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another {option}, or add {OVERWRITE}.")
