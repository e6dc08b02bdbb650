"""What is known of a state of a linear SDE given its start: formulas of discrete diffusion models, for any of them.

Let ``a, v`` be gain and variance from 0 to ``t``, ``a', v'`` those from 0 to an earlier ``t'``, and ``d, q`` those
from ``t'`` to ``t``, so that ``a = a' d`` and ``v = d^2 v' + q``.  Mode by mode

    q(x_t | x_0)        = N(a x_0, v)
    q(x_t' | x_t, x_0)  = N(a' q/v x_0 + d v'/v x_t,  q v'/v)

Of a VP process on a grid of times these are the formulas of Ho et al. (2020, eq. 4, 6 and 7): ``a^2`` is their
``alpha-bar_t``, ``d^2`` their ``alpha_t``, ``q`` their ``beta_t`` and ``q v'/v`` their ``beta-tilde_t``.  Of a VE
process they are those of SMLD.

A score is the same as a prediction of ``x_0``, of the noise, or of the mean of ``x_t'``:

    x_0 = (x + v s)/a,    noise = -v^(1/2) s,    E[x_t' | x_t] = (x + q s)/d

References:
    Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models;
    Efron (2011), Tweedie's formula and selection bias.
"""

from __future__ import annotations

__all__ = ["Between", "between", "noise_of", "noised", "score_from_mean", "score_from_noise", "score_from_start"]

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import Linear


class Between(NamedTuple):
    """The law ``q(x_t' | x_t, x_0)``, or one reverse step that a score makes of it.

    Attributes:
        mean: Mean of the earlier state, ``(batch, *state)``.
        lower: ``q v'/v``, its variance in every mode: beta-tilde.
        upper: ``q``, the variance of the forward step in every mode: beta.
    """

    mean: Tensor
    lower: Tensor
    upper: Tensor


def noised(
    sde: Linear, start: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"], noise: Float[Tensor, "batch *state"]
) -> Float[Tensor, "batch *state"]:
    """Return states ``x_t = a x_0 + v^(1/2) noise``: draws of ``q(x_t | x_0)`` for standard normal noise.

    Args:
        sde: The process.
        start: Initial states ``x_0``.
        t: Times.
        noise: Noise in units of its standard deviation.

    Example:
        >>> import torch
        >>> from physinv.equations.noising import VP
        >>> x = noised(VP(), torch.ones(1, 2), torch.ones(1), torch.zeros(1, 2))
        >>> round(float(x[0, 0]), 5)  # e^(-10.05 / 2)
        0.00657
    """
    a, v = sde.decay(0.0, t, start), sde.variance(0.0, t, start)
    return sde.unmodes(a * sde.modes(start) + v.sqrt() * sde.modes(noise), start)


def between(
    sde: Linear, start: Float[Tensor, "batch *state"], x: Float[Tensor, "batch *state"], earlier: Tensor, t: Tensor
) -> Between:
    """Return ``q(x_t' | x_t, x_0)``.

    Args:
        sde: The process.
        start: Initial states ``x_0``, or predictions of them.
        x: States ``x_t``.
        earlier: Times ``t'``, ``(batch,)``.
        t: Later times.

    Example:
        Half-way between two points, a Brownian motion is in their middle:

        >>> import torch
        >>> from physinv.equations.noising import VE, LinearRate
        >>> zero, one = torch.zeros(1, 1), torch.ones(1, 1)
        >>> law = between(VE(LinearRate(1.0, 1.0)), zero, one, torch.full((1,), 0.5), torch.ones(1))
        >>> law.mean.item(), law.lower.item(), law.upper.item()
        (0.5, 0.25, 0.5)
    """
    before, v = sde.variance(0.0, earlier, x), sde.variance(0.0, t, x)
    d, q = sde.decay(earlier, t, x), sde.variance(earlier, t, x)
    mean = sde.decay(0.0, earlier, x) * q / v * sde.modes(start) + d * before / v * sde.modes(x)
    return Between(sde.unmodes(mean, x), q * before / v, q)


def noise_of(sde: Linear, x: Float[Tensor, "batch *state"], score: Tensor, t: Float[Tensor, " batch"]) -> Tensor:
    """Return ``-v^(1/2) s``, the noise in a state that its score predicts.

    Args:
        sde: The process.
        x: States ``x_t``, of which the shape counts.
        score: Their scores.
        t: Times.
    """
    return -sde.unmodes(sde.variance(0.0, t, x).sqrt() * sde.modes(score), x)


def score_from_noise(
    sde: Linear, x: Float[Tensor, "batch *state"], noise: Tensor, t: Float[Tensor, " batch"]
) -> Float[Tensor, "batch *state"]:
    """Return the score ``-noise / v^(1/2)`` of a prediction of the noise.

    Args:
        sde: The process.
        x: States ``x_t``, of which the shape counts.
        noise: Predicted noise, in units of its standard deviation.
        t: Times, later than 0.
    """
    return -sde.unmodes(sde.modes(noise) / sde.variance(0.0, t, x).sqrt(), x)


def score_from_start(
    sde: Linear, x: Float[Tensor, "batch *state"], start: Tensor, t: Float[Tensor, " batch"]
) -> Float[Tensor, "batch *state"]:
    """Return the score ``(a x_0 - x) / v`` of a prediction of ``x_0``.

    Args:
        sde: The process.
        x: States ``x_t``.
        start: Predicted initial states.
        t: Times, later than 0.
    """
    a, v = sde.decay(0.0, t, x), sde.variance(0.0, t, x)
    return sde.unmodes((a * sde.modes(start) - sde.modes(x)) / v, x)


def score_from_mean(
    sde: Linear, x: Float[Tensor, "batch *state"], mean: Tensor, earlier: Tensor, t: Tensor
) -> Float[Tensor, "batch *state"]:
    """Return the score ``(d mean - x) / q`` of a prediction of ``E[x_t' | x_t]``.

    Args:
        sde: The process.
        x: States ``x_t``.
        mean: Predicted means of the states at ``t'``.
        earlier: Times ``t'``.
        t: Later times.
    """
    d, q = sde.decay(earlier, t, x), sde.variance(earlier, t, x)
    return sde.unmodes((d * sde.modes(mean) - sde.modes(x)) / q, x)
