"""One jump from T to 0 of nonlinear fields: how good a learned normal law is after given seconds of one core.

python benchmarks/field_kernels.py burgers kpz --budget 40 --seeds 0 1 2

Trains the jumps of physinv.models.jumps.field on the recipe's data and on new trajectories, and prints CRPS, energy
score, coverage of the 90 % interval and the forward misfit |F(x_0) - x_T|^2 in units of its noise (median) of draws for
the first 100 test observations, beside the linear estimate, the truth's own misfit and, where an exact reference is
stored (benchmarks/references.py), the exact posterior's scores.  Time is CPU time of this process, so that neighbours
on the machine do not count; simulation is included, evaluation is not.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from common import ROOT, dataset, told, write
from torch import Tensor

from physinv.config.seeds import Seeds, seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation import metrics
from physinv.evaluation.references import FOLDER, read_reference, reference_for
from physinv.methods.classical.forward import Forward, fit_forward
from physinv.methods.classical.linear_estimate import fit_linear
from physinv.methods.classical.monte_carlo.refine import refine
from physinv.methods.own.jumps import FIELDS
from physinv.methods.problem import Problem
from physinv.models.jumps.base import Jump
from physinv.models.jumps.field import FieldJumps, fit_field_jumps
from physinv.posterior.jumps import JumpPosterior
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator
from physinv.training.jump_pairs import JumpPairs, choose_fresh
from physinv.training.objectives.jumps import jump_loss
from physinv.training.updates import Updates

WIDTH = "standard error of that"  # how records of references.py name it
AGAINST = ("CRPS", "expected CRPS", "energy score")  # likewise
SYSTEMS = ("burgers", "kuramoto-sivashinsky", "kpz", "allen-cahn")
OBSERVATIONS, DRAWS = 100, 64
REFINED = 32  # observations, and draws of each, that are refined


def train(
    kernel: FieldJumps,
    pairs: JumpPairs,
    settings: Settings,
    *,
    seconds: float,
    rate: float,
    stream: Seeds,
) -> dict[str, float]:
    """Train a kernel for some CPU seconds as physinv.training.loop does, without validation; returns what was done."""
    begun, updates = time.process_time(), Updates(kernel, settings, rate)
    size = settings.batch or FIELDS.batch_of(pairs.train.shape)
    batches, count = pairs.training(size=size, seeds=stream, start=0), 0
    while (used := (time.process_time() - begun) / seconds) < 1:
        loss = jump_loss(kernel, pairs.sde, next(batches))
        count += 1
        updates.step(loss, progress=used, count=count)
    kernel.network.load_state_dict(updates.average.network.state_dict())
    return {"updates": count, "rounds of new trajectories": 1 + count // pairs.every / pairs.parts}


def trained(
    simulator: Simulator,
    data: Mapping[str, TrajectoryDataset],
    settings: Settings,
    budget: float,
    seed: int,
    *,
    single: bool = False,
) -> tuple[FieldJumps, dict[str, float]]:
    """Jump kernels after some CPU seconds of fits and training, and what was done; `single`: the jump from T alone."""
    last, begun, stream = len(data["train"].times) - 1, time.process_time(), seeds(seed).child("jumps")
    jumps = [Jump(0, last)] if single else None
    kernel = fit_field_jumps(simulator, data["train"], settings, jumps=jumps, seed=stream)
    fresh = "noise" if settings.fresh == "auto" and simulator.spin_up_time else settings.fresh
    pairs = JumpPairs(kernel, simulator, data["train"], data["valid"], fresh=choose_fresh(fresh, simulator))
    rest, rate = budget - (time.process_time() - begun), settings.rate or data["train"].layout.default_rate
    done = train(kernel, pairs, settings, seconds=rest, rate=rate, stream=stream.child("training"))
    kernel.finish(data["valid"], seed=stream)
    return kernel, done


def scores(draws: Tensor, truth: Tensor, final: Tensor, forward: Forward) -> dict[str, float]:
    misfit = torch.stack([forward.misfit(draws[:, i], final).square().sum(1) for i in range(4)])
    return {
        "CRPS": float(metrics.crps(draws, truth)),
        "energy score": float(metrics.energy_score(draws, truth)),
        "coverage of 90 %": float(metrics.coverage(draws, truth, 0.9)),
        "median forward misfit": float(misfit.median()),
    }


def once(
    name: str,
    seed: int,
    budget: float,
    settings: Settings,
    options: argparse.Namespace,
) -> Mapping[str, float]:
    """All figures of one system and seed."""
    with tempfile.TemporaryDirectory() as tmp:
        if options.data:
            data = {s: TrajectoryDataset(options.data / name / "data" / s).load() for s in ("train", "valid", "test")}
        else:
            data = dataset(name, seed, Path(tmp) / "data")
    config = data["train"].config
    simulator: Simulator = build(find(config["simulator"]), config["parameters"])
    last = len(data["train"].times) - 1
    kernel, done = trained(simulator, data, settings, budget, seed, single=options.single)

    truth, final = (data["test"].states(i, limit=OBSERVATIONS) for i in (0, -1))
    generator = torch.Generator().manual_seed(seed)
    begun = time.process_time()
    draws = JumpPosterior(kernel, [[Jump(0, last)]]).sample(final, DRAWS, generator=generator)
    took = time.process_time() - begun
    forward = fit_forward(Problem(simulator, data["train"], data["valid"]))
    linear = fit_linear(simulator, data["train"], data["valid"]).sample(final, DRAWS, generator=generator)
    found = scores(draws, truth, final, forward)
    figures = {**found, **{f"{k}, linear": v for k, v in scores(linear, truth, final, forward).items()}}
    figures["median forward misfit of the truth"] = float(forward.misfit(truth, final).square().sum(1).median())
    mean = kernel.mean(final, 0)
    figures["median forward misfit of the mean"] = float(forward.misfit(mean, final).square().sum(1).median())
    figures["RMSE of the mean"] = float((mean - truth).square().mean().sqrt())
    figures |= done | {"milliseconds for 64 draws": 1e3 * took / len(final)}
    figures["correlations of the physics"] = float(kernel.physical.known(0))
    figures |= compared(simulator, draws, truth, final)
    for count in options.refine:
        begun = time.process_time()
        moved = refine(simulator, draws[:REFINED, :REFINED], final[:REFINED], count, generator=generator)
        took = (time.process_time() - begun) / moved.shape[0] / moved.shape[1]
        for k, v in compared(simulator, moved, truth[:REFINED], final[:REFINED]).items():
            figures[f"{k}, {count} gradients"] = v
        figures[f"milliseconds for a draw, {count} gradients"] = 1e3 * took
    return {k: v for k, v in figures.items() if math.isfinite(v)}


def compared(simulator: Simulator, draws: Tensor, truth: Tensor, final: Tensor) -> dict[str, float]:
    """Scores over those of the exact posterior, on the observations that have a stored one."""
    reference = reference_for(simulator)
    if reference is None:
        return {}
    rows = [i for i in range(len(final)) if reference.places(final[i : i + 1]) is not None]
    if not rows:
        return {}
    places = reference.places(final[rows])
    assert places is not None
    exact = {"CRPS": reference.crps[places].mean(), "energy score": reference.energy[places].mean()}
    ours = {k: f(draws[rows], truth[rows]) for k, f in (("CRPS", metrics.crps), ("energy score", metrics.energy_score))}
    return {"observations with a reference": len(rows), **{f"{k} over exact": float(ours[k] / exact[k]) for k in exact}}


def page(folder: Path) -> None:
    """Write docs/results/fields.md from all records of a folder."""
    columns = {
        "CRPS": "CRPS",
        "energy score": "energy score",
        "coverage of 90 %": "coverage of 90 %",
        "median forward misfit": "forward misfit",
        "median forward misfit of the truth": "that of the truth",
        "CRPS over exact": "CRPS over exact",
        "CRPS, linear": "CRPS, linear",
    }
    rows, records = [], [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("field-kernels-*.json"))]
    for record in records:
        figures, system = record["figures"], record["benchmark"].removeprefix("field-kernels-")
        shown = [told(figures[k]) if k in figures else "" for k in columns]
        rows.append(f"| {system} | {' | '.join(shown)} | {record['budget_seconds']:.0f} | {len(record['seeds'])} |")
    lines = [
        "# Jumps of nonlinear fields",
        "",
        "Draws of one jump from $T$ to 0 for 100 test observations, mean +- standard deviation over seeds of data,",
        "training and draws. The forward misfit is $|F(x_0) - x_T|^2$ in units of its noise, median over draws: what",
        "the observation says of a sample, for which no truth is needed. CRPS over exact: on the observations whose",
        "exact posterior is stored ([references](../methods.md)). The budget is CPU time of one core. Written by",
        "`benchmarks/field_kernels.py --page`.",
        "",
        f"| system | {' | '.join(columns.values())} | seconds | seeds |",
        "|---" * (len(columns) + 3) + "|",
        *rows,
        "",
        f"Measured on {records[-1]['hardware']}.",
        *planes(folder),
        *beside_exact(folder),
    ]
    (ROOT / "docs" / "results" / "fields.md").write_text("\n".join(lines) + "\n", "utf-8")


def planes(folder: Path) -> list[str]:
    """The part of the page about fields in the plane, from the records of planes.py."""
    columns = {
        "CRPS": "CRPS",
        "energy score": "energy score",
        "coverage of 90 %": "coverage of 90 %",
        "median forward misfit": "forward misfit",
        "RMSE of the mean of the draws": "RMSE of the mean",
        "seconds of a draw": "seconds of a draw",
        "CRPS over exact": "CRPS over exact",
    }
    rows, records = [], [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("plane-*.json"))]
    for record in records:
        figures, system = record["figures"], record["benchmark"].removeprefix("plane-")
        ends = f"{record['budget_seconds']:.0f} | {len(record['seeds'])}"
        for method in dict.fromkeys(key.split(": ")[0] for key in figures if not key.startswith("truth")):
            shown = [told(figures[key]) if (key := f"{method}: {k}") in figures else "" for k in columns]
            rows.append(f"| {system} | {method} | {' | '.join(shown)} | {ends} |")
        truth = told(figures["truth: median forward misfit"])
        rows.append(f"| {system} | truth |  |  |  | {truth} |{'  |' * (len(columns) - 4)} {ends} |")
    if not rows:
        return []
    return [
        "",
        "## Fields in the plane",
        "",
        "The default method, what it learned without [Gauss-Newton steps](../concepts/jumps.md), and `gauss-newton`,",
        "on the same test observations; the budget is time on the clock. Written from the records of",
        "`benchmarks/planes.py`.",
        "",
        f"| system | method | {' | '.join(columns.values())} | seconds | seeds |",
        "|---" * (len(columns) + 4) + "|",
        *rows,
        "",
        f"Measured on {records[-1]['hardware']}.",
    ]


def beside_exact(folder: Path) -> list[str]:
    """The part of the page about stored references, from the records of references.py."""
    rows, hardware = [], ""
    records = {path: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("exact-*.json"))}
    against = [s for s in AGAINST if any(f"physinv: {s} over exact" in r["figures"] for r in records.values())]
    for path, record in records.items():
        figures = {k.removeprefix("physinv: "): v[0] for k, v in record["figures"].items() if k.startswith("physinv: ")}
        name = path.stem.removeprefix("exact-")
        info = read_reference(FOLDER / f"{name}.hdf5").info
        second = info.get("again", {}).get("crps_ratio")
        shown = [f"{figures['observations']:.0f}", f"{info['options'].get('late', 0.0):.2g}"]
        shown.append("" if second is None else f"{second:.3f}")
        for after in ("", ", 20 gradients"):
            for score in against:
                ratio, error = (figures.get(f"{k}{after}") for k in (f"{score} over exact", f"{WIDTH}, {score}"))
                shown.append("" if ratio is None else f"{ratio:.3f} +- {error:.3f}")
        shown.insert(3 + len(against), f"{figures['coverage of 90 %']:.3f}")
        rows.append(f"| {name} | {' | '.join(shown)} | {record['budget_seconds']:.0f} |")
        hardware = record["hardware"]
    columns = [f"{score} over exact" for score in against]
    columns += ["coverage of 90 %", *(f"{name}, 20 gradients" for name in columns)]
    head = ["system", "observations", "noise integrated out", "second reference over the first", *columns, "seconds"]
    return [
        "",
        "## Beside exact posteriors",
        "",
        "The default method on observations whose posterior is known by Monte Carlo over paths (R-hat of 1.1 or less),",
        "and the same samples after 20 gradients of it (`--refine 20`), both over the exact value, with the standard",
        "error over the observations. The expected CRPS is that against draws of the exact posterior in the place of",
        "the one truth, whose luck is most of the error of the other. A number in a name is that of the points along",
        "an axis, or of the particles; what else differs from the recipes is said with",
        "[the references](../methods.md#exact-references). Of the",
        "noise on the way the share of the last steps that is named is integrated out after linearisation. The second",
        "reference is made of the same data with other random numbers, from other starts (`references.py again`): its",
        "CRPS over that of the first. Refinement of the particles is left out, since a trial finds them worse by it.",
        "`excitable-medium` and `swift-hohenberg` are no processes of physinv, but written as users would write them",
        "(`benchmarks/stranger_fields.py`). Written from the records of `benchmarks/references.py compare`.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *rows,
        "",
        f"Measured on {hardware}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", default=SYSTEMS, metavar="SYSTEM", help=", ".join(SYSTEMS))
    parser.add_argument("--budget", type=float, default=40.0, help="CPU seconds of training (default %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of data, training and sampling")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="training settings")
    parser.add_argument("--single", action="store_true", help="train the jump from T alone")
    parser.add_argument("--refine", type=int, nargs="*", default=[], help="gradients of Monte Carlo for draws")
    parser.add_argument("--data", type=Path, help="folder that holds the datasets; default: made by the seed")
    parser.add_argument("--out", type=Path, help="folder for the JSON; default: none is written")
    parser.add_argument("--page", action="store_true", help="write the page of the documentation, and stop")
    args = parser.parse_args()
    if args.page:
        page(args.out or ROOT / "benchmarks" / "results")
        return
    torch.set_num_threads(1)
    changes: dict[str, Any] = dict(pair.split("=", 1) for pair in args.set)
    settings = Settings(**{k: number(v) for k, v in changes.items()})
    for name in args.systems:
        figures: dict[str, list[float]] = {}
        for i, seed in enumerate(args.seeds):
            for key, value in once(name, seed, args.budget, settings, args).items():
                figures.setdefault(key, []).append(value)
            head = {"benchmark": f"field-kernels-{name}", "seeds": args.seeds[: i + 1], "budget_seconds": args.budget}
            if args.out:
                write(args.out / f"field-kernels-{name}.json", head, figures)
        print("\n".join(f"{name}: {key:40s} {told(values)}" for key, values in figures.items()), flush=True)


def number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    main()
