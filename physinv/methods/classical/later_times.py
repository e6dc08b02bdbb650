"""The linear estimate as a method, and how much larger errors become beyond the end of a recording.

A short recording is cut once: training, validation, tests, with a gap as long as a window between any two.  Tests lie
further from training than validation does, and errors of a course that is nearly deterministic grow with that distance:
validation windows say too little about the width of intervals of tests, and of all that is observed later.  How fast
errors grow is seen within the training data: regressions are fitted to what comes before some time, and asked about
windows that lie as far beyond it as validation and tests lie beyond the end of training (forecasts from a rolling
origin).

References:
    Tashman (2000), Out-of-sample tests of forecasting accuracy: an analysis and review; James and Stein (1961) for the
    shrinkage.
"""

from __future__ import annotations

__all__ = ["ends_before_tests", "fit_linear_estimate", "fit_widened", "growth_beyond", "load_linear_estimate"]

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean, variance

import torch
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.data.imports.windows import Window
from physinv.equations.sde import SDE
from physinv.methods.classical.linear_estimate import LinearEstimate, fit_linear
from physinv.methods.problem import Problem
from physinv.methods.saving import Setup, loaded_by

_ORIGINS = 4  # times that later windows are predicted from, at most
_SHORTEST = 3  # times fewer windows than training has, at least, are regressed
_KEPT = 0.8  # of the logarithm: growth slows down with more data (benchmarks/recorded_courses.py)


@torch.no_grad()
def load_linear_estimate(setup: Setup, tensors: Mapping[str, Tensor]) -> LinearEstimate:
    """Load the linear estimate.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The linear estimate.
    """
    return LinearEstimate.from_tensors(setup.layout, tensors)


@loaded_by(load_linear_estimate, trains=False, partial=True)
def fit_linear_estimate(problem: Problem) -> LinearEstimate:
    """Fit the linear estimate of a problem (:func:`fit_widened`).

    Args:
        problem: The process and its data.

    Returns:
        The linear estimate.
    """
    return fit_widened(problem.simulator, problem.train, problem.valid)


def fit_widened(sde: SDE, train: TrajectoryDataset, valid: TrajectoryDataset) -> LinearEstimate:
    """Fit the linear estimate (:func:`~physinv.methods.classical.linear_estimate.fit_linear`), with errors as on tests.

    Args:
        sde: The process, for its symmetries.
        train: Training trajectories.
        valid: Validation trajectories.

    Returns:
        The estimate, whose deviation is that of errors on validation data times their growth (:func:`growth_beyond`).
    """
    linear = fit_linear(sde, train, valid)
    return replace(linear, deviation=linear.deviation * growth_beyond(sde, train, valid))


def ends_before_tests(train: TrajectoryDataset) -> bool:
    """Return whether all training data come before validation and tests: windows of one block of time.

    Args:
        train: Training trajectories.
    """
    return list(train.config.get("window", {}).get("blocks", [])) == [train.n_trajectories]


@torch.no_grad()
def growth_beyond(sde: SDE, train: TrajectoryDataset, valid: TrajectoryDataset) -> float:
    """Return by which factor errors on tests are larger than those on validation data, at least 1.

    Args:
        sde: The process, for its symmetries.
        train: Training trajectories.
        valid: Validation trajectories.

    Returns:
        The factor, from the mean of its logarithm over several origins, which is drawn towards 0 as far as it is
        uncertain; 1 where training is not one block of time (then it surrounds tests), or too short for two such
        forecasts.
    """
    if not ends_before_tests(train):
        return 1.0
    about, n, judges = train.config["window"], train.n_trajectories, valid.n_trajectories
    window = Window(about["states"], about["every"], about["stride"])
    skipped = math.ceil(2 * window.span / window.stride) - 1  # windows between those of two blocks: a gap is one long
    earliest, latest = max(n // _SHORTEST, 2), n - 2 * (skipped + judges)
    count = min(1 + (latest - earliest) // judges, _ORIGINS)
    if count < 2:  # what one block of windows shows may be an accident
        return 1.0
    origins = torch.linspace(earliest, latest, count).round().long().tolist()
    ends, states = train.ends(), torch.stack([train.states(i) for i in (0, -1)], 1)

    def windows(first: int, last: int) -> TrajectoryDataset:
        return ends.with_states(states[first:last])

    logs: list[float] = []
    for origin in origins:
        near, far = (origin + skipped + i * (judges + skipped) for i in range(2))
        judge = windows(near, near + judges)
        before = fit_linear(sde, windows(0, origin), judge)
        first, later = (_errors(before, data) for data in (judge, windows(far, far + judges)))
        ratios = [math.log(b / a) for a, b in zip(first, later, strict=True) if min(a, b) > 0]
        logs += [fmean(ratios)] if ratios else []
    if len(logs) < 2 or fmean(logs) <= 0:
        return 1.0
    kept = 1 - variance(logs) / len(logs) / fmean(logs) ** 2
    return math.exp(_KEPT * max(kept, 0.0) * fmean(logs))


def _errors(estimate: LinearEstimate, data: TrajectoryDataset) -> list[float]:
    """Mean modulus of the errors of each channel or component that moves."""
    layout, miss = data.layout, estimate.mean(data.states(-1)) - data.states(0)
    found: list[float] = layout.moving(layout.channel_mean(layout.emptied(miss).abs().double())).flatten().tolist()
    return found
