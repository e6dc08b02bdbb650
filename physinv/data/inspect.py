"""Statistics of stored trajectories, and whether a file is whole."""

from __future__ import annotations

__all__ = ["FieldStatistics", "FieldSummary", "FileSummary", "RunningStatistics", "field_statistics", "inspect"]

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.files import check_regular, read_json, sha256
from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import read_header
from physinv.processes.layout import StateLayout

_AT_ONCE = 2**18  # numbers that are summed at once: few enough to stay in the cache of a processor


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


class FieldStatistics:
    """Accumulate what The Well's readers expect in ``stats.yaml``, of trajectories that arrive in parts.

    Args:
        layout: Layout of the states.

    Example:
        >>> from physinv.processes.layout import VectorLayout
        >>> statistics = FieldStatistics(VectorLayout("x", 1))
        >>> statistics.add(torch.tensor([[[1.0], [4.0]]]))
        >>> statistics.result()["mean"], statistics.result()["mean_delta"]
        ({'x': 2.5}, {'x': 3.0})
    """

    def __init__(self, layout: StateLayout) -> None:
        self._layout = layout
        self._values, self._deltas = ({name: RunningStatistics() for name in layout.names} for _ in range(2))

    def add(self, states: Float[Tensor, "n time *state"]) -> None:
        """Add trajectories, a few at a time, so that sums in float64 need little memory.

        Args:
            states: Finite states, ``(n, time, *state)``.
        """
        valid = self._layout.valid
        for few in torch.split(states, max(1, _AT_ONCE // states[0].numel())):
            for name, place in self._layout.parts():
                part = few[(..., *place)].double()
                part = part if valid is None else part[..., valid]
                self._values[name].add(part)
                self._deltas[name].add(part.diff(dim=1))

    def result(self) -> dict[str, dict[str, float]]:
        """Return the statistics of all that was added.

        Returns:
            ``{"mean": {field: ...}, "std": ..., "rms": ...}`` over all trajectories, times and points, and the same
            with the suffix ``_delta`` of the differences between neighbouring stored times.
        """
        return {
            f"{moment}{suffix}": {name: getattr(running[name], moment) for name in self._layout.names}
            for suffix, running in (("", self._values), ("_delta", self._deltas))
            for moment in ("mean", "std", "rms")
        }


def field_statistics(data: TrajectoryDataset) -> dict[str, dict[str, float]]:
    """Compute what The Well's readers expect in ``stats.yaml``, a block of trajectories at a time.

    Args:
        data: The trajectories, usually those of the training split.

    Returns:
        The statistics, as :meth:`FieldStatistics.result` says.
    """
    statistics = FieldStatistics(data.layout)
    for states in data.blocks():
        statistics.add(states)
    return statistics.result()


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
        checksum: Whether its size, and its SHA-256 if that was asked for, are those in the dataset.json beside the
            data; None where the file is not listed.
        verified: Whether the SHA-256 was asked for.
        name: Name of the dataset.
        n_trajectories: Number of trajectories.
        shape: Shape of one state.
        times: Stored times.
        fields: Summaries by name of the field.
        config: Configuration with which the file was made.
        parameters: Parameters of the process, which the file holds beside that.
    """

    path: Path
    bytes: int
    problem: str = ""
    checksum: bool | None = None
    verified: bool = False
    name: str = ""
    n_trajectories: int = 0
    shape: tuple[int, ...] = ()
    times: tuple[float, ...] = ()
    fields: dict[str, FieldSummary] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether the file is readable to its end, finite, and as dataset.json says."""
        return not self.problem


def inspect(path: Path | str, *, verify: bool = False) -> FileSummary:
    """Read all of a trajectory file and summarise it.

    Args:
        path: The file.
        verify: Whether to compare its SHA-256 with that in dataset.json as well.

    Returns:
        The summary, also of a file that is damaged: its ``problem`` says how.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    path = Path(path)
    check_regular(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    found = FileSummary(path, path.stat().st_size, checksum=_as_listed(path, verify), verified=verify)
    try:
        data = TrajectoryDataset(path)
        fields = _fields(data)
    except (OSError, ValueError) as error:
        return replace(found, problem=str(error).splitlines()[0])
    problem = ""
    if bad := sum(f.not_finite for f in fields.values()):
        problem = f"{path} holds {bad} values that are not finite; generate it again."
    elif found.checksum is False:
        what = "sha256" if verify else "bytes"
        problem = f"{path} is not the file that dataset.json lists ({what}); copy or generate it again."
    return replace(
        found,
        problem=problem,
        name=data.name,
        n_trajectories=data.n_trajectories,
        shape=data.shape,
        times=tuple(data.times.tolist()),
        fields=fields,
        config=data.config,
        parameters=dict(read_header(path, verify=False).parameters),
    )


def _fields(data: TrajectoryDataset) -> dict[str, FieldSummary]:
    names, valid = data.layout.names, data.layout.valid
    running = {name: RunningStatistics() for name in names}
    low, high, bad = dict.fromkeys(names, math.inf), dict.fromkeys(names, -math.inf), dict.fromkeys(names, 0)
    for states in (few for block in data.blocks() for few in torch.split(block, max(1, _AT_ONCE // block[0].numel()))):
        for name, place in data.layout.parts():
            part = states[(..., *place)]
            part = part if valid is None else part[..., valid]
            finite = torch.isfinite(part)
            good = part if bool(finite.all()) else part[finite]
            bad[name] += part.numel() - good.numel()
            if good.numel():
                running[name].add(good)
                low[name], high[name] = min(low[name], float(good.min())), max(high[name], float(good.max()))
    return {n: FieldSummary(low[n], running[n].mean, high[n], running[n].std, bad[n]) for n in names}


def _as_listed(path: Path, verify: bool) -> bool | None:
    """Compare with ``<dataset>/dataset.json`` for a file ``<dataset>/data/<split>/<file>``."""
    try:
        listed = read_json(path.parents[2] / "dataset.json")["files"][f"data/{path.parent.name}/{path.name}"]
        alike = path.stat().st_size == listed["bytes"]
        return bool(alike and (not verify or sha256(path) == listed["sha256"]))
    except (OSError, IndexError, KeyError, TypeError, ValueError):
        return None
