"""Shared by the benchmark scripts: data, a timed training run, and results over several seeds with their spread."""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from physinv.config.devices import hardware, pick_device
from physinv.config.settings import Settings
from physinv.config.versions import versions
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.recipe import load_recipe
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.runs.run import Run, load_run, train_run
from physinv.training.budget import Budget

ROOT = Path(__file__).resolve().parent.parent
COMMIT = subprocess.run(
    ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
).stdout.strip()
Figures = Mapping[str, float]


def timing_arguments(about: str | None) -> argparse.Namespace:
    """Command line of a script that times updates: ``threads``, ``repetitions`` and ``out``; sets the threads."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    parser.add_argument("--repetitions", type=int, default=30, help="medians of these (default %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def update_milliseconds(net: torch.nn.Module, x: torch.Tensor, t: torch.Tensor) -> float:
    """CPU time of one update without the optimiser."""
    begun = time.process_time()
    net(x, t).square().mean().backward()
    return 1e3 * (time.process_time() - begun)


def repeat(name: str, about: str | None, once: Callable[[int, float], Figures], *, budget: float) -> None:
    """Command line of a benchmark: ``once(seed, seconds of training)`` for each seed; print and write all figures.

    ``<out>/<name>.json`` holds the values of every figure in the order of the seeds, with hardware, versions, commit.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=budget, help="seconds of training (default %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of data, training and sampling")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, list[float]] = {}
    for i, seed in enumerate(args.seeds):
        for key, value in once(seed, args.budget).items():
            figures.setdefault(key, []).append(float(value))
        done = args.seeds[: i + 1]
        print(f"\n{name}, seeds {done}: mean +- standard deviation", flush=True)
        for key, values in figures.items():
            print(f"  {key:62s} {told(values)}", flush=True)
        write(args.out / f"{name}.json", {"benchmark": name, "seeds": done, "budget_seconds": args.budget}, figures)


def write(path: Path, head: Mapping[str, Any], figures: Mapping[str, list[float]]) -> None:
    """The figures so far, with hardware, versions, and the commit that was checked out when the script began."""
    result = {
        **head,
        "figures": figures,
        "hardware": f"{hardware()}, {torch.get_num_threads()} threads",
        "device": str(pick_device(None)),
        "versions": versions(),
        "commit": COMMIT,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def told(values: list[float]) -> str:
    """Mean and standard deviation of a figure over seeds, in words."""
    x = torch.tensor(values, dtype=torch.float64)
    return f"{float(x.mean()):.4g}" + (f" +- {float(x.std()):.1g}" if len(values) > 1 else "")


def dataset(
    name: str, seed: int, folder: Path, *, changes: Mapping[str, Any] | None = None, train: int | None = None
) -> dict[str, TrajectoryDataset]:
    """Train, valid and test data of datasets/<name>/recipe.toml with ``seed``, in memory, made in ``folder``.

    ``changes`` to the recipe's parameters make another process of the same kind; ``train`` trajectories if given.
    """
    recipe = load_recipe(ROOT / "datasets" / name / "recipe.toml")
    simulator = build(find(recipe.simulator), recipe.parameters | dict(changes or {}))
    splits = recipe.splits.model_dump() | ({"train": train} if train else {})
    made = generate(DatasetPlan(simulator, splits, seed, recipe.simulator), folder)
    return {s: TrajectoryDataset(made / "data" / s).load() for s in ("train", "valid", "test")}


def trained(
    name: str,
    seed: int,
    budget: float,
    settings: Settings,
    changes: Mapping[str, Any] | None = None,
    train: int | None = None,
) -> tuple[Run, TrajectoryDataset, float]:
    """Data as in :func:`dataset`, trained for ``budget`` seconds: the run, its test data, seconds used."""
    with tempfile.TemporaryDirectory() as tmp:
        data = dataset(name, seed, Path(tmp) / "data", changes=changes, train=train)
        run, device = Path(tmp) / "run", pick_device(None)
        history = train_run(
            run,
            data["train"],
            data["valid"],
            settings=settings,
            budget=Budget(seconds=budget),
            seed=seed,
            device=device,
        )
        return load_run(run, device=device), data["test"], history.records[-1].seconds
