"""Langevin moves, which leave a law with known score invariant, and solver steps corrected by such moves.

    x' = x + e C s(x, t) + sqrt(2 e - e^2) C^(1/2) z,    z ~ N(0, I),    0 < e <= 1

Under ``N(m, C)``, whose score is ``-C^-1 (x - m)``, this is ``x' - m = (1 - e) (x - m) + sqrt(2 e - e^2) C^(1/2) z``
with variance ``((1 - e)^2 + 2 e - e^2) C = C``: a Gaussian is exactly invariant for every ``e``, and ``e = 1`` draws an
independent state.  (Euler's step, with noise ``sqrt(2 e)``, would increase the variance by the factor
``1/(1 - e/2)``.)  Other laws are invariant in the limit ``e -> 0``, for any constant ``C``.

References:
    Cotter, Roberts, Stuart and White (2013), MCMC methods for functions: the preconditioned Crank-Nicolson move,
    here with the drift of the full score.
"""

from __future__ import annotations

__all__ = ["Preconditioner", "annealed", "corrected", "langevin"]

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.noising import Noising
from physinv.equations.sde import SDE, Reverse, Score
from physinv.equations.solve import Step
from physinv.laws.covariance import Covariance, isotropic
from physinv.models.references.base import ReferenceLaw

Preconditioner = Callable[[float], Covariance]
"""``t -> C``: the covariance by which Langevin moves at time t are preconditioned."""


@torch.no_grad()
def langevin(
    score: Score,
    x: Float[Tensor, "batch *state"],
    t: Float[Tensor, " batch"],
    covariance: Covariance,
    *,
    size: float = 0.1,
    sweeps: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch *state"]:
    """Move states by Langevin dynamics at a fixed time.

    Convergence is fast where the covariance resembles that of the law; the moves are unstable where the covariance
    exceeds ``2/e`` times the inverse curvature of the log density.

    Args:
        score: Score of the law to draw from.
        x: States to start from.
        t: Time of the law.
        covariance: Preconditioner ``C``.
        size: Size ``e`` of a move, in (0, 1].
        sweeps: Number of moves.
        generator: Source of randomness, on the device of ``x``.

    Returns:
        The moved states.

    Raises:
        ValueError: If ``size`` or ``sweeps`` is out of range.

    Example:
        >>> identity = Covariance(lambda v: v, lambda z: z)
        >>> seed, start = torch.Generator().manual_seed(0), torch.full((4000, 1), 9.0)
        >>> x = langevin(lambda x, t: -x, start, torch.zeros(4000), identity, size=1.0, generator=seed)
        >>> abs(x.mean().item()) < 0.1, abs(x.std().item() - 1) < 0.1
        (True, True)
    """
    _check(sweeps, size)
    for _ in range(sweeps):
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        x = _move(score, x, t, covariance, size, z)
    return x


def annealed(
    score: Score,
    x: Float[Tensor, "batch *state"],
    process: Noising,
    times: Float[Tensor, " time"],
    *,
    size: float = 0.05,
    sweeps: int = 100,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch *state"]:
    """Move states by Langevin dynamics from the largest noise level down to the smallest.

    Each level has its own size of moves: the preconditioner is the variance ``v(t) I`` of the noise, so that a move is
    ``x + e v s + (2 e - e^2)^(1/2) v^(1/2) z``.  Song and Ermon's step ``alpha_i / 2 = epsilon sigma_i^2 / (2
    sigma_1^2)`` is the same with ``e = epsilon / (2 sigma_1^2)``, ``sigma_1`` the smallest level.

    Args:
        score: Score of the noised data.
        x: States to start from; at the largest level they are forgotten.
        process: The noising process, such as ``VE(levels(sigmas))``.
        times: Increasing times of the levels, all later than 0, such as ``grid(N)[1:]``.
        size: Size ``e`` of a move, in (0, 1].
        sweeps: Number of moves at each level.
        generator: Source of randomness, on the device of ``x``.

    Returns:
        States at the smallest level of noise.

    Raises:
        ValueError: If a time is 0 or earlier, or ``size`` or ``sweeps`` is out of range.

    References:
        Song and Ermon (2019), Generative modeling by estimating gradients of the data distribution, algorithm 1.

    Example:
        >>> from physinv.equations.noising import VE, geometric_levels, grid, levels
        >>> process, seed = VE(levels(geometric_levels(5, 0.1, 3.0))), torch.Generator().manual_seed(0)
        >>> def score(x, t):  # data N(2, 1)
        ...     return -(x - 2) / (1 + process.variance(0.0, t, x))
        >>> x = annealed(score, torch.zeros(4000, 1), process, grid(5)[1:], generator=seed)
        >>> round(x.mean().item(), 1)
        2.0
    """
    if float(times[0]) <= 0:
        raise ValueError(f"`times` of the levels must be later than 0, got {float(times[0]):g}; leave 0 out.")
    for t in times.flip(0).tolist():
        clock = x.new_full((len(x),), t)
        level = isotropic(float(process.variance(0.0, clock[:1], x[:1]).max()))
        x = langevin(score, x, clock, level, size=size, sweeps=sweeps, generator=generator)
    return x


def corrected(
    step: Step,
    sweeps: int = 1,
    *,
    size: float = 0.1,
    ratio: float | None = None,
    score: Score | None = None,
    covariance: Preconditioner | None = None,
) -> Step:
    """Return a reverse step followed by Langevin moves at the time it reaches: a predictor-corrector.

    With the score of the reversal, the moves leave the *marginal* ``p_t`` invariant, so that the states lose their
    dependence on the ``x_T`` that the reversal started from.  For samples of a posterior give the score of ``p_t``
    given the observation.

    No correction is made at ``t = 0``, where initial states on few modes or points have no score, nor where ``dw`` is
    all zero: without noise the moves would climb to the mode.

    Args:
        step: Step of a :class:`~physinv.equations.sde.Reverse` process.
        sweeps: Number of moves after each step.
        size: Size ``e`` of a move, in (0, 1].
        ratio: Signal-to-noise ratio ``r``, such as .16: each move has the size ``e = 2 (r |C^(1/2) z| / |C s|)^2``,
            at most 1, with norms averaged over the states of a batch, as Song et al. choose it; None: it has ``size``.
        score: Score of the law to draw from; None: that of the reverse process.
        covariance: Preconditioner ``C`` at each time; None: the covariance of the score model's reference law.

    Returns:
        A step that takes ``step.draws + sweeps`` random numbers per component.

    Raises:
        ValueError: If ``size``, ``ratio`` or ``sweeps`` is out of range; when stepping, if the process is no reverse
            process, or no covariance is known.

    References:
        Song et al. (2021), Score-based generative modeling through stochastic differential equations, algorithm 1.
    """
    _check(sweeps, size)
    if ratio is not None and not ratio > 0:
        raise ValueError(f"`ratio` of signal to noise must be positive, got {ratio:g}; .16 is usual.")

    def advance(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
        if not isinstance(sde, Reverse):
            raise ValueError(
                f"`corrected` steps a Reverse(sde, score), got {type(sde).__name__}; take the bare step forward."
            )
        # Predictor: it takes the first random numbers, one set for each of its draws.
        x = step(sde, x, t0, t1, dw[: step.draws])
        if not (float(t1[0]) > 0 and bool(dw.any())):
            return x

        # Corrector: the remaining numbers have variance |t1 - t0|, the moves need variance 1.
        target = sde.score if score is None else score
        C = (covariance or _own(sde.score))(float(t1[0]))
        for noise in dw[step.draws :]:
            z = noise / match((t1 - t0).abs().sqrt(), x)
            x = _move(target, x, t1, C, size, z) if ratio is None else _matched(target, x, t1, C, ratio, z)
        return x

    return Step(advance, step.weak_order, step.draws + sweeps)


def _check(sweeps: int, size: float) -> None:
    """Raise ValueError unless the number and the size of the moves are in range."""
    if sweeps < 0:
        raise ValueError(f"`sweeps` must be at least 0, got {sweeps}.")
    if not 0 < size <= 1:
        raise ValueError(f"`size` must lie in (0, 1], got {size}; 1 draws a Gaussian afresh.")


def _move(score: Score, x: Tensor, t: Tensor, C: Covariance, e: float, z: Tensor) -> Tensor:
    """One move of size ``e`` with white noise ``z``."""
    return x + e * C.apply(score(x, t)) + math.sqrt(2 * e - e**2) * C.root(z)


def _matched(score: Score, x: Tensor, t: Tensor, C: Covariance, ratio: float, z: Tensor) -> Tensor:
    """One move whose size follows from the signal-to-noise ratio, by one evaluation of the score."""
    s = score(x, t)
    pull = C.apply(s)
    signal, noise = (v.flatten(1).norm(dim=1).mean() for v in (pull, C.root(z)))
    e = float((2 * (ratio * noise / signal.clamp(min=torch.finfo(x.dtype).tiny)) ** 2).clamp(max=1))
    return x + e * pull + math.sqrt(2 * e - e**2) * C.root(z)


def _own(score: Score) -> Preconditioner:
    """The covariance of the score model's reference law."""
    reference = ReferenceLaw.of(score)
    if reference is None:
        raise ValueError(
            "`covariance` must be given for a score that is no ScoreModel, such as lambda t: isotropic(variance)."
        )
    return reference.covariance_at
