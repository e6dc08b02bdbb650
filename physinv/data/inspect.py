"""What is in a trajectory file, and is it whole?  For `physinv info`."""

from __future__ import annotations

__all__ = ["FieldSummary", "Summary", "inspect"]

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.statistics import Running


@dataclass(frozen=True)
class FieldSummary:
    """Numbers about one field: over all finite values, and how many are not."""

    minimum: float
    mean: float
    maximum: float
    std: float
    not_finite: int


@dataclass(frozen=True)
class Summary:
    """What :func:`inspect` finds.  ``problem`` is empty if the file is whole; else the rest may be missing.

    ``checksum``: True or False where the dataset.json beside the data lists the file, None where nothing does.
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
        """Readable to the end, finite, and as dataset.json says."""
        return not self.problem


def inspect(path: Path | str) -> Summary:
    """Read all of the file ``path``, a part at a time.  FileNotFoundError if there is none."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    size, checksum = path.stat().st_size, _checksum(path)
    try:
        data = TrajectoryDataset(path)
        fields = _fields(data)
    except (OSError, ValueError) as error:
        return Summary(path, size, str(error).splitlines()[0], checksum)
    problem = ""
    if bad := sum(f.not_finite for f in fields.values()):
        problem = f"{path} holds {bad} values that are not finite; generate it again."
    elif checksum is False:
        problem = f"{path} is not the file that dataset.json lists (sha256); copy or generate it again."
    return Summary(
        path,
        size,
        problem,
        checksum,
        data.name,
        data.n_trajectories,
        data.shape,
        tuple(data.times.tolist()),
        fields,
        data.config,
    )


def _fields(data: TrajectoryDataset) -> dict[str, FieldSummary]:
    names, block = data.layout.names, data.block()
    running = {name: Running() for name in names}
    low, high, bad = dict.fromkeys(names, math.inf), dict.fromkeys(names, -math.inf), dict.fromkeys(names, 0)
    for first in range(0, data.n_trajectories, block):
        states = data.trajectories(slice(first, first + block))
        for name, place in data.layout.parts():
            part = states[(..., *place)]
            good = part[torch.isfinite(part)]
            bad[name] += part.numel() - good.numel()
            if good.numel():
                running[name].add(good)
                low[name], high[name] = min(low[name], float(good.min())), max(high[name], float(good.max()))
    return {n: FieldSummary(low[n], running[n].mean, high[n], running[n].std, bad[n]) for n in names}


def _checksum(path: Path) -> bool | None:
    """Compare with ``<dataset>/dataset.json`` for a file ``<dataset>/data/<split>/<file>``."""
    try:
        listed = json.loads((path.parents[2] / "dataset.json").read_text("utf-8"))["files"]
        expected = listed[f"data/{path.parent.name}/{path.name}"]["sha256"]
        with path.open("rb") as file:
            return bool(hashlib.file_digest(file, "sha256").hexdigest() == expected)
    except (OSError, IndexError, KeyError, TypeError, ValueError):
        return None
