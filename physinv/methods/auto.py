"""The method that suits a process: candidates try a share of the budget, a proper score chooses, the best trains on.

Candidates are scored on validation data, by the fair CRPS and the fair energy score of their samples, both relative to
those of the linear estimate (Gneiting and Raftery 2007).  The linear estimate is always a candidate, so the choice is
never worse than it on these data, up to the standard error of the difference.
"""

from __future__ import annotations

__all__ = ["Chosen", "Trial", "fit_auto", "load_auto", "suited", "underlying"]

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.data.imports.windows import FEWEST_INDEPENDENT, independent
from physinv.equations.series import mean_error
from physinv.evaluation.metrics import crps_map, energy_score
from physinv.methods.problem import Answer, Problem
from physinv.methods.registry import fit_method, load_method, trains
from physinv.methods.reverse import ReverseAnswer
from physinv.methods.saving import Setup, loaded_by, notes_of, tensors_of

_LINEAR = "linear"
_NUMBERS = 2**13  # of all observations that candidates are scored on: drawing for them takes time
_FEWEST = 16  # observations all the same
_FAR = 2.0  # times the error of the linear estimate: a spread has no part in it
_FEW_PARTICLES = 4  # of particles: many of them are many cases, and a draw takes a sum over neighbours of each


@dataclass(frozen=True)
class Trial:
    """One candidate and its scores on validation data.

    Args:
        method: The candidate.
        share: Share of the budget that it was trained with; 0: it takes no training.
        crps: Fair CRPS per component; None: it failed.
        energy_score: Fair energy score of whole states.
        relative: Mean of both, each over that of the linear estimate.
        error: Standard error of the difference to the linear estimate, in the unit of ``relative``, from the CRPS.
        failed: Why it has no scores.
    """

    method: str
    share: float
    crps: float | None = None
    energy_score: float | None = None
    relative: float = math.inf
    error: float = 0.0
    failed: str = ""


@dataclass(frozen=True)
class Chosen(Answer):
    """The answer of the best candidate, with the figures that decided.

    Args:
        answer: The answer.
        method: Name of its method.
        trials: All candidates with their scores, in the order of the trials.
    """

    answer: Answer
    method: str
    trials: tuple[Trial, ...]

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        return self.answer.sample(final, n, generator=generator)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.answer.mean(final)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the answer."""
        return tensors_of(self.method, self.answer)

    def notes(self) -> dict[str, Any]:
        """Return the choice, the figures that decided, and what the answer says of itself."""
        figures = [{k: v for k, v in asdict(trial).items() if v not in (None, math.inf, "")} for trial in self.trials]
        return {"chosen": self.method, "trials": figures, "answer": notes_of(self.answer)}


def underlying(answer: Answer) -> Answer:
    """Return the answer behind a choice, with all that it can do; other answers as they are.

    Args:
        answer: Any answer.
    """
    return answer.answer if isinstance(answer, Chosen) else answer


def load_auto(
    setup: Setup,
    tensors: Mapping[str, Tensor],
    *,
    share: float = 0.2,
    candidates: tuple[str, ...] = (),
    observations: int = 200,
    draws: int = 8,
) -> Chosen:
    """Load the answer of the best candidate.

    Args:
        setup: What the run knows; its notes name the choice.
        tensors: What was fitted.
        share: Share of the budget that each candidate tried.
        candidates: The candidates.
        observations: Validation observations that they were scored on.
        draws: Samples of each.

    Returns:
        The answer.
    """
    notes = setup.notes
    answer = load_method(notes["chosen"], replace(setup, notes=notes["answer"]), tensors)
    return Chosen(answer, notes["chosen"], tuple(Trial(**trial) for trial in notes["trials"]))


@loaded_by(load_auto, partial=True)
def fit_auto(
    problem: Problem,
    *,
    share: float = 0.2,
    candidates: tuple[str, ...] = (),
    observations: int = 200,
    draws: int = 8,
) -> Chosen:
    """Try the candidates, train the best one afresh with the rest of the budget, and return the best answer of all.

    Args:
        problem: The process and its data.
        share: Share of the budget that each candidate tries; a single one gets all of it.
        candidates: Methods beside the linear estimate; none: those that :func:`suited` names.
        observations: Validation observations that candidates are scored on; fewer for large states.
        draws: Samples of each, at least 2.

    Returns:
        The best answer.

    Raises:
        ValueError: If ``share`` leaves nothing of the budget, or no candidate can be trained.
    """
    names = [name for name in candidates or suited(problem) if name != _LINEAR]
    trained = [name for name in names if trains(name)]
    share = share if len(trained) > 1 else 1.0  # a single one needs no trial
    if not 0 < share * len(trained) < 1 and len(trained) > 1:
        raise ValueError(
            f"`share` must be positive and leave something of the budget to the best of {len(trained)} candidates, "
            f"got {share}."
        )

    # The linear estimate, in whose scores all others are measured, then the candidates.
    problem.say("fit of the linear estimate")
    linear = fit_method(_LINEAR, problem)
    referee = _Referee(problem, linear, observations, draws)
    tried = [(referee.judge(_LINEAR, 0.0, linear), linear)]
    errors: list[ValueError] = []
    begun = 0.0
    for name in names:
        own = share if name in trained else 0.0
        try:
            part = problem if own in (0.0, 1.0) else problem.part(f"trial-{name}", share=own, begun=begun)
            answer = fit_method(name, part)
            problem.say("choice among the candidates")
            tried.append((referee.judge(name, own, answer), answer))
        except ValueError as error:  # it does not apply, or its training did not converge
            errors.append(error)
            tried.append((Trial(name, own, failed=str(error)), linear))
        begun += own
    if errors and len(errors) == len(names):
        raise errors[0]

    # The best of those that were trained, afresh with the rest.
    done = [trial for trial, _ in tried if trial.share and not trial.failed]
    rest = 1 - share * len(trained)
    if done and rest > 0:
        best = min(done, key=lambda trial: trial.relative).method
        answer = fit_method(best, problem.part(f"rest-{best}", share=rest, begun=begun))
        tried.append((referee.judge(best, rest, answer), answer))
    # The best of them; the linear estimate where it is better by more than the error of the difference, since among
    # equals the one with the right correlations is to be preferred.  Its spread is that of its errors on these very
    # data: of windows that all overlap the errors of the means decide, if they differ much.
    first, answer = min(tried[1:], key=lambda item: item[0].relative)
    few = independent(problem.valid.n_trajectories, problem.valid.config) < FEWEST_INDEPENDENT
    worse = first.relative - first.error > 1.0
    if first.failed or (worse and (not few or referee.missed(answer) > _FAR * referee.missed(linear))):
        first, answer = tried[0]
    return Chosen(answer, first.method, tuple(trial for trial, _ in tried))


def suited(problem: Problem) -> tuple[str, ...]:
    """Return the candidates that suit a process, beside the linear estimate.

    Of a known process it is physinv's own method alone: exact where the process is linear, and else made of jump
    kernels, to which a second candidate would cost half of their training.  Imported data are left to increments:
    learned physics, run backward, does worse than these on all recordings that were tried.  Where their physics is
    given, both are tried; where points are missing increments alone, which know about that.  Of recorded
    particles flow matching takes their place.

    Args:
        problem: The process and its data.

    Returns:
        Names of methods.
    """
    layout = problem.train.layout
    if not problem.simulator.startable:
        given = problem.simulator.known and not layout.mask
        if layout.positions:
            return ("flow-matching", "physinv") if given else ("flow-matching",)
        return ("increments", "physinv") if given else ("increments",)
    return ("physinv",)


class _Referee:
    """Scores answers on validation data, relative to the linear estimate."""

    def __init__(self, problem: Problem, linear: Answer, observations: int, draws: int) -> None:
        few = _FEW_PARTICLES if problem.train.layout.positions else _FEWEST
        n = min(observations, max(few, _NUMBERS // math.prod(problem.train.shape)))
        self.truth, self.final = (_spread(problem, i, n).to(problem.device) for i in (0, -1))
        self.problem, self.draws = problem, draws
        known = self.truth if len(self.truth) > 1 else problem.train.states(0).to(self.truth)  # one has no spread
        spread = problem.train.layout.pooled((known - known.mean(0)).square()).sqrt()
        self.spread = torch.where(spread > 0, spread, torch.ones_like(spread))
        found = self._scores(linear)
        self.unit = (1.0, 1.0) if found is None else (float(found[0].mean()), found[1])
        self.linear = None if found is None else found[0]

    def judge(self, name: str, share: float, answer: Answer) -> Trial:
        """The scores of an answer that was trained with this share of the budget."""
        scores = self._scores(answer)
        if scores is None:
            return Trial(name, share, failed="its samples are not finite")
        each, energy, *plain = scores
        both = (float(each.mean()), energy)
        relative = sum(s / u if u > 0 else math.inf for s, u in zip(both, self.unit, strict=True)) / len(both)
        gap = each - (each if self.linear is None else self.linear)
        error = float(mean_error(gap)) / self.unit[0] if self.unit[0] > 0 and len(gap) > 1 else 0.0
        return Trial(name, share, plain[0], plain[1], relative, error)

    @torch.no_grad()
    def missed(self, answer: Answer) -> float:
        """Mean modulus of the errors of the mean of an answer, in deviations of each channel or component."""
        gap = (answer.mean(self.final) - self.truth) / self.spread
        return float(self.problem.train.layout.scored(gap).abs().mean())

    @torch.no_grad()
    def _scores(self, answer: Answer) -> tuple[Tensor, float, float, float] | None:
        """Fair CRPS of each observation, and energy score, of what moves, in deviations of each channel or component,
        which may have units of their own, and in their units; every answer draws from the same stream.

        Newton's steps behind what was learned are dear, and were judged when they were chosen: what they are behind is
        scored.
        """
        answer = answer.learned if isinstance(answer, ReverseAnswer) else answer
        generator = seeds(self.problem.seed).child("method", "choice").generator(self.problem.device)
        samples = answer.sample(self.final, self.draws, generator=generator)
        if not bool(samples.isfinite().all()):
            return None
        scored = self.problem.train.layout.scored
        every = crps_map(samples, self.truth)
        plain, even = (
            float(energy_score(*(scored(x / unit) for x in (samples, self.truth))))
            for unit in (torch.ones_like(self.spread), self.spread)
        )
        return scored(every / self.spread).flatten(1).mean(1), even, float(scored(every).mean()), plain


def _spread(problem: Problem, time_index: int, n: int) -> Tensor:
    """States of the first validation trajectories; of recordings evenly over all, since neighbours are alike."""
    if problem.simulator.startable:
        return problem.valid.states(time_index, limit=n)
    states = problem.valid.states(time_index)
    return states[torch.linspace(0, len(states) - 1, min(n, len(states))).round().long()]
