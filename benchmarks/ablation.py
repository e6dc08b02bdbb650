"""Preconditioning and variance reduction: what each brings.  Every row trains for the same seconds, on one thread.

python benchmarks/ablation.py    4 s a row, three seeds: some ten minutes.  To show: what is lost when one part is
                                 left out; `plain` is a network in global units without reference

Quadratic process, 250 trajectories: Q of reverse SDE and flow (hits within 1 %; a perfect SDE has .975), largest error
of P(x_0 = +1 | x_T) against Fokker-Planck at 7 x_T with 300 draws each (their noise: about .05).  Heat 16 x 16 from
sharp edges: CRPS of 8 samples for 50 observations, and the squared error of E[x_0 | x_t] over that of the best linear
estimate (Wiener), mean over modes |k| <= 4 and four times.  Samples beyond +-10 count as +-10: some rows diverge.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import dataset, repeat
from torch import Tensor

from physinv.config.devices import threads_for
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.equations import time_grids as grids
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import SDE, Linear, Score
from physinv.evaluation import metrics
from physinv.laws.exact_1d import ScalarPosterior
from physinv.models.build import build_model, score_network
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.mixture import MixtureReference
from physinv.models.references.registry import fit_reference
from physinv.models.score import ScoreModel
from physinv.posterior.posterior import Posterior
from physinv.processes.layout import StateLayout
from physinv.processes.parameters import build
from physinv.reversal.split import split
from physinv.reversal.transport import transport
from physinv.training.budget import Budget
from physinv.training.loop import fit
from physinv.training.objectives.base import Batch, Loss
from physinv.training.objectives.denoising import denoising_loss
from physinv.training.objectives.trajectory import trajectory_loss
from simulators.fields.heat import Heat
from simulators.vectors.quadratic import Quadratic, quadratic_q

Data = dict[str, TrajectoryDataset]
Fit = Callable[[SDE, TrajectoryDataset, Settings], ReferenceLaw]
LOW, TIMES, STEPS = 4, (1, 4, 16, 32), grids.logarithmic(0.2, 24, 0.002)


class Plain(ReferenceLaw):
    """No reference: inputs and outputs in units of the root mean square over all states and times."""

    name = "plain"

    def __init__(self, rms: float, channels: int) -> None:
        super().__init__()
        self.rms, self.channels_in, self.channels_out = rms, channels, channels

    @classmethod
    def suits(cls, sde: SDE, layout: StateLayout) -> bool:
        return "mixture" in layout.references

    @classmethod
    def fit(cls, sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: int = 0) -> "Plain":
        return cls(float(data.trajectories().square().mean().sqrt()), data.shape[0])

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        return gaussian_log_prob(x, torch.full_like(x, self.rms**2), x)

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        return x / self.rms

    def lift(self, out: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return out / self.rms


class Unscaled(MixtureReference):
    """The mixture's score, but network inputs and outputs in units of the spread of all states at t (a stored time)."""

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        inputs, d = super().features(x, t), x.shape[1]
        return torch.cat([inputs[:, :d], torch.zeros_like(inputs[:, d : 3 * d]), inputs[:, 3 * d :]], dim=1)

    def lift(self, out: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return out[:, : x.shape[1]] / self.scale[torch.searchsorted(self.times, t.contiguous())][:, None]


class Blind(MixtureReference):
    """As it is, but the network neither sees nor multiplies the score that the physics has in equilibrium."""

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        inputs, d = super().features(x, t), x.shape[1]
        return torch.cat([inputs[:, : 2 * d], torch.zeros_like(x), inputs[:, 3 * d :]], dim=1)

    def lift(self, out: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return super().lift(torch.cat([out[:, : x.shape[1]], torch.zeros_like(x)], dim=1), x, t)


class Scoreless(MixtureReference):
    """The mixture's units, curvature and box, but not its score."""

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Asymmetric(Quadratic):
    """The quadratic process that does not know of x -> -x."""

    def images(self, x: Tensor) -> list[Tensor]:
        return [x]


def reference(sde: SDE, data: TrajectoryDataset, settings: Settings) -> ReferenceLaw:
    """The default: whatever suits the state."""
    return fit_reference(sde, data, settings)


def plain(sde: SDE, data: TrajectoryDataset, settings: Settings) -> ReferenceLaw:
    return Plain.fit(sde, data, settings)


def as_kind(kind: type[MixtureReference], sde: SDE, data: TrajectoryDataset, settings: Settings) -> ReferenceLaw:
    return kind.fit(sde, data, settings)


def uniform(score: Score, sde: SDE, batch: Batch) -> Tensor:
    """Denoising at uniform times: those of a window whose first step is far longer than the whole."""
    times = batch.times.clone()
    times[:, 1] = 1e3 * times[:, -1]
    return denoising_loss(score, sde, dataclasses.replace(batch, times=times))


WHOLE = Settings(windows=(33,))  # of which denoising takes the start, and any time after it
ONE_STEP = functools.partial(trajectory_loss, step=transport)
QUADRATIC: dict[str, tuple[Fit, Settings, type[Quadratic]]] = {
    "full method": (reference, Settings(), Quadratic),
    "one Gaussian instead of the mixture": (reference, Settings(components=1), Quadratic),
    "no score of the reference": (functools.partial(as_kind, Scoreless), Settings(), Quadratic),
    "no local scaling": (functools.partial(as_kind, Unscaled), Settings(), Quadratic),
    "no physics inside the network": (functools.partial(as_kind, Blind), Settings(), Quadratic),
    "no symmetry": (reference, Settings(), Asymmetric),
    "plain": (plain, Settings(), Quadratic),
}
HEAT: dict[str, tuple[Fit, Settings, Loss | None]] = {
    "reference alone, untrained": (reference, Settings(), None),
    "full method": (reference, Settings(), None),
    "denoising without floor": (reference, WHOLE, functools.partial(denoising_loss, floor=0.0)),
    "denoising, uniform times": (reference, WHOLE, uniform),
    "1-step loss": (reference, Settings(), ONE_STEP),
    "1-step loss, plain": (plain, Settings(), functools.partial(trajectory_loss, step=split)),
    "denoising, plain": (plain, Settings(), None),
    "batch 64, rate 1e-3": (reference, Settings(batch=64, rate=1e-3), None),
}


def once(seed: int, budget: float) -> dict[str, float]:
    """Every row of both tables."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as tmp, threads_for((1,)):
        data = dataset("quadratic", seed, Path(tmp) / "quadratic", train=250)
        for row, (reference, settings, kind) in QUADRATIC.items():
            sde: SDE = build(kind, data["test"].config["parameters"])
            model = trained(sde, data, reference, settings, None, seed, budget)
            figures |= shown(f"quadratic, {row}", quadratic_figures(sde, model, data["test"], seed))
        data = dataset("heat", seed, Path(tmp) / "heat", changes={"prior": "edges", "size": 16})
        heat = build(Heat, data["test"].config["parameters"])
        for row, (reference, settings, loss) in HEAT.items():
            seconds = 0.0 if "untrained" in row else budget
            model = trained(heat, data, reference, settings, loss, seed, seconds)
            figures |= shown(f"heat, {row}", heat_figures(heat, model, data["test"], seed))
    return figures


def trained(
    sde: SDE, data: Data, reference: Fit, settings: Settings, loss: Loss | None, seed: int, budget: float
) -> ScoreModel:
    """A model with the given reference, trained for ``budget`` seconds."""
    model = build_model(sde, data["train"], settings, seed=seed)
    model.reference = reference(sde, data["train"], settings)
    model.network = score_network(model.reference, data["train"].layout, settings, seed=seed)
    if budget:
        fit(
            model,
            sde,
            data["train"],
            data["valid"],
            settings=settings,
            budget=Budget(seconds=budget),
            loss=loss,
            seed=seed,
        )
    return model


def shown(label: str, figures: dict[str, float]) -> dict[str, float]:
    now = time.strftime("%H:%M:%S")
    print(f"{now}  {label:46s} {', '.join(f'{k} {v:.3g}' for k, v in figures.items())}", flush=True)
    return {f"{label}: {k}": v for k, v in figures.items()}


def quadratic_figures(sde: SDE, model: ScoreModel, test: TrajectoryDataset, seed: int) -> dict[str, float]:
    """Q of the reverse SDE and of the flow, and the largest error of P."""
    posterior, generator = Posterior(sde, model, test.times), torch.Generator().manual_seed(seed)
    starts = torch.linspace(-0.1, 0.1, 1000)[:, None]
    drawn = posterior.sample(starts, 1, generator=generator)[:, 0]
    final = test.states(-1)[:, 0]
    grid = torch.linspace(float(final.min()), float(final.max()), 7)[:, None]
    assert isinstance(sde, Quadratic)
    exact = sde.exact()
    assert isinstance(exact, ScalarPosterior)
    ours = (posterior.sample(grid, 300, generator=generator) > 0).double().mean(1)[:, 0]
    return {
        "Q sde .01": float(quadratic_q(drawn, 0.01)),
        "Q flow .01": float(quadratic_q(posterior.flow(starts), 0.01)),
        "P error": float((ours - exact.probabilities(grid)[:, 1]).abs().max()),
    }


@torch.no_grad()
def heat_figures(heat: Linear, model: ScoreModel, test: TrajectoryDataset, seed: int) -> dict[str, float]:
    """CRPS, and ``E|D_k - y_k|^2 / (S v / (a^2 S + v))`` for ``D = (y_t + v s) / a`` (Robbins 1956), mean over k."""
    x0, truth = test.states(0), test.states(0, limit=50)
    y0, low = heat.modes(x0), -heat.rates(x0)[0] <= LOW**2  # diffusivity 1
    power = y0.abs().square().mean(0)
    error = 0.0
    for i in TIMES:
        x, t = test.states(i), torch.full((len(x0),), float(test.times[i]))
        a, v = heat.decay(0.0, t[:1], x), heat.variance(0.0, t[:1], x)
        gap = ((heat.modes(x) + v * heat.modes(model(x, t))) / a - y0).abs().square().mean(0)
        error += float((gap / (power * v / (a**2 * power + v))[0])[low].mean())
    generator = torch.Generator().manual_seed(seed)
    samples = Posterior(heat, model, STEPS).sample(test.states(-1, limit=50), 8, generator=generator)
    crps = metrics.crps(samples.nan_to_num(nan=10.0).clamp(-10, 10), truth)
    return {"CRPS": float(crps), "denoising error over Wiener's": error / len(TIMES)}


if __name__ == "__main__":
    repeat("ablation", __doc__, once, budget=4.0)
