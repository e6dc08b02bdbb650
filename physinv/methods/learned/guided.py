"""Posterior samples of a learned prior that nobody trained for the observation: a guided reversal, draw by draw.

At each level of noise a state is drawn from ``p(x_0 | z_t, y)``, and noised again to the next level: the ancestral
sampler of a diffusion model, given what was observed.  The law of ``x_0`` given ``z_t`` counts as Gaussian,

    p(x_0 | z_t) = N(D(z_t), C_t),

with the mean ``D`` of the learned score (Tweedie) and the covariance ``C_t`` of the prior's Gaussian reference law.
Given ``y`` with the residual ``r``, in coordinates ``x_0 = D + C_t^(1/2) u``, a draw is

    u = (1 + K^T K)^-1 (n_1 + K^T (n_2 - r(D))),    K = dr/du at D,    n_1, n_2 ~ N(0, 1),

whose mean is the Kalman update and whose covariance is what that leaves (Papandreou and Yuille 2010).  No step size is
tuned.  Where prior and observation are linear and Gaussian all of this is exact, with any number of levels.  Else it is
an approximation while the noise is large, and becomes right as ``C_t`` goes to 0: repeated at one level, drawing
``x_0`` and noising it are Gibbs moves, which turn into Langevin moves under the posterior where the noise is small.
``sweeps`` repeats them at every level.
"""

from __future__ import annotations

__all__ = ["GuidedPrior", "guide"]

import itertools
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, as_times, check_count, check_generator, home_of
from physinv.config.seeds import seeds
from physinv.laws.covariance import Covariance
from physinv.laws.noised import between, noised
from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.coordinates import ControlVariable, Coordinates, coordinates_of
from physinv.methods.classical.forward import Forward, fit_forward
from physinv.methods.classical.minimise import CostFunction, LeastSquares
from physinv.methods.classical.monte_carlo.starts import observable
from physinv.methods.classical.record_objective import (
    RecordObjective,
    SeenErrors,
    average_inverse,
    fit_seen_errors,
    frames_from,
)
from physinv.methods.problem import NotApplicableError, Problem, RecordAnswer
from physinv.posterior.learned_prior import LearnedPrior

_PROBES = 6  # products with white noise that the preconditioner of the equations is made of
_DRAWS = 16  # that a mean is taken over
_VECTORS, _FIELDS = 48, 12  # new trajectories on which draws are tried


@dataclass(frozen=True)
class _Around(ControlVariable):
    """States ``centre + C^(1/2) u`` around the expected ones of a level of noise."""

    centre: Tensor
    spread: Covariance

    @property
    def mean(self) -> Float[Tensor, "*moving"]:
        return self.centre[0]

    def root(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.centre + self.spread.root(u.reshape(self.centre.shape))


@dataclass(frozen=True)
class GuidedPrior(RecordAnswer):
    """The posterior of a learned prior under any forward model; its mean is that of 16 draws from a fixed seed.

    Args:
        prior: The prior.
        forward: The forward model.
        coordinates: The prior as records see it, for errors of what they see.
        steps: Levels of noise.
        sweeps: Gibbs moves at each of them, beside the one that leads there.
        inner: Iterations of conjugate gradients for each draw.
        seed: Seed of means and preconditioners.
        record: What is seen at which times; None: final states are seen whole.
        errors: What the record sees of the noise on the way.
    """

    prior: LearnedPrior
    forward: Forward
    coordinates: Coordinates
    steps: int
    sweeps: int
    inner: int
    seed: int = 0
    record: ObservationRecord | None = None
    errors: SeenErrors | None = None

    @property
    def tried(self) -> int:
        """On how many new trajectories draws given a record are to be tried first."""
        return _FIELDS if self.forward.simulator.layout.space else _VECTORS

    def given(self, observed: ObservationRecord | Observation) -> GuidedPrior:
        """Return the posterior given noisy observations at one or several times.

        Args:
            observed: A record, or one observation of the final state.

        Returns:
            An answer whose ``final`` are observed numbers, one row for each trajectory, NaN where one is missing.
        """
        record = observable(self.forward.simulator, observed)
        errors = fit_seen_errors(self.forward, self.coordinates, record, self.seed)
        return replace(self, record=record, errors=errors)

    def mean(self, final: Any) -> Float[Tensor, "batch *state"]:
        device = self.prior.mean.device
        return self.sample(final, _DRAWS, generator=seeds(self.seed).child("method", "mean").generator(device)).mean(1)

    def sample(
        self, final: Any, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        check_generator(generator)
        like = self.prior.mean.new_zeros((1, *self.forward.simulator.shape))
        seen = final if self.record is None else self.record.accepted(final, like)
        every = seen.repeat_interleave(check_count(n, "n"), 0)
        parts = [self._drawn(some, generator) for some in torch.split(every, self.forward.at_once)]
        return torch.cat(parts).reshape(len(seen), n, *like.shape[1:])

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        if self.errors is not None and max(as_times(times).tolist(), default=0) > 0:
            raise NotApplicableError(
                "states after the initial one need whole paths; ask for time 0 alone, or take mcmc."
            )
        return frames_from(self.forward.simulator, times, lambda: self.sample(y, n, generator=generator))

    @torch.no_grad()
    def _drawn(self, seen: Tensor, generator: torch.Generator | None) -> Tensor:
        """One state for each row of what is seen, from noise."""
        prior, process = self.prior, self.prior.process
        z = prior.reference.sample(len(seen), process.horizon, generator=generator)
        start = z
        for t, earlier in itertools.pairwise(prior.levels(self.steps).tolist()):
            now, then = (z.new_full((len(z),), time) for time in (t, earlier))
            for _ in range(self.sweeps):
                unit = self._start(z, now, seen, generator)
                z = noised(process, (unit - prior.mean) / prior.scale, now, _white(z, generator))
            start = self._start(z, now, seen, generator)
            if earlier > 0:
                law = between(process, (start - prior.mean) / prior.scale, z, then, now)
                white = process.modes(_white(z, generator))
                z = law.mean + process.unmodes(law.lower.sqrt() * white, z)
        return start

    def _start(self, z: Tensor, t: Tensor, seen: Tensor, generator: torch.Generator | None) -> Tensor:
        """A draw of ``x_0`` given a noised state and what is seen."""
        around = _Around(*self.prior.start_given(z, t))
        local = self._objective(around, seen).linearise(z.new_zeros((len(z), z[0].numel())))
        probes, layout = seeds(self.seed).child("method", "mean").generator(z.device), self.forward.simulator.layout
        inverse = average_inverse(local, z.shape[1:], layout, -(-_PROBES // len(z)), probes)
        local = replace(local, precondition=lambda v: inverse.apply(v.reshape(len(v), *z.shape[1:])).flatten(1))
        own, data = (_white(like, generator) for like in (z.flatten(1), local.residual))
        u = local.solve(own + local.adjoint(data - local.residual), self.inner)
        return around.root(u, z)

    def _objective(self, around: ControlVariable, seen: Tensor) -> LeastSquares:
        if self.record is None:
            return CostFunction(self.forward, around, seen)
        return RecordObjective(self.forward.simulator, around, self.record, seen, self.errors)


def guide(problem: Problem, *, steps: int, sweeps: int, inner: int) -> GuidedPrior:
    """Return the posterior of the learned prior of a problem under its process; nothing is trained.

    Args:
        problem: The process, and its prior.
        steps: Levels of noise.
        sweeps: Gibbs moves at each of them.
        inner: Iterations of conjugate gradients for each draw.

    Returns:
        The posterior, ready for observations.

    Raises:
        NotApplicableError: If the prior is no diffusion model, or the forward model can't be fitted
            (:func:`~physinv.methods.classical.forward.fit_forward`).
        ValueError: If ``steps`` is less than 2, ``inner`` less than 1, or ``sweeps`` negative.
    """
    for name, value, least in (("steps", steps, 2), ("sweeps", sweeps, 0), ("inner", inner, 1)):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    prior = problem.prior
    if not isinstance(prior, LearnedPrior):
        raise NotApplicableError("the prior must be a diffusion model, as `fit_prior` learns one; take mcmc.")
    coordinates, forward = coordinates_of(problem), fit_forward(problem)
    return GuidedPrior(prior, forward, coordinates, steps, sweeps, inner, problem.seed)


def _white(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """White noise of the shape of a tensor."""
    home = home_of(generator, like)
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=home).to(like.device)
