"""Hamiltonian Monte Carlo under a Gaussian reference, whose part of the motion is solved exactly.

With coordinates ``xi`` in which Laplace's approximation is standard normal, the potential ``J(xi)`` is ``|xi|^2 / 2``
plus what is left, ``Phi``.  A step of length h kicks the momentum by ``-h/2 grad Phi``, turns position and momentum by
the angle h, and kicks again.  Where ``Phi`` is constant every proposal is accepted, in any number of dimensions.

References:
    Beskos, Pinski, Sanz-Serna and Stuart (2011), Hybrid Monte Carlo on Hilbert spaces.
"""

from __future__ import annotations

__all__ = ["LEAPS", "Walk", "leaps_of", "walk", "warn_of_far"]

import math
import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.methods.classical.monte_carlo.laplace import Laplace
from physinv.methods.classical.monte_carlo.path import PathObjective, gradients

LEAPS = 4
"""Gradients of one iteration, unless asked otherwise."""

_FAR, _SOME = 5.0, 0.01  # standard deviations that a right draw hardly ever misses by, and share of which it is told
_QUARTER, _MOST_LEAPS = 1.4, 32  # radians of one iteration, and most of its steps
_WANTED = 0.8  # share of accepted proposals that the length of steps is adapted to
_LONGEST, _SHORTEST = 0.47, 0.01  # four steps of the longest turn by 1.9: past a quarter, where draws are independent
_JITTER = 0.15  # relative half width of the random lengths, against resonance


@dataclass(frozen=True)
class Walk:
    """What a number of iterations brought.

    Args:
        xi: Where the chains are, in the coordinates of the reference.
        lengths: Length of a step, for each observation.
        firsts: The first coordinates of each path, those of ``x_0`` or all, after each iteration.
        mean: Mean of ``xi`` over the second half of the iterations.
        level: Mean of ``J - |xi|^2 / 2`` over them: how far a chain is above the reference, in nats.
        accepted: Share of accepted proposals.
    """

    xi: Float[Tensor, "batch chains D"]
    lengths: Float[Tensor, " batch"]
    firsts: Float[Tensor, "batch chains n d"]
    mean: Float[Tensor, "batch chains D"]
    level: Float[Tensor, "batch chains"]
    accepted: Float[Tensor, " batch"]


@torch.no_grad()
def walk(
    objective: PathObjective,
    reference: Laplace,
    xi: Float[Tensor, "batch chains D"],
    lengths: Float[Tensor, " batch"],
    iterations: int,
    *,
    leaps: int = LEAPS,
    adapt: bool = False,
    kept: int | None = None,
    generator: torch.Generator | None = None,
) -> Walk:
    """Move the chains of all observations.

    Args:
        objective: Minus the log density of paths, one row for each observation.
        reference: Laplace's approximation for each of them.
        xi: Where the chains begin.
        lengths: Length of a step, for each observation.
        iterations: Number of proposals.
        leaps: Steps of each, of one gradient.
        adapt: Adapt the lengths to four accepted proposals out of five, ever more slowly.
        kept: How many coordinates of each path are returned; None: those of ``x_0``.
        generator: Source of randomness.

    Returns:
        Where the chains went.
    """
    batch, chains = xi.shape[:2]
    every = objective.repeated(chains)

    def target(xi: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = gradients(every, reference.path(xi).flatten(0, 1))
        return value.reshape(batch, chains), reference.power(slope.reshape(xi.shape), 0.5)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=xi.dtype, device=xi.device)

    value, slope = target(xi)
    firsts, accepted = [], torch.zeros_like(lengths)
    mean, level, late = torch.zeros_like(xi), torch.zeros_like(value), iterations - iterations // 2
    for i in range(iterations):
        v = torch.randn(xi.shape, generator=generator, dtype=xi.dtype, device=xi.device)
        before = value + v.double().square().sum(2) / 2

        # Four steps: half a kick, a turn, half a kick.
        h = (lengths * (1 - _JITTER + 2 * _JITTER * uniform(batch)))[:, None, None]
        x, g, new = xi, slope, value
        for _ in range(leaps):
            v = v - h / 2 * (g - x)
            x, v = h.cos() * x + h.sin() * v, h.cos() * v - h.sin() * x
            new, g = target(x)
            v = v - h / 2 * (g - x)

        # Metropolis; what is not a number is refused.
        after = new + v.double().square().sum(2) / 2
        good = uniform(batch, chains).log() < before - after
        xi, slope = (torch.where(good[..., None], a, b) for a, b in ((x, xi), (g, slope)))
        value = torch.where(good, new, value)
        rate = good.to(xi.dtype).mean(1)
        accepted += rate / iterations
        if adapt:
            lengths = (lengths * ((rate - _WANTED) / math.sqrt(1 + i / 4)).exp()).clamp(_SHORTEST, _LONGEST)
        if i >= iterations - late:
            mean += xi / late
            level += (value - xi.double().square().sum(2) / 2) / late
        c = reference.path(xi)[:, :, : reference.first if kept is None else kept]
        firsts.append(every.shifted(c.flatten(0, 1)).reshape(c.shape))
    return Walk(xi, lengths, torch.stack(firsts, 2), mean, level, accepted)


def leaps_of(lengths: Float[Tensor, " batch"]) -> int:
    """Return the steps of an iteration that turn most observations by about a quarter: draws are alike by the cosine.

    Args:
        lengths: Length of a step, for each observation.
    """
    return round(min(max(_QUARTER / float(lengths.median()), LEAPS), _MOST_LEAPS))


def warn_of_far(residual: Float[Tensor, "n r"]) -> None:
    """Warn of paths that no draw of the posterior is: far from an observed number in units of its noise.

    Given the observations ``y - H x`` of right draws is normal with the variance of the noise.

    Args:
        residual: ``(y - H x) / sigma`` of each path, 0 where a number is missing.
    """
    if float((residual.abs() > _FAR).any(1).float().mean()) > _SOME:
        warnings.warn(
            f"over {_SOME:.0%} of the trajectories miss an observed number by more than {_FAR:g} standard deviations "
            "of its noise, which right ones hardly ever do: do not trust those; take importance or mcmc.",
            UserWarning,
            stacklevel=2,
        )
