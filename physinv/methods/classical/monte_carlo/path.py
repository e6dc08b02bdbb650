"""Paths of a process in whitened coordinates, and their density given the final state.

A path is fixed by ``c = (u, w)``: whitened coordinates ``u`` of ``x_0`` and the standard normal noise ``w`` of every
solver step but the last.  The last step adds Gaussian noise, so that

    -log p(c | x_T) = P(u) + |w|^2 / 2 + |r|^2 / 2,   r = C^(-1/2) (x_T - Phi(x_(M-1))),   C = q + eps^2 R

with ``Phi`` the last step without noise and ``q`` the covariance of its noise.  Nothing of a path is approximated but
the law of that step: exact for Euler's scheme, for others right up to terms of the order of its length, in one of M
steps.  Directions that the last step does not reach (positions, where noise acts on momenta; what is conserved) would
be seen without error.  They get ``eps = 3 %`` of the deviation of all noise accumulated from 0 to T, of covariance
``R``, so ``1e-3`` of the variance.  Linear processes take one exact step.  Where parameters are unknown, they are the
last numbers of ``u``, and ``C`` is that of each path (:mod:`~physinv.methods.classical.monte_carlo.unknown`).

Of a process without noise a path is ``u`` alone, and the final state counts as seen up to a thousandth of its
deviation.

Given a record of noisy observations at several times (:mod:`physinv.laws.record`), the last step has its noise in ``w``
as well, and ``r = (H x_t - y) / sigma`` for every number.
"""

from __future__ import annotations

__all__ = ["DENSE", "PathModel", "PathObjective", "fit_path_model", "gradients", "values"]

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.multiplicative import Multiplicative
from physinv.equations.sde import Linear
from physinv.equations.steps import Step, exponential
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.coordinates import PriorCoordinates
from physinv.methods.classical.monte_carlo.initial_law import InitialLaw, fit_initial_law
from physinv.methods.classical.monte_carlo.kernel import end_whitening
from physinv.methods.classical.monte_carlo.unknown.bend import Bend, LateEnd
from physinv.methods.classical.monte_carlo.unknown.end_noise import EndNoise
from physinv.methods.problem import NotApplicableError
from physinv.processes.simulator import Simulator, refine

_RUNS = 400  # trajectories from which the covariance of the accumulated noise is estimated
DENSE = 1024
"""Moving components up to which covariances are matrices, and paths are moved as a whole."""

_COPIES = 40  # of a state that a solver step records for its derivative
_NUMBERS = {"cpu": 2**27}  # recorded at once
_ELSEWHERE = 2**31


@dataclass(frozen=True)
class PathModel:
    """Coordinates of the paths of a process.

    Args:
        simulator: The process.
        law: The law of the initial states.
        grid: Ends of all solver steps, in units of time.
        whitening: ``C^(-1/2)`` of the last step, a matrix over the moving components.
        quiet: Whether the process has no noise, so that paths are fixed by their initial states.
        noise: ``C`` by unknown parameters, where it depends on them; None: ``whitening`` is that of all paths.
    """

    simulator: Simulator
    law: InitialLaw
    grid: tuple[float, ...]
    whitening: Float[Tensor, "d d"]
    quiet: bool = False
    noise: EndNoise | None = None

    @property
    def step(self) -> Step:
        """The solver step; exact for linear processes."""
        return exponential if isinstance(self.simulator, Linear) else self.simulator.step

    @property
    def at_once(self) -> int:
        """Rows whose solver steps are recorded at once, for derivatives."""
        numbers = _NUMBERS.get(self.whitening.device.type, _ELSEWHERE)
        layout = self.simulator.layout
        copies = max(_COPIES, layout.copies_per_step)
        return max(1, numbers // (copies * math.prod(layout.shape) * (len(self.grid) - 1)))

    @property
    def observations(self) -> int:
        """Observations whose derivatives are kept at once: matrices of a state times a path."""
        numbers = _NUMBERS.get(self.whitening.device.type, _ELSEWHERE)
        return max(1, numbers // (len(self.whitening) * self.numbers(whole=True)))

    def numbers(self, *, whole: bool) -> int:
        """Return the length of ``c``.

        Args:
            whole: Whether the last step has its noise in ``c`` too.

        Returns:
            The number of coordinates.
        """
        steps = 0 if self.quiet else len(self.grid) - (1 if whole else 2)
        return self.law.numbers + steps * self.step.draws * math.prod(self.simulator.shape)

    def initial(
        self, c: Float[Tensor, "batch D"], like: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, "batch *state"]:
        """Return the initial states of paths.

        Args:
            c: Coordinates of paths, or the first of them.
            like: Final states, whose static channels are copied.

        Returns:
            Initial states.
        """
        return self.law.root(c[:, : self.law.numbers], like)

    def end(self, c: Float[Tensor, "batch D"], like: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the final states of paths, differentiable; steps whose noise is not in ``c`` have none.

        Args:
            c: Coordinates of paths.
            like: Final states, whose static channels are copied.

        Returns:
            States at T.
        """
        return self.states(c, like, self.grid[-1:])[:, 0]

    def states(
        self, c: Float[Tensor, "batch D"], like: Float[Tensor, "batch *state"], times: Sequence[float]
    ) -> Float[Tensor, "batch time *state"]:
        """Return states of paths at some ends of solver steps, differentiable.

        Args:
            c: Coordinates of paths; steps whose noise is not in ``c`` have none.
            like: Final states, whose static channels are copied.
            times: Which, increasing.

        Returns:
            One state for each time.
        """
        x, shape = self.initial(c, like), (self.step.draws, *like.shape[1:])
        noise = () if self.quiet else c[:, self.law.numbers :].reshape(len(c), -1, *shape).unbind(1)
        still = c.new_zeros(()).expand(shape[0], *like.shape)
        found = [x] if self.grid[0] in times else []
        for (a, b), w in itertools.zip_longest(itertools.pairwise(self.grid), noise):
            dw = still if w is None else w.movedim(1, 0) * math.sqrt(b - a)
            x = self.step(self.simulator, x, x.new_full((len(x),), a), x.new_full((len(x),), b), dw)
            if b in times:
                found.append(x)
        return torch.stack(found, 1)

    def through(self, times: Sequence[float]) -> PathModel:
        """Return coordinates of paths that end at the last of some times, with ends of steps at all of them.

        Args:
            times: Times, 0 or later.

        Returns:
            The model; linear processes take one exact step from each to the next.

        Raises:
            NotApplicableError: If the process takes steps of one length only, and a time is not at the end of one.
        """
        first, last = self.grid[0], max(*times, self.grid[1])
        if isinstance(self.simulator, Linear):
            return replace(self, grid=tuple(sorted({first, last, *times})))

        # The steps of the process go on at their length where the times leave them.
        h = max(b - a for a, b in itertools.pairwise(self.grid))
        beyond = max(0, math.ceil((last - self.grid[-1]) / h - 1e-3))
        longer = [self.grid[-1] + (last - self.grid[-1]) * (i + 1) / beyond for i in range(beyond)]
        kept = [t for t in (*self.grid, *longer) if t < last and all(abs(t - s) > 1e-3 * h for s in times)]
        grid = sorted({first, last, *kept, *times})
        if self.simulator.fixed_step is not None and any(abs(t / h - round(t / h)) > 1e-3 for t in grid):
            raise NotApplicableError(
                f"the process takes steps of {h:g} and no others; observe it at multiples of that."
            )
        return replace(self, grid=tuple(grid))


@dataclass(frozen=True)
class Late:
    """Noise of the last steps, integrated out near a path: ``r`` stays Gaussian, of another mean and covariance.

    Args:
        noise: ``w_l`` of the path, at which the last steps are taken.
        shift: ``K_l w_l``, which the residual has too much there.
        whitening: ``(1 + K_l K_l^T)^(-1/2)``.
    """

    noise: Float[Tensor, "batch W"]
    shift: Float[Tensor, "batch r"]
    whitening: Float[Tensor, "batch r r"]


@dataclass(frozen=True)
class PathObjective:
    """Minus the log density of paths, in coordinates ``c``, given what is seen of their ends.

    Args:
        model: The coordinates.
        final: Final states; given a record, states of any value.
        record: What is seen at which times; None: all of ``final`` is seen.
        seen: The observed numbers of ``record``.
        late: Noise of the last steps that is integrated out.
        degree: Power to which the density of what is seen is raised, for each row; None: 1.
        bend: Shift of paths by their unknown parameters, which ``c`` do not have yet; None: none.
        end: The law of ends without the noise of the last steps by an unknown parameter; None: that noise is in ``c``.
    """

    model: PathModel
    final: Float[Tensor, "batch *state"]
    record: ObservationRecord | None = None
    seen: Float[Tensor, "batch seen"] | None = None
    late: Late | None = None
    degree: Float[Tensor, " batch"] | None = None
    bend: Bend | None = None
    end: LateEnd | None = None

    @property
    def numbers(self) -> int:
        """The number of coordinates ``D``."""
        every = self.model.numbers(whole=self.record is not None)
        every -= 0 if self.end is None else self.end.noise
        return every if self.late is None else every - self.late.noise.shape[1]

    def shifted(self, c: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
        """Return the coordinates of paths themselves.

        Args:
            c: Those that the objective takes, or the first of them.
        """
        return c if self.bend is None else c + self.bend.shift(c)

    def residual(self, c: Float[Tensor, "batch D"]) -> Float[Tensor, "batch r"]:
        """Return what a path misses, standard normal at the truth; differentiable.

        Args:
            c: Coordinates of paths.

        Returns:
            Flat vectors.
        """
        if self.bend is not None:
            return replace(self, bend=None).residual(self.shifted(c))
        if self.degree is not None:
            return self.degree.sqrt()[:, None] * replace(self, degree=None).residual(c)
        if self.late is not None:
            r = replace(self, late=None).residual(torch.cat([c, self.late.noise], 1))
            return torch.bmm(self.late.whitening, (r - self.late.shift)[:, :, None])[:, :, 0]
        if self.record is not None and self.seen is not None:
            states = self.model.states(c, self.final, self.record.times)
            level = self.model.law.level(c[:, : self.model.law.numbers])
            r = self.record.residual(self.seen, states, level)
            return r if level is None else torch.cat([r, self._widened(level)[:, None]], 1)
        gap = self.model.simulator.layout.moving(self.model.end(c, self.final) - self.final).flatten(1)
        end = self.end or self.model.noise
        return gap @ self.model.whitening.to(gap).T if end is None else end.whitened(gap, c)

    def value(self, c: Float[Tensor, "batch D"]) -> Float[Tensor, " batch"]:
        """Return minus the log density up to a constant, summed in float64; differentiable.

        Args:
            c: Coordinates of paths.

        Returns:
            One number for each row.
        """
        if self.bend is not None:
            return replace(self, bend=None).value(self.shifted(c))
        d = self.model.law.numbers
        squares = c[:, d:].double().square().sum(1) + self.residual(c).double().square().sum(1)
        if self.record is None and (end := self.end or self.model.noise) is not None:
            squares = squares + 2 * end.log_scale(c)  # the normalisation, which depends on the parameters
        return self.model.law.penalty(c[:, :d], self.final) + squares / 2

    def _widened(self, level: Tensor) -> Tensor:
        """The normalisation of n numbers whose noise has an unknown level, ``n log level``, as half of a square."""
        assert self.record is not None
        assert self.record.level is not None
        assert self.seen is not None
        count = self.seen.isfinite().sum(1)
        return (1 + 2 * count * (level / self.record.level.support[0]).clamp(min=1).log()).sqrt()

    def rows(self, index: Tensor | slice) -> PathObjective:
        """Return the objective of some observations.

        Args:
            index: Which.

        Returns:
            The same for these.
        """
        late = self.late and Late(self.late.noise[index], self.late.shift[index], self.late.whitening[index])
        seen, degree = (None if v is None else v[index] for v in (self.seen, self.degree))
        bend, end = self.bend and self.bend.rows(index), self.end and self.end.rows(index)
        return replace(self, final=self.final[index], seen=seen, late=late, degree=degree, bend=bend, end=end)

    def repeated(self, n: int) -> PathObjective:
        """Return the objective of each observation n times, one after the other.

        Args:
            n: How often.

        Returns:
            The same for n rows an observation.
        """
        return self.rows(torch.arange(len(self.final), device=self.final.device).repeat_interleave(n))


@torch.no_grad()
def values(objective: PathObjective, c: Float[Tensor, "batch D"]) -> Float[Tensor, " batch"]:
    """Return values of the objective, infinite where the solver diverges.

    Args:
        objective: The objective.
        c: Coordinates.

    Returns:
        One number for each row.
    """
    return objective.value(c).nan_to_num(math.inf, math.inf)


@torch.enable_grad()
def gradients(
    objective: PathObjective, c: Float[Tensor, "batch D"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch D"]]:
    """Return values and gradients of the objective, in chunks that suit the memory.

    Args:
        objective: The objective.
        c: Coordinates.

    Returns:
        One value and one gradient for each row.
    """
    found, slopes, size = [], [], objective.model.at_once
    for at in range(0, len(c), size):
        x = c[at : at + size].detach().requires_grad_()
        value = objective.rows(slice(at, at + size)).value(x)
        slopes.append(torch.autograd.grad(value.sum(), x)[0])
        found.append(value.detach())
    return torch.cat(found).nan_to_num(math.inf, math.inf), torch.cat(slopes)


@torch.no_grad()
def fit_path_model(
    simulator: Simulator,
    *,
    substeps: int | None = None,
    prior: PriorCoordinates | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> PathModel:
    """Fit the coordinates of paths to runs of the process itself; no data are needed.

    Args:
        simulator: The process.
        substeps: Solver steps between stored times; None: as many as the process takes.
        prior: A prior of initial states that is given; None: that of the process.
        generator: Source of the runs, on ``device``.
        device: Where to compute.

    Returns:
        The coordinates.

    Raises:
        NotApplicableError: For processes without physics, with noise that depends on the state, with more than 1024
            moving components, or with initial states of unknown density.
    """
    if not simulator.known:
        raise NotApplicableError("the physics must be known to run paths; these data come without any.")
    if isinstance(simulator, Multiplicative):
        raise NotApplicableError("the noise depends on the state; take coordinates y = int dx / g.")
    like = torch.zeros((1, *simulator.shape), dtype=torch.float64, device=device)
    d = simulator.layout.moving(like).numel()
    if d > DENSE:
        raise NotApplicableError(f"a state must have at most {DENSE} moving components, got {d}; take a smaller grid.")

    # The solver steps that the data were made with.
    times, counts = simulator.intervals()
    counts = counts if substeps is None else [substeps] * len(counts)
    linear = isinstance(simulator, Linear)
    grid = times[[0, -1]].tolist() if linear else refine(times, counts).tolist()
    draw = simulator.initial if prior is None else partial(InitialLaw(prior).draw, simulator)
    begin = partial(draw, _RUNS, generator=generator, device=device)
    whitening, quiet, noise = end_whitening(simulator, grid[-2:], begin, like, generator=generator)
    law = fit_initial_law(simulator, prior=prior, generator=generator, device=device)
    return PathModel(simulator, law, tuple(grid), whitening, quiet, noise)
