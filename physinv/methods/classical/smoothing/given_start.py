"""Trajectories given initial states and a record: the noise on the way, whoever drew the initial states.

Given ``x_0`` a path is fixed by the standard normal noise ``w`` of every solver step, whose density given the observed
numbers is known up to a constant,

    -log p(w | x_0, y) = |w|^2 / 2 + |r(x_0, w)|^2 / 2,   r = (H x_t - y) / sigma.

Each initial state has a Laplace approximation of its own, at the minimum that a few Gauss-Newton steps find, and a
draw of it is moved by Hamiltonian Monte Carlo under the exact density.  So trajectories are draws of ``p(paths | y)``
as far as the initial states are draws of ``p(x_0 | y)``, which stay what they are.  Where the process is linear the
approximation is exact.  No density of initial states is needed, and unknown parameters that are static parts of states
stay with them.
"""

from __future__ import annotations

__all__ = ["NoiseObjective", "trajectories_given"]

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.equations.multiplicative import Multiplicative
from physinv.equations.sde import Linear
from physinv.laws.covariance import Covariance, isotropic
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.coordinates import Coordinates
from physinv.methods.classical.monte_carlo.chain import LEAPS, walk, warn_of_far
from physinv.methods.classical.monte_carlo.initial_law import InitialLaw
from physinv.methods.classical.monte_carlo.laplace import descend
from physinv.methods.classical.monte_carlo.path import PathModel, PathObjective
from physinv.methods.classical.record_objective import quiet, states_at
from physinv.methods.problem import NotApplicableError
from physinv.posterior.several_times.frames import frames_at
from physinv.processes.simulator import Simulator, refine

_DESCENTS = 3  # Gauss-Newton steps from no noise at all
_BEGIN = 0.4  # length of the first steps
_NUMBERS = 2**25  # numbers in the derivatives that are kept at once


@dataclass(frozen=True)
class NoiseObjective(PathObjective):
    """Minus the log density of the noise on the way, given initial states and a record.

    Args:
        start: Initial states, one for each row.
    """

    start: Float[Tensor, "batch *state"] = field(kw_only=True)

    @property
    def numbers(self) -> int:
        """The length of ``w``."""
        return super().numbers - self.model.law.numbers

    def residual(self, c: Float[Tensor, "batch D"]) -> Float[Tensor, "batch r"]:
        return super().residual(torch.cat([self.start.flatten(1).to(c), c], 1))

    def value(self, c: Float[Tensor, "batch D"]) -> Float[Tensor, " batch"]:
        return (c.double().square().sum(1) + self.residual(c).double().square().sum(1)) / 2

    def rows(self, index: Tensor | slice) -> NoiseObjective:
        found = super().rows(index)
        assert isinstance(found, NoiseObjective)
        return replace(found, start=self.start[index])


@dataclass(frozen=True)
class _Unchanged(Coordinates):
    """States as their own coordinates."""

    shape: tuple[int, ...]

    @property
    def mean(self) -> Float[Tensor, "*moving"]:
        return torch.zeros(self.shape)

    @property
    def covariance(self) -> Covariance:
        return isotropic(1.0)

    def root(self, u: Float[Tensor, "batch d"], final: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
        return u.reshape(final.shape)

    def standardise(self, initial: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch d"]:
        return initial.flatten(1)

    def tensors(self) -> dict[str, Tensor]:
        return {}


@torch.no_grad()
def trajectories_given(
    simulator: Simulator,
    record: ObservationRecord,
    starts: Float[Tensor, "batch n *state"],
    y: Float[Tensor, "batch seen"],
    times: Sequence[float],
    n_gradients: int,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch n time *state"]:
    """Draw a trajectory from each initial state, given a record; what comes after its last time is a forecast.

    Args:
        simulator: The process.
        record: What is seen of its states at which times.
        starts: Initial states, n for each row of observed numbers.
        y: Observed numbers, NaN where one is missing.
        times: Times, 0 or later, in any order.
        n_gradients: Gradients by which each draw of the noise is moved, rounded down to a multiple of 4.
        generator: Source of randomness, on the device of the states.

    Returns:
        One trajectory for each initial state, which it begins at.

    Raises:
        NotApplicableError: For processes without physics, with noise that depends on the state, or with steps that do
            not end at these times.
    """
    if not simulator.known:
        raise NotApplicableError("the physics must be known for states at later times; leave `frames` out.")
    if isinstance(simulator, Multiplicative):
        raise NotApplicableError("the noise depends on the state; leave `frames` out, or take importance.")
    still = quiet(simulator)

    def inside(early: list[float]) -> Tensor:
        if still or early == [0.0]:
            found = states_at(simulator, starts.flatten(0, 1), early)
            return found.reshape(*starts.shape[:2], *found.shape[1:])
        model = _model(simulator, record, early, starts.device)
        n, D = starts.shape[1], model.numbers(whole=True)
        seen = record.accepted(y, starts.new_zeros((1, *simulator.shape))).repeat_interleave(n, 0)
        size = max(1, _NUMBERS // (max(1, seen.shape[1]) * D))
        parts = [
            _drawn(model, record, x, numbers, early, n_gradients, generator)
            for x, numbers in zip(torch.split(starts.flatten(0, 1), size), torch.split(seen, size), strict=True)
        ]
        warn_of_far(torch.cat([residual for _, residual in parts]))
        return torch.cat([states for states, _ in parts]).reshape(*starts.shape[:2], len(early), *starts.shape[2:])

    return frames_at(simulator, times, max(record.times), inside, generator=generator)


def _model(simulator: Simulator, record: ObservationRecord, times: Sequence[float], device: torch.device) -> PathModel:
    """Coordinates of paths, whose first ones are the initial states themselves."""
    stored, counts = simulator.intervals()
    grid = stored[[0, -1]].tolist() if isinstance(simulator, Linear) else refine(stored, counts).tolist()
    law = InitialLaw(_Unchanged(tuple(simulator.shape)))
    whitening = torch.eye(math.prod(simulator.shape), device=device)  # final states are not seen without noise
    return PathModel(simulator, law, tuple(grid), whitening).through((*times, *record.times))


def _drawn(
    model: PathModel,
    record: ObservationRecord,
    start: Tensor,
    seen: Tensor,
    times: Sequence[float],
    n_gradients: int,
    generator: torch.Generator | None,
) -> tuple[Float[Tensor, "batch time *state"], Float[Tensor, "batch r"]]:
    """States of paths from some initial states, and how far they are from what is seen."""
    objective = NoiseObjective(model, torch.zeros_like(start), record, seen, start=start)
    near = descend(objective, start.new_zeros((len(start), objective.numbers)), _DESCENTS)
    shape = (len(start), 1, objective.numbers)
    xi = torch.randn(shape, generator=generator, dtype=start.dtype, device=start.device)
    if iterations := n_gradients // LEAPS:
        lengths = start.new_full((len(start),), _BEGIN)
        xi = walk(objective, near, xi, lengths, iterations, adapt=True, kept=0, generator=generator).xi
    noise = near.path(xi)[:, 0]
    path = torch.cat([start.flatten(1), noise], 1)
    return model.states(path, torch.zeros_like(start), times), objective.residual(noise)
