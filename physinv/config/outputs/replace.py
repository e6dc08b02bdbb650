"""Put new files in the place of old ones as a whole: whenever a process is killed, a folder holds the one or the other.

New files are written into a folder of their own inside the one that they are for.  One renaming of that folder
decides that they count; moving them to their places comes after it, and whoever finds it half done completes it.
Files that nobody named stay where they are.
"""

from __future__ import annotations

__all__ = ["complete", "settle", "settle_above", "staging", "swap"]

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from physinv.config.files import fsync_folder, publish, read_json, write_text
from physinv.config.outputs.locks import lock_folder
from physinv.config.outputs.temporary import is_temporary, temporary_path

_STAGED, _DECIDED, _GONE = ".physinv-new", ".physinv-swap", ".physinv-gone.json"
_PATIENCE = 5.0  # seconds that a reader waits for files to be moved


def staging(folder: Path) -> Path:
    """Return where the files that are to replace those of a folder are written.

    Args:
        folder: The folder.

    Returns:
        A hidden folder inside it, which need not exist.
    """
    return folder / _STAGED


def swap(staged: Path, folder: Path, old: Iterable[Path] = ()) -> None:
    """Put staged files in the place of old ones; the caller holds the lock of the folder.

    Args:
        staged: Folder with the new files, inside ``folder``; it disappears.
        folder: The folder that they are for; below it they keep their relative places.
        old: Files inside ``folder`` that the new ones replace.  Those without a successor are removed, and folders
            that this leaves empty.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     folder = Path(name)
        ...     for place, text in ((folder, "old"), (staging(folder), "new")):
        ...         place.mkdir(exist_ok=True)
        ...         _ = (place / "x.txt").write_text(text)
        ...     swap(staging(folder), folder)
        ...     (folder / "x.txt").read_text(), [path.name for path in folder.iterdir()]
        ('new', ['x.txt'])
    """
    for path in _files(staged):
        if is_temporary(path):  # of a command that was killed before
            path.unlink()
    new = {path.relative_to(staged).as_posix() for path in _files(staged)}
    gone = sorted({path.relative_to(folder).as_posix() for path in old} - new)
    write_text(staged / _GONE, json.dumps(gone) + "\n")
    os.rename(staged, folder / _DECIDED)  # from here on the new files count
    fsync_folder(folder)
    complete(folder)


def complete(folder: Path) -> None:
    """Complete a replacement that was decided; the caller holds the lock of the folder.

    Args:
        folder: The folder; without a decided replacement nothing happens.
    """
    decided = folder / _DECIDED
    if not decided.is_dir():
        return

    # What has no successor goes first: without the list, which goes last, nothing more would be removed.
    told = decided / _GONE
    for name in read_json(told) if told.exists() else ():
        path = folder / name
        path.unlink(missing_ok=True)
        _remove_empty(path.parent, folder)
    for path in _files(decided):
        if path != told:
            _move(path, folder / path.relative_to(decided))
    told.unlink(missing_ok=True)
    shutil.rmtree(decided)
    fsync_folder(folder)


def settle(folder: Path) -> None:
    """Complete a replacement that was decided, before anything in a folder is read.

    Args:
        folder: The folder; without a decided replacement nothing happens.

    Raises:
        BlockingIOError: If another process is at it for long.
        OSError: If the folder can't be written to; one line says what to do.
    """
    if not (folder / _DECIDED).is_dir():
        return
    try:
        with lock_folder(folder, "info", wait=_PATIENCE):
            complete(folder)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise OSError(
            error.errno,
            f"its files were being replaced when a command was stopped; run `physinv info {folder}` as a user who may "
            "write there",
            str(folder),
        ) from None


def settle_above(path: Path, levels: int = 3) -> None:
    """Complete a replacement that was decided in one of the folders that a file or folder lies in.

    Args:
        path: What is to be read, which may not have its place yet.
        levels: Folders to look at, upwards.
    """
    for folder in (path.absolute(), *path.absolute().parents[:levels]):
        settle(folder)


def _files(folder: Path) -> list[Path]:
    """All files below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _move(path: Path, target: Path) -> None:
    """Move a file to its place, also to another disk, where it appears whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copy2(path, temporary_path(target))
        publish(temporary_path(target), target)
        path.unlink()


def _remove_empty(folder: Path, top: Path) -> None:
    """Remove folders below another one that hold nothing any more."""
    while folder != top:
        with contextlib.suppress(OSError):
            folder.rmdir()
        folder = folder.parent
