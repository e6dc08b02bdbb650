"""One prior, many forward models: guided diffusion, Monte Carlo and 4D-Var with a prior that was learned once.

    python benchmarks/priors.py [--only heat walls chains]    results/priors.json

1. Heat, 8 x 8: a prior learned from its initial states; `dps` given final states, and given a quarter of the points
   (sigma .05), CRPS over that of the exact posterior; also with the diffusivity times 1.5, without training.
2. Heat between walls, 16 cells in one dimension, initial states with two values and edges: CRPS of `dps` and
   `gauss-newton` with a learned prior, of `mcmc` with the Gaussian one, and of the linear estimate.
3. The same of `mcmc` with the learned prior.  One stored step, which the
   process takes exactly, so that a path has 32 numbers; a small token network, since every move of a chain
   differentiates sixteen evaluations of it; populations, since edges may lie in several places.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from common import ROOT, dataset, write
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.evaluation.metrics import crps
from physinv.laws.operators import named
from physinv.laws.prior import Prior
from physinv.methods.classical.gaussian_prior import gaussian_prior_of
from physinv.methods.problem import Problem
from physinv.methods.registry import fit_method
from physinv.posterior.learned_prior import LearnedPrior, fit_prior
from physinv.processes.simulator import Simulator
from physinv.training.budget import Budget
from simulators.fields.heat import Heat
from simulators.fields.heat_walls import HeatWalls

HEAT, WALLS = {"size": 8}, {"dimension": 1, "size": 16, "steps": 1}
UPDATES = {"heat": 100, "walls": 1500}
SETTINGS = {
    "heat": Settings(validate_windows=128, validate_every=500),
    "walls": Settings(network="tokens", width=32, depth=3, validate_windows=256, validate_every=500),
}
OBSERVATIONS, DRAWS = 64, 8  # of heat
SHARP, SHARP_DRAWS = 12, 32  # between walls
CHAINS = {"chains": 2, "particles": 24, "most": 1}


def fresh(process: Simulator, data: TrajectoryDataset, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Initial states of a test set, and where a process leads from them."""
    truth, stream = data.states(0, limit=n), seeds(seed).child("observation", "noise")
    return truth, process.run(truth, process.times[[0, -1]], generator=stream.generator())[:, -1]


def learned(data: Mapping[str, TrajectoryDataset], part: str, seed: int) -> LearnedPrior:
    """The prior of a dataset."""
    budget = Budget(steps=UPDATES[part])
    return fit_prior(data["train"], data["valid"], budget=budget, settings=SETTINGS[part], seed=seed)


def heat(seed: int) -> dict[str, float]:
    """CRPS over exact of guided diffusion, of the process that made the data and of another one."""
    with tempfile.TemporaryDirectory() as tmp:
        data = dataset("heat", seed, Path(tmp) / "data", changes=HEAT)
    prior = learned(data, "heat", seed)
    figures = {"heat: updates of the prior": float(UPDATES["heat"])}
    for diffusivity in (1.0, 1.5):
        process = Heat(**HEAT, diffusivity=diffusivity)
        problem = Problem(process, data["train"], data["valid"], prior=prior, seed=seed)
        truth, final = fresh(process, data["test"], OBSERVATIONS, seed)
        sensors = named("sensors:0.25", 0.05, process.shape, seed=seed)
        stream = seeds(seed).child("reconstruction", "samples")
        y = sensors.observe(final, generator=stream.child("seen").generator())
        answer, exact = fit_method("dps", problem, {"steps": 16}), process.exact()
        assert exact is not None  # initial states are Gaussian
        cases = {"x_T": (answer, exact, final), "sensors": (answer.given(sensors), exact.given(sensors), y)}
        for name, (ours, right, seen) in cases.items():
            begun = time.process_time()
            drawn = ours.sample(seen, DRAWS, generator=stream.child(name).generator())
            spent = time.process_time() - begun
            best = right.sample(seen, DRAWS, generator=stream.child(name, "exact").generator())
            label = f"heat, diffusivity {diffusivity:g}, {name}: "
            figures[label + "CRPS over exact"] = float(crps(drawn, truth) / crps(best, truth))
            figures[label + "CPU seconds an observation"] = spent / len(truth)
    return figures


def walls(seed: int, *, chains: bool = False) -> dict[str, float]:
    """CRPS with a learned prior of edges, and with the Gaussian one of the same mean and covariance."""
    part, process = "chains" if chains else "walls", HeatWalls(**WALLS)
    with tempfile.TemporaryDirectory() as tmp:
        data = dataset("heat-walls", seed, Path(tmp) / "data", changes=WALLS, train=2000)
    prior = learned(data, "walls", seed)
    gaussian = gaussian_prior_of(process, data["train"].states(0), known=False)
    truth, final = fresh(process, data["test"], SHARP, seed)
    problem = Problem(process, data["train"], data["valid"], seed=seed)
    figures = {f"{part}: updates of the prior": float(UPDATES["walls"])}
    cases: dict[str, tuple[str, Prior | None, dict[str, int]]] = {
        "mcmc, Gaussian prior": ("mcmc", gaussian, CHAINS),
        "gauss-newton, learned prior": ("gauss-newton", prior, {"outer": 3}),
        "dps, learned prior": ("dps", prior, {"sweeps": 2}),
        "linear estimate": ("linear", None, {}),
    }
    if chains:
        cases = {"mcmc, learned prior": ("mcmc", prior, CHAINS)}
    for name, (method, law, options) in cases.items():
        begun = time.process_time()
        stream = seeds(seed).child("reconstruction", "samples", name)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(R-hat|effective)")
            answer = fit_method(method, replace(problem, prior=law), options)
            drawn = answer.sample(final, SHARP_DRAWS, generator=stream.generator())
        figures[f"{part}, {name}: CRPS"] = float(crps(drawn, truth))
        print(name, figures[f"{part}, {name}: CRPS"], flush=True)
        figures[f"{part}, {name}: CPU seconds an observation"] = (time.process_time() - begun) / len(truth)
    return figures


PARTS: dict[str, Callable[[int], dict[str, float]]] = {
    "heat": heat,
    "walls": walls,
    "chains": partial(walls, chains=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--seed", type=int, default=0, help="of data, training and sampling")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    path = args.out / "priors.json"
    for name in args.only:
        figures = PARTS[name](args.seed)
        print("\n".join(f"{key:64s} {value:.4g}" for key, value in figures.items()), flush=True)
        known = json.loads(path.read_text("utf-8"))["figures"] if path.exists() else {}
        kept = {key: value for key, value in known.items() if not key.startswith(name)}
        head = {"benchmark": "priors", "seeds": [args.seed]}
        write(path, head, kept | {key: [value] for key, value in figures.items()})


if __name__ == "__main__":
    main()
