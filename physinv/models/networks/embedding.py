"""Sinusoidal embedding of a scalar in [0, 1]."""

from __future__ import annotations

__all__ = ["embed"]

import math

import torch
from jaxtyping import Float
from torch import Tensor


def embed(t: Float[Tensor, " batch"], features: int) -> Float[Tensor, "batch features"]:
    """``(sin, cos)(2^j pi t / 2)`` for ``j = 0 ... features/2 - 1``: slow to fast oscillations, ``features`` even."""
    waves = math.pi / 2 * 2 ** torch.arange(features // 2, device=t.device, dtype=t.dtype)
    angle = t[:, None] * waves
    return torch.cat([angle.sin(), angle.cos()], dim=1)
