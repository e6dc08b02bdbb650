"""Amortised posteriors without physics: conditional diffusion and flow matching from noise to ``x_0`` given ``x_T``."""

from __future__ import annotations

__all__ = [
    "Amortised",
    "Velocity",
    "fit_conditional_diffusion",
    "fit_flow_matching",
    "flow_error",
    "load_conditional_diffusion",
    "load_flow_matching",
]

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.config.inputs import check_count
from physinv.config.seeds import seeds
from physinv.equations.broadcast import match
from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import SDE, Score
from physinv.methods.learned.backbone import build_backbone, chunked, load_parts, part_tensors
from physinv.methods.learned.coordinates import Context, TargetCoordinates, conditional_coordinates
from physinv.methods.learned.edm import Denoiser, Flow, train_denoiser
from physinv.methods.problem import Answer, Problem
from physinv.methods.saving import Setup, loaded_by
from physinv.posterior.likelihood import divergence_for, flow_log_prob
from physinv.training.objectives.base import Batch

_TOLERANCE = 1e-4  # of the adaptive solver of densities


class Velocity(nn.Module):
    """``v(y, t) = E[z - n | (1 - t) n + t z = y]``, ``n`` standard normal, for data ``z`` of deviation 1.

        v = (2 t - 1) / h y + h^(-1/2) network(h^(-1/2) y, t),    h = (1 - t)^2 + t^2:

    the linear path of Lipman et al. (2023, eq. 20-23), preconditioned after the manner of Karras et al. (2022): exact
    for white Gaussians before training.

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
        u = match(t, y)
        h = (1 - u) ** 2 + u**2
        out: Tensor = self.network(self.coordinates.features(context, y / h.sqrt()), t)
        v: Tensor = (2 * u - 1) / h * y + out / h.sqrt()
        return v

    def draw(self, noise: Float[Tensor, "batch *moving"], context: Context, steps: int) -> Tensor:
        """Transport noise to coordinates by Heun's method on the grid ``t_i = 1 - (1 - i / steps)^2``.

        Args:
            noise: Standard normal numbers.
            context: What depends on the observation.
            steps: Number of steps.

        Returns:
            Draws of ``z``.
        """
        y, grid = noise, [1 - (1 - i / steps) ** 2 for i in range(steps + 1)]
        for a, b in itertools.pairwise(grid):
            first = self(y, y.new_full((len(y),), a), context)
            second = self(y + (b - a) * first, y.new_full((len(y),), b), context)
            y = y + (b - a) * (first + second) / 2
        return y

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


def flow_error(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """Return the flow-matching error ``E |v((1 - t) n + t z, t) - (z - n)|^2``, t uniform.

    Args:
        score: A :class:`Velocity`.
        sde: Not used.
        batch: Windows ``(x_0, x_T)``, their estimates, and a generator.

    Returns:
        The mean over batch and components.

    References:
        Lipman et al. (2023), Flow matching for generative modeling, eq. 23 with sigma_min = 0.
    """
    velocity = score
    assert isinstance(velocity, Velocity)
    context = velocity.coordinates.context_of(batch)
    z = velocity.coordinates.target(batch.states[:, 0], context)
    t = torch.rand(len(z), generator=batch.generator, dtype=z.dtype, device=z.device)
    n = torch.randn(z.shape, generator=batch.generator, dtype=z.dtype, device=z.device)
    u = match(t, z)
    loss: Tensor = (velocity((1 - u) * n + u * z, t, context) - (z - n)).square().mean()
    return loss


@dataclass(frozen=True)
class Amortised(Answer):
    """The posterior of a conditional generative model; its mean is that of the beginning of the path.

    Args:
        model: The trained model.
        steps: Steps for each draw, of two evaluations of the network each, one less for diffusion.
        seed: Seed of the random directions of a divergence.
    """

    model: Denoiser | Velocity
    steps: int
    seed: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of the network, and the coordinates."""
        return part_tensors(self.model.coordinates, self.model.network)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:

        def work(x: Tensor) -> Tensor:
            context = self.model.coordinates.context(x)
            return self.model.coordinates.restore(self.model.expected(context), context, x)

        return chunked(work, final)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        home = final.device if generator is None else generator.device

        def work(x: Tensor) -> Tensor:
            context = self.model.coordinates.context(x)
            like = context.centre
            noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=home).to(like.device)
            return self.model.coordinates.restore(self.model.draw(noise, context, self.steps), context, x)

        return chunked(work, final.repeat_interleave(n, dim=0)).reshape(len(final), n, *final.shape[1:])

    def log_prob(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, " batch"]:
        """Return ``log p(x_0 | x_T)`` over all moving components, by the divergence of the flow.

        The divergence of large states is estimated by one random probe from a fixed seed.

        Args:
            initial: Initial states ``x_0``.
            final: Final states ``x_T``.

        Returns:
            Log densities in nats, ``(batch,)``.
        """
        generator = seeds(self.seed).child("method", "density").generator(initial.device)
        coordinates = self.model.coordinates

        def work(pair: Tensor) -> Tensor:
            context = coordinates.context(pair[:, 1])
            z = coordinates.target(pair[:, 0], context)
            velocity, span, width = self.model.flow(context)
            logs = flow_log_prob(
                velocity,
                z,
                span,
                lambda noise: gaussian_log_prob(noise, noise.new_full(noise.shape[1:], width**2), noise),
                divergence=divergence_for(z, generator=generator),
                rtol=_TOLERANCE,
                atol=_TOLERANCE,
            )
            return logs - coordinates.unit.expand_as(z[0]).log().sum()

        return chunked(work, torch.stack([initial, final], dim=1))


def load_conditional_diffusion(setup: Setup, tensors: Mapping[str, Tensor], *, steps: int = 32) -> Amortised:
    """Load a conditional diffusion model.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        steps: Sampling steps.

    Returns:
        The trained posterior.
    """
    return Amortised(Denoiser(*load_parts(setup, tensors, groups=3)), steps, setup.seed)


def load_flow_matching(setup: Setup, tensors: Mapping[str, Tensor], *, steps: int = 32) -> Amortised:
    """Load a model of flow matching.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        steps: Sampling steps.

    Returns:
        The trained posterior.
    """
    return Amortised(Velocity(*load_parts(setup, tensors, groups=3)), steps, setup.seed)


@loaded_by(load_conditional_diffusion, partial=True)
def fit_conditional_diffusion(problem: Problem, *, steps: int = 32) -> Amortised:
    """Train a conditional diffusion model of the error of the linear estimate, given ``x_T`` and that estimate.

    Args:
        problem: The process and its data.
        steps: Sampling steps.

    Returns:
        The trained posterior.

    Raises:
        ValueError: For fewer than 2 steps.

    References:
        Karras et al. (2022), Elucidating the design space of diffusion-based generative models.
    """
    if steps < 2:
        raise ValueError(f"`steps` must be at least 2, got {steps}.")
    return Amortised(train_denoiser(problem, conditional_coordinates(problem), groups=3), steps, problem.seed)


@loaded_by(load_flow_matching, partial=True)
def fit_flow_matching(problem: Problem, *, steps: int = 32) -> Amortised:
    """Train conditional flow matching of the error of the linear estimate, given ``x_T`` and that estimate.

    Args:
        problem: The process and its data.
        steps: Sampling steps.

    Returns:
        The trained posterior.
    """
    check_count(steps, "steps")
    coordinates = conditional_coordinates(problem)
    network = build_backbone(coordinates, problem.settings, groups=3, seed=problem.seed)
    model = Velocity(coordinates, network).to(problem.device)
    problem.minimise(model, flow_error, estimates=coordinates.estimates)
    return Amortised(model, steps, problem.seed)
