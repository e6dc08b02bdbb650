"""The posterior predictive check of records: would samples, run forward, have been seen as the observed numbers were?

The check is that of final states (:mod:`physinv.evaluation.observed.predictive`), with what is seen of a run at the
times of the record in the place of ``x_T``.  Noise of the process and of the sensors make the miss that is expected.
"""

from __future__ import annotations

__all__ = ["check_record", "predict_record"]

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.evaluation.observed.predictive import MOST_DRAWS, PredictedFinals, Predictive, check_prediction
from physinv.laws.record import ObservationRecord
from physinv.processes.layout import FieldLayout
from physinv.processes.simulator import Simulator


@torch.no_grad()
def predict_record(
    process: Simulator,
    record: ObservationRecord,
    samples: Float[Tensor, "n k *state"],
    *,
    levels: Float[Tensor, "n k"] | None = None,
    generator: torch.Generator | None = None,
) -> PredictedFinals:
    """Run samples of initial states through the times of a record, and observe them.

    Args:
        process: The process, whose physics is known.
        record: Times, operators and noise.
        samples: Samples for each observed trajectory, the first 32 of which are run.
        levels: The noise level of each sample, where that is unknown.
        generator: Source of the noise of the process and of the sensors, on the device of the samples.

    Returns:
        Observed numbers ``(n, m, seen)`` of runs with noise, and of runs without any.
    """
    few = samples[:, :MOST_DRAWS]
    x, times = few.flatten(0, 1), [t for t in record.times if t > 0]
    first = [] if len(times) == len(record.times) else [0.0]

    def course(noise: bool) -> Tensor:
        states = process.run(x, torch.tensor([0.0, *times], dtype=torch.float64), noise=noise, generator=generator)
        return states if first else states[:, 1:]

    level = None if levels is None else levels[:, :MOST_DRAWS].flatten()
    noisy = record.observe(course(noise=True), level=level, generator=generator)
    clean = record.clean(course(noise=False))
    return PredictedFinals(*(part.reshape(*few.shape[:2], -1) for part in (noisy, clean)))


@torch.no_grad()
def check_record(prediction: PredictedFinals, y: Float[Tensor, "n seen"]) -> Predictive:
    """Compare observed numbers with those that samples lead to, each in units of its spread among them.

    Args:
        prediction: What :func:`predict_record` returned.
        y: Observed numbers; those that are missing (NaN) for any trajectory are left out for all.

    Returns:
        The check, one row for each trajectory.
    """
    there = y.isfinite().all(0)
    if not bool(there.any()):
        said = "No number of the record was observed of every trajectory, so there is no predictive check."
        return Predictive((), (said,), ())
    noisy, clean, seen = prediction.noisy[..., there], prediction.clean[..., there], y[:, there]
    spread = (noisy - clean).square().mean((0, 1)).sqrt()
    parts = [(part / torch.where(spread > 0, spread, 1.0))[..., None, :] for part in (noisy, clean, seen)]
    layout = FieldLayout("observed", "number", [range(int(there.sum()))], "open")
    return check_prediction(PredictedFinals(*parts[:2]), parts[2], layout)
