"""Training objectives side by side: same network, same seconds, one after the other.

python benchmarks/objectives.py    Ornstein-Uhlenbeck mixture (d = 2, one Gaussian as reference), quadratic process

`score error` is E|s - s*|^2 / E|s*|^2 over the stored times of test data, `CRPS` that of the reverse SDE over that of
the exact posterior.  `Q` counts hits of both branches of the quadratic process (with these 250 trajectories, for the
flow, Holzschuh et al. 2023 report multi-step .91, 1-step .44, implicit .15, sliced .49); `P error` is the largest error
of P(x_0 = 1 | x_T) against Fokker-Planck, with 300 draws each (standard error .03).
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import dataset, repeat

from physinv.config.devices import threads_for
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.evaluation.metrics import crps
from physinv.laws.exact_1d import ScalarPosterior
from physinv.models.build import build_model
from physinv.models.score import ScoreModel
from physinv.posterior.posterior import Posterior
from physinv.processes.parameters import build
from physinv.reversal.split import split
from physinv.training.budget import Budget
from physinv.training.fit_drift import fit_drift
from physinv.training.loop import fit
from physinv.training.objectives.base import Loss
from physinv.training.objectives.denoising import denoising_loss
from physinv.training.objectives.implicit import implicit_loss, sliced_loss, sliced_vr_loss
from physinv.training.objectives.trajectory import trajectory_loss
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
from simulators.vectors.quadratic import Quadratic, quadratic_q

Data = dict[str, TrajectoryDataset]

WINDOWS = {"multi-step": (2, 4, 8), "denoising": (41,)}
ONE_STEP: Loss = functools.partial(trajectory_loss, step=split)
OBJECTIVES: dict[str, Loss] = {
    "1-step": ONE_STEP,
    "multi-step": ONE_STEP,
    "bidirectional": functools.partial(trajectory_loss, step=split, bidirectional=True),
    "implicit": implicit_loss,
    "sliced": sliced_loss,
    "sliced, variance-reduced": sliced_vr_loss,
    "denoising": denoising_loss,
    "learned drift": ONE_STEP,
}


def once(seed: int, budget: float) -> dict[str, float]:
    """Every objective on both processes."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as tmp:
        ou = dataset("ornstein-uhlenbeck", seed, Path(tmp) / "ou", changes={"dim": 2})
        for name in OBJECTIVES:
            figures |= row(f"OU, {name}", ou, name, seed, budget, Settings(components=1), ou_figures)
        quadratic = dataset("quadratic", seed, Path(tmp) / "quadratic", train=250)
        for name in OBJECTIVES:
            # Not linear; in 1-D sliced is implicit; with learned physics 500 steps take minutes to sample.
            if name not in ("denoising", "learned drift") and not name.startswith("sliced"):
                figures |= row(f"quadratic, {name}", quadratic, name, seed, budget, Settings(), quadratic_figures)
    return figures


def row(
    label: str,
    data: Data,
    name: str,
    seed: int,
    budget: float,
    settings: Settings,
    measure: Callable[[SDE, ScoreModel, Data, int], dict[str, float]],
) -> dict[str, float]:
    """Train with one objective, measure, print."""
    begun = time.perf_counter()
    settings = settings.model_copy(update={"windows": WINDOWS.get(name, (2,))})
    with threads_for(data["train"].shape):
        sde: SDE = simulator(data)
        seconds = budget
        if name == "learned drift":
            seconds = budget / 2
            sde = fit_drift(data["train"], data["valid"], settings=settings, budget=Budget(seconds=seconds), seed=seed)
        model = build_model(sde, data["train"], settings, seed=seed)
        history = fit(
            model,
            sde,
            data["train"],
            data["valid"],
            settings=settings,
            budget=Budget(seconds=seconds),
            loss=OBJECTIVES[name],
            seed=seed,
        )
        figures = measure(sde, model, data, seed)
    shown = ", ".join(f"{k} {v:.3g}" for k, v in figures.items())
    steps = f"{history.records[-1].step} updates, best {history.best_step}"
    print(f"{label:40s} {shown}  ({steps}, {time.perf_counter() - begun:.0f} s)", flush=True)
    return {f"{label}: {k}": v for k, v in figures.items()}


def simulator(data: Data) -> OrnsteinUhlenbeck | Quadratic:
    """The process that the data are of."""
    kind = Quadratic if data["test"].config["simulator"] == "quadratic" else OrnsteinUhlenbeck
    made = build(kind, data["test"].config["parameters"])
    assert isinstance(made, (OrnsteinUhlenbeck, Quadratic))
    return made


@torch.no_grad()
def ou_figures(sde: SDE, model: ScoreModel, data: Data, seed: int) -> dict[str, float]:
    """Score error against the closed form, CRPS relative to the exact posterior."""
    ou, test = simulator(data), data["test"]
    assert isinstance(ou, OrnsteinUhlenbeck)
    gap = size = 0.0
    for i, t in enumerate(test.times[1:].tolist(), start=1):
        x = test.states(i)
        clock = torch.full((len(x),), t)
        true = ou.score(x, clock)
        gap += float((model(x, clock) - true).square().mean())
        size += float(true.square().mean())
    generator = torch.Generator().manual_seed(seed)
    truth, final = test.states(0), test.states(-1)
    ours = Posterior(sde, model, test.times).sample(final, 64, generator=generator)
    exact = ou.exact().sample(final, 64, generator=generator)
    return {"score error": gap / size, "CRPS over exact": float(crps(ours, truth) / crps(exact, truth))}


def quadratic_figures(sde: SDE, model: ScoreModel, data: Data, seed: int) -> dict[str, float]:
    """Q of reverse SDE and flow, largest error of P(x_0 = +1 | x_T) over the range of the test data."""
    test, generator = data["test"], torch.Generator().manual_seed(seed)
    posterior = Posterior(sde, model, test.times)
    starts = torch.linspace(-0.1, 0.1, 1000)[:, None]
    drawn, flow = posterior.sample(starts, 1, generator=generator), posterior.flow(starts)
    final = test.states(-1)[:, 0]
    grid = torch.linspace(float(final.min()), float(final.max()), 7)[:, None]
    exact = simulator(data).exact()
    assert isinstance(exact, ScalarPosterior)
    ours = (posterior.sample(grid, 300, generator=generator) > 0).double().mean(1)[:, 0]
    return {
        "Q sde .1": float(quadratic_q(drawn[:, 0], 0.1)),
        "Q sde .01": float(quadratic_q(drawn[:, 0], 0.01)),
        "Q flow .1": float(quadratic_q(flow, 0.1)),
        "Q flow .01": float(quadratic_q(flow, 0.01)),
        "P error": float((ours - exact.probabilities(grid)[:, 1]).abs().max()),
    }


if __name__ == "__main__":
    repeat("objectives", __doc__, once, budget=4.0)
