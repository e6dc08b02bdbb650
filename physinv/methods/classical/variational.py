"""Strong-constraint variational assimilation (4D-Var): the most probable ``x_0``, and Laplace's posterior around it.

    J(u) = |u|^2 / 2 + |r(u)|^2 / 2,   r(u) = R^(-1/2) (F(m + S^(1/2) u) + b - x_T)

(Le Dimet and Talagrand 1986; in whitened coordinates Courtier, Thepaut and Hollingsworth 1994).
"""

from __future__ import annotations

__all__ = ["Variational", "fit_gauss_newton", "fit_lbfgs", "load_gauss_newton", "load_lbfgs"]

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.coordinates import Coordinates, coordinates_of, given_prior
from physinv.methods.classical.forward import Forward, fit_forward, load_forward
from physinv.methods.classical.gaussian_prior import FittedCovariance, fit_covariance, load_gaussian_prior
from physinv.methods.classical.linear_estimate import LinearEstimate, fit_linear
from physinv.methods.classical.minimise import CostFunction, LeastSquares, gauss_newton, lbfgs, warn_of_misses
from physinv.methods.classical.monte_carlo.laplace import descend
from physinv.methods.classical.monte_carlo.path import DENSE
from physinv.methods.classical.monte_carlo.starts import observable
from physinv.methods.classical.monte_carlo.weak_constraint import Lower, WeakConstraint, lowered, weak_constraint
from physinv.methods.classical.physics import Physics, fit_physics
from physinv.methods.classical.record_objective import quiet
from physinv.methods.classical.strong_constraint import StrongConstraint, strong_constraint
from physinv.methods.problem import Answer, Problem
from physinv.methods.saving import Setup, below, loaded_by, prefixed
from physinv.processes.simulator import Simulator

Down = Callable[[LeastSquares, Tensor], Tensor]
_FEW = 64  # observed numbers: derivatives of that many are taken one by one


@dataclass(frozen=True)
class Variational(Answer):
    """The ``x_0`` of the smallest ``J`` (``mean``) and draws of Laplace's Gaussian around it (``sample``).

    The minimum is the mode of the posterior, and its mean where ``F`` is linear.

    The minimisation starts from an estimate, or from the prior's mean where that has the smaller ``J`` and a finite
    gradient (particles that coincide have none).

    Args:
        forward: The observation model.
        prior: Coordinates of the prior: of the Gaussian one, unless another is given.
        start: The estimate to start from.
        missed: Covariance of the errors of ``start``: the guess at the posterior's covariance that preconditions all
            solves.
        minimise: ``(objective, u) -> u``, such as :func:`~physinv.methods.classical.minimise.lbfgs`.
        draw: Iterations of conjugate gradients for each draw.
        lower: The same way down over whole paths, given a record.
        told: Whether it is told where the minimum misses what is observed; not where others only begin there.
    """

    forward: Forward
    prior: Coordinates
    start: LinearEstimate | Physics
    missed: FittedCovariance
    minimise: Down
    draw: int
    lower: Lower
    told: bool = True

    def given(self, observed: ObservationRecord | Observation) -> WeakConstraint | StrongConstraint:
        """Return the answer to noisy observations at one or several times.

        It is the most probable path, the noise of every step included, where paths are small and the law of the
        initial states is known; else the most probable initial state.

        Args:
            observed: A record, or one observation of the final state.

        Returns:
            An answer whose ``final`` are observed numbers, one row for each trajectory.
        """
        simulator, record = self.forward.simulator, observable(self.forward.simulator, observed)
        if _small(simulator, record, self.prior):
            return weak_constraint(simulator, record, self.lower, given_prior(self.prior))
        return strong_constraint(self.forward, self.prior, record, self.minimise, self.draw)

    def tensors(self) -> dict[str, Tensor]:
        """Return observation model, prior, first guess and the covariance of its errors."""
        found = prefixed("forward", self.forward.tensors()) | prefixed("prior", self.prior.tensors())
        return found | prefixed("start", self.start.tensors()) | prefixed("missed", self.missed.parts)

    def objective(self, final: Float[Tensor, "batch *state"]) -> CostFunction:
        """Return the cost function ``J`` of observed final states.

        Args:
            final: Observed final states ``x_T``.

        Returns:
            The cost function, one value for each observation.
        """
        S = self.prior.covariance

        def precondition(v: Tensor) -> Tensor:
            x = S.whiten(v.reshape(len(v), *self.prior.mean.shape))
            return S.whiten(self.missed.apply(x)).flatten(1)

        return CostFunction(self.forward, self.prior, final, precondition=precondition)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.prior.root(self._minimum(final), final)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """Draw from Laplace's approximation of the posterior.

        A draw is ``u + (I + K^T K)^-1 (z_1 + K^T z_2)`` with ``z`` standard normal: its covariance is
        ``(I + K^T K)^-1``, exactly (Papandreou and Yuille 2010).

        Args:
            final: Observed final states ``x_T``.
            n: Draws for each observation.
            generator: Source of randomness.

        Returns:
            Samples, ``(batch, n, *state)``.

        Raises:
            ValueError: If ``n`` is less than 1.
        """
        if n < 1:
            raise ValueError(f"`n` must be at least 1, got {n}.")
        centre, every = self._minimum(final).repeat_interleave(n, 0), final.repeat_interleave(n, 0)
        parts = []
        for u, x in zip(*(torch.split(v, self.forward.at_once) for v in (centre, every)), strict=True):
            local = self.objective(x).linearise(u)
            prior, data = (
                torch.randn(like.shape, generator=generator, dtype=x.dtype, device=x.device)
                for like in (u, local.residual)
            )
            wiggle = local.solve(prior + local.adjoint(data), self.draw)
            parts.append(self.prior.root(u + wiggle, x))
        return torch.cat(parts).reshape(len(final), n, *final.shape[1:])

    def _minimum(self, final: Tensor) -> Tensor:
        parts, missed = [], []
        for x in torch.split(final, self.forward.at_once):
            objective, guess = self.objective(x), self.prior.standardise(self.start.mean(x))
            nothing = torch.zeros_like(guess)
            value, slope = objective.gradient(nothing)
            fallback = (value <= objective.value(guess)) & slope.isfinite().all(1)
            parts.append(self.minimise(objective, torch.where(fallback[:, None], nothing, guess)))
            missed.append(objective.residual(parts[-1]).detach())
        if self.told:
            u, residual = torch.cat(parts), torch.cat(missed)
            numbers = torch.full_like(residual[:, 0], residual.shape[1], dtype=torch.long)
            warn_of_misses(u, residual, numbers, "raise `iterations` or `outer`, or take mcmc")
        return torch.cat(parts)


def load_lbfgs(
    setup: Setup, tensors: Mapping[str, Tensor], *, iterations: int = 60, memory: int = 10, draw: int = 30
) -> Variational:
    """Load 4D-Var by L-BFGS.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        iterations: Iterations of L-BFGS.
        memory: Pairs of steps and gradient changes that L-BFGS remembers.
        draw: Iterations of conjugate gradients for each draw.

    Returns:
        The minimiser, ready for observations.
    """
    return _load(setup, tensors, *_lbfgs(iterations, memory), draw)


@loaded_by(load_lbfgs, trains=False, prior=True)
def fit_lbfgs(problem: Problem, *, iterations: int = 60, memory: int = 10, draw: int = 30) -> Variational:
    """Fit 4D-Var by L-BFGS; an iteration costs the solver and its adjoint once.

    Args:
        problem: The process and its data.
        iterations: Iterations of L-BFGS.
        memory: Pairs of steps and gradient changes that L-BFGS remembers.
        draw: Iterations of conjugate gradients for each draw.

    Returns:
        The minimiser, ready for observations.

    Raises:
        NotApplicableError: Where the observation model cannot be fitted
            (:func:`~physinv.methods.classical.forward.fit_forward`).
    """
    return _fit(problem, *_lbfgs(iterations, memory), draw)


def load_gauss_newton(
    setup: Setup, tensors: Mapping[str, Tensor], *, outer: int = 15, inner: int = 6, draw: int = 30
) -> Variational:
    """Load 4D-Var by Gauss-Newton steps.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        outer: Gauss-Newton steps.
        inner: Iterations of conjugate gradients for each step.
        draw: Iterations of conjugate gradients for each draw.

    Returns:
        The minimiser, ready for observations.
    """
    return _load(setup, tensors, *_gauss_newton(outer, inner), draw)


@loaded_by(load_gauss_newton, trains=False, prior=True)
def fit_gauss_newton(problem: Problem, *, outer: int = 15, inner: int = 6, draw: int = 30) -> Variational:
    """Fit 4D-Var by Gauss-Newton steps.

    Few inner iterations keep the steps short where ``F`` is far from linear; steps solved to convergence end in wrong
    minima more often.

    Args:
        problem: The process and its data.
        outer: Gauss-Newton steps.
        inner: Iterations of conjugate gradients for each step: products with the derivative and its adjoint.
        draw: Iterations of conjugate gradients for each draw.

    Returns:
        The minimiser, ready for observations.

    Raises:
        NotApplicableError: Where the observation model cannot be fitted
            (:func:`~physinv.methods.classical.forward.fit_forward`).
    """
    return _fit(problem, *_gauss_newton(outer, inner), draw)


def _lbfgs(iterations: int, memory: int) -> tuple[Down, Lower]:
    """The way down of L-BFGS from ``x_0`` alone, and over whole paths."""
    wide = functools.partial(lowered, iterations=iterations, memory=memory)
    return functools.partial(lbfgs, iterations=iterations, memory=memory), wide


def _gauss_newton(outer: int, inner: int) -> tuple[Down, Lower]:
    """The same of Gauss-Newton; over paths its steps are solved exactly."""
    return functools.partial(gauss_newton, outer=outer, inner=inner), functools.partial(descend, steps=outer)


def _fit(problem: Problem, minimise: Down, lower: Lower, draw: int) -> Variational:
    forward, prior = fit_forward(problem), coordinates_of(problem)
    start, gap = _first_guess(problem)
    missed = fit_covariance(gap - gap.mean(0), problem.simulator.layout)
    return Variational(forward, prior, start, missed, minimise, draw, lower)


def _load(setup: Setup, tensors: Mapping[str, Tensor], minimise: Down, lower: Lower, draw: int) -> Variational:
    forward = load_forward(setup, below("forward", tensors))
    prior = load_gaussian_prior(setup, below("prior", tensors))
    linear = below("start", tensors)
    start = LinearEstimate.from_tensors(setup.layout, linear) if linear else Physics(setup.simulator)
    missed = FittedCovariance.from_tensors(below("missed", tensors))
    return Variational(forward, prior, start, missed, minimise, draw, lower)


def _small(simulator: Simulator, record: ObservationRecord, prior: Coordinates) -> bool:
    """Whether whole paths are moved: at most 1024 components, whose initial law is known, and few observed numbers
    where there is no noise on the way that paths would be needed for."""
    like = torch.zeros(1, *simulator.shape)
    drawn_at_once = simulator.spin_up_time == 0 or simulator.initial_log_prob(like) is not None
    drawn_at_once = (simulator.startable and drawn_at_once) or given_prior(prior) is not None
    if simulator.layout.moving(like).numel() > DENSE or not drawn_at_once:
        return False
    return not quiet(simulator) or sum(record.sizes(like)) <= _FEW


def _first_guess(problem: Problem) -> tuple[LinearEstimate | Physics, Tensor]:
    """The linear estimate, or the physics run backward where that is closer to the validation states, and its errors.

    The second is for processes that damp little.
    """
    moving, truth, final = problem.simulator.layout.moving, problem.valid.states(0), problem.valid.states(-1)
    found: list[LinearEstimate | Physics] = [
        fit_linear(problem.simulator, problem.train, problem.valid),
        fit_physics(problem),
    ]
    gaps = [moving(truth - estimate.mean(final)).double() for estimate in found]
    linear, back = (float(gap.square().mean()) for gap in gaps)
    best = 1 if back < linear else 0  # not where it is NaN
    return found[best], gaps[best]
