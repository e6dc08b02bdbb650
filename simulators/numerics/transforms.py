"""Sine and cosine transforms for boxes ``[0, pi]^d`` with walls, sampled at cell centres ``x_j = pi (j + 1/2) / n``.

``dirichlet``  ``sin(k x)``, k = 1 ... n  (DST-II): odd about both walls, so 0 there
``neumann``    ``cos(k x)``, k = 0 ... n - 1  (DCT-II): even about both walls, so no gradient there

Both are orthonormal and leave ``Laplace`` diagonal with rates ``-|k|^2`` (Strang 1999).  One matrix per axis: at the
sizes in use as fast as an FFT, and the same on every device.
"""

from __future__ import annotations

__all__ = ["backward", "centres", "forward", "gaussian_field", "power_law", "squared_wavenumbers"]

import math

import torch
from jaxtyping import Float
from torch import Tensor


def centres(n: int) -> tuple[float, ...]:
    """Return the centres of cells on ``[0, pi]``.

    Args:
        n: Number of cells.
    """
    return tuple(math.pi * (i + 0.5) / n for i in range(n))


def forward(x: Float[Tensor, "batch channel *space"], walls: str) -> Float[Tensor, "batch channel *space"]:
    """Return the sine or cosine coefficients of fields over all space axes.

    Args:
        x: Fields.
        walls: ``"dirichlet"`` (sines) or ``"neumann"`` (cosines).
    """
    for axis in range(2, x.ndim):
        x = (x.movedim(axis, -1) @ _matrix(x.shape[axis], walls, x).mT).movedim(-1, axis)
    return x


def backward(y: Float[Tensor, "batch channel *space"], walls: str) -> Float[Tensor, "batch channel *space"]:
    """Return the fields with given coefficients: the inverse (and transpose) of :func:`forward`.

    Args:
        y: Coefficients.
        walls: ``"dirichlet"`` or ``"neumann"``.
    """
    for axis in range(2, y.ndim):
        y = (y.movedim(axis, -1) @ _matrix(y.shape[axis], walls, y)).movedim(-1, axis)
    return y


def squared_wavenumbers(like: Float[Tensor, "batch channel *space"], walls: str) -> Float[Tensor, "1 1 *space"]:
    """Return ``|k|^2`` in the layout of :func:`forward`.

    Args:
        like: States, which give shape, dtype and device.
        walls: ``"dirichlet"`` or ``"neumann"``.
    """
    k2 = like.new_zeros(())
    for axis, n in enumerate(like.shape[2:]):
        k = _wavenumbers(n, walls, like)
        k2 = k2 + (k**2).reshape([-1 if axis == other else 1 for other in range(like.ndim - 2)])
    return k2[None, None]


def power_law(like: Float[Tensor, "batch channel *space"], slope: float, walls: str) -> Float[Tensor, "channel *space"]:
    """Return the power ``~ |k|^-slope`` per orthonormal mode, with mean variance 1 over the cells and no constant mode.

    Args:
        like: States, which give shape, dtype and device.
        slope: Exponent.
        walls: ``"dirichlet"`` or ``"neumann"``.
    """
    k2 = squared_wavenumbers(like, walls)
    power = torch.where(k2 > 0, k2.clamp(min=1) ** (-slope / 2), torch.zeros_like(k2))
    return (power / power.mean())[0].expand(like.shape[1:])


def gaussian_field(
    z: Float[Tensor, "batch channel *space"], slope: float, walls: str
) -> Float[Tensor, "batch channel *space"]:
    """Colour white noise ``z`` into a Gaussian random field with :func:`power_law` spectrum.

    Args:
        z: White noise.
        slope: Exponent of the spectrum.
        walls: ``"dirichlet"`` or ``"neumann"``.

    Returns:
        Fields of the shape of ``z``.
    """
    return backward(power_law(z, slope, walls).sqrt() * forward(z, walls), walls)


def _wavenumbers(n: int, walls: str, like: Tensor) -> Float[Tensor, " n"]:
    k = torch.arange(n, device=like.device, dtype=like.dtype)
    return k + 1 if walls == "dirichlet" else k


def _matrix(n: int, walls: str, like: Tensor) -> Float[Tensor, "n n"]:
    """Rows are modes: ``sqrt(2/n) sin(k x_j)`` or ``cos``; halved in power where ``|trig| = 1`` at every centre."""
    k, j = torch.arange(n, device=like.device)[:, None], torch.arange(n, device=like.device)
    k = k + 1 if walls == "dirichlet" else k
    angle = (k * (2 * j + 1) % (4 * n)).to(like) * (math.pi / (2 * n))  # reduced in integers: exact for every k
    rows = (angle.sin() if walls == "dirichlet" else angle.cos()) * math.sqrt(2 / n)
    return torch.where(k == (n if walls == "dirichlet" else 0), rows / math.sqrt(2), rows)
