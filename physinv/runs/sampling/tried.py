"""Answers to records, tried on new trajectories: what their intervals hold, and that they are no worse than the prior.

Most answers to records are approximations whose errors nothing about their draws shows: a score that is not learned
well, a Gaussian around one of two minima.  Where new trajectories cost little they are answered first.  The share of
true values in 90 % intervals is told where it is off, and draws that are worse than those of the prior by CRPS are
mixed with such, in the share that is best (:func:`~physinv.runs.sampling.staged.best_share`).

Answers say themselves on how many, by ``tried``: runs, Laplace's Gaussians, guidance by a learned prior, chains of few
iterations, and draws of these that were refined.  Of small states a trial that does not tell goes on with six times as
many, which see intervals of one number that are a fifth too narrow in six of ten trials.  Of large ones few are
answered, as long as each takes: what is more than chance is what Student's law says of so few, and a trial in which
draws are worse than the prior, but no more than chance, goes on with three times as many.  Chains of Monte Carlo,
particles that are run forward and exact laws tell where they fall short.
"""

from __future__ import annotations

__all__ = ["TriedRecord", "remedy_of", "seen_anew", "try_record", "unlike"]

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from scipy.special import ndtr, stdtrit
from torch import Tensor

from physinv.config.inputs import Times
from physinv.config.seeds import Seeds
from physinv.evaluation.metrics import coverage, crps_map
from physinv.laws.record import ObservationRecord
from physinv.methods.problem import RecordAnswer
from physinv.processes.layout import StateLayout
from physinv.processes.priors import OBSERVED_NOISE
from physinv.processes.simulator import Simulator
from physinv.processes.varying import Varying
from physinv.runs.sampling.staged import best_share
from physinv.runs.trials.starts import Starts, starts_of_process

_LARGEST = 1024  # numbers of a state up to which observed numbers are compared with those of new trajectories
_SMALL, _AGAIN = 64, 6  # numbers of a state up to which an unclear trial goes on, with how many times as many
_FEW, _FURTHER = 16, 3  # rows up to which a trial that finds draws worse by chance goes on, and with how many times
_CLEAR = 0.7  # standard errors of the coverage within which a trial is not unclear
_DRAWS, _FEW_DRAWS, _PRIOR = 19, 8, 64  # draws for each trajectory, for each of few, and of the prior
_WORSE, _OFF = 1.5, 3.0  # standard errors from which draws are mixed, and from which coverage is told
_LEVEL = 0.9
_GRADIENTS = 40  # of refinement that is advised
_ALL = 0.99  # share of the draws from which on all are the answer's


@dataclass(frozen=True)
class TriedRecord(RecordAnswer):
    """The answer to a record, with draws of the prior in the place of some where that is better.

    Args:
        answer: The answer.
        process: The process, whose trajectories are the prior.
        share: Share of the draws that are the answer's.
        starts: Initial states of the prior; None: those of the process.
    """

    answer: RecordAnswer
    process: Simulator
    share: float
    starts: Starts | None = None

    def mean(self, final: Any) -> Float[Tensor, "batch *state"]:
        return self.answer.mean(final)

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        drawn = self.answer.sample_at(y, n, times, generator=generator)
        keep = torch.rand(drawn.shape[:2], generator=generator, device=drawn.device) < self.share
        every = sorted({0.0, float(self.process.horizon), *map(float, times)})
        if bool(keep.all()):
            return drawn
        starts = self.starts or starts_of_process(self.process)
        assert starts is not None  # nothing is mixed without a prior
        source = generator or torch.Generator(drawn.device)
        prior = self.process.run(starts.prior(int((~keep).sum()), source), every, generator=source)
        mixed = drawn.clone()
        mixed[~keep] = prior[:, [every.index(float(t)) for t in times]].to(drawn)
        return mixed


@torch.no_grad()
def try_record(
    answer: RecordAnswer,
    process: Simulator,
    record: ObservationRecord,
    y: Float[Tensor, "rows seen"],
    stream: Seeds,
    remedy: str,
    starts: Starts | None = None,
) -> tuple[RecordAnswer, list[str]]:
    """Answer new trajectories, and compare with their true initial states and with draws of the prior.

    Args:
        answer: The answer to a record.
        process: The process.
        record: What is seen at which times.
        y: The observed numbers that are to be answered: what is missing there is missing in the trial.
        stream: Where the random numbers of the trial come from.
        remedy: What the user can do where draws are not right.
        starts: Where new trajectories begin, and the prior that draws are compared with
            (:func:`~physinv.runs.trials.starts.starts_of` a run); None: those of the process.

    Returns:
        The answer, mixed with the prior where that is better, and a sentence on each thing that is not right.  There is
        no trial of answers that do not ask for it, of unknown noise, and of processes of which no new trajectories can
        be made.  Of unknown parameters states alone count.
    """
    numbers, count = math.prod(process.shape), getattr(answer, "tried", 0)
    starts = starts or starts_of_process(process)
    noisy = record.level is not None or OBSERVED_NOISE in process.unknown
    if not count or starts is None or not process.known or noisy:
        return answer, []
    generator, layout, draws = stream.generator(y.device), process.layout, _DRAWS if count > _FEW else _FEW_DRAWS

    def answered(count: int) -> tuple[Tensor, Tensor]:
        return _answered(answer, process, record, y, starts.truth(count, generator), draws, generator)

    drawn, truth = answered(count)
    further = 0
    if count > _FEW and len(truth) >= 2 and numbers <= _SMALL:
        further = _AGAIN * (_CLEAR < abs(_off(layout, drawn, truth)[1]) <= _beyond(_OFF, len(truth)))
    prior = starts.prior(min(_PRIOR, starts.count or _PRIOR), generator)
    if count <= _FEW and len(truth) >= 2:
        lost, error, _ = _lost(layout, drawn, prior, truth)
        further = max(further, _FURTHER * (0 < lost <= _beyond(_WORSE, len(truth)) * error))
    if further:
        more = answered(further * count)
        drawn, truth = torch.cat([drawn, more[0]]), torch.cat([truth, more[1]])
    if len(truth) < 2:
        return answer, []

    # Worse than the prior: by how much on average, and whether that is more than chance.
    lost, error, of_prior = _lost(layout, drawn, prior, truth)
    share = best_share(layout, drawn, prior, truth) if lost > _beyond(_WORSE, len(truth)) * error else 1.0
    inside, off = _off(layout, drawn, truth)
    told, trial = [], f"on {len(truth)} new trajectories"
    if share < _ALL:
        worse = lost / of_prior
        told.append(
            f"{1 - share:.0%} of the draws are of the prior: {trial} draws given the record have {worse:.0%} more CRPS "
            f"than those of the prior, and both are best mixed so; {remedy}."
        )
    if abs(off) > _beyond(_OFF, len(truth)):
        kind = "too narrow, or biased" if off < 0 else "too wide"
        told.append(
            f"90 % intervals of these draws are {kind}: {trial} they hold {inside:.0%} of the true values, off by "
            f"{abs(off):.1f} standard errors; {remedy}."
        )
    return answer if share >= _ALL else TriedRecord(answer, process, share, starts), told


def _answered(
    answer: RecordAnswer,
    process: Simulator,
    record: ObservationRecord,
    y: Tensor,
    start: Tensor,
    n: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Draws given records of new trajectories, and their true initial states; what is not finite is left out."""
    states, seen = seen_anew(process, record, y, start, generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what the answer says of these draws is not of those asked for
        drawn = answer.sample(seen, n, generator=generator)
    good = drawn.flatten(1).isfinite().all(1) & states.flatten(1).isfinite().all(1)
    return drawn[good], states[good, 0]


def _own(process: Simulator, states: Tensor) -> Tensor:
    """Trajectories without unknown parameters, which sensors do not see."""
    return states[:, :, : process.inner.shape[0]] if isinstance(process, Varying) else states


def seen_anew(
    process: Simulator,
    record: ObservationRecord,
    y: Float[Tensor, "rows seen"],
    start: Float[Tensor, "n *state"],
    generator: torch.Generator,
) -> tuple[Float[Tensor, "n time *state"], Float[Tensor, "n seen"]]:
    """Simulate new trajectories, and see them as a record does.

    Args:
        process: The process.
        record: What is seen at which times.
        y: Observed numbers: what is missing there is missing here.
        start: Initial states.
        generator: Source of randomness.

    Returns:
        States from time 0 on, and the observed numbers.
    """
    grid = sorted({0.0, float(process.horizon), *record.times})
    states = process.run(start, grid, generator=generator)
    seen = record.observe(_own(process, states)[:, [grid.index(t) for t in record.times]], generator=generator)
    return states, torch.where(y[torch.arange(len(start), device=y.device) % len(y)].isfinite(), seen, torch.nan)


def _lost(layout: StateLayout, drawn: Tensor, prior: Tensor, truth: Tensor) -> tuple[float, float, float]:
    """CRPS of draws less that of the prior, its standard error, and CRPS of the prior."""
    every = prior.expand(len(truth), *prior.shape)
    own, other = (crps_map(layout.scored(x), layout.scored(truth)).flatten(1).mean(1) for x in (drawn, every))
    return *_mean(own - other), float(other.mean())


def _beyond(errors: float, n: int) -> float:
    """As many standard errors of n values as are as rare as these of many, by Student's law."""
    return float(stdtrit(n - 1, ndtr(errors)))


def _off(layout: StateLayout, drawn: Tensor, truth: Tensor) -> tuple[float, float]:
    """The share of true values in the intervals, and by how many standard errors it is off."""
    x, y = layout.scored(drawn), layout.scored(truth)
    inside, error = _mean(torch.stack([coverage(a[None], b[None], _LEVEL) for a, b in zip(x, y, strict=True)]))
    independent = math.sqrt(_LEVEL * (1 - _LEVEL) / y.numel())  # the least that it can be where draws are right
    return inside, (inside - _LEVEL) / max(error, independent)


@torch.no_grad()
def unlike(
    process: Simulator,
    record: ObservationRecord,
    y: Float[Tensor, "rows seen"],
    stream: Seeds,
    starts: Starts | None = None,
) -> list[str]:
    """Say whether observed numbers are far outside of what new trajectories show: another unit, or an offset.

    Args:
        process: The process.
        record: What is seen at which times.
        y: The observed numbers, NaN where one is missing.
        stream: Where the random numbers of the new trajectories come from.
        starts: Where these begin; None: at initial states of the process.

    Returns:
        One sentence where a number lies further outside of the range of what is seen of them than the range is wide;
        none where there are no new trajectories, states have more than 1024 numbers, or the noise is unknown.
    """
    small, starts = math.prod(process.shape) <= _LARGEST, starts or starts_of_process(process)
    if not (small and process.known) or starts is None or record.level is not None:
        return []
    generator = stream.generator(y.device)
    grid = sorted({0.0, float(process.horizon), *record.times})
    states = process.run(starts.truth(_PRIOR, generator), grid, generator=generator)
    states = states[states.flatten(1).isfinite().all(1)]
    if len(states) < 2:
        return []
    seen = record.observe(_own(process, states)[:, [grid.index(t) for t in record.times]], generator=generator)
    low, high = seen.amin(0), seen.amax(0)
    beyond = torch.maximum(y - high, low - y) / (high - low).clamp(min=torch.finfo(y.dtype).tiny)
    far = beyond > 1
    if not bool(far.any()):
        return []
    return [
        f"{int(far.sum())} of {int(y.isfinite().sum())} observed numbers lie outside of the range of what "
        f"{len(states)} new trajectories show, by up to {float(beyond[far].max()):.3g} times its width: another unit, "
        "an offset, or another system?"
    ]


def remedy_of(gradients: int) -> str:
    """Return what can be done where draws are not right.

    Args:
        gradients: Those that each draw was moved by.

    Example:
        >>> remedy_of(0)
        'take `--refine 40`, or mcmc'
    """
    return f"take `--refine {max(_GRADIENTS, 4 * gradients)}`, or mcmc"


def _mean(x: Tensor) -> tuple[float, float]:
    """Mean and standard error."""
    return float(x.mean()), float(x.std()) / math.sqrt(len(x))
