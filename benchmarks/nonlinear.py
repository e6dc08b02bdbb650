"""Burgers, Kuramoto-Sivashinsky, Navier-Stokes: a score model beside a supervised regression of the same size and time.

Samples are drawn by the small steps of the score model alone: jump kernels, which the default method prefers on these
systems, are left out (they are compared by `physinv benchmark`).

1000 reconstructions of each system (10 for each of 100 observations): how many diverge, CRPS against the mean absolute
error of a U-Net trained to give x_0 for x_T, coverage of the 90 % interval of the amplitudes in each band of wave
numbers that holds at least 1 % of the energy.  The regression is also averaged over the frames that our samples are
drawn from, which nobody asks of one, to tell what they bring.  One system per file: nonlinear-NAME.json.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from common import ROOT, told, write
from torch import Tensor, nn

from physinv.config.devices import pick_device, threads_for
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.recipe import load_recipe
from physinv.evaluation import metrics
from physinv.methods.classical.linear_estimate import fit_linear
from physinv.methods.learned.regression import Regressed, Regression, fit_regression
from physinv.methods.problem import Problem
from physinv.posterior.posterior import Posterior
from physinv.processes.parameters import build
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator
from physinv.reports import plots as plot
from physinv.runs.run import load_run, train_run
from physinv.training.budget import Budget

SYSTEMS = ("burgers", "kuramoto-sivashinsky", "navier-stokes")
OBSERVATIONS, SAMPLES = 100, 10
BANDS = ((0.5, 2.5), (2.5, 4.5), (4.5, 8.5), (8.5, 16.5), (16.5, 32.5))
ENERGY = 0.01  # share of all energy that a band must hold to count


@dataclass(frozen=True)
class Data:
    """The three splits of one system."""

    train: TrajectoryDataset
    valid: TrajectoryDataset
    test: TrajectoryDataset


def once(name: str, seed: int, budget: float) -> Mapping[str, float]:
    """All figures of one system and seed."""
    recipe = load_recipe(ROOT / "datasets" / name / "recipe.toml")
    simulator = build(find(recipe.simulator), recipe.parameters)
    device = pick_device(None)
    with tempfile.TemporaryDirectory() as tmp:
        generate(DatasetPlan(simulator, recipe.splits.model_dump(), seed, recipe.simulator), Path(tmp) / "d")
        data = Data(*(TrajectoryDataset(Path(tmp) / "d" / "data" / s).load(device) for s in ("train", "valid", "test")))
        train_run(
            Path(tmp) / "run",
            data.train,
            data.valid,
            settings=Settings(),
            budget=Budget(seconds=budget),
            seed=seed,
            device=device,
        )
        run = load_run(Path(tmp) / "run", device=device)
    truth, final = (data.test.states(i, limit=OBSERVATIONS) for i in (0, -1))
    with threads_for(data.test.shape):
        posterior = Posterior(run.sde, run.model, run.times)
        draws = posterior.sample(final, SAMPLES, generator=torch.Generator(device).manual_seed(seed))
        problem = Problem(simulator, data.train, data.valid, budget=Budget(seconds=budget), seed=seed, device=device)
        regression = fit_regression(problem)
        regressed, averaged = regression.mean(final), from_all_frames(regression, simulator, final)
    linear = fit_linear(simulator, data.train, data.valid)
    if seed == 0:
        figure = plot.reconstruction(truth.cpu(), final.cpu(), draws.cpu(), simulator.layout)
        plot.save(figure, ROOT / "benchmarks" / "results" / f"nonlinear-{name}.png")
    broken = ~draws.isfinite().flatten(2).all(-1) | (draws.flatten(2).abs().amax(-1) > 3 * truth.abs().max())
    error = float((regressed - truth).abs().mean())
    score = float(metrics.crps(draws, truth))
    figures = {
        "reconstructions that diverged, of 1000": float(broken.sum()),
        "steps": float(len(run.times) - 1),
        "CRPS": score,
        "MAE of the regression": error,
        "CRPS over MAE": score / error,
        "MAE of the regression, averaged over our frames": float((averaged - truth).abs().mean()),
        "MAE of the linear estimate": float((linear.mean(final) - truth).abs().mean()),
        "relative L2, ensemble mean": float(metrics.relative_l2(draws.mean(1), truth)),
        "relative L2, regression": float(metrics.relative_l2(regressed, truth)),
        "coverage of 90 %": float(metrics.coverage(draws, truth, 0.9)),
        "spread over skill": float(metrics.spread_skill(draws, truth)),
    }
    return figures | bands(draws, truth)


class Shifted(nn.Module):
    """A network averaged over all shifts of the grid that it does not see as such."""

    def __init__(self, network: nn.Module, stride: int) -> None:
        super().__init__()
        self.network, self.stride = network, stride

    def forward(self, features: Tensor, t: Tensor) -> Tensor:
        axes = tuple(range(2, features.ndim))
        shifts = list(itertools.product(range(self.stride), repeat=len(axes)))
        total = features.new_zeros(())
        for s in shifts:
            total = total + self.network(features.roll(s, axes), t).roll([-by for by in s], axes)
        return total / len(shifts)


def from_all_frames(regression: Regressed, simulator: Simulator, final: Tensor) -> Tensor:
    """The regression's estimate, averaged over the frames that our samples are drawn from (see
    physinv.equations.symmetries)."""
    model = regression.model
    spread = Regressed(Regression(model.frame, Shifted(model.network, getattr(model.network, "stride", 1))))
    estimates = [spread.mean(image) for image in simulator.images(final)]
    return torch.stack([simulator.images(x)[j] for j, x in enumerate(estimates)]).mean(0)


def bands(draws: Tensor, truth: Tensor) -> dict[str, float]:
    """Coverage of the 90 % interval of real and imaginary amplitudes, per band of wave numbers with energy."""
    space = tuple(range(2, truth.ndim))
    modes = torch.fft.rfftn(truth, dim=space, norm="ortho")
    drawn = torch.fft.rfftn(draws, dim=tuple(d + 1 for d in space), norm="ortho")
    *lead, last = truth.shape[2:]
    axes = [torch.fft.fftfreq(n, 1 / n) for n in lead] + [torch.fft.rfftfreq(last, 1 / last)]
    k = sum(a**2 for a in torch.meshgrid(*axes, indexing="ij")).sqrt().to(truth.device)
    energy, found = modes.abs().square().sum(), {}
    for low, high in BANDS:
        here = (k > low) & (k <= high)
        if bool(here.any()) and float(modes[..., here].abs().square().sum() / energy) >= ENERGY:
            pair = (torch.view_as_real(drawn[..., here]).flatten(2), torch.view_as_real(modes[..., here]).flatten(1))
            found[f"coverage of 90 %, k = {low + 0.5:g} ... {high - 0.5:g}"] = float(metrics.coverage(*pair, 0.9))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", default=SYSTEMS, metavar="SYSTEM", help=", ".join(SYSTEMS))
    parser.add_argument("--budget", type=float, default=600.0, help="seconds of training, each (default %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of data, training and sampling")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    for name in args.systems:
        figures: dict[str, list[float]] = {}
        for i, seed in enumerate(args.seeds):
            for key, value in once(name, seed, args.budget).items():
                figures.setdefault(key, []).append(value)
            head = {"benchmark": f"nonlinear-{name}", "seeds": args.seeds[: i + 1], "budget_seconds": args.budget}
            write(args.out / f"nonlinear-{name}.json", head, figures)
        print("\n".join(f"{name}: {key:45s} {told(values)}" for key, values in figures.items()), flush=True)


if __name__ == "__main__":
    main()
