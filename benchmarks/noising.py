"""Noising processes, DDPM, DDIM and noise levels against closed forms; nothing is trained but a network on a circle.

python benchmarks/noising.py    the figures of docs/concepts/noising.md
"""

from __future__ import annotations

import itertools
import math

import torch
from common import repeat
from torch import Tensor, nn

from physinv.equations.noising import VE, VP, Noising, SubVP, chain, geometric_levels, grid, levels, linear_betas
from physinv.equations.sde import Reverse
from physinv.equations.solve import Step
from physinv.equations.steps import euler
from physinv.laws.covariance import isotropic
from physinv.models.references.linear import LinearReference
from physinv.posterior.posterior import Posterior
from physinv.reversal.ancestral import ancestral, ddim
from physinv.reversal.langevin import annealed, langevin
from physinv.training.objectives.base import Batch
from physinv.training.objectives.implicit import implicit_loss
from physinv.training.objectives.variational import bound_terms

F64 = torch.float64
MEAN, VARIANCE = 0.7, 1.69
STATES, UPDATES = 2000, 400


def gaussian(process: Noising, dim: int = 1, mean: float = MEAN, variance: float = VARIANCE) -> LinearReference:
    """The exact law of Gaussian data under a process."""
    return LinearReference(process, *(torch.full((dim,), v, dtype=F64) for v in (mean, variance)))


def variance_error(step: Step, process: Noising, steps: int, eta: float) -> float:
    """Error of the variance of what a step makes of Gaussian data: all is linear, three states tell it exactly."""
    law = gaussian(process)
    reverse, mean = Reverse(process, law.score, eta), law.mean_at(1.0)
    variance = float(law.spectrum(torch.ones(1, dtype=F64), mean).now)
    unit, noise = torch.tensor([[0.0], [1.0], [0.0]], dtype=F64), torch.tensor([[[0.0], [0.0], [1.0]]], dtype=F64)
    for a, b in itertools.pairwise(grid(steps).flip(0).tolist()):
        t0, t1 = (torch.full((3,), t, dtype=F64) for t in (a, b))
        moved = step(reverse, mean + unit, t0, t1, math.sqrt(a - b) * noise)[:, 0]
        variance = float((moved[1] - moved[0]) ** 2 * variance + (moved[2] - moved[0]) ** 2)
        mean = moved[:1, None]
    return variance - VARIANCE


def likelihood() -> dict[str, float]:
    """The anchor of the VP process, and the same for the others."""
    x, found = torch.tensor([[1.0, -2.0, 0.3]], dtype=F64), {}
    for name, process in {"VP": VP(), "sub-VP": SubVP(), "VE": VE()}.items():
        law = gaussian(process, 3)
        posterior = Posterior(process, law.score, torch.linspace(0, 1, 11, dtype=F64))
        value = posterior.log_prob(
            x, base=lambda y, q=law: q.log_prob(y, y.new_ones(1)), start=0.0, rtol=1e-7, atol=1e-7
        )
        found[f"likelihood: {name}"] = float(value)
    t = torch.tensor([0.3], dtype=F64)
    exact = (1 - math.exp(-(0.1 * 0.3 + 19.9 / 2 * 0.3**2))) ** 2
    found["sub-VP: error of the variance at .3"] = float(SubVP().variance(0.0, t, x[:, :1])) - exact
    return found


def discrete() -> dict[str, float]:
    """Errors of the variance, the distance to the SDE, and the bound of a Gaussian."""
    found = {}
    for steps in (200, 400):
        process = VP(chain(linear_betas(steps)))
        for eta in (0.0, 1.0):
            found[f"DDIM: eta {eta:g}, {steps} steps"] = variance_error(ddim, process, steps, eta)
        found[f"DDPM: beta, {steps} steps"] = variance_error(ancestral("upper"), process, steps, 1.0)
        for eta in (0.0, 1.0):
            gap = variance_error(ddim, VP(), steps, eta) - variance_error(euler, VP(), steps, eta)
            found[f"DDIM less Reverse: eta {eta:g}, {steps} steps"] = gap
    start, noise = (v.reshape(4, 1).double() for v in torch.tensor([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]]))
    for name, s2 in (("1", 1.0), ("1.69", 1.69)):
        for kind in ("upper", "lower"):
            process = VP(chain(linear_betas(200)))
            score = gaussian(process, mean=0.0, variance=s2).score
            terms = bound_terms(score, process, math.sqrt(s2) * start, grid(200), variance=kind, noise=noise)
            entropy = math.log(2 * math.pi * math.e * s2) / 2
            found[f"bound: variance {name}, {kind}: above the entropy"] = float(terms.total) - entropy
    return found


def mixture(generator: torch.Generator) -> dict[str, float]:
    """Share of the small mode of .2 N(-m, I) + .8 N(m, I), m = (5, 5), after 1000 moves from a uniform start."""

    def score(x: Tensor, v: float) -> Tensor:
        logit = 10 * x.sum(1, keepdim=True) / (1 + v) + math.log(4)
        return (5 * torch.tanh(logit / 2) - x) / (1 + v)

    start = 16 * torch.rand(STATES, 2, generator=generator, dtype=F64) - 8
    still, process = torch.zeros(STATES, dtype=F64), VE(levels(geometric_levels(10, 1.0, 20.0)))
    one = isotropic(1.0)
    plain = langevin(lambda x, t: score(x, 0.0), start, still, one, size=0.05, sweeps=1000, generator=generator)
    found = annealed(
        lambda x, t: score(x, float(process.variance(0.0, t[:1], x[:1]).max())),
        start,
        process,
        grid(10)[1:],
        size=0.05,
        generator=generator,
    )
    shares = {"plain": plain, "annealed": found}
    return {f"small mode: {name}": float((x.sum(1) < 0).double().mean()) for name, x in shares.items()}


def manifold(seed: int, generator: torch.Generator) -> dict[str, float]:
    """Implicit score matching on a circle, with and without noise: the loss after a half and after all updates."""
    found, angle = {}, 2 * math.pi * torch.rand(500, generator=generator)
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    for sigma in (0.0, 0.1):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
        optimiser, losses = torch.optim.Adam(net.parameters(), lr=3e-3), []
        for step in range(UPDATES):
            x = circle + sigma * torch.randn(circle.shape, generator=generator)
            data = Batch(torch.stack([x, x], 1), torch.tensor([0.0, 1.0]).expand(len(x), 2))
            loss = implicit_loss(lambda y, t, net=net: net(y), VE(levels([1.0])), data)
            if step in (UPDATES // 4, UPDATES // 2, UPDATES - 1):
                losses.append(float(loss.detach()))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        for name, value in zip(("a quarter", "half", "all"), losses, strict=True):
            found[f"circle: noise {sigma:g}, loss after {name} of the updates"] = value
    return found


def once(seed: int, budget: float) -> dict[str, float]:
    """All figures; the first ones do not depend on the seed."""
    generator = torch.Generator().manual_seed(seed)
    return likelihood() | discrete() | mixture(generator) | manifold(seed, generator)


if __name__ == "__main__":
    repeat("noising", __doc__, once, budget=0.0)
