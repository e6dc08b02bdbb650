"""Checksums of a file, behind its end as HDF5 knows it, with which every block is compared when it is first read.

    <bytes of the HDF5 file>
    crc32 of each block of 65536 of these bytes       unsigned 32-bit numbers, little-endian, as all below
    "physinv checksums"  |  size of the HDF5 file, 64 bits  |  crc32 of all behind the HDF5 file but this number

HDF5 looks at nothing behind its own end, so every reader opens such a file as any other.  A program that changes it
cuts the checksums off when it closes the file: then they are missing, not wrong.  Any one flipped bit, in numbers or
in what HDF5 notes about them, changes a crc32.
"""

from __future__ import annotations

__all__ = ["CheckedFile", "check_end", "seal", "sealed_size"]

import contextlib
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from physinv.config.hdf5_sink import lock_against_writers

_BLOCK = 2**16  # bytes that have a checksum of their own
_TAIL = struct.Struct("<17sQI")
_MAGIC = b"physinv checksums"
_HDF5, _HEAD = b"\x89HDF\r\n\x1a\n", 64
_ENDS = (
    (24, 40),
    (12, 28),
)  # of the first and last byte, in superblocks of versions 0 and 1, and in later ones


def seal(path: Path) -> None:
    """Put the checksums of a file that is closed and complete behind its end, in the place of any that are there.

    Args:
        path: An HDF5 file.

    Raises:
        OSError: If the disk is full.
    """
    size = sealed_size(path)
    try:
        with path.open("r+b", buffering=0) as file:
            size = file.seek(0, 2) if size is None else size
            file.seek(0)
            sums = np.array([zlib.crc32(_read(file, n)) for n in _lengths(size)], dtype="<u4").tobytes()
            head = _MAGIC + size.to_bytes(8, "little")
            left = memoryview(sums + head + zlib.crc32(sums + head).to_bytes(4, "little"))
            while left:
                left = left[file.write(left) or 0 :]
            file.truncate()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def sealed_size(path: Path) -> int | None:
    """Return the bytes of a file that come before its checksums; None where it has none.

    Args:
        path: The file.
    """
    with path.open("rb", buffering=0) as file:
        return _tail(file)


def check_end(path: Path) -> None:
    """Refuse a file without checksums that goes on behind its end: these bytes were checksums.

    Args:
        path: A file that :func:`sealed_size` finds none in; nothing is said of one that is no HDF5.

    Raises:
        ValueError: If HDF5 knows of fewer bytes than it has.
    """
    with path.open("rb", buffering=0) as file:
        head, length = _read(file, _HEAD), file.seek(0, 2)
    if not head.startswith(_HDF5) or len(head) < _HEAD:
        return
    begin, end = _ENDS[head[len(_HDF5)] > 1]
    first, last = (int.from_bytes(head[at : at + 8], "little") for at in (begin, end))
    if first == 0 and last < length:
        raise ValueError(
            f"{path} is damaged: what follows its HDF5 part, {last} bytes, are no checksums; copy or generate it again."
        )


class CheckedFile:
    """Serve a file with checksums to HDF5: pass it as ``h5py.File(CheckedFile(path), "r")``.

    Each block is compared with its checksum when any of it is read for the first time.  The file is locked as HDF5
    locks what it reads.

    Args:
        path: The file.

    Attributes:
        size: Bytes that come before the checksums.

    Raises:
        BlockingIOError: If another process writes to the file.
        ValueError: If the file has no checksums, or they are damaged themselves; while it is read, if a block is.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0
        self._raw = path.open("rb", buffering=0)
        try:
            lock_against_writers(self._raw.fileno(), path, writing=False)
            size = _tail(self._raw)
            if size is None:
                raise ValueError(f"{path} has no checksums.")
            self.size = size
            self._sums = self._checked_sums()
        except BaseException:
            self.close()
            raise
        self._unseen = bytearray(b"\1") * len(self._sums)

    def __del__(self) -> None:
        if hasattr(self, "_raw"):
            self.close()

    def close(self) -> None:
        """Close the file, and with it the lock; whatever the system says then, nothing read is wrong."""
        with contextlib.suppress(OSError):
            self._raw.close()

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` and return the number of bytes read.

        Args:
            buffer: Memory for the bytes.

        Returns:
            Their number.

        Raises:
            ValueError: If what was read differs from its checksum, or the file is shorter than it was.
        """
        view, at = memoryview(buffer).cast("B")[: max(self.size - self._at, 0)], self._at
        done = 0
        self._raw.seek(at)
        while done < len(view) and (n := self._raw.readinto(view[done:])):
            done += n
        if done < len(view):  # HDF5 takes what it did not get for zeros
            raise ValueError(f"{self._path} was cut off while it was read; copy or generate it again.")
        if done:
            first, last = at // _BLOCK, (at + done - 1) // _BLOCK
            while (first := self._unseen.find(1, first, last + 1)) >= 0:
                self._check(first, view, at)
        self._at = at + done
        return done

    def read(self, size: int = -1) -> bytes:
        """Read at most ``size`` bytes.

        Args:
            size: Number of bytes; -1: all that are left.

        Returns:
            The bytes.
        """
        left = max(self.size - self._at, 0)
        content = bytearray(left if size < 0 else min(size, left))
        return bytes(content[: self.readinto(content)])

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to the byte ``offset``, counted as ``io.IOBase.seek`` does, and return the position.

        Args:
            offset: Number of bytes.
            whence: From where they count: 0 the start, 1 the present position, 2 the end of the HDF5 file.

        Returns:
            The position from the start, in bytes.
        """
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._at

    def flush(self) -> None:
        """Do nothing: nothing is written."""

    def _check(self, block: int, view: memoryview, at: int) -> None:
        """Compare a block with its checksum, from what was read of the file at ``at`` if the block is all in it."""
        start, length = block * _BLOCK, min(_BLOCK, self.size - block * _BLOCK)
        if at <= start and start + length <= at + len(view):
            content: Any = view[start - at : start - at + length]
        else:
            self._raw.seek(start)
            content = _read(self._raw, length)
        if zlib.crc32(content) != self._sums[block]:
            raise ValueError(
                f"{self._path} is damaged: bytes {start} to {start + length} differ from their checksum; copy or "
                "generate it again."
            )
        self._unseen[block] = 0

    def _checked_sums(self) -> NDArray[np.uint32]:
        self._raw.seek(self.size)
        behind = self._raw.read()
        if zlib.crc32(behind[:-4]) != int.from_bytes(behind[-4:], "little"):
            raise ValueError(f"{self._path} is damaged: its checksums are; copy or generate it again.")
        return np.frombuffer(behind[: len(_lengths(self.size)) * 4], dtype="<u4")


def _tail(file: BinaryIO | Any) -> int | None:
    """The bytes before the checksums, if the file ends with as many checksums as these need."""
    end = file.seek(0, 2)
    if end < _TAIL.size:
        return None
    file.seek(end - _TAIL.size)
    magic, size, _ = _TAIL.unpack(_read(file, _TAIL.size))
    return size if magic == _MAGIC and size + 4 * -(-size // _BLOCK) + _TAIL.size == end else None


def _lengths(size: int) -> list[int]:
    """Lengths of the blocks of a file."""
    return [min(_BLOCK, size - start) for start in range(0, size, _BLOCK)]


def _read(file: Any, size: int) -> bytes:
    content = bytearray(size)
    view, done = memoryview(content), 0
    while done < size and (n := file.readinto(view[done:])):
        done += n
    return bytes(content[:done])
