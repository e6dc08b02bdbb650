"""Log evidence by weighted reversals, and brackets around it, where both are known exactly.

python benchmarks/evidence.py    Ornstein-Uhlenbeck in two dimensions with the exact score and with .7 of it, a double
                                 well against the Fokker-Planck equation, heat with the exact spectrum: no training
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from common import repeat
from torch import Tensor, nn

from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import Score
from physinv.equations.steps import euler
from physinv.laws.fokker_planck import FokkerPlanck
from physinv.models.references.linear import LinearReference
from physinv.models.references.mixture import MixtureReference
from physinv.models.score import ScoreModel
from physinv.posterior.bracket import bracket
from physinv.posterior.posterior import Posterior
from physinv.posterior.weigh import weigh
from simulators.fields.heat import Heat
from simulators.numerics.spectral import power_law
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OBSERVATIONS, DRAWS, TRAJECTORIES = 50, 1000, 4000
FAR = 50.0  # bounds of states, which none reaches
WEAK = 0.7  # of the exact score
SHORTER = 2.0  # power of equal shares of time whose steps are shorter towards 0
RATES = torch.linspace(0.3, 0.7, 9, dtype=torch.float64)
SETS = 20


class Nothing(nn.Module):
    """A network that adds nothing to its reference law."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.channels, *x.shape[2:])


def ou_score(ou: OrnsteinUhlenbeck, factor: float = 1.0) -> Score:
    """The exact score times a factor: as ``ou.score``, faster since all components are round and alike."""
    prior = ou.prior
    weights = prior.weights.log()

    def score(x: Tensor, t: Tensor) -> Tensor:
        law = ou.marginal(float(t[0]))
        gap, variance = law.means - x[:, None], law.covs[0, 0, 0]
        share = (weights - gap.square().sum(2) / (2 * variance)).softmax(1)
        return factor * (share[..., None] * gap).sum(1) / variance

    return score


def ou_posterior(ou: OrnsteinUhlenbeck, steps: int, factor: float = 1.0, power: float = 1.0) -> Posterior:
    """Euler steps that are equal, or shorter towards 0, where the score changes fastest."""
    times = ou.horizon * torch.linspace(0, 1, steps + 1).double() ** power
    return Posterior(ou, ou_score(ou, factor), times, step=euler)


def ou_model(ou: OrnsteinUhlenbeck, steps: int) -> Posterior:
    """The exact score as that of a score model: its steps (``split``) know the curvature of the law, too."""
    times = ou.horizon * torch.linspace(0, 1, steps + 1).double()
    laws = [ou.marginal(float(t)) for t in times]
    means, covs = torch.stack([law.means for law in laws]), torch.stack([law.covs for law in laws])
    bounds = torch.tensor([-FAR, FAR]).double()[:, None].expand(len(times), 2, ou.dim)
    reference = MixtureReference(ou, times, laws[0].weights, means, torch.linalg.cholesky(covs), bounds)
    model = ScoreModel(reference, Nothing(reference.channels_out), (float(times[1]), ou.horizon))
    return Posterior(ou, model.double(), times)


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def ornstein_uhlenbeck(generator: torch.Generator) -> dict[str, float]:
    """Evidence, effective share and weighted means in two dimensions, and brackets."""
    ou = OrnsteinUhlenbeck(dim=2)
    law, exact, figures = ou.marginal(ou.horizon), ou.exact(), {}
    final = law.sample(OBSERVATIONS, generator=generator)
    for label, steps, factor in (("exact score, 40 steps", 40, 1.0), ("score times .7, 160 steps", 160, WEAK)):
        found = weigh(ou_posterior(ou, steps, factor), final, DRAWS, generator=generator)
        figures |= {
            f"OU, {label}: rms error of log evidence": rms(found.log_evidence - law.log_prob(final)),
            f"OU, {label}: its standard error, as told": float(found.error.mean()),
            f"OU, {label}: effective share, mean": float(found.effective.mean()),
            f"OU, {label}: rms error of weighted mean": rms(found.mean() - exact.mean(final)),
            f"OU, {label}: rms error of unweighted mean": rms(found.samples.mean(1) - exact.mean(final)),
        }
    cases = {
        "exact score, 40 steps": ou_posterior(ou, 40),
        "exact score, 40 steps, shorter towards 0": ou_posterior(ou, 40, power=SHORTER),
        "exact score, 40 steps, curvature known": ou_model(ou, 40),
        "exact score, 160 steps": ou_posterior(ou, 160),
        "score times .7": ou_posterior(ou, 160, WEAK),
    }
    for label, posterior in cases.items():
        paths = ou.simulate(TRAJECTORIES, posterior.times, generator=generator, dtype=torch.float64)
        found = bracket(posterior, paths, draws=8, generator=generator)
        figures |= {
            f"bracket, {label}: width in nats": found.width,
            f"bracket, {label}: its standard error": found.width_error,
            f"bracket, {label}: holds the truth": float(found.holds(law.log_prob(paths[:, -1]))),
        }
    return figures


def rates(generator: torch.Generator) -> dict[str, float]:
    """How often the most likely of 9 rates is that of 50 final states, up to .1; all rates get the same noise."""
    ou, near = OrnsteinUhlenbeck(dim=2, noise=0.3), 0
    for i in range(SETS):
        final = ou.simulate(50, ou.times[[0, -1]], generator=generator, dtype=torch.float64)[:, -1]
        total = []
        for rate in RATES.tolist():
            posterior = ou_posterior(dataclasses.replace(ou, rate=rate), 20)
            found = weigh(posterior, final, 16, generator=torch.Generator().manual_seed(i))
            total.append(float(found.log_evidence.sum()))
        near += abs(float(RATES[int(np.argmax(total))]) - ou.rate) < 0.1 + 1e-9
    return {f"OU, {SETS} sets of 50 states: most likely rate within .1": near}


def double_well(generator: torch.Generator) -> dict[str, float]:
    """Evidence against the Fokker-Planck equation, with the score of its densities."""
    well, steps, figures = DoubleWell(), 400, {}
    grid = FokkerPlanck(lambda x, t: -4 * well.barrier * x * (x**2 - 1), 1.0, np.linspace(-3.5, 3.5, 1401))
    at = torch.from_numpy(grid.centers)
    density = well.log_prior(at[:, None]).exp().numpy()
    times, logs = np.linspace(0, well.horizon, steps + 1), []
    for a, b in zip(times, [*times[1:], times[-1]], strict=True):
        logs.append(torch.from_numpy(np.log(np.maximum(density, 1e-300))))
        density = grid.forward(density, a, b) if b > a else density

    def interpolated(values: Tensor, x: Tensor) -> Tensor:
        place = ((x - at[0]) / (at[1] - at[0])).clamp(0, len(at) - 1.001)
        i = place.long()
        return torch.lerp(values[i], values[i + 1], place - i)

    slopes = [torch.gradient(log, spacing=float(at[1] - at[0]))[0] for log in logs]

    def score(x: Tensor, t: Tensor) -> Tensor:
        return interpolated(slopes[round(float(t[0]) / well.horizon * steps)], x)

    final = well.simulate(OBSERVATIONS, generator=generator, dtype=torch.float64)[:, -1]
    truth = interpolated(logs[-1], final)[:, 0]
    for count in (50, 100, 400):
        posterior = Posterior(well, score, torch.linspace(0, well.horizon, count + 1).double(), step=euler)
        found = weigh(posterior, final, 500, generator=generator)
        figures |= {
            f"double well, {count} steps: rms error of log evidence": rms(found.log_evidence - truth),
            f"double well, {count} steps: effective share, mean": float(found.effective.mean()),
        }
    return figures


def heat_posterior(heat: Heat) -> Posterior:
    like = torch.zeros((1, *heat.shape), dtype=torch.float64)
    reference = LinearReference(heat, like[0], power_law(like, heat.slope))
    return Posterior(heat, ScoreModel(reference, Nothing(), (float(heat.times[1]), heat.horizon)), heat.times)


def heat_log_evidence(heat: Heat, final: Tensor) -> Tensor:
    """``log p(x_T)`` in closed form."""
    T = torch.tensor(heat.horizon, dtype=torch.float64)
    power = heat.decay(0.0, T, final) ** 2 * power_law(final, heat.slope) + heat.variance(0.0, T, final)
    return gaussian_log_prob(heat.modes(final), power, final)


def heat(generator: torch.Generator) -> dict[str, float]:
    """Even weights around the exact spectrum, and how far 20 fields tell diffusivities apart."""
    ours = Heat()
    final = ours.simulate(20, ours.times[[0, -1]], generator=generator, dtype=torch.float64)[:, -1]
    found, figures = weigh(heat_posterior(ours), final, 8, generator=generator), {}
    figures["heat: largest spread of log weights"] = float(
        (found.log_weights.amax(1) - found.log_weights.amin(1)).max()
    )
    for D in (0.95, 1.1):
        theirs = dataclasses.replace(ours, diffusivity=D)
        other = weigh(heat_posterior(theirs), final, 8, generator=generator)
        factor = float((found.log_evidence - other.log_evidence).sum())
        known = float((heat_log_evidence(ours, final) - heat_log_evidence(theirs, final)).sum())
        figures |= {
            f"heat, 20 fields: log Bayes factor of D = 1 over {D}": factor,
            f"heat, 20 fields: its error, D = 1 over {D}": abs(factor - known),
        }
    return figures


def once(seed: int, budget: float) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: value
        for part in (heat, ornstein_uhlenbeck, double_well, rates)
        for name, value in part(generator).items()
        if math.isfinite(value)
    }


if __name__ == "__main__":
    repeat("evidence", __doc__, once, budget=0.0)
