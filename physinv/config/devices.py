"""Choose a device and how many cores and threads of the CPU to use, and say whether memory and disk suffice.

Commands begin with this module, so that torch is imported where it is used.
"""

from __future__ import annotations

__all__ = [
    "as_device",
    "check_disk",
    "check_memory",
    "cores",
    "free_memory",
    "hardware",
    "keep_freed_memory",
    "pick_device",
    "threads_for",
]

import ctypes
import math
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from physinv.config.failures import told_bytes

if TYPE_CHECKING:
    import torch

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]

_TINY_NUMBERS = 256  # of a state, below which a second thread costs more than it brings (measured: up to 100 x)

_TRIM_FROM, _MAP_FROM, _KEPT = -1, -3, 2**30  # of mallopt: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, and bytes for both
_MOST_MAPPED = 2**25


def pick_device(name: str | None = None) -> torch.device:
    """Return a device that works here.

    Args:
        name: Such as ``"cpu"`` or ``"cuda:1"``; None or ``"auto"`` for the best there is: cuda, mps, cpu.

    Raises:
        ValueError: If it is not available.
    """
    import torch

    if name in (None, "auto"):
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        float(torch.zeros(1, device=device))  # which a device of shapes alone, "meta", refuses
    except (RuntimeError, AssertionError):
        raise ValueError(f"`device` {name!r} is not available here; leave it out to have one chosen.") from None
    return device


def as_device(device: torch.device | str | None) -> torch.device:
    """Return the device that an argument names, the CPU for None.

    Args:
        device: A device, or its name, such as ``"cuda:1"``.

    Raises:
        ValueError: If it is neither, or not available.
    """
    import torch

    if isinstance(device, torch.device):
        return device
    if device is not None and not isinstance(device, str):
        raise ValueError(
            f"`device` must be a torch.device or a name, got {type(device).__name__}; give 'cpu' or 'cuda'."
        )
    return pick_device(device or "cpu")


def cores() -> int:
    """Return how many cores of the CPU this process may run on; batch systems give fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # not Linux


def hardware() -> str:
    """Return the processor and the cores that this process may use, as records of measurements name them."""
    count = cores()
    return f"{platform.machine()}, {count} core{'s' * (count > 1)}"


@contextmanager
def threads_for(shape: tuple[int, ...]) -> Iterator[None]:
    """Use one thread of the CPU inside a ``with`` block if states are tiny, else as many as before.

    Args:
        shape: Shape of one state.

    Example:
        >>> import torch
        >>> with threads_for((2,)):
        ...     torch.get_num_threads()
        1
    """
    import torch

    before = torch.get_num_threads()
    if math.prod(shape) < _TINY_NUMBERS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Let this process use freed memory again, in the place of giving it back to the system.

    Each step of a network or a solver frees arrays of many MB and takes others.  Given back every time, they cost up to
    half of the CPU time in page faults.  What the process takes at most stays the same.  Nothing is done where the C
    library has no such choice.
    """
    with suppress(AttributeError, OSError, TypeError):  # not glibc
        choose = ctypes.CDLL(None).mallopt
        if not choose(_MAP_FROM, _KEPT):  # earlier versions map larger arrays in any case
            choose(_MAP_FROM, _MOST_MAPPED)
        choose(_TRIM_FROM, _KEPT)


def free_memory() -> float:
    """Return the bytes of main memory that this process may still take; infinite where the system does not tell."""
    free = [math.inf]
    with suppress(OSError, ValueError, IndexError):
        (line,) = (s for s in Path("/proc/meminfo").read_text("utf-8").splitlines() if s.startswith("MemAvailable:"))
        free.append(1024 * float(line.split()[1]))
    with suppress(OSError, ValueError):  # the limit of a container
        most, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text("utf-8") for name in ("max", "current"))
        free.append(float(most) - float(used))
    with suppress(OSError, ValueError, AttributeError):  # that of the shell, `ulimit -v`
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
            free.append(float(limit - pages * os.sysconf("SC_PAGE_SIZE")))
    return min(free)


def check_memory(needed: float, what: str, remedy: str) -> None:
    """Refuse, before anything is allocated, what does not fit into memory.

    Args:
        needed: Bytes that it takes at least.
        what: What takes them, as the beginning of a sentence, such as "`width` = 100000 makes a network that".
        remedy: What to do.

    Raises:
        ValueError: If fewer bytes are free.
    """
    if needed > (free := free_memory()):
        raise ValueError(f"{what} takes {told_bytes(needed)} of memory, {told_bytes(free)} are free; {remedy}.")


def check_disk(needed: float, folder: Path, what: str, remedy: str) -> None:
    """Refuse, before anything is written, what does not fit on the disk.

    Args:
        needed: Bytes that it takes at least.
        folder: Where they are to be written; it need not exist.
        what: What takes them, as the beginning of a sentence.
        remedy: What to do.

    Raises:
        ValueError: If fewer bytes are free.
    """
    place = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
    if needed > (free := shutil.disk_usage(place).free):
        raise ValueError(
            f"{what} takes {told_bytes(needed)} of disk, {told_bytes(free)} are free in {place}; {remedy}."
        )
