"""Shared by the benchmark scripts: data, a timed training run, and results with all that they depend on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch

from physinv.devices import pick_device
from physinv.generate import generate
from physinv.recipe import load_recipe
from physinv.registry import find
from physinv.run import Run, load_run, train_run
from physinv.schema import versions
from physinv.settings import Settings
from physinv.simulator import build
from physinv.trajectories import TrajectoryDataset

ROOT = Path(__file__).resolve().parent.parent


def arguments(description: str, budget: float) -> argparse.Namespace:
    """Options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--budget", type=float, default=budget, help="seconds of training (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of data, training and sampling")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    return parser.parse_args()


def trained(
    name: str, seed: int, budget: float, settings: Settings, changes: dict[str, Any] | None = None
) -> tuple[Run, TrajectoryDataset, float]:
    """Generate the data of datasets/<name>/recipe.toml with ``seed``, train; the run, its test data, seconds used.

    ``changes`` to the recipe's parameters make another process of the same kind.
    """
    recipe = load_recipe(ROOT / "datasets" / name / "recipe.toml")
    simulator = build(find(recipe.simulator), recipe.parameters | (changes or {}))
    with tempfile.TemporaryDirectory() as tmp:
        data = generate(simulator, recipe.simulator, recipe.splits.model_dump(), seed, Path(tmp) / "data")
        train, valid, test = (TrajectoryDataset(data / "data" / s).load() for s in ("train", "valid", "test"))
        device = pick_device(None)
        history = train_run(Path(tmp) / "run", train, valid, settings=settings, budget=budget, seed=seed, device=device)
        return load_run(Path(tmp) / "run", device=device), test, history.records[-1].seconds


def report(name: str, figures: dict[str, Any], args: argparse.Namespace) -> None:
    """Print the figures and write them to ``<out>/<name>.json`` with hardware, versions, commit and seed."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    result = {
        "benchmark": name,
        "seed": args.seed,
        "budget_seconds": args.budget,
        "figures": figures,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "device": str(pick_device(None)),
        "versions": versions(),
        "commit": commit.stdout.strip(),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    for key, value in figures.items():
        print(f"{key:42s} {value:.5g}" if isinstance(value, float) else f"{key:42s} {value}")
