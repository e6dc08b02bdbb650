"""Navier-Stokes with few sensors and noise: every way to x_0 in one table, beside draws of the prior.

python benchmarks/candidates.py    three trainings: a run that sees whole states, one for any sensors, a prior

Rows are cases, points and noise (shares of the deviation of x_T), and ways:

- ``two stages``: what `reconstruct --observe` does with a run of whole states, beginning at an ensemble Kalman update;
- ``any sensors``: a run that was trained with random masks; ``refined``: with `--refine`, Monte Carlo from each draw;
- ``any sensors, then gauss-newton``: a minimum over whole paths from each draw, and a draw of Laplace's law around it,
  of the first few observations;
- ``any sensors, then mcmc``: chains of Monte Carlo that begin at its draws, of the same;
- ``gauss-newton``: what `reconstruct --method gauss-newton --observe` does;
- ``guided prior``: what `reconstruct --method dps --prior` does.

Initial states are Gaussian, without a spin-up: Monte Carlo needs their density.

CRPS, the same over that of draws of the prior, relative L2 of the mean, coverage of 90 %, seconds of CPU for each
observation.  The whole is made in parts with ``--work FOLDER --more``: trainings found there and rows of the record are
kept.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import ROOT, dataset, write
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation import metrics
from physinv.laws.operators import named
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.monte_carlo.laplace import descend
from physinv.methods.classical.monte_carlo.path import PathObjective, fit_path_model
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.simulator import Simulator
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import Run, fit_run, load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.runs.sampling.with_prior import fit_with_prior
from physinv.training.budget import Budget

CASES = (
    ("every:2", 0.05),
    ("every:4", 0.05),
    ("every:6", 0.05),
    ("every:6", 1.0),
    ("every:2", 1.0),
    ("every:4", 0.001),
)
ANY = "any sensors"
WAYS = (
    "two stages",
    ANY,
    f"{ANY}, refined",
    f"{ANY}, then gauss-newton",
    f"{ANY}, then mcmc",
    "gauss-newton",
    "guided prior",
)
RANGE = (0.0005, 1.5)  # of the noise that the run for any sensors is trained for, in deviations of x_T
MCMC = {"chains": 2, "iterations": 8, "warm_up": 4, "most": 1, "late": 1.0}
REFINED = 40  # gradients of Monte Carlo for each draw
DOWN = 4  # Gauss-Newton steps from each draw
OTHERS = 20  # sets of draws of the prior that tell what is chance
OUTER = 5  # of `gauss-newton`


def scores(samples: Tensor, truth: Tensor, prior: Tensor, seconds: float) -> dict[str, float]:
    """The figures of one way in one case, of the first observations where there are fewer samples."""
    truth, prior = truth[: len(samples)], prior[: len(samples)]
    found = float(metrics.crps(samples, truth))
    return {
        "CRPS": found,
        "over the prior's": found / float(metrics.crps(prior, truth)),
        "relative L2 of the mean": float(metrics.relative_l2(samples.mean(1), truth)),
        "coverage of 90 %": float(metrics.coverage(samples, truth)),
        "seconds for an observation": seconds / len(truth),
    }


def drawn(call: Callable[[], Any]) -> tuple[Any, float]:
    """What is drawn, and seconds of CPU."""
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = call()
    return found, time.process_time() - begun


def of_run(run: Run, test: TrajectoryDataset, out: Path, plan: SamplingPlan) -> Tensor:
    """Draws of `reconstruct --observe`."""
    reconstruct(run, test, out, plan, overwrite=True)
    return read_reconstruction(out).samples


@torch.no_grad()
def lowered(process: Simulator, record: ObservationRecord, y: Tensor, begin: Tensor, seed: int) -> Tensor:
    """One draw of Laplace's law around the minimum that Gauss-Newton finds from each of some initial states."""
    generator, found = torch.Generator().manual_seed(seed), []
    model = fit_path_model(process, generator=generator).through(record.times)
    for row, states in zip(y, begin, strict=True):
        objective = PathObjective(model, states, record, row.expand(len(states), -1))
        u = model.law.standardise(states)
        law = descend(objective, torch.cat([u, u.new_zeros((len(u), objective.numbers - u.shape[1]))], 1), DOWN)
        z = torch.randn(law.centre.shape, generator=generator)
        found.append(model.initial(law.path(z[:, None])[:, 0], states))
    return torch.stack(found)


def fitted(args: argparse.Namespace, folder: Path, data: dict[str, TrajectoryDataset]) -> dict[str, Run]:
    """The runs that the ways need, by name; trained where the folder has them not."""
    found, deviation = dict[str, Run](), float(data["train"].states(-1).std())

    def train(name: str, **more: object) -> Path:
        if not (folder / name / "run.json").exists():
            options = {"budget": Budget(steps=args.updates), "seed": args.seed} | more
            train_run(folder / name, data["train"], data["valid"], **options)  # type: ignore[arg-type]
        return folder / name

    if "two stages" in args.ways:
        found["two stages"] = load_run(train("whole", method="physinv"))
    if any(way.startswith(ANY) for way in args.ways):
        noise = f"{RANGE[0] * deviation:.4g}-{RANGE[1] * deviation:.4g}"
        found[ANY] = load_run(train("any", method="physinv", observe="random:0.01-0.6", observed_noise=noise))
    if "guided prior" in args.ways:
        found["guided prior"] = fit_with_prior(train("prior", method="prior"), method="dps", seed=args.seed)
    for way, name, options in (("gauss-newton", "gauss-newton", {"outer": OUTER}), (f"{ANY}, then mcmc", "mcmc", MCMC)):
        if way in args.ways:
            found[name] = fit_run(data["train"], data["valid"], method=name, seed=args.seed, options=options)
    return found


def table(args: argparse.Namespace, folder: Path, tell: Callable[[str, dict[str, float]], None]) -> None:
    """Train, and score every way in every case."""
    changes, where = {"size": args.size, "steps": args.steps, "inner": args.inner, "spin_up": 0.0}, folder / "data"
    if where.exists():
        data = {name: TrajectoryDataset(where / "data" / name).load() for name in ("train", "valid", "test")}
    else:
        data = dataset("navier-stokes", args.seed, where, changes=changes, train=args.train)
    truth = data["test"].states(0, limit=args.observations)
    final, n, runs = data["test"].states(-1, limit=args.observations), args.samples, fitted(args, folder, data)
    deviation, process = float(data["train"].states(-1).std()), next(iter(runs.values())).simulator
    prior = process.initial(len(truth) * n, generator=torch.Generator().manual_seed(args.seed))
    prior = prior.reshape(-1, n, *truth.shape[1:])
    tell("nothing: prior", scores(prior, truth, prior, 0.0))
    for count in (len(truth), args.chained):
        sets = [process.initial(count * n, generator=torch.Generator().manual_seed(1 + i)) for i in range(OTHERS)]
        found = [scores(x.reshape(-1, n, *truth.shape[1:]), truth, prior, 0.0) for x in sets]
        worst = max(found, key=lambda row: row["over the prior's"])
        tell(f"nothing: the worst of {OTHERS} other sets of the prior, {count} observations", worst)

    # Every case, every way.
    for observe, share in (CASES[i - 1] for i in args.cases):
        noise, generator = share * deviation, torch.Generator().manual_seed(args.seed)
        observation = named(observe, noise, data["test"].shape, seed=args.seed)
        y = observation.observe(final, generator=generator).flatten(1)
        record, case = ObservationRecord((1.0, observation)), f"{y.shape[1]} points, noise {share:g}"
        plan = SamplingPlan(
            samples=n, limit=len(truth), seed=args.seed, observe=observe, observed_noise=noise, certify=0
        )
        begin = None
        for way in args.ways:
            if way.startswith(f"{ANY}, then") and begin is None:
                begin = of_run(runs[ANY], data["test"], folder / "begin.hdf5", plan)
            match way:
                case "two stages" | "any sensors" | "gauss-newton" | "guided prior":
                    call = functools.partial(of_run, runs[way], data["test"], folder / "r.hdf5", plan)
                case "any sensors, refined":
                    asked = replace(plan, refine=REFINED)
                    call = functools.partial(of_run, runs[ANY], data["test"], folder / "r.hdf5", asked)
                case "any sensors, then gauss-newton":
                    assert begin is not None
                    some = slice(args.chained)
                    call = functools.partial(lowered, process, record, y[some], begin[some], args.seed)
                case _:
                    assert begin is not None
                    chains = runs["mcmc"].answer.given(record).explore
                    call = functools.partial(chains, y[: args.chained], begin=begin[: args.chained])
            found, spent = drawn(call)
            samples = found if isinstance(found, Tensor) else found.draws[:, :, -1]
            tell(f"{case}: {way}", scores(samples, truth, prior, spent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 12), ("steps", 2), ("inner", 4), ("observations", 8), ("samples", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--train", type=int, default=200, help="trajectories (default %(default)s)")
    parser.add_argument("--chained", type=int, default=2, help="observations of the ways that begin at draws")
    cases = range(1, len(CASES) + 1)
    parser.add_argument("--cases", type=int, nargs="+", choices=cases, default=list(cases), help="which, from 1 on")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--updates", type=int, default=150, help="of each training (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder of data and trainings, kept (default: a temporary one)")
    parser.add_argument("--more", action="store_true", help="add rows to the record that is there")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    path, figures = args.out / "candidates.json", dict[str, list[float]]()
    if args.more and path.exists():
        figures = json.loads(path.read_text("utf-8"))["figures"]
    head = {k: v for k, v in vars(args).items() if k not in ("out", "seed", "work", "more", "ways", "cases")}

    def tell(row: str, found: dict[str, float]) -> None:
        print(f"{row:45s} " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()), flush=True)
        figures.update({f"{row}: {name}": [value] for name, value in found.items()})
        order = [
            "nothing",
            *(case for case in dict.fromkeys(key.split(": ")[0] for key in figures) if case != "nothing"),
        ]
        rows = sorted(figures, key=lambda key: order.index(key.split(": ")[0]))
        write(path, {"benchmark": "candidates", "seeds": [args.seed], "options": head}, {k: figures[k] for k in rows})

    with tempfile.TemporaryDirectory() as tmp:
        table(args, args.work or Path(tmp), tell)


if __name__ == "__main__":
    main()
