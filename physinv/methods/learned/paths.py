"""Paths from an observation to ``x_0``, with ``x_T`` as an input: straight from noise, rectified, or a bridge.

A path that joins ``x_T`` to ``x_0`` and does not know ``x_T`` on its way has the right law of all ``x_0``, and a wrong
one of ``x_0`` given ``x_T`` (:mod:`physinv.equations.paths.pairs`).  Here every network sees ``x_T``.
"""

from __future__ import annotations

__all__ = ["Bridge", "Rectified", "Velocity", "flow_error", "train_rectified", "train_velocity"]

import copy
import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.seeds import seeds
from physinv.equations.sde import SDE, Score
from physinv.methods.learned.backbone import build_backbone
from physinv.methods.learned.coordinates import Context, TargetCoordinates
from physinv.methods.learned.edm import Denoiser, Flow, Noise
from physinv.methods.problem import Problem
from physinv.posterior.flows.straight import matching_error, straight_velocity, transport_noise, turn
from physinv.training.objectives.base import Batch

_TEACHER = 8  # steps by which the first flow leads noise to data for the second one
_PAIRS = 16  # of noise and its mirror image, over which the mean of a rectified flow is taken
_LEAST = 1e-4  # of the way of a bridge, where its noise is 100 times the data: nothing is known earlier


class Velocity(nn.Module):
    """``v(y, t) = E[z - n | (1 - t) n + t z = y]`` given ``x_T``, ``n`` standard normal, for data ``z`` of deviation 1.

    It is :func:`~physinv.posterior.flows.straight.straight_velocity` of a network that sees ``x_T``.

    Args:
        coordinates: The standardised coordinates ``z`` of ``x_0``.
        network: A network of features and time.
    """

    def __init__(self, coordinates: TargetCoordinates, network: nn.Module) -> None:
        super().__init__()
        self.coordinates, self.network = coordinates, network

    def forward(
        self, y: Float[Tensor, "batch *moving"], t: Float[Tensor, " batch"], context: Context
    ) -> Float[Tensor, "batch *moving"]:
        return straight_velocity(lambda scaled: self.network(self.coordinates.features(context, scaled), t), y, t)

    def draw(self, noise: Noise, context: Context, steps: int) -> Tensor:
        """Transport noise to coordinates.

        Args:
            noise: Draws standard normal numbers, for each observation.
            context: What depends on the observation.
            steps: Number of steps of Heun's method.

        Returns:
            Draws of ``z``.
        """
        return turn(lambda w, t: self.network(self.coordinates.features(context, w), t), noise(), steps)

    def flow(self, context: Context) -> tuple[Flow, tuple[float, float], float]:
        """Return the flow from coordinates to noise: its velocity, its span, and the deviation of the noise.

        Args:
            context: What depends on the observation.

        Returns:
            ``-v`` in the variable ``1 - t``, from 0 to 1, and 1.
        """
        return lambda s, y: -self(y, y.new_full((len(y),), 1 - float(s)), context), (0.0, 1.0), 1.0

    def expected(self, context: Context) -> Float[Tensor, "batch *moving"]:
        """Return ``E[z]`` given the observation: at t = 0 the velocity is ``E[z] - y``, here at ``y = 0``.

        Args:
            context: What depends on the observation.

        Returns:
            Expected coordinates, of order one.
        """
        y = torch.zeros_like(context.centre)
        out: Tensor = self(y, y.new_zeros(len(y)), context)
        return out


class Rectified(Velocity):
    """The velocity of a rectified flow: nearly constant along each path, which therefore ends where it aims at.

    At ``t = 0`` it aims at the data that belong to one draw of noise, and not at their mean as :class:`Velocity` does.
    """

    def draw(self, noise: Noise, context: Context, steps: int) -> Tensor:
        """Transport noise to coordinates along lines, on which one step is exact where the flow is straight.

        Args:
            noise: Draws standard normal numbers, for each observation.
            context: What depends on the observation.
            steps: Number of steps of Heun's method.

        Returns:
            Draws of ``z``.
        """
        return transport_noise(lambda y, t: self(y, t, context), noise(), steps)

    def expected(self, context: Context) -> Float[Tensor, "batch *moving"]:
        """Return the mean of where 32 draws of noise aim, the same for all observations.

        Args:
            context: What depends on the observation.
        """
        like, total = context.centre, torch.zeros_like(context.centre)
        generator = seeds(0).child("method", "mean").generator(like.device)
        start = like.new_zeros(len(like))
        for _ in range(_PAIRS):
            n = torch.randn((1, *like.shape[1:]), generator=generator, dtype=like.dtype, device=like.device)
            n = n.expand_as(like)
            total = total + self(n, start, context) + self(-n, start, context)
        return total / (2 * _PAIRS)


class Bridge(Denoiser):
    """The bridge ``X_s = (1 - s) x_T + s z + (s (1 - s))^(1/2) n`` from the observation, with ``x_T`` as an input.

    Where ``x_T`` is known, ``y = X - (1 - s) x_T`` says the same as ``X``, and so does ``y / s = z + sigma n`` with
    ``sigma^2 = (1 - s) / s``: what a denoiser expects.  In ``y`` the SDE of the bridge is

        dy = (D(y / s, sigma) - y) / (1 - s) ds + dW,    y_0 = 0,

    whatever the start is.  For white Gaussian data the drift is 0 (a Foellmer process).

    References:
        Chen, Goldstein, Hua, Albergo, Boffi and Vanden-Eijnden (2024), Probabilistic forecasting with stochastic
        interpolants and Foellmer processes.
    """

    def drift(self, y: Float[Tensor, "batch *moving"], s: float, context: Context) -> Float[Tensor, "batch *moving"]:
        """Return ``(D - y) / (1 - s)``, which is the network's output over ``(1 - s)^(1/2)``.

        Args:
            y: States of the bridge without what they have of the start.
            s: Place on the bridge, 0 or more and below 1.
            context: What depends on the observation.
        """
        s = max(s, _LEAST)
        sigma = y.new_full((len(y),), math.sqrt((1 - s) / s))
        return self.correction(y / s, sigma, context) / math.sqrt(1 - s)

    def draw(self, noise: Noise, context: Context, steps: int) -> Tensor:
        """Solve the SDE by Heun's method, of weak order 2, on the grid ``s_i = 1 - (1 - i / steps)^2``.

        Args:
            noise: Draws standard normal numbers, for each observation.
            context: What depends on the observation.
            steps: Number of steps, of two evaluations each and one less in all.

        Returns:
            Draws of ``z``.
        """
        y, grid = torch.zeros_like(context.centre), [1 - (1 - i / steps) ** 2 for i in range(steps + 1)]
        for a, b in itertools.pairwise(grid):
            first, kick = self.drift(y, a, context), math.sqrt(b - a) * noise()
            y, guess = y + kick, y + (b - a) * first + kick
            y = guess if b == 1 else y + (b - a) * (first + self.drift(guess, b, context)) / 2
        return y


def flow_error(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return the flow-matching error of a :class:`Velocity`, from independent noise.

    Args:
        score: A :class:`Velocity`.
        sde: Not used.
        batch: Windows ``(x_0, x_T)``, their estimates, and a generator.

    Returns:
        The mean over batch and components.
    """
    velocity, generator = score, batch.generator
    assert isinstance(velocity, Velocity)
    context = velocity.coordinates.context_of(batch)
    z = velocity.coordinates.target(batch.states[:, 0], context)
    t = torch.rand(len(z), generator=generator, dtype=z.dtype, device=z.device)
    n = torch.randn(z.shape, generator=generator, dtype=z.dtype, device=z.device)
    return matching_error(lambda y, s: velocity(y, s, context), n, z, t)


def train_velocity(problem: Problem, coordinates: TargetCoordinates) -> Velocity:
    """Train a velocity from independent noise.

    Args:
        problem: The process and its data.
        coordinates: The standardised coordinates of ``x_0``.

    Returns:
        The trained velocity.
    """
    network = build_backbone(coordinates, problem.settings, groups=3, seed=problem.seed)
    model = Velocity(coordinates, network).to(problem.device)
    problem.minimise(model, flow_error, estimates=coordinates.estimates)
    return model


def train_rectified(problem: Problem, coordinates: TargetCoordinates) -> Rectified:
    """Train a velocity for half of the budget, and then one along the lines from noise to where the first leads it.

    Args:
        problem: The process and its data.
        coordinates: The standardised coordinates of ``x_0``.

    Returns:
        The second velocity.

    References:
        Liu, Gong and Liu (2023), Flow straight and fast, algorithm 1 with one reflow.
    """
    teacher = train_velocity(problem.part("straight", share=0.5), coordinates)
    model = Rectified(coordinates, copy.deepcopy(teacher.network))

    def reflow_error(score: Score, sde: SDE, batch: Batch) -> Tensor:
        velocity, generator = score, batch.generator
        assert isinstance(velocity, Rectified)
        context = coordinates.context_of(batch)
        like = context.centre
        t = torch.rand(len(like), generator=generator, dtype=like.dtype, device=like.device)
        n = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        with torch.no_grad():
            z = teacher.draw(lambda: n, context, _TEACHER)
        return matching_error(lambda y, s: velocity(y, s, context), n, z, t)

    problem.part("reflow", share=0.5, begun=0.5).minimise(model, reflow_error, estimates=coordinates.estimates)
    return model
