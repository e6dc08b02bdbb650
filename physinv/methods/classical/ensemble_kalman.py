"""Ensemble Kalman inversion with multiple data assimilation: no derivative, no Gaussian prior, a Gaussian update.

The members start as draws of ``x_0`` from the training states and their images under the symmetries of the process,
and move ``N`` times by

    x_j <- x_j + C_xy (C_yy + a I)^-1 (y + sqrt(a) n_j - y_j),   y_j = R^(-1/2) (F(x_j) + b),   sum 1/a = 1

with the covariances of the members (Emerick and Reynolds 2013, ES-MDA; Iglesias, Law and Stuart 2013).  For a linear F
and a Gaussian prior the law tends to the posterior with the number of members; otherwise it is an approximation.

Without localisation: the members never leave the span of their start, whose dimension is the number of members less
one, and chance correlations of size ``members^-1/2`` between distant points take away spread that the data do not
justify.  Fields with more informed modes than members come out too narrow.
"""

from __future__ import annotations

__all__ = ["EnsembleKalman", "fit_ensemble_kalman", "load_ensemble_kalman"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.methods.classical.forward import Forward, fit_forward, load_forward
from physinv.methods.problem import Answer, Problem
from physinv.methods.saving import Setup, below, loaded_by, prefixed

_NUMBERS = {"cpu": 2**22}  # of all members' states in work at once
_ELSEWHERE = 2**26


@dataclass(frozen=True)
class EnsembleKalman(Answer):
    """An ensemble of initial states, updated anew for each observation; samples are members, the mean is theirs.

    Args:
        forward: The observation model.
        pool: Initial states from which members are drawn.
        members: Number of members.
        inflations: The factor ``a`` of the noise covariance in each update.
        seed: Seed of the members behind :meth:`mean`.
    """

    forward: Forward
    pool: Float[Tensor, "n *state"]
    members: int
    inflations: tuple[float, ...]
    seed: int

    def tensors(self) -> dict[str, Tensor]:
        """Return the pool of members, and what was fitted of the observation model."""
        return {"pool": self.pool} | prefixed("forward", self.forward.tensors())

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        if n < 1:
            raise ValueError(f"`n` must be at least 1, got {n}.")
        return torch.cat([m[:, :n] for m in self._ensembles(final, max(n, self.members), generator)])

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        generator = seeds(self.seed).child("method", "mean").generator(final.device)
        return torch.cat([m.mean(1) for m in self._ensembles(final, self.members, generator)])

    @torch.no_grad()
    def _ensembles(self, final: Tensor, members: int, generator: torch.Generator | None) -> list[Tensor]:
        numbers = _NUMBERS.get(final.device.type, _ELSEWHERE)
        chunk = max(1, numbers // (members * math.prod(final.shape[1:])))
        return [self._assimilate(part, members, generator) for part in torch.split(final, chunk)]

    def _assimilate(self, final: Tensor, members: int, generator: torch.Generator | None) -> Tensor:
        """Members ``(batch, members, *state)``; those not finite enter no covariance and stay as they are."""
        layout, shape = self.forward.simulator.layout, (len(final), members)

        # Each observation starts from members of its own, with the static channels of its x_T.
        keys = torch.rand((len(final), len(self.pool)), generator=generator, device=final.device)
        order = keys.argsort(1)  # without replacement as long as there are enough
        pick = order[:, torch.arange(members, device=final.device) % len(self.pool)]
        every = final.repeat_interleave(members, 0)
        x = layout.set_moving(layout.moving(self.pool.to(final))[pick.flatten()], every)

        for a in self.inflations:
            miss = self.forward.misfit(x, every).reshape(*shape, -1)
            noise = torch.randn(miss.shape, generator=generator, dtype=miss.dtype, device=miss.device)
            states = layout.moving(x).reshape(*shape, -1)
            states = states + _update(states, miss, -miss + math.sqrt(a) * noise, a)
            x = layout.set_moving(states.reshape(len(x), *layout.moving(x).shape[1:]), every)
        return x.reshape(*shape, *final.shape[1:])


def load_ensemble_kalman(
    setup: Setup,
    tensors: Mapping[str, Tensor],
    *,
    members: int = 200,
    steps: int = 4,
    inflations: tuple[float, ...] | None = None,
) -> EnsembleKalman:
    """Load ensemble Kalman inversion.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        members: Number of members.
        steps: Number of updates.
        inflations: The inflation of each update.

    Returns:
        The ensemble before any observation.
    """
    forward = load_forward(setup, below("forward", tensors))
    return EnsembleKalman(forward, tensors["pool"], members, _inflations(members, steps, inflations), setup.seed)


@loaded_by(load_ensemble_kalman, trains=False)
def fit_ensemble_kalman(
    problem: Problem, *, members: int = 200, steps: int = 4, inflations: tuple[float, ...] | None = None
) -> EnsembleKalman:
    """Fit ensemble Kalman inversion with multiple data assimilation.

    Args:
        problem: The process and its data.
        members: Number of members.
        steps: Number of updates, each with the inflation ``a = steps``.
        inflations: The inflation of each update instead; their inverses must sum to 1.

    Returns:
        The ensemble before any observation.

    Raises:
        NotApplicableError: Where the observation model cannot be fitted
            (:func:`~physinv.methods.classical.forward.fit_forward`).
        ValueError: For fewer than 2 members, fewer than 1 step, or inflations whose inverses do not sum to 1.
    """
    a = _inflations(members, steps, inflations)
    pool = torch.cat(problem.simulator.images(problem.train.states(0)))
    return EnsembleKalman(fit_forward(problem), pool, members, a, problem.seed)


def _inflations(members: int, steps: int, inflations: tuple[float, ...] | None) -> tuple[float, ...]:
    """The inflation of each update, checked."""
    if members < 2:
        raise ValueError(f"`members` must be at least 2, got {members}.")
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")
    a = (float(steps),) * steps if inflations is None else tuple(inflations)
    if not all(v > 0 for v in a) or not math.isclose(sum(1 / v for v in a if v > 0), 1, rel_tol=1e-6):
        raise ValueError(f"`inflations` must be positive numbers whose inverses sum to 1, got {a}.")
    return a


def _update(x: Tensor, y: Tensor, gap: Tensor, a: float) -> Tensor:
    """``C_xy (C_yy + a I)^-1 gap`` for ``x (batch, m, d)``, ``y`` and ``gap (batch, m, e)``.

    With deviations ``X, Y`` of the members over ``sqrt(m - 1)``: ``X^T (Y Y^T + a I)^-1 Y gap``, a system of size m.
    """
    finite = (x.isfinite().all(2) & y.isfinite().all(2))[..., None]
    count = finite.sum(1, keepdim=True)
    X, Y = (_deviations(v, finite, count) for v in (x, y))
    gram = Y @ Y.mT
    gram.diagonal(dim1=1, dim2=2).add_(a)
    weights = torch.cholesky_solve(Y @ torch.where(finite, gap, 0.0).mT, torch.linalg.cholesky(gram))
    return weights.mT @ X


def _deviations(v: Tensor, finite: Tensor, count: Tensor) -> Tensor:
    v = torch.where(finite, v, 0.0)
    gap = torch.where(finite, v - v.sum(1, keepdim=True) / count.clamp(min=1), 0.0)
    return gap / (count - 1).clamp(min=1).sqrt()
