"""The cost function of initial states given a record: what strong-constraint 4D-Var minimises.

    J(u) = |u|^2 / 2 + |r(u)|^2 / 2,   r(u) = E^(-1/2) (H(F(m + S^(1/2) u)) + b - y)

with the noise-free solver ``F``, the operators ``H`` of the record, and errors ``N(b, E)`` of what is seen: the noise
of the sensors, and what they see of the noise on the way.
"""

from __future__ import annotations

__all__ = ["RecordObjective", "SeenErrors", "average_inverse", "fit_seen_errors", "frames_from", "quiet", "states_at"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, as_times
from physinv.config.seeds import seeds
from physinv.laws.observation import jacobian
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.coordinates import ControlVariable
from physinv.methods.classical.forward import Forward
from physinv.methods.classical.gaussian_prior import FittedCovariance, fit_covariance
from physinv.methods.classical.minimise import LeastSquares, Linearised
from physinv.processes.layout import StateLayout, VectorLayout
from physinv.processes.simulator import Simulator

_PROBES = 6  # products with white noise that the preconditioner is made of
_PAIRS = 200  # pairs of runs from which errors at times before the last are estimated


@dataclass(frozen=True)
class SeenErrors:
    """What a record sees of the noise on the way, beside the noise of its sensors.

    Args:
        bias: Mean of what is seen with noise, minus what is seen without.
        covariance: Covariance of that, without the noise of the sensors.
    """

    bias: Float[Tensor, " seen"]
    covariance: Float[Tensor, "seen seen"]


@dataclass(frozen=True)
class RecordObjective(LeastSquares):
    """The cost function of initial states, given observed numbers.

    Args:
        simulator: The process.
        prior: ControlVariable of the prior.
        record: What is seen at which times.
        seen: Observed numbers, NaN where one is missing.
        errors: What is seen of the noise on the way; None: the process has none.
        soft: Factor of all errors.
        begin: Time of the state that is sought.
    """

    simulator: Simulator
    prior: ControlVariable
    record: ObservationRecord
    seen: Float[Tensor, "batch seen"]
    errors: SeenErrors | None = None
    soft: float = 1.0
    begin: float = 0.0

    def residual(self, u: Float[Tensor, "batch d"]) -> Float[Tensor, "batch seen"]:
        like = u.new_zeros((len(u), *self.simulator.shape))
        states = states_at(self.simulator, self.prior.root(u, like), self.record.times, self.begin)
        if self.errors is None:
            return self.record.residual(self.seen, states) / self.soft
        there = self.seen.isfinite()
        gap = self.record.clean(states) + self.errors.bias.to(u) - torch.where(there, self.seen, 0.0)
        gap = torch.where(there, gap, torch.zeros_like(gap))
        white: Tensor = torch.linalg.solve_triangular(self._root(there), gap[:, :, None], upper=False)[:, :, 0]
        return white / self.soft

    def within(self, begin: float, soft: float, prior: ControlVariable) -> RecordObjective:
        """Return the cost function of the state at a later time, given what is seen from then on.

        Args:
            begin: The time.
            soft: Factor of all errors.
            prior: The law of the state at that time.

        Returns:
            The cost function, with the entries of the record from that time on.
        """
        if begin <= 0:
            return replace(self, soft=soft)
        sizes = self.record.sizes(self.seen.new_zeros((1, *self.simulator.shape)))
        kept = [min(entry.times) >= begin for entry in self.record.entries]
        columns = torch.cat([torch.full((size,), k) for size, k in zip(sizes, kept, strict=True)]).to(self.seen.device)
        entries = [(e.times, e.observation) for e, k in zip(self.record.entries, kept, strict=True) if k]
        errors = self.errors
        if errors is not None:
            errors = SeenErrors(errors.bias[columns], errors.covariance[columns][:, columns])
        record, seen = ObservationRecord(*entries), self.seen[:, columns]
        return replace(self, prior=prior, record=record, seen=seen, errors=errors, soft=soft, begin=begin)

    def preconditioned(self, u: Float[Tensor, "batch d"], generator: torch.Generator) -> RecordObjective:
        """Return the same with a preconditioner from products of ``K^T`` with white noise.

        Args:
            u: Where the derivative is taken.
            generator: Source of the white noise.

        Returns:
            The same cost function.
        """
        local, shape = self.linearise(u), tuple(self.prior.mean.shape)
        inverse = average_inverse(local, shape, self.simulator.layout, -(-_PROBES // len(u)), generator)

        def precondition(v: Tensor) -> Tensor:
            return inverse.apply(v.reshape(len(v), *shape)).flatten(1)

        return replace(self, precondition=precondition)

    def _root(self, there: Tensor) -> Tensor:
        """The Cholesky factor of the covariance of the numbers that are there; one for all where none is missing."""
        assert self.errors is not None
        deviation = self.record.deviations(self.seen.new_zeros((1, *self.simulator.shape)))
        whole = self.errors.covariance.double() + deviation.double().square().diag()
        if not bool(there.all()):
            both, alone = there[:, :, None] & there[:, None, :], torch.diag_embed((~there).double())
            whole = torch.where(both, whole, 0.0) + alone
        root: Tensor = torch.linalg.cholesky(whole).to(self.seen)
        return root.expand(1, *root.shape) if root.ndim == 2 else root


def average_inverse(
    local: Linearised, shape: Sequence[int], layout: StateLayout, probes: int, generator: torch.Generator | None
) -> FittedCovariance:
    """Estimate ``(1 + K^T K)^-1`` as it is on average over what the layout of the states calls alike.

    Args:
        local: The derivatives ``K`` of some observations.
        shape: The shape that coordinates have as states.
        layout: What is alike in these.
        probes: Products of ``K^T`` with white noise for each observation.
        generator: Source of the white noise.

    Returns:
        A symmetric map of coordinates in the shape of states.
    """
    like = local.residual
    curved = torch.cat(
        [
            local.adjoint(torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device))
            for _ in range(probes)
        ]
    )
    curved = curved.nan_to_num(0.0, 0.0, 0.0).reshape(-1, *shape)
    parts = dict(fit_covariance(curved, layout).parts)
    parts |= {name: 1 / (1 + parts[name]) for name in ("variance", "rest") if name in parts}
    return FittedCovariance.from_tensors(parts)


@torch.no_grad()
def fit_seen_errors(
    forward: Forward, prior: ControlVariable, record: ObservationRecord, seed: int
) -> SeenErrors | None:
    """Fit what a record sees of the noise on the way: by the law of that at T, or from pairs of runs.

    Args:
        forward: The noise-free solver, and the noise on the way as final states see it.
        prior: ControlVariable of the prior.
        record: What is seen at which times.
        seed: Seed of the pairs of runs.

    Returns:
        Its mean and covariance; None for a process without noise.
    """
    simulator, device = forward.simulator, forward.bias.device
    if quiet(simulator):
        return None
    generator, probe = seeds(seed).child("method", "paths").generator(device), torch.zeros((1, *simulator.shape))
    if record.times == (float(simulator.horizon),):
        rows = jacobian(lambda x: record.clean(x[:, None]), probe.to(device).double())
        seen = forward.covariance.apply(rows).flatten(1) @ rows.flatten(1).T
        return SeenErrors(rows.flatten(1) @ forward.bias.double().expand(simulator.shape).flatten(), seen)

    if max(record.times) == 0:  # there is none on the way
        count = sum(record.sizes(probe))
        nothing = torch.zeros(count, count, dtype=torch.float64, device=device)
        return SeenErrors(nothing[0], nothing)

    # Pairs of runs with and without noise, from draws of the prior.
    z = torch.randn((_PAIRS, prior.mean.numel()), generator=generator, device=device)
    x = prior.root(z, z.new_zeros((_PAIRS, *simulator.shape)))
    grid = [0.0, *(t for t in record.times if t > 0)]
    noisy = simulator.run(x, grid, generator=generator)[:, -len(record.times) :]
    gap = (record.clean(noisy) - record.clean(states_at(simulator, x, record.times))).double()
    gap = gap[gap.isfinite().all(1)]
    bias, eye = gap.mean(0), torch.eye(gap.shape[1], dtype=gap.dtype, device=device)
    return SeenErrors(bias, fit_covariance(gap - bias, VectorLayout("seen", gap.shape[1])).apply(eye))


def quiet(simulator: Simulator) -> bool:
    """Return whether a process has no noise, at the beginning.

    Args:
        simulator: The process.
    """
    probe = torch.randn((1, *simulator.shape), generator=torch.Generator().manual_seed(0))
    return not bool(simulator.disturb(probe, probe, torch.zeros(1)).any())


def states_at(
    simulator: Simulator, x: Float[Tensor, "batch *state"], times: Sequence[float], begin: float = 0.0
) -> Float[Tensor, "batch time *state"]:
    """Return the states that follow from initial ones without noise, differentiable.

    Args:
        simulator: The process.
        x: Initial states.
        times: Increasing times, none before ``begin``.
        begin: Time of the states given.

    Returns:
        One state for each time.
    """
    if tuple(times) == (begin,):
        return x[:, None]
    grid = [begin, *(t for t in times if t > begin)]
    found = simulator.run(x, grid, noise=False)
    return found if times[0] == begin else found[:, 1:]


def frames_from(
    simulator: Simulator, times: Times, draw: Callable[[], Float[Tensor, "batch n *state"]]
) -> Float[Tensor, "batch n time *state"]:
    """Return trajectories without noise from draws of initial states.

    Args:
        simulator: The process.
        times: Times, 0 or later, in any order.
        draw: Draws initial states, once the times are known to be right.

    Raises:
        ValueError: If there is no time, or one is negative.
    """
    wanted = as_times(times).tolist()
    if not wanted or min(wanted) < 0:
        raise ValueError(f"`times` must be 0 or later, got {wanted}; processes begin at 0.")
    starts, every = draw(), sorted(set(wanted))
    found = states_at(simulator, starts.flatten(0, 1), every)[:, [every.index(t) for t in wanted]]
    return found.reshape(*starts.shape[:2], *found.shape[1:])
