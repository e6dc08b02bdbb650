"""Recordings of your own: what the default method makes of them, beside what costs nothing.

    physinv import furnace.mat --times 0.1 --variable TC1,TC2,TC3 --every 100 --window 7 --out furnace
    python benchmarks/recordings.py furnace bar sea --budget 60

Of each imported dataset (the folder that `physinv import` wrote) a run is trained, its test windows are reconstructed,
and one line is printed: CRPS of the posterior, of ridge regression (a single estimate, and as a law with the spread of
its errors), of persistence and of climatology; coverage of 90 % intervals, of all numbers and of the worst channel or
component; and the share of samples outside three times the range of the training data.  `--out FILE` writes the same as
JSON.

Budgets count seconds of wall time, `--steps` updates, which do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from common import write

from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation.metrics import coverage, crps_map
from physinv.evaluation.verdict.baselines import baselines
from physinv.posterior.reconstruction import Reconstruction, read_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget

SAMPLES = 32


def once(folder: Path, budget: Budget, seed: int) -> dict[str, float]:
    """Figures of one dataset."""
    data = {split: TrajectoryDataset(folder / "data" / split) for split in ("train", "valid", "test")}
    with tempfile.TemporaryDirectory() as tmp:
        run, out = Path(tmp) / "run", Path(tmp) / "x.hdf5"
        train_run(run, data["train"], data["valid"], budget=budget, seed=seed)
        reconstruct(run, data["test"], out, SamplingPlan(samples=SAMPLES, seed=seed))
        found = read_reconstruction(out)
    states = torch.cat([data["train"].states(i) for i in (0, -1)])
    return {"test windows": float(data["test"].n_trajectories), **figures(found, states)}


def figures(found: Reconstruction, states: torch.Tensor) -> dict[str, float]:
    """Scores of a reconstruction, and of the answers that cost nothing."""
    layout = found.simulator.layout
    drawn, truth = layout.scored(found.samples), layout.scored(found.known_truth)
    out = {"crps": float(crps_map(drawn, truth).mean())}
    if found.linear is not None:
        out["ridge"] = float((layout.scored(found.linear) - truth).abs().mean())
    for rival in baselines(found):
        name = "ridge with spread" if rival.name == "linear" else rival.name
        out[name] = float(crps_map(layout.scored(rival.samples), truth).mean())
    out["coverage"] = float(coverage(drawn, truth, 0.9))
    ours, real = layout.moving(found.samples), layout.moving(found.known_truth)
    axis = layout.channel_axis % real.ndim
    parts = [coverage(ours.narrow(axis + 1, i, 1), real.narrow(axis, i, 1), 0.9) for i in range(real.shape[axis])]
    out["worst coverage"] = min(map(float, parts)) if layout.valid is None else out["coverage"]
    seen = layout.scored(states)
    low, high = float(seen.min()), float(seen.max())
    beyond = (drawn < low - (high - low)) | (drawn > high + (high - low))
    out["outside 3 x range"] = float(beyond.flatten(2).any(2).double().mean())
    return out


def main() -> None:
    """Read the command line, and print a line for each dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="+", help="folders that `physinv import` wrote")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of training (default %(default)s)")
    parser.add_argument("--steps", type=int, help="updates of the network instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON to write")
    args = parser.parse_args()
    budget = Budget(steps=args.steps) if args.steps else Budget(seconds=args.budget)
    every: dict[str, list[float]] = {}
    for folder in args.datasets:
        row = once(folder, budget, args.seed)
        print(f"{folder.name}: " + ", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
        for name, value in row.items():
            every.setdefault(name, []).append(value)
    if args.out:
        head = {"benchmark": "recordings", "datasets": [str(d) for d in args.datasets], "seed": args.seed}
        write(args.out, head, every)


if __name__ == "__main__":
    main()
