"""Log densities of Gaussians that are diagonal in an orthonormal basis, such as Fourier modes."""

from __future__ import annotations

__all__ = ["gaussian_log_prob"]

import math

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.fourier import multiplicity


def gaussian_log_prob(y: Tensor, power: Tensor, like: Float[Tensor, "batch *state"]) -> Float[Tensor, " batch"]:
    """Return the log density of a Gaussian that is diagonal in an orthonormal basis.

        -1/2 sum_k n_k (|y_k|^2 / S_k + log 2 pi S_k)

    ``n_k`` is 2 for the modes of a real FFT that stand for their complex conjugates too, and 1 elsewhere: a mode
    without conjugate twin is one real number, a pair is two real numbers of variance ``S_k / 2`` each.  Modes without
    power are left out: the density is that on the subspace of the others.

    Args:
        y: Coefficients of the states minus those of the mean, ``(batch, *modes)``.
        power: Variance ``S_k = E|y_k|^2`` of each mode, broadcastable against ``y``.
        like: States of the shape in question, from which shape, dtype and device are taken.

    Example:
        >>> x = torch.zeros(1, 2)
        >>> round(gaussian_log_prob(x, torch.ones(2), x).item(), 4)  # -log 2 pi
        -1.8379
    """
    tiny = torch.finfo(like.dtype).tiny
    each = y.abs().square() / power.clamp(min=tiny) + (2 * math.pi * power.clamp(min=tiny)).log()
    each = torch.where(power > tiny, each, 0.0)
    return -((multiplicity(like) if y.is_complex() else 1) * each).flatten(1).sum(1) / 2
