"""Amortised posteriors without physics: conditional diffusion and flow matching from noise to ``x_0`` given ``x_T``."""

from __future__ import annotations

__all__ = ["Amortised", "Velocity", "fit_conditional_diffusion", "fit_flow_matching", "flow_error"]

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.equations.sde import SDE, Score, match
from physinv.methods.learned.backbone import Context, Frame, build_backbone, chunked, conditional_frame
from physinv.methods.learned.edm import Denoiser, train_denoiser
from physinv.methods.problem import Problem
from physinv.training.objectives.base import Batch


class Velocity(nn.Module):
    """``v(y, t) = E[z - n | (1 - t) n + t z = y]``, ``n`` standard normal, for data ``z`` of deviation 1.

        v = (2 t - 1) / h y + h^(-1/2) network(h^(-1/2) y, t),    h = (1 - t)^2 + t^2:

    the linear path of Lipman et al. (2023, eq. 20-23), preconditioned after the manner of Karras et al. (2022): exact
    for white Gaussians before training.
    """

    def __init__(self, frame: Frame, network: nn.Module) -> None:
        super().__init__()
        self.frame, self.network = frame, network

    def forward(
        self, y: Float[Tensor, "batch *moving"], t: Float[Tensor, " batch"], context: Context
    ) -> Float[Tensor, "batch *moving"]:
        u = match(t, y)
        h = (1 - u) ** 2 + u**2
        out: Tensor = self.network(self.frame.features(context, y / h.sqrt()), t)
        v: Tensor = (2 * u - 1) / h * y + out / h.sqrt()
        return v

    def draw(self, noise: Float[Tensor, "batch *moving"], context: Context, steps: int) -> Tensor:
        """The ``z`` that ``noise`` becomes: Heun's method on the grid ``t_i = 1 - (1 - i / steps)^2``, finest at
        the end."""
        y, grid = noise, [1 - (1 - i / steps) ** 2 for i in range(steps + 1)]
        for a, b in itertools.pairwise(grid):
            first = self(y, y.new_full((len(y),), a), context)
            second = self(y + (b - a) * first, y.new_full((len(y),), b), context)
            y = y + (b - a) * (first + second) / 2
        return y

    def expected(self, context: Context) -> Float[Tensor, "batch *moving"]:
        """``E[z]`` given the context: at t = 0 the velocity is ``E[z] - y``, here in the middle of the law of ``y``."""
        y = torch.zeros_like(context.centre)
        out: Tensor = self(y, y.new_zeros(len(y)), context)
        return out


def flow_error(score: Score, sde: SDE, batch: Batch) -> Float[Tensor, ""]:
    """``E |v((1 - t) n + t z, t) - (z - n)|^2``, t uniform (Lipman et al. 2023, eq. 23 with sigma_min = 0)."""
    velocity = score
    assert isinstance(velocity, Velocity)
    context = velocity.frame.context_of(batch)
    z = velocity.frame.target(batch.states[:, 0], context)
    t = torch.rand(len(z), generator=batch.generator, dtype=z.dtype, device=z.device)
    n = torch.randn(z.shape, generator=batch.generator, dtype=z.dtype, device=z.device)
    u = match(t, z)
    loss: Tensor = (velocity((1 - u) * n + u * z, t, context) - (z - n)).square().mean()
    return loss


@dataclass(frozen=True)
class Amortised:
    """Draws from a conditional generative model: ``2 steps`` evaluations of its network, one less for diffusion."""

    model: Denoiser | Velocity
    steps: int

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """``E[x_0 | x_T]``, from the beginning of the path, where the model knows ``x_T`` only."""

        def work(x: Tensor) -> Tensor:
            context = self.model.frame.context(x)
            return self.model.frame.restore(self.model.expected(context), context, x)

        return chunked(work, final)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        """``n`` independent draws for each observation."""
        home = final.device if generator is None else generator.device

        def work(x: Tensor) -> Tensor:
            context = self.model.frame.context(x)
            like = context.centre
            noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=home).to(like.device)
            return self.model.frame.restore(self.model.draw(noise, context, self.steps), context, x)

        return chunked(work, final.repeat_interleave(n, dim=0)).reshape(len(final), n, *final.shape[1:])


def fit_conditional_diffusion(problem: Problem, *, steps: int = 32) -> Amortised:
    """Diffusion (Karras et al. 2022) of what the linear estimate misses, given ``x_T`` and that estimate."""
    if steps < 2:
        raise ValueError(f"`steps` must be at least 2, got {steps}.")
    return Amortised(train_denoiser(problem, conditional_frame(problem), groups=3), steps)


def fit_flow_matching(problem: Problem, *, steps: int = 32) -> Amortised:
    """Conditional flow matching (Lipman et al. 2023) of the same, with the same inputs."""
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}.")
    frame = conditional_frame(problem)
    network = build_backbone(frame, problem.settings, groups=3, seed=problem.seed)
    model = Velocity(frame, network).to(problem.device)
    problem.minimise(model, flow_error, estimates=frame.estimates)
    return Amortised(model, steps)
