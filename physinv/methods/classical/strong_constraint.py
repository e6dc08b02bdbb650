"""Strong-constraint 4D-Var given a record of observations: the initial state alone is sought, without any matrix.

    J(u) = |u|^2 / 2 + |r(u)|^2 / 2,   r(u) = E^(-1/2) (H(F(m + S^(1/2) u)) + b - y)

with the noise-free solver ``F``, the operators ``H`` of the record, and errors ``N(b, E)`` of what is seen: the noise
of the sensors, and what they see of the noise on the way.  Of a process without noise that is exact but for the
Gaussian prior; with noise it is the approximation of :mod:`~physinv.methods.classical.forward`.  States may be as large
as the solver takes them, where whole paths (:mod:`~physinv.methods.classical.monte_carlo.weak_constraint`) need
matrices.

Sharp sensors make ``J`` rugged and steep far from its minimum, and a long window has many minima.  So the way down is
taken in steps.  First the state at the last time is sought, to which no solver leads.  Run backward for a quarter of
the window it is where the next search begins, for the state at that earlier time, and so on (quasi-static variational
assimilation: Pires, Vautard and Talagrand 1996); Gaussian laws of later states are fitted to runs.  On the way
errors count as larger than they are, and as what they are in the end.  The searches are preconditioned by the mean of
``1 + K^T K``, ``K = dr/du``, over what the layout of the states calls alike (modes of periodic fields), from products
of ``K^T`` with white noise.
"""

from __future__ import annotations

__all__ = ["RecordObjective", "SeenErrors", "StrongConstraint", "quiet", "states_at", "strong_constraint"]

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, as_times, check_count, check_generator
from physinv.config.seeds import seeds
from physinv.laws.observation import jacobian
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.forward import Forward
from physinv.methods.classical.gaussian_prior import (
    FittedCovariance,
    GaussianPrior,
    fit_covariance,
    gaussian_prior_of,
)
from physinv.methods.classical.minimise import LeastSquares
from physinv.methods.problem import NotApplicableError, RecordAnswer
from physinv.processes.layout import VectorLayout
from physinv.processes.simulator import Simulator, refine

_WINDOWS = 4  # steps in which the window grows backward
_SOFT = (8.0, 3.0, 1.0)  # errors of these steps, in units of their size; then of the whole window
_STATES, _FEWEST = 2**18, 16  # numbers of all states that laws at later times are fitted to, and fewest states
_PROBES = 6  # products with white noise that the preconditioner is made of
_RUNS = 200  # most of these, and pairs of runs from which errors at times before the last are estimated


@dataclass(frozen=True)
class SeenErrors:
    """What a record sees of the noise on the way, beside the noise of its sensors.

    Args:
        bias: Mean of what is seen with noise, minus what is seen without.
        covariance: Covariance of that, without the noise of the sensors.
    """

    bias: Float[Tensor, " seen"]
    covariance: Float[Tensor, "seen seen"]


@dataclass(frozen=True)
class RecordObjective(LeastSquares):
    """The cost function of initial states, given observed numbers.

    Args:
        simulator: The process.
        prior: The Gaussian prior.
        record: What is seen at which times.
        seen: Observed numbers, NaN where one is missing.
        errors: What is seen of the noise on the way; None: the process has none.
        soft: Factor of all errors.
        begin: Time of the state that is sought.
    """

    simulator: Simulator
    prior: GaussianPrior
    record: ObservationRecord
    seen: Float[Tensor, "batch seen"]
    errors: SeenErrors | None = None
    soft: float = 1.0
    begin: float = 0.0

    def residual(self, u: Float[Tensor, "batch d"]) -> Float[Tensor, "batch seen"]:
        like = u.new_zeros((len(u), *self.simulator.shape))
        states = states_at(self.simulator, self.prior.root(u, like), self.record.times, self.begin)
        if self.errors is None:
            return self.record.residual(self.seen, states) / self.soft
        there = self.seen.isfinite()
        gap = self.record.clean(states) + self.errors.bias.to(u) - torch.where(there, self.seen, 0.0)
        gap = torch.where(there, gap, torch.zeros_like(gap))
        white: Tensor = torch.linalg.solve_triangular(self._root(there), gap[:, :, None], upper=False)[:, :, 0]
        return white / self.soft

    def within(self, begin: float, soft: float, prior: GaussianPrior) -> RecordObjective:
        """Return the cost function of the state at a later time, given what is seen from then on.

        Args:
            begin: The time.
            soft: Factor of all errors.
            prior: The law of the state at that time.

        Returns:
            The cost function, with the entries of the record from that time on.
        """
        if begin <= 0:
            return replace(self, soft=soft)
        sizes = self.record.sizes(self.seen.new_zeros((1, *self.simulator.shape)))
        kept = [min(entry.times) >= begin for entry in self.record.entries]
        columns = torch.cat([torch.full((size,), k) for size, k in zip(sizes, kept, strict=True)]).to(self.seen.device)
        entries = [(e.times, e.observation) for e, k in zip(self.record.entries, kept, strict=True) if k]
        errors = self.errors
        if errors is not None:
            errors = SeenErrors(errors.bias[columns], errors.covariance[columns][:, columns])
        record, seen = ObservationRecord(*entries), self.seen[:, columns]
        return replace(self, prior=prior, record=record, seen=seen, errors=errors, soft=soft, begin=begin)

    def preconditioned(self, u: Float[Tensor, "batch d"], generator: torch.Generator) -> RecordObjective:
        """Return the same with a preconditioner from products of ``K^T`` with white noise.

        Args:
            u: Where the derivative is taken.
            generator: Source of the white noise.

        Returns:
            The same cost function.
        """
        local = self.linearise(u)
        shape, layout = local.residual.shape, self.simulator.layout
        probes = [
            local.adjoint(torch.randn(shape, generator=generator, dtype=u.dtype, device=u.device))
            for _ in range(-(-_PROBES // len(u)))
        ]
        curved = torch.cat(probes).nan_to_num(0.0, 0.0, 0.0).reshape(-1, *self.prior.mean.shape)
        parts = dict(fit_covariance(curved, layout).parts)
        parts |= {name: 1 / (1 + parts[name]) for name in ("variance", "rest") if name in parts}
        inverse = FittedCovariance.from_tensors(parts)

        def precondition(v: Tensor) -> Tensor:
            return inverse.apply(v.reshape(len(v), *self.prior.mean.shape)).flatten(1)

        return replace(self, precondition=precondition)

    def _root(self, there: Tensor) -> Tensor:
        """The Cholesky factor of the covariance of the numbers that are there; one for all where none is missing."""
        assert self.errors is not None
        deviation = self.record.deviations(self.seen.new_zeros((1, *self.simulator.shape)))
        whole = self.errors.covariance.double() + deviation.double().square().diag()
        if not bool(there.all()):
            both, alone = there[:, :, None] & there[:, None, :], torch.diag_embed((~there).double())
            whole = torch.where(both, whole, 0.0) + alone
        root: Tensor = torch.linalg.cholesky(whole).to(self.seen)
        return root.expand(1, *root.shape) if root.ndim == 2 else root


@dataclass(frozen=True)
class StrongConstraint(RecordAnswer):
    """The most probable initial state (``mean``) and draws of Laplace's Gaussian around it (``sample``).

    Args:
        forward: The noise-free solver, and the noise on the way as final states see it.
        prior: The Gaussian prior.
        record: What is seen at which times.
        errors: What is seen of the noise on the way; None: the process has none.
        minimise: ``(objective, u) -> u``, such as :func:`~physinv.methods.classical.minimise.lbfgs`.
        draw: Iterations of conjugate gradients for each draw.
        seed: Seed of the preconditioners.
    """

    forward: Forward
    prior: GaussianPrior
    record: ObservationRecord
    errors: SeenErrors | None
    minimise: Callable[[LeastSquares, Tensor], Tensor]
    draw: int
    seed: int = 0

    def mean(self, final: Any) -> Float[Tensor, "batch *state"]:
        return torch.cat([self._states(self._minimum(some)) for some in self.objectives(final)])

    def sample(
        self, final: Any, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        n = check_count(n, "n")
        check_generator(generator)
        parts = []
        for some in self.objectives(final):
            centre = self._minimum(some)
            near = some.preconditioned(centre, self._generator())
            u, every = centre.repeat_interleave(n, 0), replace(near, seen=near.seen.repeat_interleave(n, 0))
            for rows in torch.split(torch.arange(len(u), device=u.device), self.forward.at_once):
                local = replace(every, seen=every.seen[rows]).linearise(u[rows])
                prior, data = (
                    torch.randn(like.shape, generator=generator, dtype=u.dtype, device=u.device)
                    for like in (u[rows], local.residual)
                )
                wiggle = local.solve(prior + local.adjoint(data), self.draw)
                parts.append(self._states(u[rows] + wiggle))
        found = torch.cat(parts)
        return found.reshape(-1, n, *found.shape[1:])

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        """Draw trajectories: those of the draws of initial states.

        Args:
            y: Observed numbers.
            n: Draws for each row.
            times: Times, 0 or later.
            generator: Source of randomness.

        Returns:
            One trajectory for each draw.

        Raises:
            ValueError: If there is no time, or one is negative.
            NotApplicableError: For later times of a process with noise, whose course the observations tell, too.
        """
        wanted = as_times(times).tolist()
        if not wanted or min(wanted) < 0:
            raise ValueError(f"`times` must be 0 or later, got {wanted}; processes begin at 0.")
        if self.errors is not None and max(wanted) > 0:
            raise NotApplicableError(
                "states after the initial one need whole paths, which are for at most 1024 moving components; ask for "
                "time 0 alone, or take a smaller grid."
            )
        starts = self.sample(y, n, generator=generator).flatten(0, 1)
        every = sorted(set(wanted))
        found = states_at(self.forward.simulator, starts, every)[:, [every.index(t) for t in wanted]]
        return found.reshape(-1, n, *found.shape[1:])

    def objectives(self, y: Any) -> list[RecordObjective]:
        """Return the cost functions of a few rows at a time.

        Args:
            y: Observed numbers.

        Returns:
            Cost functions, in the order of the rows.
        """
        simulator = self.forward.simulator
        like = torch.zeros(1, *simulator.shape, device=self.forward.bias.device)
        return [
            RecordObjective(simulator, self.prior, self.record, seen, self.errors)
            for seen in torch.split(self.record.accepted(y, like), self.forward.at_once)
        ]

    def _minimum(self, objective: RecordObjective) -> Tensor:
        """The minimum of each row, sought backward from the last time."""
        simulator, generator = self.forward.simulator, self._generator()
        nothing = u = objective.seen.new_zeros((len(objective.seen), self.prior.mean.numel()))
        state, later = None, 0.0
        for t, prior in self._later_laws:
            if state is not None:  # the state at an earlier time, by the physics backward
                u = prior.standardise(_back(simulator, state, later, t))
            some = objective.within(t, _SOFT[0], prior)
            u = self._down(some, torch.where(_better(some, u, nothing)[:, None], u, nothing), generator)
            if state is None and t in self.record.times:  # no solver leads to these numbers: once more costs nothing
                u = self._down(some, u, generator)
            state, later = prior.root(u, objective.seen.new_zeros((len(u), *simulator.shape))), t
        for soft in _SOFT[1:]:
            u = self._down(replace(objective, soft=soft), u, generator)
        return u

    @cached_property
    def _later_laws(self) -> list[tuple[float, GaussianPrior]]:
        """Times at which windows begin, from the last one to 0, and Gaussian laws of the states at them."""
        simulator, last = self.forward.simulator, max(self.record.times)
        begun = max(min(entry.times) for entry in self.record.entries)  # a window must hold a whole entry
        places = [t for t in (last * (1 - i / _WINDOWS) for i in range(_WINDOWS)) if 0 < t <= begun]
        if not places:
            return [(0.0, self.prior)]
        count = min(max(_STATES // self.prior.mean.numel(), _FEWEST), _RUNS)
        generator = self._generator()
        z = torch.randn((count, self.prior.mean.numel()), generator=generator, device=generator.device)
        later = simulator.run(self._states(z), [0.0, *reversed(places)], generator=generator)[:, 1:].flip(1)
        later = later[later.flatten(1).isfinite().all(1)]
        if len(later) < 2:
            return [(0.0, self.prior)]
        laws = [gaussian_prior_of(simulator, later[:, i], known=False) for i in range(len(places))]
        return [*zip(places, laws, strict=True), (0.0, self.prior)]

    def _down(self, objective: RecordObjective, u: Tensor, generator: torch.Generator) -> Tensor:
        return self.minimise(objective.preconditioned(u, generator), u)

    def _generator(self) -> torch.Generator:
        return seeds(self.seed).child("method", "mean").generator(self.forward.bias.device)

    def _states(self, u: Tensor) -> Tensor:
        return self.prior.root(u, u.new_zeros((len(u), *self.forward.simulator.shape)))


def strong_constraint(
    forward: Forward,
    prior: GaussianPrior,
    record: ObservationRecord,
    minimise: Callable[[LeastSquares, Tensor], Tensor],
    draw: int,
    *,
    seed: int = 0,
) -> StrongConstraint:
    """Return the variational answer to a record that seeks the initial state alone.

    Args:
        forward: The noise-free solver, and the noise on the way as final states see it.
        prior: The Gaussian prior.
        record: What is seen at which times.
        minimise: How the minimum is sought.
        draw: Iterations of conjugate gradients for each draw.
        seed: Seed of preconditioners, and of the runs by which errors at times before the last are estimated.

    Returns:
        The answer, whose ``final`` are observed numbers.
    """
    return StrongConstraint(forward, prior, record, _errors(forward, prior, record, seed), minimise, draw, seed)


def quiet(simulator: Simulator) -> bool:
    """Return whether a process has no noise, at the beginning.

    Args:
        simulator: The process.
    """
    probe = torch.randn((1, *simulator.shape), generator=torch.Generator().manual_seed(0))
    return not bool(simulator.disturb(probe, probe, torch.zeros(1)).any())


def states_at(
    simulator: Simulator, x: Float[Tensor, "batch *state"], times: Sequence[float], begin: float = 0.0
) -> Float[Tensor, "batch time *state"]:
    """Return the states that follow from initial ones without noise, differentiable.

    Args:
        simulator: The process.
        x: Initial states.
        times: Increasing times, none before ``begin``.
        begin: Time of the states given.

    Returns:
        One state for each time.
    """
    if tuple(times) == (begin,):
        return x[:, None]
    grid = [begin, *(t for t in times if t > begin)]
    found = simulator.run(x, grid, noise=False)
    return found if times[0] == begin else found[:, 1:]


def _better(objective: RecordObjective, u: Tensor, other: Tensor) -> Tensor:
    """Where the first point has the smaller value, finite."""
    return objective.value(u) < objective.value(other)


@torch.no_grad()
def _back(simulator: Simulator, x: Tensor, later: float, earlier: float) -> Tensor:
    """States at an earlier time, by the noise-free physics run backward in the steps of the solver."""
    grid = refine(*simulator.intervals([earlier, later])).flip(0).tolist()
    for a, b in itertools.pairwise(grid):
        x = simulator.drift_flow(x, x.new_full((len(x),), a), x.new_full((len(x),), b))
    return x


@torch.no_grad()
def _errors(forward: Forward, prior: GaussianPrior, record: ObservationRecord, seed: int) -> SeenErrors | None:
    """What a record sees of the noise on the way: by the law of that at T, or from pairs of runs."""
    simulator, device = forward.simulator, forward.bias.device
    if quiet(simulator):
        return None
    generator, probe = seeds(seed).child("method", "paths").generator(device), torch.zeros((1, *simulator.shape))
    if record.times == (float(simulator.horizon),):
        rows = jacobian(lambda x: record.clean(x[:, None]), probe.to(device).double())
        seen = forward.covariance.apply(rows).flatten(1) @ rows.flatten(1).T
        return SeenErrors(rows.flatten(1) @ forward.bias.double().expand(simulator.shape).flatten(), seen)

    # Pairs of runs with and without noise, from draws of the prior.
    z = torch.randn((_RUNS, prior.mean.numel()), generator=generator, device=device)
    x = prior.root(z, z.new_zeros((_RUNS, *simulator.shape)))
    grid = [0.0, *(t for t in record.times if t > 0)]
    noisy = simulator.run(x, grid, generator=generator)[:, -len(record.times) :]
    gap = (record.clean(noisy) - record.clean(states_at(simulator, x, record.times))).double()
    gap = gap[gap.isfinite().all(1)]
    bias, eye = gap.mean(0), torch.eye(gap.shape[1], dtype=gap.dtype, device=device)
    return SeenErrors(bias, fit_covariance(gap - bias, VectorLayout("seen", gap.shape[1])).apply(eye))
