"""What the machine refuses: disk, permission, open files and memory, each in one line that says what to do."""

from __future__ import annotations

__all__ = ["as_os_error", "blamed_on", "in_one_line", "memory_failure", "os_failure", "told_bytes"]

import errno
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_REMEDIES = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some of your quota, or write to another disk",
    errno.EFBIG: "raise the limit of the size of files (`ulimit -f`), or write to another disk",
    errno.EROFS: "write to another folder",
    errno.EACCES: "change its permissions (`chmod`, `chown`), or give another path",
    errno.EPERM: "change its permissions (`chmod`, `chown`), or give another path",
    errno.EMFILE: "raise the limit of open files (`ulimit -n 4096`), and try again",
    errno.ENFILE: "close other programs, and try again",
    errno.ENOMEM: "free some memory, and try again",
    errno.ELOOP: "give another path",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.EIO: "the disk or its network fails; copy the file to another one",
}
"""What to do about a failure of the system, by its number."""

_OTHERS = {
    errno.EAGAIN: "raise the limit of processes (`ulimit -u`), or close other programs",
    errno.EEXIST: "move it, or give another path",
    errno.EISDIR: "give a file",
    errno.ENOTDIR: "a file lies where a folder is needed; give another path",
}
"""The same where no file that is read or written is to blame."""

_CODE = re.compile(r"(?:code: |os error |errno = )(\d+)")  # as Rust and HDF5 write it
_SIZE = re.compile(r"allocate ([\d.]+) ?(bytes|[kKMGTP]i?B)")
_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "bad_alloc",
    "bad allocation",
    "Storage size calculation overflowed",
    "Invalid buffer size",
    "Cannot allocate memory",
)
_NO_GRADIENT = "does not require grad"
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def in_one_line(error: BaseException) -> str:
    """Return kind and message of an error of somebody else's code, for the end of a line of ours.

    Args:
        error: The error.

    Example:
        >>> in_one_line(KeyError("x"))
        "KeyError: 'x'"
    """
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":").removesuffix(".")


@contextmanager
def blamed_on(part: str) -> Iterator[None]:
    """Let an error of somebody else's code name the part that it comes from, in one line.

    Args:
        part: The part, as the beginning of a sentence, such as ``"`drift` of Pendulum"``.

    Raises:
        ValueError: Where the code ends with anything but a refusal of the machine or of physinv, whose messages stand
            for themselves.

    Example:
        >>> with blamed_on("`drift` of Pendulum"):
        ...     {}["friction"]
        Traceback (most recent call last):
        ValueError: `drift` of Pendulum ends with KeyError: 'friction'.
    """
    try:
        yield
    except (OSError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        if memory_failure(error) is not None or (isinstance(error, ValueError) and _is_refusal(error)):
            raise
        hint = "; take gradients under `with torch.enable_grad():`" if _NO_GRADIENT in str(error) else ""
        raise ValueError(f"{part} ends with {in_one_line(error)}{hint}.") from error


def _is_refusal(error: ValueError) -> bool:
    """Whether it was raised on purpose: of a kind of its own, or by a function of physinv that was called."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = frames[2:]  # of what was called: before it stand this module and the one that calls
    module = str(inside[-1].f_globals.get("__name__", "")) if inside else ""
    return type(error) is not ValueError or module.partition(".")[0] in ("physinv", "simulators")


def as_os_error(error: Exception, path: Path | str) -> OSError | None:
    """Return what the system refused, where that is why a library could not read or write a file.

    Args:
        error: What the library raised, with the system's number as an attribute or in its text.
        path: The file.

    Returns:
        The failure with its number and the path; None where the content of the file is to blame, or it is not there.

    Example:
        >>> as_os_error(RuntimeError('I/O error: Os { code: 28, kind: StorageFull }'), "x").strerror
        'No space left on device'
        >>> as_os_error(ValueError("truncated"), "x") is None
        True
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _CODE.search(str(error))) is not None:
        number = int(found[1])
    if number is None:  # not every library hands it on
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError as own:
            number = own.errno
    return OSError(number, os.strerror(number), str(path)) if number in _REMEDIES and number is not None else None


def os_failure(error: OSError) -> str:
    """Say in one line what the system refused, and what to do.

    Args:
        error: What was raised.

    Returns:
        The line.

    Example:
        >>> os_failure(OSError(errno.ENOSPC, "No space left on device", "heat.hdf5"))
        'heat.hdf5: No space left on device; free some space, or write to another disk.'
    """
    if not error.strerror:
        return " ".join(str(error).split())
    if error.errno == errno.ENOENT and error.filename is None and not _placed():
        return "the working folder is gone; change to one that is there (`cd`)."
    remedy = (_REMEDIES | _OTHERS).get(error.errno or 0)
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror}" + (f"; {remedy}." if remedy else "")


def memory_failure(error: BaseException) -> str | None:
    """Say in one line that memory did not suffice, with the size where it is known.

    Args:
        error: What was raised: a MemoryError, or what PyTorch raises for a CPU or an accelerator.

    Returns:
        The line; None for other errors.

    Example:
        >>> told = memory_failure(MemoryError("Unable to allocate 7.45 GiB for an array"))
        >>> told.partition(";")[0]
        'out of memory, 7.45 GiB more were needed at once'
        >>> memory_failure(RuntimeError("shapes do not match")) is None
        True
    """
    text = str(error)
    if not isinstance(error, MemoryError) and not any(word in text for word in _MEMORY):
        return None
    found = _SIZE.search(text)
    size = "" if found is None else told_bytes(int(found[1])) if found[2] == "bytes" else f"{found[1]} {found[2]}"
    needed = f", {size} more were needed at once" if size else ""
    return (
        f"out of memory{needed}; take less at a time (training: smaller `batch` or `width`; samples: "
        "fewer `samples`), close other programs, or take a machine with more."
    )


def told_bytes(size: float) -> str:
    """Write a number of bytes with three digits.

    Args:
        size: The number.

    Returns:
        The number with its unit.

    Example:
        >>> told_bytes(1234567), told_bytes(12)
        ('1.23 MB', '12 bytes')
    """
    size, unit = min(size, 10**300), 0  # a whole number may have more digits than a float
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {_UNITS[unit]}"


def _placed() -> bool:
    """Whether this process has a working folder, which others may have removed."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True
