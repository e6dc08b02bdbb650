"""Choosing a device, and how many threads to use on it."""

from __future__ import annotations

__all__ = ["pick_device", "threads_for"]

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TINY = 256  # components of a state below which a second thread costs more than it brings (measured: up to 100 x)


def pick_device(name: str | None = None) -> torch.device:
    """``name``, or the best there is (cuda, mps, cpu); ValueError if it is not available here."""
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
    """One CPU thread inside the block if states are tiny, else as many as there were."""
    before = torch.get_num_threads()
    if math.prod(shape) < _TINY:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
