"""The choice among ways to draw, pools of grids of jumps and small steps, by draws for new observations.

The CRPS decides, and where it leaves a doubt whether intervals hold as many true values as they should.
"""

from __future__ import annotations

__all__ = ["DRAWS", "STEPS", "choose_ways", "clearly_better", "judges", "scores_of"]

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.evaluation.metrics import coverage, crps_map
from physinv.methods.problem import Answer, Problem

STEPS = "steps"
"""The way of small steps by the reverse SDE, beside the numbers of jumps of the grids."""

DRAWS = 16
"""Draws of each way for each observation that ways are compared on; fewer of large states."""

_LEAST_DRAWS = 4
_FEWEST, _MOST, _NUMBERS = 16, 500, 2**17  # such observations, and numbers in their draws
_FIRST = 32  # of them, after which small steps may be given up
_DOUBT = 2.0  # standard errors by which one way has to be better than another
_WORTH = 0.01  # share of an error by which it has to be better to be worth a higher cost
_LEVEL, _OFF, _SURE = 0.9, 0.03, 3.0  # of intervals, how far off they may be, and standard errors that tell it


@torch.no_grad()
def judges(problem: Problem, *, simulate: bool) -> tuple[Float[Tensor, "n *state"], Float[Tensor, "n *state"]]:
    """Return first and last states that no training has seen.

    Args:
        problem: The process and its data.
        simulate: Whether new ones may be simulated, so that there are enough; else they are of the validation split.

    Returns:
        Initial states, and what is seen of the final ones.
    """
    simulator, valid = problem.simulator, problem.valid
    count = min(max(_NUMBERS // (DRAWS * math.prod(valid.shape)), _FEWEST), _MOST)
    if not simulate or not simulator.startable:
        return valid.states(0, limit=count), valid.states(-1, limit=count)
    generator = seeds(problem.seed).child("method", "judges").generator(problem.device)
    x = simulator.initial(count, generator=generator, device=problem.device)
    states = simulator.run(x, valid.times, generator=generator)
    states = states[states.flatten(1).isfinite().all(1)]
    if not len(states):  # new trajectories diverge
        return judges(problem, simulate=False)
    if problem.observed is not None:
        states = problem.observed.estimated(states, generator=generator)
    return states[:, 0], states[:, -1]


def choose_ways(
    problem: Problem,
    truth: Float[Tensor, "n *state"],
    final: Float[Tensor, "n *state"],
    jumps: Mapping[str, Answer],
    steps: Answer,
) -> tuple[tuple[str, ...], dict[str, float]]:
    """Choose the pool of grids of jumps that scores best, or small steps where these are clearly better.

    Small steps cost much more than jumps.  They are drawn for more and more observations, until it is clear that they
    are not the better way.  They are better by a clearly lower CRPS, or by a lower one whose difference may be chance
    and 90 % intervals that are clearly nearer to what they should hold: of posteriors with several peaks a single jump
    can be too narrow at nearly the same CRPS.

    Args:
        problem: The process and its data.
        truth: True initial states of observations.
        final: The observations.
        jumps: What draws along each grid, by its number of jumps.
        steps: What draws by small steps.

    Returns:
        What draws are shared among, and the CRPS of every pool, in units of the deviation of ``x_0``.

    Raises:
        ValueError: If no samples are finite and near the data.
    """
    judge, drawn = _Judge(problem, truth, final), {}
    for way, answer in jumps.items():
        drawn[way] = judge.draws(answer, slice(None), judge.stream())
    fine = [way for way, x in drawn.items() if judge.fine(x)]
    pools = [pool for n in range(1, len(fine) + 1) for pool in itertools.combinations(fine, n)]
    scores = {ways: judge.crps([drawn[way] for way in ways]) for ways in pools}
    best = min(scores, key=lambda ways: float(scores[ways].mean()), default=(STEPS,))

    # Small steps, where they may be better than the best pool of jumps.
    drawn[STEPS], by_steps = judge.small_steps(steps, scores.get(best))
    if by_steps is not None:
        gain = scores[best][: len(by_steps)] - by_steps if best in scores else by_steps[:0]
        if _clear(gain) or (float(gain.sum()) > 0 and judge.holds_nearer(drawn[STEPS], [drawn[way] for way in best])):
            best = (STEPS,)
        scores[STEPS,] = by_steps
    if not scores:
        raise ValueError(_nowhere(drawn, judge.box))
    return best, {"+".join(ways): round(float(each.mean()), 5) for ways, each in scores.items()}


@torch.no_grad()
def scores_of(
    problem: Problem, truth: Float[Tensor, "n *state"], final: Float[Tensor, "n *state"], answer: Answer
) -> Float[Tensor, " n"]:
    """Return the CRPS of an answer for each observation, in units of the deviation of ``x_0``.

    Args:
        problem: The process and its data.
        truth: True initial states of observations.
        final: The observations.
        answer: What draws.
    """
    judge = _Judge(problem, truth, final)
    return judge.crps([judge.draws(answer, slice(None), judge.stream())])


def clearly_better(ours: Float[Tensor, " n"], theirs: Float[Tensor, " n"]) -> bool:
    """Return whether errors are smaller than others by two standard errors, and by enough to be worth it: by 1 %.

    Args:
        ours: Errors, one for each observation.
        theirs: Those of a rival, for the same observations.
    """
    gain = theirs.double() - ours.double()
    return _clear(gain - _WORTH * float(theirs.double().mean()))


class _Judge:
    """Scores of draws for observations whose truth is known."""

    def __init__(self, problem: Problem, truth: Tensor, final: Tensor) -> None:
        self.seed, self.truth, self.final, self.moving = problem.seed, truth, final, problem.train.layout.moving
        known = truth if len(truth) > 1 else problem.train.states(0).to(truth)  # one truth has no spread
        unit = problem.train.layout.pooled((known - known.mean(0)).square()).sqrt()
        self.unit, self.box = unit.clamp(min=torch.finfo(truth.dtype).tiny), _box(problem)
        self.count = max(_LEAST_DRAWS, min(DRAWS, _NUMBERS // truth.numel()))

    def stream(self) -> torch.Generator:
        return seeds(self.seed).child("method", "ways").generator(self.final.device)

    def draws(self, answer: Answer, rows: slice, generator: torch.Generator) -> Tensor:
        return answer.sample(self.final[rows], self.count, generator=generator)

    def crps(self, drawn: Sequence[Tensor]) -> Tensor:
        """CRPS of pooled draws for the first observations, in units of the deviation of ``x_0``."""
        pooled = torch.cat(list(drawn), 1)
        return self.moving(crps_map(pooled, self.truth[: len(pooled)]) / self.unit).flatten(1).mean(1)

    def fine(self, x: Tensor) -> bool:
        low, high = self.box
        return bool((x.isfinite() & (x >= low) & (x <= high)).all())

    def holds_nearer(self, ours: Tensor, theirs: Sequence[Tensor]) -> bool:
        """Whether 90 % intervals of draws are clearly nearer to holding that share than those of pooled ones are."""
        held = [self._held(x[: len(ours)]) for x in (ours, torch.cat(list(theirs), 1))]
        off = [abs(float(each.mean()) - _LEVEL) for each in held]
        error = float((held[0] - held[1]).std()) / math.sqrt(len(ours)) if len(ours) > 1 else math.inf
        return off[1] - off[0] > max(_OFF, _SURE * error)

    def _held(self, drawn: Tensor) -> Tensor:
        """For each of the first observations the share of its numbers that intervals hold."""
        x, y = self.moving(drawn), self.moving(self.truth[: len(drawn)])
        return torch.stack([coverage(a[None], b[None], _LEVEL) for a, b in zip(x, y, strict=True)])

    def small_steps(self, answer: Answer, rival: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Draws by small steps and their scores, none where some are far from the data."""
        generator, drawn = self.stream(), []
        for rows in _doubling(len(self.final)):
            drawn.append(self.draws(answer, rows, generator))
            if not self.fine(drawn[-1]):
                return torch.cat(drawn), None
            scores = self.crps([torch.cat(drawn)])
            if rival is not None and _clear(scores - rival[: len(scores)]):
                break
        return torch.cat(drawn), scores


def _doubling(n: int) -> Iterator[slice]:
    """Parts of n rows: 32, then as many as there were before."""
    done = 0
    while done < n:
        end = max(2 * done, _FIRST)
        yield slice(done, end)
        done = end


def _clear(gaps: Tensor) -> bool:
    """Whether differences are above 0 by more than twice the error of their mean, which a single one does not have."""
    if len(gaps) < 2:
        return False
    error = float(gaps.std()) / math.sqrt(len(gaps))
    return float(gaps.mean()) > _DOUBT * error


def _box(problem: Problem) -> tuple[Tensor | float, Tensor | float]:
    """What draws are expected in: of recorded data the range of initial states, widened by its size on each side."""
    if problem.simulator.startable:
        return -math.inf, math.inf
    x = problem.train.states(0).to(problem.device)
    return x.amin() - (x.amax() - x.amin()), x.amax() + (x.amax() - x.amin())


def _nowhere(drawn: Mapping[str, Tensor], box: tuple[Tensor | float, Tensor | float]) -> str:
    """Why no way is left: how many numbers are not finite, and how far the others go."""
    every = torch.cat([x.flatten() for x in drawn.values()])
    finite = every[every.isfinite()]
    far = f", the others reach from {float(finite.min()):.3g} to {float(finite.max()):.3g}" if len(finite) else ""
    low, high = (float(end) for end in box)
    near = f"; near the data is between {low:.3g} and {high:.3g}" if math.isfinite(low) else ""
    return (
        f"no samples of the trained model are finite and near the data: {1 - len(finite) / len(every):.0%} of their "
        f"numbers are not finite{far}{near}. The physics, run backward, amplifies errors, or does not explain these "
        "data: check its parameters, or compare the methods `increments` and `linear`."
    )
