"""Files that appear whole or not at all, and a disk that may be full while HDF5 writes to it."""

from __future__ import annotations

__all__ = ["Sink", "publish"]

import os
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows locks open files anyway
    fcntl = None  # type: ignore[assignment]


class Sink:
    """The temporary file, as HDF5 sees it.

    HDF5 crashes the process at exit if it could not write all it wanted.  So a failed write is kept in :attr:`error`,
    and this one and all that follow pretend to succeed.  The lock is that which HDF5 itself would take.
    """

    def __init__(self, path: Path) -> None:
        path.touch()
        self.raw = path.open("r+b", buffering=0)
        self.error: OSError | None = None
        try:
            if fcntl is not None:
                fcntl.flock(self.raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.raw.close()
            raise BlockingIOError(
                f"{path} is being written by another process; wait until that has finished."
            ) from None
        except OSError:
            pass  # a file system without locks
        self.raw.truncate(0)

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        if self.error is not None:
            raise self.error

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left and self.error is None:
                left = left[self.raw.write(left) or 0 :]
        except OSError as error:
            self.error = OSError(error.errno, error.strerror, str(self.raw.name))
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                return self.raw.truncate(size)
        except OSError as error:
            self.error = OSError(error.errno, error.strerror, str(self.raw.name))
        return size or 0

    def read(self, size: int = -1) -> bytes:
        return self.raw.read(size)

    def readinto(self, buffer: Any) -> int | None:
        return self.raw.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.raw.seek(offset, whence)

    def tell(self) -> int:
        return self.raw.tell()

    def flush(self) -> None:
        pass  # unbuffered

    def close(self) -> None:
        self.raw.close()


def publish(temporary: Path, path: Path) -> None:
    """Flush ``temporary`` to disk and rename it to ``path`` in one step."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
