"""Velocities of straight paths from noise to data: how networks give them, how they are drawn with, what they learn."""

from __future__ import annotations

__all__ = ["matching_error", "score_of_velocity", "straight_velocity", "transport_noise", "turn", "turn_back"]

import itertools
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.paths import Interpolant

_STRAIGHT = Interpolant()
_CORRECTIONS = 8  # of each step that is undone


def straight_velocity(
    network: Callable[[Tensor], Tensor], y: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
) -> Float[Tensor, "batch *state"]:
    """Return the velocity ``E[z - n | (1 - t) n + t z = y]`` that a network gives, for data ``z`` of variance 1.

        v = (2 t - 1) / h y + h^(-1/2) network(h^(-1/2) y),    h = (1 - t)^2 + t^2,

    preconditioned after the manner of Karras et al. (2022): exact for white Gaussians where the network is 0.

    Args:
        network: Output for a state of variance 1.
        y: States.
        t: Places on the path, 0 at the noise.

    References:
        Lipman et al. (2023), Flow matching for generative modeling, eq. 20-23.
    """
    u = match(t, y)
    h = (1 - u) ** 2 + u**2
    return (2 * u - 1) / h * y + network(y / h.sqrt()) / h.sqrt()


def score_of_velocity(
    velocity: Float[Tensor, "batch *state"], y: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]
) -> Float[Tensor, "batch *state"]:
    """Return the score ``(t v - y) / (1 - t)`` of the states on a straight path from noise.

    Args:
        velocity: The velocity at ``y``.
        y: States.
        t: Places on the path, below 1.

    Example:
        Data of variance 1, half-way: the states have variance 1/2, and no velocity.

        >>> score_of_velocity(torch.zeros(1, 1), torch.ones(1, 1), torch.full((1,), 0.5))
        tensor([[-2.]])
    """
    u = match(t, y)
    return (u * velocity - y) / (1 - u)


def transport_noise(
    velocity: Callable[[Tensor, Tensor], Tensor], noise: Float[Tensor, "batch *state"], steps: int
) -> Float[Tensor, "batch *state"]:
    """Transport noise to data by Heun's method on the grid ``t_i = 1 - (1 - i / steps)^2``.

    Args:
        velocity: ``(y, t) -> v``, ``t`` one number for each state.
        noise: Standard normal numbers.
        steps: Number of steps, of two evaluations each.

    Returns:
        The data that the noise becomes.
    """
    y, grid = noise, [1 - (1 - i / steps) ** 2 for i in range(steps + 1)]
    for a, b in itertools.pairwise(grid):
        first = velocity(y, y.new_full((len(y),), a))
        second = velocity(y + (b - a) * first, y.new_full((len(y),), b))
        y = y + (b - a) * (first + second) / 2
    return y


def turn(
    network: Callable[[Tensor, Tensor], Tensor], noise: Float[Tensor, "batch *state"], steps: int
) -> Float[Tensor, "batch *state"]:
    """Transport noise to data as the velocity of a network does (:func:`straight_velocity`), in the angle of the path.

    For ``w = h^(-1/2) y`` and the angle ``a = arctan(2 t - 1) + pi/4`` the flow is

        dw/da = network(w, t),    a from 0 to pi/2.

    Heun's steps of :func:`transport_noise`, of the same ``t``, multiply the variance of white data by 1.016 (8 steps)
    or 1.0014 (32).  These keep it, whatever their number.

    Args:
        network: Output for states ``w`` of variance 1 at places ``t``.
        noise: Standard normal numbers.
        steps: Number of steps, of two evaluations each.

    Returns:
        The data that the noise becomes.

    Example:
        >>> turn(lambda w, t: torch.zeros_like(w), torch.ones(1, 1), 1)
        tensor([[1.]])
    """
    w = noise
    for a, b in itertools.pairwise(_angles(steps)):
        w = _turned(network, w, a, b)
    return w


@torch.no_grad()
def turn_back(
    network: Callable[[Tensor, Tensor], Tensor], data: Float[Tensor, "batch *state"], steps: int
) -> Float[Tensor, "batch *state"]:
    """Return the noise that :func:`turn` makes data of, each of its steps undone by a few corrections.

    Args:
        network: Output for states of variance 1.
        data: Data.
        steps: Steps of :func:`turn`.
    """
    w = data
    for b, a in itertools.pairwise(reversed(_angles(steps))):
        up = _turned(network, w, b, a)
        for _ in range(_CORRECTIONS):
            up = up + (w - _turned(network, up, a, b))
        w = up
    return w


def matching_error(
    velocity: Callable[[Tensor, Tensor], Tensor],
    noise: Float[Tensor, "batch *state"],
    data: Float[Tensor, "batch *state"],
    t: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Return the flow-matching error ``E |v((1 - t) n + t z, t) - (z - n)|^2`` at given ``t``.

    With independent noise and data this is flow matching; with pairs that a flow leads from one to the other, it makes
    the flow straighter (rectified flow).

    Args:
        velocity: ``(y, t) -> v``.
        noise: States at the beginning of the paths.
        data: States at their end.
        t: Places on the path, uniform draws in [0, 1].

    Returns:
        The mean over batch and components.

    References:
        Lipman et al. (2023), Flow matching for generative modeling, eq. 23 with sigma_min = 0;
        Liu, Gong and Liu (2023), Flow straight and fast, eq. 1.
    """
    state, rate = (f(noise, data, torch.zeros_like(data), t) for f in (_STRAIGHT.state, _STRAIGHT.rate))
    error: Tensor = (velocity(state, t) - rate).square().mean()
    return error


def _angles(steps: int) -> list[float]:
    """Angles of the grid of :func:`transport_noise`."""
    grid = [1 - (1 - i / steps) ** 2 for i in range(steps + 1)]
    return [math.atan(2 * t - 1) + math.pi / 4 for t in grid]


def _turned(network: Callable[[Tensor, Tensor], Tensor], w: Tensor, a: float, b: float) -> Tensor:
    """One step of Heun's method from an angle to another."""
    start, end = (w.new_full((len(w),), (1 + math.tan(angle - math.pi / 4)) / 2) for angle in (a, b))
    first = network(w, start)
    return w + (b - a) * (first + network(w + (b - a) * first, end)) / 2
