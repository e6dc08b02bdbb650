"""The reverse step ``split``, a splitting step that serves every process; for linear ones see
:mod:`~physinv.reversal.transport`.
"""

from __future__ import annotations

__all__ = ["split"]

import torch
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.sde import SDE, Reverse, Score
from physinv.equations.solve import Step
from physinv.models.references.base import ReferenceLaw
from physinv.models.score import ScoreModel

_MIN_SHARE = 1e-6  # of a variance; keeps gradients of roots finite where none or all of it is noise


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
    if not isinstance(sde, Reverse):
        raise ValueError(f"`split` steps a Reverse(sde, score), got {type(sde).__name__}; take euler or heun.")
    physics, dt, eta2 = sde.sde, match(t0 - t1, x), sde.eta**2
    reference = ReferenceLaw.of(sde.score)
    then = t1.to(x.dtype)  # the physics gets short steps in float64, tables are in the precision of x
    score, precision = _score(sde.score, x, t0)
    pull = physics.apply_covariance(score, t1, t0)
    if reference is None or precision is None:
        noise = sde.diffuse(dw[0], t0)
        return physics.drift_flow(x + (1 + eta2) / 2 * pull, t0, t1) + noise
    lost = (physics.apply_covariance(torch.ones_like(x), t1, t0) * precision).clamp(_MIN_SHARE, 1 - _MIN_SHARE)  # q P
    log_rho = torch.log1p(-lost)
    pull = pull * -((1 + eta2) / 2 * log_rho).expm1() / lost
    if eta2 == 0:
        return physics.drift_flow(x + pull, t0, t1).clamp(*reference.limits(then))
    spread = ((1 - lost) * -(eta2 * log_rho).expm1() / precision / dt).sqrt()
    return physics.drift_flow(x + pull + spread * dw[0], t0, t1).clamp(*reference.limits(then))


def _score(score: Score, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
    """The score, and the curvature of the reference law where it is known."""
    if isinstance(score, ScoreModel) and type(score).forward is ScoreModel.forward:
        return score.with_precision(x, t)
    reference = ReferenceLaw.of(score)
    return score(x, t), None if reference is None else reference.precision(x, t.to(x.dtype))


split = Step(_split, weak_order=1.0)
"""Splitting step of weak order 1, for ``Reverse(sde, score)`` with any score.

Exact for Gaussian data of linear processes where the reference law knows its curvature (``precision``).
"""
