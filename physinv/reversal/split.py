"""The reverse step ``split``, a splitting step that serves every process; for linear ones see
:mod:`~physinv.reversal.transport`.
"""

from __future__ import annotations

__all__ = ["split"]

import math
from typing import NamedTuple

import torch
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.inverse_flow import inverse_flow
from physinv.equations.noise_density import amplitude, noise_log_prob
from physinv.equations.sde import SDE, Reverse, Score
from physinv.equations.solve import Step
from physinv.models.references.base import ReferenceLaw
from physinv.models.score import ScoreModel

_MIN_SHARE = 1e-6  # of a variance; keeps gradients of roots finite where none or all of it is noise


class _Kick(NamedTuple):
    """What the score does to states before the physics takes them back.

    ``spread`` is the deviation of the noise that is added then, per root of time; None: noise is added last.
    """

    moved: Tensor
    spread: Tensor | None
    low: Tensor
    high: Tensor


def _split(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    """Take one step of ``Reverse(sde, score, eta)``: first the score and the noise, then the physics backward.

        x' = phi_{t0 -> t1}( x + p s(x, t0) + sqrt(c) N(0, 1) )

    ``phi`` is the flow of the drift alone, ``q`` the variance of the noise accumulated over the step (``g^2 dt``; exact
    for linear SDEs) and ``P`` the curvature ``-Hess log p`` at t0.  Locally the state is Gaussian, and

        rho = 1 - q P,   p = (1 - rho^((1 + eta^2)/2)) / P,   c = rho (1 - rho^(eta^2)) / P

    keep its marginals for every eta, however long the step.  At ``eta = 1``, ``p = q`` is the exact conditional mean of
    any law (Robbins 1956), and ``c = q rho`` the conditional variance (Bao et al. 2022).  At ``eta = 0`` the step
    transports one Gaussian to the other.  The last step onto a narrow initial law (``rho = 0``) ends at its centre.

    For small q, ``p = (1 + eta^2)/2 q`` and ``c = eta^2 q``.  This limit is used, with the noise added last, where the
    reference law does not know its curvature.  A reference law that knows its ``precision`` also keeps the state within
    its ``limits``, the range of the training data.
    """
    reverse = _reverse(sde)
    kick = _kick(reverse, x, t0, t1)
    if kick.spread is None:
        return reverse.sde.drift_flow(kick.moved, t0, t1) + reverse.diffuse(dw[0], t0)
    start = kick.moved if reverse.eta == 0 else kick.moved + kick.spread * dw[0]
    return reverse.sde.drift_flow(start, t0, t1).clamp(kick.low, kick.high)


def _density(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, reached: Tensor) -> Tensor:
    """Log density of :func:`_split`; minus infinity on and beyond the limits, where draws are cut off."""
    reverse = _reverse(sde)
    kick, root = _kick(reverse, x, t0, t1), match(t0 - t1, x).sqrt()
    if kick.spread is None:
        mean = reverse.sde.drift_flow(kick.moved, t0, t1)
        return noise_log_prob(reached - mean, amplitude(reverse, x, t0) * root, mean != x)

    # The noise comes before the physics: back through its flow, with the volume that the flow makes of it.
    found = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
    inside = ((reached > kick.low) & (reached < kick.high)).flatten(1).all(1)
    if bool(inside.any()):
        moved, scale = kick.moved[inside], (kick.spread * root).expand_as(x)[inside]
        start, volume = inverse_flow(reverse.sde, reached[inside], t0[inside], t1[inside], near=moved)
        found[inside] = noise_log_prob(start - moved, scale, moved != x[inside]) - volume
    return found


def _reverse(sde: SDE) -> Reverse:
    """The equation, which must be a reversal."""
    if not isinstance(sde, Reverse):
        raise ValueError(f"`split` steps a Reverse(sde, score), got {type(sde).__name__}; take euler or heun.")
    return sde


def _kick(sde: Reverse, x: Tensor, t0: Tensor, t1: Tensor) -> _Kick:
    """The score's pull, the spread of the noise, and the limits of states at ``t1``."""
    physics, dt, eta2 = sde.sde, match(t0 - t1, x), sde.eta**2
    reference = ReferenceLaw.of(sde.score)
    then = t1.to(x.dtype)  # the physics gets short steps in float64, tables are in the precision of x
    score, precision = _score(sde.score, x, t0)
    pull = physics.apply_covariance(score, t1, t0)
    if reference is None or precision is None:
        return _Kick(x + (1 + eta2) / 2 * pull, None, *x.new_tensor([-math.inf, math.inf]))
    lost = (physics.apply_covariance(torch.ones_like(x), t1, t0) * precision).clamp(_MIN_SHARE, 1 - _MIN_SHARE)  # q P
    log_rho = torch.log1p(-lost)
    moved = x + pull * -((1 + eta2) / 2 * log_rho).expm1() / lost
    if eta2 == 0:
        return _Kick(moved, torch.zeros_like(x), *reference.limits(then))
    spread = ((1 - lost) * -(eta2 * log_rho).expm1() / precision / dt).sqrt()
    return _Kick(moved, spread, *reference.limits(then))


def _score(score: Score, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
    """The score, and the curvature of the reference law where it is known."""
    if isinstance(score, ScoreModel) and type(score).forward is ScoreModel.forward:
        return score.with_precision(x, t)
    reference = ReferenceLaw.of(score)
    return score(x, t), None if reference is None else reference.precision(x, t.to(x.dtype))


split = Step(_split, weak_order=1.0, density=_density)
"""Splitting step of weak order 1, for ``Reverse(sde, score)`` with any score.

Exact for Gaussian data of linear processes where the reference law knows its curvature (``precision``).
"""
