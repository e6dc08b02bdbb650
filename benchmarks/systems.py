"""Every recipe: does its small split generate quickly, and does training beat the linear estimate of the initial state?

python benchmarks/systems.py --only wave kpz    results/systems.json; the other rows stay

CRPS of 10 samples, of vectors 100, of the default method, as `physinv train` trains it, against that of the linear
estimate (LMMSE, with the variance that it misses) and of the exact posterior where there is one, on the same test
trajectories. One row per system, with the method that the default one chose; the file is written after each. The first
reconstruction is kept in results/systems/examples; ``gallery.py`` draws it.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import torch
from common import ROOT, write

from physinv.comparison.examples import Example, write_example
from physinv.config.devices import pick_device, threads_for
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.recipe import load_recipe
from physinv.evaluation import metrics
from physinv.methods.auto import Chosen
from physinv.methods.classical.linear_estimate import fit_linear
from physinv.methods.problem import Problem
from physinv.methods.registry import DEFAULT_METHOD, fit_method
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.training.budget import Budget

OBSERVATIONS, SAMPLES = 100, 10  # of fields
MANY, EACH, SMALL = 500, 100, 16  # observations, and samples of each, of states of so few numbers
LONGER = {"buoyancy": 3, "navier-stokes": 3, "navier-stokes-128": 4}  # times the budget, for the larger fields


def once(name: str, seed: int, budget: float, example: Path) -> tuple[dict[str, float], str]:
    """Figures of one system, and the method; its first reconstruction goes to ``example``, in half precision."""
    recipe = load_recipe(ROOT / "datasets" / name / "recipe.toml")
    simulator = build(find(recipe.simulator), recipe.parameters)
    device, spend = pick_device(None), Budget(seconds=budget * LONGER.get(name, 1))
    with tempfile.TemporaryDirectory() as tmp:
        begun = time.perf_counter()
        generate(DatasetPlan(simulator, recipe.splits.model_dump(), seed, recipe.simulator), Path(tmp) / "data")
        made = time.perf_counter() - begun
        train, valid, test = (
            TrajectoryDataset(Path(tmp) / "data" / "data" / s).load(device) for s in ("train", "valid", "test")
        )
    problem = Problem(simulator, train, valid, Settings(), spend, seed=seed, device=device)
    trained, linear = fit_method(DEFAULT_METHOD, problem), fit_linear(simulator, train, valid)
    few = math.prod(test.shape) > SMALL
    n, draws = (min(OBSERVATIONS, test.n_trajectories), SAMPLES) if few else (min(MANY, test.n_trajectories), EACH)
    truth, final = test.states(0, limit=n), test.states(-1, limit=n)
    moving, draw = simulator.layout.moving, torch.Generator(device).manual_seed(seed)
    begun = time.perf_counter()
    with threads_for(test.shape):
        generator = torch.Generator(device).manual_seed(seed)
        samples = trained.sample(final, draws, generator=generator)
    spent = time.perf_counter() - begun
    was, seen, drawn = (x[:1].half().cpu() for x in (truth, final, samples))
    write_example(example, Example(was, seen, drawn, simulator.layout, None))
    theirs = linear.sample(final, draws, generator=draw)
    T = moving(truth)
    figures = {
        "seconds to generate": made,
        "seconds of training": float(spend.seconds or 0.0),
        "CRPS": float(metrics.crps(moving(samples), T)),
        "CRPS, linear": float(metrics.crps(moving(theirs), T)),
        "coverage of 90 %": float(metrics.coverage(moving(samples), T, 0.9)),
        "spread over skill": float(metrics.spread_skill(moving(samples), T)),
        "relative L2 of the mean": float(metrics.relative_l2(moving(samples.mean(1)), T)),
        "relative L2, linear": float(metrics.relative_l2(moving(linear.mean(final)), T)),
        "seconds per observation": spent / n,
    }
    exact = simulator.exact()
    if exact is not None:
        figures["CRPS, exact"] = float(metrics.crps(moving(exact.sample(final, draws, generator=draw)), T))
    return figures, trained.method if isinstance(trained, Chosen) else DEFAULT_METHOD


def main() -> None:
    names = sorted(p.parent.name for p in (ROOT / "datasets").glob("*/recipe.toml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="SYSTEM", help=", ".join(names))
    parser.add_argument("--budget", type=float, default=120.0, help="seconds of training (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of data, training and sampling")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    path, examples = args.out / "systems.json", args.out / "systems" / "examples"
    for name in args.only:
        figures, method = once(name, args.seed, args.budget, examples / f"{name}.npz")
        print(f"{name}: {method}")
        print("\n".join(f"  {key:40s} {value:.4g}" for key, value in figures.items()), flush=True)
        record = json.loads(path.read_text("utf-8")) if path.exists() else {"figures": {}}
        kept = {k: v for k, v in record["figures"].items() if not k.startswith(f"{name}: ")}
        head = {"benchmark": "systems", "seeds": [args.seed], "budget_seconds": args.budget}
        head["methods"] = {**record.get("methods", {}), name: method}
        write(path, head, kept | {f"{name}: {key}": [value] for key, value in figures.items()})


if __name__ == "__main__":
    main()
