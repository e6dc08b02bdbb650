"""Unknown parameters: rate of Ornstein-Uhlenbeck, diffusivity of heat, viscosity of Burgers, noise of sensors of heat.

physinv's own method is trained on trajectories that each have a parameter of their own, and draws parameter and state
together for fresh observations.  The exact joint posterior, by quadrature over the parameter, answers the same where it
is known (rate and diffusivity).  CRPS, coverage of 90 % intervals and the p value of the ranks (SBC) of the parameter,
CRPS of the state, and the energy score of both together.  The record keeps the systems that are not run again.

No closed form is known for Burgers: `--chains N` runs `mcmc`, whose chains move through parameter and path together,
on the first N of the same observations of the first seed, and compares all scores on those whose chains have converged
(R-hat up to 1.05 and 100 effective draws of every component of the state and of the parameter), with paired standard
errors.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from common import COMMIT, ROOT, write
from torch import Tensor

from physinv.config.checksums import of_tensors
from physinv.config.files import load_tensors, save_tensors
from physinv.config.seeds import seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation import metrics
from physinv.evaluation.evaluate import evaluate
from physinv.evaluation.references import scores_of_chains
from physinv.methods.classical.monte_carlo.diagnostics import Explored
from physinv.methods.classical.monte_carlo.mcmc import fit_mcmc
from physinv.methods.problem import Problem
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.processes.varying import Varying
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

CHAINS = {"chains": 4, "iterations": 120, "warm_up": 40, "most": 4, "late": 1.0}
KEPT = 60  # draws of each chain that are scored, about
BESIDE = "beside mcmc"


def once(name: str, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """Figures of one system and seed."""
    system, observe, noise = OBSERVED.get(name, (name, None, None))
    process = build(find(system), SYSTEMS[name])
    splits = {"train": 2500, "valid": 250, "test": args.observations}
    with tempfile.TemporaryDirectory() as tmp:
        out = generate(DatasetPlan(process, splits, seed, system), Path(tmp) / "data")
        train, valid, test = (TrajectoryDataset(out / "data" / split) for split in splits)
        seen = {"observe": observe, "observed_noise": noise}
        budget, begun = Budget(steps=args.updates), time.process_time()
        train_run(Path(tmp) / "run", train, valid, method="physinv", budget=budget, seed=seed, **seen)
        print(f"{name}, seed {seed}: training took {time.process_time() - begun:.0f} s of CPU", flush=True)
        file = Path(tmp) / "samples.hdf5"
        reconstruct(Path(tmp) / "run", test, file, SamplingPlan(samples=args.draws, seed=seed))
        rows = evaluate(file, seed=seeds(seed).child("benchmark").number)
        figures = {}
        for row in rows:
            if row.metric == "crps" or row.metric.startswith(SHOWN):
                figures[row.metric] = row.value
                if row.exact is not None:
                    figures[f"{row.metric}, exact"] = row.exact
        if args.chains and seed == args.seeds[0]:
            problem = Problem(process, train.load(), valid.load(), seed=seed)
            found = chains(problem, test.states(-1, limit=args.chains), args.reference)
            figures |= beside(found, process, test.states(0), read_reconstruction(file).samples)
    return figures


def chains(problem: Problem, final: Tensor, kept: Path | None) -> Explored:
    """Draws of `mcmc`: those that are kept, or new ones, which are kept then."""
    whose = {"seed": str(problem.seed), "observations": f"{len(final)}, {of_tensors({'final': final}, {})}"}
    if kept is not None and kept.exists():
        draws, told = load_tensors(kept)
        if whose.items() - told.items():
            raise SystemExit(f"{kept} holds chains of {told}, not of {whose}; give another `--reference`.")
        return Explored(**draws)
    begun = time.process_time()
    generator = seeds(problem.seed).child("comparison", "samples").generator()
    found = fit_mcmc(problem, **CHAINS).explore(problem.simulator.hidden(final), generator=generator)
    found = replace(found, draws=found.draws[:, :, :: max(1, found.draws.shape[2] // KEPT)])
    told = ", ".join(f"{float(r):.3f} ({float(e):.0f})" for r, e in zip(found.r_hat, found.effective, strict=True))
    print(f"R-hat (effective draws): {told}; {time.process_time() - begun:.0f} s of CPU", flush=True)
    if kept is not None:
        save_tensors(kept, vars(found), whose)
    return found


def beside(found: Explored, process: Varying, truth: Tensor, samples: Tensor) -> dict[str, float]:
    """Scores of draws over those of chains, where these have converged, with errors from the paired scores."""
    good = (~found.short).nonzero()[:, 0]

    # As `evaluate` does: the state over its deviation and the root of its count, the parameter over its deviation.
    spread, unit = process.state(truth).double().std(), process.values(truth).double().std(0)

    def parts(x: Tensor) -> dict[str, Tensor]:
        flat = x.flatten(0, -1 - len(process.shape)).double()
        state, value = process.state(flat).flatten(1), process.values(flat)
        joint = torch.cat([state / (spread * state.shape[1] ** 0.5), value / unit], 1)
        made = {"crps": state, f"crps_{process.unknown[0]}": value, f"crps_log_{process.unknown[0]}": value.log()}
        made |= {"energy_score_joint": joint}
        return {key: v.reshape(*x.shape[: -len(process.shape)], -1) for key, v in made.items()}

    true, own, other = parts(truth[good]), parts(samples[good][:, None]), parts(found.draws[good])
    figures = {}
    for key, target in true.items():
        which = 1 if key == "energy_score_joint" else 0
        (ours,), (theirs,) = ([scored(x[key], target)[which]] for x in (own, other))
        ratio = float(ours.mean() / theirs.mean())
        off = (ours - ratio * theirs).std() / math.sqrt(len(good)) / theirs.mean()  # of the ratio of paired means
        figures |= {f"{BESIDE}: {key}": float(ours.mean()), f"{BESIDE}: {key}, exact": float(theirs.mean())}
        figures |= {f"{BESIDE}: {key}, ratio": ratio, f"{BESIDE}: {key}, error of the ratio": float(off)}
    return figures | {
        f"{BESIDE}: observations": float(len(found.r_hat)),
        f"{BESIDE}: of them converged": float(len(good)),
    }


def scored(draws: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Fair CRPS and energy score of each observation; of chains unbiased although their draws are alike."""
    if draws.shape[1] > 1:
        return scores_of_chains(draws, truth)
    energy = [metrics.energy_score(a, b[None]) for a, b in zip(draws, truth, strict=True)]
    return metrics.crps_map(draws[:, 0], truth).flatten(1).mean(1), torch.stack(energy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--updates", type=int, default=6000, help="updates of all networks (default %(default)s)")
    parser.add_argument("--observations", type=int, default=200)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--chains", type=int, default=0, help="observations that mcmc answers as well (default: none)")
    parser.add_argument(
        "--reference", type=Path, help="where the draws of mcmc are kept, and read from if they are there"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of data, training and sampling")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    file = args.out / "unknown-parameters.json"
    before = json.loads(file.read_text("utf-8")) if file.exists() else {"figures": {}, "made": {}}
    figures, made = before["figures"], before["made"]
    for name in args.only:
        figures = {key: value for key, value in figures.items() if not key.startswith(f"{name}: ")}
        for seed in args.seeds:
            for key, value in once(name, seed, args).items():
                figures.setdefault(f"{name}: {key}", []).append(value)
                print(f"{name}, seed {seed}: {key:45s} {value:.4g}", flush=True)
        told = {"updates": args.updates, "observations": args.observations, "seeds": args.seeds, "commit": COMMIT}
        made[name] = told
        write(file, {"benchmark": "unknown-parameters", "made": made}, figures)


if __name__ == "__main__":
    main()
