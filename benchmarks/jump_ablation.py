"""Jump kernels with one part left out at a time: what each part brings, by system.

python benchmarks/jump_ablation.py burgers kpz lorenz-63 fitzhugh-nagumo --page

Fields: kernels are trained for the same CPU seconds (those of field_kernels.py), with another network, another
optimiser, without new trajectories; of the kernels with everything, draws are made with noise of one spectrum in the
place of the correlations that the physics gives, and after gradients of refinement.  Vectors (those of
stranger_processes.py): the same training judged by grids of 1, 2 and 4 jumps, by all of them together, and by the
small steps of the score model beside them; and without new trajectories.  CRPS, and CRPS over the exact posterior's
where that is known: references.py for fields, importance sampling for vectors.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from common import ROOT, dataset, told, write
from field_kernels import DRAWS, OBSERVATIONS, REFINED, SYSTEMS, compared, scores, trained
from stranger_processes import STRANGERS
from strangers import exact_of, problem_of
from torch import Tensor

from physinv.config.settings import Settings
from physinv.evaluation.metrics import coverage, crps, energy_score
from physinv.methods.auto import underlying
from physinv.methods.classical.forward import fit_forward
from physinv.methods.classical.linear_estimate import fit_linear
from physinv.methods.classical.monte_carlo.refine import refine
from physinv.methods.own.jumps import JumpAnswer
from physinv.methods.own.ways import STEPS
from physinv.methods.problem import Answer, Problem
from physinv.methods.registry import fit_method
from physinv.models.jumps.base import Jump
from physinv.posterior.jumps import JumpPosterior
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.training.budget import Budget

GRADIENTS = 20
EVERYTHING = "everything"
CHANGES: dict[str, dict[str, str]] = {
    EVERYTHING: {},
    "a U-Net in the place of tokens": {"network": "unet"},
    "AdamW in the place of Muon": {"optimiser": "adamw"},
    "new noise, but the stored initial states": {"fresh": "noise"},
    "the stored trajectories alone": {"fresh": "off"},
}
Rows = dict[str, dict[str, float]]


def of_field(name: str, seed: int, budget: float) -> Rows:
    """Rows of a field."""
    with tempfile.TemporaryDirectory() as tmp:
        data = dataset(name, seed, Path(tmp) / "data")
    config = data["train"].config
    simulator = build(find(config["simulator"]), config["parameters"])
    truth, final = (data["test"].states(i, limit=OBSERVATIONS) for i in (0, -1))
    forward, last = fit_forward(Problem(simulator, data["train"], data["valid"])), len(data["train"].times) - 1

    def judged(draws: Tensor, count: int = OBSERVATIONS) -> dict[str, float]:
        found = scores(draws, truth[:count], final[:count], forward)
        found |= compared(simulator, draws, truth[:count], final[:count])
        return {k: v for k, v in found.items() if math.isfinite(v)}  # what diverges has no misfit

    linear = fit_linear(simulator, data["train"], data["valid"])
    rows = {"the linear estimate": judged(linear.sample(final, DRAWS, generator=torch.Generator().manual_seed(seed)))}
    for label, change in CHANGES.items():
        settings = Settings(**change)  # type: ignore[arg-type]
        kernel, done = trained(simulator, data, settings, budget, seed)
        posterior = JumpPosterior(kernel, [[Jump(0, last)]])
        draws = posterior.sample(final, DRAWS, generator=torch.Generator().manual_seed(seed))
        rows[label] = judged(draws) | done
        if label == EVERYTHING:
            few, seen = draws[:REFINED, :REFINED], final[:REFINED]
            rows[f"everything, {REFINED} observations"] = judged(few, REFINED)
            moved = refine(simulator, few, seen, GRADIENTS, generator=torch.Generator().manual_seed(seed))
            rows[f"the same after {GRADIENTS} gradients of refinement"] = judged(moved, REFINED)
            kernel.physical.forget(0)
            white = posterior.sample(final, DRAWS, generator=torch.Generator().manual_seed(seed))
            rows["noise of one spectrum, not of the physics"] = judged(white)
        print(name, seed, label, rows[label], flush=True)
    return rows


def of_vector(name: str, seed: int, budget: float) -> Rows:
    """Rows of a vector process."""
    rows: Rows = {}
    for label, change in {EVERYTHING: {}, "the stored trajectories alone": {"fresh": "off"}}.items():
        problem, test = problem_of(name, seed, Budget(seconds=budget), Settings(**change))  # type: ignore[arg-type]
        exact = exact_of(problem, test, 1)
        answer = underlying(fit_method("physinv", problem))
        assert isinstance(answer, JumpAnswer)
        answers: dict[str, Answer] = {label: answer}
        if label == EVERYTHING:
            ways = {"1 jump": "1", "2 jumps": "2", "4 jumps": "4", "small steps of the score model": STEPS}
            answers |= {row: replace(answer, ways=(way,)) for row, way in ways.items()}
            answers["the linear estimate"] = fit_method("linear", problem)
        for row, each in answers.items():
            generator = torch.Generator().manual_seed(seed)
            draws = each.sample(exact.final, exact.draws.shape[1], generator=generator)
            found = float(crps(draws, exact.truth))
            rows[row] = {
                "CRPS": found,
                "CRPS over exact": found / float(crps(exact.draws, exact.truth)),
                "energy score": float(energy_score(draws, exact.truth)),
                "coverage of 90 %": float(coverage(draws, exact.truth, 0.9)),
            }
            print(name, seed, row, rows[row], flush=True)
    return rows


def page(folder: Path) -> None:
    """Write docs/results/parts.md from all records of a folder."""
    columns = ("CRPS", "CRPS over exact", "energy score", "coverage of 90 %", "median forward misfit", "updates")
    lines = [
        "# What each part brings",
        "",
        "[Jump kernels](../concepts/jumps.md) with one part left out at a time, for the same time of training on one",
        "core. Fields: CPU seconds of the kernels alone, 100 test observations, except where fewer are named. Vectors:",
        "seconds of the whole method, 300 test observations. Exact: references of Monte Carlo for fields, on the",
        "observations that have one; importance sampling for vectors. Written by `benchmarks/jump_ablation.py --page`.",
    ]
    hardware = ""
    for path in sorted(folder.glob("jump-ablation-*.json")):
        record = json.loads(path.read_text("utf-8"))
        figures: Mapping[str, list[float]] = record["figures"]
        rows = list(dict.fromkeys(key.split(": ")[0] for key in figures))
        kept = [c for c in columns if any(f"{row}: {c}" in figures for row in rows)]
        lines += ["", f"## {record['system']}, {record['budget_seconds']:.0f} s, seeds {record['seeds']}", ""]
        lines += [f"| | {' | '.join(kept)} |", "|---" * (len(kept) + 1) + "|"]
        for row in rows:
            cells = (told(figures[f"{row}: {c}"]) if f"{row}: {c}" in figures else "" for c in kept)
            lines.append(f"| {row} | {' | '.join(cells)} |")
        hardware = record["hardware"]
    lines += ["", f"Measured on {hardware}."]
    (ROOT / "docs" / "results" / "parts.md").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=", ".join((*SYSTEMS, *STRANGERS)))
    parser.add_argument("--budget", type=float, default=40.0, help="seconds of training (default %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of data, training and sampling")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    parser.add_argument("--page", action="store_true", help="write the page of the documentation as well")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.systems:
        figures: dict[str, list[float]] = {}
        for i, seed in enumerate(args.seeds):
            rows = (of_field if name in SYSTEMS else of_vector)(name, seed, args.budget)
            for row, found in rows.items():
                for key, value in found.items():
                    figures.setdefault(f"{row}: {key}", []).append(value)
            head = {"benchmark": f"jump-ablation-{name}", "system": name, "seeds": args.seeds[: i + 1]}
            write(args.out / f"jump-ablation-{name}.json", {**head, "budget_seconds": args.budget}, figures)
    if args.page:
        page(args.out)


if __name__ == "__main__":
    main()
