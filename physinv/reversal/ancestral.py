"""Reverse steps of discrete diffusion models, for any linear SDE: DDIM and DDPM.

Both predict ``x_0 = (x + v s)/a`` and the noise ``n = (x - a x_0) / v^(1/2)`` from the score, and step down by

    x' = a' x_0 + (v' - w)^(1/2) n + w^(1/2) z,    z ~ N(0, I),

with gain and variance ``a, v`` from 0 to ``t``, ``a', v'`` to the earlier time.  The noise ``w = eta^2 q v'/v`` is that
of :class:`~physinv.equations.sde.Reverse`: with ``eta = 1`` the step draws from ``q(x' | x, x_0)``, DDPM with the
variance beta-tilde, with ``eta = 0`` it is deterministic and can be solved upward too: from data to noise and back.

As the steps shrink they become ``Reverse(sde, score, eta)``: order 1, like ``euler``, but with the linear part exact.
"""

from __future__ import annotations

__all__ = ["ancestral", "ddim"]

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import SDE, Linear, Reverse
from physinv.equations.solve import Step


@runtime_checkable
class LearnsVariance(Protocol):
    """A score that also says where the variance of a step lies between beta-tilde and beta."""

    def share(self, x: Tensor, t: Tensor) -> Tensor:
        """Return ``c`` in [0, 1] for the variance ``beta^c beta-tilde^(1 - c)``.

        Args:
            x: States.
            t: Their times.

        Returns:
            The shares, ``(batch, *state)``.
        """


def _law(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of every mode of the state that a step of :data:`ddim` reaches at ``t1``."""
    linear, eta = _parts(sde)
    a, v = linear.decay(0.0, t0, x), linear.variance(0.0, t0, x)
    a1, v1 = linear.decay(0.0, t1, x), linear.variance(0.0, t1, x)
    _check_gain(a)
    y = linear.modes(x)
    if not bool((t0 > 0).any()):  # upward from data: the noise that is predicted one step later
        seen = linear.unmodes(a1 * y, x)
        return a1 * y - v1 * linear.modes(sde.score(seen, t1)), torch.zeros_like(v1)  # type: ignore[attr-defined]
    s = linear.modes(sde.score(x, t0))  # type: ignore[attr-defined]
    w = eta**2 * linear.variance(t1, t0, x) * v1 / v if eta else torch.zeros_like(v1)
    return a1 / a * (y + v * s) - ((v1 - w).clamp(min=0) * v).sqrt() * s, w


def _check_gain(a: Tensor) -> None:
    """Refuse modes of which nothing is left: their gain is divided by."""
    if not bool((a.abs() > torch.finfo(a.dtype).tiny).all()):
        raise ValueError(
            "`process` must leave something of every mode, got gains of 0 that ddim divides by; take transport."
        )


def _ddim(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
    linear, _ = _parts(sde)
    mean, w = _law(sde, x, t0, t1)
    return linear.unmodes(mean + (w / match((t1 - t0).abs(), x)).sqrt() * linear.modes(dw[0]), x)


def _density(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, reached: Tensor) -> Tensor:
    """Log density of :func:`_ddim`; the last step, to 0, has none."""
    linear, eta = _parts(sde)
    if not eta:
        raise ValueError("`eta` must be above 0 for a log density of ddim, whose steps add no noise at 0.")
    if not bool((t1 > 0).all()):
        raise ValueError("`times` must end after 0 for a log density of ddim, whose last step to 0 adds no noise.")
    mean, w = _law(sde, x, t0, t1)
    gap = linear.modes(reached) - mean
    return gaussian_log_prob(gap.to(torch.complex128 if gap.is_complex() else torch.float64), w.double(), x.double())


def ancestral(variance: str = "upper") -> Step:
    """Return the step of DDPM, ``x' = (x + q s)/d + w^(1/2) z``, with a variance ``w`` of one's choice.

    With ``"lower"``, beta-tilde, it is :data:`ddim` at ``eta = 1``; that is right for data without spread.  With
    ``"upper"``, beta, it is right for data of variance 1.  ``"learned"`` asks the score model where between them.  The
    last step, to 0, adds no noise.

    Args:
        variance: ``"lower"``, ``"upper"`` or ``"learned"``.

    Returns:
        A step for ``Reverse(sde, score)`` with a linear sde.

    Raises:
        ValueError: If there is no such variance; when stepping, if the score has none that it learned, or the process
            is no ``Reverse`` of a linear one.

    References:
        Ho et al. (2020), Denoising diffusion probabilistic models, algorithm 2;
        Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic models, eq. 15.

    Example:
        >>> ancestral("upper").weak_order
        1.0
    """
    if variance not in ("lower", "upper", "learned"):
        raise ValueError(f"`variance` must be lower, upper or learned, got {variance!r}.")

    def advance(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
        linear, eta = _parts(sde)
        if eta != 1:
            raise ValueError(f"`eta` must be 1 for ancestral steps, got {eta:g}; take ddim.")
        score = sde.score  # type: ignore[attr-defined]
        d, q = linear.decay(t1, t0, x), linear.variance(t1, t0, x)
        _check_gain(d)
        mean = linear.unmodes((linear.modes(x) + q * linear.modes(score(x, t0))) / d, x)
        if not bool((t1 > 0).any()):
            return mean
        lower = q * linear.variance(0.0, t1, x) / linear.variance(0.0, t0, x)
        unit = dw[0] / match((t1 - t0).abs().sqrt(), x)
        if variance == "learned":
            return mean + _learned(linear, score, x, t0, lower, q).sqrt() * unit
        return mean + linear.unmodes((q if variance == "upper" else lower).sqrt() * linear.modes(unit), x)

    return Step(advance, weak_order=1.0)


def _learned(linear: Linear, score: object, x: Tensor, t: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """The variance ``beta^c beta-tilde^(1 - c)``."""
    if not isinstance(score, LearnsVariance) or linear.basis != "identity":
        raise ValueError("`variance` learned needs a Prediction with `variance`, of a process in the identity basis.")
    return upper * (lower / upper) ** (1 - score.share(x, t))


def _parts(sde: SDE) -> tuple[Linear, float]:
    """The linear SDE and ``eta``."""
    if not (isinstance(sde, Reverse) and isinstance(sde.sde, Linear)):
        raise ValueError("`ddim` and `ancestral` need Reverse(sde, score) with a Linear sde; take euler or heun.")
    if sde.eta > 1:
        raise ValueError(f"`eta` must lie in [0, 1] for ddim, got {sde.eta:g}.")
    return sde.sde, float(sde.eta)


ddim = Step(_ddim, weak_order=1.0, density=_density)
"""Step of denoising diffusion implicit models (Song, Meng and Ermon 2021), with the ``eta`` of ``Reverse``, 0 to 1.

It needs ``Reverse(sde, score, eta)`` with a linear process.  At ``eta = 0`` it goes both ways: down to decode, up to
encode.
"""
