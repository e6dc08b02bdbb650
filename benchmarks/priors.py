"""One prior, many forward models: guided diffusion, Monte Carlo and 4D-Var with a prior that was learned once.

    python benchmarks/priors.py [--budget 60 --seeds 0]    results/priors.json

1. Heat, 16 x 16: a prior learned from its initial states; `dps` given final states, and given a quarter of the points
   (sigma .05), CRPS over that of the exact posterior; also with the diffusivity times 1.5, without training.
2. Heat between walls, 32 cells in one dimension, initial states with two values and edges: CRPS of `mcmc` and `dps`
   with a learned prior, of `mcmc` with the Gaussian one, and of the linear estimate.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

from common import dataset, repeat
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

HEAT, WALLS = {"size": 16}, {"dimension": 1, "size": 32}
OBSERVATIONS, DRAWS = 64, 32  # of heat
SHARP = 24  # observations between walls
CHAINS = {"iterations": 150, "most": 2}


def fresh(process: Simulator, data: TrajectoryDataset, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Initial states of a test set, and where a process leads from them."""
    truth, stream = data.states(0, limit=n), seeds(seed).child("observation", "noise")
    return truth, process.run(truth, process.times[[0, -1]], generator=stream.generator())[:, -1]


def heat(seed: int, budget: float) -> dict[str, float]:
    """CRPS over exact of guided diffusion, of the process that made the data and of another one."""
    with tempfile.TemporaryDirectory() as tmp:
        data = dataset("heat", seed, Path(tmp) / "data", changes=HEAT)
    prior = fit_prior(data["train"], data["valid"], budget=Budget(seconds=budget), seed=seed)
    figures = {}
    for diffusivity in (1.0, 1.5):
        process = Heat(**HEAT, diffusivity=diffusivity)
        problem = Problem(process, data["train"], data["valid"], prior=prior, seed=seed)
        truth, final = fresh(process, data["test"], OBSERVATIONS, seed)
        sensors = named("sensors:0.25", 0.05, process.shape, seed=seed)
        stream = seeds(seed).child("reconstruction", "samples")
        y = sensors.observe(final, generator=stream.child("seen").generator())
        answer, exact = fit_method("dps", problem), process.exact()
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


def walls(seed: int, budget: float) -> dict[str, float]:
    """CRPS with a learned prior of edges, and with the Gaussian one of the same mean and covariance."""
    process = HeatWalls(**WALLS)
    with tempfile.TemporaryDirectory() as tmp:
        data = dataset("heat-walls", seed, Path(tmp) / "data", changes=WALLS, train=2000)
    learned: LearnedPrior = fit_prior(data["train"], data["valid"], budget=Budget(seconds=budget), seed=seed)
    gaussian = gaussian_prior_of(process, data["train"].states(0), known=False)
    truth, final = fresh(process, data["test"], SHARP, seed)
    problem, figures = Problem(process, data["train"], data["valid"], Settings(), seed=seed), {}
    cases: dict[str, tuple[str, Prior | None, dict[str, int]]] = {
        "mcmc, learned prior": ("mcmc", learned, CHAINS),
        "mcmc, Gaussian prior": ("mcmc", gaussian, CHAINS),
        "gauss-newton, learned prior": ("gauss-newton", learned, {}),
        "dps, learned prior": ("dps", learned, {"steps": 48, "sweeps": 2}),
        "linear estimate": ("linear", None, {}),
    }
    for name, (method, prior, options) in cases.items():
        begun = time.process_time()
        stream = seeds(seed).child("reconstruction", "samples", name)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(R-hat|effective)")
            answer = fit_method(method, replace(problem, prior=prior), options)
            drawn = answer.sample(final, DRAWS, generator=stream.generator())
        figures[f"walls, {name}: CRPS"] = float(crps(drawn, truth))
        figures[f"walls, {name}: CPU seconds an observation"] = (time.process_time() - begun) / len(truth)
    return figures


def once(seed: int, budget: float) -> dict[str, float]:
    """All figures of a seed; each of the two priors is trained for half of the budget."""
    return heat(seed, budget / 2) | walls(seed, budget / 2)


if __name__ == "__main__":
    repeat("priors", __doc__, once, budget=120.0)
