"""Langevin moves that leave a law with known score as it is, and solver steps corrected by them.

    x' = x + e C s(x, t) + sqrt(2 e - e^2) C^(1/2) z,    z ~ N(0, I),    0 < e <= 1

Under ``N(m, C)``, whose score is ``-C^-1 (x - m)``, this is ``x' - m = (1 - e) (x - m) + sqrt(2 e - e^2) C^(1/2) z``
with variance ``((1 - e)^2 + 2 e - e^2) C = C``: a Gaussian stays exactly invariant for every ``e``, and ``e = 1``
draws afresh.  (Euler's step, noise ``sqrt(2 e)``, would inflate it by ``1/(1 - e/2)``.)  This is the preconditioned
Crank-Nicolson move of Cotter et al. (2013) with the drift of the full score: other laws are invariant as
``e -> 0``, for any constant ``C``.
"""

from __future__ import annotations

__all__ = ["Preconditioner", "corrected", "langevin", "gaussian_of"]

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.fourier import filtered
from physinv.equations.sde import SDE, Reverse, Score, match
from physinv.equations.solve import Step
from physinv.laws.observation import Covariance, isotropic
from physinv.models.references.base import LinearReference, ReferenceLaw, SpectralReference, between
from physinv.models.references.low_rank import LowRankReference
from physinv.models.references.mixture import MixtureReference
from physinv.models.references.smoother import SmootherReference
from physinv.models.score import ScoreModel

Preconditioner = Callable[[float], Covariance]
"""``t -> C``, the covariance that Langevin moves at time t are preconditioned with."""


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
    """``sweeps`` moves of size ``e`` at time ``t`` under the law with ``score``.

    Fast where ``C`` resembles the law's covariance, unstable where it exceeds the inverse curvature ``2/e`` times.
    """
    _check(sweeps, size)
    for _ in range(sweeps):
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        x = _move(score, x, t, covariance, size, z)
    return x


def corrected(
    step: Step,
    sweeps: int = 1,
    *,
    size: float = 0.1,
    score: Score | None = None,
    covariance: Preconditioner | None = None,
) -> Step:
    """``step`` of a :class:`~physinv.equations.sde.Reverse` SDE, then ``sweeps`` Langevin moves at the time reached.

    The predictor-corrector of Song et al. (2021).  ``score`` and ``covariance`` default to those of the
    Reverse SDE and of its score model's reference law.

    With its own score the correction is invariant under the *marginal* ``p_t``: it draws from the process and forgets
    the ``x_T`` that the reversal started from.  To stay with the posterior give a score guided by what was observed.

    No correction is made at ``t = 0``, where a start on few modes or points has no score, nor where ``dw`` is all
    zero: without noise the moves would climb to the mode.
    """
    _check(sweeps, size)

    def advance(sde: SDE, x: Tensor, t0: Tensor, t1: Tensor, dw: Tensor) -> Tensor:
        if not isinstance(sde, Reverse):
            raise ValueError(
                f"`corrected` steps a Reverse(sde, score), got {type(sde).__name__}; take the bare step forward."
            )
        x = step(sde, x, t0, t1, dw[: step.draws])
        if not (float(t1[0]) > 0 and bool(dw.any())):
            return x
        target = sde.score if score is None else score
        C = (covariance or _own(sde.score))(float(t1[0]))
        for noise in dw[step.draws :]:
            x = _move(target, x, t1, C, size, noise / match((t1 - t0).abs().sqrt(), x))
        return x

    return Step(advance, step.weak_order, step.draws + sweeps)


def gaussian_of(reference: ReferenceLaw, t: float) -> tuple[Float[Tensor, "1 *state"], Covariance]:
    """Mean of a reference law at ``t``, and the covariance that suits Langevin moves under it.

    That of the law itself where it is Gaussian.  For a mixture ``v I`` with the smallest variance ``v`` of any of its
    components in any direction: the same for every state, as the moves need it, and small enough for all.
    """
    if isinstance(reference, LinearReference):
        sde, like = reference.sde, reference.mean0[None]
        s = reference.spectrum(like.new_full((1,), t), like)
        mean = sde.unmodes(s.a * sde.modes(like), like)
        return mean, _filters(lambda x, gain: sde.unmodes(gain * sde.modes(x), x), s.now)
    if isinstance(reference, SmootherReference):
        at = reference.times.new_full((1,), t)
        mean, power = (between(reference.times, table, at) for table in (reference.mean, reference.power))
        return mean, _filters(lambda x, gain: reference.unmodes(gain * reference.modes(x), x), power)
    if isinstance(reference, SpectralReference):
        at = reference.times.new_full((1,), t)
        mean, power = (between(reference.times, table, at) for table in (reference.mean, reference.power))
        return mean, _filters(filtered, power.clamp(min=torch.finfo(power.dtype).tiny))
    if isinstance(reference, LowRankReference):
        at = reference.times.new_full((1,), t)
        tables = (reference.mean, reference.factor, reference.diagonal)
        mean, factor, diagonal = (between(reference.times, table, at) for table in tables)
        return mean, _low_rank(factor.flatten(0, -2), diagonal.flatten())
    if isinstance(reference, MixtureReference):
        law = reference.law(t)
        return law.mean()[None], isotropic(float(torch.linalg.eigvalsh(law.covs.double()).min()))
    raise ValueError(f"`reference` must be a reference law of physinv, got {type(reference).__name__}.")


def _check(sweeps: int, size: float) -> None:
    if sweeps < 0:
        raise ValueError(f"`sweeps` must be at least 0, got {sweeps}.")
    if not 0 < size <= 1:
        raise ValueError(f"`size` must lie in (0, 1], got {size}; 1 draws a Gaussian afresh.")


def _move(score: Score, x: Tensor, t: Tensor, C: Covariance, e: float, z: Tensor) -> Tensor:
    return x + e * C.apply(score(x, t)) + math.sqrt(2 * e - e**2) * C.root(z)


def _own(score: Score) -> Preconditioner:
    if not isinstance(score, ScoreModel):
        raise ValueError(
            "`covariance` must be given for a score that is no ScoreModel, such as lambda t: isotropic(variance)."
        )
    reference = score.reference
    return lambda t: gaussian_of(reference, t)[1]


def _filters(scaled: Callable[[Tensor, Tensor], Tensor], power: Tensor) -> Covariance:
    """Diagonal in an orthonormal basis, in which ``scaled(x, gain)`` multiplies the modes of x."""
    return Covariance(lambda v: scaled(v, power), lambda z: scaled(z, power.sqrt()))


def _low_rank(U: Float[Tensor, "d r"], D: Float[Tensor, " d"]) -> Covariance:
    """``C = U U^T + D``; with ``A = D^(-1/2) U = W l^(1/2) X^T`` the root is ``D^(1/2) (1 + A A^T)^(1/2)``.

    ``(1 + A A^T)^(1/2) = 1 + A X 1/(sqrt(1 + l) + 1) X^T A^T``.
    """
    A = U / D.sqrt()[:, None]
    eigenvalues, X = torch.linalg.eigh(A.T @ A)
    A = A @ X
    weight = 1 / ((1 + eigenvalues.clamp(min=0)).sqrt() + 1)

    def apply(v: Tensor) -> Tensor:
        w = v.flatten(1)
        out: Tensor = (w @ U @ U.T + D * w).reshape(v.shape)
        return out

    def root(z: Tensor) -> Tensor:
        w = z.flatten(1)
        out: Tensor = ((w + (w @ A * weight) @ A.T) * D.sqrt()).reshape(z.shape)
        return out

    return Covariance(apply, root)
