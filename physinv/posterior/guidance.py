"""Posterior samples of ``x_0`` given ``y = H x_T + sigma n``, by a reversal that Langevin moves pull towards ``y``.

The score of ``x_t`` given ``y`` is ``s(x, t) + grad log p(y | x_t)``, where ``p(y | x_t)`` looks *forward*, from t to T
through the physics, the mirror image of guided diffusion models.  Three approximations to it: :func:`dps`,
:func:`pigdm`, :func:`moment_matching`.

Why guidance acts through Langevin moves only.  The process given ``y`` has the drift ``f + g^2 h`` with
``h = grad log p(y | x_t)`` (Doob's transform) and the score ``s + h``.  Its reversal has the drift
``f + g^2 h - g^2 (s + h) = f - g^2 s``, that of the process without ``y``: once ``x_T`` has the right law, the steps
backward need no guidance, and they would be wrong with it.
"""

from __future__ import annotations

__all__ = ["Guide", "Prediction", "dps", "moment_matching", "pigdm", "sample_guided"]

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import SDE, Linear, Reverse
from physinv.equations.solve import march
from physinv.laws.covariance import Covariance
from physinv.laws.observation import Observation, Operator, jacobian, linearised
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.mixture import MixtureReference
from physinv.models.references.smoother import SmootherReference
from physinv.posterior.partial import checked, reference_law, white
from physinv.posterior.posterior import Posterior, default_batch
from physinv.reversal.langevin import corrected, gaussian_of


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
    """``n`` states for each observation, approximately from ``p(x_0 | y)``, by a guided predictor-corrector.

    From draws of the reference law at T, which know nothing of ``y``, the posterior's own step goes back, unguided,
    and after each ``sweeps`` moves of Langevin follow ``s(x, t) + grad log p(y | x_t)`` with the ``guide``'s
    approximation.  They are preconditioned with the covariance of the reference at t given ``y``, as predicted by the
    same guide and linearised at the reference's mean: stable however small the noise of ``y``.  It takes enough of
    them, ``(1 - size)^(sweeps steps) << 1``, to forget the start.  ``reference`` as in :func:`final_given`; ValueError
    for :class:`~physinv.models.references.smoother.SmootherReference`, whose networks are no scores.
    """
    reference = reference_law(posterior, reference)
    if isinstance(reference, SmootherReference):
        raise ValueError(
            "`posterior` must have a score at every time, got steps over stored intervals; take sample_given."
        )
    horizon = float(posterior.times[-1])
    prior, C = gaussian_of(reference, horizon)
    y = checked(observation, y, n, prior)
    if isinstance(reference, MixtureReference):
        x = reference.law(horizon).sample(n * len(y), generator=generator)
    else:
        shape = (n * len(y), *prior.shape[1:])
        x = prior + C.root(torch.randn(shape, generator=generator, dtype=y.dtype, device=y.device))

    @lru_cache(maxsize=1)
    def prediction(t: float) -> Prediction:
        return guide(posterior.sde, observation, (t, horizon), prior)

    @lru_cache(maxsize=1)
    def covariance(t: float) -> Covariance:
        mean, C = gaussian_of(reference, t)
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

    return Prediction(mean, accumulated + white(observation, accumulated))


def _accumulated(sde: SDE, observation: Observation, span: tuple[float, float], like: Tensor) -> Tensor:
    """``H V H^T`` with the covariance V of the noise from t to T."""
    H = jacobian(observation.operator, like)
    t0, t1 = (H.new_full((len(H),), t) for t in span)
    product = H.flatten(1) @ sde.apply_covariance(H, t0, t1).flatten(1).T
    return (product + product.T) / 2
