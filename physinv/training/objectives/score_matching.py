"""Score matching from states alone: objectives that need no reversal of the physics.

Each has the signature of :class:`~physinv.training.objectives.trajectory.Loss` and the true score as its minimiser.

Implicit objectives rest on ``E[w s . s*] = -E[w div s]`` for the true score ``s*`` (Hyvarinen 2005): up to a constant,

    E |w (s - s*)|^2 = 2 E[ tr(w^2 ds/dx) + |w s|^2 / 2 ],    w = g sqrt(dt),

``dt`` the step before the state.  With these weights, per component of the state, the excess of each objective over its
minimum is that of the 1-step loss, and components without noise do not count.  The minimum itself is negative:
``-tr(w^2 Sigma^-1)`` over the number of components for ``N(mu, Sigma)``.
"""

from __future__ import annotations

__all__ = ["denoising_loss", "implicit_loss", "sliced_loss", "sliced_vr_loss"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, Linear, Score, match

Unit = Callable[[Tensor], Tensor]


def denoising_loss(
    score: Score,
    sde: SDE,
    states: Float[Tensor, "batch window *state"],
    times: Float[Tensor, "batch window"],
    *,
    floor: float = 0.03,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """``E |W (V^(1/2) s(x_t, t) + xi)|^2``, ``x_t = A x_0 + V^(1/2) xi``: for :class:`~physinv.equations.sde.Linear`
    SDEs.

    Denoising score matching (Vincent 2011, eq. 11) with the transition kernel ``N(A x_0, V)`` of the physics, mode by
    mode.  Of each window only the first state ``x_0`` counts; the later one is drawn anew at every update, at a time
    ``t = c ((1 + span / c)^u - 1)``, u uniform: as many in each octave beyond the first stored step c, evenly below.

    ``V`` makes the targets unit normal: an error of ``E[x_0 | x_t]`` counts in units of ``V^(1/2) / A``.  Where that is
    smaller than ``floor`` times the standard deviation of the states, ``W^2 = 1 / (1 + floor^2 var(x_0) A^2 / V)``
    makes it count in units of the latter instead; the minimiser stays.  Without, training is spent on the last digits
    of what is nearly known.

    Against the 1-step loss, whose minimiser is the same, the noise in the target is that of the whole time since the
    window's start, smaller by the square root of the number of steps, and every start serves any number of times.
    Raises ValueError for an SDE that is not linear.
    """
    if not isinstance(sde, Linear):
        raise ValueError(f"`sde` must be Linear (its kernel is known), got {type(sde).__name__}; take trajectory_loss.")
    x0, first = states[:, 0], times[:, 1] - times[:, 0]
    u = torch.rand(len(x0), generator=generator, dtype=x0.dtype, device=x0.device)
    lag = first * torch.expm1(u * torch.log1p((times[:, -1] - times[:, 0]) / first))
    xi = sde.modes(torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device))
    gain, variance = sde.decay(lag, x0), sde.variance(lag, x0)
    deviation = variance.sqrt()
    x = sde.unmodes(gain * sde.modes(x0) + deviation * xi, x0)
    gap = deviation * sde.modes(score(x, times[:, 0] + lag)) + xi
    known = (floor * gain).square() * x0.var() / variance.clamp(min=torch.finfo(x0.dtype).tiny)
    loss: Tensor = sde.unmodes((1 + known).rsqrt() * gap, x0).square().mean()
    return loss


def implicit_loss(
    score: Score,
    sde: SDE,
    states: Float[Tensor, "batch window *state"],
    times: Float[Tensor, "batch window"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """``2 E[ tr(w^2 ds/dx) + |w s|^2 / 2 ]``, ``w = g sqrt(dt)`` (Hyvarinen 2005, eq. 4), all states but the first.

    The divergence is exact: one directional derivative per component of the state, so it is meant for small states.
    Raises ValueError for windows of one state.
    """
    x, s, w = _later(score, sde, states, times)
    basis = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device).reshape(-1, 1, *x.shape[1:])
    trace = torch.stack([_slope(s, x, w(e.expand_as(x))) for e in basis]).sum(0)
    return _mean(trace + w(s).square().flatten(1).sum(1) / 2, x)


def sliced_loss(
    score: Score,
    sde: SDE,
    states: Float[Tensor, "batch window *state"],
    times: Float[Tensor, "batch window"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """``2 E[ v^T (ds/dx) v + (v^T s)^2 / 2 ]``, ``v = w (+-1, ..., +-1)`` at random (Song et al. 2019, eq. 8).

    One directional derivative, whatever the size of the state; in one dimension it is :func:`implicit_loss`.
    ``generator`` draws the signs.  Raises ValueError for windows of one state.
    """
    x, s, w = _later(score, sde, states, times)
    v = w(_signs(x, generator))
    return _mean(_slope(s, x, v) + (v * s).flatten(1).sum(1).square() / 2, x)


def sliced_vr_loss(
    score: Score,
    sde: SDE,
    states: Float[Tensor, "batch window *state"],
    times: Float[Tensor, "batch window"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """``2 E[ v^T (ds/dx) v + |w s|^2 / 2 ]``: :func:`sliced_loss` with its second term averaged over ``v`` exactly.

    The variance-reduced form of Song et al. (2019, section 3.2), with Hutchinson's estimate of the divergence.
    Raises ValueError for windows of one state.
    """
    x, s, w = _later(score, sde, states, times)
    v = w(_signs(x, generator))
    return _mean(_slope(s, x, v) + w(s).square().flatten(1).sum(1) / 2, x)


def _later(score: Score, sde: SDE, states: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Unit]:
    """States ``x (n, *state)`` of the windows after their first, ``s(x)`` with its graph, and ``w = g sqrt(dt)``."""
    if states.shape[1] < 2:
        raise ValueError(f"`states` must hold windows of 2 or more states, got {states.shape[1]}; take window=2.")
    x, t = states[:, 1:].flatten(0, 1).detach().requires_grad_(), times[:, 1:].flatten()
    dt = times.diff(dim=1).flatten()
    with torch.enable_grad():
        s = score(x, t)
    return x, s, lambda v: match(dt, x).sqrt() * sde.diffuse(v, t)


def _slope(s: Tensor, x: Tensor, v: Tensor) -> Tensor:
    """``v^T (ds/dx) v``, ``(n,)``, differentiable once more if gradients are wanted."""
    (pulled,) = torch.autograd.grad(s, x, v, retain_graph=True, create_graph=torch.is_grad_enabled())
    return (v * pulled).flatten(1).sum(1)


def _signs(x: Tensor, generator: torch.Generator | None) -> Tensor:
    coins = torch.randint(2, x.shape, generator=generator, device=x.device)
    return (2 * coins - 1).to(x.dtype)


def _mean(values: Tensor, x: Tensor) -> Tensor:
    """Twice the mean of ``values (n,)``, per component of the state."""
    return 2 * values.sum() / x.numel()
