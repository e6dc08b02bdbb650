"""Refuse HDF5 files whose heap of text would hang the library: it walks from object to object, by zero bytes for ever.

Text of variable length stands in collections, "GCOL" and their size, of objects one behind the other: number, count of
references, 4 bytes, size, content.  The object of number 0 is what is free, and its size counts all of it; where that
is 0 because its place was never written, HDF5 (2.0 and earlier) does not go on and does not end.
"""

from __future__ import annotations

__all__ = ["check_heaps"]

import mmap
import struct
from pathlib import Path

_SIGN = b"GCOL\x01\x00\x00\x00"
_HEAD, _OBJECT = struct.Struct("<8sQ"), struct.Struct("<HHIQ")
_ENDS = 2**27  # bytes at both ends of a file that are looked through: texts are written before numbers, or behind them
_OBJECTS = 10**6  # objects that are looked at, in less than a second: a file of texts alone may claim many more


def check_heaps(path: Path) -> None:
    """Refuse a file without checksums in which HDF5 would hang as soon as it reads a text.

    Of a file of more than 256 MB only the ends are looked through, so that it takes no longer than for one of 256 MB.

    Args:
        path: The file; nothing is said of one that is no HDF5.

    Raises:
        ValueError: If a collection of texts has no end.
    """
    with path.open("rb") as file:
        if not (size := file.seek(0, 2)):
            return
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
            at, left = _found(content, 0, size), _OBJECTS
            while at >= 0 and left > 0:
                endless, passed = _walked(content, at, size, left)
                if endless:
                    raise ValueError(
                        f"{path} is damaged: its texts, from byte {at} on, have no end; copy or generate it again."
                    )
                at, left = _found(content, at + 1, size), left - passed


def _found(content: mmap.mmap, start: int, size: int) -> int:
    """Where the next collection begins within an end of the file; -1 if there is none."""
    if start < _ENDS and (at := content.find(_SIGN, start, _ENDS + len(_SIGN))) >= 0:
        return at
    return content.find(_SIGN, max(start, size - _ENDS))


def _walked(content: mmap.mmap, at: int, size: int, most: int) -> tuple[bool, int]:
    """Whether HDF5, going through a collection of texts, comes to an object of no bytes; and how many it passes."""
    passed = 1
    if at + _HEAD.size > size:
        return False, passed
    end = at + _HEAD.unpack_from(content, at)[1]
    at += _HEAD.size
    while at + _OBJECT.size <= end <= size and passed < most:
        number, _, _, length = _OBJECT.unpack_from(content, at)
        step = (_OBJECT.size + -(-length // 8) * 8 if number else length) % 2**64
        if step == 0:
            return True, passed
        at, passed = at + step, passed + 1
    return False, passed
