"""Temporary files: named so that nobody else's are taken for ours, and removed when their process is dead."""

from __future__ import annotations

__all__ = ["is_temporary", "scratch_folder", "sweep", "temporary_path"]

import contextlib
import hashlib
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OURS = re.compile(r"\..+\.physinv-tmp-(\d+)-([0-9a-f]{8})")  # a process, its machine and itself
_CLOCKS = 60.0  # seconds that clocks of processes and of files may differ by
_LONG = 24 * 3600.0  # seconds without a change after which a file of another machine is left over, too


def temporary_path(path: Path) -> Path:
    """Return the path at which this process writes ``path`` before it is complete.

    Args:
        path: The file that is to appear.

    Returns:
        A sibling ``.NAME.physinv-tmp-PROCESS-TOKEN``, where TOKEN tells machines and processes apart.
    """
    return path.with_name(f".{path.name}.physinv-tmp-{os.getpid()}-{_TOKEN}")


def is_temporary(path: Path) -> bool:
    """Return whether a path is called as :func:`temporary_path` calls files.

    Args:
        path: A file or folder, which need not exist.
    """
    return _OURS.fullmatch(path.name) is not None


def sweep(folder: Path, name: str = "") -> list[Path]:
    """Remove temporary files and folders that dead processes left; files of any other name stay.

    Args:
        folder: Where to look, not below it.
        name: Of this file alone; empty: of all.

    Returns:
        Temporary files of processes that live.
    """
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if _OURS.fullmatch(entry.name)]
    except OSError:  # there is no such folder, or it may not be read
        return []
    living = []
    for entry in found:
        if not entry.name.startswith(f".{name}.physinv-tmp-" if name else "."):
            continue
        if not _left_over(entry):
            living.append(Path(entry.path))
        elif entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)
    return living


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """Make a folder for files that are needed inside a ``with`` block alone; what dead processes left goes as well.

    Args:
        name: What it is for.

    Yields:
        The folder, readable by this user alone, in the folder of the system for temporary files.
    """
    root = Path(tempfile.gettempdir())
    sweep(root, name)
    folder = temporary_path(root / name)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _left_over(entry: os.DirEntry[str]) -> bool:
    """Whether the process that a temporary file belongs to is dead, as far as can be told from here."""
    found = _OURS.fullmatch(entry.name)
    assert found is not None
    process, token = int(found[1]), found[2]
    if token[:4] == _PLACE and os.name == "posix":
        if process == os.getpid():
            return token != _TOKEN
        return not _alive(process) or _began_after(process, entry)
    with contextlib.suppress(OSError):
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _LONG
    return False


def _alive(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True


def _began_after(process: int, entry: os.DirEntry[str]) -> bool:
    """Whether a process began after a file was last changed: it only has the number of the one that wrote it."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path("/proc/stat").read_text("ascii").split("btime ")[1].split()[0]
        ticks = Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
        began = int(status) + int(ticks) / os.sysconf("SC_CLK_TCK")
        return began > entry.stat(follow_symlinks=False).st_mtime + _CLOCKS
    return False


def _place() -> str:
    """Four digits that tell this machine, or container, from others that share a disk with it."""
    with contextlib.suppress(OSError):
        return hashlib.sha256(f"{platform.node()} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:4]
    return hashlib.sha256(platform.node().encode()).hexdigest()[:4]


_PLACE = _place()
_TOKEN = _PLACE + secrets.token_hex(2)
