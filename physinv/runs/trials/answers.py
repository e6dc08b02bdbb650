"""Answers to records as the command gives them: of any run, refined, and tried on new trajectories."""

from __future__ import annotations

__all__ = ["answer_record", "path_model_of", "try_final"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times
from physinv.config.seeds import seeds
from physinv.laws.exact import ExactPosterior
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.coordinates import PriorCoordinates
from physinv.methods.classical.gaussian_prior import gaussian_prior_of
from physinv.methods.classical.monte_carlo.mcmc import PathPosterior
from physinv.methods.classical.monte_carlo.path import DENSE, PathModel, fit_path_model
from physinv.methods.classical.monte_carlo.refine import RefinedRecord
from physinv.methods.classical.monte_carlo.starts import observable
from physinv.methods.classical.monte_carlo.weak_constraint import WeakConstraint
from physinv.methods.classical.strong_constraint import StrongConstraint
from physinv.methods.problem import RecordAnswer, TakesRecords
from physinv.methods.reverse import ReverseAnswer
from physinv.processes.simulator import Simulator
from physinv.processes.varying import Varying, with_observed_noise
from physinv.runs.run import Run
from physinv.runs.sampling.asked import records_of
from physinv.runs.sampling.refining import refined_if_better
from physinv.runs.sampling.staged import Staged
from physinv.runs.sampling.tried import TriedRecord, remedy_of, try_record
from physinv.runs.trials.starts import starts_of

_VECTORS, _FIELDS, _FEWEST, _NUMBERS = 48, 16, 4, 2**11  # rows of a trial, and numbers in those of fields
_POOL = 256  # initial states of the prior that take the place of draws
_KNOWN = 64  # draws of a prior from which its Gaussian law is made, where no states of data are kept

_TRAINED = "`physinv train --observe random:LOW-HIGH --at T,T`"

DrawSeen = Callable[[Tensor, int, torch.Generator], Tensor]
"""Draws initial states given what is observed of final ones: ``(seen, n, generator)``."""


@torch.no_grad()
def answer_record(
    run: Run,
    record: ObservationRecord,
    y: Float[Tensor, "rows seen"],
    *,
    refine: int = 0,
    seed: int = 0,
    announce: Callable[[str], None] | None = None,
) -> tuple[RecordAnswer, list[str]]:
    """Return what draws given a record, tried on new trajectories, and mixed with the prior where that is better.

    Args:
        run: The run.
        record: What is seen at which times.
        y: Observed numbers, NaN where one is missing.
        refine: Gradients of Monte Carlo over paths by which each draw is moved.
        seed: Seed of the trial.
        announce: Called with a sentence before a trial of trajectories that take long.

    Returns:
        The answer, and a sentence on each thing that is not right (:func:`~physinv.runs.sampling.tried.try_record`).

    Raises:
        ValueError: If the method answers no records, or not this one.
    """
    answer = records_of(run)
    process = run.simulator if record.level is None else with_observed_noise(run.simulator, record.level)
    given = _given(answer, process, record)
    remedy = _remedy(run, given, refine)
    if isinstance(answer, ReverseAnswer) and record.level is None:
        remedy += f", or a run that is trained for records, {_TRAINED}"
    told = list[str]()
    if refine:
        observable(process, record)
        paths = seeds(seed).child("reconstruction", "samples").generator(run.device)
        refined = RefinedRecord(given, path_model_of(run, paths), record, refine)
        stream = seeds(seed).child("reconstruction", "refinement")
        given, told = refined_if_better(refined, y.to(run.device), stream, starts_of(run))
    count = getattr(given, "tried", 0)
    numbers = math.prod(process.shape) * (len(run.times) if isinstance(given, WeakConstraint) else 1)
    if announce is not None and count and (isinstance(given, StrongConstraint) or numbers > DENSE):
        announce(
            f"draws are tried on {count} new trajectories first, each of which takes as long as one of those asked for."
        )
    trial = seeds(seed).child("reconstruction", "trial")
    given, tried = try_record(given, process, record, y.to(run.device), trial, remedy, starts_of(run))
    return given, [*told, *tried]


def path_model_of(run: Run, generator: torch.Generator) -> PathModel:
    """Return the coordinates of paths of a run: under the prior that it was given, else under that of its process.

    Args:
        run: The run.
        generator: Source of the runs that they are fitted to, on the device of the run.
    """
    prior = None
    if run.prior is not None:
        known = run.summary.initial if run.summary is not None else run.prior.draw(_KNOWN, generator=generator)
        gaussian = gaussian_prior_of(run.simulator, known.to(generator.device), known=False)
        prior = PriorCoordinates(run.prior, gaussian)
    return fit_path_model(run.simulator, prior=prior, generator=generator, device=run.device)


def _given(answer: TakesRecords, process: Simulator, record: ObservationRecord) -> RecordAnswer:
    """The answer to a record; the exact one of an unknown noise is that of the process with this noise."""
    if record.level is None or not isinstance(answer, ExactPosterior) or not isinstance(process, Varying):
        return answer.given(record)
    found = process.exact_of_noise(record)
    if found is None:
        raise ValueError("noise and parameters are unknown, and their exact law is not known; take mcmc.")
    return found


def _remedy(run: Run, given: RecordAnswer, refine: int) -> str:
    """What can be done where draws are not right: what the method and the process allow."""
    process = run.simulator
    like = torch.zeros(1, *process.shape)
    if isinstance(given, PathPosterior):
        return "raise `--option iterations=` and `--option most=`"
    if process.layout.moving(like).numel() > DENSE or (
        run.prior is None and process.spin_up_time > 0 and process.initial_log_prob(like) is None
    ):
        return f"train a run for what is seen, {_TRAINED}"  # paths are too large, or their law is not known
    return remedy_of(refine)


@dataclass(frozen=True)
class _OfFinal(RecordAnswer):
    """What is drawn given a part of final states, as the answer to the record of that part."""

    draw: DrawSeen
    shape: tuple[int, ...]
    tried: int

    def mean(self, final: Any) -> Float[Tensor, "batch *state"]:
        return self.sample(final, _VECTORS).mean(1)

    def sample(
        self, final: Any, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        source = generator or torch.Generator(final.device)
        return self.draw(final.reshape(len(final), *self.shape), n, source)

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        return self.sample(y, n, generator=generator)[:, :, None]


@torch.no_grad()
def try_final(
    run: Run, record: ObservationRecord, draw: DrawSeen, *, seed: int, refine: int = 0
) -> tuple[Staged | None, list[str]]:
    """Try what a run draws given a part of final states, seen once, as answers to records are tried.

    Args:
        run: The run.
        record: The one observation of final states.
        draw: Draws initial states given what is observed.
        seed: Seed of the trial.
        refine: Gradients that draws are moved by.

    Returns:
        The prior and the share of the draws that is kept; None where all are; and a sentence on each thing that is not
        right.
    """
    process, (entry,) = run.simulator, record.entries
    inner = process.inner if isinstance(process, Varying) else process
    like = torch.zeros(1, *inner.shape, device=run.device)
    shape, numbers = tuple(entry.observation.operator(like).shape[1:]), math.prod(inner.shape)
    rows = max(_FEWEST, min(_FIELDS, _NUMBERS // numbers)) if inner.layout.space else _VECTORS
    y = like.new_zeros(1, math.prod(shape))
    trial = seeds(seed).child("reconstruction", "trial")
    starts, own = starts_of(run), _OfFinal(draw, shape, rows)
    remedy = remedy_of(refine) if run.partial is None else f"train longer, or {remedy_of(refine)}"
    try:
        answer, told = try_record(own, process, record, y, trial, remedy, starts)
    except ValueError:  # draws of the trial are not finite, and those that are asked for say so themselves
        return None, []
    if not isinstance(answer, TriedRecord) or starts is None:
        return None, told
    prior = starts.prior(_POOL, trial.child("prior").generator(run.device))
    return Staged(None, prior, answer.share), told
