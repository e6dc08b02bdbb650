"""The exact posterior of a process, or the stored reference of its test observations, as a method."""

from __future__ import annotations

__all__ = ["StoredPosterior", "fit_exact", "load_exact"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.evaluation.references import StoredReference, reference_for
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import Setup, loaded_by


@dataclass(frozen=True)
class StoredPosterior(Answer):
    """Draws and means of a stored reference, for its observations only.

    Args:
        reference: The reference.
    """

    reference: StoredReference

    def sample(
        self, final: Float[Tensor, "batch *state"], n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n *state"]:
        return self.reference.sample(final, n, generator=generator)

    def mean(self, final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.reference.mean_of(final)


def load_exact(setup: Setup, tensors: Mapping[str, Tensor]) -> Answer:
    """Return the exact posterior of a process again.

    Args:
        setup: What the run knows.
        tensors: None are needed.

    Returns:
        The exact posterior.
    """
    return _exact(setup)


@loaded_by(load_exact, trains=False)
def fit_exact(problem: Problem) -> Answer:
    """Return the exact posterior of a process, or the stored reference of its test observations.

    Args:
        problem: The process.

    Returns:
        The exact posterior.

    Raises:
        NotApplicableError: Where neither is known.
    """
    return _exact(problem.setup)


def _exact(setup: Setup) -> Answer:
    exact = setup.simulator.exact()
    if exact is not None:
        return exact
    stored = reference_for(setup.simulator)
    if stored is None:
        raise NotApplicableError("no exact posterior is known for this process.")
    if stored.info["seed"] != setup.seed:
        raise NotApplicableError(f"the stored reference is for the data of seed {stored.info['seed']}.")
    return StoredPosterior(stored)
