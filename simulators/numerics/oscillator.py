"""The noisy damped oscillator ``u' = w, w' = -omega^2 u - damping w + noise``, mode by mode: propagator and noise.

A 2 x 2 matrix acting on ``(u, w)`` is a :data:`Block`: its entries ``(uu, uw, wu, ww)``, one tensor each.
"""

from __future__ import annotations

__all__ = ["Block", "inverse_root", "noise_block", "noise_root", "product", "propagator", "transposed"]

import numpy as np
import torch
from torch import Tensor

Block = tuple[Tensor, Tensor, Tensor, Tensor]

_NEAR = 1e-2  # |s| below which the series of cos and sinc is used: their first terms left out are below 1e-17
_HALVINGS = 16
_NODES, _WEIGHTS = ((a / 2).tolist() for a in np.polynomial.legendre.leggauss(8))


def product(a: Block, b: Block) -> Block:
    """Return the product ``a b`` of 2 x 2 matrices, mode by mode.

    Args:
        a: Left matrices.
        b: Right matrices.
    """
    return (
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
    )


def transposed(a: Block) -> Block:
    """Return the transposed matrices.

    Args:
        a: 2 x 2 matrices of all modes.
    """
    return a[0], a[2], a[1], a[3]


def propagator(t: Tensor, omega2: Tensor, damping: float) -> Block:
    """Return ``e^{A t}`` for ``A = [[0, 1], [-omega^2, -damping]]``.

    With ``s = (omega^2 - damping^2/4) t^2``, ``C = e^{-damping t/2} cos(sqrt s)`` and
    ``S = t e^{-damping t/2} sin(sqrt s)/sqrt s`` it is ``[[C + damping/2 S, S], [-omega^2 S, C - damping/2 S]]``
    (Chandrasekhar 1943, section II.3): hyperbolic for s < 0 (overdamped), a series where ``|s| < .01`` (near critical).

    Args:
        t: Durations, of either sign.
        omega2: Squared frequencies ``omega^2``, in 1/time^2.
        damping: Damping rate, in 1/time.
    """
    half = damping / 2 * t
    s = omega2 * t**2 - half**2
    under, over = s >= _NEAR, s <= -_NEAR
    ring = torch.where(under, s, 1.0).sqrt()
    creep = torch.where(over, -s, 1.0).sqrt()
    near = torch.where(under | over, 0.0, s)
    fade, slow, fast = (-half).exp(), (creep - half).exp(), (-creep - half).exp()
    cos = 1 - near / 2 * (1 - near / 12 * (1 - near / 30 * (1 - near / 56 * (1 - near / 90))))
    sinc = 1 - near / 6 * (1 - near / 20 * (1 - near / 42 * (1 - near / 72 * (1 - near / 110))))
    C = torch.where(under, fade * ring.cos(), torch.where(over, (slow + fast) / 2, fade * cos))
    S = torch.where(under, fade * ring.sin() / ring, torch.where(over, (slow - fast) / (2 * creep), fade * sinc)) * t
    return C + damping / 2 * S, S, -omega2 * S, C - damping / 2 * S


def noise_block(t: Tensor, omega2: Tensor, damping: float) -> Block:
    """Return the covariance ``Q(t) = int_0^t e^{As} e_w e_w^T e^{A^T s} ds`` that unit noise on the velocity builds up.

    By Gauss-Legendre quadrature over ``h = t / 2^16``, then doubled: ``Q(2h) = Q(h) + e^{Ah} Q(h) e^{A^T h}``.
    Covariances add up and nothing cancels, as it does in the closed forms for small ``t``, weak and near-critical
    damping.  Relative error below 1e-9 for ``(omega + damping) t < 1e5``.

    Args:
        t: Durations, positive.
        omega2: Squared frequencies, in 1/time^2.
        damping: Damping rate, in 1/time.
    """
    h = t / 2**_HALVINGS
    uu, uw, ww = torch.zeros_like(h * omega2), torch.zeros_like(h * omega2), torch.zeros_like(h * omega2)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        _, u, _, w = propagator(h * (0.5 + node), omega2, damping)
        uu, uw, ww = uu + weight * h * u**2, uw + weight * h * u * w, ww + weight * h * w**2
    F = propagator(h, omega2, damping)
    for _ in range(_HALVINGS):
        uu, uw, ww = (
            uu + F[0] ** 2 * uu + 2 * F[0] * F[1] * uw + F[1] ** 2 * ww,
            uw + F[0] * F[2] * uu + (F[0] * F[3] + F[1] * F[2]) * uw + F[1] * F[3] * ww,
            ww + F[2] ** 2 * uu + 2 * F[2] * F[3] * uw + F[3] ** 2 * ww,
        )
        F = product(F, F)
    return uu, uw, uw, ww


def noise_root(q: Block) -> Block:
    """Return the root ``L`` of a covariance, ``L L^T = q``, of the form ``[[a, b], [0, d]]``.

    Args:
        q: Covariances of all modes.
    """
    d = q[3].sqrt()
    return (q[0] - q[1] ** 2 / q[3]).sqrt(), q[1] / d, torch.zeros_like(d), d


def inverse_root(root: Block) -> Block:
    """Return the inverse of :func:`noise_root`.

    Args:
        root: Roots of all modes.
    """
    a, b, zero, d = root
    return 1 / a, -b / (a * d), zero, 1 / d
