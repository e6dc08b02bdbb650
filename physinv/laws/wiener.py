"""Linear regressions between fields, mode by mode with all channels (Wiener 1949), with or without walls."""

from __future__ import annotations

__all__ = ["filter_channels", "mirrored", "wiener_gains"]

from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from physinv.equations.fourier import fourier, inverse_fourier


def wiener_gains(
    x: Float[Tensor, "n inputs *space"], y: Float[Tensor, "n outputs *space"], penalties: Sequence[float]
) -> list[Complex[Tensor, "inputs outputs *modes"]]:
    """Regress the Fourier coefficients of fields on those of others, for several ridge penalties.

        G = (S_xx + penalty max(S_xx) 1)^(-1) S_xy    in every mode, S the mean of products over the n fields.

    Args:
        x: Fields to regress on, of mean 0.
        y: Fields to be estimated, of mean 0.
        penalties: Ridge penalties, as shares of the largest power of a mode of ``x``.

    Returns:
        The gains for each penalty, in single precision; 0 where ``x`` does not vary at all.

    References:
        Wiener (1949), Extrapolation, interpolation, and smoothing of stationary time series.
    """
    a, b = (fourier(v.double()).movedim(1, -1) for v in (x, y))  # squares must not underflow in small units
    power = torch.einsum("n...i,n...j->...ij", a.conj(), a) / len(a)
    cross = torch.einsum("n...i,n...o->...io", a.conj(), b) / len(a)
    eye = torch.eye(a.shape[-1], dtype=power.dtype, device=power.device)
    largest = power.diagonal(dim1=-2, dim2=-1).real.amax()
    largest = torch.where(largest > 0, largest, torch.ones_like(largest))  # fields that do not vary: gains of 0
    return [
        torch.linalg.solve(power + penalty * largest * eye, cross).movedim((-2, -1), (0, 1)).cfloat().contiguous()
        for penalty in penalties
    ]


def filter_channels(
    gains: Complex[Tensor, "inputs outputs *modes"], x: Float[Tensor, "batch inputs *space"]
) -> Float[Tensor, "batch outputs *space"]:
    """Return the fields whose coefficients are those of ``x`` times the gains, summed over the channels of ``x``.

    Args:
        gains: Complex factors.
        x: Fields.
    """
    return inverse_fourier(torch.einsum("io...,bi...->bo...", gains, fourier(x)), tuple(x.shape[2:]))


def mirrored(x: Float[Tensor, "batch channels *space"], periodic: bool) -> Float[Tensor, "batch channels *twice"]:
    """Continue fields with walls by their mirror image on every axis, which makes them periodic without a jump.

    Args:
        x: Fields.
        periodic: Whether they are periodic already, and returned as they are.

    Returns:
        Fields with twice the points along each axis, ``x`` in the first half.

    Example:
        >>> mirrored(torch.tensor([[[1.0, 2.0, 3.0]]]), False)
        tensor([[[1., 2., 3., 3., 2., 1.]]])
    """
    if not periodic:
        for axis in range(2, x.ndim):
            x = torch.cat([x, x.flip(axis)], dim=axis)
    return x
