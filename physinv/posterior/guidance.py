"""Posterior samples given a partial, noisy observation ``y = H x_T + sigma n``, by a guided reversal.

The score of ``x_t`` given ``y`` is ``s(x, t) + grad log p(y | x_t)``, where ``p(y | x_t)`` looks *forward*, from t to T
through the physics; guided diffusion models look the other way.  Three approximations to it are offered: :func:`dps`,
:func:`pigdm`, :func:`moment_matching`.

Guidance acts through Langevin moves only.  The process given ``y`` has the drift ``f + g^2 h`` with
``h = grad log p(y | x_t)`` (Doob's transform) and the score ``s + h``.  Its reversal has the drift
``f + g^2 h - g^2 (s + h) = f - g^2 s``, that of the process without ``y``: once ``x_T`` has the right law, the steps
backward need no guidance, and guidance would make them wrong.
"""

from __future__ import annotations

__all__ = ["Guide", "PredictedObservation", "dps", "moment_matching", "pigdm", "sample_guided"]

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import by_parts, default_batch
from physinv.equations.sde import SDE, Linear, Reverse
from physinv.equations.solve import march
from physinv.equations.steps import in_parts
from physinv.laws.covariance import Covariance
from physinv.laws.observation import Observation, Operator, jacobian, linearised
from physinv.models.references.base import ReferenceLaw
from physinv.posterior.partial import check_observed, chosen_reference
from physinv.posterior.posterior import Posterior
from physinv.reversal.langevin import corrected


@dataclass(frozen=True)
class PredictedObservation:
    """A Gaussian approximation ``p(y | x_t) ~ N(y; mean(x_t), R)`` of the observation at T, seen from an earlier state.

    Args:
        mean: Function of states, ``(batch, *state) -> (batch, *seen)``.
        noise: Covariance ``R``.
    """

    mean: Operator
    noise: Float[Tensor, "seen seen"]

    def score(self, y: Float[Tensor, "batch *seen"], x: Float[Tensor, "batch *state"]) -> Tensor:
        """Return the guidance ``grad_x log p(y | x) = J^T R^-1 (y - mean(x))`` with the Jacobian ``J`` of the mean.

        Args:
            y: Observed numbers.
            x: States at the earlier time.
        """
        mean, adjoint = linearised(self.mean, x)
        gap = torch.cholesky_solve((y - mean).flatten(1).T, torch.linalg.cholesky(self.noise)).T
        return adjoint(gap.reshape(y.shape))


Guide = Callable[[SDE, Observation, tuple[float, float], Tensor], PredictedObservation]
"""``(sde, observation, (t, T), like) -> prediction``, where ``like (1, *state)`` gives shape, dtype and device."""


def dps(
    sde: SDE,
    observation: Observation,
    span: tuple[float, float],
    like: Float[Tensor, "1 *state"],
    *,
    pieces: int = 4,
) -> PredictedObservation:
    """Predict the observation as if the physics until T were free of noise: ``R = sigma^2 I``.

    Samples are too narrow where the physics adds noise (diffusion posterior sampling).

    Args:
        sde: The physics.
        observation: Linear operator ``H`` and standard deviation ``sigma`` of the noise.
        span: Times ``(t, T)``.
        like: A state, from which shape, dtype and device are taken.
        pieces: Runge-Kutta steps of the drift from t to T, unless the SDE is linear.

    Returns:
        Mean and covariance of the observed numbers given ``x_t``.

    References:
        Chung et al. (2023), Diffusion posterior sampling for general noisy inverse problems.
    """
    H = jacobian(observation.operator, like)
    return _prediction(sde, observation, span, like.new_zeros(len(H), len(H)), pieces)


def pigdm(
    sde: SDE,
    observation: Observation,
    span: tuple[float, float],
    like: Float[Tensor, "1 *state"],
    *,
    pieces: int = 4,
) -> PredictedObservation:
    """Predict the observation with the mean variance of the physics' noise: ``R = (sigma^2 + r_t^2) I``.

    ``r_t^2 = tr(H V H^T) / seen``, with the covariance ``V`` of the noise accumulated until T.  The variance is right
    on average; correlations are neglected.

    Args:
        sde: The physics.
        observation: Linear operator ``H`` and standard deviation ``sigma`` of the noise.
        span: Times ``(t, T)``.
        like: A state, from which shape, dtype and device are taken.
        pieces: Runge-Kutta steps of the drift from t to T, unless the SDE is linear.

    Returns:
        Mean and covariance of the observed numbers given ``x_t``.

    References:
        Song et al. (2023), Pseudoinverse-guided diffusion models for inverse problems; Rozet and Louppe (2023),
        Score-based data assimilation.
    """
    accumulated = _accumulated(sde, observation, span, like)
    eye = torch.eye(len(accumulated), dtype=like.dtype, device=like.device)
    return _prediction(sde, observation, span, accumulated.diagonal().mean() * eye, pieces)


def moment_matching(
    sde: SDE, observation: Observation, span: tuple[float, float], like: Float[Tensor, "1 *state"]
) -> PredictedObservation:
    """Predict the observation exactly, for linear SDEs: ``R = H V H^T + sigma^2 I``.

    ``V`` is the covariance of the noise accumulated from t to T.

    Args:
        sde: The physics.
        observation: Linear operator ``H`` and standard deviation ``sigma`` of the noise.
        span: Times ``(t, T)``.
        like: A state, from which shape, dtype and device are taken.

    Returns:
        Mean and covariance of the observed numbers given ``x_t``.

    Raises:
        ValueError: If the SDE is not linear.
    """
    if not isinstance(sde, Linear):
        raise ValueError(
            f"`moment_matching` needs a Linear sde, where p(x_T | x_t) is known, got {type(sde).__name__}; "
            "take pigdm or dps."
        )
    return _prediction(sde, observation, span, _accumulated(sde, observation, span, like), 1)


@torch.no_grad()
def sample_guided(
    posterior: Posterior,
    observation: Observation,
    y: Float[Tensor, "batch *seen"],
    n: int,
    *,
    guide: Guide = moment_matching,
    sweeps: int = 1,
    size: float = 0.3,
    reference: ReferenceLaw | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch n *state"]:
    """Draw initial states, approximately from ``p(x_0 | y)``, by a guided predictor-corrector.

    The reversal starts from draws of the reference law at T, which do not depend on ``y``.  The posterior's own step
    goes backward without guidance; after each step, Langevin moves follow ``s(x, t) + grad log p(y | x_t)``.  They are
    preconditioned with the covariance of the reference law at t given ``y``, as predicted by the same guide and
    linearised at the law's mean, which keeps them stable however small the noise of ``y``.  Enough of them are needed
    to forget the start: ``(1 - size)^(sweeps steps) << 1``.

    Args:
        posterior: Posterior given the whole final state.
        observation: Linear operator ``H`` and standard deviation ``sigma`` of the noise.
        y: Observed numbers.
        n: Number of draws for each observation.
        guide: Approximation of ``p(y | x_t)``.
        sweeps: Langevin moves after each step.
        size: Size of a move, in (0, 1].
        reference: Reference law; None: that of the score model.
        generator: Source of randomness, on the device of ``y``.

    Returns:
        Initial states ``(batch, n, *state)``.

    Raises:
        ValueError: If reference plus network is no score (``reference.is_score`` is False, as for the smoother), there
            is no reference law, or observation and observed numbers do not fit the state (see
            :func:`~physinv.posterior.partial.check_observed`).
    """
    reference = chosen_reference(posterior, reference)
    if not reference.is_score:
        raise ValueError(
            "`posterior` must have a score at every time, got steps over stored intervals; take sample_given."
        )
    horizon = float(posterior.times[-1])
    prior = reference.mean_at(horizon)
    y = check_observed(observation, y, n, prior)
    x = reference.sample(n * len(y), horizon, generator=generator)

    # Guide and preconditioner depend on the time only: they are computed once for all batches of a step.
    @lru_cache(maxsize=1)
    def prediction(t: float) -> PredictedObservation:
        return guide(posterior.sde, observation, (t, horizon), prior)

    @lru_cache(maxsize=1)
    def covariance(t: float) -> Covariance:
        mean, C = reference.mean_at(t), reference.covariance_at(t)
        return C.given(jacobian(prediction(t).mean, mean), prediction(t).noise)[1]

    # One reversal for each block of a fixed size, with its own observations; scores are computed a part at a time.
    every, block, walks = y.repeat_interleave(n, dim=0), default_batch(prior), []

    def given(x: Tensor, t: Tensor, seen: Tensor) -> Tensor:
        return posterior.score(x, t) + prediction(float(t[0])).score(seen, x)

    for part, seen in zip(torch.split(x, block), torch.split(every, block), strict=True):

        def score(x: Tensor, t: Tensor, seen: Tensor = seen) -> Tensor:
            return by_parts(given, posterior.batch, x, t, seen)

        bare = in_parts(posterior.step, posterior.batch)
        step = corrected(bare, sweeps, size=size, score=score, covariance=covariance)
        reverse = Reverse(posterior.sde, posterior.score)
        walks.append(march(reverse, part, posterior.times.flip(0), step=step, generator=generator))

    # All blocks advance together, step by step, so that the caches above serve all of them.
    for states in zip(*walks, strict=True):
        last = states
    return torch.cat(last).reshape(len(y), n, *prior.shape[1:])


def _prediction(
    sde: SDE, observation: Observation, span: tuple[float, float], accumulated: Float[Tensor, "seen seen"], pieces: int
) -> PredictedObservation:
    """Physics without noise from t to T, then H; one step of ``drift_flow`` is exact for Linear SDEs."""
    steps = 1 if isinstance(sde, Linear) else pieces
    grid = torch.linspace(*span, steps + 1, dtype=torch.float64).tolist()

    def mean(x: Tensor) -> Tensor:
        for a, b in itertools.pairwise(grid):
            x = sde.drift_flow(x, x.new_full((len(x),), a), x.new_full((len(x),), b))
        return observation.operator(x)

    return PredictedObservation(mean, accumulated + observation.covariance(accumulated))


def _accumulated(sde: SDE, observation: Observation, span: tuple[float, float], like: Tensor) -> Tensor:
    """``H V H^T`` with the covariance V of the noise from t to T."""
    H = jacobian(observation.operator, like)
    t0, t1 = (H.new_full((len(H),), t) for t in span)
    product = H.flatten(1) @ sde.apply_covariance(H, t0, t1).flatten(1).T
    return (product + product.T) / 2
