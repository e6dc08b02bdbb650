"""Metrics of parameters that were unknown, and of state and parameters together."""

from __future__ import annotations

__all__ = ["Numbered", "parameter_metrics"]

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from physinv.config.seeds import Seed, seeds
from physinv.evaluation import metrics
from physinv.evaluation.calibration import sbc
from physinv.posterior.reconstruction import Reconstruction

_FEWEST = 40  # truths from which ranks say anything
_TOGETHER = 2  # draws that have a spread


class Numbered(NamedTuple):
    """A metric of ensembles.

    Attributes:
        name: Its name, as in tables.
        best: The best value: ``"low"``, ``"high"``, or a number as text.
        about: What it measures, in one line.
        value: Samples ``(batch, members, *state)`` to the metric.
    """

    name: str
    best: str
    about: str
    value: Callable[[Tensor], float]


def parameter_metrics(recon: Reconstruction, *, seed: Seed = 0) -> list[Numbered]:
    """List the metrics of unknown parameters: CRPS, coverage and ranks of each, and the energy score of the joint law.

    The joint energy score is that of the moving part of a state over the deviation of all its numbers and the square
    root of their count, beside each parameter over its own deviation: either counts as much as one number.

    Args:
        recon: The reconstruction, with true states, whose static parts are the true parameters.
        seed: Seed of what breaks ties between ranks.

    Returns:
        The metrics; none where all parameters are known, or there is one draw of each.
    """
    names, layout = recon.simulator.unknown, recon.simulator.layout
    if not names or recon.samples.shape[1] < _TOGETHER:
        return []
    truth = recon.known_truth
    known, spread = layout.constants(truth, names).double(), layout.scored(truth).double().std()
    units = known.std(0)

    def of(i: int) -> Callable[[Tensor], Tensor]:
        return lambda samples: layout.constants(samples, names)[..., i].double()

    def joint(samples: Tensor) -> float:
        def parts(x: Tensor, batch: int) -> Tensor:
            moving = layout.scored(x).double().flatten(batch)
            return torch.cat([moving / (spread * moving.shape[-1] ** 0.5), layout.constants(x, names) / units], dim=-1)

        return float(metrics.energy_score(parts(samples, 2), parts(truth, 1)))

    def ranks(i: int, samples: Tensor) -> float:
        generator = seeds(seed).child("evaluation", "ranks").generator()
        return sbc(of(i)(samples)[..., None], known[:, i : i + 1], generator=generator)

    def crps(i: int, samples: Tensor) -> float:
        return float(metrics.crps(of(i)(samples), known[:, i]))

    def coverage(i: int, samples: Tensor) -> float:
        return float(metrics.coverage(of(i)(samples), known[:, i]))

    found = []
    for i, name in enumerate(names):
        about = f"share of true `{name}` in the central 90 % interval"
        found.append(Numbered(f"crps_{name}", "low", f"fair CRPS of `{name}`", partial(crps, i)))
        found.append(Numbered(f"coverage_90_{name}", "0.9", about, partial(coverage, i)))
        if len(truth) >= _FEWEST:
            about = f"p value of the ranks of true `{name}` among its draws (SBC)"
            found.append(Numbered(f"sbc_{name}", "high", about, partial(ranks, i)))
    return [*found, Numbered("energy_score_joint", "low", "fair energy score of state and parameters together", joint)]
