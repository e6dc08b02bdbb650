"""Velocities of straight paths from noise to data: how networks give them, how they are drawn with, what they learn."""

from __future__ import annotations

__all__ = [
    "matching_error",
    "score_of_velocity",
    "straight_velocity",
    "transport_noise",
    "turn",
    "turn_back",
    "undone",
]

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import match
from physinv.equations.paths import Interpolant

_STRAIGHT = Interpolant()
_CORRECTIONS, _KEPT = 32, 8  # of a step that is undone, at most, and of those before that tell how far to go


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
    """Return the noise that :func:`turn` makes data of, each of its steps undone (:func:`undone`).

    Few steps of a steep network fold, and have no inverse there: then this is noise that they make nearly the data of.

    Args:
        network: Output for states of variance 1.
        data: Data.
        steps: Steps of :func:`turn`.
    """
    w = data
    for b, a in itertools.pairwise(reversed(_angles(steps))):
        w = undone(partial(_turned, network, a=a, b=b), w, _turned(network, w, b, a))
    return w


def undone(
    step: Callable[[Tensor], Tensor],
    target: Float[Tensor, "batch *state"],
    guess: Float[Tensor, "batch *state"],
    *,
    moved: Callable[[Tensor], Tensor] = lambda gap: gap,
    most: int = _CORRECTIONS,
) -> Float[Tensor, "batch *state"]:
    """Return what a step makes given states of, by corrections of a guess.

    Each row moves by what its result lacks, as far as what was lacking before and what became of it tell how far that
    is (Anderson's method), and stays where that does not lessen it.  Undamped corrections of a step that is steeper
    than the identity would lead away.

    Args:
        step: The step, which acts on each row by itself.
        target: Its results.
        guess: Where to begin.
        moved: What a gap of the results is before the step, nearly.
        most: Corrections, at most.

    Returns:
        For each row the best that was found.

    Example:
        >>> x = undone(lambda x: 4 * x, torch.ones(1, 1), torch.ones(1, 1))
        >>> round(x.item(), 5)
        0.25

    References:
        Walker and Ni (2011), Anderson acceleration for fixed-point iterations.
    """
    shape, small = target.shape, 8 * torch.finfo(target.dtype).eps * _size(target.flatten(1))
    x, gap = guess.flatten(1), moved(target - step(guess)).flatten(1)
    left, tried = _size(gap), list[tuple[Tensor, Tensor]]()
    for _ in range(most):
        if bool((left <= small).all()):
            break
        toward = gap
        if tried:
            changes, effects = (torch.stack(pair, 1) for pair in zip(*tried[-_KEPT:], strict=True))
            toward = gap + _combined(effects, gap, changes + effects)
        y = x + toward
        found = moved(target - step(y.reshape(shape))).flatten(1)
        size = _size(found)
        sound = size.isfinite()[:, None]
        tried.append((torch.where(sound, y - x, 0.0), torch.where(sound, found - gap, 0.0)))
        better = size < left.nan_to_num(math.inf)  # which is not so of what is no number
        x, gap = (torch.where(better[:, None], new, old) for new, old in ((y, x), (found, gap)))
        left = torch.where(better, size, left)
    return x.reshape(shape)


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


def _combined(effects: Tensor, gap: Tensor, changes: Tensor) -> Tensor:
    """Those changes of each row whose effects together are minus its gap, in the sense of least squares."""
    rows = effects.double()
    inner = rows @ rows.mT
    ridge = (torch.finfo(inner.dtype).eps * inner.diagonal(dim1=1, dim2=2).amax(1)).clamp(min=1e-200)
    inner = inner + torch.diag_embed(ridge[:, None].expand(inner.shape[:2]))
    weights = torch.linalg.solve(inner, rows @ -gap.double()[..., None])[..., 0]
    return torch.einsum("bk,bkn->bn", weights.to(changes), changes)


def _size(x: Tensor) -> Tensor:
    """Root mean square of each row."""
    return x.square().mean(1).sqrt()


def _turned(network: Callable[[Tensor, Tensor], Tensor], w: Tensor, a: float, b: float) -> Tensor:
    """One step of Heun's method from an angle to another."""
    start, end = (w.new_full((len(w),), (1 + math.tan(angle - math.pi / 4)) / 2) for angle in (a, b))
    first = network(w, start)
    return w + (b - a) * (first + network(w + (b - a) * first, end)) / 2
