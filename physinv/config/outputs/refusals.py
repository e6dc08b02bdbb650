"""Outputs that a command may write: never what it reads, and nothing of another kind."""

from __future__ import annotations

__all__ = ["OVERWRITE", "refuse_existing", "refuse_inputs"]

from collections.abc import Iterable
from pathlib import Path

OVERWRITE = "`--overwrite` (Python: `overwrite=True`)"  # for messages, which both the command line and Python show


def refuse_inputs(path: Path, option: str, inputs: Iterable[Path | str]) -> None:
    """Refuse to write over what is read, or into a folder of data that is read.

    Args:
        path: What is to be written.
        option: The argument or option that names it, for messages.
        inputs: Files that are read, and folders of which everything is read.

    Raises:
        ValueError: If it is one of them, by whatever name, or lies in one of them.
    """
    target = path.resolve()
    for given in map(Path, inputs):
        if target == given.resolve() or (path.exists() and given.exists() and path.samefile(given)):
            raise ValueError(f"`{option}` must not be what is read, got {path}; choose another path.")
        if given.is_dir() and given.resolve() in target.parents:
            raise ValueError(f"`{option}` must not lie in {given}, which is read, got {path}; choose another path.")


def refuse_existing(path: Path, option: str, *, overwrite: bool) -> None:
    """Refuse to replace a file unless that is asked for.

    Args:
        path: What is to be written.
        option: The argument or option that names it, for messages.
        overwrite: Whether it may replace a file.

    Raises:
        FileExistsError: If there is a file that may not be replaced, or a folder.
    """
    if path.is_dir():
        raise FileExistsError(f"`{option}` must name a file, {path} is a folder; add a name to it.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another {option}, or add {OVERWRITE}.")
