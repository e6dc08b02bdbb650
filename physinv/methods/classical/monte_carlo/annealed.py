"""Populations of paths that are annealed from the prior to the posterior, where chains around minima get stuck.

What the final state says of a path is switched on by degrees, ``exp(-b |r|^2 / 2)`` with ``b`` from 0 to 1.  At 0 the
paths are draws of the process.  At every degree particles are resampled by the weights ``exp(-(b' - b) |r|^2 / 2)`` and
moved by a few iterations of Hamiltonian Monte Carlo; the next degree is the one at which enough particles still count.
Modes keep the share of particles that their probability asks for, and a population goes round the bends of a posterior
that is narrow across and long along.  Populations that know nothing of each other show by R-hat what is left.

References:
    Del Moral, Doucet and Jasra (2006), Sequential Monte Carlo samplers; Kantas, Beskos and Jasra (2014), Sequential
    Monte Carlo methods for high-dimensional inverse problems.
"""

from __future__ import annotations

__all__ = ["Annealed", "anneal"]

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.methods.classical.monte_carlo.chain import walk
from physinv.methods.classical.monte_carlo.laplace import linearise
from physinv.methods.classical.monte_carlo.path import PathObjective
from physinv.posterior.several_times.particles import systematic

_KEPT = 0.7  # share of the particles that still count at the next degree
_MOVES = 6  # iterations of four gradients at each degree
_BEGIN = 0.3  # length of the first steps
_MOST = 200  # degrees; what is left then is done at once, and shows by R-hat
_HALVINGS = 40


@dataclass(frozen=True)
class Annealed:
    """The populations at the end.

    Args:
        paths: Coordinates of the paths, those of one population one after the other.
        lengths: Length of a step that suits them, for each observation.
        degrees: How many degrees it took.
    """

    paths: Float[Tensor, "batch particles D"]
    lengths: Float[Tensor, " batch"]
    degrees: int


@torch.no_grad()
def anneal(
    objective: PathObjective, populations: int, particles: int, *, generator: torch.Generator | None = None
) -> Annealed:
    """Anneal populations of paths from the law of the process to the posterior.

    Args:
        objective: Minus the log density of paths, one row for each observation.
        populations: Populations for each observation.
        particles: Paths of each.
        generator: Source of randomness.

    Returns:
        The populations.
    """
    c = _prior_draws(objective, populations * particles, generator)
    shape = (len(c), populations, particles)
    degree, lengths = torch.zeros(len(c), dtype=torch.float64, device=c.device), c.new_full((len(c),), _BEGIN)
    for count in range(1, _MOST + 1):
        misfit = _misfit(objective, c).reshape(shape)
        later = _next(degree, misfit) if count < _MOST else torch.ones_like(degree)

        # Resample each population by what the step to the next degree says of its particles.
        weights = (-(later - degree)[:, None, None] * misfit).softmax(2).nan_to_num(1 / particles)
        drawn = systematic(weights.flatten(0, 1), particles, generator=generator).reshape(shape)
        first = torch.arange(populations, device=c.device)[:, None] * particles
        at = (first + drawn).flatten(1)
        c = c.gather(1, at[:, :, None].expand_as(c))

        # Move the particles, all of an observation under one reference.
        degree, tempered = later, replace(objective, degree=later.to(c))
        reference = linearise(tempered, c.mean(1))
        xi = reference.whiten(c)
        moved = walk(tempered, reference, xi, lengths, _MOVES, adapt=True, kept=0, generator=generator)
        c, lengths = reference.path(moved.xi), moved.lengths
        if bool((degree >= 1).all()):
            break
    return Annealed(c, lengths, count)


def _prior_draws(objective: PathObjective, n: int, generator: torch.Generator | None) -> Tensor:
    """Paths of the process itself, n for each observation."""
    model, like = objective.model, objective.final
    every = like.repeat_interleave(n, 0)
    u = model.law.coordinates(model.simulator, every, generator=generator).reshape(len(like), n, -1)
    shape = (len(like), n, objective.numbers - u.shape[2])
    return torch.cat([u, torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)], 2)


def _misfit(objective: PathObjective, c: Tensor) -> Tensor:
    """``|r|^2 / 2`` of paths in float64, infinite where the solver diverges."""
    n = c.shape[1]
    every, flat, size = objective.repeated(n), c.flatten(0, 1), objective.model.at_once
    parts = [every.rows(slice(at, at + size)).residual(flat[at : at + size]) for at in range(0, len(flat), size)]
    return torch.cat(parts).double().square().sum(1).div(2).nan_to_num(math.inf, math.inf).reshape(-1, n)


def _next(degree: Tensor, misfit: Tensor) -> Tensor:
    """The largest degree at which the share of particles that count, on average over populations, is large enough."""

    def enough(later: Tensor) -> Tensor:
        weights = (-(later - degree)[:, None, None] * misfit).softmax(2)
        shares = 1 / weights.square().sum(2) / misfit.shape[2]
        return shares.nan_to_num(0.0).mean(1) >= _KEPT  # not a number: all paths of a population diverge

    low, high = degree, torch.ones_like(degree)
    whole = enough(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        good = enough(middle)
        low, high = torch.where(good, middle, low), torch.where(good, high, middle)
    return torch.where(whole, torch.ones_like(degree), low)
