"""A cost function of fields for any observation, and its average inverse Hessian, which preconditions it."""

from __future__ import annotations

__all__ = ["Curvature", "fit_curvature"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.methods.classical.gaussian_prior import FittedCovariance, GaussianPrior, fit_gaussian_prior
from physinv.methods.classical.minimise import Precondition
from physinv.methods.classical.noisy_path import NoisyPath, PathCost
from physinv.methods.classical.record_objective import average_inverse
from physinv.methods.problem import Problem
from physinv.methods.saving import below, prefixed
from physinv.processes.simulator import Simulator

_PROBED, _PROBES = 4, 24  # validation states whose derivatives are taken, and products with all of them


@dataclass(frozen=True)
class Curvature:
    """A cost function for any observation, and its inverse Hessian as it is on average, which preconditions it.

    Args:
        path: The physics with its noise.
        prior: The Gaussian prior.
        average: The inverse Hessian, mode by mode, with the parts of the time as channels.
    """

    path: NoisyPath
    prior: GaussianPrior
    average: FittedCovariance

    def cost(self, final: Float[Tensor, "batch *state"]) -> PathCost:
        """Return the cost function of final states.

        Args:
            final: Observed final states ``x_T``.
        """
        return PathCost(self.path, self.prior, final, precondition=lambda v: self._mapped(v, self.average.apply))

    def root(self, v: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
        """Return the product with the root of the average inverse Hessian.

        Args:
            v: Coordinates.
        """
        return self._mapped(v, self.average.root)

    def tensors(self) -> dict[str, Tensor]:
        """Return the law of the noise and the average inverse Hessian."""
        return prefixed("path", self.path.tensors()) | prefixed("average", self.average.parts)

    @staticmethod
    def from_tensors(simulator: Simulator, prior: GaussianPrior, tensors: Mapping[str, Tensor]) -> Curvature:
        """Make it of what :meth:`tensors` returned.

        Args:
            simulator: The process.
            prior: The Gaussian prior.
            tensors: The tensors.

        Returns:
            The curvature.
        """
        path = NoisyPath.from_tensors(simulator, below("path", tensors))
        return Curvature(path, prior, FittedCovariance.from_tensors(below("average", tensors)))

    def _mapped(self, v: Tensor, by: Precondition) -> Tensor:
        channels, *space = self.prior.mean.shape
        return by(v.reshape(len(v), self.path.parts * channels, *space)).flatten(1)


def fit_curvature(problem: Problem, path: NoisyPath, *, generator: torch.Generator | None = None) -> Curvature:
    """Fit the average inverse Hessian to derivatives at a few validation states.

    Args:
        problem: The process and its data.
        path: The physics with its noise.
        generator: Source of the white noise of the products, on the device of the data.

    Returns:
        The curvature.
    """
    prior, layout = fit_gaussian_prior(problem), problem.train.layout
    cost = PathCost(path, prior, problem.valid.states(-1, limit=_PROBED))
    local = cost.linearise(cost.without_noise(problem.valid.states(0, limit=_PROBED)))
    channels, *space = prior.mean.shape
    shape, probes = (path.parts * channels, *space), -(-_PROBES // len(cost.final))
    return Curvature(path, prior, average_inverse(local, shape, layout, probes, generator))
