"""Fields in the plane: the default method beside what it learned alone and Gauss-Newton, on the same observations.

python benchmarks/planes.py navier-stokes burgers-2d --seeds 0 1 --budget 120 --work runs

CRPS, energy score, coverage of the 90 % interval, forward misfit |F(x_0) - x_T|^2 in units of its noise (median),
seconds of a draw, and scores over exact where an exact reference is stored: of the default method, of the same without
Newton's steps (`learned`) and of Gauss-Newton.  Data and runs are kept in --work, so that a long comparison can be made
in parts: seeds in turn, methods of all seeds in turn.  `python field_kernels.py --page` writes the page.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import ROOT, told, write
from field_kernels import compared, scores

from physinv.comparison.shipped import find_benchmark
from physinv.config.devices import threads_for
from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.recipe import load_recipe
from physinv.methods.auto import underlying
from physinv.methods.classical.forward import fit_forward
from physinv.methods.problem import Answer, Problem
from physinv.methods.registry import fit_method
from physinv.methods.reverse import ReverseAnswer
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.runs.run import load_run, train_run
from physinv.training.budget import Budget

SETTINGS = Settings()


@dataclass(frozen=True)
class Plane:
    """A process in the plane, and the numbers of its trajectories."""

    simulator: str
    parameters: Mapping[str, Any]
    splits: Mapping[str, int]


def of_recipe(name: str) -> Plane:
    """What a recipe of `physinv benchmark` compares."""
    recipe = find_benchmark(name)
    return Plane(recipe.simulator, recipe.parameters, recipe.splits.model_dump())


def of_dataset(name: str, **changes: Any) -> Plane:
    """The process of a dataset with some parameters changed, and half as many trajectories."""
    recipe = load_recipe(ROOT / "datasets" / name / "recipe.toml")
    splits = {split: count // 2 for split, count in recipe.splits.model_dump().items()}
    return Plane(recipe.simulator, {**recipe.parameters, **changes}, splits)


SYSTEMS: dict[str, Callable[[], Plane]] = {
    "navier-stokes": lambda: of_recipe("navier-stokes"),
    "burgers-2d": lambda: of_dataset("burgers-2d"),
    "burgers-2d-16": lambda: of_dataset("burgers-2d", size=16),
    "navier-stokes-16": lambda: of_dataset("navier-stokes", size=16, wavenumber=2),
}


@dataclass(frozen=True)
class Bench:
    """The problem of one system and seed, and the folder of its data and run."""

    problem: Problem
    test: TrajectoryDataset
    folder: Path

    def trained(self) -> Answer:
        """The answer of the default method, trained unless it is there already."""
        run, p = self.folder / "run", self.problem
        if not (run / "run.json").exists():
            train_run(run, p.train, p.valid, settings=SETTINGS, budget=p.budget, seed=p.seed, device=p.device)
        return underlying(load_run(run, device=p.device).answer)

    def learned(self) -> Answer:
        """What was learned, without Newton's steps."""
        answer = self.trained()
        assert isinstance(answer, ReverseAnswer)
        return answer.learned


METHODS: dict[str, Callable[[Bench], Answer]] = {
    "physinv": Bench.trained,
    "learned": Bench.learned,
    "gauss-newton": lambda bench: fit_method("gauss-newton", bench.problem),
}


def prepared(name: str, seed: int, budget: float, work: Path) -> Bench:
    """Data of a system, made unless they are there already."""
    plane, folder = SYSTEMS[name](), work / f"{name}-{seed}"
    simulator = build(find(plane.simulator), plane.parameters)
    if not (folder / "data").exists():
        generate(DatasetPlan(simulator, dict(plane.splits), seed, plane.simulator), folder)
    train, valid, test = (TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid", "test"))
    return Bench(Problem(simulator, train, valid, SETTINGS, Budget(seconds=budget), seed), test, folder)


def measured(bench: Bench, method: str, observations: int, count: int) -> dict[str, float]:
    """Figures of one method."""
    truth, final = (bench.test.states(i, limit=observations) for i in (0, -1))
    generator = seeds(bench.problem.seed).child("comparison", "samples").generator()
    with threads_for(bench.test.shape):
        begun = time.perf_counter()
        answer = METHODS[method](bench)
        fitted = time.perf_counter() - begun
        begun = time.perf_counter()
        draws = answer.sample(final, count, generator=generator)
        took = (time.perf_counter() - begun) / len(final) / count
        forward = fit_forward(bench.problem, trajectories=128)
        found = scores(draws, truth, final, forward) | {"seconds of a draw": took, "seconds before": fitted}
        found["RMSE of the mean of the draws"] = float((draws.mean(1) - truth).square().mean().sqrt())
        found |= compared(bench.problem.simulator, draws, truth, final)
        misfit = float(forward.misfit(truth, final).square().sum(1).median())
    return {**{f"{method}: {k}": v for k, v in found.items()}, "truth: median forward misfit": misfit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", default=[*SYSTEMS], metavar="SYSTEM", help=", ".join(SYSTEMS))
    parser.add_argument("--methods", nargs="+", default=[*METHODS], choices=METHODS, help="what is measured")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds of training (default %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of data, training and sampling")
    parser.add_argument("--observations", type=int, default=16, help="final states (default %(default)s)")
    parser.add_argument("--draws", type=int, default=8, help="of each, 4 or more (default %(default)s)")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps data and runs")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    for name in args.systems:
        path = args.out / f"plane-{name}.json"
        record = json.loads(path.read_text("utf-8")) if path.exists() else {"seeds": [], "figures": {}}
        for seed in args.seeds:
            bench = prepared(name, seed, args.budget, args.work)
            for method in args.methods:
                found = measured(bench, method, args.observations, args.draws)
                if seed not in record["seeds"]:
                    record["seeds"].append(seed)
                place = record["seeds"].index(seed)
                for key, value in found.items():
                    values = record["figures"].setdefault(key, [])
                    values[place : place + 1] = [value]
                head = {"benchmark": f"plane-{name}", "seeds": record["seeds"], "budget_seconds": args.budget}
                head |= {"observations": args.observations, "draws": args.draws}
                write(path, head, record["figures"])
                print("\n".join(f"{name} {seed} {key:45s} {value:.4g}" for key, value in found.items()), flush=True)
        print("\n".join(f"{name}: {key:45s} {told(values)}" for key, values in record["figures"].items()), flush=True)


if __name__ == "__main__":
    main()
