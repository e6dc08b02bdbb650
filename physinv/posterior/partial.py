"""Posterior samples given a partial, noisy observation of the final state, ``y = H x_T + sigma n``, in two stages.

First ``x_T ~ p(x_T | y)``, then the reversal ``x_0 ~ p(x_0 | x_T)``, with a score that was trained without ``H``.  The
result is a draw from ``p(x_0 | y)``, since given ``x_T`` the observation holds no further information about ``x_0``.
The other method is :mod:`physinv.posterior.guidance`.
"""

from __future__ import annotations

__all__ = ["check_observed", "chosen_reference", "sample_final", "sample_given"]

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Numbers, as_states, check_count, check_generator, check_instance
from physinv.equations.broadcast import by_parts, default_batch
from physinv.laws.observation import Observation, check_linear, jacobian
from physinv.models.references.base import ReferenceLaw
from physinv.posterior.posterior import Posterior
from physinv.reversal.langevin import langevin


def sample_given(
    posterior: Posterior,
    observation: Observation,
    y: Numbers,
    n: int,
    *,
    sweeps: int = 20,
    size: float = 0.1,
    reference: ReferenceLaw | None = None,
    generator: torch.Generator | None = None,
    finals: Float[Tensor, "m *state"] | None = None,
) -> Float[Tensor, "batch n *state"]:
    """Draw initial states from ``p(x_0 | y)``: final states by :func:`sample_final`, each followed by the reversal.

    Args:
        posterior: Posterior given the whole final state.
        observation: Linear operator ``H`` and standard deviation ``sigma`` of the noise.
        y: Observed numbers.
        n: Number of draws for each observation.
        sweeps: Langevin moves of the final states; see :func:`sample_final`.
        size: Size of a move, in (0, 1].
        reference: Reference law; None: that of the score model.
        generator: Source of randomness, on the device of ``y``.
        finals: Final states of other trajectories; see :func:`sample_final`.

    Returns:
        Initial states ``(batch, n, *state)``.

    Raises:
        ValueError: As :func:`sample_final`.
    """
    check_instance(posterior, Posterior, "posterior", "give sample_given(posterior, observation, y, n)")
    final = sample_final(
        posterior, observation, y, n, sweeps=sweeps, size=size, reference=reference, generator=generator, finals=finals
    )
    return posterior.draws(final.flatten(0, 1), 1, generator=generator).reshape(final.shape)


@torch.no_grad()
def sample_final(
    posterior: Posterior,
    observation: Observation,
    y: Numbers,
    n: int,
    *,
    reference: ReferenceLaw | None = None,
    generator: torch.Generator | None = None,
    sweeps: int = 20,
    size: float = 0.1,
    finals: Float[Tensor, "m *state"] | None = None,
) -> Float[Tensor, "batch n *state"]:
    """Draw final states from ``p(x_T | y)``: exact draws from the reference law, moved to the learned law by Langevin
    moves.

    The moves follow the score ``s(x, T) + H^T (y - H x) / sigma^2``.  They are preconditioned with the covariance of
    the reference law given ``y``: directions observed with little noise, where the score is steep, get moves as small
    as the uncertainty that is left, and all directions converge at the same rate.  Where reference plus network is no
    score (``reference.is_score`` is False, as for the smoother), no moves are made.

    Args:
        posterior: Posterior given the whole final state; its score at T is used.
        observation: Linear operator ``H`` and standard deviation ``sigma`` of the noise.
        y: Observed numbers.
        n: Number of draws for each observation.
        reference: Reference law; None: that of the score model.
        generator: Source of randomness, on the device of ``y``.
        sweeps: Number of Langevin moves.
        size: Size of a move, in (0, 1].
        finals: Final states of other trajectories.  Draws then begin at these, each moved by what it misses,
            ``x + K (y - H x - sigma n)`` with the gain ``K`` of the reference law, and not at that law: its draws are
            unlike states of a nonlinear process.

    Returns:
        Final states ``(batch, n, *state)``.

    Raises:
        ValueError: If there is no reference law, or observation and observed numbers do not fit the state (see
            :func:`check_observed`).
    """
    check_instance(posterior, Posterior, "posterior", "give sample_final(posterior, observation, y, n)")
    check_generator(generator)
    reference = chosen_reference(posterior, reference)
    sweeps = sweeps if reference.is_score else 0
    horizon = float(posterior.times[-1])
    prior = reference.mean_at(horizon)
    y, n = check_observed(observation, y, n, prior), int(n)

    # Exact draws from the reference law or moved final states, and its covariance given y as preconditioner.
    H = jacobian(observation.operator, prior)
    gain, C = reference.covariance_at(horizon).given(H, observation.covariance(H))
    if finals is None:
        x = reference.sample_given(observation, y, n, horizon, generator=generator).flatten(0, 1)
    else:
        pick = torch.randint(len(finals), (n * len(y),), generator=generator, device=y.device)
        x = finals.to(y)[pick]
        x = x + gain(y.repeat_interleave(n, 0) - observation.observe(x, generator=generator))

    # Langevin moves to the learned law: noise for blocks of a fixed size, scores a part at a time.
    every, block, parts = y.repeat_interleave(n, dim=0), default_batch(prior), []

    def given(x: Tensor, t: Tensor, seen: Tensor) -> Tensor:
        return posterior.score(x, t) + observation.score(seen, x)

    for part, seen in zip(torch.split(x, block), torch.split(every, block), strict=True):

        def score(x: Tensor, t: Tensor, seen: Tensor = seen) -> Tensor:
            return by_parts(given, posterior.batch, x, t, seen)

        t = part.new_full((len(part),), horizon)
        parts.append(langevin(score, part, t, C, size=size, sweeps=sweeps, generator=generator))
    return torch.cat(parts).reshape(len(y), n, *prior.shape[1:])


def chosen_reference(posterior: Posterior, reference: ReferenceLaw | None) -> ReferenceLaw:
    """Return the reference law that is given, or else that of the posterior's score model.

    Args:
        posterior: Posterior whose score may be a score model.
        reference: Reference law, or None.

    Raises:
        ValueError: If there is none.
    """
    law = ReferenceLaw.of(posterior.score) if reference is None else reference
    if law is None:
        raise ValueError(
            "`reference` must be given for a score that is no ScoreModel: the reference law to start from."
        )
    return law


def check_observed(observation: Observation, y: Numbers, n: int, like: Tensor) -> Tensor:
    """Check that observed numbers fit a linear operator, and return them in the dtype and on the device of the states.

    Args:
        observation: Linear operator ``H`` and standard deviation of the noise.
        y: Observed numbers, ``(batch, *seen)``.
        n: Number of draws for each observation.
        like: A state of the shape in question, ``(1, *state)``.

    Returns:
        Observed numbers, ``(batch, *seen)``.

    Raises:
        ValueError: If ``n`` is smaller than 1, ``y`` has another shape than the operator's values or is not finite, or
            the operator is not linear.
    """
    check_instance(observation, Observation, "observation", "give Observation(operator, noise)")
    check_count(n, "n")
    check_linear(observation.operator, like)
    seen = tuple(observation.operator(like).shape[1:])
    y = as_states(y, "y", like=like)
    if tuple(y.shape[1:]) != seen:
        raise ValueError(f"`y` must hold what the operator makes, {seen} per observation, got {tuple(y.shape[1:])}.")
    if not bool(torch.isfinite(y).all()):
        raise ValueError("`y` must be finite, got NaN or infinity; leave those sensors out of the operator.")
    return y
