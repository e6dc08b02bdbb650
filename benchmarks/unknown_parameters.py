"""Unknown parameters: rate of Ornstein-Uhlenbeck, diffusivity of heat, viscosity of Burgers, noise of sensors of heat.

physinv's own method is trained on trajectories that each have a parameter of their own, and draws parameter and state
together for fresh observations.  The exact joint posterior, by quadrature over the parameter, answers the same where it
is known (rate and diffusivity).  CRPS, coverage of 90 % intervals and the p value of the ranks (SBC) of the parameter,
CRPS of the state, and the energy score of both together.  The record keeps the systems that are not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from common import COMMIT, ROOT, write

from physinv.config.seeds import seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.evaluate import evaluate
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget

SYSTEMS = {
    "ornstein-uhlenbeck": {
        "dim": 1,
        "components": 1,
        "spread": 0.0,
        "width": 1.0,
        "steps": 8,
        "rate": {"log_uniform": [0.1, 2.0]},
    },
    "heat": {"size": 16, "steps": 8, "diffusivity": {"log_uniform": [0.5, 4.0]}},
    "burgers": {"size": 64, "steps": 8, "horizon": 1.0, "viscosity": {"log_uniform": [0.04, 0.4]}},
    "heat-noise": {"size": 32, "dimension": 1, "steps": 4},
}
OBSERVED = {"heat-noise": ("heat", "every:2", "log_uniform:0.02:0.5")}
"""System, what is seen of it, and the prior of the noise of that, where the noise is the unknown."""

SHOWN = ("crps_", "coverage_90_", "sbc_", "energy_score_joint")


def once(name: str, seed: int, updates: int, observations: int, draws: int) -> dict[str, float]:
    """Figures of one system."""
    system, observe, noise = OBSERVED.get(name, (name, None, None))
    process = build(find(system), SYSTEMS[name])
    splits = {"train": 2500, "valid": 250, "test": observations}
    with tempfile.TemporaryDirectory() as tmp:
        out = generate(DatasetPlan(process, splits, seed, system), Path(tmp) / "data")
        train, valid, test = (TrajectoryDataset(out / "data" / split) for split in splits)
        seen = {"observe": observe, "observed_noise": noise}
        budget = Budget(steps=updates)
        train_run(Path(tmp) / "run", train, valid, method="physinv", budget=budget, seed=seed, **seen)
        file = Path(tmp) / "samples.hdf5"
        reconstruct(Path(tmp) / "run", test, file, SamplingPlan(samples=draws, seed=seed))
        rows = evaluate(file, seed=seeds(seed).child("benchmark").number)
    figures = {}
    for row in rows:
        if row.metric == "crps" or row.metric.startswith(SHOWN):
            figures[row.metric] = row.value
            if row.exact is not None:
                figures[f"{row.metric}, exact"] = row.exact
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--updates", type=int, default=6000, help="updates of all networks (default %(default)s)")
    parser.add_argument("--observations", type=int, default=200)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of data, training and sampling")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    file = args.out / "unknown-parameters.json"
    before = json.loads(file.read_text("utf-8")) if file.exists() else {"figures": {}, "made": {}}
    figures, made = before["figures"], before["made"]
    for name in args.only:
        found = once(name, args.seed, args.updates, args.observations, args.draws)
        print("\n".join(f"{name}: {key:45s} {value:.4g}" for key, value in found.items()), flush=True)
        figures = {key: value for key, value in figures.items() if not key.startswith(f"{name}: ")}
        figures |= {f"{name}: {key}": [value] for key, value in found.items()}
        made[name] = {"updates": args.updates, "observations": args.observations, "commit": COMMIT}
        write(file, {"benchmark": "unknown-parameters", "seeds": [args.seed], "made": made}, figures)


if __name__ == "__main__":
    main()
