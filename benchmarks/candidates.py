"""Navier-Stokes with few sensors and noise: every way to x_0 in one table, beside draws of the prior.

python benchmarks/candidates.py    three trainings: a run that sees whole states, one for any sensors, a prior

Rows are cases, points and noise (shares of the deviation of x_T); columns are ways.  ``two stages`` is what
`reconstruct --observe` does with a run of whole states; ``any sensors`` a run that was trained with random masks;
``any sensors, then mcmc`` chains of Monte Carlo that begin at its draws; ``gauss-newton`` and ``guided prior`` need no
training for sensors.  CRPS, relative L2 of the mean, coverage of 90 %, seconds of CPU for each observation.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from common import ROOT, dataset, write
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation import metrics
from physinv.laws.operators import named
from physinv.laws.record import ObservationRecord
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import Run, fit_run, load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.runs.sampling.with_prior import fit_with_prior
from physinv.training.budget import Budget

CASES = (
    ("every:2", 0.05),
    ("every:4", 0.05),
    ("every:8", 0.05),
    ("every:8", 1.0),
    ("every:2", 1.0),
    ("every:4", 0.001),
)
WAYS = ("two stages", "any sensors", "gauss-newton", "guided prior", "any sensors, then mcmc")
RANGE = (0.0005, 1.5)  # of the noise that the run for any sensors is trained for, in deviations of x_T
MCMC = {"chains": 2, "iterations": 20, "warm_up": 10, "most": 1, "late": 1.0}


def scores(samples: Tensor, truth: Tensor, seconds: float) -> dict[str, float]:
    """The figures of one way in one case."""
    return {
        "CRPS": float(metrics.crps(samples, truth)),
        "relative L2 of the mean": float(metrics.relative_l2(samples.mean(1), truth)),
        "coverage of 90 %": float(metrics.coverage(samples, truth)),
        "seconds for an observation": seconds / len(truth),
    }


def drawn(call: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Draws, and seconds of CPU."""
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = call()
    return found, time.process_time() - begun


def of_run(run: Run, test: TrajectoryDataset, out: Path, plan: SamplingPlan) -> Tensor:
    """Draws of `reconstruct --observe`."""
    reconstruct(run, test, out, plan, overwrite=True)
    return read_reconstruction(out).samples


def table(args: argparse.Namespace, folder: Path, tell: Callable[[str, dict[str, float]], None]) -> None:
    """Train, and score every way in every case."""
    changes = {"size": args.size, "steps": 4}
    data = dataset("navier-stokes", args.seed, folder / "data", changes=changes, train=args.train)
    truth = data["test"].states(0, limit=args.observations)
    final, n = data["test"].states(-1, limit=args.observations), args.samples
    deviation = float(data["train"].states(-1).std())
    fitted = {}

    def train(name: str, **more: object) -> Path:
        options = {"budget": Budget(steps=args.updates), "seed": args.seed} | more
        train_run(folder / name, data["train"], data["valid"], **options)  # type: ignore[arg-type]
        return folder / name

    for way in args.ways:
        match way:
            case "two stages":
                fitted[way] = load_run(train("whole", method="physinv"))
            case "any sensors" | "any sensors, then mcmc":
                if not (folder / "any").exists():
                    noise = f"{RANGE[0] * deviation:.4g}-{RANGE[1] * deviation:.4g}"
                    train("any", method="physinv", observe="random:0.01-0.6", observed_noise=noise)
                fitted["any sensors"] = load_run(folder / "any")
            case "gauss-newton":
                fitted[way] = fit_run(data["train"], data["valid"], method="gauss-newton", seed=args.seed)
            case "guided prior":
                fitted[way] = fit_with_prior(train("prior", method="prior"), method="dps", seed=args.seed)
    if "any sensors, then mcmc" in args.ways:
        fitted["mcmc"] = fit_run(data["train"], data["valid"], method="mcmc", seed=args.seed, options=MCMC)
    known = load_run(folder / "whole") if "two stages" in fitted else fitted["gauss-newton"]
    prior = known.simulator.initial(len(truth) * n, generator=torch.Generator().manual_seed(args.seed))
    tell("nothing: prior", scores(prior.reshape(-1, n, *truth.shape[1:]), truth, 0.0))

    # Every case, every way.
    for observe, share in CASES[: args.cases]:
        noise, generator = share * deviation, torch.Generator().manual_seed(args.seed)
        observation = named(observe, noise, data["test"].shape, seed=args.seed)
        y = observation.observe(final, generator=generator)
        record, case = ObservationRecord((1.0, observation)), f"{y[0].numel()} points, noise {share:g}"
        amortised: Tensor | None = None
        for way in args.ways:
            if way in ("two stages", "any sensors"):
                plan = SamplingPlan(
                    samples=n, limit=len(truth), seed=args.seed, observe=observe, observed_noise=noise, certify=0
                )
                samples, spent = drawn(functools.partial(of_run, fitted[way], data["test"], folder / "r.hdf5", plan))
                amortised = samples if way == "any sensors" else amortised
            elif way == "any sensors, then mcmc":
                assert amortised is not None
                answer, begin = fitted["mcmc"].answer.given(record), amortised[: args.chained]
                samples, spent = drawn(lambda: answer.explore(y[: len(begin)], begin=begin).draws[:, :, -1])  # noqa: B023
            else:
                asked = fitted[way].answer.given(record)
                samples, spent = drawn(lambda: asked.sample(y, n, generator=generator))  # noqa: B023
            tell(f"{case}: {way}", scores(samples, truth[: len(samples)], spent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 16), ("observations", 16), ("samples", 8), ("train", 200), ("chained", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--cases", type=int, default=len(CASES), help="the first so many of the cases")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--updates", type=int, default=600, help="of each training (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, list[float]] = {}
    head = {k: v for k, v in vars(args).items() if k not in ("out", "seed")}

    def tell(row: str, found: dict[str, float]) -> None:
        print(f"{row:45s} " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()), flush=True)
        figures.update({f"{row}: {name}": [value] for name, value in found.items()})
        write(args.out / "candidates.json", {"benchmark": "candidates", "seeds": [args.seed], "options": head}, figures)

    with tempfile.TemporaryDirectory() as tmp:
        table(args, Path(tmp), tell)


if __name__ == "__main__":
    main()
