"""Weak-constraint 4D-Var: the most probable path given a record of observations, and Laplace's law around it.

The minimum is sought over whole paths, ``x_0`` and the noise of every solver step
(:mod:`~physinv.methods.classical.monte_carlo.path`), so that any record fits: its likelihood is a sum over the entries.
It is sought in float64, since sensors may be sharp.  Exact where process and operators are linear and the initial
states Gaussian.

References:
    Tremolet (2006), Accounting for an imperfect model in 4D-Var.
"""

from __future__ import annotations

__all__ = ["WeakConstraint", "lowered", "weak_constraint"]

import math
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, check_count, check_generator
from physinv.config.seeds import seeds
from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.coordinates import PriorCoordinates, given_prior
from physinv.methods.classical.minimise import STARTS, lbfgs, misses, sharpened, warn_of_misses
from physinv.methods.classical.monte_carlo.laplace import Laplace, descend, linearise
from physinv.methods.classical.monte_carlo.path import PathModel, PathObjective, fit_path_model, gradients, values
from physinv.methods.classical.monte_carlo.starts import observable, starts
from physinv.methods.problem import RecordAnswer, RowsWarning
from physinv.posterior.several_times.frames import frames_at
from physinv.processes.simulator import Simulator

_TRIED, _FEWER = 48, 8  # new trajectories on which draws are tried; where a learned prior is solved for at every step
_LEAST_TRIED, _TRIED_NUMBERS = 4, 2**16  # fewest of these, and numbers of the paths of all
_NATS, _DRAWS = 1.0, 8  # spread of log densities from which it is told that they differ, and fewest draws that have one

Lower = Callable[[PathObjective, Tensor], Laplace]
"""Paths to begin with, to Laplace's approximation at a minimum below each."""


@dataclass(frozen=True)
class WeakConstraint(RecordAnswer):
    """The path of the largest density (``mean``) and draws of Laplace's Gaussian around it (``sample``).

    Args:
        model: Coordinates of the paths.
        record: What is seen at which times.
        lower: How the minimum is sought.
        seed: Seed of the second start.
    """

    model: PathModel
    record: ObservationRecord
    lower: Lower
    seed: int = 0

    @property
    def tried(self) -> int:
        """On how many new trajectories draws are to be tried first (:mod:`physinv.runs.sampling.tried`).

        They are few where a learned prior is solved for at every step, and where paths are long.
        """
        most = _TRIED if given_prior(self.model.law.gaussian) is None else _FEWER
        return max(_LEAST_TRIED, min(most, _TRIED_NUMBERS // self.model.numbers(whole=True)))

    def mean(self, final: Any) -> Float[Tensor, "batch *state"]:
        laws = self._laws(final, self.model)
        _say_misses(laws)
        return torch.cat([some.model.initial(law.centre, some.final) for some, law in laws]).to(_precision(final))

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        n, last = check_count(n, "n"), max(self.record.times)
        check_generator(generator)

        def inside(early: list[float]) -> Tensor:
            parts, off, laws = [], [], self._laws(y, self.model.through((*early, *self.record.times)))
            for some, law in laws:
                z = torch.randn(
                    (len(law.centre), n, law.centre.shape[1]),
                    generator=generator,
                    dtype=law.centre.dtype,
                    device=law.centre.device,
                )
                like, paths = some.final.repeat_interleave(n, 0), law.path(z).flatten(0, 1)
                states = some.model.states(paths, like, early)
                parts.append(states.reshape(len(z), n, *states.shape[1:]))
                off.append(values(some.repeated(n), paths).reshape(len(z), n) - z.double().square().sum(2) / 2)
            _say_misses(laws)
            _say(torch.cat(off))
            return torch.cat(parts)

        found = frames_at(self.model.simulator, times, last, inside, generator=generator)
        return found.to(_precision(y))

    def _laws(self, y: Any, model: PathModel) -> list[tuple[PathObjective, Laplace]]:
        """Laplace's approximation for each row, a few rows at a time, at the lower of the minima from two starts."""
        like = torch.zeros(1, *model.simulator.shape, dtype=torch.float64, device=model.whitening.device)
        generator = seeds(self.seed).child("method", "mean").generator(like.device)
        found = []
        for seen in torch.split(self.record.accepted(y, like), model.observations):
            objective = PathObjective(model, like.expand(len(seen), *like.shape[1:]), self.record, seen)
            minima = []
            for start in starts(model, objective.final, generator):
                u = model.law.standardise(start)
                rest = u.new_zeros((len(u), objective.numbers - u.shape[1]))
                minima.append(self.lower(objective, torch.cat([u, rest], 1)).centre)
            heights = torch.stack([values(objective, c) for c in minima])
            best = torch.stack(minima)[heights.argmin(0), torch.arange(len(seen), device=seen.device)]
            law = linearise(objective, best)
            off = misses(best, law.residual, seen.isfinite().sum(1)).nonzero()[:, 0]
            if len(off):
                best[off] = self._sharpened(objective.rows(off), best[off], generator)
                law = linearise(objective, best)
            found.append((objective, law))
        return found

    def _sharpened(self, objective: PathObjective, best: Tensor, generator: torch.Generator) -> Tensor:
        """The lower of these minima and others: those that shrinking errors lead to from draws of the prior."""
        rows, numbers = len(best), objective.model.law.numbers
        draws = [torch.randn((rows, numbers), generator=generator, device=best.device).to(best) for _ in range(STARTS)]
        rest = best.new_zeros((rows, best.shape[1] - numbers))

        def down(soft: float, c: Tensor) -> Tensor:
            return self.lower(replace(objective, degree=best.new_full((rows,), soft**-2)), c).centre

        other = sharpened(objective.residual, [torch.cat([u, rest], 1) for u in draws], down)
        return torch.where((values(objective, other) < values(objective, best))[:, None], other, best)


def weak_constraint(
    simulator: Simulator,
    observed: ObservationRecord | Observation,
    lower: Lower,
    prior: PriorCoordinates | None = None,
) -> WeakConstraint:
    """Return the variational answer to a record.

    Args:
        simulator: The process.
        observed: A record, or one observation of the final state.
        lower: How the minimum is sought, such as :func:`~physinv.methods.classical.monte_carlo.laplace.descend` with a
            number of steps, or :func:`lowered`.
        prior: A prior of initial states that is given; None: that of the process.

    Returns:
        The answer, whose ``final`` are observed numbers.

    Raises:
        NotApplicableError: Where paths have no density
            (:func:`~physinv.methods.classical.monte_carlo.path.fit_path_model`).
    """
    record = observable(simulator, observed)
    model = fit_path_model(simulator, prior=prior, generator=seeds(0).child("method", "paths").generator())
    return WeakConstraint(model.through(record.times), record, lower)


def lowered(objective: PathObjective, c: Float[Tensor, "batch D"], iterations: int, memory: int) -> Laplace:
    """Minimise the objective by L-BFGS, preconditioned with Laplace's covariance at the start.

    Args:
        objective: The objective, one row for each observation.
        c: Where to begin.
        iterations: Number of iterations.
        memory: Pairs of steps and gradient changes that are remembered.

    Returns:
        Laplace's approximation at the paths reached.
    """
    near = descend(objective, c, 0)
    cost = _Cost(objective, near)
    return replace(near, centre=lbfgs(cost, c, iterations=iterations, memory=memory))


def _say_misses(found: Sequence[tuple[PathObjective, Laplace]]) -> None:
    """Warn of minima that are none of the posterior's."""
    counts = torch.cat([some.seen.isfinite().sum(1) for some, _ in found if some.seen is not None])
    points, residuals = (
        torch.cat(part) for part in zip(*((law.centre, law.residual) for _, law in found), strict=True)
    )
    warn_of_misses(points, residuals, counts, "take mcmc")


def _say(off: Float[Tensor, "batch n"]) -> None:
    """Warn of records whose posterior is not the Gaussian: minus the log density of draws over it should not vary."""
    if off.shape[1] < _DRAWS:
        return
    spread = off.std(1).nan_to_num(math.inf, math.inf)
    if bool((spread > _NATS).any()):
        warnings.warn(RowsWarning(spread[spread > _NATS].tolist(), _not_gaussian), stacklevel=4)


def _not_gaussian(spread: Sequence[float]) -> str:
    """The sentence on records by the deviations of their log densities."""
    records = "1 record" if len(spread) == 1 else f"{len(spread)} records"
    return (
        f"the posterior is not nearly Gaussian for {records}: its log density over that of Laplace's Gaussian varies "
        f"by {statistics.median(spread):.2g} nats among draws in their median, up to {max(spread):.2g} (nothing: "
        "right); intervals and means may be off, take mcmc or importance."
    )


def _precision(y: Any) -> torch.dtype:
    """The precision of observed numbers, in which answers are returned."""
    return y.dtype if isinstance(y, Tensor) and y.is_floating_point() else torch.get_default_dtype()


@dataclass(frozen=True)
class _Cost:
    """The objective as L-BFGS asks for it."""

    objective: PathObjective
    near: Laplace

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return gradients(self.objective, u)

    def precondition(self, v: Tensor) -> Tensor:
        return self.near.power(v[:, None], 1.0)[:, 0]
