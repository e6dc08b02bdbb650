"""Amortised posteriors without physics: conditional diffusion and flow matching from noise to ``x_0`` given ``x_T``."""

from __future__ import annotations

__all__ = [
    "PATHS",
    "Amortised",
    "fit_conditional_diffusion",
    "fit_flow_matching",
    "load_conditional_diffusion",
    "load_flow_matching",
]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import check_count, home_of
from physinv.config.seeds import seeds
from physinv.config.suggest import did_you_mean
from physinv.equations.gaussian import gaussian_log_prob
from physinv.methods.learned.backbone import chunked, load_parts, part_tensors
from physinv.methods.learned.coordinates import conditional_coordinates
from physinv.methods.learned.edm import Denoiser, train_denoiser
from physinv.methods.learned.paths import Bridge, Rectified, Velocity, train_rectified, train_velocity
from physinv.methods.problem import Answer, Problem
from physinv.methods.saving import Setup, loaded_by
from physinv.posterior.likelihood import divergence_for, flow_log_prob

PATHS: dict[str, type[Velocity | Bridge]] = {"linear": Velocity, "rectified": Rectified, "stochastic": Bridge}
"""The paths of flow matching: straight from noise, the same made straighter, or a bridge from the observation."""

_TOLERANCE = 1e-4  # of the adaptive solver of densities


@dataclass(frozen=True)
class Amortised(Answer):
    """The posterior of a conditional generative model; its mean is what the model expects at the beginning of the path.

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
        home = home_of(generator, final)

        def work(x: Tensor) -> Tensor:
            context = self.model.coordinates.context(x)
            like = context.centre

            def noise() -> Tensor:
                return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=home).to(like.device)

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


def load_flow_matching(
    setup: Setup, tensors: Mapping[str, Tensor], *, steps: int = 32, path: str = "linear"
) -> Amortised:
    """Load a model of flow matching.

    Args:
        setup: What the run knows.
        tensors: What was fitted.
        steps: Sampling steps.
        path: The path that it was trained with.

    Returns:
        The trained posterior.
    """
    return Amortised(PATHS[path](*load_parts(setup, tensors, groups=3)), steps, setup.seed)


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
def fit_flow_matching(problem: Problem, *, steps: int = 32, path: str = "linear") -> Amortised:
    """Train conditional flow matching of the error of the linear estimate, given ``x_T`` and that estimate.

    Args:
        problem: The process and its data.
        steps: Sampling steps.
        path: ``"linear"``, from noise along straight lines; ``"rectified"``, the same for half of the budget, and then
            along the lines that join noise to where the first flow leads it, so that fewer steps do; ``"stochastic"``,
            a bridge from the observation, drawn from by its SDE.  ``x_T`` is an input of all of them.

    Returns:
        The trained posterior.

    Raises:
        ValueError: If there is no such path, or ``steps`` is smaller than 1.

    References:
        Lipman et al. (2023), Flow matching for generative modeling; Liu, Gong and Liu (2023), Flow straight and fast;
        Albergo, Boffi and Vanden-Eijnden (2023), Stochastic interpolants.
    """
    check_count(steps, "steps")
    if path not in PATHS:
        raise ValueError(f"`path` must be one of {', '.join(PATHS)}, got {path!r}; {did_you_mean(path, PATHS)}")
    coordinates = conditional_coordinates(problem)
    model: Velocity | Bridge
    if path == "stochastic":
        denoiser = train_denoiser(problem, coordinates, groups=3)
        model = Bridge(denoiser.coordinates, denoiser.network)
    else:
        model = (train_rectified if path == "rectified" else train_velocity)(problem, coordinates)
    return Amortised(model, steps, problem.seed)
