"""Refine samples of any method by a few gradients of Monte Carlo, given the final state or given a record.

Given the final state the noise on the way is integrated out after linearisation, with which few gradients do.  Given a
record, whose numbers are noisy, whole paths are moved: their target density is the exact one, that of ``mcmc``.
"""

from __future__ import annotations

__all__ = ["RefinedRecord", "refine", "refine_given"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.monte_carlo.chain import LEAPS, walk, warn_of_far
from physinv.methods.classical.monte_carlo.path import PathModel, PathObjective, fit_path_model
from physinv.methods.classical.monte_carlo.starts import around_samples, observable
from physinv.methods.problem import RecordAnswer
from physinv.posterior.several_times.frames import frames_at
from physinv.processes.simulator import Simulator

_BEGIN = 0.4  # length of the first steps
_NUMBERS = 2**25  # coordinates of paths that are moved at once


@dataclass(frozen=True)
class RefinedRecord(RecordAnswer):
    """The answer to a record of any method, each draw of which is moved by Monte Carlo over whole paths.

    Args:
        answer: The answer, whose draws of initial states are where chains begin.
        model: Coordinates of the paths.
        record: What is seen at which times.
        gradients: Gradients for each draw, rounded down to a multiple of 4.

    Raises:
        NotApplicableError: Where parameters or the level of the noise are unknown, which ``mcmc`` draws.
    """

    answer: RecordAnswer
    model: PathModel
    record: ObservationRecord
    gradients: int

    def __post_init__(self) -> None:
        observable(self.model.simulator, self.record)

    @property
    def tried(self) -> int:
        """On how many new trajectories draws are to be tried first: as many as without Monte Carlo."""
        return getattr(self.answer, "tried", 0)

    def mean(self, final: Any) -> Float[Tensor, "batch *state"]:
        return self.answer.mean(final)

    def sample_at(
        self, y: Any, n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        def inside(early: list[float]) -> Tensor:
            drawn = self.answer.sample(y, n, generator=generator)
            return refine_given(self.model, self.record, drawn, y, self.gradients, times=early, generator=generator)

        return frames_at(self.model.simulator, times, max(self.record.times), inside, generator=generator)


@torch.no_grad()
def refine(
    simulator: Simulator | PathModel,
    samples: Float[Tensor, "batch n *state"],
    final: Float[Tensor, "batch *state"],
    n_gradients: int,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch n *state"]:
    """Move samples of ``x_0`` towards the posterior by Hamiltonian Monte Carlo, each as a chain of its own.

    The noise on the way is integrated out, linearised a few Gauss-Newton steps from the mean of the samples: few
    gradients do, and in the limit of many the samples are exact as far as the noise is small.
    Method ``mcmc`` moves whole paths.

    Args:
        simulator: The process, or the coordinates of its paths where they are known already.
        samples: Samples of any method, n for each observation; those that are not finite begin at the mean.
        final: Observed final states ``x_T``.
        n_gradients: Gradients for each sample, rounded down to a multiple of 4; 0 returns the samples.
        generator: Source of randomness, on the device of ``final``.

    Returns:
        Samples of the same shape.

    Raises:
        ValueError: If ``n_gradients`` is negative.
        NotApplicableError: Where paths have no density
            (:func:`~physinv.methods.classical.monte_carlo.path.fit_path_model`).
    """
    if n_gradients < 0:
        raise ValueError(f"`n_gradients` must be 0 or more, got {n_gradients}.")
    if n_gradients < LEAPS:
        return samples
    if isinstance(simulator, PathModel):
        model = simulator
    else:
        model = fit_path_model(simulator, generator=generator, device=final.device)
    parts = [
        _refined(model, some, x, n_gradients // LEAPS, generator)
        for some, x in zip(*(torch.split(v, model.observations) for v in (samples, final)), strict=True)
    ]
    return torch.cat(parts)


def _refined(
    model: PathModel, samples: Tensor, final: Tensor, iterations: int, generator: torch.Generator | None
) -> Tensor:
    batch, n = samples.shape[:2]
    some, reference, xi = around_samples(PathObjective(model, final), samples, 1.0)
    lengths = xi.new_full((batch,), _BEGIN)
    moved = walk(some, reference, xi, lengths, iterations, adapt=True, generator=generator)
    like = final.repeat_interleave(n, 0)
    return model.initial(moved.firsts[:, :, -1].flatten(0, 1), like).reshape(samples.shape)


@torch.no_grad()
def refine_given(
    model: PathModel,
    record: ObservationRecord,
    samples: Float[Tensor, "batch n *state"],
    y: Float[Tensor, "batch *seen"],
    n_gradients: int,
    *,
    times: Sequence[float] = (0.0,),
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch n time *state"]:
    """Move samples of ``x_0`` towards the posterior given a record, each as a chain of whole paths of its own.

    Noise on the way is drawn first that fits the sample and the record, by Laplace's approximation.

    Args:
        model: Coordinates of the paths of the process.
        record: What is seen at which times.
        samples: Samples of any method, n for each row of observed numbers.
        y: Observed numbers, NaN where one is missing.
        n_gradients: Gradients for each sample, rounded down to a multiple of 4.
        times: Times up to the last of the record, increasing, whose states are returned.
        generator: Source of randomness, on the device of the samples.

    Returns:
        As many trajectories as there are samples.
    """
    n, longer = samples.shape[1], model.through((*times, *record.times))
    y = record.accepted(y, samples.new_zeros((1, *model.simulator.shape)))
    size = max(1, min(longer.observations, _NUMBERS // (n * longer.numbers(whole=True))))
    parts, residuals = [], []
    for x, seen in zip(*(torch.split(v, size) for v in (samples, y)), strict=True):
        objective = PathObjective(longer, x.new_zeros((len(x), *x.shape[2:])), record, seen)
        some, reference, xi = around_samples(objective, x, 0.0, generator=generator)
        lengths, iterations = xi.new_full((len(x),), _BEGIN), n_gradients // LEAPS
        if iterations:
            xi = walk(some, reference, xi, lengths, iterations, adapt=True, kept=0, generator=generator).xi
        paths = reference.path(xi).flatten(0, 1)
        residuals.append(some.repeated(n).residual(paths))
        states = longer.states(paths, some.final.repeat_interleave(n, 0), times)
        parts.append(states.reshape(*x.shape[:2], *states.shape[1:]))
    warn_of_far(torch.cat(residuals))
    return torch.cat(parts)
