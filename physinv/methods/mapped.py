"""A quantile mapping behind any method, applied where it helps and left out where it does not."""

from __future__ import annotations

__all__ = ["MappedAnswer", "with_value_map"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation.metrics import crps_map
from physinv.laws.exact import LinearGaussian
from physinv.methods.problem import Answer
from physinv.posterior.value_map import ValueMap, fit_value_map, pooled_values, value_distance
from physinv.processes.simulator import Simulator

_FEWEST = 16  # validation observations from which a map is fitted
_NUMBERS = 2**18  # of a channel's values that quantiles are known well from: no more observations are drawn for
_SCORED = 32  # observations that are drawn for in any case
_DRAWS = 4  # of each of them
_FARTHER = 1.5  # times as far from the values of training as those of validation are: what exact samples may reach


@dataclass(frozen=True)
class MappedAnswer(Answer):
    """A posterior whose samples are mapped value by value; its single estimate stays as it is.

    Args:
        answer: The posterior.
        value_map: The quantile mapping.
    """

    answer: Answer
    value_map: ValueMap

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        return self.value_map(self.answer.sample(final, n, generator=generator))

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.answer.mean(final)


@torch.no_grad()
def with_value_map(
    answer: Answer,
    simulator: Simulator,
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    generator: torch.Generator | None = None,
) -> Answer:
    """Put a quantile mapping behind an answer, where that is right on validation data.

    Two things are asked.  The values of samples have to be farther from those of the training states, by the
    Kolmogorov-Smirnov distance, than the values of the validation states are (1.5 times as far, in any channel): exact
    samples are not.  And the CRPS of observations that the map was not fitted to, by halves, must not get worse by more
    than its standard error; that goes for smoothing, too, which is left out where it costs something.  Linear
    processes with Gaussian initial states are never mapped.

    Args:
        answer: The posterior of any method; it is asked for 4 samples for each validation observation, of large fields
            for the first 32 or more.
        simulator: The process.
        train: The trajectories that it was trained on.
        valid: The validation trajectories.
        generator: Source of the samples, on the device of the answer.

    Returns:
        A :class:`MappedAnswer`, or ``answer`` itself.
    """
    if valid.n_trajectories < _FEWEST or isinstance(simulator.exact(), LinearGaussian):
        return answer
    layout, images = train.layout, simulator.images
    n = max(_SCORED, _NUMBERS // (_DRAWS * math.prod(layout.shape)))
    known, truth, final = train.states(0), valid.states(0, limit=n), valid.states(-1, limit=n)
    drawn = answer.sample(final, _DRAWS, generator=generator)
    if not bool(drawn.isfinite().all()):
        return answer

    # Are the values of samples farther from those of training than exact ones would be?
    values = pooled_values(known, layout, images)
    theirs, ours = (value_distance(pooled_values(x, layout, images), values) for x in (truth, drawn.flatten(0, 1)))
    if not bool((ours > _FARTHER * theirs).any()):
        return answer

    # The score on each half of the observations, with the map of the other half.  Smoothing must not cost any.
    odd, real = torch.arange(len(final), device=drawn.device) % 2 == 1, layout.moving(truth)

    def score(smooth: bool) -> Float[Tensor, " n"]:
        mapped = torch.empty_like(drawn)
        for held_out in (odd, ~odd):
            half = fit_value_map(drawn[~held_out].flatten(0, 1), known, layout, images, smooth=smooth)
            mapped[held_out] = half(drawn[held_out])
        return crps_map(layout.moving(mapped), real).flatten(1).mean(1).double()

    before, best = crps_map(layout.moving(drawn), real).flatten(1).mean(1).double(), score(False)
    smooth = bool(layout.space) and _no_worse(smoothed := score(True), best)
    if not _no_worse(smoothed if smooth else best, before):
        return answer
    return MappedAnswer(answer, fit_value_map(drawn.flatten(0, 1), known, layout, images, smooth=smooth))


def _no_worse(ours: Float[Tensor, " n"], theirs: Float[Tensor, " n"]) -> bool:
    """Whether scores are no worse than others by more than the standard error of the difference."""
    loss = ours - theirs
    return float(loss.mean()) <= float(loss.std()) / math.sqrt(len(loss))
