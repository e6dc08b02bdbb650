"""Refinement of samples: what becomes of the noise on the way is tried on trajectories whose initial states are known.

Refinement integrates the noise on the way out after linearisation, with which few gradients do.  Where noise is large
and bends paths, as it does those of particles in a warm trap, that law is another one, and samples come out too narrow:
chains have to move whole paths then.  For small states both are tried, and the samples as they are.
"""

from __future__ import annotations

__all__ = ["Refinement", "prepare_refinement"]

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seeds
from physinv.methods.classical.monte_carlo.path import PathModel
from physinv.methods.classical.monte_carlo.refine import refine

_SMALL = 40  # moving components up to which there is a trial: a draw takes milliseconds there
_TRIED, _DRAWS = 24, 8  # trajectories of the trial, and draws for each
_INTEGRATED, _MOVED = 1.0, 0.0  # share of the steps whose noise is integrated out
_SURE = 2.0  # standard errors by which refined samples have to be worse for a warning
_LEAST = 1e-6  # variance of draws that are the same, in units of the prior's

Draw = Callable[[Tensor, int, torch.Generator], Tensor]
"""Draws initial states: ``(final, n, generator)``."""


@dataclass(frozen=True)
class Refinement:
    """Refinement as the trial has chosen it.

    Args:
        model: Coordinates of paths.
        gradients: Gradients for each sample.
        late: Share of the steps, the last ones, whose noise is integrated out.
        warnings: One sentence where refined samples were worse than the others, or none.
    """

    model: PathModel
    gradients: int
    late: float = _INTEGRATED
    warnings: tuple[str, ...] = ()

    def __call__(
        self, samples: Float[Tensor, "batch n *state"], final: Float[Tensor, "batch *state"], generator: torch.Generator
    ) -> Float[Tensor, "batch n *state"]:
        """Refine samples.

        Args:
            samples: Samples, n for each observation.
            final: Observed final states.
            generator: Source of randomness, on the device of the samples.

        Returns:
            As many samples.
        """
        return refine(self.model, samples, final, self.gradients, late=self.late, generator=generator)


@torch.no_grad()
def prepare_refinement(model: PathModel, draw: Draw, gradients: int, stream: Seeds) -> Refinement:
    """Choose what becomes of the noise on the way.

    Samples for new trajectories are compared by the score of Dawid and Sebastiani (1999), which is proper for mean and
    variance and sees narrow samples sooner than others do: ``(x_0 - m)^2 / v + log v``, the mean over all components.

    Args:
        model: Coordinates of paths.
        draw: Draws the samples that are to be refined.
        gradients: Gradients for each sample.
        stream: Where the random numbers of the trial come from.

    Returns:
        The refinement; without a trial, and with the noise integrated out, for large states, for parameters that are
        drawn too, and where no initial states can be drawn.
    """
    process, device = model.simulator, model.whitening.device
    if len(model.whitening) > _SMALL or process.unknown or not process.startable or model.quiet:
        return Refinement(model, gradients)
    generator = stream.generator(device)
    truth = process.initial(_TRIED, generator=generator, device=device)
    final = process.run(truth, process.times[[0, -1]], generator=generator)[:, -1]
    samples = draw(final, _DRAWS, generator)
    plain = _scores(model, samples, truth)
    tried = {}
    for late in (_INTEGRATED, _MOVED):
        moved = refine(model, samples, final, gradients, late=late, generator=generator)
        tried[late] = _scores(model, moved, truth)
    best = min(tried, key=lambda late: float(tried[late].mean()))
    loss = tried[best] - plain
    if not float(loss.mean()) > _SURE * float(loss.std()) / math.sqrt(len(loss)):
        return Refinement(model, gradients, best)
    return Refinement(
        model,
        gradients,
        best,
        (
            f"refined samples are worse than the others, by {float(loss.mean()):.2g} nats a number on {len(loss)} "
            "trajectories of known initial states; leave `--refine` out (Python: `refine=0`), or take more gradients.",
        ),
    )


def _scores(model: PathModel, samples: Tensor, truth: Tensor) -> Tensor:
    """The score of each trajectory in coordinates of the prior, halved: nats, if samples are Gaussian."""
    n = samples.shape[1]
    u = model.law.standardise(samples.flatten(0, 1)).reshape(len(truth), n, -1)
    variance = u.var(1).clamp(min=_LEAST)
    gap = (model.law.standardise(truth) - u.mean(1)).square() / (variance * (1 + 1 / n))
    return (gap + variance.log()).mean(1).nan_to_num(math.inf) / 2
