"""Metrics of reconstructed trajectories at several times, frame by frame, beside those of the exact smoother."""

from __future__ import annotations

__all__ = ["Frame", "Missing", "exact_frames", "exact_given", "frame_metrics", "missing_metrics"]

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.config.seeds import Seed, seeds
from physinv.evaluation import metrics
from physinv.laws.exact import Smoothable
from physinv.laws.smoothing.base import Smoothed
from physinv.laws.unknown import UnknownNoise
from physinv.posterior.reconstruction import Reconstruction
from physinv.processes.priors import OBSERVED_NOISE
from physinv.processes.varying import Varying

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


@dataclass(frozen=True)
class Missing:
    """How well the entries of trajectories are found that were not observed.

    Args:
        share: Share of the entries that are missing.
        crps: Fair CRPS of them.
        coverage_90: Share of them in the central 90 % interval.
        interpolation: Mean absolute error, the CRPS of a single estimate, of linear interpolation in time between the
            observed entries at the same place, constant beyond them; None where a place is never observed.
        exact_crps: The CRPS of the exact smoother; None where it is not known.
    """

    share: float
    crps: float
    coverage_90: float
    interpolation: float | None = None
    exact_crps: float | None = None


def missing_metrics(recon: Reconstruction, *, seed: Seed = 0) -> Missing | None:
    """Compare the missing entries of trajectories with the truth, for records of everything at the times of frames.

    Args:
        recon: The reconstruction of such a record.
        seed: Seed of the draws of the exact smoother.

    Returns:
        The metrics over all missing entries whose truth is known; None for other records, and where nothing is missing.
    """
    drawn, truth, times, record = recon.frames, recon.frames_truth, recon.time, recon.record
    if drawn is None or truth is None or times is None or record is None or recon.seen is None:
        return None
    told = [entry.get("observe") for entry in recon.info["record"]]
    if set(told) != {"everything"} or tuple(times.tolist()) != record.times or len(told) != len(times):
        return None
    seen, scored = recon.seen.reshape(truth.shape), recon.simulator.layout.scored
    real, known = scored(truth), scored(seen)
    asked = known.isnan() & real.isfinite()
    if not bool(asked.any()) or drawn.shape[1] < _TOGETHER:
        return None

    # All missing numbers as one row of scalars.
    target = real[asked][:, None]
    ours = _of(scored(drawn), asked)
    exact = exact_frames(recon, seed=seed)
    best = None if exact is None else float(metrics.crps(_of(scored(exact), asked), target))
    filled = torch.from_numpy(_interpolated(known.numpy(), times.numpy()))[asked]
    error = float((filled - target[:, 0]).abs().mean()) if bool(filled.isfinite().all()) else None
    covered = float(metrics.coverage(ours, target))
    return Missing(float(asked.double().mean()), float(metrics.crps(ours, target)), covered, error, best)


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
    if recon.record is None or recon.time is None or (exact := exact_given(recon)) is None:
        return None
    generator: torch.Generator = seeds(seed).child("evaluation", "exact").generator()
    return exact.sample_at(recon.seen, recon.samples.shape[1], recon.time.tolist(), generator=generator)


def exact_given(recon: Reconstruction) -> Smoothed | UnknownNoise | None:
    """Return the exact posterior given the observed numbers of a reconstruction.

    Args:
        recon: The reconstruction.

    Returns:
        The posterior; None where final states were observed whole, the process is not linear and Gaussian, something
        but the level of the noise is unknown, or an observation has no closed form: its operator is not linear, or too
        many numbers are seen.
    """
    process, observed = recon.simulator, recon.record or recon.operator
    if observed is None or recon.seen is None:
        return None
    try:
        if isinstance(process, Varying):
            return process.exact_of_noise(observed) if OBSERVED_NOISE in process.unknown else None
        exact = process.exact()
        return exact.given(observed) if isinstance(exact, Smoothable) else None
    except ValueError:  # the observation has none
        return None


def _of(draws: Float[Tensor, "n k *rest"], asked: Bool[Tensor, "n *rest"]) -> Float[Tensor, "entry k 1"]:
    """The entries that are asked for, each with its draws."""
    return draws.movedim(1, -1)[asked][..., None]


def _interpolated(y: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Linear interpolation in time, axis 1, between numbers that are not NaN; NaN where there are none."""
    rows = np.moveaxis(y, 1, -1).reshape(-1, y.shape[1])
    found = np.full_like(rows, np.nan)
    for row, out in zip(rows, found, strict=True):
        if (there := np.isfinite(row)).any():
            out[:] = np.interp(times, times[there], row[there])
    return np.moveaxis(found.reshape(*np.moveaxis(y, 1, -1).shape), -1, 1)
