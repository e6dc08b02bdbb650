"""Training of physinv's own method for nonlinear processes: how one budget is shared, and what is kept."""

from __future__ import annotations

__all__ = ["fit_jumps"]

import math
import time
from dataclasses import replace
from typing import cast

from torch import Tensor

from physinv.config.seeds import seeds
from physinv.evaluation.metrics import crps_map
from physinv.methods.own.jumps import JumpAnswer, family_of, first_guess, physics_is_learned
from physinv.methods.own.newton import Tried, try_newton
from physinv.methods.own.score import atoms_of, begin_posterior, fit_posterior, mapped, train_posterior
from physinv.methods.own.ways import DRAWS, STEPS, choose_ways, clearly_better, judges, scores_of
from physinv.methods.problem import Problem
from physinv.models.jumps.base import JumpKernel
from physinv.posterior.posterior import Posterior

_HALF = 0.5  # of the budget: for the score model where its small steps are as likely to be the better way
_TRIAL = 0.15  # of the budget: of jump kernels at first, where that says which of the two gets more
_JUMPS, _FURTHER = "jumps", "jumps-further"  # folders of their training, and of more of it after a trial
_CHOICE = 0.05  # of the budget: left for the choice among jumps and small steps
_NEWTON = 0.3  # of the budget: meant for Newton's steps for a few observations
_JUDGES_OF_NEWTON = 16  # most observations that Newton's steps are judged on
_NUMBERS_OF_NEWTON, _FEWEST_OF_NEWTON = 2**15, 4  # numbers in their states, and fewest of them


def fit_jumps(problem: Problem) -> JumpAnswer:
    """Train a score model and jump kernels, and keep what scores best on validation observations.

    The observations are simulated anew where the simulator is known, so that there are enough of them to tell.  For
    fields in the plane or in space with known physics a short training of the jump kernels says which of the two gets
    more of the budget.

    Args:
        problem: The process and its data.

    Returns:
        The trained posterior.

    Raises:
        ValueError: If no samples are finite and near the data.
    """
    learned = physics_is_learned(problem.setup)
    truth, final = judges(problem, simulate=not learned)
    training, tried = _Training(problem), None
    share = training.family.share
    if learned or len(problem.train.layout.space) < 2:
        # Single numbers, and physics that has to be learned first: either may be better.
        training.score(_HALF if learned or problem.train.shape == (1,) else share)
        training.jumps(_JUMPS, training.left)
    elif training.jumps_lead(truth, final):
        tried = training.newton("1", truth, final)
        training.jumps(_FURTHER, training.left - share)
        training.score(share)
    else:
        training.score(_HALF)
        tried = training.newton(STEPS, truth, final)
        training.jumps(_FURTHER, training.left)
    problem.say("calibration (jumps)")
    answer = training.answer
    answer.kernel.finish(problem.valid, seed=training.stream)

    ways, found = training.ways(truth, final)
    answer = cast(JumpAnswer, mapped(replace(answer, ways=ways, found=found), problem))
    return answer if tried is None else _with_newton(answer, tried, problem, truth, final)


class _Training:
    """The score model and the jump kernels of a process, trained by shares of one budget.

    Args:
        problem: The process and its data.

    Attributes:
        left: Share of the budget that is left.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.choice = 0.0 if problem.budget.seconds is None else _CHOICE  # which takes time, and no updates
        self.left = 1 - self.choice
        self.family, self.settings = family_of(problem.setup)
        self.stream = seeds(problem.seed).child("jumps")
        self.grids = self.family.grids(len(problem.train.times) - 1)
        self.atoms = atoms_of(problem)
        self.posterior: Posterior | None = None
        self.kernel: JumpKernel | None = None  # built on top of the physics, which may have to be learned first

    def score(self, share: float) -> None:
        """Train the score model."""
        part = self._part("score", share)
        self.posterior = fit_posterior(part) if self.posterior is None else train_posterior(part, self.posterior)

    def jumps(self, name: str, share: float) -> None:
        """Train the jump kernels on top of the same physics, in a folder of this name."""
        self.build()
        part, answer = self._part(name, share), self.answer
        stream = self.stream if name == _JUMPS else self.stream.child("further")
        part.minimise_jumps(answer.kernel, answer.posterior.sde, self.settings, stream=stream)
        answer.kernel.eval()

    def build(self) -> None:
        """Fit the regressions of the jump kernels, once."""
        if self.kernel is None:
            assert self.posterior is not None
            self.problem.say("fit of the regressions (jumps)")
            kernel = self.family.fit(self.posterior.sde, self.problem.train, self.settings, seed=self.stream)
            self.kernel = kernel.to(self.problem.device).eval()

    def jumps_lead(self, truth: Tensor, final: Tensor) -> bool:
        """Train the jump kernels for a short time, and return whether they are to be trained further.

        They are if training has made their draws clearly better than the linear estimate, with which they begin, and
        if the small steps of the reference law, whose network is not trained, are not clearly better than they.
        """
        self.posterior = begin_posterior(self.problem, self.problem.simulator)
        self.build()
        before = scores_of(self.problem, truth, final, replace(self.answer, ways=("1",)))
        self.jumps(_JUMPS, _TRIAL)
        after = scores_of(self.problem, truth, final, replace(self.answer, ways=("1",)))
        return clearly_better(after, before) and STEPS not in self.ways(truth, final)[0]

    def newton(self, way: str, truth: Tensor, final: Tensor) -> Tried | None:
        """Newton's steps from the mean of one of the two; None: they are for whole final states with known physics."""
        problem, layout = self.problem, self.problem.train.layout
        if problem.simulator.unknown or layout.mask or problem.observed is not None or problem.settings.newton == "off":
            return None
        problem.say("Newton's steps")
        begun, budget = time.perf_counter(), problem.budget.seconds
        n = max(_NUMBERS_OF_NEWTON // math.prod(problem.train.shape), _FEWEST_OF_NEWTON)
        n = min(n, _JUDGES_OF_NEWTON, len(final))
        generator = seeds(problem.seed).child("method", "newton").generator(problem.device)
        seconds, start = None if budget is None else _NEWTON * budget, first_guess(self.answer, way)
        tried = try_newton(problem, start, truth[:n], final[:n], seconds=seconds, generator=generator)
        self.left -= 0.0 if budget is None else (time.perf_counter() - begun) / budget
        return replace(tried, notes={**tried.notes, "start": way})

    @property
    def answer(self) -> JumpAnswer:
        """What is trained so far, as an answer without ways."""
        assert self.posterior is not None
        assert self.kernel is not None
        kind = self.family.answer_of(self.atoms)
        grids = self.kernel.known(self.grids)
        return kind(self.posterior, self.kernel, grids, (), {}, self.problem.seed, values=self.atoms)

    def ways(self, truth: Tensor, final: Tensor) -> tuple[tuple[str, ...], dict[str, float]]:
        """Small steps, or the best set of grids of jumps, judged by the CRPS of their draws; with all figures."""
        self.problem.say("choice between jumps and small steps")
        answer = self.answer
        along = {str(len(grid)): replace(answer, ways=(str(len(grid)),)) for grid in answer.grids}
        return choose_ways(self.problem, truth, final, along, replace(answer, ways=(STEPS,)))

    def _part(self, name: str, share: float) -> Problem:
        """A share of the budget, at least that of a choice; training may have taken longer than it should."""
        part = self.problem.part(name, share=max(share, _CHOICE), begun=1 - self.choice - self.left)
        self.left -= share
        return part


def _with_newton(answer: JumpAnswer, tried: Tried, problem: Problem, truth: Tensor, final: Tensor) -> JumpAnswer:
    """The answer, or Newton's steps where these score better."""
    if tried.newton is not None:
        n, layout = len(tried.scores), problem.train.layout
        generator = seeds(problem.seed).child("method", "newton").generator(problem.device)
        drawn = answer.sample(final[:n], DRAWS, generator=generator)
        tried = tried.compared(crps_map(layout.scored(drawn), layout.scored(truth[:n])).flatten(1).mean(1))
    return replace(answer, newton=tried.newton, tried=tried.notes)
