"""Fourier tools for periodic boxes, ``[0, 2 pi]^d`` unless a ``length`` is given: wave numbers, filters, random fields.

Modes lie as ``rfftn`` over the space axes leaves them; transforms are orthonormal.  Wave numbers and masks are kept for
the next call: treat them as constants.
"""

from __future__ import annotations

__all__ = [
    "coloured_field",
    "derivatives",
    "gaussian_field",
    "grid",
    "normalised",
    "power_law",
    "reflect",
    "resolved",
    "squared_wavenumbers",
    "wavenumbers",
]

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations import fourier


def grid(n: int, length: float = 2 * math.pi) -> tuple[float, ...]:
    """Return equidistant points on ``[0, length)``.

    Args:
        n: Number of points.
        length: Length of the box.
    """
    return tuple(length * i / n for i in range(n))


def wavenumbers(like: Float[Tensor, "batch channel *space"]) -> tuple[Tensor, ...]:
    """Return the integer wave numbers along each axis, ``(1, 1, ..., n, ...)``, for even operators.

    Args:
        like: States, which give shape, dtype and device.
    """
    return _axes(tuple(like.shape[2:]), like.device, like.dtype, False)


def derivatives(like: Float[Tensor, "batch channel *space"]) -> tuple[Tensor, ...]:
    """Return wave numbers as :func:`wavenumbers` does, for odd operators: 0 at the Nyquist frequency.

    Args:
        like: States, which give shape, dtype and device.
    """
    return _axes(tuple(like.shape[2:]), like.device, like.dtype, True)


def squared_wavenumbers(like: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "1 1 *modes"]:
    """Return ``|k|^2`` for integer wave numbers, in the layout of ``rfftn`` over the space axes.

    Args:
        like: States, which give shape, dtype and device.
    """
    return _squared(tuple(like.shape[2:]), like.device, like.dtype)


def resolved(like: Float[Tensor, "batch channel *space"], fraction: float = 2 / 3) -> Float[Tensor, "1 1 *modes"]:
    """Return 1 for modes with every ``|k_i| < fraction n_i / 2``, else 0; all 1 for ``fraction = 1``.

    With 2/3 products of two such fields reach them without aliasing (Orszag 1971).

    Args:
        like: States, which give shape, dtype and device.
        fraction: Fraction of the wave numbers along each axis.
    """
    return _resolved(tuple(like.shape[2:]), like.device, like.dtype, fraction)


def normalised(
    power: Float[Tensor, "one one_or_channel *modes"], like: Float[Tensor, "batch channel *space"]
) -> Float[Tensor, "one one_or_channel *modes"]:
    """Return a power spectrum scaled to unit variance per pixel, averaged over its channels.

    Args:
        power: Power per orthonormal mode.
        like: States, which give shape, dtype and device.
    """
    total = (power * fourier.multiplicity(like)).sum() / (math.prod(like.shape[2:]) * power.shape[1])
    return power / total


def power_law(like: Float[Tensor, "batch channel *space"], slope: float) -> Float[Tensor, "channel *modes"]:
    """Return the power ``S_k = E|y_k|^2 ~ |k|^-slope`` per orthonormal mode, with unit pixel variance and no mean mode.

    Args:
        like: States, which give shape, dtype and device.
        slope: Exponent.
    """
    k2 = squared_wavenumbers(like)
    power = torch.where(k2 > 0, k2.clamp(min=1) ** (-slope / 2), torch.zeros_like(k2))
    return normalised(power, like)[0].expand(like.shape[1], *power.shape[2:])


def gaussian_field(z: Float[Tensor, "batch channel *space"], slope: float) -> Float[Tensor, "batch channel *space"]:
    """Colour white noise ``z`` into a periodic Gaussian random field with :func:`power_law` spectrum.

    Args:
        z: White noise.
        slope: Exponent of the spectrum.

    Returns:
        Fields of the shape of ``z``.
    """
    return coloured_field(z, power_law(z, slope)[None])


def coloured_field(
    z: Float[Tensor, "batch channel *space"], power: Float[Tensor, "one one_or_channel *modes"]
) -> Float[Tensor, "batch channel *space"]:
    """Colour white noise ``z`` into a periodic Gaussian random field whose modes have ``E|y_k|^2 = power``.

    Args:
        z: White noise.
        power: Power per orthonormal mode.

    Returns:
        Fields of the shape of ``z``.
    """
    return fourier.inverse_fourier(fourier.fourier(z) * power.sqrt(), tuple(z.shape[2:]))


def reflect(x: Float[Tensor, "batch channel *space"], *axes: int) -> Float[Tensor, "batch channel *space"]:
    """Return fields mirrored about the origin along some axes: grid point ``i`` goes to ``-i``.

    Args:
        x: Fields.
        axes: Space axes (0, 1, ...).
    """
    dims = [2 + a for a in axes]
    return x.flip(dims).roll([1] * len(dims), dims)


@functools.lru_cache(maxsize=64)
def _axes(space: tuple[int, ...], device: torch.device, dtype: torch.dtype, odd: bool) -> tuple[Tensor, ...]:
    found = []
    with torch.inference_mode(False):
        for k, n in zip(fourier.wavenumbers(space, device=device, dtype=dtype), space, strict=True):
            found.append((torch.where(k.abs() == n / 2, 0.0, k) if odd else k)[None, None])
    return tuple(found)


@functools.lru_cache(maxsize=64)
def _squared(space: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return fourier.squared_wavenumbers(space, device=device, dtype=dtype)[None, None]


@functools.lru_cache(maxsize=64)
def _resolved(space: tuple[int, ...], device: torch.device, dtype: torch.dtype, fraction: float) -> Tensor:
    with torch.inference_mode(False):
        keep = torch.ones_like(_squared(space, device, dtype))
        if fraction < 1:
            for k, n in zip(_axes(space, device, dtype, False), space, strict=True):
                keep = keep * (k.abs() < fraction * n / 2 - 1e-6)
    return keep
