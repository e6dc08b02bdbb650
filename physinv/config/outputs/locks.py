"""Locks of outputs: two commands never write to one place, and the second is told who does.

The operating system holds the lock and drops it when its process ends, however that ends.  The small hidden file that
it needs says who holds it; a killed process leaves that file behind, which hinders nobody.
"""

from __future__ import annotations

__all__ = ["lock_file", "lock_folder"]

import contextlib
import datetime
import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from physinv.config.json_text import read_object
from physinv.config.outputs.refusals import check_folder
from physinv.config.outputs.temporary import temporary_path

_NAME = ".physinv.lock"
_NONE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # of file systems that know no locks


@contextmanager
def lock_folder(folder: Path, verb: str, *, wait: float = 0.0) -> Iterator[None]:
    """Lock a folder that is written to inside the block; one that is missing is made, and removed if it stays empty.

    Args:
        folder: The folder.
        verb: What writes, for whoever comes second: a verb of the command line.
        wait: Seconds to wait for a lock that another process holds.

    Yields:
        Nothing.

    Raises:
        BlockingIOError: If another process writes there; one line says which.
        OSError: If the folder can't be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as there, lock_folder(Path(there) / "run", "train"):
        ...     print([path.name for path in Path(there).iterdir()])
        ['run']
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(folder.resolve() / _NAME, folder, verb, wait):
            yield
    finally:
        for place in missing:
            with contextlib.suppress(OSError):  # not empty: something was written
                place.rmdir()


@contextmanager
def lock_file(path: Path, verb: str) -> Iterator[None]:
    """Lock a file that is written inside the block.

    Args:
        path: The file, which need not exist; its folder must.
        verb: What writes, for whoever comes second: a verb of the command line.

    Yields:
        Nothing.

    Raises:
        BlockingIOError: If another process writes it; one line says which.
        OSError: If its folder can't be written to.
    """
    with _locked(path.parent.resolve() / f".{path.name}{_NAME}", path, verb, 0.0):
        yield


@contextmanager
def _locked(place: Path, target: Path, verb: str, wait: float) -> Iterator[None]:
    """Hold a lock; the file of the lock is removed while it is held, and whoever waits for it makes a new one."""
    lock = FileLock(place, timeout=wait, is_singleton=False)
    try:
        lock.acquire(poll_interval=0.02)
    except Timeout:
        _check_place(place, target)
        raise BlockingIOError(
            f"{target} is being written by {_holder(place)}; wait until that has finished, or choose another place."
        ) from None
    except OSError as error:
        if error.errno not in _NONE:
            raise OSError(error.errno, error.strerror, str(target)) from None
        yield
        return
    try:
        told = {"verb": verb, "pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        with contextlib.suppress(OSError):  # a full disk: the lock holds, without a name
            place.write_text(json.dumps(told) + "\n", "utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            place.unlink()
        lock.release()


def _check_place(place: Path, target: Path) -> None:
    """Raise what the system says of a folder that takes no files, which the library takes for somebody else's lock."""
    probe = temporary_path(place)
    try:
        os.close(os.open(probe, os.O_RDWR | os.O_CREAT))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    probe.unlink()


def _holder(place: Path) -> str:
    """Who holds a lock, in words."""
    try:
        told = read_object(place.read_bytes(), "the lock")
        verb, pid, host, since = (str(told[key])[:100] for key in ("verb", "pid", "host", "since"))
    except (OSError, ValueError, KeyError):
        return "another process"
    return f"`physinv {verb}` (process {pid} on {host}, since {since})"


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
