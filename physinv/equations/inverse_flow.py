"""Back through one step of a flow: the state that it started from, and the volume that it made of a unit volume."""

from __future__ import annotations

__all__ = ["inverse_flow"]

import math

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.fourier import multiplicity
from physinv.equations.sde import SDE, Linear

_NUMBERS = 64  # of a state, at most: Jacobians are computed row by row
_ROUNDS = 40  # of Newton's method
_TOLERANCE = 1e-5  # of the states: what is left of their difference


def inverse_flow(
    sde: SDE,
    reached: Float[Tensor, "batch *state"],
    t0: Tensor,
    t1: Tensor,
    *,
    near: Float[Tensor, "batch *state"],
) -> tuple[Float[Tensor, "batch *state"], Float[Tensor, " batch"]]:
    """Return the states from which ``drift_flow`` leads to given ones, and ``log |det d reached / d start|``.

    Linear processes have both in closed form.  Others take Newton's method on the step as it is computed, so that the
    inverse belongs to the solver's step and not to the flow that it approximates.

    Args:
        sde: The physics.
        reached: States at ``t1``.
        t0: Times at which the flow begins.
        t1: Times at which it ends, either side of ``t0``.
        near: States to start the search from, where the process is not linear.

    Returns:
        States at ``t0``, and nats in float64; NaN where no start is found, as for states far from all data.

    Raises:
        ValueError: If a state of a nonlinear process has more than 64 numbers.
    """
    if isinstance(sde, Linear):
        grown = sde.rates(reached) * match(sde.elapsed(t0, t1), reached)
        each = grown.double().expand_as(sde.modes(reached).real)
        weight = multiplicity(reached) if sde.modes(reached[:1]).is_complex() else 1
        return sde.drift_flow(reached, t1, t0), (weight * each).flatten(1).sum(1)
    if reached[0].numel() > _NUMBERS:
        raise ValueError(
            f"the log density of a step of nonlinear physics is computed for states of at most {_NUMBERS} numbers, "
            f"got {reached[0].numel()}; take a process of fewer."
        )

    # Newton's method, until rounding is all that is left, or no number.
    start, size = near, float(reached.abs().max()) or 1.0
    for _ in range(_ROUNDS):
        ended, slopes = _linearised(sde, start, t0, t1)
        gap = (reached - ended).flatten(1)
        left = gap.abs().amax(1)
        if not bool((left > 4 * torch.finfo(gap.dtype).eps * size).any()):
            break
        start = start + torch.linalg.solve_ex(slopes, gap)[0].reshape(start.shape)
    volume = torch.linalg.slogdet(slopes.double())[1]
    return start, torch.where(left <= _TOLERANCE * size, volume, math.nan)


def _linearised(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
    """Where the flow leads, and its Jacobian matrices ``(batch, d, d)``."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = sde.drift_flow(x, t0, t1).flatten(1)
        rows = [torch.autograd.grad(y[:, i].sum(), x, retain_graph=True)[0].flatten(1) for i in range(y.shape[1])]
    return y.detach().reshape(x.shape), torch.stack(rows, 1)
