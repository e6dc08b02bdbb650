"""Losses of discrete diffusion models: the simple loss, the variational bound and its terms, the hybrid loss.

For the chain of a noising process on times ``0 = t_0 < ... < t_N = T``, and a score's reverse steps ``p(x_i-1 | x_i)``,

    -log p(x_0) <= L_T + sum_(i = 2)^N L_i + L_0,
    L_T = KL(q(x_N | x_0) || p(x_N)),  L_i = KL(q(x_i-1 | x_i, x_0) || p(x_i-1 | x_i)),  L_0 = -log p(x_0 | x_1)

in expectation over ``q``.  All are given in nats per number of the state, so that models of different size, and models
of different kinds, can be compared; they are those of a density, not of values rounded to 256 grey levels.
"""

from __future__ import annotations

__all__ = ["SIMPLE", "Terms", "bound_terms", "hybrid_loss", "simple_loss", "variational_loss"]

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.noising import Noising
from physinv.equations.sde import SDE, Linear, Score
from physinv.laws.noised import between, noise_of, noised
from physinv.models.prediction import Prediction
from physinv.training.objectives.base import Batch, Objective, check_window

_SHARE = 1e-3  # of the bound in the hybrid loss (Nichol and Dhariwal 2021, eq. 16)


class Terms(NamedTuple):
    """The terms of a variational bound, means over states, in nats per number.

    Attributes:
        last: ``L_T``: what the noise at ``T`` still tells of the data.
        steps: ``L_i`` of the steps from the second to the last.
        first: ``L_0``: how badly the last step down finds the data.
    """

    last: Tensor
    steps: Tensor
    first: Tensor

    @property
    def total(self) -> Tensor:
        """The bound of ``-log p(x_0)`` per number."""
        return self.last + self.steps.sum() + self.first


def simple_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return ``E |noise_theta(x_t, t) - noise|^2`` per number, at times of the batch drawn uniformly.

    This is the variational bound of a chain with weights 1 for all steps. For a VE process on the times of
    :func:`~physinv.equations.noising.chains.levels` it is the loss of Song and Ermon (2019) with weights ``sigma^2``.

    Args:
        score: The score that is trained; the noise is ``-v^(1/2) s``.
        sde: A linear process.
        batch: Windows of all times of the chain, of which the first state counts.

    Raises:
        ValueError: If the SDE is not linear.

    References:
        Ho et al. (2020), Denoising diffusion probabilistic models, eq. 14.
    """
    if not isinstance(sde, Linear):
        raise ValueError(f"`sde` must be Linear (its kernel is known), got {type(sde).__name__}; take trajectory_loss.")
    x0, index, noise = _drawn(batch)
    t = _at(batch.times, index)
    x = noised(sde, x0, t, noise)
    return (noise_of(sde, x, score(x, t), t) - noise).square().mean()


SIMPLE = Objective(simple_loss, window=None)
"""The simple loss, on windows of all times of the chain."""


def variational_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return an unbiased estimate of ``sum_i L_i + L_0`` per number: N times one term for each state.

    The variance of the steps is the one that a :class:`~physinv.models.prediction.Prediction` learns, else beta.

    Args:
        score: The score that is trained.
        sde: A noising process.
        batch: Windows of all times of the chain, of which the first state counts.

    Raises:
        ValueError: If the process is no noising process.
    """
    process = _noising(sde)
    x0, index, noise = _drawn(batch)
    x = noised(process, x0, _at(batch.times, index), noise)
    s, share = _both(score, x, _at(batch.times, index))
    times = batch.times[0]
    return (len(times) - 1) * _term(process, x0, x, s, share, index, times, "upper").mean()


def hybrid_loss(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return the simple loss plus a thousandth of the variational bound, of which only the variance learns.

    Args:
        score: A :class:`~physinv.models.prediction.Prediction` with ``variance``.
        sde: A noising process.
        batch: Windows of all times of the chain, of which the first state counts.

    Raises:
        ValueError: If the score learns no variance, or the process is no noising process.

    References:
        Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic models, eq. 16.
    """
    process = _noising(sde)
    if not (isinstance(score, Prediction) and score.variance):
        raise ValueError("`score` must learn a variance for the hybrid loss; give Prediction(..., variance=True).")
    x0, index, noise = _drawn(batch)
    t, times = _at(batch.times, index), batch.times[0]
    x = noised(process, x0, t, noise)
    s, share = score.both(x, t)
    bound = (len(times) - 1) * _term(process, x0, x, s.detach(), share, index, times, "upper").mean()
    return (noise_of(process, x, s, t) - noise).square().mean() + _SHARE * bound


@torch.no_grad()
def bound_terms(
    score: Score,
    process: Noising,
    start: Float[Tensor, "batch *state"],
    times: Float[Tensor, " time"],
    *,
    variance: str = "upper",
    noise: Float[Tensor, "batch *state"] | None = None,
    generator: torch.Generator | None = None,
) -> Terms:
    """Return all terms of the variational bound of states, from one noised state for each and each time.

    Args:
        score: The score.
        process: The noising process, for data of variance 1.
        start: States ``x_0``.
        times: Times ``0, ..., T`` of the chain.
        variance: ``"lower"``, ``"upper"`` or ``"learned"``, as for :func:`~physinv.reversal.ancestral.ancestral`.  The
            first step has beta-tilde 0; the one of the second step stands in (Nichol and Dhariwal 2021).
        noise: The noise of every step, in units of its standard deviation; None: drawn anew for each.  All terms are
            quadratic in start and noise where the score is linear, so a few points then give them exactly.
        generator: Source of the noise, on the device of ``start``.

    Returns:
        The terms, means over the states.

    Raises:
        ValueError: If there is no such variance, or the score has none that it learned.

    Example:
        Where the data are standard normal and the score is exact, beta is the exact variance of a step: the bound is
        the entropy, 1/2 log(2 pi e) = 1.419.

        >>> from physinv.equations.noising import VP, chain, grid, linear_betas
        >>> generator = torch.Generator().manual_seed(0)
        >>> x = torch.randn(2000, 10, generator=generator, dtype=torch.float64)
        >>> process = VP(chain(linear_betas(50)))
        >>> terms = bound_terms(lambda x, t: -x, process, x, grid(50), generator=generator)
        >>> round(float(terms.total), 1)
        1.4
    """
    if variance not in ("lower", "upper", "learned"):
        raise ValueError(f"`variance` must be lower, upper or learned, got {variance!r}.")
    times, found = times.to(start.device), []
    for i in range(1, len(times)):
        t = times[i].to(start.dtype).expand(len(start))
        index = torch.full((len(start),), i, device=start.device)
        xi = torch.randn(start.shape, generator=generator, dtype=start.dtype, device=start.device)
        x = noised(process, start, t, xi if noise is None else noise)
        s, share = _both(score, x, t)
        if variance == "learned" and share is None:
            raise ValueError("`variance` learned needs a Prediction with `variance`; take lower or upper.")
        share = share if variance == "learned" else None
        found.append(_term(process, start, x, s, share, index, times, variance).mean())
    a, v = process.decay(0.0, times[-1:], start[:1]), process.variance(0.0, times[-1:], start[:1])
    whole = a**2 + v  # the variance of p(x_N)
    last = ((v + a**2 * start**2) / whole - 1 - (v / whole).log()).mean() / 2
    return Terms(last, torch.stack(found[1:]) if len(found) > 1 else last.new_zeros(0), found[0])


def _term(
    process: Noising,
    x0: Tensor,
    x: Tensor,
    score: Tensor,
    share: Tensor | None,
    index: Tensor,
    times: Tensor,
    variance: str,
) -> Tensor:
    """``L_i`` of a state where the step down from time i > 1, ``L_0`` where i = 1, one for each number."""
    earlier, t = (times[i].to(x.dtype) for i in (index - 1, index))
    law = between(process, x0, x, earlier, t)
    mean = (x + law.upper * score) / process.decay(earlier, t, x)

    # beta-tilde of the first step is 0: that of the second is in its place.
    one, two = times[1:2].to(x.dtype), times[min(2, len(times) - 1)][None].to(x.dtype)
    second = process.variance(one, two, x[:1]) * process.variance(0.0, one, x[:1]) / process.variance(0.0, two, x[:1])
    first = match(index == 1, x)
    lower = torch.where(first, torch.where(second > 0, second, law.upper), law.lower)
    if share is None:
        w = lower if variance == "lower" else law.upper
    else:
        w = law.upper * (lower / law.upper) ** (1 - share)

    gap = (torch.where(first, x0, law.mean) - mean).square() / w
    kl = gap + lower / w - 1 - (lower / w).log()
    return torch.where(first, gap + (2 * math.pi * w).log(), kl) / 2


def _drawn(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """First states of the windows, a number of a later time for each, and noise."""
    check_window(batch)
    x0, generator = batch.states[:, 0], batch.generator
    index = torch.randint(1, batch.window, (len(x0),), generator=generator, device=x0.device)
    return x0, index, torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)


def _at(times: Tensor, index: Tensor) -> Tensor:
    return times.gather(1, index[:, None])[:, 0]


def _both(score: Score, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
    """Scores, and the shares of a learned variance."""
    return score.both(x, t) if isinstance(score, Prediction) else (score(x, t), None)


def _noising(sde: SDE) -> Noising:
    if not isinstance(sde, Noising):
        raise ValueError(f"`sde` must be a noising process such as VP(), got {type(sde).__name__}; take simple_loss.")
    return sde
