"""Reverse steps: ``transport`` is exact for linear-Gaussian processes, ``split`` serves every other one."""

from __future__ import annotations

__all__ = ["split", "transport"]

import math

import torch
from torch import Tensor

from physinv.moments import LinearMoments, MixtureMoments
from physinv.score import ScoreModel
from physinv.sde import SDE, Linear, Reverse, expand, match
from physinv.solvers import Step


def _transport(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    """One step of ``Reverse(Linear, ScoreModel(LinearMoments, ...), eta)`` from ``t0`` down to ``t1``.

    Per mode, with the reference powers ``S`` at ``t0`` and ``S'`` at ``t1``, decay ``a`` and noise ``q`` of the forward
    step and ``rho = 1 - q/S = a^2 S'/S``:

        y' = m' + sqrt(S'/S) rho^(eta^2/2) (y - m) + w r + N(0, S' (1 - rho^(eta^2)))

    For ``r = 0`` this maps ``N(m, S)`` to ``N(m', S')`` exactly: for ``eta = 1`` it is the smoothing step of Rauch,
    Tung and Striebel (1965), for ``eta = 0`` the probability flow.  The remainder ``r`` of the score enters with
    ``w = eta^2 q/a + (1 - eta^2) w_0``.  The first is exact, since ``a E[y'|y] = y + q s(y)`` for any law of ``y'``
    (Robbins 1956; Efron 2011); ``w_0 = 1/2 int sqrt(S'/S_t) g^2 dt`` (Simpson's rule) belongs to the flow.
    """
    if not (isinstance(sde, Reverse) and isinstance(sde.sde, Linear) and isinstance(sde.score, ScoreModel)):
        raise ValueError(
            "`transport` needs Reverse(sde, score) with a Linear sde and a ScoreModel; take euler or heun."
        )
    linear, model = sde.sde, sde.score
    moments = model.moments
    if not isinstance(moments, LinearMoments):
        raise ValueError("`transport` needs a ScoreModel around LinearMoments; take euler or heun.")
    dt, eta2 = t0 - t1, sde.eta**2
    y, now = moments.centred(x, t0)
    then = moments.spectrum(t1, x)
    q = linear.variance(dt, x)
    log_rho = torch.log1p(-(q / now.now).clamp(max=1 - torch.finfo(x.dtype).eps))
    out = then.a * linear.modes(moments.mean0[None]) + (then.now / now.now).sqrt() * (eta2 / 2 * log_rho).exp() * y
    unit = (now.prior / now.now / now.v.clamp(min=torch.finfo(x.dtype).tiny)).sqrt()  # LinearMoments.lift is a_t unit
    weight = eta2 * q * then.a * unit  # (q / a) (a_t unit), with a_t / a = a_t' kept from overflowing
    if eta2 != 1:
        half = moments.spectrum((t0 + t1) / 2, x).now
        simpson = (1 + 4 * (then.now / half).sqrt() + (then.now / now.now).sqrt()) / 6
        weight = weight + (1 - eta2) * linear.noise**2 / 2 * match(dt, x) * simpson * now.a * unit
    variance = -then.now * (eta2 * log_rho).expm1()
    out = out + weight * linear.modes(model.output(x, t0))
    return linear.unmodes(out + (variance / match(dt, x)).sqrt() * linear.modes(dw[0]), x)


def _split(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    """One step of ``Reverse(sde, score, eta)``: the score's pull first, then the physics backward, then the noise.

        x' = phi_{t0 -> t1}( x + (1 + eta^2)/2 q s(x, t0) ) + eta sqrt(c) dw

    ``phi`` is the flow of the drift alone and ``q`` the noise accumulated over the step (``g^2 dt``; both exact for
    linear SDEs, where ``phi(x + q s)`` is the exact conditional mean of any law: Robbins 1956).  Given the state at
    t0 the earlier one varies less than the noise did, ``c = g^2 (1 + q H)`` with ``H`` the Hessian of the log density
    (Bao et al. 2022); where the reference is a mixture, ``H`` is taken from the locally responsible component.  The
    last step onto a narrow start is hereby exact, instead of ending ``g sqrt(dt)`` off.  With such a reference the
    state also stays in the box where the process was seen (:meth:`~physinv.moments.MixtureMoments.box`).
    """
    if not isinstance(sde, Reverse):
        raise ValueError(f"`split` steps a Reverse(sde, score), got {type(sde).__name__}; take euler or heun.")
    physics, dt = sde.sde, t0 - t1
    kicked = x + (1 + sde.eta**2) / 2 * physics.apply_covariance(sde.score(x, t0), t1, t0)
    g = expand(physics.diffusion(t0), x)
    moments = sde.score.moments if isinstance(sde.score, ScoreModel) else None
    if not isinstance(moments, MixtureMoments):
        return physics.drift_flow(kicked, t0, t1) + sde.eta * g * dw[0]
    g = g * (1 - g**2 * match(dt, x) * moments.precision(x, t0)).clamp(min=0).sqrt()
    return (physics.drift_flow(kicked, t0, t1) + sde.eta * g * dw[0]).clamp(*moments.box(t1))


transport = Step(_transport, weak_order=math.inf)
"""Exact for linear-Gaussian processes at any number of steps; first order in what the network adds."""

split = Step(_split, weak_order=1.0)
"""Pull of the score, flow of the physics, noise: first order, robust, exact in the mean for linear SDEs."""
