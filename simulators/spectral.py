"""Fourier tools for periodic boxes ``[0, 2 pi]^d``: wave numbers and Gaussian random fields."""

from __future__ import annotations

__all__ = ["gaussian_field", "grid", "power_law", "squared_wavenumbers"]

import math

import torch
from jaxtyping import Float
from torch import Tensor


def grid(n: int) -> tuple[float, ...]:
    """``n`` equidistant points on ``[0, 2 pi)``."""
    return tuple(2 * math.pi * i / n for i in range(n))


def squared_wavenumbers(like: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "1 1 *modes"]:
    """``|k|^2`` for integer wave numbers in the layout of ``rfftn`` over the space axes of ``like``."""
    *lead, last = like.shape[2:]
    axes = [torch.fft.fftfreq(n, 1 / n, device=like.device, dtype=like.dtype) for n in lead]
    axes.append(torch.fft.rfftfreq(last, 1 / last, device=like.device, dtype=like.dtype))
    k2 = torch.zeros((), device=like.device, dtype=like.dtype)
    for i, k in enumerate(axes):
        k2 = k2 + (k**2).reshape([-1 if i == j else 1 for j in range(len(axes))])
    return k2[None, None]


def power_law(like: Float[Tensor, "batch channel *space"], slope: float) -> Float[Tensor, "channel *modes"]:
    """Power ``S_k = E|y_k|^2`` per orthonormal mode, ``~ |k|^-slope``, no mean mode, unit pixel variance."""
    k2 = squared_wavenumbers(like)
    power = torch.where(k2 > 0, k2.clamp(min=1) ** (-slope / 2), torch.zeros_like(k2))
    last = like.shape[-1]
    twice = torch.full((power.shape[-1],), 2.0, device=like.device, dtype=like.dtype)
    twice[0] = 1.0  # rfft keeps one of each conjugate pair, except on these two planes
    if last % 2 == 0:
        twice[-1] = 1.0
    total = (power * twice).sum() / math.prod(like.shape[2:])
    return (power / total)[0].expand(like.shape[1], *power.shape[2:])


def gaussian_field(z: Float[Tensor, "batch channel *space"], slope: float) -> Float[Tensor, "batch channel *space"]:
    """Colour white noise ``z`` into a periodic Gaussian random field with :func:`power_law` spectrum."""
    space = tuple(range(2, z.ndim))
    modes = torch.fft.rfftn(z, dim=space, norm="ortho") * power_law(z, slope).sqrt()
    field: Tensor = torch.fft.irfftn(modes, s=z.shape[2:], dim=space, norm="ortho")
    return field
