"""Put new files in the place of old ones as a whole: whenever a process is killed, a folder holds the one or the other.

New files are written into a folder of their own inside the one that they are for.  One renaming of that folder
decides that they count; moving them to their places comes after it, and whoever finds it half done completes it.
Files that nobody named stay where they are.

Folders may come from elsewhere, with a replacement prepared in them that physinv never decided.  What another process
left is completed only within the folder, through no link, for files of the kinds that physinv writes.
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
_KINDS = (".hdf5", ".json", ".jsonl", ".safetensors", ".yaml")  # of files that are replaced
_EVENTS = "events.out.tfevents."  # how names of those of TensorBoard begin
_ANYBODY = 0o002  # mode of a folder that everybody may write to


def staging(folder: Path) -> Path:
    """Return where the files that are to replace those of a folder are written.

    Args:
        folder: The folder.

    Returns:
        A hidden folder inside it, which need not exist.

    Raises:
        ValueError: If it is a link or holds one, which physinv never makes.
    """
    _refuse_links(staged := folder / _STAGED)
    return staged


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
    _carry_out(folder, gone)


def complete(folder: Path) -> None:
    """Complete a replacement that another process decided; the caller holds the lock of the folder.

    Args:
        folder: The folder; without a decided replacement nothing happens.

    Raises:
        ValueError: If it reaches beyond the folder, names files that physinv does not write, or is of a user whom the
            folder does not belong to.
    """
    decided = folder / _DECIDED
    if not os.path.lexists(decided):
        return
    _refuse_links(decided)
    told = decided / _GONE
    gone = read_json(told) if told.exists() else []
    if not isinstance(gone, list) or not all(isinstance(name, str) for name in gone):
        raise ValueError(f"{told} is damaged: it is no list of names; remove {decided}.")
    for name in (*gone, *(path.relative_to(decided).as_posix() for path in _files(decided) if path != told)):
        _check_place(folder, name)
    _check_owner(folder)
    _carry_out(folder, gone)


def _carry_out(folder: Path, gone: Iterable[str]) -> None:
    """Remove and move the files of a replacement."""
    # What has no successor goes first: without the list, which goes last, nothing more would be removed.
    decided = folder / _DECIDED
    told = decided / _GONE
    for name in gone:
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
        ValueError: If the replacement reaches beyond the folder, or names files that physinv does not write.
    """
    if not os.path.lexists(folder / _DECIDED) or _planted(folder):
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


def _refuse_links(hidden: Path) -> None:
    """Refuse a hidden folder of ours that leads elsewhere."""
    for path in (hidden, *hidden.rglob("*")):
        if path.is_symlink():
            raise ValueError(f"{path} is a link, of which physinv makes none there; remove {hidden}.")


def _check_place(folder: Path, name: str) -> None:
    """Refuse a file that is not in the folder itself, or not of a kind that physinv writes there."""
    path, parts = folder / name, name.split("/")
    if not all(parts) or {".", ".."} & set(parts) or "\0" in name:
        why = "leads out of the folder"
    elif not (path.suffix in _KINDS or path.name.startswith(_EVENTS)):
        why = "is of no kind that physinv replaces"
    elif any(folder.joinpath(*parts[:n]).is_symlink() for n in range(1, len(parts))):
        why = "lies behind a link"
    else:
        return
    raise ValueError(
        f"{folder / _DECIDED} is a replacement of files that was stopped, of which {name!r} {why}; move its files to "
        "their places if it is yours, else remove it."
    )


def _check_owner(folder: Path) -> None:
    """Refuse a replacement of somebody whom the folder does not belong to."""
    if not _own(folder):
        raise ValueError(
            f"files of {folder} were being replaced by another user when a command was stopped; run "
            f"`physinv info {folder}` as that user, or remove {folder / _DECIDED}."
        )


def _own(folder: Path) -> bool:
    """Whether a replacement is of this user, or of the one whom the folder belongs to."""
    if os.name != "posix":
        return True
    return (folder / _DECIDED).lstat().st_uid in (os.geteuid(), folder.stat().st_uid)


def _planted(folder: Path) -> bool:
    """Whether a replacement of somebody else lies where everybody may write, as in the system's temporary folder."""
    return bool(folder.stat().st_mode & _ANYBODY) and not _own(folder)


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
