"""Laws of initial states of heat, learned by each generative model from the same states.

python benchmarks/heat_priors.py    power per wave number and energy distance, beside those of exact draws

The law is a Gaussian random field on 16 x 16 points.  Scores are learned around the Gaussian law of the data, flows
and chains from whitened data: a network that learns nothing changes nothing.  The shell of wave numbers with the fewest
modes has 8 of them, so 3000 draws know its power to 100 (2 / 24000)^(1/2) = .9 %, 8000 states to learn from to .56 %.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from common import repeat
from torch import Tensor

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.equations.fourier import full_fourier
from physinv.equations.noising import VE, VP, Noising, chain, grid, linear_betas
from physinv.equations.sde import SDE, Reverse, Score
from physinv.equations.solve import solve
from physinv.evaluation.two_sample import energy_distance
from physinv.models.build import score_network
from physinv.models.references.linear import LinearReference
from physinv.models.score import ScoreModel
from physinv.posterior.flows.prior import FlowPrior, fit_flow
from physinv.posterior.learned_prior import LearnedPrior, fit_prior
from physinv.reversal.ancestral import ancestral
from physinv.training.budget import Budget
from physinv.training.loop import fit
from physinv.training.objectives.base import Batch, Loss
from physinv.training.objectives.variational import simple_loss
from simulators.fields.heat import Heat

HEAT = Heat(size=16)
TRAIN, VALID, DRAWS, STEPS, CHAIN = 8000, 200, 3000, 4, 25
FEWER = 500  # draws of an energy distance, whose time grows by their square
UPDATES, SOLVED = 100, 4  # the second ones go through a solver, where each takes a hundred times longer
SETTINGS = Settings(width=8, validate_windows=64, batch=64)
FEW = Settings(width=8, validate_windows=16, batch=16)
Draw = Callable[[torch.Generator], Tensor]


def still(x: Tensor, times: tuple[float, ...]) -> TrajectoryDataset:
    """States that stay what they are at all times."""
    header = Header("heat", HEAT.layout, HEAT.shape, times, len(x), {}, {})
    return TrajectoryDataset.of_states(
        x[:, None].expand(-1, len(times), *HEAT.shape).contiguous(), header, Path("heat")
    )


def score_of(
    process: Noising, first: float, data: list[TrajectoryDataset], budget: Budget, seed: int, loss: Loss | None = None
) -> ScoreModel:
    """A score around the Gaussian law, as ``fit_prior`` makes it for a VP process; ``first`` is the first time."""
    reference = LinearReference.fit(process, data[0], SETTINGS)
    network = score_network(reference, HEAT.layout, SETTINGS, seed=seed)
    model = ScoreModel(reference, network, (first, process.horizon), shape=HEAT.shape)
    fit(model, process, *data, settings=SETTINGS, budget=budget, loss=loss, seed=seed)
    return model


def exploding(x: Tensor, valid: Tensor, budget: Budget, seed: int) -> LearnedPrior:
    """A score learned by denoising under a VE process."""
    process, size = VE(basis="fourier"), x.std()
    data = [still(v / size, (0.0, 1e-3, process.horizon)) for v in (x, valid)]
    model = score_of(process, 1e-3, data, budget, seed)
    return LearnedPrior(process, model, torch.zeros(1, 1, 1), size.reshape(1, 1, 1))


def ddpm(law: FlowPrior, x: Tensor, valid: Tensor, budget: Budget, seed: int) -> Draw:
    """A chain of whitened states, trained by the simple loss and drawn with the variance beta, right for white ones."""
    process, times = VP(chain(linear_betas(CHAIN)), basis="fourier"), grid(CHAIN)
    data = [still(law.covariance.whiten(v - law.mean), (0.0, 1.0)) for v in (x, valid)]

    def loss(score: Score, sde: SDE, batch: Batch) -> Tensor:
        x0, clock = batch.states[:, :1], times.to(batch.states).expand(len(batch.states), -1)
        return simple_loss(score, sde, replace(batch, states=x0.expand(-1, len(times), *HEAT.shape), times=clock))

    model = score_of(process, 1 / CHAIN, data, budget, seed, loss)

    def draw(generator: torch.Generator) -> Tensor:
        z = torch.randn(DRAWS, *HEAT.shape, generator=generator)
        with torch.no_grad():
            reverse = Reverse(process, model)
            z = solve(reverse, z, times.flip(0), step=ancestral("upper"), generator=generator)[:, -1]
        return law.mean + law.covariance.root(z)

    return draw


def power_error(x: Tensor, truth: Tensor) -> float:
    """Largest relative error of the power in a shell of wave numbers, of those with a whole circle of modes."""
    k = torch.fft.fftfreq(HEAT.size, 1 / HEAT.size)
    shell = (k[:, None] ** 2 + k**2).sqrt().long()
    found, want = (full_fourier(v).abs().square().mean((0, 1)) for v in (x, truth))
    shells = range(1, HEAT.size // 2)
    return max(abs(float(found[shell == j].sum() / want[shell == j].sum()) - 1) for j in shells)


def once(seed: int, budget: float) -> dict[str, float]:
    """Power and energy distance of each law, and those of exact draws."""
    streams = torch.Generator().manual_seed(seed)
    x, valid, truth, other = (HEAT.initial(n, generator=streams) for n in (TRAIN, VALID, DRAWS, DRAWS))
    data, check = (still(v, (0.0, 1.0)) for v in (x, valid))
    exact = HEAT.initial(20 * DRAWS, generator=streams)
    spent, fewer = Budget(steps=UPDATES), Budget(steps=SOLVED)
    none = fit_flow(data, check, budget=Budget(steps=1), settings=SETTINGS, seed=seed)
    white = torch.randn(DRAWS, *HEAT.shape, generator=streams)

    def prior(law: FlowPrior | LearnedPrior) -> Draw:
        return lambda generator: law.draw(DRAWS, steps=STEPS, generator=generator)

    members: dict[str, Callable[[], Draw]] = {
        "score, VP (fit_prior)": lambda: prior(fit_prior(data, check, budget=spent, settings=SETTINGS, seed=seed)),
        "score, VE": lambda: prior(exploding(x, valid, spent, seed)),
        "DDPM": lambda: ddpm(none, x, valid, spent, seed),
        "flow matching": lambda: prior(fit_flow(data, check, budget=spent, settings=SETTINGS, seed=seed)),
        "continuous flow, likelihood": lambda: prior(
            fit_flow(data, check, budget=fewer, loss="likelihood", settings=FEW, seed=seed)
        ),
    }
    laws = {"exact draws": other, "Gaussian of the data, nothing learned": none.mean + none.covariance.root(white)}
    found = {}
    for name, make in members.items():
        begun = time.process_time()
        draw, trained = make(), time.process_time()
        laws[name] = draw(streams)
        spans = trained - begun, time.process_time() - trained
        found |= dict(zip((f"{name}: seconds of training", f"{name}: seconds of {DRAWS} draws"), spans, strict=True))
        print(name, power_error(laws[name], exact), flush=True)
    for name, drawn in laws.items():
        found[f"{name}: power, largest error"] = power_error(drawn, exact)
        found[f"{name}: energy distance"] = float(energy_distance(drawn[:FEWER], truth[:FEWER]))
    return found


if __name__ == "__main__":
    repeat("heat-priors", __doc__, once, budget=0.0)
