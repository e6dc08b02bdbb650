"""Reference posteriors of nonlinear processes, and checks of what makes them.

python benchmarks/references.py check          Monte Carlo against closed forms, Fokker-Planck and importance sampling
python benchmarks/references.py make burgers   a reference, into benchmarks/results/references/burgers.hdf5
python benchmarks/references.py refine         Burgers: samples before and after 20 and 80 gradients

A reference holds the first test observations of the benchmark's own data (recipe and seed as `physinv benchmark`
makes them): moments, a few draws, and the scores of all draws against the truth, which every other method is held
against.  CRPS and energy score are fair; their errors are those of the mean over the observations.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from common import COMMIT
from torch import Tensor

from physinv.comparison.shipped import find_benchmark
from physinv.config.seeds import seeds
from physinv.config.versions import versions
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation import metrics
from physinv.evaluation.references import FOLDER, StoredReference, write_reference
from physinv.methods.classical.monte_carlo.mcmc import fit_mcmc
from physinv.methods.classical.monte_carlo.path import fit_path_model
from physinv.methods.classical.monte_carlo.refine import refine
from physinv.methods.problem import Problem
from physinv.methods.registry import fit_method
from physinv.processes.parameters import build, describe
from physinv.processes.registry import find
from physinv.training.budget import Budget


@dataclass(frozen=True)
class System:
    """What a reference is made of: a benchmark's recipe by name, or a process of its own."""

    simulator: str
    parameters: dict[str, Any]
    splits: dict[str, int]
    observations: int
    draws: int = 16
    options: dict[str, Any] = field(default_factory=dict)


def of_recipe(name: str, observations: int, **options: Any) -> System:
    recipe = find_benchmark(name)
    splits = recipe.splits.model_dump()
    return System(recipe.simulator, dict(recipe.parameters), splits, observations, options=options)


SYSTEMS = {
    "burgers": lambda: of_recipe("burgers", 100, late=1.0, substeps=12, iterations=70, warm_up=20, most=2),
}


@dataclass(frozen=True)
class Data:
    """A problem and its test observations."""

    problem: Problem
    truth: Tensor
    final: Tensor


def data_of(system: System, seed: int) -> Data:
    simulator = build(find(system.simulator), system.parameters)
    with tempfile.TemporaryDirectory() as tmp:
        made = generate(DatasetPlan(simulator, system.splits, seed, system.simulator), Path(tmp) / "d")
        train, valid, test = (TrajectoryDataset(made / "data" / s).load() for s in ("train", "valid", "test"))
    n = system.observations
    return Data(Problem(simulator, train, valid, seed=seed), test.states(0, limit=n), test.states(-1, limit=n))


def error(per_observation: Tensor) -> float:
    """Standard error of the mean over observations."""
    return float(per_observation.std() / math.sqrt(len(per_observation)))


def scores(draws: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Fair CRPS, averaged over components, and fair energy score, of each observation."""
    crps = metrics.crps_map(draws, truth).flatten(1).mean(1)
    energy = torch.stack([metrics.energy_score(d[None], t[None]) for d, t in zip(draws, truth, strict=True)])
    return crps, energy


def make(name: str, seed: int) -> None:
    """Make one reference and print its figures."""
    system = SYSTEMS[name]()
    data = data_of(system, seed)
    simulator, begun = data.problem.simulator, time.process_time()
    posterior = fit_mcmc(data.problem, **system.options)
    generator = seeds(seed).child("comparison", "samples").generator()
    found = posterior.explore(data.final, generator=generator)
    moving = simulator.layout.moving
    whole = found.draws.transpose(1, 2).flatten(1, 2)
    crps, energy = scores(moving(found.thinned(min(200, whole.shape[1]))), moving(data.truth))
    figures = {
        "crps": float(crps.mean()),
        "crps_error": error(crps),
        "energy_score": float(energy.mean()),
        "energy_score_error": error(energy),
        "coverage_90": float(metrics.coverage(moving(whole), moving(data.truth))),
        "largest_r_hat": float(found.r_hat.max()),
        "least_effective": float(found.effective.min()),
        "accepted": float(found.accepted.mean()),
        "cpu_seconds": round(time.process_time() - begun, 1),
    }
    info = {
        "command": f"python benchmarks/references.py make {name} --seed {seed}",
        "method": "mcmc",
        "options": system.options,
        "simulator": system.simulator,
        "class": type(simulator).__name__,
        "parameters": describe(simulator),
        "seed": seed,
        "split": "test",
        "trajectories": [0, len(data.final)],
        "figures": figures,
        "versions": versions(),
        "commit": COMMIT,
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    stored = StoredReference(
        data.final,
        data.truth,
        whole.mean(1),
        whole.std(1),
        found.thinned(system.draws),
        crps,
        energy,
        found.r_hat.float(),
        found.effective.float(),
        info,
    )
    write_reference(FOLDER / f"{name}.hdf5", stored)
    print(name, {k: round(v, 5) for k, v in figures.items()}, flush=True)


def refined(seed: int, observations: int, budget: float) -> None:
    """Scores of samples of Gauss-Newton and of physinv on Burgers before and after 20 and 80 gradients."""
    data = data_of(of_recipe("burgers", observations), seed)
    problem = replace(data.problem, budget=Budget(seconds=budget))
    model = fit_path_model(problem.simulator, generator=seeds(seed).child("method", "paths").generator())
    for method in ("gauss-newton", "physinv"):
        answer = fit_method(method, problem)
        samples = answer.sample(data.final, 16, generator=seeds(seed).child("comparison", "samples").generator())
        for gradients in (0, 20, 80):
            begun, generator = time.process_time(), seeds(seed).child("reconstruction", "refinement").generator()
            moved = refine(model, samples.detach(), data.final, gradients, generator=generator)
            crps, energy = scores(moved, data.truth)
            seconds = (time.process_time() - begun) / (16 * observations)
            print(
                f"{method}, {gradients} gradients: CRPS {float(crps.mean()):.4f} +- {error(crps):.4f}, energy score "
                f"{float(energy.mean()):.3f}, coverage {float(metrics.coverage(moved, data.truth)):.3f}, "
                f"{1e3 * seconds:.1f} CPU ms a sample",
                flush=True,
            )


def check(seed: int) -> None:
    """Scores of Monte Carlo over those of the exact posterior, on the heat equation and in a double well."""
    heat = System("heat", {"size": 16, "dimension": 1, "steps": 4}, {"train": 200, "valid": 60, "test": 100}, 100)
    well = System(
        "double-well",
        {"barrier": 0.5, "temperature": 0.3, "start": 0.25, "horizon": 0.3, "steps": 2},
        {"train": 200, "valid": 60, "test": 100},
        100,
    )
    for system in (heat, well):
        data, generator = data_of(system, seed), seeds(seed).child("comparison", "samples").generator()
        found = fit_mcmc(data.problem).explore(data.final, generator=generator)
        law = data.problem.simulator.exact()
        assert law is not None
        exact = law.sample(data.final, 600, generator=generator)
        ours, theirs = (scores(d, data.truth)[0] for d in (found.draws.flatten(1, 2), exact))
        print(
            f"{system.simulator}: CRPS over exact {float(ours.mean() / theirs.mean()):.4f} +- "
            f"{error(ours - theirs) / float(theirs.mean()):.4f}, R-hat up to {float(found.r_hat.max()):.3f}, "
            f"{float(found.effective.min()):.0f} effective draws or more",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "check", "refine"))
    parser.add_argument("names", nargs="*", help=f"systems to make: {', '.join(SYSTEMS)}")
    parser.add_argument("--seed", type=int, default=0, help="of data and draws")
    parser.add_argument("--observations", type=int, default=24, help="of `refine`")
    parser.add_argument("--budget", type=float, default=40.0, help="seconds of training of physinv (`refine`)")
    args = parser.parse_args()
    if args.what == "make":
        for name in args.names or SYSTEMS:
            make(name, args.seed)
    elif args.what == "check":
        check(args.seed)
    else:
        refined(args.seed, args.observations, args.budget)


if __name__ == "__main__":
    main()
