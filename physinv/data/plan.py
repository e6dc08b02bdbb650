"""Which files a dataset consists of, and where the noise in each part of each file comes from."""

from __future__ import annotations

__all__ = ["SPLITS", "Plan", "Shard", "differences"]

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from physinv.config.seeds import seeds
from physinv.processes.simulator import Simulator, describe

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Shard:
    """One file of one split.  ``chunks``: the number of trajectories and the seed of each part simulated at once."""

    split: str
    number: int
    file: str
    chunks: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """Trajectories in the file."""
        return sum(n for n, _ in self.chunks)


class Plan:
    """A dataset before it is made: a resolved ``config`` (JSON) and the ``shards`` that follow from it alone."""

    def __init__(
        self,
        simulator: Simulator,
        name: str,
        splits: Mapping[str, int],
        seed: int,
        *,
        device: torch.device,
        dtype: Literal["float32", "float64"],
        trajectories_per_shard: int,
        chunk_bytes: int,
    ) -> None:
        _check(name, splits, seed, trajectories_per_shard, dtype)
        self.simulator, self.name, self.device = simulator, name, device
        self.dtype = torch.float64 if dtype == "float64" else torch.float32
        self.trajectory_bytes = 4 * len(simulator.times) * math.prod(simulator.shape)
        chunk = max(1, min(trajectories_per_shard, chunk_bytes // self.trajectory_bytes))
        config = {
            "simulator": name,
            "parameters": describe(simulator),
            "splits": {s: splits[s] for s in SPLITS if s in splits},
            "seed": seed,
            "trajectories_per_shard": trajectories_per_shard,
            "chunk": chunk,
            "dtype": dtype,
            "device": device.type,
        }
        self.config: dict[str, Any] = json.loads(json.dumps(config))
        self.shards = [
            shard for split, total in self.config["splits"].items() for shard in self._split(split, total, seed, chunk)
        ]
        self._check_seeds(seed)

    @property
    def total(self) -> int:
        """Trajectories in all files."""
        return sum(shard.count for shard in self.shards)

    def config_of(self, shard: Shard) -> dict[str, Any]:
        """What is written into the file of ``shard``."""
        return {**self.config, "split": shard.split, "shard": shard.number}

    def _split(self, split: str, total: int, seed: int, chunk: int) -> list[Shard]:
        size = self.config["trajectories_per_shard"]
        sizes = _parts(total, size)
        digits = max(3, len(str(len(sizes) - 1)))
        return [
            Shard(
                split,
                i,
                f"{self.name}_{i:0{digits}d}.hdf5",
                tuple((n, seeds(seed).child("data", split, i, c).number) for c, n in enumerate(_parts(count, chunk))),
            )
            for i, count in enumerate(sizes)
        ]

    def _check_seeds(self, seed: int) -> None:
        """torch's CPU generator looks at 32 bits of a seed only: no two chunks may agree in those."""
        low = [s % 2**32 for shard in self.shards for _, s in shard.chunks]
        if len(set(low)) < len(low):
            raise ValueError(f"`seed` must give every part of the data its own noise, {seed} does not; take another.")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first places where two configurations differ, in words; empty if there is none."""
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


def _check(name: str, splits: Mapping[str, int], seed: int, shard: int, dtype: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"`name` must consist of letters, digits, '.', '_' and '-' (it names files), got {name!r}.")
    if "train" not in splits or not set(splits) <= set(SPLITS):
        raise ValueError(f"`splits` must name train and may name valid and test, got {', '.join(splits) or 'none'}.")
    for split, count in splits.items():
        if count < 1:
            raise ValueError(f"`splits.{split}` must be at least 1 trajectory, got {count}.")
    if not 0 <= seed < 2**63:
        raise ValueError(f"`seed` must be between 0 and 2^63 - 1, got {seed}.")
    if shard < 1:
        raise ValueError(f"`trajectories_per_shard` must be at least 1, got {shard}.")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"`dtype` must be float32 or float64, got {dtype!r}.")
