"""Statistics of stored trajectories, and whether a file is whole."""

from __future__ import annotations

__all__ = ["FieldSummary", "FileSummary", "RunningStatistics", "field_statistics", "inspect"]

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physinv.config.files import read_json, sha256
from physinv.data.dataset import TrajectoryDataset


@dataclass
class RunningStatistics:
    """Accumulate mean and standard deviation of numbers that arrive in parts.

    Attributes:
        count: How many numbers have arrived.
        mean: Their mean.
        squares: Sum of their squared deviations from the mean.

    References:
        Chan, Golub and LeVeque, Algorithms for computing the sample variance (1983), eq. 2.1.

    Example:
        >>> running = RunningStatistics()
        >>> running.add(torch.tensor([1.0, 2.0]))
        >>> running.add(torch.tensor([6.0]))
        >>> running.mean, running.squares
        (3.0, 14.0)
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: Tensor) -> None:
        """Add numbers.

        Args:
            values: Finite numbers, of any shape; sums are taken in float64.
        """
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
        """Population standard deviation; 0 where no number has arrived."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    @property
    def rms(self) -> float:
        """Root of the mean square."""
        return math.hypot(self.mean, self.std)


def field_statistics(data: TrajectoryDataset) -> dict[str, dict[str, float]]:
    """Compute what The Well's readers expect in ``stats.yaml``, a block of trajectories at a time.

    Args:
        data: The trajectories, usually those of the training split.

    Returns:
        ``{"mean": {field: ...}, "std": ..., "rms": ...}`` over all trajectories, times and points, and the same with
        the suffix ``_delta`` of the differences between neighbouring stored times.
    """
    names, valid = data.layout.names, data.layout.valid
    values, deltas = ({name: RunningStatistics() for name in names} for _ in range(2))
    for states in data.blocks():
        for name, place in data.layout.parts():
            part = states[(..., *place)]
            part = part if valid is None else part[..., valid]
            values[name].add(part)
            deltas[name].add(part[:, 1:].double() - part[:, :-1].double())
    return {
        f"{moment}{suffix}": {name: getattr(running[name], moment) for name in names}
        for suffix, running in (("", values), ("_delta", deltas))
        for moment in ("mean", "std", "rms")
    }


@dataclass(frozen=True)
class FieldSummary:
    """Summarise one field of a file.

    Args:
        minimum: Least of its finite values.
        mean: Mean of its finite values.
        maximum: Greatest of its finite values.
        std: Standard deviation of its finite values.
        not_finite: How many values are NaN or infinite.
    """

    minimum: float
    mean: float
    maximum: float
    std: float
    not_finite: int


@dataclass(frozen=True)
class FileSummary:
    """Summarise a trajectory file; what can't be read is empty.

    Args:
        path: The file.
        bytes: Its size.
        problem: What is wrong with it, in one line; empty if nothing is.
        checksum: Whether its SHA-256 is that in the dataset.json beside the data; None where the file is not listed.
        name: Name of the dataset.
        n_trajectories: Number of trajectories.
        shape: Shape of one state.
        times: Stored times.
        fields: Summaries by name of the field.
        config: Configuration with which the file was made.
    """

    path: Path
    bytes: int
    problem: str = ""
    checksum: bool | None = None
    name: str = ""
    n_trajectories: int = 0
    shape: tuple[int, ...] = ()
    times: tuple[float, ...] = ()
    fields: dict[str, FieldSummary] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether the file is readable to its end, finite, and as dataset.json says."""
        return not self.problem


def inspect(path: Path | str) -> FileSummary:
    """Read all of a trajectory file and summarise it.

    Args:
        path: The file.

    Returns:
        The summary, also of a file that is damaged: its ``problem`` says how.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    size, checksum = path.stat().st_size, _checksum(path)
    try:
        data = TrajectoryDataset(path)
        fields = _fields(data)
    except (OSError, ValueError) as error:
        return FileSummary(path, size, str(error).splitlines()[0], checksum)
    problem = ""
    if bad := sum(f.not_finite for f in fields.values()):
        problem = f"{path} holds {bad} values that are not finite; generate it again."
    elif checksum is False:
        problem = f"{path} is not the file that dataset.json lists (sha256); copy or generate it again."
    times = tuple(data.times.tolist())
    return FileSummary(
        path, size, problem, checksum, data.name, data.n_trajectories, data.shape, times, fields, data.config
    )


def _fields(data: TrajectoryDataset) -> dict[str, FieldSummary]:
    names, valid = data.layout.names, data.layout.valid
    running = {name: RunningStatistics() for name in names}
    low, high, bad = dict.fromkeys(names, math.inf), dict.fromkeys(names, -math.inf), dict.fromkeys(names, 0)
    for states in data.blocks():
        for name, place in data.layout.parts():
            part = states[(..., *place)]
            part = part if valid is None else part[..., valid]
            good = part[torch.isfinite(part)]
            bad[name] += part.numel() - good.numel()
            if good.numel():
                running[name].add(good)
                low[name], high[name] = min(low[name], float(good.min())), max(high[name], float(good.max()))
    return {n: FieldSummary(low[n], running[n].mean, high[n], running[n].std, bad[n]) for n in names}


def _checksum(path: Path) -> bool | None:
    """Compare with ``<dataset>/dataset.json`` for a file ``<dataset>/data/<split>/<file>``."""
    try:
        listed = read_json(path.parents[2] / "dataset.json")["files"]
        return bool(sha256(path) == listed[f"data/{path.parent.name}/{path.name}"]["sha256"])
    except (OSError, IndexError, KeyError, TypeError, ValueError):
        return None
