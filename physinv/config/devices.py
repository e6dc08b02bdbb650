"""Choose a device, and how many threads of the CPU to use."""

from __future__ import annotations

__all__ = ["pick_device", "threads_for"]

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TINY_NUMBERS = 256  # of a state, below which a second thread costs more than it brings (measured: up to 100 x)


def pick_device(name: str | None = None) -> torch.device:
    """Return a device that works here.

    Args:
        name: Such as ``"cpu"`` or ``"cuda:1"``; None or ``"auto"`` for the best there is: cuda, mps, cpu.

    Raises:
        ValueError: If it is not available.
    """
    if name in (None, "auto"):
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise ValueError(f"`device` {name!r} is not available here; leave it out to have one chosen.") from None
    return device


@contextmanager
def threads_for(shape: tuple[int, ...]) -> Iterator[None]:
    """Use one thread of the CPU inside a ``with`` block if states are tiny, else as many as before.

    Args:
        shape: Shape of one state.

    Example:
        >>> with threads_for((2,)):
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    if math.prod(shape) < _TINY_NUMBERS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
