"""The field FFT: orthonormal real Fourier coefficients of fields over their space axes.

Fields have shape ``(*lead, channels, *space)``.  The real FFT keeps one mode of each pair of complex conjugates: along
the last axis ``n // 2 + 1`` modes of ``n`` remain, and :func:`multiplicity` counts how many modes of the full transform
each of them stands for.  With orthonormal coefficients white noise has the same variance in space and in modes, and
Parseval's theorem reads ``sum_x u(x)^2 = sum_k multiplicity_k |y_k|^2``.
"""

from __future__ import annotations

__all__ = [
    "filtered",
    "fourier",
    "full_fourier",
    "inverse_fourier",
    "multiplicity",
    "squared_wavenumbers",
    "wavenumbers",
]

import functools

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def fourier(
    x: Float[Tensor, "*lead channel *space"], dimension: int | None = None
) -> Complex[Tensor, "*lead channel *modes"]:
    """Return the orthonormal real-FFT coefficients of a field.

    Args:
        x: Field with one leading axis (the batch), a channel axis and the space axes; more leading axes are allowed
            where ``dimension`` is given.
        dimension: Number of space axes, counted from the last one.  Default: all axes after the second.

    Returns:
        Coefficients; the last axis has ``n // 2 + 1`` entries for ``n`` grid points.

    Example:
        >>> u = torch.ones(1, 1, 8)
        >>> fourier(u).abs().round(decimals=3)
        tensor([[[2.8280, 0.0000, 0.0000, 0.0000, 0.0000]]])
    """
    y: Tensor = torch.fft.rfftn(x, dim=_space_axes(x.ndim - 2 if dimension is None else dimension), norm="ortho")
    return y


def inverse_fourier(
    y: Complex[Tensor, "*lead channel *modes"], space: tuple[int, ...]
) -> Float[Tensor, "*lead channel *space"]:
    """Return the field with given coefficients: the inverse of :func:`fourier`.

    Args:
        y: Orthonormal coefficients as :func:`fourier` returns them.
        space: Grid points along each space axis (needed since ``n // 2 + 1`` does not tell even from odd ``n``).

    Returns:
        The real field.
    """
    x: Tensor = torch.fft.irfftn(y, s=space, dim=_space_axes(len(space)), norm="ortho")
    return x


def filtered(x: Float[Tensor, "batch channel *space"], gain: Tensor) -> Float[Tensor, "batch channels *space"]:
    """Multiply every Fourier mode of a field by a gain.

    Args:
        x: Field.
        gain: Real or complex factor of each mode, broadcastable against ``fourier(x)``; several channels of it filter a
            single channel of ``x`` in several ways.

    Returns:
        The filtered field, ``(batch, channels, *space)``.

    Example:
        >>> u = torch.tensor([[[1.0, 2.0, 3.0, 2.0]]])
        >>> filtered(u, torch.tensor([1.0, 0.0, 0.0]))  # the mean mode alone
        tensor([[[2., 2., 2., 2.]]])
    """
    axes = _space_axes(x.ndim - 2)  # the normalisation cancels: the cheapest one serves
    out: Tensor = torch.fft.irfftn(gain * torch.fft.rfftn(x, dim=axes), s=x.shape[2:], dim=axes)
    return out


def full_fourier(x: Float[Tensor, "batch channel *space"]) -> Complex[Tensor, "batch channel *space"]:
    """Return the orthonormal coefficients of all modes, both of each conjugate pair.

    Args:
        x: Field.

    Returns:
        Coefficients in the layout of ``torch.fft.fftn``, of the shape of ``x``.
    """
    y: Tensor = torch.fft.fftn(x, dim=_space_axes(x.ndim - 2), norm="ortho")
    return y


def multiplicity(like: Float[Tensor, "batch channel *space"]) -> Float[Tensor, " last"]:
    """Return how many modes of the full transform each mode along the last axis stands for.

    Args:
        like: A field of the shape in question; gives device and dtype too.

    Returns:
        2 for modes whose complex conjugate the real FFT leaves out, 1 for the mean and (even ``n``) Nyquist planes.

    Example:
        >>> multiplicity(torch.zeros(1, 1, 6))
        tensor([1., 2., 2., 1.])
    """
    n = like.shape[-1]
    count = torch.ones(n // 2 + 1, dtype=like.dtype, device=like.device)
    count[1 : (n + 1) // 2] = 2.0
    return count


def wavenumbers(
    space: tuple[int, ...],
    *,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float64,
    full: bool = False,
) -> tuple[Float[Tensor, "..."], ...]:
    """Return the integer wave numbers along each axis, in periods per box.

    Args:
        space: Grid points along each space axis.
        device: Where the result lies.
        dtype: Floating-point type of the result.
        full: In the layout of :func:`full_fourier`, not of :func:`fourier`.

    Returns:
        One tensor per axis, of shape ``(n, 1, ...)``, ``(1, n, 1, ...)``, ...: they broadcast against each other.
        Kept for the next call: treat them as constants.

    Example:
        >>> [k.shape for k in wavenumbers((4, 6))]
        [torch.Size([4, 1]), torch.Size([1, 4])]
    """
    return _wavenumbers(tuple(space), device, dtype, full)


def squared_wavenumbers(
    space: tuple[int, ...],
    *,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float64,
    full: bool = False,
) -> Float[Tensor, "*modes"]:
    """Return ``|k|^2`` of every mode, in squared periods per box.

    Args:
        space: Grid points along each space axis.
        device: Where the result lies.
        dtype: Floating-point type of the result.
        full: In the layout of :func:`full_fourier`, not of :func:`fourier`.

    Returns:
        One number per mode.  Kept for the next call: treat it as a constant.
    """
    return _squared(tuple(space), device, dtype, full)


@functools.lru_cache(maxsize=64)
def _wavenumbers(
    space: tuple[int, ...], device: torch.device | None, dtype: torch.dtype, full: bool
) -> tuple[Tensor, ...]:
    found = []
    with torch.inference_mode(False):
        for i, n in enumerate(space):
            frequencies = torch.fft.rfftfreq if i == len(space) - 1 and not full else torch.fft.fftfreq
            k = frequencies(n, 1 / n, device=device, dtype=dtype)
            found.append(k.reshape([-1 if i == j else 1 for j in range(len(space))]))
    return tuple(found)


@functools.lru_cache(maxsize=64)
def _squared(space: tuple[int, ...], device: torch.device | None, dtype: torch.dtype, full: bool) -> Tensor:
    with torch.inference_mode(False):
        k2 = torch.zeros((), device=device, dtype=dtype)
        for k in _wavenumbers(space, device, dtype, full):
            k2 = k2 + k**2
    return k2


def _space_axes(dimension: int) -> tuple[int, ...]:
    """The last ``dimension`` axes."""
    return tuple(range(-dimension, 0))
