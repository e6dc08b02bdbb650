"""The law of initial states as a method: what is known before anything is observed, for others to use."""

from __future__ import annotations

__all__ = ["PriorAnswer", "fit_prior_run", "load_prior_run"]

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import seeds
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import Setup, loaded_by
from physinv.posterior.learned_prior import LearnedPrior, start_prior

_DRAWS = 64  # that a mean is taken over


@dataclass(frozen=True)
class PriorAnswer(Answer):
    """Draws of the initial states before anything is observed: the same law whatever is, to compare posteriors with.

    Args:
        law: The learned law.
        seed: Seed of the draws behind :meth:`mean`.
    """

    law: LearnedPrior
    seed: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return all that was fitted."""
        return self.law.tensors()

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        drawn = self.law.draw(n * len(final), generator=generator)
        return drawn.reshape(len(final), n, *drawn.shape[1:])

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        generator = seeds(self.seed).child("method", "mean").generator(final.device)
        drawn = self.law.draw(_DRAWS, generator=generator)
        return drawn.mean(0).expand(len(final), *drawn.shape[1:])


def load_prior_run(setup: Setup, tensors: Mapping[str, Tensor]) -> PriorAnswer:
    """Load a learned prior.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The law of initial states.
    """
    return PriorAnswer(
        LearnedPrior.from_tensors(tensors, setup.layout, setup.settings, device=setup.device), setup.seed
    )


@loaded_by(load_prior_run)
def fit_prior_run(problem: Problem) -> PriorAnswer:
    """Learn the law of initial states by a diffusion model (:func:`~physinv.posterior.learned_prior.fit_prior`).

    Args:
        problem: The data, of which the first states count; the process plays no part.

    Returns:
        The law of initial states.

    Raises:
        NotApplicableError: For states that are neither vectors nor fields, or have static parts.
    """
    stream = seeds(problem.seed).child("prior")
    problem.say("fit of the reference law")
    try:
        start = start_prior(problem.train, problem.valid, problem.settings, seed=stream)
    except ValueError as error:
        raise NotApplicableError(str(error)) from None
    model = start.prior.model
    model.mixed = problem.mixed
    noised = replace(problem, train=start.train, valid=start.valid)
    noised.minimise_windows(model, start.prior.process, seed=stream)
    model.mixed = False  # bfloat16 is for training alone
    return PriorAnswer(replace(start.prior, model=model.eval().requires_grad_(False)), problem.seed)
