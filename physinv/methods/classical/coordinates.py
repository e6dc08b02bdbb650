"""Coordinates of initial states in which their law is standard normal: what classical methods move in.

A Gaussian prior has them in closed form (:mod:`~physinv.methods.classical.gaussian_prior`).  A learned one has them by
its probability flow, ``x_0 = decode(u)``.  In them 4D-Var with a prior that is not Gaussian is the same least-squares
problem as ever,

    J(u) = |u|^2 / 2 + |r(decode(u))|^2 / 2,

and Monte Carlo under ``|u|^2 / 2`` draws from the law of ``decode(u)`` exactly, since no density of ``x_0`` enters.

References:
    Parno and Marzouk (2018), Transport map accelerated Markov chain Monte Carlo.
"""

from __future__ import annotations

__all__ = ["ControlVariable", "Coordinates", "PriorCoordinates", "coordinates_of", "given_prior"]

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.laws.covariance import Covariance
from physinv.laws.prior import Prior
from physinv.methods.classical.gaussian_prior import GaussianPrior, fit_gaussian_prior, gaussian_prior_of
from physinv.methods.problem import NotApplicableError, Problem


@runtime_checkable
class ControlVariable(Protocol):
    """What the cost functions ask of a law of initial states: the states at standard normal coordinates."""

    @property
    def mean(self) -> Float[Tensor, "*moving"]:
        """Mean of the moving part of initial states."""

    def root(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return the states at coordinates, differentiable.

        Args:
            u: Standard normal coordinates; ``d`` counts the moving components.
            final: Final states ``x_T``, whose static channels are copied.
        """


@runtime_checkable
class Coordinates(ControlVariable, Protocol):
    """What methods ask of a prior beside its states: where a search begins, and by what it is preconditioned."""

    @property
    def covariance(self) -> Covariance:
        """Covariance of the moving part of initial states."""

    def standardise(self, initial: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        """Return the coordinates of states, at least nearly.

        Args:
            initial: Initial states ``x_0``.
        """

    def tensors(self) -> dict[str, Tensor]:
        """Return what was fitted."""


@dataclass(frozen=True)
class PriorCoordinates(Coordinates):
    """The coordinates of a prior that was learned or given.

    Args:
        prior: The prior.
        gaussian: The Gaussian law with mean and covariance of the initial states of the data.
    """

    prior: Prior
    gaussian: GaussianPrior

    @property
    def mean(self) -> Float[Tensor, "*moving"]:
        return self.gaussian.mean

    @property
    def covariance(self) -> Covariance:
        return self.gaussian.covariance

    def root(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return self.prior.decode(u).to(final)

    def standardise(self, initial: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        return self.prior.encode(initial.to(torch.float32)).to(initial)

    def tensors(self) -> dict[str, Tensor]:
        raise ValueError("`prior` is a run of its own, which stays where it is; an answer with it can't be saved.")


def coordinates_of(problem: Problem) -> Coordinates:
    """Return the coordinates of the prior that a problem gives, else of the Gaussian one of its process or data.

    Args:
        problem: The process, its data, and its prior.

    Raises:
        NotApplicableError: If a prior is given and parameters are unknown, or the process has static channels.
    """
    if problem.prior is None:
        return fit_gaussian_prior(problem)
    static = problem.simulator.layout.static
    if static:
        raise NotApplicableError(f"a given prior is a law of moving states, and {', '.join(static)} is static here.")
    gaussian = gaussian_prior_of(problem.simulator, problem.train.states(0), known=False)
    return PriorCoordinates(problem.prior, gaussian)


def given_prior(prior: Coordinates) -> PriorCoordinates | None:
    """Return the coordinates where they are those of a prior that was given; None for the process' own.

    Args:
        prior: Coordinates.
    """
    return prior if isinstance(prior, PriorCoordinates) else None
