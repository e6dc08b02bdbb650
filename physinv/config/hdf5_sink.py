"""A file object for HDF5 that survives a full disk, which HDF5 itself does not."""

from __future__ import annotations

__all__ = ["HDF5Sink", "lock_against_writers", "new_file"]

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

try:
    import fcntl
except ImportError:  # Windows locks open files anyway
    fcntl = None  # type: ignore[assignment]


class HDF5Sink:
    """Receive what HDF5 writes; pass it as ``h5py.File(HDF5Sink(path), "w")``.

    HDF5 crashes the process at exit if it could not write all it wanted.  So the first failed write is kept in
    :attr:`error`, and that one and all that follow pretend to succeed; :meth:`check` raises the error.  The file is
    locked as HDF5 would lock it.

    Args:
        path: The file, which is made or emptied.

    Attributes:
        raw: The open file.
        error: What the first failed write raised, None while all is well.

    Raises:
        BlockingIOError: If another process writes to the file.
    """

    def __init__(self, path: Path) -> None:
        # In one call, so that one that fails leaves no file; emptied when it is locked.
        self.raw = io.FileIO(path, "r+", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o666))
        self.error: OSError | None = None
        try:
            lock_against_writers(self.raw.fileno(), path, writing=True)
            self.raw.truncate(0)
        except BaseException:
            self.raw.close()
            raise

    def check(self) -> None:
        """Raise what the first failed write raised, if any did.

        Raises:
            OSError: If a write failed, as it was raised then.
        """
        if self.error is not None:
            raise self.error

    def write(self, data: Any) -> int:
        """Write ``data``, a buffer of bytes, and return its length, also where writing fails.

        Args:
            data: The bytes.

        Returns:
            Their number.
        """
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left and self.error is None:
                left = left[self.raw.write(left) or 0 :]
        except OSError as error:
            self.error = OSError(error.errno, error.strerror, str(self.raw.name))
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file to ``size`` bytes and return it, also where that fails.

        Args:
            size: Length in bytes; None: the present position.

        Returns:
            The length.
        """
        try:
            if self.error is None:
                return self.raw.truncate(size)
        except OSError as error:
            self.error = OSError(error.errno, error.strerror, str(self.raw.name))
        return size or 0

    def read(self, size: int = -1) -> bytes:
        """Read at most ``size`` bytes.

        Args:
            size: Number of bytes; -1: all that are left.

        Returns:
            The bytes.

        Raises:
            OSError: If a write failed: what is there is not what HDF5 wrote, and may lead it anywhere.
        """
        self.check()
        return self.raw.read(size)

    def readinto(self, buffer: Any) -> int | None:
        """Fill ``buffer`` and return the number of bytes read.

        Args:
            buffer: Memory for the bytes.

        Returns:
            Their number.

        Raises:
            OSError: As :meth:`read`.
        """
        self.check()
        return self.raw.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to the byte ``offset``, counted as ``io.IOBase.seek`` does, and return the position.

        Args:
            offset: Number of bytes.
            whence: From where they count: 0 the start, 1 the present position, 2 the end.

        Returns:
            The position from the start, in bytes.
        """
        return self.raw.seek(offset, whence)

    def tell(self) -> int:
        """Return the position in bytes."""
        return self.raw.tell()

    def flush(self) -> None:
        """Do nothing: the file is not buffered."""

    def close(self) -> None:
        """Close the file, which releases its lock."""
        self.raw.close()


def lock_against_writers(file: int, path: Path, *, writing: bool) -> None:
    """Lock an open file, where its file system knows locks, until it is closed: one writes, or several read.

    Args:
        file: Its descriptor.
        path: The file, for the message.
        writing: Whether it is to be written to.

    Raises:
        BlockingIOError: If another process writes to it, or reads it while it is to be written to.
    """
    try:
        if fcntl is not None:
            fcntl.flock(file, (fcntl.LOCK_EX if writing else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(f"{path} is being written by another process; wait until that has finished.") from None
    except OSError:
        pass  # a file system without locks


@contextmanager
def new_file(path: Path) -> Iterator[tuple[h5py.File, HDF5Sink]]:
    """Make an HDF5 file inside a ``with`` block, which a full disk ends with an error.

    Args:
        path: The file, which is made or emptied.

    Yields:
        The file, open for writing, and its sink, whose :meth:`~HDF5Sink.check` tells early that the disk is full.

    Raises:
        OSError: If something could not be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, new_file(Path(folder) / "x.hdf5") as (file, sink):
        ...     file["x"] = [1.0, 2.0]
        ...     list(file)
        ['x']
    """
    sink = HDF5Sink(path)
    try:
        with h5py.File(sink, "w", track_order=False) as file:
            try:
                yield file, sink
            except BaseException:
                full, sink.error = sink.error, sink.error or OSError("discarded")  # closing writes no more
                if full is not None:  # whatever HDF5 says where it cannot read back what it wrote
                    raise full from None
                raise
        sink.check()
    finally:
        sink.close()
