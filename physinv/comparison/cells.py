"""The cells of a benchmark: one method, one seed, one point of a study; each is done by itself, and once."""

from __future__ import annotations

__all__ = ["Cell", "cells", "check_methods"]

import hashlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from physinv.comparison.recipe import Benchmark, Study, Value, changed
from physinv.config.suggest import did_you_mean
from physinv.methods import METHODS

_NOT_OF_A_CELL = ("methods", "seeds", "studies", "quick", "options")


@dataclass(frozen=True)
class Cell:
    """``benchmark`` with the study's value set; ``study`` is None for the main table."""

    benchmark: Benchmark
    method: str
    seed: int
    study: Study | None = None
    value: Value | None = None

    @property
    def options(self) -> dict[str, Value]:
        """Of the method alone."""
        return self.benchmark.options.get(self.method, {})

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that the figures of this cell depend on, except versions and hardware."""
        kept = self.benchmark.model_dump(mode="json")
        kept = {k: v for k, v in kept.items() if k not in _NOT_OF_A_CELL}
        kept["settings"] = self.benchmark.settings.model_dump(mode="json", exclude_defaults=True)
        return {**kept, "method": self.method, "options": self.options, "seed": self.seed}

    @property
    def key(self) -> str:
        """Names the cell: the same configuration, in the same study, has the same key."""
        study = None if self.study is None else [self.study.name, self.value]
        return _digest({**self.config, "study": study})

    @property
    def data_key(self) -> str:
        """Names the dataset that the cell needs."""
        return _digest({k: self.config[k] for k in ("simulator", "parameters", "splits", "seed")})

    @property
    def label(self) -> str:
        """For people."""
        point = "" if self.study is None else f", {self.study.name} {self.value}"
        return f"{self.method}, seed {self.seed}{point}"


def cells(benchmark: Benchmark) -> Iterator[Cell]:
    """The main table, then the studies; ordered so that cells which share data follow each other."""
    check_methods(benchmark)
    for seed in benchmark.seeds:
        yield from (Cell(benchmark, method, seed) for method in benchmark.methods)
    for study in benchmark.studies:
        for value in study.values:
            point = changed(benchmark, study.key, value)
            for seed in study.seeds or benchmark.seeds:
                yield from (Cell(point, m, seed, study, value) for m in study.methods or benchmark.methods)


def check_methods(benchmark: Benchmark) -> None:
    """ValueError for a method or an option of a method that does not exist, with the nearest that does."""
    named = [*benchmark.methods, *(m for study in benchmark.studies for m in study.methods)]
    for method in named:
        if method not in METHODS:
            raise ValueError(f"there is no method `{method}`; {did_you_mean(method, METHODS)}")
    _check_options(benchmark)
    for study in benchmark.studies:
        for value in study.values:
            _check_options(changed(benchmark, study.key, value))


def _check_options(benchmark: Benchmark) -> None:
    for method, options in benchmark.options.items():
        if method not in METHODS:
            raise ValueError(f"there is no method `{method}`; {did_you_mean(method, METHODS)}")
        known = [p.name for p in inspect.signature(METHODS[method].fit).parameters.values() if p.kind == p.KEYWORD_ONLY]
        for name in options:
            if name not in known:
                hint = did_you_mean(name, known, owner="it has")
                raise ValueError(f"method `{method}` has no option `{name}`; {hint}")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
