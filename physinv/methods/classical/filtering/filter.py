"""Filter a long record of observations: an ensemble runs from one time to the next, and is corrected by what is seen.

    forecast  x_j(t_k) ~ p(x_k | x_j(t_{k-1})),   analysis  p(x_k | y_1 ... y_k) ~ p(y_k | x_k) p(x_k | y_1 ... y_{k-1})

A smoother answers for all times at once, and its work and memory grow with the record; of a chaotic process no smoother
reaches back further than errors take to grow.  A filter keeps one ensemble and takes one time after another, for as
long as the record is.  Its last ensemble is where a forecast begins.
"""

from __future__ import annotations

__all__ = ["Analysis", "Ensemble", "Filtered", "Seen", "filter_record"]

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.failures import blamed_on
from physinv.config.inputs import check_count, check_function, check_generator, check_instance, describe
from physinv.laws.observation import Observation
from physinv.laws.record import Entry, ObservationRecord
from physinv.methods.classical.monte_carlo.starts import observable
from physinv.processes.simulator import Simulator

Seen = Float[Tensor, "batch seen"]
"""Observed numbers of one time, a row for each record."""


@dataclass(frozen=True)
class Ensemble:
    """Weighted states, whose law is that of the state at one time.

    Args:
        states: Members, ``(batch, members, *state)``.
        log_weights: Their log weights, which sum to 1.
    """

    states: Float[Tensor, "batch members *state"]
    log_weights: Float[Tensor, "batch members"]

    @property
    def weights(self) -> Float[Tensor, "batch members"]:
        """Weights that sum to 1."""
        return self.log_weights.softmax(1).to(self.states)

    @property
    def mean(self) -> Float[Tensor, "batch *state"]:
        """The mean of the members by their weights."""
        return torch.einsum("bm,bm...->b...", self.weights, self.states)

    @property
    def deviation(self) -> Float[Tensor, "batch *state"]:
        """The standard deviation of each component, with members over members less one where weights are equal."""
        square = torch.einsum("bm,bm...->b...", self.weights, (self.states - self.mean[:, None]).square())
        less = 1 - self.weights.square().sum(1)
        return (square / less.clamp(min=torch.finfo(square.dtype).eps).reshape(-1, *[1] * (square.ndim - 1))).sqrt()


@runtime_checkable
class Analysis(Protocol):
    """A correction of an ensemble by what is seen at its time."""

    def __call__(
        self, ensemble: Ensemble, observation: Observation, seen: Seen, generator: torch.Generator | None, /
    ) -> tuple[Ensemble, Ensemble]:
        """Correct an ensemble.

        Args:
            ensemble: Its law before.
            observation: Operator and noise.
            seen: Observed numbers, NaN where one is missing.
            generator: Source of randomness.

        Returns:
            The law after, by which the state is estimated, and the ensemble that goes on from there: of the same law,
            or wider, so that it does not lose the truth.
        """


@dataclass(frozen=True)
class Filtered:
    """Estimates of the state at the times of a record, each from what is seen until then.

    Args:
        times: Times of the record, increasing.
        mean: Estimates.
        deviation: Standard deviations of the errors, as the filter believes.
        last: Members at the last time, of equal or other weights: forecasts begin there.
    """

    times: tuple[float, ...]
    mean: Float[Tensor, "batch time *state"]
    deviation: Float[Tensor, "batch time *state"]
    last: Ensemble


@torch.no_grad()
def filter_record(
    simulator: Simulator,
    record: ObservationRecord,
    y: Any,
    analysis: Analysis,
    members: int,
    *,
    start: Float[Tensor, "batch members *state"] | None = None,
    generator: torch.Generator | None = None,
) -> Filtered:
    """Estimate the state at each time of a record from what is seen until then.

    Args:
        simulator: The process, with noise or without.
        record: What is seen at which times, of one time each.
        y: Observed numbers, one row for each trajectory, NaN where one is missing.
        analysis: How an ensemble is corrected, such as
            :class:`~physinv.methods.classical.filtering.transform.EnsembleTransform` or
            :class:`~physinv.methods.classical.filtering.particles.WeightedParticles`.
        members: Members of the ensemble of each row.
        start: Members at time 0; None: draws of the process.
        generator: Source of all random numbers.

    Returns:
        Estimates with their deviations, and the last ensemble.

    Raises:
        ValueError: If an entry is an average over several times, members diverge, or an argument is of another kind.
        NotApplicableError: For processes with static channels, which observations do not tell.

    Example:
        >>> import physinv as pi
        >>> from physinv.methods.classical.filtering.transform import EnsembleTransform
        >>> from simulators.vectors.lorenz import Lorenz63
        >>> process = Lorenz63(noise=0.0)
        >>> sensor = pi.Observation(lambda x: x[:, :1], noise=1.0)
        >>> record = pi.ObservationRecord((0.1, sensor), (0.2, sensor))
        >>> found = pi.filter_record(process, record, [[5.0, 6.0]], EnsembleTransform(), 20)
        >>> found.mean.shape
        torch.Size([1, 2, 3])
    """
    check_instance(simulator, Simulator, "simulator", "give filter_record(simulator, record, y, analysis, members)")
    check_function(analysis, "analysis", "(ensemble, observation, seen, generator) -> (after, next)")
    members, record = check_count(members, "members", 2), observable(simulator, record)
    check_generator(generator)
    for i, entry in enumerate(record.entries):
        if len(entry.times) > 1:
            raise ValueError(
                f"entry {i} of `record` must be of one time for a filter, got an average over {len(entry.times)}; "
                "take mcmc or gauss-newton, which answer averages."
            )

    # The numbers of each entry, in the order of time.
    like = torch.zeros(1, *simulator.shape, device=y.device if isinstance(y, Tensor) else None)
    rows = record.accepted(y, like)
    parts = sorted(
        zip(record.entries, torch.split(rows, list(record.sizes(like)), 1), strict=True),
        key=lambda part: part[0].times[0],
    )

    # From one time to the next.
    ensemble = _begin(simulator, len(rows), members, start, like, generator)
    at, means, deviations = 0.0, dict[float, Tensor](), dict[float, Tensor]()
    for entry, seen in parts:
        t = entry.times[0]
        if t > at:
            ahead = simulator.run(ensemble.states.flatten(0, 1), [at, t], generator=generator)[:, -1]
            ensemble, at = Ensemble(ahead.reshape(ensemble.states.shape), ensemble.log_weights), t
        if not bool(ensemble.states.isfinite().all()):
            raise ValueError(f"`members` became infinite or NaN at t = {t:g}; take more of them, or shorter steps.")
        known, ensemble = _corrected(ensemble, entry, seen, analysis, generator)
        means[t], deviations[t] = known.mean, known.deviation
    return Filtered(tuple(means), torch.stack([*means.values()], 1), torch.stack([*deviations.values()], 1), ensemble)


def _begin(
    simulator: Simulator,
    batch: int,
    members: int,
    start: Tensor | None,
    like: Tensor,
    generator: torch.Generator | None,
) -> Ensemble:
    """The members at time 0."""
    shape = (batch, members, *simulator.shape)
    if start is None:
        start = simulator.initial(batch * members, generator=generator, device=like.device).reshape(shape)
    if tuple(start.shape) != shape:
        raise ValueError(f"`start` must have shape {shape}, members for each row, got {tuple(start.shape)}.")
    return Ensemble(start, torch.zeros(shape[:2], dtype=torch.float64, device=start.device).log_softmax(1))


def _corrected(
    ensemble: Ensemble, entry: Entry, seen: Tensor, analysis: Analysis, generator: torch.Generator | None
) -> tuple[Ensemble, Ensemble]:
    """The correction of rows in which anything is seen; others stay as they are."""
    there = seen.isfinite().any(1)
    if not bool(there.any()):
        return ensemble, ensemble
    with blamed_on("`analysis`"):
        found = analysis(ensemble, entry.observation, seen, generator)
    if not (isinstance(found, tuple) and len(found) == 2 and all(isinstance(e, Ensemble) for e in found)):
        told = f"got {describe(found)}; see Analysis"
        raise ValueError(f"`analysis` must return two ensembles, corrected and to go on with, {told}.")
    if bool(there.all()):
        return found
    known, gone_on = (
        Ensemble(
            torch.where(there.reshape(-1, *[1] * (e.states.ndim - 1)), e.states, ensemble.states),
            torch.where(there[:, None], e.log_weights, ensemble.log_weights),
        )
        for e in found
    )
    return known, gone_on
