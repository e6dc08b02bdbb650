"""Moments of a dataset, streamed: what The Well's readers expect in ``stats.yaml``."""

from __future__ import annotations

__all__ = ["Running", "statistics"]

import math
from dataclasses import dataclass

from torch import Tensor

from physinv.data.dataset import TrajectoryDataset


@dataclass
class Running:
    """Count, mean and sum of squared deviations of numbers that arrive in parts (Chan et al. 1983, eq. 2.1)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: Tensor) -> None:
        """Take in more finite numbers, of any shape; sums are float64."""
        n = values.numel()
        if n == 0:
            return
        numbers = values.double()
        mean = float(numbers.mean())
        gap, total = mean - self.mean, self.count + n
        self.squares += float((numbers - mean).square().sum()) + gap**2 * self.count * n / total
        self.mean += gap * n / total
        self.count = total

    @property
    def std(self) -> float:
        """Population standard deviation, 0 of nothing."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    @property
    def rms(self) -> float:
        """Root of the mean square."""
        return math.hypot(self.mean, self.std)


def statistics(data: TrajectoryDataset) -> dict[str, dict[str, float]]:
    """``{"mean": {field: ...}, ...}`` with mean, std and rms, over all trajectories, times and points.

    Those with the suffix ``_delta`` are of the differences between neighbouring stored times.
    """
    names, block = data.layout.names, data.block()
    values, deltas = {k: Running() for k in names}, {k: Running() for k in names}
    for first in range(0, data.n_trajectories, block):
        states = data.trajectories(slice(first, first + block))
        for name, place in data.layout.parts():
            part = states[(..., *place)]
            values[name].add(part)
            deltas[name].add(part[:, 1:].double() - part[:, :-1].double())
    return {
        f"{moment}{suffix}": {name: getattr(running[name], moment) for name in names}
        for suffix, running in (("", values), ("_delta", deltas))
        for moment in ("mean", "std", "rms")
    }
