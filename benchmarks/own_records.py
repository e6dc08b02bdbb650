"""Records that no closed form answers: every way to an answer beside many runs of the process, weighted by hand.

python benchmarks/own_records.py                          all processes, records and ways; a quarter of an hour
python benchmarks/own_records.py --only wells-8 --ways physinv gauss-newton --seeds 0 1 2

Processes are those of `own_record_processes.py`; records see them in part, by linear and nonlinear operators, once or
several times, in averages, with missing numbers.  The reference runs the process a hundred thousand times and weights
each run by all that is seen of it, with no resampling.  For each way: the rms distance of its means from those of the
reference, in deviations of the latter (``off``; noise of the draws taken off), the ratio of deviations, CRPS over that
of the reference and over that of draws of the prior, coverage of 90 % intervals, and whether anything was said.

``physinv`` is a run that answers the record by its reversal, tried and mixed with the prior as `reconstruct --at` does;
so are ``gauss-newton`` and ``lbfgs``.  ``two stages`` is what `reconstruct --observe` does with the same run,
``amortised`` a run that is trained for what is seen; both are for the record of the final state alone, ``end``.
``any sensors`` is a run that is trained for random sensors at T/2 and T, for the record ``several``.
``--refine 40`` moves the draws of all these by so many gradients.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import write
from torch import Tensor

import physinv as pi
from physinv.config.seeds import seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import coverage, crps
from physinv.laws.operators import named
from physinv.methods.classical.monte_carlo.path import fit_path_model
from physinv.methods.classical.monte_carlo.refine import RefinedRecord
from physinv.methods.problem import RecordAnswer
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import Run, fit_run, load_run, train_run
from physinv.runs.sampling.asked import records_of
from physinv.runs.sampling.tried import remedy_of, try_record
from physinv.training.budget import Budget

PROCESSES = {"spiral": "Spiral", "wells-3": "ThreeWells", "wells-8": "Wells", "fronts": "Fronts"}
WAYS = ("physinv", "two stages", "amortised", "any sensors", "importance", "mcmc", "gauss-newton", "lbfgs")
SEEN, NOISE = {"vector": "sensors:0.5", "field": "every:8"}, 0.3
"""What is seen of final states alone, and its noise."""

ANY = {"vector": "random:0.4-0.6", "field": "random:0.1-0.2"}, "0.3-0.8"
"""What sensors at T/2 and T a run is trained for, and their noise."""

OPTIONS: dict[str, dict[str, object]] = {"importance": {"runs": 20_000}}
RUNS, DRAWS, LEAST = 200_000, 256, 200
"""Runs of the reference, draws of each way, and runs that must count for an observation to be judged."""


def records(process: Simulator) -> dict[str, pi.ObservationRecord]:
    """The records of a process: what is seen, when, with which noise."""
    T, field = float(process.horizon), bool(process.layout.space)

    def some(x: Tensor) -> Tensor:  # every other number, of a field every eighth
        return x[..., ::8] if field else x[..., ::2]

    def square(x: Tensor) -> Tensor:
        return x.flatten(1).square().mean(1, keepdim=True)

    def squares(x: Tensor) -> Tensor:
        return some(x).square()

    def see(operator: Callable[[Tensor], Tensor], noise: float) -> pi.Observation:
        return pi.Observation(operator, noise)

    return {
        "end": pi.ObservationRecord((T, named(SEEN["field" if field else "vector"], NOISE, process.shape, seed=0))),
        "squares": pi.ObservationRecord((T, see(squares, 0.3))),
        "several": pi.ObservationRecord(*((t, see(some, 0.5)) for t in (T / 2, T))),
        "mixed": pi.ObservationRecord(
            (T / 4, see(square, 0.2)), ((T / 2, 3 * T / 4), see(some, 0.5)), (T, see(squares, 0.5))
        ),
    }


def reference(process: Simulator, record: pi.ObservationRecord, y: Tensor, generator: torch.Generator) -> Tensor:
    """Draws of runs by the weights of all that is seen of them; NaN where too few runs count."""
    times, logs, starts = list(record.times), [], []
    grid = [0.0, *times]
    for _ in range(10):
        states = process.simulate(RUNS // 10, grid, generator=generator)
        starts.append(states[:, 0])
        logs.append(torch.stack([record.log_prob(row.expand(len(states), -1), states[:, 1:]) for row in y]))
    weights, start, found = torch.cat(logs, 1).double().softmax(1), torch.cat(starts), []
    for w in weights:
        kept = torch.multinomial(w, 4 * DRAWS, replacement=True, generator=generator)
        found.append(start[kept] if float(1 / w.square().sum()) >= LEAST else torch.full_like(start[kept], math.nan))
    return torch.stack(found)


def figures(draws: Tensor, exact: Tensor, truth: Tensor, prior: Tensor) -> dict[str, float]:
    """How far draws are from the reference."""
    deviation = exact.std(1)
    off = (draws.mean(1) - exact.mean(1)) / deviation
    chance = (draws.std(1) / deviation).square().mean() / draws.shape[1] + 1 / exact.shape[1]
    own = float(crps(draws, truth))
    return {
        "off": float((off.square().mean() - chance).clamp(min=0).sqrt()),
        "deviations": float((draws.std(1) / deviation).log().mean().exp()),
        "CRPS over exact": own / float(crps(exact, truth)),
        "CRPS over prior": own / float(crps(prior.expand(len(truth), *prior.shape), truth)),
        "coverage": float(coverage(draws, truth, 0.9)),
    }


def answers(way: str, run: Run, record: pi.ObservationRecord, y: Tensor, refine: int) -> tuple[Tensor, list[str]]:
    """Draws of a run, and what is said of them."""
    process, generator = run.simulator, seeds(0).child("comparison", "samples").generator()
    answer: RecordAnswer = records_of(run).given(record)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if refine and way not in ("mcmc", "importance"):
            model = fit_path_model(process, generator=torch.Generator().manual_seed(0))
            answer = RefinedRecord(answer, model, record, refine)
        tried, lines = try_record(
            answer, process, record, y, seeds(0).child("reconstruction", "trial"), remedy_of(refine)
        )
        drawn = tried.sample(y, DRAWS, generator=generator)
    told = {str(w.message) for w in caught if issubclass(w.category, UserWarning)}
    return drawn, sorted({*told, *lines})


def of_final(
    run: Run, test: TrajectoryDataset, out: Path, noise: float, refine: int
) -> tuple[Tensor, Tensor, list[str]]:
    """Draws of `reconstruct --observe`, the numbers that it saw, and what it says."""
    told: list[str] = []
    seen = SEEN["field" if run.simulator.layout.space else "vector"]
    plan = pi.SamplingPlan(samples=DRAWS, certify=0, observe=seen, observed_noise=noise, refine=refine)
    reconstruct(run, test, out, plan, overwrite=True, warn=told.append)
    found = read_reconstruction(out)
    assert found.seen is not None
    return found.samples, found.seen, told


def once(name: str, args: argparse.Namespace, seed: int) -> dict[str, float]:
    """Figures of all ways and records of one process, for one seed of data, observations and training."""
    place, n = f"own_record_processes:{PROCESSES[name]}", args.observations
    process, generator, found = find(place)(), torch.Generator().manual_seed(seed), dict[str, float]()
    splits = {"train": 2000, "valid": 200, "test": n}
    with tempfile.TemporaryDirectory() as tmp:
        made = generate(DatasetPlan(process, splits, seed, place), Path(tmp) / "data")
        train, valid, test = (TrajectoryDataset(made / "data" / s).load() for s in splits)
        runs: dict[str, Run] = {}
        for way in args.ways:
            source = "physinv" if way == "two stages" else way
            runs[way] = runs[source] if source in runs else _run(source, train, valid, Path(tmp), args.budget, seed)
        for kind, record in records(process).items():
            if args.records and kind not in args.records:
                continue
            states = process.simulate(n, [0.0, *record.times], generator=generator)
            y = record.observe(states[:, 1:], generator=generator)
            if y.shape[1] > 1:
                y[0, 0] = math.nan  # a sensor that failed
            truth = states[:, 0]
            told: dict[str, tuple[Tensor, list[str], float]] = {}
            if kind == "end":  # the test trajectories, seen as `reconstruct` sees them
                truth = test.states(0)
                for way in ("two stages", "amortised"):
                    if way in runs:
                        begun = time.process_time()
                        drawn, y, lines = of_final(runs[way], test, Path(tmp) / "out.hdf5", NOISE, args.refine)
                        told[way] = (drawn, lines, time.process_time() - begun)
                if not told:
                    y = record.observe(test.states(-1)[:, None], generator=generator)
            for way, run in runs.items():
                if way not in ("two stages", "amortised") and (way != "any sensors" or kind == "several"):
                    begun = time.process_time()
                    told[way] = (*answers(way, run, record, y, args.refine), time.process_time() - begun)
            exact = reference(process, record, y, generator)
            good = exact.flatten(1).isfinite().all(1)
            exact, truth, prior = exact[good], truth[good], process.initial(DRAWS, generator=generator)
            print(f"seed {seed}, {name}, {kind}: {len(truth)} of {n} observations have a reference", flush=True)
            for way, (drawn, lines, seconds) in {"exact": (exact, list[str](), 0.0), **told}.items():
                row = figures(drawn if way == "exact" else drawn[good], exact, truth, prior)
                numbers = "  ".join(f"{k} {v:.3f}" for k, v in row.items())
                print(f"  {way:13} {numbers}  {seconds:.0f} s", flush=True)
                print("".join(f"      says: {line}\n" for line in lines), end="", flush=True)
                found |= {f"{name}, {kind}, {way}: {k}": v for k, v in row.items()}
                found[f"{name}, {kind}, {way}: says something"] = float(bool(lines))
    return found


def _run(way: str, train: TrajectoryDataset, valid: TrajectoryDataset, folder: Path, budget: float, seed: int) -> Run:
    """A way to answers, trained if it is one that is."""
    if way not in ("physinv", "amortised", "any sensors"):
        return fit_run(train, valid, method=way, options=OPTIONS.get(way), seed=seed)
    kind, T = "field" if train.layout.space else "vector", float(train.times[-1])
    seen: dict[str, dict[str, Any]] = {
        "amortised": {"observe": SEEN[kind], "observed_noise": NOISE},
        "any sensors": {"observe": ANY[0][kind], "observed_noise": ANY[1], "at": (T / 2, T)},
    }
    spend = Budget(seconds=budget)
    train_run(folder / way, train, valid, method="physinv", budget=spend, seed=seed, **seen.get(way, {}))
    return load_run(folder / way)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PROCESSES), default=list(PROCESSES))
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--records", nargs="+", default=[], help="end, squares, several, mixed (default all)")
    parser.add_argument("--observations", type=int, default=24)
    parser.add_argument("--budget", type=float, default=40.0, help="seconds of training (default %(default)s)")
    parser.add_argument("--refine", type=int, default=0, help="gradients by which draws are moved")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of data, observations and trainings")
    parser.add_argument("--out", type=Path, help="file to write the figures to, after each seed")
    parser.add_argument("--more", action="store_true", help="go on with the seeds that the file does not have yet")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found, done = dict[str, list[float]](), list[int]()
    if args.more and args.out and args.out.exists():
        older = json.loads(args.out.read_text("utf-8"))
        found, done = older["figures"], older["seeds"]
    for seed in (seed for seed in args.seeds if seed not in done):
        for name in args.only:
            for key, value in once(name, args, seed).items():
                found.setdefault(key, []).append(value)
        done = [*done, seed]
        if args.out:
            write(args.out, {"benchmark": "own-records", "seeds": done}, found)


if __name__ == "__main__":
    main()
