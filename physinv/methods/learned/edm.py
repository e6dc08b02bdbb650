"""Diffusion models of ``x_0``, with or without ``x_T`` as a condition, in the form of Karras et al. (2022)."""

from __future__ import annotations

__all__ = ["Denoiser", "Flow", "Noise", "denoising_error", "heun", "noise_levels", "train_denoiser"]

import itertools
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.equations.broadcast import match
from physinv.equations.sde import SDE, Score
from physinv.methods.learned.backbone import build_backbone
from physinv.methods.learned.coordinates import Context, TargetCoordinates
from physinv.methods.problem import Problem
from physinv.training.objectives.base import Batch

Flow = Callable[[Tensor, Tensor], Tensor]
"""``(s, y) -> dy/ds`` for one number s, coordinates ``(batch, *moving)``."""

Noise = Callable[[], Tensor]
"""Draws standard normal numbers ``(batch, *moving)`` anew at every call."""

_LOW, _HIGH, _RHO = 0.002, 80.0, 7.0  # smallest and largest sigma, and how sampling steps are spread (their table 1)
_MEAN, _WIDTH = 0.0, 1.6  # of log sigma in training: wider than theirs, since fields have modes of many sizes


class Denoiser(nn.Module):
    """``D(y, sigma) = E[z | z + sigma n = y]`` for data ``z`` of deviation 1 (Karras et al. 2022, table 1, "EDM").

        D = c_skip y + c_out network(c_in y, tau),    c_skip = 1 / (sigma^2 + 1),
        c_out = sigma / (sigma^2 + 1)^(1/2),          c_in = 1 / (sigma^2 + 1)^(1/2),

    with ``tau``, their c_noise, running from 0 to 1 with ``log sigma``.  Exact for white Gaussians before training.

    Args:
        coordinates: The standardised coordinates ``z`` of ``x_0``.
        network: A network of features and ``tau``.
    """

    def __init__(self, coordinates: TargetCoordinates, network: nn.Module) -> None:
        super().__init__()
        self.coordinates, self.network = coordinates, network

    def forward(
        self, y: Float[Tensor, "batch *moving"], sigma: Float[Tensor, " batch"], context: Context
    ) -> Float[Tensor, "batch *moving"]:
        s = match(sigma, y)
        return y / (s**2 + 1) + s / (s**2 + 1).sqrt() * self.correction(y, sigma, context)

    def correction(self, y: Float[Tensor, "batch *moving"], sigma: Float[Tensor, " batch"], context: Context) -> Tensor:
        """Return the output of the network, whose target is of order one for every sigma.

        Args:
            y: Noisy coordinates ``z + sigma n``.
            sigma: Noise levels.
            context: What depends on the observation.

        Returns:
            The output, of the shape of ``y``.
        """
        tau = (sigma.log() - math.log(_LOW)) / math.log(_HIGH / _LOW)
        out: Tensor = self.network(self.coordinates.features(context, y / (match(sigma, y) ** 2 + 1).sqrt()), tau)
        return out

    def draw(self, noise: Noise, context: Context, steps: int) -> Tensor:
        """Transport noise to coordinates along the probability-flow ODE.

        Args:
            noise: Draws standard normal numbers, for each observation.
            context: What depends on the observation.
            steps: Number of steps.

        Returns:
            Draws of ``z``.
        """
        return heun(lambda y, s: self(y, y.new_full((len(y),), s), context), noise(), noise_levels(steps))

    def flow(self, context: Context) -> tuple[Flow, tuple[float, float], float]:
        """Return the flow from coordinates to noise: its velocity, its span, and the deviation of the noise.

        Args:
            context: What depends on the observation.

        Returns:
            ``y - D(y, sigma)`` in the variable ``log sigma``, from the smallest to the largest one, and the latter.
        """

        def velocity(s: Tensor, y: Tensor) -> Tensor:
            out: Tensor = y - self(y, y.new_full((len(y),), math.exp(float(s))), context)
            return out

        return velocity, (math.log(_LOW), math.log(_HIGH)), _HIGH

    def expected(self, context: Context) -> Float[Tensor, "batch *moving"]:
        """Return ``E[z]`` given the observation: the denoiser at the largest noise and ``y = 0``.

        Args:
            context: What depends on the observation.

        Returns:
            Expected coordinates, of order one.
        """
        y = torch.zeros_like(context.centre)
        out: Tensor = self(y, y.new_full((len(y),), _HIGH), context)
        return out


def denoising_error(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return the denoising error ``E |D(z + sigma n, sigma) - z|^2 / c_out^2`` with ``log sigma`` Gaussian.

    Args:
        score: A :class:`Denoiser`.
        sde: Not used.
        batch: Windows ``(x_0, x_T)``, their estimates, and a generator.

    Returns:
        The mean over batch and components.

    References:
        Karras et al. (2022), Elucidating the design space of diffusion-based generative models, eq. 8 and 108.
    """
    denoiser = score
    assert isinstance(denoiser, Denoiser)
    context = denoiser.coordinates.context_of(batch)
    z = denoiser.coordinates.target(batch.states[:, 0], context)
    generator = batch.generator
    u, n = (torch.randn(shape, generator=generator, dtype=z.dtype, device=z.device) for shape in (z.shape[:1], z.shape))
    sigma = (_MEAN + _WIDTH * u).exp().clamp(_LOW, _HIGH)
    s = match(sigma, z)
    target = (s * z - n) / (s**2 + 1).sqrt()  # (z - c_skip y) / c_out
    return (denoiser.correction(z + s * n, sigma, context) - target).square().mean()


def noise_levels(steps: int) -> list[float]:
    """Return the noise levels ``sigma_0 = 80 > ... > sigma_(steps - 1) = .002 > 0``.

    Args:
        steps: Number of levels besides 0.

    Returns:
        Decreasing noise levels, the last one 0.

    Raises:
        ValueError: For fewer than 2 steps.

    References:
        Karras et al. (2022), Elucidating the design space of diffusion-based generative models, eq. 5.

    Example:
        >>> [round(sigma, 3) for sigma in noise_levels(2)]
        [80.0, 0.002, 0.0]
    """
    if steps < 2:
        raise ValueError(f"`steps` must be at least 2, got {steps}.")
    high, low = _HIGH ** (1 / _RHO), _LOW ** (1 / _RHO)
    return [(high + i / (steps - 1) * (low - high)) ** _RHO for i in range(steps)] + [0.0]


def heun(
    denoise: Callable[[Tensor, float], Tensor], noise: Float[Tensor, "batch *moving"], levels: list[float]
) -> Float[Tensor, "batch *moving"]:
    """Solve the ODE ``dy/dsigma = (y - D(y, sigma)) / sigma`` by Heun's method, the last step by Euler's.

    The steps are taken for ``w = y cos(a)`` in the angle ``a = arctan(sigma)``, in which the ODE reads

        dw/da = (w cos(a) - D) / sin(a).

    For data of deviation 1 so has ``w`` at every noise level, and it stays where it is if they are a white Gaussian. In
    ``sigma`` itself 20 steps from 80 to 0 leave 7 % too much variance even there.

    Args:
        denoise: The denoiser ``D(y, sigma)``.
        noise: Standard normal numbers.
        levels: Decreasing noise levels, the last one 0.

    Returns:
        Draws of the coordinates ``z``.

    References:
        Karras et al. (2022), Elucidating the design space of diffusion-based generative models, algorithm 1.
        Salimans and Ho (2022), Progressive distillation for fast sampling of diffusion models, appendix D (the angle).
    """

    def slope(w: Tensor, sigma: float) -> Tensor:
        a = math.atan(sigma)
        return (w * math.cos(a) - denoise(w / math.cos(a), sigma)) / math.sin(a)

    w = noise
    for s, r in itertools.pairwise(levels):
        h, first = math.atan(r) - math.atan(s), slope(w, s)
        guess = w + h * first
        w = w + h * (first + slope(guess, r)) / 2 if r > 0 else guess
    return w


def train_denoiser(problem: Problem, coordinates: TargetCoordinates, *, groups: int) -> Denoiser:
    """Train a denoiser.

    Args:
        problem: The process and its data.
        coordinates: The standardised coordinates of ``x_0``.
        groups: Number of groups of features, the noisy coordinates included.

    Returns:
        The trained denoiser.
    """
    network = build_backbone(coordinates, problem.settings, groups=groups, seed=problem.seed)
    model = Denoiser(coordinates, network).to(problem.device)
    problem.minimise(model, denoising_error, estimates=coordinates.estimates)
    return model
