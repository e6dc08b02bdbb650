"""Path-space Monte Carlo: draws of ``p(x_0 | x_T)`` that are exact up to the length of the chains.

Chains of Hamiltonian Monte Carlo move whole paths, ``x_0`` and the noise of every solver step, given their end
(:mod:`~physinv.methods.classical.monte_carlo.path`).  For small states each chain is a population that was annealed
from the prior (:mod:`~physinv.methods.classical.monte_carlo.annealed`).  Those of fields begin around two minima, found
from different starts, wider apart than the posterior; step lengths and the reference are adapted before any draw is
kept.  R-hat and the effective number of draws of every component of ``x_0`` are computed and demanded: observations
that fall short go on, and those that still do in the end are named by a warning.
"""

from __future__ import annotations

__all__ = ["PathPosterior", "fit_mcmc", "load_mcmc"]

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, check_count
from physinv.config.seeds import seeds
from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.coordinates import PriorCoordinates, given_prior
from physinv.methods.classical.monte_carlo.annealed import anneal
from physinv.methods.classical.monte_carlo.chain import Walk, leaps_of, walk
from physinv.methods.classical.monte_carlo.diagnostics import (
    Explored,
    effective_draws,
    joined,
    merged,
    r_hat,
    warn_of_short,
)
from physinv.methods.classical.monte_carlo.initial_law import LawWithNoise
from physinv.methods.classical.monte_carlo.laplace import Laplace, linearise
from physinv.methods.classical.monte_carlo.path import PathModel, PathObjective, fit_path_model
from physinv.methods.classical.monte_carlo.starts import (
    HIGH,
    around_minima,
    around_samples,
    observable,
    rescued,
    seen_process,
    starts,
)
from physinv.methods.classical.variational import Variational, fit_gauss_newton, load_gauss_newton
from physinv.methods.problem import Answer, Problem
from physinv.methods.saving import Setup, loaded_by
from physinv.posterior.several_times.frames import frames_at
from physinv.processes.varying import Varying

_BEGIN = 0.3  # length of the first steps
_SHORT, _TRIED = 150, 16  # draws of a chain below which they are tried on new trajectories, and on how many
_SMALL, _SEEN, _PARTICLES = 40, 256, 64  # components up to which populations are annealed (records), and their paths
_SHORTEST = 8  # iterations of a population between two looks
_NUMBERS = 2**26  # coordinates of particles that are moved at once


@dataclass(frozen=True)
class PathPosterior(Answer):
    """The posterior of Monte Carlo over paths.

    Args:
        model: Coordinates of the paths.
        guess: The estimate around which minima are sought, where final states are seen whole; None: only records are
            answered.
        chains: Chains for each observation.
        iterations: Iterations between two looks at the diagnostics, of four gradients each.
        warm_up: Iterations before the first draw.
        most: How many times ``iterations`` an observation may take.
        seed: Seed of the draws behind :meth:`mean`.
        late: Share of the steps, the last ones, whose noise is integrated out after linearisation.
        particles: Paths of the population that each chain is, annealed from the prior; 0: one path, around minima.
        of_records: The same for answers to records.
        record: What is seen at which times; None: final states are seen whole.
        frames: Times whose states :meth:`explore` draws; none: initial states.
    """

    model: PathModel
    guess: Variational | None
    chains: int
    iterations: int
    warm_up: int
    most: int
    seed: int
    late: float = 0.0
    particles: int = 0
    of_records: int = 0
    record: ObservationRecord | None = None
    frames: tuple[float, ...] = ()

    @property
    def joint(self) -> bool:
        """Whether parameters are drawn together with the states; those of final states do not count then."""
        return bool(self.model.simulator.unknown)

    @property
    def tried(self) -> int:
        """On how many new trajectories draws are to be tried first: those of chains too short to tell how they are."""
        return _TRIED if max(1, self.particles) * self.iterations * self.most < _SHORT else 0

    def given(self, observed: ObservationRecord | Observation) -> PathPosterior:
        """Return the posterior given noisy observations ``y``, at one or several times.

        Args:
            observed: A record, or one observation of the final state.

        Returns:
            An answer whose ``final`` are observed numbers, one row for each trajectory, NaN where one is missing; the
            level of an unknown noise is a static part of its states.

        Raises:
            NotApplicableError: For static channels, which ``y`` does not tell.
        """
        record = observable(self.model.simulator, observed, joint=True)
        law = self.model.law
        if record.level is not None:
            law = LawWithNoise(law.gaussian, law=law, prior=record.level)
        model = replace(self.model.through(record.times), law=law)
        return replace(self, model=model, record=record, particles=self.particles or self.of_records)

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        """Draw trajectories given a record: smoothed up to its last time, forecasts from there on.

        Args:
            y: Observed numbers, a row for each record; NaN where one is missing.
            n: Draws for each row, evenly from its chains.
            times: Times, 0 or later; those after the last of the record are forecasts.
            generator: Source of randomness.

        Returns:
            One trajectory for each draw.

        Raises:
            ValueError: If there is no record.
        """
        if self.record is None:
            raise ValueError("`record` must be given for trajectories; say given(record) first.")
        seen = self.record.times

        def inside(early: list[float]) -> Tensor:
            model = self.model.through((*early, *seen))
            return replace(self, model=model, frames=tuple(early), late=0.0).sample(y, n, generator=generator)

        process = seen_process(self.model.simulator, self.record)
        return frames_at(process, times, max(seen), inside, generator=generator)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the first guess; the model of the paths follows from process and seed."""
        return {} if self.guess is None else self.guess.tensors()

    def sample(
        self, final: Float[Tensor, "batch *seen"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        if n < 1:
            raise ValueError(f"`n` must be at least 1, got {n}.")
        wanted = max(self.iterations, -(-n // self.chains))
        return replace(self, iterations=wanted).explore(final, generator=generator).thinned(n)

    def mean(self, final: Float[Tensor, "batch *seen"]) -> Float[Tensor, "batch *state"]:
        generator = seeds(self.seed).child("method", "mean").generator(final.device)
        return self.explore(final, generator=generator).draws.mean((1, 2))

    @torch.no_grad()
    def explore(
        self,
        final: Float[Tensor, "batch *seen"],
        *,
        begin: Float[Tensor, "batch chains *state"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Explored:
        """Run the chains of all observations until they have converged, or as long as they may.

        Args:
            final: Observed final states ``x_T``, or observed numbers.
            begin: Initial states at which chains begin, samples of another method: one for each chain, of which there
                may be others than ``chains`` then.  None: around minima, or from the prior.
            generator: Source of randomness.

        Returns:
            Draws with their diagnostics; a warning says how many observations fall short, and by how much.

        Raises:
            ValueError: If ``begin`` has fewer than two states for each observation.
        """
        if begin is not None:
            if begin.shape[:1] != final.shape[:1] or begin.shape[1] < 2:
                raise ValueError(
                    f"`begin` must hold two states or more for each of {len(final)} observations, got "
                    f"{tuple(begin.shape)}."
                )
            self = replace(self, chains=begin.shape[1], particles=0)
        if self.record is not None:
            final = self.record.accepted(final, final.new_zeros((1, *self.model.simulator.shape)))
        size = self.model.observations
        if self.particles:
            coordinates = self.model.numbers(whole=True) * self.chains * self.particles
            coordinates *= self._iterations(self.most - 1) if self.frames else 1  # whole paths are kept of each
            size = max(1, min(size, _NUMBERS // coordinates))
        parts = torch.split(torch.arange(len(final), device=final.device), size)
        found = joined([self._explored(final[i], None if begin is None else begin[i], generator) for i in parts])
        warn_of_short(found, particles=bool(self.particles))
        return found

    def _explored(self, final: Tensor, samples: Tensor | None, generator: torch.Generator | None) -> Explored:
        """Chains of a few observations, for longer where they fall short."""
        if self.particles:
            objective, reference, xi, lengths = self._annealed(final, generator)
        else:
            objective, reference, xi, lengths = self._adapted(*self._begun(final, samples, generator), generator)
        leaps, going = leaps_of(lengths), torch.arange(len(final), device=xi.device)
        found: Explored | None = None
        for block in range(self.most):
            some, near, kept = objective.rows(going), reference.at(going), objective.numbers if self.frames else None
            now = walk(some, near, xi, lengths, self._iterations(block), leaps=leaps, kept=kept, generator=generator)
            part = self._told(now, some)
            found = part if found is None else merged(found, part, going)
            left = part.short.nonzero()[:, 0]
            if not len(left):
                break
            going, xi, lengths = going[left], now.xi[left], now.lengths[left]
        assert found is not None  # `most` is 1 or more
        return found

    def _iterations(self, look: int) -> int:
        """Iterations before a look at the diagnostics: twice as many each time, from the second on."""
        least = max(-(-self.iterations // self.particles), _SHORTEST) if self.particles else self.iterations
        return int(least * 2 ** max(0, look - 1))

    def _annealed(
        self, final: Tensor, generator: torch.Generator | None
    ) -> tuple[PathObjective, Laplace, Tensor, Tensor]:
        """Populations that came down from the prior."""
        objective = self._objective(final)
        found = anneal(objective, self.chains, self.particles, generator=generator)
        reference = linearise(objective, found.paths.mean(1))
        return objective, reference, reference.whiten(found.paths), found.lengths

    def _begun(
        self, final: Tensor, samples: Tensor | None, generator: torch.Generator | None
    ) -> tuple[PathObjective, Laplace, Tensor]:
        """Chains that begin at samples, or around two minima."""
        objective = self._objective(final)
        if samples is not None:
            return around_samples(objective, samples, self.late, generator=generator)
        candidates = self._starts(objective.final, generator)
        return around_minima(objective, candidates, self.chains, self.late, generator=generator)

    def _adapted(
        self, objective: PathObjective, reference: Laplace, xi: Tensor, generator: torch.Generator | None
    ) -> tuple[PathObjective, Laplace, Tensor, Tensor]:
        """Chains after a warm-up."""
        lengths = xi.new_full((len(xi),), _BEGIN)

        # Adapt: step lengths, then the reference, which moves to the middle of the chains.  Chains that are still far
        # above the best one, in minima without weight, go on from there.
        warm = walk(objective, reference, xi, lengths, self.warm_up, adapt=True, generator=generator)
        low = warm.level < warm.level.amin(1, keepdim=True) + HIGH
        mean = (warm.mean * low[..., None]).sum(1, keepdim=True) / low.sum(1)[:, None, None]
        middle = linearise(objective, reference.path(mean)[:, 0])
        xi = middle.whiten(reference.path(rescued(warm.xi, warm.level, low)))
        reference, leaps = middle, leaps_of(warm.lengths)
        now = walk(objective, reference, xi, warm.lengths, self.warm_up, leaps=leaps, adapt=True, generator=generator)
        return objective, reference, now.xi, now.lengths

    def _objective(self, final: Tensor) -> PathObjective:
        """Minus the log density of paths given final states, or given the numbers of a record."""
        if self.record is None:
            return PathObjective(self.model, final)
        whole = final.new_zeros((len(final), *self.model.simulator.shape))
        return PathObjective(self.model, whole, self.record, final)

    def _starts(self, final: Tensor, generator: torch.Generator | None) -> list[Tensor]:
        """Initial states from which minima are sought: an estimate and a draw, the better guess first."""
        if self.record is None and self.guess is not None:  # the minimum without noise on the way, a draw around it
            return [self.guess.mean(final), self.guess.sample(final, 1, generator=generator)[:, 0]]
        return starts(self.model, final, generator)

    def _told(self, walked: Walk, objective: PathObjective) -> Explored:
        """Initial states of chains, or states at other times, with diagnostics of their moving components."""
        batch, _, n, d = walked.firsts.shape
        chains, n = self.chains, n * max(1, self.particles)  # a population is one chain
        like, c = objective.final.repeat_interleave(chains * n, 0), walked.firsts.reshape(-1, d)
        states = self.model.states(c, like, self.frames) if self.frames else self.model.initial(c, like)
        every = states.flatten(0, 1) if self.frames else states
        moving, law = self.model.simulator.layout.moving(every).reshape(batch, chains, n, -1), self.model.law
        if law.numbers > law.gaussian.mean.numel():  # the unknowns as well, by their standard normal numbers
            unknown = c[:, law.gaussian.mean.numel() : law.numbers]
            moving = torch.cat([moving, unknown.reshape(batch, chains, n, -1)], -1)
        process, level = seen_process(self.model.simulator, self.record), law.level(c[:, : law.numbers])
        if level is not None and isinstance(process, Varying):
            every = process.joined(every, level.repeat_interleave(max(1, len(self.frames)))[:, None])
            states = every.reshape(*states.shape[: 1 + bool(self.frames)], *process.shape)
        worst, least = r_hat(moving).amax(1), effective_draws(moving).amin(1)
        return Explored(states.reshape(batch, chains, n, *states.shape[1:]), worst, least, walked.accepted)


def load_mcmc(
    setup: Setup,
    tensors: Mapping[str, Tensor],
    *,
    chains: int = 4,
    iterations: int = 150,
    warm_up: int = 40,
    most: int = 4,
    late: float = 0.0,
    substeps: int | None = None,
    particles: int | None = None,
) -> PathPosterior:
    """Load Monte Carlo over the paths of a process.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        chains: Chains for each observation.
        iterations: Iterations between two looks at the diagnostics.
        warm_up: Iterations before the first draw.
        most: Looks at the diagnostics.
        late: Share of the solver steps whose noise is integrated out.
        substeps: Solver steps between stored times; None: as many as the process takes.
        particles: Paths of the population that each chain is.

    Returns:
        The posterior, ready for observations.
    """
    guess, model = replace(load_gauss_newton(setup, tensors), told=False), _paths(setup, substeps)
    counts = _counts(model, particles, late)
    return PathPosterior(model, guess, chains, iterations, warm_up, most, setup.seed, late, *counts)


@loaded_by(load_mcmc, trains=False, prior=True)
def fit_mcmc(
    problem: Problem,
    *,
    chains: int = 4,
    iterations: int = 150,
    warm_up: int = 40,
    most: int = 4,
    late: float = 0.0,
    substeps: int | None = None,
    particles: int | None = None,
) -> PathPosterior:
    """Prepare Monte Carlo over the paths of a process: exact draws, at the price of thousands of simulations each.

    Args:
        problem: The process, and data for the first guesses of minima.
        chains: Chains for each observation, 2 or more.
        iterations: Iterations between two looks at the diagnostics, of four gradients each.
        warm_up: Iterations before the first draw.
        most: Looks at the diagnostics; observations that fall short go on until the last, with twice as many
            iterations from the third on.
        late: Share of the solver steps, the last ones, whose noise is integrated out after linearisation; the chains
            of fields mix faster with .25, those of an unknown parameter with 1, and little else changes.
        substeps: Solver steps between stored times; None: as many as the process takes.
        particles: Paths of the population that each chain is, annealed from the prior, for several modes or
            strong bends. 0: one path a chain, from minima. None: 64 up to 40 numbers (records: 256), else 0.

    Returns:
        The posterior, ready for observations.

    Raises:
        ValueError: If ``chains`` is less than 2, another number less than 1 (``particles``: less than 0),
            ``late`` is no share, or both ``late`` and ``particles`` are asked for.
        NotApplicableError: Where paths have no density
            (:func:`~physinv.methods.classical.monte_carlo.path.fit_path_model`).
    """
    for name, value, least in (("chains", chains, 2), ("iterations", iterations, 4), ("warm_up", warm_up, 1)):
        check_count(value, name, least)
    for name, value in (("most", most), ("substeps", 1 if substeps is None else substeps)):
        check_count(value, name)
    if not 0 <= late <= 1:
        raise ValueError(f"`late` must be a share, from 0 to 1, got {late}.")
    guess = replace(fit_gauss_newton(problem), told=False)
    model = _paths(problem.setup, substeps, given_prior(guess.prior))
    counts = _counts(model, particles, late)
    return PathPosterior(model, guess, chains, iterations, warm_up, most, problem.seed, late, *counts)


def _counts(model: PathModel, particles: int | None, late: float) -> tuple[int, int]:
    """Particles of each population, given whole final states and given records, whose noise is easier to follow."""
    if particles is None:
        d = float("inf") if late else len(model.whitening)
        return _PARTICLES * (d <= _SMALL), _PARTICLES * (d <= _SEEN)
    if particles < 0:
        raise ValueError(f"`particles` must be 0 or more, got {particles}.")
    if particles and late:
        raise ValueError(f"`late` must be 0 where `particles` are annealed, got {late}; leave one of them out.")
    return particles, particles


def _paths(setup: Setup, substeps: int | None, prior: PriorCoordinates | None = None) -> PathModel:
    """Coordinates of the paths, the same for the same process and seed."""
    generator = seeds(setup.seed).child("method", "paths").generator(setup.device)
    return fit_path_model(setup.simulator, substeps=substeps, prior=prior, generator=generator, device=setup.device)
