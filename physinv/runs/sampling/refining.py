"""Refinement of samples, where it helps: it is tried on trajectories whose initial states are known.

Given a whole final state, refinement integrates the noise on the way out after linearisation, with which few gradients
do.  Where noise is large and bends paths, as it does those of particles in a warm trap, that law is another one, and
samples come out too narrow.  Given a record whole paths are moved under their exact density, but all of an observation
under one linearisation: few gradients do not lead from one peak to another, and may leave one.  Samples stay what they
are in both cases.  For small states a trial tells.
"""

from __future__ import annotations

__all__ = ["Refinement", "prepare_refinement", "refined_if_better"]

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seeds
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.monte_carlo.path import PathModel
from physinv.methods.classical.monte_carlo.refine import RefinedRecord, refine, refine_given
from physinv.methods.problem import RecordAnswer
from physinv.runs.sampling.tried import seen_anew
from physinv.runs.trials.starts import Starts

_SMALL = 40  # moving components up to which there is a trial: a draw takes milliseconds there
_TRIED, _DRAWS = 48, 12  # trajectories of a part of the trial, and draws for each
_PARTS, _CLEAR = 4, 3.0  # most parts of a trial, and standard errors of a mean that ends it sooner
_LEAST = 1e-6  # variance of draws that are the same, in units of the prior's

Draw = Callable[[Tensor, int, torch.Generator], Tensor]
"""Draws initial states: ``(final, n, generator)``, given final states or what is observed of them."""


@dataclass(frozen=True)
class Refinement:
    """Refinement by gradients of Monte Carlo over paths, or none where the trial says so.

    Args:
        model: Coordinates of paths.
        gradients: Gradients for each sample; 0: samples stay what they are.
        warnings: One sentence where refinement is left out.
        record: What is observed; None: whole final states.
    """

    model: PathModel
    gradients: int
    warnings: tuple[str, ...] = ()
    record: ObservationRecord | None = None

    def __call__(
        self, samples: Float[Tensor, "batch n *state"], final: Float[Tensor, "batch *seen"], generator: torch.Generator
    ) -> Float[Tensor, "batch n *state"]:
        """Refine samples.

        Args:
            samples: Samples, n for each observation.
            final: Observed final states, or what is observed of them.
            generator: Source of randomness, on the device of the samples.

        Returns:
            As many samples.
        """
        if self.record is None:
            return refine(self.model, samples, final, self.gradients, generator=generator)
        found = refine_given(self.model, self.record, samples, final, self.gradients, generator=generator)
        return found[:, :, 0]


@torch.no_grad()
def prepare_refinement(
    model: PathModel, draw: Draw, gradients: int, stream: Seeds, record: ObservationRecord | None = None
) -> Refinement:
    """Try refinement on new trajectories, and leave it out where it makes samples worse.

    Samples are compared by the score of Dawid and Sebastiani (1999), which is proper for mean and variance and sees
    narrow samples sooner than others do: ``(x_0 - m)^2 / v + log v``, the mean over all components.  Refinement is left
    out where it is worse by more than a standard error, over four times as many trajectories where a few do not tell.

    Args:
        model: Coordinates of paths.
        draw: Draws the samples that are to be refined.
        gradients: Gradients for each sample.
        stream: Where the random numbers of the trial come from.
        record: What is observed of final states; None: all of it.

    Returns:
        The refinement.  There is no trial for large states, for parameters that are drawn too, for processes without
        noise, and where no initial states can be drawn.
    """
    process, device, whole = model.simulator, model.whitening.device, Refinement(model, gradients, record=record)
    if len(model.whitening) > _SMALL or process.unknown or not process.startable or model.quiet:
        return whole
    generator = stream.generator(device)

    def losses() -> Tensor:
        truth = process.initial(_TRIED, generator=generator, device=device)
        final = process.run(truth, process.times[[0, -1]], generator=generator)[:, -1]
        final = final if record is None else record.observe(final[:, None], generator=generator)
        samples = draw(final, _DRAWS, generator)
        return _losses(model, samples, whole(samples, final, generator), truth)

    told = _left_out(losses, "as where noise on the way is large")
    return whole if told is None else Refinement(model, 0, (told,))


@torch.no_grad()
def refined_if_better(
    refined: RefinedRecord, y: Float[Tensor, "rows seen"], stream: Seeds, starts: Starts | None
) -> tuple[RecordAnswer, list[str]]:
    """Try the refinement of an answer to a record on new trajectories, and leave it out where it makes draws worse.

    Args:
        refined: The answer with its refinement.
        y: The observed numbers that are to be answered: what is missing there is missing in the trial.
        stream: Where the random numbers of the trial come from.
        starts: Where new trajectories begin; None: there is no trial.

    Returns:
        The answer, and one sentence where refinement is left out.  There is no trial of large states, of unknown
        parameters and of processes without noise.
    """
    model, record = refined.model, refined.record
    process, device = model.simulator, model.whitening.device
    if len(model.whitening) > _SMALL or process.unknown or starts is None or model.quiet:
        return refined, []
    generator, known = stream.generator(device), starts

    def losses() -> Tensor:
        states, seen = seen_anew(process, record, y, known.truth(_TRIED, generator), generator)
        good = states.flatten(1).isfinite().all(1)
        states, seen = states[good], seen[good]
        if not len(states):
            return states.new_zeros(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of draws that nobody asked for
            samples = refined.answer.sample(seen, _DRAWS, generator=generator)
            moved = refine_given(model, record, samples, seen, refined.gradients, generator=generator)[:, :, 0]
        return _losses(model, samples, moved, states[:, 0])

    told = _left_out(losses, "as where few gradients do not lead from one peak to another")
    return (refined, []) if told is None else (refined.answer, [told])


def _left_out(losses: Callable[[], Tensor], why: str) -> str | None:
    """That refinement is left out, and why; None where samples are not worse by it.

    Trajectories are added part by part until their mean loss is clear.
    """
    loss = losses()
    for _ in range(_PARTS - 1):
        if len(loss) < 2 or abs(float(loss.mean())) > _CLEAR * float(loss.std()) / math.sqrt(len(loss)):
            break
        loss = torch.cat([loss, losses()])
    if len(loss) < 2:
        return None
    mean, error = float(loss.mean()), float(loss.std()) / math.sqrt(len(loss))
    if not mean > error:
        return None
    return (
        f"refinement is left out: on {len(loss)} new trajectories it makes samples worse, by {mean:.2g} +- {error:.1g} "
        f"nats a number, {why}; take method mcmc for exact samples."
    )


def _losses(model: PathModel, samples: Tensor, refined: Tensor, truth: Tensor) -> Tensor:
    """By how much refined samples are worse, for each trajectory of which this is finite."""
    loss = _scores(model, refined, truth) - _scores(model, samples, truth)
    return loss[loss.isfinite()]


def _scores(model: PathModel, samples: Tensor, truth: Tensor) -> Tensor:
    """The score of each trajectory in coordinates of the prior, halved: nats, if samples are Gaussian."""
    n = samples.shape[1]
    u = model.law.standardise(samples.flatten(0, 1)).reshape(len(truth), n, -1)
    variance = u.var(1).clamp(min=_LEAST)
    gap = (model.law.standardise(truth) - u.mean(1)).square() / (variance * (1 + 1 / n))
    return (gap + variance.log()).mean(1).nan_to_num(math.inf) / 2
