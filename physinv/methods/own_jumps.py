"""physinv's own method for nonlinear processes: jump kernels beside the score model, chosen by a proper score."""

from __future__ import annotations

__all__ = ["JumpAnswer", "JumpDensity", "fit_jumps", "load_jumps"]

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.evaluation.metrics import crps_map
from physinv.methods.own_newton import FirstGuess, Newton, Tried, load_newton, try_newton
from physinv.methods.own_score import (
    OwnPosterior,
    begin_posterior,
    fit_posterior,
    load_posterior,
    load_values,
    mapped,
    train_posterior,
)
from physinv.methods.own_ways import DRAWS, STEPS, choose_ways, clearly_better, judges, scores_of
from physinv.methods.problem import Problem
from physinv.methods.saving import Setup, below, prefixed
from physinv.models.jumps.base import Jump, JumpKernel, jump_grids
from physinv.models.jumps.field import empty_field_jumps, fit_field_jumps
from physinv.models.jumps.particles import empty_particle_jumps, fit_particle_jumps
from physinv.models.jumps.vector import VectorJumps, empty_vector_jumps, fit_vector_jumps
from physinv.posterior.jumps import JumpPosterior
from physinv.posterior.posterior import Posterior
from physinv.posterior.weigh import Reversal

_HALF = 0.5  # of the budget: for the score model where its small steps are as likely to be the better way
_TRIAL = 0.15  # of the budget: of jump kernels at first, where that says which of the two gets more
_JUMPS, _FURTHER = "jumps", "jumps-further"  # folders of their training, and of more of it after a trial
_CHOICE = 0.05  # of the budget: left for the choice among jumps and small steps
_NEWTON = 0.3  # of the budget: meant for Newton's steps for a few observations
_JUDGES_OF_NEWTON = 16  # most observations that Newton's steps are judged on
_NUMBERS_OF_NEWTON, _FEWEST_OF_NEWTON = 2**15, 4  # numbers in their states, and fewest of them
_MEAN_DRAWS = 64
_PAIRS = 2**15  # numbers in the states that jump kernels are validated on


@dataclass(frozen=True)
class JumpAnswer(OwnPosterior):
    """The posterior by jump kernels, or by the small steps of a score model where these score better.

    Args:
        posterior: The posterior of the score model, which serves the probability flow in any case.
        kernel: The jump kernels.
        grids: The grids of jumps that draws may follow.
        ways: What the draws are shared among: numbers of jumps of grids such as ``"2"``, or ``"steps"`` alone.
        found: CRPS on validation observations of small steps and of all pools of grids, in units of the deviation of
            ``x_0``.
        seed: Seed of the draws that :meth:`mean` averages.
        newton: Steps with the known physics from the mean of these, and draws around their end; None: samples are what
            was learned.
        tried: The figures that decided about these steps; empty where they do not apply.
    """

    kernel: JumpKernel
    grids: Sequence[Sequence[Jump]]
    ways: tuple[str, ...]
    found: Mapping[str, float]
    seed: int
    newton: Newton | None = field(default=None, kw_only=True)
    tried: Mapping[str, float | int | str] = field(default_factory=dict, kw_only=True)

    @property
    def learned(self) -> JumpAnswer:
        return replace(self, newton=None)

    @property
    def steps(self) -> int | None:
        return super().steps if STEPS in self.ways and self.newton is None else None

    @property
    def reversal(self) -> Reversal:
        if self.newton is not None:
            raise ValueError("samples are drawn around the end of Newton's steps, along no chain.")
        return super().reversal if STEPS in self.ways else self.jumps

    @property
    def jumps(self) -> JumpPosterior:
        """The posterior along the grids that are in use."""
        return JumpPosterior(self.kernel, [grid for grid in self.grids if str(len(grid)) in self.ways])

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        if self.newton is not None:
            return self.newton.sample(final, n, generator=generator)
        if STEPS in self.ways:
            return super().sample(final, n, generator=generator)
        drawn = self.jumps.sample(final, n, generator=generator)
        return drawn if self.values is None else self.values(drawn)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the posterior mean: the end of Newton steps, else by the longest jump if in use, else of 64 draws.

        Args:
            final: Observed final states ``x_T``.
        """
        if self.newton is not None:
            return self.newton.mean(final)
        if "1" in self.ways:
            return self.jumps.mean(final)
        generator = seeds(self.seed).child("method", "mean").generator(final.device)
        return self.sample(final, _MEAN_DRAWS, generator=generator).mean(1)

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and tables of the score model and of the jump kernels."""
        found = prefixed("score", super().tensors()) | prefixed("jumps", dict(self.kernel.state_dict()))
        return found if self.newton is None else found | prefixed("newton", self.newton.tensors())

    def notes(self) -> dict[str, Any]:
        found = {**super().notes(), "model": "jumps", "ways": list(self.ways), "found": dict(self.found)}
        return found | {"newton": {"chosen": self.newton is not None, **self.tried}} if self.tried else found


@dataclass(frozen=True)
class JumpDensity(JumpAnswer):
    """The same for vectors, whose kernels have a density."""

    def log_prob(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, " batch"]:
        """Return ``log p(x_0 | x_T)`` by the kernel of the longest jump.

        Args:
            initial: Initial states ``x_0``.
            final: Final states ``x_T``.

        Returns:
            Log densities in nats, ``(batch,)``.
        """
        assert isinstance(self.kernel, VectorJumps)
        longest = torch.zeros(len(final), dtype=torch.int64, device=final.device)
        with torch.no_grad():
            return self.kernel.log_prob(initial, final, self.kernel.prepare(final, 0), longest)


@dataclass(frozen=True)
class KernelFamily:
    """What jump kernels of one kind of state are made of, and how they are trained.

    Args:
        fit: Builds them from data.
        empty: Builds them without data.
        grids: The grids that draws may follow, for a number of stored intervals.
        answer: The class of the answer.
        batch: Pairs per update, where the settings leave that open.
        rate: Learning rate, likewise.
        share: Share of the budget of the score model beside them.
        cheap: Whether new trajectories cost little beside the updates that see them.
    """

    fit: Callable[..., JumpKernel]
    empty: Callable[..., JumpKernel]
    grids: Callable[[int], list[list[Jump]]]
    answer: type[JumpAnswer]
    batch: int
    rate: float
    share: float
    cheap: bool = True


VECTORS = KernelFamily(fit_vector_jumps, empty_vector_jumps, jump_grids, JumpDensity, 512, 1e-2, 0.25)
"""Mixtures along grids of 1, 2 and 4 jumps."""

FIELDS = KernelFamily(fit_field_jumps, empty_field_jumps, lambda n: [[Jump(0, n)]], JumpAnswer, 32, 4e-3, 0.1)
"""Normal laws around a learned mean, in one jump."""

PARTICLES = KernelFamily(
    fit_particle_jumps, empty_particle_jumps, lambda n: [[Jump(0, n)]], JumpAnswer, 64, 4e-3, 0.1, cheap=False
)
"""Likewise, for every particle."""


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
    learned = _learned(problem.setup)
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


def load_jumps(setup: Setup, tensors: Mapping[str, Tensor]) -> JumpAnswer:
    """Load what :func:`fit_jumps` returned.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The posterior.
    """
    (family, settings), notes = _family(setup), setup.notes
    posterior, stream = load_posterior(setup, below("score", tensors)), seeds(setup.seed).child("jumps")
    kernel = family.empty(posterior.sde, setup.times, setup.layout, settings, seed=stream)
    kernel.load_state_dict(below("jumps", tensors))
    kernel = kernel.to(setup.device).eval()
    grids = family.grids(len(setup.times) - 1)
    answer = family.answer(posterior, kernel, grids, tuple(notes["ways"]), notes["found"], setup.seed)
    answer = replace(answer, values=load_values(setup, below("score", tensors)))

    tried = {key: value for key, value in notes.get("newton", {}).items() if key != "chosen"}
    newton = below("newton", tensors)
    if not newton:
        return replace(answer, tried=tried)
    start = _first_guess(answer, str(tried.get("start", STEPS)))
    return replace(answer, newton=load_newton(setup, newton, start), tried=tried)


def _family(setup: Setup) -> tuple[KernelFamily, Settings]:
    """What suits the states, and the settings with what they leave open."""
    family = PARTICLES if setup.layout.positions else FIELDS if setup.layout.space else VECTORS
    pairs = {
        "batch": family.batch,
        "rate": family.rate,
        "validate_windows": max(64, _PAIRS // math.prod(setup.layout.shape)),
    }
    left: dict[str, Any] = {k: v for k, v in pairs.items() if not getattr(setup.settings, k)}
    if setup.settings.fresh == "auto":
        cheap = setup.simulator.startable and setup.simulator.spin_up_time == 0
        left["fresh"] = "off" if _learned(setup) or not family.cheap else "states" if cheap else "noise"
    return family, setup.settings.model_copy(update=left | {"windows": (2,)})


class _Training:
    """The score model and the jump kernels of a process, trained by shares of one budget.

    Args:
        problem: The process and its data.

    Attributes:
        left: Share of the budget that is left.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.left = problem, 1 - _CHOICE
        self.family, self.settings = _family(problem.setup)
        self.stream = seeds(problem.seed).child("jumps")
        self.grids = self.family.grids(len(problem.train.times) - 1)
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
        seconds, start = None if budget is None else _NEWTON * budget, _first_guess(self.answer, way)
        tried = try_newton(problem, start, truth[:n], final[:n], seconds=seconds, generator=generator)
        self.left -= 0.0 if budget is None else (time.perf_counter() - begun) / budget
        return replace(tried, notes={**tried.notes, "start": way})

    @property
    def answer(self) -> JumpAnswer:
        """What is trained so far, as an answer without ways."""
        assert self.posterior is not None
        assert self.kernel is not None
        return self.family.answer(self.posterior, self.kernel, self.grids, (), {}, self.problem.seed)

    def ways(self, truth: Tensor, final: Tensor) -> tuple[tuple[str, ...], dict[str, float]]:
        """Small steps, or the best set of grids of jumps, judged by the CRPS of their draws; with all figures."""
        self.problem.say("choice between jumps and small steps")
        answer = self.answer
        along = {str(len(grid)): replace(answer, ways=(str(len(grid)),)) for grid in self.grids}
        return choose_ways(self.problem, truth, final, along, replace(answer, ways=(STEPS,)))

    def _part(self, name: str, share: float) -> Problem:
        """A share of the budget, at least that of a choice; training may have taken longer than it should."""
        part = self.problem.part(name, share=max(share, _CHOICE), begun=1 - _CHOICE - self.left)
        self.left -= share
        return part


@dataclass(frozen=True)
class _Steps:
    """The mean of the small steps, from which Newton's begin."""

    posterior: Posterior

    def mean(self, final: Tensor) -> Tensor:
        return self.posterior.mean_flow(final)


def _first_guess(answer: JumpAnswer, way: str) -> FirstGuess:
    """The mean of what was learned, in one of the two ways, from which Newton's steps begin."""
    return _Steps(answer.posterior) if way == STEPS else replace(answer, ways=(way,)).jumps


def _with_newton(answer: JumpAnswer, tried: Tried, problem: Problem, truth: Tensor, final: Tensor) -> JumpAnswer:
    """The answer, or Newton's steps where these score better."""
    if tried.newton is not None:
        n, layout = len(tried.scores), problem.train.layout
        generator = seeds(problem.seed).child("method", "newton").generator(problem.device)
        drawn = answer.sample(final[:n], DRAWS, generator=generator)
        tried = tried.compared(crps_map(layout.scored(drawn), layout.scored(truth[:n])).flatten(1).mean(1))
    return replace(answer, newton=tried.newton, tried=tried.notes)


def _learned(setup: Setup) -> bool:
    """Whether the physics comes from the data, which leaves nothing to simulate."""
    return not setup.simulator.known or setup.settings.physics == "learned"
