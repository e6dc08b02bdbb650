"""Reverse steps for linear SDEs around a Gaussian reference law: exact for linear-Gaussian processes at any step size.

``transport`` evaluates the network at the start of the step, ``transport2`` averages it over both ends.
"""

from __future__ import annotations

__all__ = ["transport", "transport2"]

import torch
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import SDE, Linear, Reverse
from physinv.equations.solve import Step
from physinv.models.references.linear import LinearReference, Spectrum
from physinv.models.score import ScoreModel

_STILL = 1e-12  # of the largest variance: modes with less do not vary, but for the rounding of states


def _transport(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    """Take one step of ``Reverse(Linear, ScoreModel(LinearReference, ...), eta)`` from ``t0`` down to ``t1``.

    Per mode, with the reference powers ``S`` at ``t0`` and ``S'`` at ``t1``, decay ``a`` and noise ``q`` of the forward
    step and ``rho = 1 - q/S = a^2 S'/S``:

        y' = m' + sqrt(S'/S) rho^(eta^2/2) (y - m) + w r + N(0, S' (1 - rho^(eta^2)))

    For ``r = 0`` this maps ``N(m, S)`` to ``N(m', S')`` exactly: for ``eta = 1`` it is the smoothing step of Rauch,
    Tung and Striebel (1965), for ``eta = 0`` the probability flow.  The remainder ``r`` of the score enters with
    ``w = eta^2 q/a + (1 - eta^2) w_0``.  The first is exact, since ``a E[y'|y] = y + q s(y)`` for any law of ``y'``
    (Robbins 1956; Efron 2011); ``w_0 = 1/2 int sqrt(S'/S_t) g^2 dt`` (Simpson's rule) belongs to the flow.
    """
    mean, variance = _law(sde, x, t0, t1)
    linear = _parts(sde)[0]
    return linear.unmodes(mean + (variance / match(t0 - t1, x)).sqrt() * linear.modes(dw[0]), x)


def _law(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of every mode of ``y'``."""
    linear, model, reference, eta2 = _parts(sde)
    moved, variance, now, then = _reference(linear, reference, eta2, x, t0, t1)
    unit = (now.prior / now.now / now.v.clamp(min=torch.finfo(x.dtype).tiny)).sqrt()  # LinearReference.lift is a_t unit
    q = linear.variance(t1, t0, x)
    weight = eta2 * q * then.a * unit  # (q / a) (a_t unit), with a_t / a = a_t' kept from overflowing
    if eta2 != 1:
        middle = (t0 + t1) / 2
        later, half, first = (match(linear.diffusion(t), x) ** 2 for t in (t1, middle, t0))
        ratio = (then.now / reference.spectrum(middle, x).now).sqrt()
        simpson = (later + 4 * half * ratio + first * (then.now / now.now).sqrt()) / 6
        weight = weight + (1 - eta2) / 2 * match(t0 - t1, x) * simpson * now.a * unit
    return moved + weight * linear.modes(model.output(x, t0)), variance


def _density(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, reached: Tensor) -> Tensor:
    """Log density of :func:`_transport`, in the modes that vary: of ``t1 = 0`` those that initial states vary in."""
    mean, variance = _law(sde, x, t0, t1)
    variance = torch.where(variance > _STILL * variance.amax(), variance, torch.zeros_like(variance)).double()
    gap = _parts(sde)[0].modes(reached) - mean
    return gaussian_log_prob(gap.to(torch.complex128 if gap.is_complex() else torch.float64), variance, x.double())


def _transport2(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    """Take a step as :func:`_transport`, with the network averaged over both ends (two evaluations).

    Per mode write the remainder of the score as ``r = h a_t sqrt(S_0)/S``, so that ``sqrt(S_0) h v/S`` is the
    network's correction of the estimate of ``x_0`` (``h = o sqrt(S/v)`` with the network's output ``o``).  Then exactly

        y' = m' + sqrt(S'/S) rho^(eta^2/2) (y - m) + a' sqrt(S_0) int h d(-rho_t^((1 + eta^2)/2))
             + N(0, S' (1 - rho^(eta^2)))

    where ``rho_t`` falls from 1 at ``t1`` to ``rho`` at ``t0`` (variation of constants: with the angle ``cos(theta) =
    a sqrt(S_0/S)``, ``rho_t = cos^2(theta)/cos^2(theta')`` and ``g^2/2 sqrt(S'/S) a sqrt(S_0)/S dt = sqrt(S')
    sin(theta) dtheta``).  Predictor: ``h`` stays what it is at ``t0``, for ``eta = 1`` the exact conditional mean as
    in :func:`_transport`; corrector: the mean of ``h`` at both ends, with the same noise.  This is the stochastic
    Heun method (Kloeden and Platen 1992, section 15.1) around an exactly integrated linear part: weak order 2.

    ``h`` is smooth down to ``t = 0`` where the start has a smooth density.  A step that ends there keeps the
    predictor (the output at 0 was never trained): one evaluation, once, and the order of the whole stays 2.
    """
    linear, model, reference, eta2 = _parts(sde)
    moved, variance, now, then = _reference(linear, reference, eta2, x, t0, t1)
    moved = moved + (variance / match(t0 - t1, x)).sqrt() * linear.modes(dw[0])
    weight = -then.a * now.prior.sqrt() * ((1 + eta2) / 2 * _log_rho(linear, now, x, t0, t1)).expm1()
    first = weight * _over_sine(now) * linear.modes(model.output(x, t0))
    later = t1 > 0
    predicted = linear.unmodes(moved + first, x)
    if not bool(later.any()):
        return predicted
    second = weight * _over_sine(then) * linear.modes(model.output(predicted, t1))
    return torch.where(match(later, x), linear.unmodes(moved + (first + second) / 2, x), predicted)


def _parts(sde: SDE) -> tuple[Linear, ScoreModel, LinearReference, float]:
    """The linear SDE, the model, its reference and ``eta^2``."""
    if not (isinstance(sde, Reverse) and isinstance(sde.sde, Linear) and isinstance(sde.score, ScoreModel)):
        raise ValueError(
            "`transport` needs Reverse(sde, score) with a Linear sde and a ScoreModel; take euler or heun."
        )
    reference = LinearReference.of(sde.score)
    if reference is None:
        raise ValueError("`transport` needs a ScoreModel around LinearReference; take euler or heun.")
    return sde.sde, sde.score, reference, sde.eta**2


def _log_rho(linear: Linear, now: Spectrum, x: Tensor, t0: Tensor, t1: Tensor) -> Tensor:
    """``log(1 - q/S)``; modes that decay completely in this step get the smallest ``rho`` that is not 0."""
    return torch.log1p(-(linear.variance(t1, t0, x) / now.now).clamp(max=1 - torch.finfo(x.dtype).eps))


def _reference(
    linear: Linear, reference: LinearReference, eta2: float, x: Tensor, t0: Tensor, t1: Tensor
) -> tuple[Tensor, Tensor, Spectrum, Spectrum]:
    """``m' + sqrt(S'/S) rho^(eta^2/2) (y - m)``, ``S' (1 - rho^(eta^2))``, and the spectra at ``t0`` and ``t1``."""
    y, now = reference.centred(x, t0)
    then = reference.spectrum(t1, x)
    log_rho = _log_rho(linear, now, x, t0, t1)
    mean = then.a * linear.modes(reference.mean0[None])
    moved = mean + (then.now / now.now).sqrt() * (eta2 / 2 * log_rho).exp() * y
    return moved, -then.now * (eta2 * log_rho).expm1(), now, then


def _over_sine(s: Spectrum) -> Tensor:
    """``sqrt(S/v)``; 0 without noise, where the reference law is exact."""
    return torch.where(s.v > 0, (s.now / s.v.clamp(min=torch.finfo(s.v.dtype).tiny)).sqrt(), 0.0)


transport = Step(_transport, weak_order=1.0, density=_density)
"""Exponential step, exact for linear-Gaussian processes at any step size; first order in the network's correction.

It needs ``Reverse(sde, score)`` with a linear process and a score model around a
:class:`~physinv.models.references.linear.LinearReference`; so does :data:`transport2`.
"""

transport2 = Step(_transport2, weak_order=2.0)
"""As :data:`transport`, but second order in the network's correction, for every eta.

A step takes two evaluations of the network.
"""
