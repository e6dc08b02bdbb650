"""physinv's own method for nonlinear fields: one jump from T to 0 beside the score model."""

from __future__ import annotations

__all__ = ["FieldAnswer", "fit_fields", "load_fields"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.methods.own_score import OwnPosterior, fit_posterior, load_posterior
from physinv.methods.problem import Problem
from physinv.methods.saving import Setup, below, prefixed
from physinv.models.jumps.field import FieldJumps, empty_field_jumps, fit_field_jumps
from physinv.posterior.jumps import JumpPosterior
from physinv.training.jump_pairs import choose_fresh

_SHARE = 0.15  # of the budget: what the score model gets, which serves trajectories and partial observations
_BATCH, _PAIRS = 32, 512  # of the training of jumps, where the settings leave them open


@dataclass(frozen=True)
class FieldAnswer(OwnPosterior):
    """The posterior by one jump from the last stored time to the first, beside the score model.

    Args:
        posterior: The posterior of the score model.
        kernel: The jump kernels, of which the first leads from T to 0.
    """

    kernel: FieldJumps

    @property
    def steps(self) -> int | None:
        return None

    @property
    def jump(self) -> JumpPosterior:
        """The posterior by the longest jump."""
        return JumpPosterior(self.kernel, [self.kernel.jumps[:1]])

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        return self.jump.sample(final, n, generator=generator)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.jump.mean(final)

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and tables of the score model and of the jump kernels."""
        return prefixed("score", super().tensors()) | prefixed("jumps", dict(self.kernel.state_dict()))

    def notes(self) -> dict[str, Any]:
        return {**super().notes(), "model": "fields"}


def fit_fields(problem: Problem) -> FieldAnswer:
    """Train a score model in a small share of the budget, and jumps in the rest.

    Args:
        problem: The process and its data.

    Returns:
        The trained posterior.
    """
    posterior = fit_posterior(problem.part("score", share=_SHARE))
    rest, settings = problem.part("jumps", share=1 - _SHARE, begun=_SHARE), _settings(problem.settings)
    if settings.fresh == "auto" and choose_fresh("auto", posterior.sde) == "states":
        settings = settings.model_copy(update={"fresh": "noise"})  # initial states may cost far more than trajectories
    stream = seeds(problem.seed).child("jumps")
    kernel = fit_field_jumps(posterior.sde, problem.train, settings, seed=stream)
    rest.minimise_jumps(kernel.to(problem.device), posterior.sde, settings)
    kernel.finish(problem.valid, seed=stream)
    return FieldAnswer(posterior, kernel.eval())


def load_fields(setup: Setup, tensors: Mapping[str, Tensor]) -> FieldAnswer:
    """Load what :func:`fit_fields` returned.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The posterior.
    """
    posterior = load_posterior(setup, below("score", tensors))
    kernel = empty_field_jumps(posterior.sde, setup.times, setup.layout, _settings(setup.settings))
    kernel.load_state_dict(below("jumps", tensors))
    return FieldAnswer(posterior, kernel.to(setup.device).eval())


def _settings(settings: Settings) -> Settings:
    """Settings of the training of jumps, where they are left open."""
    found = {k: v for k, v in {"batch": _BATCH, "validate_windows": _PAIRS}.items() if not getattr(settings, k)}
    return settings.model_copy(update=found | {"windows": (2,)})
