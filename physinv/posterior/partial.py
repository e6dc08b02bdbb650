"""Posterior samples of ``x_0`` where the final state was seen in part and with noise: ``y = H x_T + sigma n``.

First ``x_T ~ p(x_T | y)``, then the reversal ``x_0 ~ p(x_0 | x_T)``, with a score that was trained without knowing H:
right in principle, since ``y`` tells nothing about ``x_0`` that ``x_T`` does not.  The other route is
:mod:`physinv.posterior.guidance`.
"""

from __future__ import annotations

__all__ = ["check_observed", "sample_final", "chosen_reference", "sample_given"]

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.laws.observation import Observation, jacobian
from physinv.models.references.base import ReferenceLaw
from physinv.posterior.posterior import Posterior, default_batch
from physinv.reversal.langevin import langevin


def sample_given(
    posterior: Posterior,
    observation: Observation,
    y: Float[Tensor, "batch *seen"],
    n: int,
    *,
    sweeps: int = 20,
    size: float = 0.1,
    reference: ReferenceLaw | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch n *state"]:
    """``n`` draws from ``p(x_0 | y)`` for each observation: those of :func:`sample_final`, each taken back to 0."""
    final = sample_final(
        posterior, observation, y, n, sweeps=sweeps, size=size, reference=reference, generator=generator
    ).flatten(0, 1)
    return posterior.sample(final, 1, generator=generator).reshape(len(y), n, *final.shape[1:])


@torch.no_grad()
def sample_final(
    posterior: Posterior,
    observation: Observation,
    y: Float[Tensor, "batch *seen"],
    n: int,
    *,
    sweeps: int = 20,
    size: float = 0.1,
    reference: ReferenceLaw | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch n *state"]:
    """``n`` draws from ``p(x_T | y)``: exact ones from the reference law, then Langevin moves to the learned law.

    The moves follow ``s(x, T) + H^T (y - H x) / sigma^2``.  They are preconditioned with the covariance that the
    reference law has given ``y``: directions seen with little noise, where the score is steep, get moves as small as
    what ``y`` leaves open, and all directions converge at the same rate.

    ``reference``, the reference law, defaults to that of the score model and is needed for other scores.  Where
    reference plus network is no score (``reference.is_score`` is False, as for the smoother) there are no moves.
    """
    reference = chosen_reference(posterior, reference)
    sweeps = sweeps if reference.is_score else 0
    horizon = float(posterior.times[-1])
    prior = reference.mean_at(horizon)
    y = check_observed(observation, y, n, prior)
    H = jacobian(observation.operator, prior)
    _, C = reference.covariance_at(horizon).given(H, observation.covariance(H))
    x = reference.sample_given(observation, y, n, horizon, generator=generator).flatten(0, 1)
    every, chunk, parts = y.repeat_interleave(n, dim=0), posterior.batch or default_batch(prior), []
    for part, seen in zip(torch.split(x, chunk), torch.split(every, chunk), strict=True):

        def score(x: Tensor, t: Tensor, seen: Tensor = seen) -> Tensor:
            return posterior.score(x, t) + observation.score(seen, x)

        t = part.new_full((len(part),), horizon)
        parts.append(langevin(score, part, t, C, size=size, sweeps=sweeps, generator=generator))
    return torch.cat(parts).reshape(len(y), n, *prior.shape[1:])


def chosen_reference(posterior: Posterior, reference: ReferenceLaw | None) -> ReferenceLaw:
    """``reference``, or those of the posterior's score model; ValueError if it has none."""
    law = ReferenceLaw.of(posterior.score) if reference is None else reference
    if law is None:
        raise ValueError(
            "`reference` must be given for a score that is no ScoreModel: the reference law to start from."
        )
    return law


def check_observed(observation: Observation, y: Tensor, n: int, like: Tensor) -> Tensor:
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
