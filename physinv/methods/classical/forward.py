"""The observation model of the classical methods: ``x_T = F(x_0) + e``, ``F`` the noise-free solver, ``e ~ N(b, R)``.

``e`` is the noise of the whole trajectory, added at its end: exact for linear processes, an approximation for others,
where the noise is amplified on the way and depends on ``x_0`` (strong-constraint assimilation: Le Dimet and Talagrand
1986).  Of a process without noise ``x_0`` alone is unknown; there ``e`` is a thousandth of the deviation of ``x_T``, so
that the cost function has a scale, and what the process has damped below that is known from the prior.
"""

from __future__ import annotations

__all__ = ["FORGOTTEN", "SEEN", "Forward", "fit_forward", "load_forward"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.broadcast import default_batch
from physinv.equations.sde import Linear
from physinv.laws.covariance import Covariance, diagonal, isotropic
from physinv.methods.classical.gaussian_prior import FittedCovariance, fit_covariance
from physinv.methods.problem import NotApplicableError, Problem
from physinv.methods.saving import Setup, below, prefixed
from physinv.processes.simulator import Simulator

_LEAST = 1e-4  # of the mean variance of e: modes without noise (1 % in amplitude); keeps float32 solves sound
SEEN = 1e-3
"""Error with which final states of a process without noise count as seen, as a share of their deviation."""

FORGOTTEN = 1e-14
"""Of the variance of initial states: final states that vary less are rounding of float32."""

_NOISELESS = 1e-10  # of the variance of x_T: what rounding in float32 leaves


@dataclass(frozen=True)
class Forward:
    """The observation model ``x_T = F(x_0) + e``, ``e ~ N(b, R)``.

    Static channels, which are known, have no part in ``b`` and ``R``.

    Args:
        simulator: The process, whose noise-free solver is ``F``.
        bias: The mean ``b`` of the accumulated noise, ``(*moving)``, in the unit of the state.
        covariance: The covariance ``R`` of the accumulated noise, with its inverse root.
    """

    simulator: Simulator
    bias: Float[Tensor, "*moving"]
    covariance: Covariance

    def tensors(self) -> dict[str, Tensor]:
        """Return mean and covariance of the noise; nothing where the simulator knows them."""
        if not isinstance(self.covariance, FittedCovariance):
            return {}
        return {"bias": self.bias} | prefixed("covariance", self.covariance.parts)

    @property
    def at_once(self) -> int:
        """Count the states whose trajectories are recorded at once, for derivatives.

        A step of the solver keeps a few times the state, for particles one vector for each pair of them: on a CPU
        170 states of 16 particles, 1 GB a gradient, and more at once are no faster.
        """
        layout, numbers = self.simulator.layout, 2**17 if self.bias.device.type == "cpu" else 2**22
        return max(1, numbers // (layout.copies_per_step * math.prod(layout.shape)))

    def push(self, initial: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        """Return ``F(x_0)``, differentiable, in chunks that suit the device.

        Args:
            initial: Initial states ``x_0``.

        Returns:
            The final states without noise; linear processes take a single exact step.
        """
        sde = self.simulator
        if isinstance(sde, Linear):
            return sde.drift_flow(initial, initial.new_zeros(1), initial.new_full((1,), float(sde.horizon)))
        chunks = torch.split(initial, default_batch(initial))
        return torch.cat([sde.run(x, noise=False)[:, -1] for x in chunks])

    def whiten(self, residual: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        """Return ``R^(-1/2) residual`` of the moving part; linear and differentiable.

        Args:
            residual: Differences of final states.

        Returns:
            Flat vectors, standard normal for ``residual = e - b``.
        """
        return self.covariance.whiten(self.simulator.layout.moving(residual)).flatten(1)

    def misfit(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, "batch d"]:
        """Return ``R^(-1/2) (F(x_0) + b - x_T)``, standard normal at the true ``x_0``.

        Args:
            initial: Initial states ``x_0``.
            final: Observed final states ``x_T``.

        Returns:
            Flat vectors over the moving components.
        """
        gap = self.simulator.layout.moving(self.push(initial) - final) + self.bias.to(final)
        return self.covariance.whiten(gap).flatten(1)

    def log_likelihood(
        self, initial: Float[Tensor, "batch *state"], final: Float[Tensor, "batch *state"]
    ) -> Float[Tensor, " batch"]:
        """Return ``log p(x_T | x_0) = -|R^(-1/2) (x_T - b - F(x_0))|^2 / 2``, up to ``log det(2 pi R) / 2``.

        Args:
            initial: Initial states ``x_0``.
            final: Observed final states ``x_T``.

        Returns:
            Log likelihoods in nats.
        """
        return -self.misfit(initial, final).square().sum(1) / 2


@torch.no_grad()
def fit_forward(problem: Problem, *, trajectories: int = 400) -> Forward:
    """Fit mean and covariance of the accumulated noise.

    A linear process has ``b = 0`` and a known ``R``.  Otherwise both are estimated from the residuals
    ``x_T - F(x_0)`` of training trajectories, ``R`` in the form that
    :func:`~physinv.methods.classical.gaussian_prior.fit_covariance` chooses.  Modes without noise get 1e-4 of the mean
    variance.  Of a process without noise ``b = 0``, and ``R`` is :data:`SEEN` squared times the variance of ``x_T``.

    Args:
        problem: The process and its training data.
        trajectories: How many training trajectories the estimates use.

    Returns:
        The observation model.

    Raises:
        NotApplicableError: For data without physics, where final states do not vary, and where the noise-free solver
            diverges.
    """
    simulator = problem.simulator
    if not simulator.known:
        raise NotApplicableError("the physics must be known to be run forward; these data come without any.")
    if (known := _known_forward(problem.setup)) is not None:
        forward, size = known
    else:
        start, final = (problem.train.states(i, trajectories) for i in (0, -1))
        plain = Forward(simulator, final[0].new_zeros(()), isotropic(1.0))
        gap = simulator.layout.moving(final - plain.push(start)).double()
        gap = gap[gap.flatten(1).isfinite().all(1)]
        if len(gap) < 2:
            raise NotApplicableError("the noise-free solver diverges from the training states; there is no residual.")
        bias = gap.mean(0)
        size = float((gap - bias).square().mean())
        forward = Forward(simulator, bias, fit_covariance(gap - bias, simulator.layout, floor=_LEAST))
    final = simulator.layout.moving(problem.train.states(-1, trajectories)).double()
    spread = float((final - final.mean(0)).square().mean())
    begun = simulator.layout.moving(problem.train.states(0, trajectories)).double()
    if not spread > FORGOTTEN * float((begun - begun.mean(0)).square().mean()):
        raise NotApplicableError("final states do not vary, and tell nothing of initial states.")
    if size <= _NOISELESS * spread:
        seen = FittedCovariance.from_tensors({"variance": torch.full_like(final[0], SEEN**2 * spread)})
        return Forward(simulator, torch.zeros_like(final[0]), seen)
    return forward


def load_forward(setup: Setup, tensors: Mapping[str, Tensor]) -> Forward:
    """Make an observation model again.

    Args:
        setup: What the run knows.
        tensors: What :meth:`Forward.tensors` returned.

    Returns:
        The observation model.
    """
    if (known := _known_forward(setup)) is not None:
        return known[0]
    covariance = FittedCovariance.from_tensors(below("covariance", tensors))
    return Forward(setup.simulator, tensors["bias"], covariance)


def _known_forward(setup: Setup) -> tuple[Forward, float] | None:
    """The observation model of a linear process with noise, and the mean variance of that."""
    simulator = setup.simulator
    if not isinstance(simulator, Linear) or simulator.noise == 0:
        return None
    like = torch.zeros((1, *simulator.shape), dtype=torch.float64, device=setup.device)
    variance = simulator.variance(0.0, like.new_full((1,), float(simulator.horizon)), like)[0]
    size = float(variance.mean())
    covariance = diagonal(simulator.modes, simulator.unmodes, variance.clamp(min=_LEAST * size))
    return Forward(simulator, torch.zeros_like(like[0]), covariance), size
