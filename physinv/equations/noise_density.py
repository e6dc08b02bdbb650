"""The density of the noise of an Euler step: independent normal numbers of known amplitude, component by component."""

from __future__ import annotations

__all__ = ["amplitude", "euler_log_density", "noise_log_prob"]

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.sde import SDE, Reverse

_CLOSE = 1e-4  # relative: what counts as the same amplitude for two directions of the noise


def amplitude(sde: SDE, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
    """Return the noise amplitude ``g`` of every component, for noise that acts on each component by itself.

    Args:
        sde: The equation.
        x: States.
        t: Their times.

    Raises:
        ValueError: If the noise mixes components, as coloured noise does.
    """
    g = sde.disturb(x, torch.ones_like(x), t).expand_as(x)
    numbers = torch.arange(x[0].numel(), device=x.device, dtype=torch.float64).cos().to(x.dtype)
    uneven = (1 + numbers / 2).reshape(x[:1].shape).expand_as(x)  # some direction that no symmetry singles out
    if not torch.allclose(sde.disturb(x, uneven, t), uneven * g, rtol=_CLOSE, atol=_CLOSE * float(g.abs().max())):
        owner = type(sde.sde if isinstance(sde, Reverse) else sde).__name__
        raise ValueError(
            f"`euler` has a log density where the noise acts on each component by itself, that of {owner} mixes them; "
            "take a process with white noise."
        )
    return g


def noise_log_prob(
    gap: Float[Tensor, "batch *state"],
    deviation: Float[Tensor, "batch *state"],
    moved: Bool[Tensor, "batch *state"],
) -> Float[Tensor, " batch"]:
    """Return the log density of independent normal numbers, in nats and float64.

    Components without noise that stand still, such as an obstacle, are left out.

    Args:
        gap: The numbers.
        deviation: Their standard deviations.
        moved: Which components move without their noise.

    Raises:
        ValueError: If no component has noise, or one without noise moves: then there is no density.
    """
    still = deviation == 0
    if bool(still.all()):
        raise ValueError("a step without noise has no log density; take a process with noise, and eta > 0.")
    if bool((still & (moved | (gap != 0))).any()):
        share = float(still.double().mean())
        raise ValueError(
            f"a step has no log density where components without noise move, here {share:.0%} of them (noise on "
            "momenta only?); take a step with noise in every component."
        )
    scale = torch.where(still, torch.ones_like(deviation), deviation).double()
    each = (gap.double() / scale).square() / 2 + scale.abs().log() + math.log(2 * math.pi) / 2
    return -torch.where(still, torch.zeros_like(each), each).flatten(1).sum(1)


def euler_log_density(
    sde: SDE, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor, reached: Float[Tensor, "batch *state"]
) -> Float[Tensor, " batch"]:
    """Return the log density with which Euler's step reaches states.

    Args:
        sde: The equation.
        x: States at ``t0``.
        t0: Times at which the step begins.
        t1: Times at which it ends.
        reached: States at ``t1``.
    """
    dt = match(t1 - t0, x)
    mean = x + sde.drift(x, t0) * dt
    return noise_log_prob(reached - mean, amplitude(sde, x, t0) * dt.abs().sqrt(), mean != x)
