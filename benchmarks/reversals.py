"""What keeps the reversal of a nonlinear flow on its feet: short explicit steps or long smoothed ones, in one table.

The same data, network and training time for every row; 1000 reconstructions each (10 for each of 100 observations).
``diverged`` counts those that become infinite or leave three times the range of the truth.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from common import ROOT, told, write
from torch import Tensor

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.recipe import load_recipe
from physinv.equations.fourier import multiplicity
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import SDE, Score
from physinv.evaluation import metrics
from physinv.models.build import clock, score_network
from physinv.models.networks import UNet
from physinv.models.references.base import ReferenceLaw
from physinv.models.references.smoother import SmootherReference
from physinv.models.references.tables import between
from physinv.models.score import ScoreModel
from physinv.posterior.posterior import Posterior
from physinv.processes.parameters import build, describe
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator
from physinv.reversal.split import split
from physinv.training.budget import Budget
from physinv.training.loop import fit
from physinv.training.objectives.base import Batch, Loss
from physinv.training.objectives.smoother import smoother_loss
from physinv.training.objectives.trajectory import trajectory_loss

OBSERVATIONS, SAMPLES, SHORT, LONG = 100, 10, 32, 4
Splits = dict[str, TrajectoryDataset]


class SpectralReference(ReferenceLaw):
    """``N(mean_t, power_t)`` in Fourier space, interpolated linearly between stored times: a law without dynamics.

    ``mean (time, *state)``, ``power (time, *modes)``.  Features are the state over its root mean square and the
    whitened state; the network's output counts in units of ``power^(-1/2)``.
    """

    times: Tensor
    mean: Tensor
    power: Tensor

    def __init__(self, times: Tensor, mean: Tensor, power: Tensor) -> None:
        super().__init__()
        self.channels_in, self.channels_out = 2 * mean.shape[1], mean.shape[1]
        self.register_buffer("times", times)
        self.register_buffer("mean", mean)
        self.register_buffer("power", power)

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        centred, power = self._at(t, x)
        return -filtered(centred, 1 / power)

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        centred, power = self._at(t, x)
        return gaussian_log_prob(modes(centred), power, x)

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        centred, power = self._at(t, x)
        square = (power * multiplicity(x)).sum(dim=tuple(range(2, power.ndim)), keepdim=True) / x[0, 0].numel()
        return torch.cat([centred / square.sqrt(), filtered(centred, power.rsqrt())], dim=1)

    def lift(self, out: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return filtered(out, self._at(t, x)[1].rsqrt())

    def _at(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        power = between(self.times, self.power, t).clamp(min=torch.finfo(x.dtype).tiny)
        return x - between(self.times, self.mean, t), power


def modes(x: Tensor) -> Tensor:
    """Fourier modes of fields."""
    y: Tensor = torch.fft.rfftn(x, dim=tuple(range(2, x.ndim)), norm="ortho")
    return y


def filtered(x: Tensor, gain: Tensor) -> Tensor:
    """Fields whose modes are multiplied by ``gain``."""
    out: Tensor = torch.fft.irfftn(modes(x) * gain, s=x.shape[2:], dim=tuple(range(2, x.ndim)), norm="ortho")
    return out


def fit_spectra(sde: SDE, data: TrajectoryDataset) -> SpectralReference:
    """Mean and power spectrum of periodic fields, and their images under the symmetries, at every stored time."""
    means, powers = [], []
    for i in range(len(data.times)):
        x = torch.cat(sde.images(data.states(i))).double()
        means.append(x.mean(0).float())
        powers.append((modes(x - x.mean(0)).abs().square().sum(0) / max(len(x) - 1, 1)).float())
    return SpectralReference(data.times.float(), torch.stack(means), torch.stack(powers))


class Row(NamedTuple):
    """Label, stored steps, reference, objective, curriculum of windows; whether each sample has frames of its own."""

    label: str
    steps: int
    reference: ReferenceLaw
    loss: Loss
    windows: tuple[int, ...] = (2,)
    frames: bool = True


def alone(simulator: Simulator) -> Simulator:
    """The same process, said to have no symmetries."""

    class Alone(type(simulator)):  # type: ignore[misc]
        def images(self, x: Tensor) -> list[Tensor]:
            return [x]

    return Alone(**describe(simulator))


def finely(simulator: Simulator, parts: int = 4) -> Simulator:
    """The same process, whose physics alone takes ``parts`` steps for each of ``split``, which would be too long."""

    class Fine(type(simulator)):  # type: ignore[misc]
        def drift_flow(self, x: Tensor, t0: Tensor, t1: Tensor) -> Tensor:
            for j in range(parts):
                x = super().drift_flow(x, t0 + (t1 - t0) * j / parts, t0 + (t1 - t0) * (j + 1) / parts)
            return x

    return Fine(**describe(simulator))


def explicit(score: Score, sde: SDE, batch: Batch) -> Tensor:
    """The trajectory loss with the reverse step ``split``."""
    return trajectory_loss(score, sde, batch, step=split)


def perturbed(loss: Loss) -> Loss:
    """``loss`` with noise of up to four steps' size on the later state: what the reversal may meet off the data."""

    def augmented(score: Score, sde: SDE, batch: Batch) -> Tensor:
        states, times = batch.states, batch.times
        later, t = states[:, -1], times[:, -1]
        level = 4 * torch.rand(len(later), generator=batch.generator).reshape(-1, *[1] * (later.ndim - 1))
        noise = torch.randn(later.shape, generator=batch.generator)
        dt = (times[:, -1] - times[:, -2]).reshape(level.shape)
        moved = later + level * dt.sqrt() * sde.diffuse(noise, t)
        return loss(score, sde, dataclasses.replace(batch, states=torch.cat([states[:, :-1], moved[:, None]], dim=1)))

    return augmented


def one_size(score: Score, sde: SDE, batch: Batch) -> Tensor:
    """The smoother's loss without the likelihood: ``sigma`` stays 1."""
    model = score
    assert isinstance(model, ScoreModel)
    whole = smoother_loss(model, sde, batch)
    out = model.output(batch.states[:, -1], batch.times[:, -1]).chunk(2, dim=1)[1]
    return whole + 1e3 * out.square().mean()


def without_physics(reference: SmootherReference) -> SmootherReference:
    """Gains on the state itself: the physics is left out."""
    reference.physical = False
    reference.trusted.zero_()
    return reference


def rows(physics: dict[int, Simulator], data: dict[int, Splits]) -> Iterator[Row]:
    """What is compared; all rows of smoothed steps draw their samples from frames but for the one that says so."""

    def smoother(steps: int) -> SmootherReference:
        return SmootherReference.fit(physics[steps], data[steps]["train"], Settings())

    spectra = fit_spectra(physics[SHORT], data[SHORT]["train"])
    yield Row(f"{SHORT} explicit steps, 1-step loss", SHORT, spectra, explicit)
    yield Row(f"{SHORT} explicit steps, multi-step loss (2, 4, 8)", SHORT, spectra, explicit, (2, 4, 8))
    yield Row(f"{SHORT} explicit steps, noise on training states", SHORT, spectra, perturbed(explicit))
    yield Row(f"{SHORT} smoothed steps", SHORT, smoother(SHORT), smoother_loss)
    yield Row(f"{SHORT} smoothed steps, noise on training states", SHORT, smoother(SHORT), perturbed(smoother_loss))
    yield Row(f"{LONG} smoothed steps, noise of one size", LONG, smoother(LONG), one_size)
    yield Row(f"{LONG} smoothed steps, without physics", LONG, without_physics(smoother(LONG)), smoother_loss)
    yield Row(f"{LONG} smoothed steps, multi-step loss (2, 3)", LONG, smoother(LONG), smoother_loss, (2, 3))
    yield Row(f"{LONG} smoothed steps, all samples from one frame", LONG, smoother(LONG), smoother_loss, frames=False)
    yield Row(f"{LONG} smoothed steps (default)", LONG, smoother(LONG), smoother_loss)


def once(name: str, seed: int, budget: float, told_row: Callable[[str], None]) -> dict[str, float]:
    """All rows of one system."""
    recipe = load_recipe(ROOT / "datasets" / name / "recipe.toml")
    substeps = recipe.parameters["steps"] * recipe.parameters["inner"]
    physics, data, figures = {}, {}, {}
    with tempfile.TemporaryDirectory() as tmp:
        for steps in (SHORT, LONG):
            changed = {"steps": steps, "inner": max(1, substeps // steps)}
            physics[steps] = build(find(recipe.simulator), recipe.parameters | changed)
            plan = DatasetPlan(physics[steps], recipe.splits.model_dump(), seed, recipe.simulator)
            made = generate(plan, Path(tmp) / str(steps))
            data[steps] = {s: TrajectoryDataset(made / "data" / s).load() for s in ("train", "valid", "test")}
    for label, steps, reference, loss, windows, frames in rows(physics, data):
        splits, sde = data[steps], physics[steps]
        sde = finely(sde) if reference.is_score else sde
        network = score_network(reference, splits["train"].layout, Settings(), seed=seed)
        if not frames and isinstance(network, UNet) and not reference.is_score:
            network.stride, reference.sde = 1, alone(sde)
        model = ScoreModel(reference, network, clock(splits["train"].times))
        settings = Settings(windows=windows)
        truth, final = (splits["test"].states(i, limit=OBSERVATIONS) for i in (0, -1))
        try:
            fit(
                model,
                sde,
                splits["train"],
                splits["valid"],
                settings=settings,
                budget=Budget(seconds=budget),
                loss=loss,
                seed=seed,
            )
            draws = Posterior(sde, model, splits["train"].times).sample(
                final, SAMPLES, generator=torch.Generator().manual_seed(seed)
            )
        except ValueError as error:  # training itself diverged
            told_row(f"{label}: {error}")
            draws = torch.full((len(truth), SAMPLES, *truth.shape[1:]), torch.nan)
        broken = ~draws.isfinite().flatten(2).all(-1) | (draws.flatten(2).abs().amax(-1) > 3 * truth.abs().max())
        kept = torch.where(broken.reshape(*broken.shape, *[1] * (truth.ndim - 1)), 0.0, draws)
        figures |= {
            f"{label}: diverged": float(broken.sum()),
            f"{label}: CRPS": float(metrics.crps(kept, truth)),
            f"{label}: spread over skill": float(metrics.spread_skill(kept, truth)),
            f"{label}: coverage of 90 %": float(metrics.coverage(kept, truth, 0.9)),
        }
        told_row(f"{label}: diverged {int(broken.sum())}, CRPS {figures[f'{label}: CRPS']:.4f}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", default=["burgers", "kuramoto-sivashinsky"], metavar="SYSTEM")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of training a row (default %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of data, training and sampling")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    args = parser.parse_args()
    for name in args.systems:
        figures: dict[str, list[float]] = {}
        for i, seed in enumerate(args.seeds):
            for key, value in once(name, seed, args.budget, lambda line: print(line, flush=True)).items():
                figures.setdefault(key, []).append(value)
            head = {"benchmark": f"reversals-{name}", "seeds": args.seeds[: i + 1], "budget_seconds": args.budget}
            write(args.out / f"reversals-{name}.json", head, figures)
        print("\n".join(f"{name}: {key:70s} {told(values)}" for key, values in figures.items()), flush=True)


if __name__ == "__main__":
    main()
