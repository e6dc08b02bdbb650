"""Choosing a device."""

from __future__ import annotations

__all__ = ["pick_device"]

import torch


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
