"""The reverse step ``split``, which serves every process; for linear ones see :mod:`~physinv.reversal.transport`."""

from __future__ import annotations

__all__ = ["split"]

import torch
from torch import Tensor

from physinv.equations.sde import SDE, Reverse, match
from physinv.equations.solve import Step
from physinv.models.references.base import ReferenceLaw

_LEAST = 1e-6  # of a variance: keeps the gradients of roots finite where all or nothing of it is noise


def _split(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    """One step of ``Reverse(sde, score, eta)``: the score's pull and the noise first, then the physics backward.

        x' = phi_{t0 -> t1}( x + p s(x, t0) + sqrt(c) N(0, 1) )

    ``phi`` is the flow of the drift alone.  With ``q`` the noise accumulated over the step (``g^2 dt``; exact for
    linear SDEs) and ``P`` the curvature ``-H log p`` at t0, the state is, locally, Gaussian; carrying it over

        rho = 1 - q P,   p = (1 - rho^((1 + eta^2)/2)) / P,   c = rho (1 - rho^(eta^2)) / P

    keeps the marginals for every eta, however long the step: at ``eta = 1`` ``p = q``, the exact conditional mean of
    any law (Robbins 1956), and ``c = q rho`` the conditional variance (Bao et al. 2022); at ``eta = 0`` the transport
    of one Gaussian to the other.  The last step onto a narrow start (``rho = 0``) ends on its centre.  For small q,
    ``p = (1 + eta^2)/2 q`` and ``c = eta^2 q``: so, with the noise last, where the reference tells no curvature.  One
    whose ``precision`` is known also keeps the state within its ``limits``, where the process was seen.
    """
    if not isinstance(sde, Reverse):
        raise ValueError(f"`split` steps a Reverse(sde, score), got {type(sde).__name__}; take euler or heun.")
    physics, dt, eta2 = sde.sde, match(t0 - t1, x), sde.eta**2
    reference = ReferenceLaw.of(sde.score)
    pull = physics.apply_covariance(sde.score(x, t0), t1, t0)
    precision = None if reference is None else reference.precision(x, t0)
    if reference is None or precision is None:
        noise = sde.diffuse(dw[0], t0)
        return physics.drift_flow(x + (1 + eta2) / 2 * pull, t0, t1) + noise
    lost = (physics.apply_covariance(torch.ones_like(x), t1, t0) * precision).clamp(_LEAST, 1 - _LEAST)  # q P
    log_rho = torch.log1p(-lost)
    pull = pull * -((1 + eta2) / 2 * log_rho).expm1() / lost
    if eta2 == 0:
        return physics.drift_flow(x + pull, t0, t1).clamp(*reference.limits(t1))
    spread = ((1 - lost) * -(eta2 * log_rho).expm1() / precision / dt).sqrt()
    return physics.drift_flow(x + pull + spread * dw[0], t0, t1).clamp(*reference.limits(t1))


split = Step(_split, weak_order=1.0)
"""First order, robust; exact for Gaussians under linear SDEs where the reference tells the curvature."""
