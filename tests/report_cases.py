"""Records and summaries of made-up methods, for the tests of tables and reports."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from physinv.comparison.records import Summary


def cell(method: str, seed: int = 0, study: Any = None, error: str | None = None, **metrics: float | None) -> Any:
    return {
        "schema": 1,
        "key": f"{method}-{seed}-{study}",
        "system": "heat",
        "method": method,
        "options": {},
        "seed": seed,
        "study": study,
        "metrics": metrics,
        "curves": {},
        "cost": {"training_seconds": 60.0, "sampling_seconds": 8.0, "observations": 100, "samples": 16},
        "error": error,
        "commit": "0123abc",
        "versions": {"physinv": "0.1.0"},
        "hardware": "a machine",
        "device": "cpu",
        "threads": 1,
        "date": "2026-01-02T03:04:05+00:00",
    }


def folder(path: Path, *cells: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "cells.jsonl").write_text("".join(json.dumps(c) + "\n" for c in cells), "utf-8")
    return path


def summary(mean: float, error: float | None = 0.001) -> Summary:
    return Summary(mean, error, 1 if error is None else 3)


def table(**methods: tuple[float, float] | tuple[float, float, float]) -> dict[str, dict[str, Summary]]:
    """method = (CRPS, total seconds[, standard error]); underscores stand for hyphens."""
    return {
        m.replace("_", "-"): {"crps": summary(v[0], v[2] if len(v) > 2 else 0.001), "total_seconds": summary(v[1])}
        for m, v in methods.items()
    }


def drawn(path: Path, rng: np.random.Generator, seeds: range, shift: float = 0.0) -> Path:
    """Two methods, four metrics: 1 plus normal noise of 0.01; ``shift`` is added to the CRPS of physinv."""
    cells = []
    for method, seed in itertools.product(("physinv", "linear"), seeds):
        names = ("crps", "energy_score", "variogram_score", "relative_l2")
        values = dict(zip(names, 1 + 0.01 * rng.normal(size=4), strict=True))
        values["crps"] += shift if method == "physinv" else 0
        cells.append(cell(method, seed, **values))
    return folder(path, *cells)
