"""physinv's own method, its probability flow, the exact posterior and the linear estimate, as methods."""

from __future__ import annotations

__all__ = [
    "KINDS",
    "Kind",
    "StoredPosterior",
    "fit_exact",
    "fit_flow",
    "fit_linear_estimate",
    "fit_physinv",
    "kind_of",
    "load_exact",
    "load_flow",
    "load_linear_estimate",
    "load_physinv",
]

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.sde import Linear
from physinv.evaluation.references import StoredReference, reference_for
from physinv.methods.classical.linear_estimate import LinearEstimate, fit_linear
from physinv.methods.own_jumps import fit_jumps, load_jumps
from physinv.methods.own_score import Flow, fit_posterior, fit_score, load_posterior, load_score
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import Setup, loaded_by


@dataclass(frozen=True)
class Kind:
    """A kind of model that physinv's own method trains.

    Args:
        fit: Trains it.
        load: Makes its answer again from tensors.
    """

    fit: Callable[[Problem], Answer]
    load: Callable[[Setup, Mapping[str, Tensor]], Answer]


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


KINDS: dict[str, Kind] = {
    "score": Kind(fit_score, load_score),
    "jumps": Kind(fit_jumps, load_jumps),
}
"""Kinds of models by name; the name is what run files hold, as `model`."""


def kind_of(problem: Problem) -> str:
    """Return which kind of model suits a process, a name of :data:`KINDS`.

    Args:
        problem: The process and its data.
    """
    return "score" if isinstance(problem.simulator, Linear) else "jumps"


def load_physinv(setup: Setup, tensors: Mapping[str, Tensor]) -> Answer:
    """Load physinv's own method.

    Args:
        setup: What the run knows; its notes name the kind of model.
        tensors: What was fitted.

    Returns:
        The posterior.
    """
    return KINDS[setup.notes.get("model", "score")].load(setup, tensors)


@loaded_by(load_physinv, partial=True)
def fit_physinv(problem: Problem) -> Answer:
    """Train physinv's own method: the kind of model that suits the process.

    Args:
        problem: The process and its data.

    Returns:
        The trained posterior; for linear processes with a density.

    Raises:
        NotApplicableError: If final states of a linear process are observed in part: no training is needed for that.
    """
    kind = kind_of(problem)
    if problem.observed is not None and kind == "score":
        raise NotApplicableError(
            "`observe` is for nonlinear processes; of a linear one train on whole final states, and give `observe` to "
            "reconstruct."
        )
    return KINDS[kind].fit(problem)


def load_flow(setup: Setup, tensors: Mapping[str, Tensor]) -> Flow:
    """Load the probability flow of a score model.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The pre-image under the trained flow.
    """
    return Flow(load_posterior(setup, tensors))


@loaded_by(load_flow)
def fit_flow(problem: Problem) -> Flow:
    """Train the same score model, and solve the probability-flow ODE.

    Args:
        problem: The process and its data.

    Returns:
        The pre-image under the trained flow.

    References:
        Song et al. (2021), Score-based generative modeling through stochastic differential equations, eq. 13.
    """
    return Flow(fit_posterior(problem))


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


def load_linear_estimate(setup: Setup, tensors: Mapping[str, Tensor]) -> LinearEstimate:
    """Load the linear estimate.

    Args:
        setup: What the run knows.
        tensors: What was fitted.

    Returns:
        The linear estimate.
    """
    return LinearEstimate.from_tensors(setup.layout, tensors)


@loaded_by(load_linear_estimate, trains=False, partial=True)
def fit_linear_estimate(problem: Problem) -> LinearEstimate:
    """Fit the linear estimate (:func:`~physinv.methods.classical.linear_estimate.fit_linear`).

    Args:
        problem: The process and its data.

    Returns:
        The linear estimate.
    """
    return fit_linear(problem.simulator, problem.train, problem.valid)


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
