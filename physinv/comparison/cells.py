"""The cells of a benchmark: one method with one seed at one point of a study, each run once, in its own process."""

from __future__ import annotations

__all__ = ["Cell", "cells", "check_benchmark"]

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from physinv.comparison.recipe import Benchmark, Study, Value, changed
from physinv.laws.operators import named
from physinv.methods.registry import check_options
from physinv.processes.parameters import build
from physinv.processes.registry import find

_NOT_OF_A_CELL = ("methods", "seeds", "studies", "quick", "options")


@dataclass(frozen=True)
class Cell:
    """One method with one seed, for the main table or at one point of a study.

    Args:
        benchmark: The benchmark, with the study's value set.
        method: The method.
        seed: Seed of data, training and sampling.
        study: The study; None for the main table.
        value: The value of the study's setting; None for the main table.
    """

    benchmark: Benchmark
    method: str
    seed: int
    study: Study | None = None
    value: Value | None = None

    @property
    def options(self) -> dict[str, Value]:
        """Options of the method."""
        return self.benchmark.options.get(self.method, {})

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that the results of this cell depend on, except versions and hardware.

        Returns:
            Values of the recipe, with the method, its options and the seed.
        """
        kept = self.benchmark.model_dump(mode="json")
        kept = {k: v for k, v in kept.items() if k not in _NOT_OF_A_CELL}
        if kept["observation"] is None:  # cells of whole final states keep the keys that they have always had
            del kept["observation"]
        kept["settings"] = self.benchmark.settings.model_dump(mode="json", exclude_defaults=True)
        return {**kept, "method": self.method, "options": self.options, "seed": self.seed}

    @property
    def key(self) -> str:
        """Name of the cell: the same configuration in the same study has the same key."""
        study = None if self.study is None else [self.study.name, self.value]
        return _digest({**self.config, "study": study})

    @property
    def data_key(self) -> str:
        """Name of the dataset that the cell needs."""
        return _digest({k: self.config[k] for k in ("simulator", "parameters", "splits", "seed")})

    @property
    def label(self) -> str:
        """Name of the cell in progress lines and messages."""
        point = "" if self.study is None else f", {self.study.name} {self.value}"
        return f"{self.method}, seed {self.seed}{point}"


def cells(benchmark: Benchmark) -> Iterator[Cell]:
    """List the cells of a benchmark: the main table, then the studies, those that share data next to each other.

    Args:
        benchmark: The benchmark.

    Yields:
        The cells.

    Raises:
        ValueError: If there is no such method or option.
    """
    check_benchmark(benchmark)
    for seed in benchmark.seeds:
        yield from (Cell(benchmark, method, seed) for method in benchmark.methods)
    for study in benchmark.studies:
        for value in study.values:
            point = changed(benchmark, study.key, value)
            for seed in study.seeds or benchmark.seeds:
                yield from (Cell(point, m, seed, study, value) for m in study.methods or benchmark.methods)


def check_benchmark(benchmark: Benchmark) -> None:
    """Check that all methods of a benchmark exist, have the options given, and can be asked for what is observed.

    Args:
        benchmark: The benchmark, with its studies.

    Raises:
        ValueError: If there is no such method, option or observation; one line names the nearest.
    """
    for method in [*benchmark.methods, *(m for study in benchmark.studies for m in study.methods)]:
        check_options(method, {})
    points = [changed(benchmark, study.key, value) for study in benchmark.studies for value in study.values]
    for point in (benchmark, *points):
        for method, options in point.options.items():
            check_options(method, options)
        if (seen := point.observation) is not None:
            named(seen.observe, seen.noise, build(find(point.simulator), point.parameters).shape)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
