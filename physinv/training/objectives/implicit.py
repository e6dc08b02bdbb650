"""Implicit score matching: objectives of states and the noise alone, without a reversal of the physics.

Implicit objectives rest on ``E[w s . s*] = -E[w div s]`` for the true score ``s*`` (Hyvarinen 2005): up to a constant,

    E |w (s - s*)|^2 = 2 E[ tr(w^2 ds/dx) + |w s|^2 / 2 ],    w = g sqrt(dt),

``dt`` the step before the state.  With these weights, per component of the state, the excess of each objective over its
minimum is that of the 1-step loss, and components without noise do not count.  The minimum itself is negative:
``-tr(w^2 Sigma^-1)`` over the number of components for ``N(mu, Sigma)``.  The minimiser is the true score.
"""

from __future__ import annotations

__all__ = ["IMPLICIT", "SLICED", "SLICED_VR", "implicit_loss", "sliced_loss", "sliced_vr_loss"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.sde import SDE, Score
from physinv.training.objectives.base import Batch, Objective, check_window

Weight = Callable[[Tensor], Tensor]


def implicit_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return ``2 E[ tr(w^2 ds/dx) + |w s|^2 / 2 ]``, ``w = g sqrt(dt)`` (Hyvarinen 2005, eq. 4).

    The divergence is exact. It takes one directional derivative per component, so this is meant for small states.

    Args:
        score: The score that is trained.
        sde: The physics, of which the noise counts.
        batch: Windows of 2 or more states; all states but the first of each window count.

    Raises:
        ValueError: If the windows hold fewer than 2 states.

    References:
        Hyvarinen (2005), Estimation of non-normalized statistical models by score matching, eq. 4.
    """
    x, s, w = _later_states(score, sde, batch)
    basis = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device).reshape(-1, 1, *x.shape[1:])
    trace = torch.stack([_slope(s, x, w(e.expand_as(x))) for e in basis]).sum(0)
    return _mean(trace + w(s).square().flatten(1).sum(1) / 2, x)


def sliced_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return ``2 E[ v^T (ds/dx) v + (v^T s)^2 / 2 ]``, ``v = w (+-1, ..., +-1)`` at random (Song et al. 2019, eq. 8).

    It takes one directional derivative, whatever the size of the state. In one dimension it is :func:`implicit_loss`.

    Args:
        score: The score that is trained.
        sde: The physics, of which the noise counts.
        batch: Windows of 2 or more states, of which all but the first count. ``batch.generator`` draws the signs.

    Raises:
        ValueError: If the windows hold fewer than 2 states.

    References:
        Song, Garg, Shi and Ermon (2019), Sliced score matching, eq. 8.
    """
    x, s, w = _later_states(score, sde, batch)
    v = w(_signs(x, batch.generator))
    return _mean(_slope(s, x, v) + (v * s).flatten(1).sum(1).square() / 2, x)


def sliced_vr_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return ``2 E[ v^T (ds/dx) v + |w s|^2 / 2 ]``: :func:`sliced_loss`, its second term averaged over ``v`` exactly.

    This is the variance-reduced form of Song et al. (2019, section 3.2), with Hutchinson's estimate of the divergence.

    Args:
        score: The score that is trained.
        sde: The physics, of which the noise counts.
        batch: Windows of 2 or more states, of which all but the first count. ``batch.generator`` draws the signs.

    Raises:
        ValueError: If the windows hold fewer than 2 states.

    References:
        Song, Garg, Shi and Ermon (2019), Sliced score matching, section 3.2.
    """
    x, s, w = _later_states(score, sde, batch)
    v = w(_signs(x, batch.generator))
    return _mean(_slope(s, x, v) + w(s).square().flatten(1).sum(1) / 2, x)


IMPLICIT = Objective(implicit_loss)
"""Implicit score matching with the exact divergence."""

SLICED = Objective(sliced_loss)
"""Sliced score matching."""

SLICED_VR = Objective(sliced_vr_loss)
"""Sliced score matching with reduced variance."""


def _later_states(score: Score, sde: SDE, batch: Batch) -> tuple[Tensor, Tensor, Weight]:
    """States ``x (n, *state)`` of the windows after their first, ``s(x)`` with its graph, and ``w = g sqrt(dt)``."""
    check_window(batch)
    x, t = batch.states[:, 1:].flatten(0, 1).detach().requires_grad_(), batch.times[:, 1:].flatten()
    dt = batch.times.diff(dim=1).flatten()
    with torch.enable_grad():
        s = score(x, t)
    return x, s, lambda v: match(dt, x).sqrt() * sde.diffuse(v, t)


def _slope(s: Tensor, x: Tensor, v: Tensor) -> Tensor:
    """``v^T (ds/dx) v``, ``(n,)``, differentiable once more if gradients are wanted."""
    (pulled,) = torch.autograd.grad(s, x, v, retain_graph=True, create_graph=torch.is_grad_enabled())
    return (v * pulled).flatten(1).sum(1)


def _signs(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Random signs, of the shape of ``x``."""
    coins = torch.randint(2, x.shape, generator=generator, device=x.device)
    return (2 * coins - 1).to(x.dtype)


def _mean(values: Tensor, x: Tensor) -> Tensor:
    """Twice the mean of ``values (n,)``, per component of the state."""
    return 2 * values.sum() / x.numel()
