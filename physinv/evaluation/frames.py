"""Metrics of reconstructed trajectories at several times, frame by frame, beside those of the exact smoother."""

from __future__ import annotations

__all__ = ["Frame", "exact_frames", "frame_metrics"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seed, seeds
from physinv.evaluation import metrics
from physinv.laws.exact import LinearGaussian
from physinv.posterior.reconstruction import Reconstruction

_TOGETHER = 2  # draws that have a spread


@dataclass(frozen=True)
class Frame:
    """How well the states of one time are reconstructed, over all trajectories.

    Args:
        time: The time, in the unit of the process.
        crps: Fair CRPS per component.
        coverage_90: Share of components in the central 90 % interval.
        exact_crps: The same of the exact smoother, with as many draws; None where it is not known.
        exact_coverage_90: Likewise.
    """

    time: float
    crps: float
    coverage_90: float
    exact_crps: float | None = None
    exact_coverage_90: float | None = None


def frame_metrics(recon: Reconstruction, *, seed: Seed = 0) -> list[Frame]:
    """Compute CRPS and coverage of each frame whose true states are known.

    Args:
        recon: The reconstruction of a record of observations.
        seed: Seed of the draws of the exact smoother, as many as the reconstruction has.

    Returns:
        One entry for each time that is not missing among the true states; none without frames or with single draws.
    """
    drawn, truth, times = recon.frames, recon.frames_truth, recon.time
    if drawn is None or truth is None or times is None or drawn.shape[1] < _TOGETHER:
        return []
    exact, found, scored = exact_frames(recon, seed=seed), [], recon.simulator.layout.scored
    for i, t in enumerate(times.tolist()):
        known = scored(truth[:, i])
        if not bool(known.isfinite().all()):
            continue
        ours = scored(drawn[:, :, i])
        frame = Frame(t, float(metrics.crps(ours, known)), float(metrics.coverage(ours, known)))
        if exact is not None:
            best = scored(exact[:, :, i])
            crps, coverage = float(metrics.crps(best, known)), float(metrics.coverage(best, known))
            frame = Frame(t, frame.crps, frame.coverage_90, crps, coverage)
        found.append(frame)
    return found


def exact_frames(recon: Reconstruction, *, seed: Seed = 0) -> Float[Tensor, "n k time *state"] | None:
    """Draw the frames of a reconstruction from the exact smoother of its record.

    Args:
        recon: The reconstruction.
        seed: Seed of the draws.

    Returns:
        As many trajectories as it has; None where the process is not linear and Gaussian.
    """
    exact, record = recon.simulator.exact(), recon.record
    if not isinstance(exact, LinearGaussian) or record is None or recon.seen is None or recon.time is None:
        return None
    generator: torch.Generator = seeds(seed).child("evaluation", "exact").generator()
    n = recon.samples.shape[1]
    return exact.given(record).sample_at(recon.seen, n, recon.time.tolist(), generator=generator)
