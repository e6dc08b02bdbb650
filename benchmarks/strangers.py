"""Vector processes that physinv does not ship: every method's CRPS against the exact posterior's.

python benchmarks/strangers.py                                   all processes, three seeds, the default method
python benchmarks/strangers.py lorenz-63 --methods physinv linear flow-matching --seeds 7
python benchmarks/strangers.py mymodule:MyProcess                 a process of your own
python benchmarks/strangers.py lorenz-63 --set fresh=off          without new trajectories while training
python benchmarks/strangers.py ten-oscillators --begin 16         chains that begin at draws of the first method

Exact: importance sampling over two million forward runs (up to four numbers), Monte Carlo over paths above, where only
observations whose chains have converged count.  These come down from the prior, or begin at draws of a method
(`--begin`), which takes a fraction of the time where one minimum has all the weight; R-hat says whether they mix.

For every seed: new data, new training, new draws.  CRPS of ours over exact at most 1.03 (above four numbers 1.25, and
1.05 after gradients of refinement), coverage within .02 of the exact posterior's on the same observations, under .5 %
of the samples outside the range of the training data.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from common import ROOT, told, write
from stranger_processes import STRANGERS
from torch import Tensor

from physinv.cli.options import read_assignments
from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import coverage, crps, crps_map
from physinv.methods.auto import underlying
from physinv.methods.classical.monte_carlo.importance import fit_importance
from physinv.methods.classical.monte_carlo.mcmc import fit_mcmc
from physinv.methods.classical.monte_carlo.refine import refine
from physinv.methods.own.jumps import JumpAnswer
from physinv.methods.problem import Answer, Problem
from physinv.methods.registry import DEFAULT_METHOD, fit_method
from physinv.processes.registry import find
from physinv.training.budget import Budget

SPLITS = {"train": 2000, "valid": 200, "test": 300}
DRAWS = 200  # of every posterior, for each observation
LARGEST = 4  # numbers of a state for importance sampling
CHAINS_FOR = 16  # observations that Monte Carlo over paths is run for, which takes many seconds for each
REFINED = (20, 100)  # gradients of refinement, above four numbers
FROM_DRAWS = {"late": 1.0, "iterations": 64, "most": 2}  # of chains that begin at draws


@dataclass(frozen=True)
class Exact:
    """Draws of the exact posterior for the observations that it is known for."""

    truth: Tensor
    final: Tensor
    draws: Tensor
    looked_at: int


def exact_of(problem: Problem, test: TrajectoryDataset, observations: int, begin: tuple[Answer, int] | None) -> Exact:
    """The exact posterior: importance sampling, or the chains that have converged, which may begin at draws."""
    truth, final = test.states(0), test.states(-1)
    generator = seeds(problem.seed).child("comparison", "samples").generator()
    if problem.simulator.shape[0] <= LARGEST:
        posterior = fit_importance(problem)
        return Exact(truth, final, posterior.sample(final, DRAWS, generator=generator), len(final))
    truth, final = truth[:observations], final[:observations]
    if begin is None:
        found = fit_mcmc(problem).explore(final, generator=generator)
    else:
        answer, chains = begin
        drawn = answer.sample(final, chains, generator=generator)
        found = fit_mcmc(problem, **FROM_DRAWS).explore(final, begin=drawn, generator=generator)
    good = ~found.short
    if not good.any():
        raise SystemExit(f"none of {observations} observations converged: R-hat {found.r_hat.tolist()}")
    return Exact(truth[good], final[good], found.thinned(DRAWS)[good], observations)


def problem_of(name: str, seed: int, budget: Budget, settings: Settings) -> tuple[Problem, TrajectoryDataset]:
    """The data of a seed, and the test trajectories."""
    place = f"stranger_processes:{STRANGERS[name].__name__}" if name in STRANGERS else name
    simulator = find(place)()
    with tempfile.TemporaryDirectory() as tmp:
        made = generate(DatasetPlan(simulator, SPLITS, seed, place), Path(tmp) / "data")
        train, valid, test = (TrajectoryDataset(made / "data" / s).load() for s in SPLITS)
    return Problem(simulator, train, valid, settings, budget=budget, seed=seed), test


@contextmanager
def heard(method: str) -> Iterator[None]:
    """Print what a method warns of."""
    with warnings.catch_warnings(record=True) as told_aloud:
        warnings.simplefilter("always")
        yield
    for warning in told_aloud:
        print(f"  {method}: {warning.message}")


def once(
    name: str,
    seed: int,
    methods: list[str],
    budget: float,
    steps: int | None,
    settings: Settings,
    observations: int,
    begin: int,
) -> dict[str, float]:
    """Figures of all methods on one process: data, training and draws of one seed."""
    spend = Budget(steps=steps) if steps else Budget(seconds=budget)
    problem, test = problem_of(name, seed, spend, settings)
    simulator, begun_states = problem.simulator, problem.train.states(0)
    low, high = begun_states.amin(0), begun_states.amax(0)

    answers = {}
    for method in methods:
        with heard(method):
            answers[method] = underlying(fit_method(method, problem))
    begun = time.process_time()
    exact = exact_of(problem, test, observations, (answers[methods[0]], begin) if begin else None)
    print(
        f"  {name}, seed {seed}: exact for {len(exact.final)} of {exact.looked_at}, "
        f"{time.process_time() - begun:.0f} s",
        flush=True,
    )
    figures = {
        "exact: observations": float(len(exact.final)),
        "exact: CRPS": float(crps(exact.draws, exact.truth)),
        "exact: coverage": float(coverage(exact.draws, exact.truth, 0.9)),
    }
    for method, answer in answers.items():
        with heard(method):
            generator = seeds(seed).child("comparison", "samples").generator()
            samples = answer.sample(exact.final, DRAWS, generator=generator)
        kinds = {method: samples}
        for count in REFINED if simulator.shape[0] > LARGEST else ():
            generator = seeds(seed).child("reconstruction", "refinement").generator()
            moved = refine(simulator, samples, exact.final, count, generator=generator)
            kinds[f"{method}, {count} gradients"] = moved
        for key, draws in kinds.items():
            figures[f"{key}: CRPS"] = float(crps(draws, exact.truth))
            figures[f"{key}: coverage"] = float(coverage(draws, exact.truth, 0.9))
            figures[f"{key}: outside, %"] = 100 * float(((draws < low) | (draws > high)).any(-1).float().mean())
            figures[f"{key}: CRPS over exact"] = figures[f"{key}: CRPS"] / figures["exact: CRPS"]
            gap = (crps_map(draws, exact.truth) - crps_map(exact.draws, exact.truth)).flatten(1).mean(1)
            if len(gap) > 1:
                figures[f"{key}: standard error of that"] = float(gap.std()) / len(gap) ** 0.5 / figures["exact: CRPS"]
            figures[f"{key}: coverage beyond exact"] = figures[f"{key}: coverage"] - figures["exact: coverage"]
        if isinstance(answer, JumpAnswer):
            for ways, score in answer.found.items():
                figures[f"{method}: ways {ways}, CRPS in deviations"] = score
    return figures


def page(folder: Path) -> None:
    """Write docs/results/strangers.md from all records of a folder."""
    rows, hardware = [], ""
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text("utf-8"))
        figures, hardware = record["figures"], record["hardware"]
        seen = min(figures.get("exact: observations", [SPLITS["test"]]))
        for method in sorted({k.split(":")[0] for k in figures} - {"exact"}):
            over, beyond, outside = (
                figures[f"{method}: {name}"] for name in ("CRPS over exact", "coverage beyond exact", "outside, %")
            )
            rows.append(
                f"| {record['process']} | {method} | {told(over)} | {max(over):.3f} | {told(beyond)} "
                f"| {told(outside)} | {seen:.0f} | {len(over)} |"
            )
    lines = [
        "# Processes of a stranger",
        "",
        "Vector processes that physinv does not ship, as a user would write them (`benchmarks/stranger_processes.py`),",
        "each with 2000 training trajectories and 60 s of training on one core. The exact posterior is that of",
        "importance sampling over two million forward runs, above four numbers of Monte Carlo over paths, for the",
        "observations whose chains have converged; the column `seen` counts them. Of ten oscillators chains begin at",
        "draws of physinv (`--begin 16`). Gradients are those of refinement (`reconstruct --refine`).",
        "Written by `benchmarks/strangers.py`.",
        "",
        "| process | method | CRPS over exact | largest | coverage beyond exact | outside the data, % | seen | runs |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"Measured on {hardware}.",
    ]
    (ROOT / "docs" / "results" / "strangers.md").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processes", nargs="*", default=list(STRANGERS), help="names, or module:Class")
    parser.add_argument("--methods", nargs="+", default=[DEFAULT_METHOD])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of training (default %(default)s)")
    parser.add_argument("--steps", type=int, help="updates instead of seconds, for a machine that is busy")
    parser.add_argument("--observations", type=int, default=CHAINS_FOR, help="of Monte Carlo (default %(default)s)")
    parser.add_argument(
        "--begin", type=int, default=0, metavar="N", help="chains, each from a draw of the first method"
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="training settings")
    parser.add_argument("--page", action="store_true", help="write the page of the documentation as well")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(**read_assignments(args.set))
    for name in args.processes:
        figures: dict[str, list[float]] = {}
        for seed in args.seeds:
            for key, value in once(
                name, seed, args.methods, args.budget, args.steps, settings, args.observations, args.begin
            ).items():
                figures.setdefault(key, []).append(value)
        print(f"\n{name}, seeds {args.seeds}: mean +- standard deviation, largest")
        for key, values in figures.items():
            print(f"  {key:40s} {told(values):20s} {max(values):.4g}", flush=True)
        path = args.out / "strangers" / f"{name.replace(':', '-')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {"benchmark": "strangers", "process": name, "seeds": args.seeds}
        how = {"budget_seconds": args.budget, "steps": args.steps, "begin": args.begin}
        write(path, {**head, **how}, figures)
    if args.page:
        page(args.out / "strangers")


if __name__ == "__main__":
    main()
