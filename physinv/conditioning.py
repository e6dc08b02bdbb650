"""Posterior samples of ``x_0`` where the final state was seen in part and with noise: ``y = H x_T + sigma n``.

:func:`sample_given`   ``x_T ~ p(x_T | y)`` first, then the reversal ``x_0 ~ p(x_0 | x_T)``: right in principle
:func:`sample_guided`  reversal from the law of ``x_T``, pulled towards ``y`` by Langevin moves on the way

Both use a score that was trained without knowing H.  In the second the score of ``x_t`` given ``y`` is
``s(x, t) + grad log p(y | x_t)``, where ``p(y | x_t)`` looks *forward*, from t to T through the physics, the mirror
image of guided diffusion models.  Three approximations to it: :func:`dps`, :func:`pigdm`, :func:`moment_matching`.

Why guidance acts through Langevin moves only.  The process given ``y`` has the drift ``f + g^2 h`` with
``h = grad log p(y | x_t)`` (Doob's transform) and the score ``s + h``.  Its reversal has the drift
``f + g^2 h - g^2 (s + h) = f - g^2 s``, that of the process without ``y``: once ``x_T`` has the right law, the steps
backward need no guidance, and they would be wrong with it.
"""

from __future__ import annotations

__all__ = ["Guide", "Prediction", "dps", "final_given", "moment_matching", "pigdm", "sample_given", "sample_guided"]

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.langevin import corrected, langevin, reference
from physinv.mixture import Mixture
from physinv.mixture_moments import MixtureMoments
from physinv.moments import Moments
from physinv.observation import Covariance, Observation, Operator, jacobian, linearised
from physinv.posterior import Posterior, default_batch
from physinv.score import ScoreModel
from physinv.sde import SDE, Linear, Reverse
from physinv.solvers import march


@dataclass(frozen=True)
class Prediction:
    """``p(y | x_t) ~ N(y; mean(x_t), R)``, with ``mean`` of shape ``(batch, *state) -> (batch, *seen)``."""

    mean: Operator
    noise: Float[Tensor, "seen seen"]

    def score(self, y: Float[Tensor, "batch *seen"], x: Float[Tensor, "batch *state"]) -> Tensor:
        """``grad_x log p(y | x) = J^T R^-1 (y - mean(x))`` with the Jacobian J of the mean."""
        mean, adjoint = linearised(self.mean, x)
        gap = torch.cholesky_solve((y - mean).flatten(1).T, torch.linalg.cholesky(self.noise)).T
        return adjoint(gap.reshape(y.shape))


Guide = Callable[[SDE, Observation, tuple[float, float], Tensor], Prediction]
"""``(sde, observation, (t, T), like) -> Prediction``; ``like (1, *state)`` gives shape, dtype and device."""


def dps(
    sde: SDE,
    observation: Observation,
    span: tuple[float, float],
    like: Float[Tensor, "1 *state"],
    *,
    pieces: int = 4,
) -> Prediction:
    """``R = sigma^2 I``: as if the physics until T were free of noise (Chung et al. 2023); too sure of itself.

    Where the SDE is not Linear ``pieces`` Runge-Kutta steps follow its drift from t to T.
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
) -> Prediction:
    """``R = (sigma^2 + r_t^2) I`` with the mean variance ``r_t^2 = tr(H V H^T) / seen`` of what noise adds until T.

    Song et al. (2023), Rozet and Louppe (2023).  Right for each number on average, blind to correlations.  ``pieces``
    as in :func:`dps`.
    """
    accumulated = _accumulated(sde, observation, span, like)
    eye = torch.eye(len(accumulated), dtype=like.dtype, device=like.device)
    return _prediction(sde, observation, span, accumulated.diagonal().mean() * eye, pieces)


def moment_matching(
    sde: SDE, observation: Observation, span: tuple[float, float], like: Float[Tensor, "1 *state"]
) -> Prediction:
    """``R = H V H^T + sigma^2 I`` with the covariance V of the noise from t to T: exact, for Linear SDEs."""
    if not isinstance(sde, Linear):
        raise ValueError(
            f"`moment_matching` needs a Linear sde, where p(x_T | x_t) is known, got {type(sde).__name__}; "
            "take pigdm or dps."
        )
    return _prediction(sde, observation, span, _accumulated(sde, observation, span, like), 1)


def sample_given(
    posterior: Posterior,
    observation: Observation,
    y: Float[Tensor, "batch *seen"],
    n: int,
    *,
    sweeps: int = 20,
    size: float = 0.1,
    moments: Moments | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch n *state"]:
    """``n`` draws from ``p(x_0 | y)`` for each observation: those of :func:`final_given`, each taken back to 0."""
    final = final_given(
        posterior, observation, y, n, sweeps=sweeps, size=size, moments=moments, generator=generator
    ).flatten(0, 1)
    return posterior.sample(final, 1, generator=generator).reshape(len(y), n, *final.shape[1:])


@torch.no_grad()
def final_given(
    posterior: Posterior,
    observation: Observation,
    y: Float[Tensor, "batch *seen"],
    n: int,
    *,
    sweeps: int = 20,
    size: float = 0.1,
    moments: Moments | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch n *state"]:
    """``n`` draws from ``p(x_T | y)``: exact ones from the reference law, then Langevin moves to the learned law.

    The moves follow ``s(x, T) + H^T (y - H x) / sigma^2``.  They are preconditioned with the covariance that the
    reference law has given ``y``: directions seen with little noise, where the score is steep, get moves as small as
    what ``y`` leaves open, and all directions converge at the same rate.

    ``moments``, the reference law, defaults to that of the score model and is needed for other scores.
    """
    moments = _moments(posterior, moments)
    horizon = float(posterior.times[-1])
    prior, C = reference(moments, horizon)
    y = _checked(observation, y, n, prior)
    H = jacobian(observation.operator, prior)
    gain, C = C.given(H, _white(observation, H))
    if isinstance(moments, MixtureMoments):
        x = _mixture_given(moments.law(horizon), observation, H, y).sample(n, generator=generator).flatten(0, 1)
    else:
        z = torch.randn((n * len(y), *prior.shape[1:]), generator=generator, dtype=y.dtype, device=y.device)
        x = (prior + gain(y - observation.operator(prior))).repeat_interleave(n, dim=0) + C.root(z)
    every, chunk, parts = y.repeat_interleave(n, dim=0), posterior.batch or default_batch(prior), []
    for part, seen in zip(torch.split(x, chunk), torch.split(every, chunk), strict=True):

        def score(x: Tensor, t: Tensor, seen: Tensor = seen) -> Tensor:
            return posterior.score(x, t) + observation.score(seen, x)

        t = part.new_full((len(part),), horizon)
        parts.append(langevin(score, part, t, C, size=size, sweeps=sweeps, generator=generator))
    return torch.cat(parts).reshape(len(y), n, *prior.shape[1:])


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
    moments: Moments | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch n *state"]:
    """``n`` states for each observation, approximately from ``p(x_0 | y)``, by a guided predictor-corrector.

    From draws of the reference law at T, which know nothing of ``y``, the posterior's own step goes back, unguided,
    and after each ``sweeps`` moves of Langevin follow ``s(x, t) + grad log p(y | x_t)`` with the ``guide``'s
    approximation.  They are preconditioned with the covariance of the reference at t given ``y``, as predicted by the
    same guide and linearised at the reference's mean: stable however small the noise of ``y``.  It takes enough of
    them, ``(1 - size)^(sweeps steps) << 1``, to forget the start.  ``moments`` as in :func:`final_given`.
    """
    moments = _moments(posterior, moments)
    horizon = float(posterior.times[-1])
    prior, C = reference(moments, horizon)
    y = _checked(observation, y, n, prior)
    if isinstance(moments, MixtureMoments):
        x = moments.law(horizon).sample(n * len(y), generator=generator)
    else:
        shape = (n * len(y), *prior.shape[1:])
        x = prior + C.root(torch.randn(shape, generator=generator, dtype=y.dtype, device=y.device))

    @lru_cache(maxsize=1)
    def prediction(t: float) -> Prediction:
        return guide(posterior.sde, observation, (t, horizon), prior)

    @lru_cache(maxsize=1)
    def covariance(t: float) -> Covariance:
        mean, C = reference(moments, t)
        return C.given(jacobian(prediction(t).mean, mean), prediction(t).noise)[1]

    every, chunk, walks = y.repeat_interleave(n, dim=0), posterior.batch or default_batch(prior), []
    for part, seen in zip(torch.split(x, chunk), torch.split(every, chunk), strict=True):

        def score(x: Tensor, t: Tensor, seen: Tensor = seen) -> Tensor:
            return posterior.score(x, t) + prediction(float(t[0])).score(seen, x)

        step = corrected(posterior.step, sweeps, size=size, score=score, covariance=covariance)
        reverse = Reverse(posterior.sde, posterior.score)
        walks.append(march(reverse, part, posterior.times.flip(0), step=step, generator=generator))
    for states in zip(*walks, strict=True):  # side by side, so that what depends on time only is made once
        last = states
    return torch.cat(last).reshape(len(y), n, *prior.shape[1:])


def _prediction(
    sde: SDE, observation: Observation, span: tuple[float, float], accumulated: Float[Tensor, "seen seen"], pieces: int
) -> Prediction:
    """Physics without noise from t to T, then H; one step of ``drift_flow`` is exact for Linear SDEs."""
    steps = 1 if isinstance(sde, Linear) else pieces
    grid = torch.linspace(*span, steps + 1, dtype=torch.float64).tolist()

    def mean(x: Tensor) -> Tensor:
        for a, b in itertools.pairwise(grid):
            x = sde.drift_flow(x, x.new_full((len(x),), a), x.new_full((len(x),), b))
        return observation.operator(x)

    return Prediction(mean, accumulated + _white(observation, accumulated))


def _accumulated(sde: SDE, observation: Observation, span: tuple[float, float], like: Tensor) -> Tensor:
    """``H V H^T`` with the covariance V of the noise from t to T."""
    H = jacobian(observation.operator, like)
    t0, t1 = (H.new_full((len(H),), t) for t in span)
    product = H.flatten(1) @ sde.apply_covariance(H, t0, t1).flatten(1).T
    return (product + product.T) / 2


def _white(observation: Observation, like: Tensor) -> Tensor:
    """``sigma^2 I``, with as many rows as ``like``."""
    return observation.noise**2 * torch.eye(len(like), dtype=like.dtype, device=like.device)


def _mixture_given(law: Mixture, observation: Observation, H: Float[Tensor, "seen d"], y: Tensor) -> Mixture:
    """Per row of ``y`` the mixture with ``w_k N(y; H m_k, M_k)``, ``m_k + K_k (y - H m_k)``, ``C_k - K_k H C_k``."""
    M = H @ law.covs @ H.mT + _white(observation, H)
    seen = Mixture(law.weights, law.means @ H.mT, (M + M.mT) / 2)
    K = torch.linalg.solve(seen.covs, H @ law.covs).mT
    gap = y.flatten(1)[:, None] - seen.means
    covs = law.covs - K @ M @ K.mT
    return Mixture(
        seen.components(y.flatten(1))[0].softmax(-1),
        law.means + (K @ gap.unsqueeze(-1)).squeeze(-1),
        ((covs + covs.mT) / 2).expand(len(y), *covs.shape),
    )


def _moments(posterior: Posterior, moments: Moments | None) -> Moments:
    if moments is not None:
        return moments
    if not isinstance(posterior.score, ScoreModel):
        raise ValueError("`moments` must be given for a score that is no ScoreModel: the reference law to start from.")
    return posterior.score.moments


def _checked(observation: Observation, y: Tensor, n: int, like: Tensor) -> Tensor:
    """``y`` in the dtype and on the device of the reference, once it has been found to fit the operator."""
    if n < 1:
        raise ValueError(f"`n` must be at least 1, got {n}.")
    H, seen = observation.operator, tuple(observation.operator(like).shape[1:])
    if tuple(y.shape[1:]) != seen:
        raise ValueError(f"`y` must hold what the operator makes, {seen} per observation, got {tuple(y.shape[1:])}.")
    if not bool(torch.isfinite(y).all()):
        raise ValueError("`y` must be finite, got NaN or infinity; leave those sensors out of the operator.")
    one = torch.ones_like(like)
    if not torch.allclose(H(-2 * one), -2 * H(one), rtol=1e-3, atol=1e-4):
        raise ValueError("`operator` must be linear, and this one is not; subtract its value at 0 from y and from it.")
    return y.to(like)
