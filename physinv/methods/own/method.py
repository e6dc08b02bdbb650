"""physinv's own method, by the kind of model that suits a process, and its probability flow."""

from __future__ import annotations

__all__ = ["KINDS", "Kind", "fit_flow", "fit_physinv", "kind_of", "load_flow", "load_physinv"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from physinv.equations.sde import Linear
from physinv.methods.own.jumps import load_jumps
from physinv.methods.own.score import Flow, fit_posterior, fit_score, load_posterior, load_score
from physinv.methods.own.training import fit_jumps
from physinv.methods.problem import Answer, NotApplicableError, Problem
from physinv.methods.saving import Setup, loaded_by
from physinv.training.objectives.registry import AUTO


@dataclass(frozen=True)
class Kind:
    """A kind of model that physinv's own method trains.

    Args:
        fit: Trains it.
        load: Makes its answer again from tensors.
    """

    fit: Callable[[Problem], Answer]
    load: Callable[[Setup, Mapping[str, Tensor]], Answer]


KINDS: dict[str, Kind] = {
    "score": Kind(fit_score, load_score),
    "jumps": Kind(fit_jumps, load_jumps),
}
"""Kinds of models by name; the name is what run files hold, as `model`."""


def kind_of(problem: Problem) -> str:
    """Return which kind of model suits a process, a name of :data:`KINDS`.

    Whoever names an objective wants a score model: jump kernels have one of their own.

    Args:
        problem: The process and its data.
    """
    named = problem.settings.loss != AUTO and problem.observed is None
    return "score" if named or isinstance(problem.simulator, Linear) else "jumps"


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
