"""Score matching from states alone: objectives that need no reversal of the physics.

Each has the signature of :class:`~physinv.losses.Loss` and the true score as its minimiser.
"""

from __future__ import annotations

__all__ = ["denoising_loss"]

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.sde import SDE, Linear, Score


def denoising_loss(
    score: Score,
    sde: SDE,
    states: Float[Tensor, "batch window *state"],
    times: Float[Tensor, "batch window"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """``E |V^(1/2) s(x_t, t) + xi|^2``, ``x_t = A x_0 + V^(1/2) xi``: for :class:`~physinv.sde.Linear` SDEs.

    Denoising score matching (Vincent 2011, eq. 11) with the transition kernel ``N(A x_0, V)`` of the physics, mode by
    mode.  Of each window only the first state ``x_0`` counts; the later one is drawn anew at every update, at a time
    ``t = c ((1 + span / c)^u - 1)``, u uniform: as many in each octave beyond the first stored step c, evenly below.
    Weights ``V`` make the targets unit normal.

    Against the 1-step loss, whose minimiser is the same, the noise in the target is that of the whole time since the
    window's start, smaller by the square root of the number of steps, and every start serves any number of times.
    Raises ValueError for an SDE that is not linear.
    """
    if not isinstance(sde, Linear):
        raise ValueError(f"`sde` must be Linear (its kernel is known), got {type(sde).__name__}; take trajectory_loss.")
    x0, first = states[:, 0], times[:, 1] - times[:, 0]
    u = torch.rand(len(x0), generator=generator, dtype=x0.dtype, device=x0.device)
    lag = first * torch.expm1(u * torch.log1p((times[:, -1] - times[:, 0]) / first))
    xi = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    deviation = sde.variance(lag, x0).sqrt()
    x = sde.unmodes(sde.decay(lag, x0) * sde.modes(x0) + deviation * sde.modes(xi), x0)
    gap = sde.unmodes(deviation * sde.modes(score(x, times[:, 0] + lag)), x0) + xi
    loss: Tensor = gap.square().mean()
    return loss
