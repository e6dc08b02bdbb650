"""The cost function of an initial state and of the noise on the way: weak-constraint 4D-Var without matrices.

    J(u, w) = (|u|^2 + |w_1|^2 + ... + |w_m|^2) / 2,   x_0 = m + S^(1/2) u,   x_i = F_i(x_{i-1}) + b_i + Q_i^(1/2) w_i

with the physics ``F_i`` without noise over the i-th part of the time, and the law ``N(b_i, Q_i)`` of what the noise
adds until its end.  ``w_m`` is not free: it takes ``x_m`` to the observed final state.  Noise that is added early is
carried along and drawn out by the physics, which one law of all noise at the end (strong-constraint 4D-Var:
:mod:`~physinv.methods.classical.forward`) knows nothing about.

References:
    Tremolet (2006), Accounting for an imperfect model in 4D-Var.
"""

from __future__ import annotations

__all__ = ["NoisyPath", "PathCost", "fit_noisy_path"]

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.methods.classical.forward import SEEN
from physinv.methods.classical.gaussian_prior import FittedCovariance, GaussianPrior, fit_covariance
from physinv.methods.classical.minimise import LeastSquares
from physinv.methods.problem import NotApplicableError, Problem
from physinv.methods.saving import below, prefixed
from physinv.processes.simulator import Simulator

_LEAST = 1e-4  # of the mean variance of what the noise adds: modes without noise
_QUIET = 1e-10  # of the variance of states: what rounding leaves of a process without noise


@dataclass(frozen=True)
class NoisyPath:
    """What the noise adds in each part of the time.

    Args:
        simulator: The process.
        times: Ends of the parts, from 0 to T.
        bias: Means ``b_i``.
        covariances: Covariances ``Q_i``.
    """

    simulator: Simulator
    times: Float[Tensor, " ends"]
    bias: Float[Tensor, "parts *moving"]
    covariances: tuple[FittedCovariance, ...]

    @property
    def parts(self) -> int:
        """Number of parts of the time."""
        return len(self.covariances)

    def tensors(self) -> dict[str, Tensor]:
        """Return times, means and covariances."""
        found = {"times": self.times, "bias": self.bias}
        for i, covariance in enumerate(self.covariances):
            found |= prefixed(f"part-{i}", covariance.parts)
        return found

    @staticmethod
    def from_tensors(simulator: Simulator, tensors: Mapping[str, Tensor]) -> NoisyPath:
        """Make it of what :meth:`tensors` returned.

        Args:
            simulator: The process.
            tensors: The tensors.

        Returns:
            The physics with its noise.
        """
        parts = range(len(tensors["bias"]))
        covariances = tuple(FittedCovariance.from_tensors(below(f"part-{i}", tensors)) for i in parts)
        return NoisyPath(simulator, tensors["times"].double().cpu(), tensors["bias"], covariances)

    def carried(self, x: Float[Tensor, "batch *state"], part: int) -> Float[Tensor, "batch *state"]:
        """Return the states at the end of a part, without its noise but with the mean of that; differentiable.

        Args:
            x: States at its beginning.
            part: Number of the part.
        """
        reached = self.simulator.run(x, self.times[part : part + 2], noise=False)[:, -1]
        layout = self.simulator.layout
        return layout.set_moving(layout.moving(reached) + self.bias[part].to(reached), reached)


@dataclass(frozen=True)
class PathCost(LeastSquares):
    """The cost function ``J`` of final states; its coordinates are ``u, w_1, ..., w_{m-1}`` one after the other.

    Args:
        path: What the noise adds.
        prior: The Gaussian prior.
        final: Observed final states ``x_T``.
    """

    path: NoisyPath
    prior: GaussianPrior
    final: Float[Tensor, "batch *state"]

    def residual(self, u: Float[Tensor, "batch d"]) -> Float[Tensor, "batch r"]:
        layout, path, (first, *noise) = self.prior.layout, self.path, self._blocks(u)
        x = self.prior.root(first.flatten(1), self.final)
        for i, w in enumerate(noise):
            x = path.carried(x, i)
            x = layout.set_moving(layout.moving(x) + path.covariances[i].root(w), x)
        gap = layout.moving(path.carried(x, path.parts - 1) - self.final)
        return path.covariances[-1].whiten(gap).flatten(1)

    def initial(self, u: Float[Tensor, "batch d"]) -> Float[Tensor, "batch *state"]:
        """Return the initial states of coordinates.

        Args:
            u: Coordinates.
        """
        return self.prior.root(self._blocks(u)[0].flatten(1), self.final)

    def without_noise(self, initial: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        """Return the coordinates of initial states after which there is no noise before the last part.

        Args:
            initial: Initial states ``x_0``.
        """
        u = self.prior.standardise(initial)
        return torch.cat([u, u.new_zeros(len(u), (self.path.parts - 1) * u.shape[1])], dim=1)

    def _blocks(self, u: Tensor) -> list[Tensor]:
        return list(u.reshape(len(u), self.path.parts, *self.prior.mean.shape).unbind(1))


@torch.no_grad()
def fit_noisy_path(problem: Problem, *, trajectories: int, most: int = 4) -> NoisyPath:
    """Fit what the noise adds between stored times of training trajectories.

    Of a process without noise the time has one part, at whose end the final state is seen as by
    :func:`~physinv.methods.classical.forward.fit_forward`.

    Args:
        problem: The process and its data.
        trajectories: How many trajectories the fit uses.
        most: Most parts of the time; they begin and end at stored times.

    Returns:
        The law of the noise.

    Raises:
        NotApplicableError: For data without physics, and where the noise-free solver diverges.
    """
    simulator, data = problem.simulator, problem.train
    if not simulator.known:
        raise NotApplicableError("the physics must be known to be run forward; these data come without any.")
    stored = len(data.times) - 1
    ends = torch.linspace(0, stored, min(most, stored) + 1).round().long().tolist()
    final = simulator.layout.moving(data.states(-1, trajectories)).double()
    spread = float((final - final.mean(0)).square().mean())

    # The residuals of the solver in each part.
    bias, covariances, size = [], [], 0.0
    for i, j in itertools.pairwise(ends):
        start, reached = data.states(i, trajectories), data.states(j, trajectories)
        times = data.times[[i, j]]
        gap = simulator.layout.moving(reached - simulator.run(start, times, noise=False)[:, -1]).double()
        gap = gap[gap.flatten(1).isfinite().all(1)]
        if len(gap) < 2:
            raise NotApplicableError("the noise-free solver diverges from the training states; there is no residual.")
        bias.append(gap.mean(0))
        covariances.append(fit_covariance(gap - gap.mean(0), simulator.layout, floor=_LEAST))
        size = max(size, float((gap - gap.mean(0)).square().mean()))
    if not math.isfinite(spread) or size <= _QUIET * spread:
        seen = FittedCovariance.from_tensors({"variance": torch.full_like(final[0], SEEN**2 * spread)})
        return NoisyPath(simulator, data.times[[0, -1]], torch.zeros_like(final[:1]), (seen,))
    return NoisyPath(simulator, data.times[ends], torch.stack(bias), tuple(covariances))
