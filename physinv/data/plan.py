"""What a dataset consists of before it is made: files, and where the noise in each part of each file comes from."""

from __future__ import annotations

__all__ = [
    "CHUNK_BYTES",
    "MOST_BYTES",
    "MOST_FILES",
    "SPLITS",
    "TRAJECTORIES_PER_SHARD",
    "DatasetPlan",
    "Shard",
    "differences",
]

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch

from physinv.config.failures import told_bytes
from physinv.config.inputs import check_count, check_instance
from physinv.config.inputs import describe as describe_value
from physinv.config.seeds import seeds
from physinv.config.suggest import did_you_mean
from physinv.processes.parameters import describe
from physinv.processes.registry import file_name, name_of
from physinv.processes.simulator import Simulator

SPLITS = ("train", "valid", "test")
"""Names of the splits of a dataset."""

TRAJECTORIES_PER_SHARD = 500
"""Trajectories in one file, at most, of imported data; of simulated ones see :class:`DatasetPlan`."""

CHUNK_BYTES = 64 * 2**20
"""Bytes of trajectories that are simulated, or read, at once."""

_FILES = 20  # of a split: where there would be more, they get larger,
_LARGE, _LARGE_BYTES = 10_000, 16 * 2**20  # up to so many trajectories and bytes


MOST_FILES = 10**5
"""Files of a dataset, at most."""

MOST_BYTES = 2**36
"""Bytes of one trajectory, at most: it is simulated as a whole."""


@dataclass(frozen=True)
class Shard:
    """One file of one split.

    Args:
        split: Name of the split.
        number: Number of the file in the split, from 0.
        file: Name of the file.
        chunks: For each part that is simulated at once, the number of its trajectories and its seed.
    """

    split: str
    number: int
    file: str
    chunks: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """Number of trajectories in the file."""
        return sum(n for n, _ in self.chunks)


@dataclass(frozen=True)
class DatasetPlan:
    """Describe a dataset completely: equal plans give the same bytes.

    Args:
        simulator: The process with all its parameters.
        splits: Number of trajectories by split: train, and valid and test where they are wanted.
        seed: Number from which all noise is derived, from 0 to 2^63 - 1.
        name: Name by which the class of the simulator is found again, and which names the files.  Default: the name
            under which it is registered, or else its place, ``module:Class``.
        device: Device that simulates, which is part of the configuration: other devices give other noise.
        dtype: Precision of the simulation; files hold float32.
        trajectories_per_shard: Trajectories in one file, at most.  None: 500, or up to 10,000 where that makes over 20
            files of a split, as long as a file has 16 MiB at most: a file of few small trajectories is mostly header.
        chunk_bytes: Bytes of trajectories that are simulated at once, at most, but for one whole trajectory.

    Raises:
        ValueError: If an argument does not fit; one line says which.

    Example:
        >>> from simulators.vectors.double_well import DoubleWell
        >>> plan = DatasetPlan(DoubleWell(), {"train": 1200, "valid": 100})
        >>> plan.name, [(shard.split, shard.file, shard.count) for shard in plan.shards][-2:]
        ('double-well', [('train', 'double-well_002.hdf5', 400), ('valid', 'double-well_000.hdf5', 100)])
    """

    simulator: Simulator
    splits: Mapping[str, int]
    seed: int = 0
    name: str = ""
    device: torch.device | str = "cpu"
    dtype: Literal["float32", "float64"] = "float32"
    trajectories_per_shard: int | None = None
    chunk_bytes: int = CHUNK_BYTES

    def __post_init__(self) -> None:
        check_instance(self.simulator, Simulator, "simulator")
        object.__setattr__(self, "name", self.name or name_of(self.simulator.process))
        _check(self)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The plan as JSON, which every file holds; the bytes of the files depend on nothing else."""
        config = {
            "simulator": self.name,
            "parameters": describe(self.simulator),
            "splits": {s: self.splits[s] for s in SPLITS if s in self.splits},
            "seed": self.seed,
            "trajectories_per_shard": self._shard,
            "chunk": self._chunk,
            "dtype": self.dtype,
            "device": torch.device(self.device).type,
        }
        plain: dict[str, Any] = json.loads(json.dumps(config))
        return plain

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """All files, split after split."""
        return tuple(shard for split in SPLITS if split in self.splits for shard in self._shards_of(split))

    @property
    def stem(self) -> str:
        """The name as files bear it: for ``module:Class`` that of the class alone."""
        return file_name(self.name)

    @property
    def total(self) -> int:
        """Number of trajectories in all files."""
        return sum(shard.count for shard in self.shards)

    @property
    def trajectory_bytes(self) -> int:
        """Bytes of one trajectory in a file."""
        return 4 * len(self.simulator.times) * math.prod(self.simulator.shape)

    def config_of(self, shard: Shard) -> dict[str, Any]:
        """Return the configuration that is written into the file of ``shard``, one of :attr:`shards`.

        Args:
            shard: The file.
        """
        return {**self.config, "split": shard.split, "shard": shard.number}

    @property
    def _shard(self) -> int:
        """Trajectories in one file, at most."""
        if self.trajectories_per_shard is not None:
            return self.trajectories_per_shard
        if max(self.splits.values()) <= _FILES * TRAJECTORIES_PER_SHARD:
            return TRAJECTORIES_PER_SHARD
        return max(TRAJECTORIES_PER_SHARD, min(_LARGE, _LARGE_BYTES // self.trajectory_bytes))

    @property
    def _chunk(self) -> int:
        """Trajectories that are simulated at once."""
        return max(1, min(self._shard, self.chunk_bytes // self.trajectory_bytes))

    def _shards_of(self, split: str) -> list[Shard]:
        sizes = _parts(self.splits[split], self._shard)
        digits = max(3, len(str(len(sizes) - 1)))
        return [
            Shard(
                split,
                i,
                f"{self.stem}_{i:0{digits}d}.hdf5",
                tuple(
                    (n, seeds(self.seed).child("data", split, i, c).number)
                    for c, n in enumerate(_parts(count, self._chunk))
                ),
            )
            for i, count in enumerate(sizes)
        ]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say where two configurations differ.

    Args:
        old: What is there already.
        new: What is wanted.

    Returns:
        The first three differences, in words; empty if there is none.

    Example:
        >>> differences({"seed": 0, "splits": {"train": 10}}, {"seed": 0, "splits": {"train": 20}})
        '`splits.train` is 10 there, 20 here'
    """
    a, b = _flat(old), _flat(new)
    found = [k for k in {**a, **b} if a.get(k) != b.get(k)]
    told = [f"`{k}` is {a.get(k, 'absent')} there, {b.get(k, 'absent')} here" for k in found[:3]]
    return "; ".join(told + [f"and {len(found) - 3} more"] * (len(found) > 3))


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in config.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return out


def _parts(total: int, most: int) -> list[int]:
    """``total`` as a sum of as few numbers up to ``most`` as possible, nearly equal ones."""
    n = math.ceil(total / most)
    return [total // n + (i < total % n) for i in range(n)]


def _check_size(plan: DatasetPlan) -> None:
    """Refuse what no machine holds before files are listed and states are made."""
    one, total = plan.trajectory_bytes, sum(plan.splits.values())
    if one > MOST_BYTES:
        times, shape = len(plan.simulator.times), " x ".join(map(str, plan.simulator.shape))
        raise ValueError(
            f"`simulator` makes trajectories of {times} times x {shape} numbers: each needs {told_bytes(one)} of "
            f"memory, {told_bytes(MOST_BYTES)} are the most; take fewer steps, points or components."
        )
    files = sum(-(-count // plan._shard) for count in plan.splits.values())
    if files > MOST_FILES:
        raise ValueError(
            f"`splits` ask for {total} trajectories, {told_bytes(total * one)} on disk in {files} files, {MOST_FILES} "
            "are the most; take fewer, or more `trajectories_per_shard` in a recipe."
        )


def _check(plan: DatasetPlan) -> None:
    if not isinstance(plan.name, str) or not re.fullmatch(r"([A-Za-z_][\w.]*:)?[A-Za-z0-9][A-Za-z0-9._-]*", plan.name):
        raise ValueError(
            f"`name` must consist of letters, digits, '.', '_' and '-' (it names files), or be module:Class, "
            f"got {plan.name!r}; give `name`, or define the class at the top of a module."
        )
    if not isinstance(plan.splits, Mapping):
        told = describe_value(plan.splits)
        raise ValueError(f"`splits` must map names to numbers, such as {{'train': 100}}, got {told}; give a dict.")
    for split in plan.splits:
        if split not in SPLITS:
            hint = did_you_mean(str(split), SPLITS)
            raise ValueError(f"`splits` must name train, valid or test, got `{split}`; {hint}")
    if "train" not in plan.splits:
        told = ", ".join(plan.splits) or "none"
        raise ValueError(f"`splits` must name train and may name valid and test, got {told}.")
    for split, count in plan.splits.items():
        check_count(count, f"splits.{split}")
    if isinstance(plan.seed, bool) or not isinstance(plan.seed, int):
        raise ValueError(f"`seed` must be a whole number, got {describe_value(plan.seed)}; give 0, for example.")
    if not 0 <= plan.seed < 2**63:
        raise ValueError(f"`seed` must be between 0 and 2^63 - 1, got {plan.seed}.")
    if plan.trajectories_per_shard is not None:
        check_count(plan.trajectories_per_shard, "trajectories_per_shard")
    _check_size(plan)
    if plan.dtype not in ("float32", "float64"):
        raise ValueError(f"`dtype` must be float32 or float64, got {plan.dtype!r}.")
    # torch's CPU generator looks at 32 bits of a seed only: no two parts may agree in those
    low = [seed % 2**32 for shard in plan.shards for _, seed in shard.chunks]
    if len(set(low)) < len(low):
        raise ValueError(f"`seed` must give every part of the data its own noise, {plan.seed} does not; take another.")
