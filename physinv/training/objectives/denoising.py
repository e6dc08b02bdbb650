"""Denoising score matching with the transition kernel of linear physics."""

from __future__ import annotations

__all__ = ["DENOISING", "denoising_loss"]

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, Linear, Score
from physinv.training.objectives.base import Batch, Objective, check_window


def denoising_loss(score: Score, sde: SDE, batch: Batch, *, floor: float = 0.03) -> Float[Tensor, ""]:
    """Return ``E |W (V^(1/2) s(x_t, t) + xi)|^2`` for ``x_t = A x_0 + V^(1/2) xi``, with a linear SDE's own kernel.

    Denoising score matching (Vincent 2011, eq. 11) with the transition kernel ``N(A x_0, V)`` of the physics, mode by
    mode. Of each window only the first state ``x_0`` counts. The later state is drawn anew at every update, at a time
    ``t = c ((1 + span / c)^u - 1)``, u uniform: as many in each octave beyond the first stored step c, evenly below.

    ``V`` makes the targets unit normal: an error of ``E[x_0 | x_t]`` counts in units of ``V^(1/2) / A``. Where that is
    smaller than ``floor`` times the standard deviation of the states, ``W^2 = 1 / (1 + floor^2 var(x_0) A^2 / V)``
    makes the error count in units of the latter instead, which leaves the minimiser as it is. Without this weight the
    loss is dominated by relative errors of components that are nearly known.

    The 1-step loss has the same minimiser. Here the noise accumulates over the whole time since the window's start,
    which makes the standard deviation of the targets ``xi / V^(1/2)`` of the score smaller by the square root of the
    number of steps, and each initial state gives any number of later ones.

    Args:
        score: The score that is trained.
        sde: The physics, a :class:`~physinv.equations.sde.Linear` SDE.
        batch: Windows of 2 or more states, best of all stored times. ``batch.generator`` draws the times and noise.
        floor: Smallest unit of an error of ``E[x_0 | x_t]``, in standard deviations of the states.

    Raises:
        ValueError: If the SDE is not linear, or the windows hold fewer than 2 states.

    References:
        Vincent (2011), A connection between score matching and denoising autoencoders, eq. 11.
    """
    if not isinstance(sde, Linear):
        raise ValueError(f"`sde` must be Linear (its kernel is known), got {type(sde).__name__}; take trajectory_loss.")
    check_window(batch)
    x0, times, generator = batch.states[:, 0], batch.times, batch.generator
    first = times[:, 1] - times[:, 0]

    # A time since the start of the window, and a state drawn from the kernel at that time.
    u = torch.rand(len(x0), generator=generator, dtype=x0.dtype, device=x0.device)
    lag = first * torch.expm1(u * torch.log1p((times[:, -1] - times[:, 0]) / first))
    xi = sde.modes(torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device))
    start, later = times[:, 0], times[:, 0] + lag
    gain, variance = sde.decay(start, later, x0), sde.variance(start, later, x0)
    deviation = variance.sqrt()
    x = sde.unmodes(gain * sde.modes(x0) + deviation * xi, x0)

    # The error of the score in units of the noise, with less weight where the initial state is nearly known.
    gap = deviation * sde.modes(score(x, later)) + xi
    known = (floor * gain).square() * x0.var() / variance.clamp(min=torch.finfo(x0.dtype).tiny)
    loss: Tensor = sde.unmodes((1 + known).rsqrt() * gap, x0).square().mean()
    return loss


DENOISING = Objective(denoising_loss, window=None)
"""Denoising score matching, on windows of all stored times."""
