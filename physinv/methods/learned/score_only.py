"""A learned score without physics: the reversal of ``dx = g dW``, whose score has to know the drift as well."""

from __future__ import annotations

__all__ = ["Driftless", "Reversed", "fit_score_only", "load_score_only"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import expand
from physinv.equations.multiplicative import Multiplicative
from physinv.equations.sde import SDE
from physinv.methods.problem import NotApplicableError, Problem
from physinv.methods.reverse import ReverseAnswer, load_score_model
from physinv.methods.saving import Setup, loaded_by
from physinv.models.build import build_model
from physinv.posterior.posterior import Posterior
from physinv.processes.layout import StateLayout


class Driftless(SDE):
    """``dx = g dW`` with the noise, and the symmetries, of ``sde``.

    The trajectory loss asks its reversal, ``dx = -g^2 s dt + g dW``, to follow data of ``dx = f dt + g dW``; its
    minimiser is ``s = grad log p_t - f / g^2``.  A smoother as reference law then predicts each state from the next one
    without physics.

    Args:
        sde: The process with its physics.
    """

    def __init__(self, sde: SDE) -> None:
        self.sde = sde

    def drift(self, x: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return torch.zeros_like(x)

    def drift_flow(self, x: Float[Tensor, "batch *state"], t0: Tensor, t1: Tensor) -> Float[Tensor, "batch *state"]:
        return x

    def diffusion(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."] | float:
        return self.sde.diffusion(t)

    def diffuse(self, v: Float[Tensor, "batch *state"], t: Float[Tensor, " batch"]) -> Float[Tensor, "batch *state"]:
        return self.sde.diffuse(v, t)

    def images(self, x: Float[Tensor, "batch *state"]) -> list[Float[Tensor, "batch *state"]]:
        return self.sde.images(x)


@dataclass(frozen=True)
class Reversed(ReverseAnswer):
    """The posterior of the reversal; its mean is the reversal without noise, its static channels are those of ``x_T``.

    Args:
        posterior: The posterior around :class:`Driftless`.
        layout: Which channels are static.
    """

    layout: StateLayout

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self._known(self.posterior.mean_flow(final.float()).to(final.dtype), final)

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        draws = self.posterior.draws(final.float(), n, generator=generator).to(final.dtype)
        return self._known(draws, final[:, None])

    def _known(self, x: Tensor, final: Tensor) -> Tensor:
        for name, place in self.layout.parts():
            if name in self.layout.static:
                x[(..., *place)] = final[(..., *place)]
        return x


def load_score_only(setup: Setup, tensors: Mapping[str, Tensor]) -> Reversed:
    """Load a score model around :class:`Driftless`.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The trained posterior.
    """
    sde = Driftless(setup.simulator)
    return Reversed(Posterior(sde, load_score_model(setup, sde, tensors), setup.times), setup.layout)


@loaded_by(load_score_only)
def fit_score_only(problem: Problem) -> Reversed:
    """Train physinv's own score model around :class:`Driftless`: the score has to learn the physics as well.

    Args:
        problem: The process and its data.

    Returns:
        The trained posterior.

    Raises:
        NotApplicableError: Where the noise depends on the state, or leaves out part of it: there ``f / g^2`` is
            infinite.
    """
    simulator, data = problem.simulator, problem.train
    if isinstance(simulator, Multiplicative):
        raise NotApplicableError("a score without physics needs noise that does not depend on the state.")
    x = data.states(0, limit=1)
    g = data.layout.moving(expand(simulator.diffusion(x.new_zeros(1)), x).expand_as(x))
    if not bool((g > 0).all()):
        raise NotApplicableError("without physics nothing moves what has no noise of its own; this process needs it.")
    sde = Driftless(simulator)
    model = build_model(sde, data, problem.settings, seed=problem.seed).to(problem.device)
    problem.minimise_windows(model, sde)
    return Reversed(Posterior(sde, model.eval(), data.times), data.layout)
