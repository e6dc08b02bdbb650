"""Strong-constraint 4D-Var given a record of observations: the initial state alone is sought, without any matrix.

The cost function is that of :mod:`~physinv.methods.classical.record_objective`.  Of a process without noise the answer
is exact but for the Gaussian prior; with noise it is the approximation of :mod:`~physinv.methods.classical.forward`.
States may be as large as the solver takes them, where whole paths
(:mod:`~physinv.methods.classical.monte_carlo.weak_constraint`) need matrices.

Sharp sensors make ``J`` rugged and steep far from its minimum, and a long window has many minima.  So the way down is
taken in steps.  First the state at the last time is sought, to which no solver leads.  Run backward for a quarter of
the window it is where the next search begins, for the state at that earlier time, and so on (quasi-static variational
assimilation: Pires, Vautard and Talagrand 1996); Gaussian laws of later states are fitted to runs.  On the way
errors count as larger than they are, and as what they are in the end.  The searches are preconditioned by the mean of
``1 + K^T K``, ``K = dr/du``, over what the layout of the states calls alike (modes of periodic fields), from products
of ``K^T`` with white noise.

Where a search ends in a wrong valley all the same, which the size of what is missed tells
(:func:`~physinv.methods.classical.minimise.misses`), the initial state is sought once more, from draws of the prior.
"""

from __future__ import annotations

__all__ = ["StrongConstraint", "strong_constraint"]

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, as_times, check_count, check_generator
from physinv.config.seeds import seeds
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.coordinates import Coordinates
from physinv.methods.classical.forward import Forward
from physinv.methods.classical.gaussian_prior import gaussian_prior_of
from physinv.methods.classical.minimise import STARTS, LeastSquares, Linearised, misses, sharpened, warn_of_misses
from physinv.methods.classical.record_objective import RecordObjective, SeenErrors, fit_seen_errors, frames_from
from physinv.methods.problem import NotApplicableError, RecordAnswer
from physinv.processes.simulator import Simulator, refine

_WINDOWS = 4  # steps in which the window grows backward
_SOFT = (8.0, 3.0, 1.0)  # errors of these steps, in units of their size; then of the whole window
_STATES, _FEWEST = 2**18, 16  # numbers of all states that laws at later times are fitted to, and fewest states
_RUNS = 200  # most of these
_TRIED, _LEAST_TRIED, _TRIED_NUMBERS = 16, 4, 2**13  # most and fewest rows of a trial, and numbers of the states of all
_ROUNDS, _ENOUGH, _NARROW = (
    4,
    0.98,
    0.95,
)  # most rounds of a draw; shares of its directions at which it ends, or is told


@dataclass(frozen=True)
class StrongConstraint(RecordAnswer):
    """The most probable initial state (``mean``) and draws of Laplace's Gaussian around it (``sample``).

    Args:
        forward: The noise-free solver, and the noise on the way as final states see it.
        prior: Coordinates of the prior.
        record: What is seen at which times.
        errors: What is seen of the noise on the way; None: the process has none.
        minimise: ``(objective, u) -> u``, such as :func:`~physinv.methods.classical.minimise.lbfgs`.
        draw: Iterations of conjugate gradients for each draw; a warning tells where they were too few.
        seed: Seed of the preconditioners.
    """

    forward: Forward
    prior: Coordinates
    record: ObservationRecord
    errors: SeenErrors | None
    minimise: Callable[[LeastSquares, Tensor], Tensor]
    draw: int
    seed: int = 0

    @property
    def tried(self) -> int:
        """On how many new trajectories draws are to be tried first: few of large states, which take as long each."""
        return max(_LEAST_TRIED, min(_TRIED, _TRIED_NUMBERS // self.prior.mean.numel()))

    def mean(self, final: Any) -> Float[Tensor, "batch *state"]:
        found = [(some, self._minimum(some)) for some in self.objectives(final)]
        _say_misses(found)
        return torch.cat([self._states(u) for _, u in found])

    def sample(
        self, final: Any, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        n = check_count(n, "n")
        check_generator(generator)
        parts, shares, minima = [], [], []
        for some in self.objectives(final):
            centre = self._minimum(some)
            minima.append((some, centre))
            near = some.preconditioned(centre, self._generator())
            u, every = centre.repeat_interleave(n, 0), replace(near, seen=near.seen.repeat_interleave(n, 0))
            for rows in torch.split(torch.arange(len(u), device=u.device), self.forward.at_once):
                local = replace(every, seen=every.seen[rows]).linearise(u[rows])
                prior, data = (
                    torch.randn(like.shape, generator=generator, dtype=u.dtype, device=u.device)
                    for like in (u[rows], local.residual)
                )
                wiggle, share = _drawn(local, prior + local.adjoint(data), self.draw)
                parts.append(self._states(u[rows] + wiggle))
                shares.append(share)
        found = torch.cat(parts)
        _say_misses(minima)
        _say(torch.cat(shares), self.prior.mean.numel())
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
        if self.errors is not None and max(as_times(times).tolist(), default=0) > 0:
            raise NotApplicableError(
                "states after the initial one need whole paths, which are for at most 1024 moving components; ask for "
                "time 0 alone, or take a smaller grid."
            )
        return frames_from(self.forward.simulator, times, lambda: self.sample(y, n, generator=generator))

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
        """The minimum of each row; of those that cannot be it the lower one of two ways."""
        u = self._backward(objective)
        off = misses(u, objective.residual(u), _seen(objective))
        if bool(off.any()):
            some = replace(objective, seen=objective.seen[off])
            other = self._sharpened(some)
            u[off] = torch.where(_better(some, other, u[off])[:, None], other, u[off])
        return u

    def _sharpened(self, objective: RecordObjective) -> Tensor:
        """The minimum that shrinking errors lead to over the whole window, from a draw of the prior."""
        generator, shape = self._generator(), (len(objective.seen), self.prior.mean.numel())
        draws = [torch.randn(shape, generator=generator, device=generator.device) for _ in range(STARTS)]
        draws = [u.to(objective.seen) for u in draws]
        return sharpened(
            objective.residual, draws, lambda soft, u: self._down(replace(objective, soft=soft), u, generator)
        )

    def _backward(self, objective: RecordObjective) -> Tensor:
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
    def _later_laws(self) -> list[tuple[float, Coordinates]]:
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
    prior: Coordinates,
    record: ObservationRecord,
    minimise: Callable[[LeastSquares, Tensor], Tensor],
    draw: int,
    *,
    seed: int = 0,
) -> StrongConstraint:
    """Return the variational answer to a record that seeks the initial state alone.

    Args:
        forward: The noise-free solver, and the noise on the way as final states see it.
        prior: Coordinates of the prior.
        record: What is seen at which times.
        minimise: How the minimum is sought.
        draw: Iterations of conjugate gradients for each draw.
        seed: Seed of preconditioners, and of the runs by which errors at times before the last are estimated.

    Returns:
        The answer, whose ``final`` are observed numbers.
    """
    return StrongConstraint(forward, prior, record, fit_seen_errors(forward, prior, record, seed), minimise, draw, seed)


def _seen(objective: RecordObjective) -> Tensor:
    """How many numbers of each row are observed."""
    return objective.seen.isfinite().sum(1)


def _say_misses(found: Sequence[tuple[RecordObjective, Tensor]]) -> None:
    """Warn of minima that are none of the posterior's."""
    residuals = torch.cat([some.residual(u).detach() for some, u in found])
    points, counts = torch.cat([u for _, u in found]), torch.cat([_seen(some) for some, _ in found])
    warn_of_misses(points, residuals, counts, "raise `iterations` or `outer`, or take mcmc")


def _better(objective: RecordObjective, u: Tensor, other: Tensor) -> Tensor:
    """Where the first point has the smaller value, finite."""
    return objective.value(u) < objective.value(other)


def _drawn(local: Linearised, right: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Solutions ``w`` of ``A w = b`` for ``b`` from ``N(0, A)``, which are draws from ``N(0, A^-1)``, and their width.

    ``w . b`` of a draw is chi-squared with as many degrees of freedom as there are directions, and each one that the
    iterations have not reached yet is missing in it: the mean over that number is the share that is right.
    """
    w, d = local.solve(right, iterations), right.shape[1]
    return w, (w * right).sum(1) / d


def _say(shares: Tensor, numbers: int) -> None:
    """Warn of draws that are too narrow."""
    chance = 2 * math.sqrt(2 / (numbers * len(shares)))
    if (share := float(shares.mean())) < _NARROW - chance:
        warnings.warn(
            f"draws of Laplace's Gaussian are too narrow: conjugate gradients have found {share:.0%} of their "
            "directions, the others are sharp and lack their width; raise `draw`.",
            stacklevel=3,
        )


@torch.no_grad()
def _back(simulator: Simulator, x: Tensor, later: float, earlier: float) -> Tensor:
    """States at an earlier time, by the noise-free physics run backward in the steps of the solver."""
    grid = refine(*simulator.intervals([earlier, later])).flip(0).tolist()
    for a, b in itertools.pairwise(grid):
        x = simulator.drift_flow(x, x.new_full((len(x),), a), x.new_full((len(x),), b))
    return x
