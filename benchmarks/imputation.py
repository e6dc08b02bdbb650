"""Missing entries of trajectories: the method `imputation` beside the exact smoother and linear interpolation in time.

    python benchmarks/imputation.py                          Ornstein-Uhlenbeck and heat, beside the exact smoother
    python benchmarks/imputation.py furnace sea --budget 120 datasets that `physinv import` wrote, beside interpolation
    ... --models together state-space in-turn                by all frames at once, state-space layers, frame by frame
    ... --out imputation.json                                writes the figures of recordings as JSON
    python benchmarks/imputation.py --page                   writes docs/guide/imputation.md, from the JSON in results

Every second frame is known: with noise .3 (Ornstein-Uhlenbeck), noise .05 (heat, 16 points), exactly (recordings).  Of
the processes also the first half, of which the rest is forecast; of the recordings also every third frame, and what
``--hide`` of `physinv impute` says.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path

import torch
from common import ROOT, write

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation.frames import missing_metrics
from physinv.evaluation.metrics import crps
from physinv.laws.exact import LinearGaussian
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.methods.learned.imputation import fit_imputation
from physinv.methods.problem import Problem
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.imputation import trajectories_with_gaps
from physinv.runs.records import RecordPlan, reconstruct_record
from physinv.runs.run import load_run, train_run
from physinv.training.budget import Budget
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

F64 = torch.float64
MODELS = ("together", "state-space", "in-turn")
TRAIN, VALID, TEST, DRAWS = 2000, 200, 200, 64
_BEGIN, _END, _TOLD = "<!-- recordings:begin -->", "<!-- recordings:end -->", ("physinv", "torch")


def choices(model: str) -> tuple[Settings, dict[str, str]]:
    """Settings and options of a model."""
    network = "state-space" if model == "state-space" else ""
    return Settings(network=network), {"frames": "in-turn" if model == "in-turn" else "together"}


def known_processes(models: list[str], steps: int, seed: int) -> None:
    """Print CRPS beside the exact smoother."""
    ou = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, steps=40)
    prior = LinearGaussian(ou, 2.0, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64))
    heat = Heat(size=16, dimension=1, steps=8)
    exact = heat.exact()
    assert exact is not None
    for name, process, law, noise in (("ornstein-uhlenbeck", ou, prior, 0.3), ("heat", heat, exact, 0.05)):
        g = torch.Generator().manual_seed(seed)
        x = process.simulate(TRAIN + VALID + TEST, process.times, generator=g)
        train, valid, truth = x.split([TRAIN, VALID, TEST])
        make = TrajectoryDataset.from_arrays
        along = {"coordinates": {"x": process.layout.coordinates[0]}, "names": "u"} if process.layout.space else {}
        axis = {"boundary": "periodic"} if process.layout.space else {}
        data = [make(part, times=process.times, **along, **axis) for part in (train, valid)]
        half = len(process.times) // 2 + 1
        cases = {"every second frame": range(0, len(process.times), 2), "first half": range(half)}
        for model in models:
            settings, options = choices(model)
            problem = Problem(process, *data, settings=settings, budget=Budget(steps=steps), seed=seed)
            answer = fit_imputation(problem, **options)
            kept = "" if answer.model.useful else ", without its network"
            for case, seen in cases.items():
                record = ObservationRecord(*((float(process.times[i]), Observation(everything, noise)) for i in seen))
                g = torch.Generator().manual_seed(seed + 1)
                y, times = record.observe(truth[:, list(seen)], generator=g), process.times.tolist()
                ours = answer.given(record).sample_at(y, DRAWS, times, generator=g)
                best = law.given(record).sample_at(y, DRAWS, times, generator=g)
                at = sorted(set(range(len(times))) - set(seen))
                a, b = (float(crps(draws[:, :, at].float(), truth[:, at])) for draws in (ours, best))
                told = f"{name}, {model}{kept}, {case}: CRPS of the missing frames"
                print(f"{told} {a:.5f}, exact {b:.5f}, {a / b - 1:+.1%}", flush=True)


def recordings(
    folders: list[Path], models: list[str], budget: Budget, seed: int, limit: int, hide: list[str]
) -> dict[str, list[float]]:
    """Print CRPS of what is hidden beside linear interpolation in time, and return all figures by name."""
    figures: dict[str, list[float]] = {}
    for folder, model in itertools.product(folders, models):
        settings, options = choices(model)
        with tempfile.TemporaryDirectory() as tmp:
            run, out = Path(tmp) / "run", Path(tmp) / "x.hdf5"
            train, valid = (TrajectoryDataset(folder / "data" / split) for split in ("train", "valid"))
            train_run(
                run, train, valid, method="imputation", settings=settings, options=options, budget=budget, seed=seed
            )
            fitted = load_run(run)
            kept = bool(fitted.answer.model.useful)  # type: ignore[attr-defined]
            for word in hide:
                gaps = trajectories_with_gaps(fitted, folder / "data" / "test", hide=[word], limit=limit, seed=seed)
                plan = RecordPlan(frames=tuple(fitted.times.tolist()), samples=16, seed=seed, limit=limit)
                begun = time.process_time()
                reconstruct_record(fitted, gaps, out, plan, overwrite=True)
                spent, found = time.process_time() - begun, read_reconstruction(out)
                told = missing_metrics(found)
                assert told is not None
                row = {"test windows": len(found.samples), "network": float(kept), "seconds of drawing": spent}
                row |= {"crps": told.crps, "coverage 90 %": told.coverage_90}
                if told.interpolation is not None:
                    row["interpolation"] = told.interpolation
                case = f"{folder.name}, {model}, {word}"
                print(f"{case}: " + ", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
                for name, value in row.items():
                    figures.setdefault(f"{case}: {name}", []).append(value)
    return figures


def page(record: Path, text: Path) -> None:
    """Write the table of a record between the marks of a page."""
    told = json.loads(record.read_text("utf-8"))
    rows: dict[str, dict[str, float]] = {}
    for name, values in told["figures"].items():
        case, figure = name.rsplit(": ", 1)
        rows.setdefault(case, {})[figure] = values[0]
    lines = ["| recording, hidden | windows | CRPS | linear interpolation | coverage of 90 % | network |"]
    lines += ["|---|--:|--:|--:|--:|---|"]
    for case, row in rows.items():
        dataset, model, word = case.split(", ")
        network = "kept" if row["network"] else "left out"
        beside = f"{row['interpolation']:.3g}" if "interpolation" in row else ""
        name = f"{dataset}, `{word}`" + ("" if model == "together" else f", {model}")
        lines += [
            f"| {name} | {row['test windows']:.0f} | {row['crps']:.3g} | {beside} | {row['coverage 90 %']:.2f} "
            f"| {network} |"
        ]
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items() if name in _TOLD)
    lines += ["", f"{told['hardware']}; {versions}; {told['trained']}."]
    before, rest = text.read_text("utf-8").split(_BEGIN)
    after = rest.split(_END)[1]
    text.write_text(before + _BEGIN + "\n" + "\n".join(lines) + "\n" + _END + after, "utf-8")


def main() -> None:
    """Read the command line, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="*", help="folders that `physinv import` wrote")
    parser.add_argument("--steps", type=int, help="updates of the network (1 for processes, if not given)")
    parser.add_argument("--budget", type=float, default=120, help="seconds of training instead, of recordings")
    parser.add_argument("--limit", type=int, default=30, help="test windows, at most (default %(default)s)")
    parser.add_argument("--hide", nargs="+", default=["every:2", "every:3"], help="what is hidden of recordings")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["together"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON to write, of recordings")
    parser.add_argument("--page", action="store_true", help="write the page of the guide, and nothing else")
    args = parser.parse_args()
    if args.page:
        page(ROOT / "benchmarks" / "results" / "imputation.json", ROOT / "docs" / "guide" / "imputation.md")
    elif args.datasets:
        budget = Budget(steps=args.steps) if args.steps else Budget(seconds=args.budget)
        figures = recordings(args.datasets, args.models, budget, args.seed, args.limit, args.hide)
        trained = f"training of {args.steps} updates" if args.steps else f"training of {args.budget:g} s"
        if args.out:
            head = {"benchmark": "imputation", "datasets": [d.name for d in args.datasets], "seed": args.seed}
            write(args.out, head | {"trained": trained}, figures)
    else:
        known_processes(args.models, args.steps or 1, args.seed)


if __name__ == "__main__":
    main()
