"""Sharp initial states: what the quantile mapping brings to the samples of a method, and what it leaves.

Of each system the method is trained once; the same draws are evaluated without and with the map (``with_value_map``),
beside what the truth has: CRPS, coverage, total variation, zigzags and a two-sample test of patches.

python benchmarks/sharp_priors.py --only heat-walls wave --budget 60    results/sharp_priors.json
python benchmarks/sharp_priors.py --page                                docs/results/sharp.md, from that record
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from common import ROOT, dataset, write

from physinv.config.devices import pick_device, threads_for
from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.evaluation import metrics
from physinv.evaluation.checks import check_samples
from physinv.methods.mapped import with_value_map
from physinv.methods.own.score import OwnPosterior
from physinv.methods.problem import Answer, Problem
from physinv.methods.registry import fit_method, method_names
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator
from physinv.training.budget import Budget

SYSTEMS = ("heat-walls", "advection-diffusion", "wave", "buoyancy", "heat-conductivity")
OBSERVATIONS, SAMPLES = 100, 10
SHOWN = ("outside", "total_variation", "zigzags", "patch_c2st", "misfit_median")


def once(name: str, method: str, seed: int, budget: float, train: int | None) -> dict[str, float]:
    """Figures of one system with and without the map."""
    device, streams = pick_device(None), seeds(seed).child("comparison")
    with tempfile.TemporaryDirectory() as tmp:
        data = dataset(name, seed, Path(tmp) / "data", train=train)
    config = data["train"].config
    simulator = build(find(config["simulator"]), config["parameters"])
    problem = Problem(
        simulator, data["train"], data["valid"], Settings(), Budget(seconds=budget), seed=seed, device=device
    )
    n = min(OBSERVATIONS, data["test"].n_trajectories)
    truth, final = data["test"].states(0, limit=n), data["test"].states(-1, limit=n)
    with threads_for(data["test"].shape):
        begun = time.process_time()
        plain = fit_method(method, problem)
        if isinstance(plain, OwnPosterior):  # physinv's own method has a map already
            plain = replace(plain, values=None)
        trained = time.process_time() - begun

        # One call puts the map behind any answer.
        begun = time.process_time()
        generator = seeds(seed).child("map").generator()
        mapped = with_value_map(plain, simulator, data["train"], data["valid"], generator)
        fitted = time.process_time() - begun
        figures = {"CPU seconds of training": trained, "CPU seconds of the map": fitted}
        figures["map applied"] = float(mapped is not plain)
        for word, answer in (("", plain), (", mapped", mapped)):
            found = evaluated(answer, truth, final, simulator, streams.child("samples").generator(device))
            figures |= {key + word: value for key, value in found.items() if not (word and key.endswith("truth"))}
    return figures


def evaluated(
    answer: Answer, truth: torch.Tensor, final: torch.Tensor, simulator: Simulator, generator: torch.Generator
) -> dict[str, float]:
    """Scores, and the checks that need no exact posterior."""
    samples = answer.sample(final, SAMPLES, generator=generator).cpu()
    moving = simulator.layout.moving
    ours, real = moving(samples), moving(truth)
    figures = {
        "CRPS": float(metrics.crps(ours, real)),
        "energy score": float(metrics.energy_score(ours, real)),
        "coverage of 90 %": float(metrics.coverage(ours, real, 0.9)),
    }
    for check in check_samples(samples, truth, final, simulator, generator=torch.Generator().manual_seed(0)):
        if check.name in SHOWN:
            figures[check.name] = check.value
            figures[f"{check.name} of the truth"] = check.expected
    return figures


def page(path: Path, method: str) -> None:
    """Write docs/results/sharp.md from the record."""
    record = json.loads(path.read_text("utf-8"))
    columns = {
        "CRPS": "CRPS",
        "coverage of 90 %": "coverage of 90 %",
        "total_variation": "total variation over that of the truth",
        "zigzags": "zigzags",
        "patch_c2st": "patches told apart",
    }
    rows = []
    for name in SYSTEMS:
        label = f"{name}, {method}: "
        figures = {k.removeprefix(label): v for k, v in record["figures"].items() if k.startswith(label)}
        if not figures:
            continue
        for shown_name, word in ((name, ""), (f"{name}, mapped", ", mapped")):
            shown = [f"{figures[k + word][0]:.3g}" if k + word in figures else "" for k in columns]
            if word == "":
                shown[3] += f" (truth: {figures['zigzags of the truth'][0]:.3g})"
            rows.append(f"| {shown_name} | {' | '.join(shown)} |")
    lines = [
        "# Sharp initial states",
        "",
        f"Samples of `{method}` for test observations of processes whose initial states have plateaus and edges,",
        "before and after the quantile mapping ([what can be done](../trust.md)), which smooths samples first",
        "where they are rougher than the training states. Zigzags: the share of points that stick out from both",
        "neighbours.",
        "Patches told apart: how often a classifier tells patches of samples from patches of truths; .5 is chance.",
        "Written by `benchmarks/sharp_priors.py --page`.",
        "",
        f"| system | {' | '.join(columns.values())} |",
        "|---" * (len(columns) + 1) + "|",
        *rows,
        "",
        f"{record['budget_seconds']:.0f} s of training, seed {record['seeds'][0]}, {record['hardware']}.",
    ]
    (ROOT / "docs" / "results" / "sharp.md").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=SYSTEMS, metavar="SYSTEM")
    parser.add_argument("--method", choices=method_names(), default="physinv", metavar="METHOD")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of training (default %(default)s)")
    parser.add_argument("--train", type=int, help="training trajectories (default: those of the recipe)")
    parser.add_argument("--seed", type=int, default=0, help="of data, training and sampling")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    parser.add_argument("--page", action="store_true", help="write the page of the documentation, and stop")
    args = parser.parse_args()
    path = args.out / "sharp_priors.json"
    if args.page:
        page(path, args.method)
        return
    for name in args.only:
        figures = once(name, args.method, args.seed, args.budget, args.train)
        print(f"\n{name}, {args.method}")
        print("\n".join(f"  {key:40s} {value:.4g}" for key, value in figures.items()), flush=True)
        known = json.loads(path.read_text("utf-8"))["figures"] if path.exists() else {}
        label = f"{name}, {args.method}: "
        kept = {k: v for k, v in known.items() if not k.startswith(label)}
        head = {"benchmark": "sharp_priors", "seeds": [args.seed], "budget_seconds": args.budget}
        write(path, head, kept | {label + key: [value] for key, value in figures.items()})


if __name__ == "__main__":
    main()
