"""Whole final states estimated from partial, noisy observations, in whose place a method is trained on them.

The estimate is ``m + K (y - H m)`` for ``y = H x_T + sigma n``, with the gain ``K = C H^T (H C H^T + sigma^2 I)^-1``.
Where no direction that is seen has variance 0, ``y`` can be computed from it again.  A method that is trained with
estimates in the place of final states therefore draws from ``p(x_0 | y)``, whatever the law of ``x_T``.
"""

from __future__ import annotations

__all__ = ["FinalEstimate", "Observer", "Reader", "covariance_rows", "fit_final_estimate"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.equations.broadcast import match
from physinv.equations.fourier import fourier, inverse_fourier
from physinv.laws.observation import Observation, check_linear, jacobian
from physinv.laws.wiener import mirrored
from physinv.processes.layout import StateLayout
from physinv.processes.priors import OBSERVED_NOISE
from physinv.processes.varying import Varying

_MOST = 4096  # final states that moments are taken of
_SHARES = (1.0, 0.5, 0.1, 0.01)  # of the mean and the covariance that have fewer numbers


@runtime_checkable
class Observer(Protocol):
    """What a method is trained with in the place of final states."""

    def estimated(
        self, states: Float[Tensor, "batch time *state"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch time *state"]:
        """Return trajectories whose last states are estimates, made from new observations.

        Args:
            states: True trajectories at all stored times, with whatever else the method is told.
            generator: Source of the noise, on their device.
        """

    def replaced(self, data: TrajectoryDataset, *, generator: torch.Generator | None = None) -> TrajectoryDataset:
        """Return trajectories whose last states are estimates, in memory.

        Args:
            data: Trajectories.
            generator: Source of randomness, on the device of ``data``.
        """

    def tensors(self) -> dict[str, Tensor]:
        """Return what was fitted, by name."""


@runtime_checkable
class Reader(Protocol):
    """What estimates final states from the observed numbers of one observation."""

    @property
    def observation(self) -> Observation:
        """The operator and its noise."""

    def __call__(self, y: Float[Tensor, "batch *seen"]) -> Float[Tensor, "batch *state"]:
        """Estimate final states, as the method takes them.

        Args:
            y: Observed numbers.

        Returns:
            One state for each observation.
        """

    def plain(self, x: Float[Tensor, "*lead *state"]) -> Float[Tensor, "*lead *inner"]:
        """Return states without what the method is told of the observation.

        Args:
            x: States as the method gives them.
        """


@dataclass(frozen=True)
class FinalEstimate:
    """The best linear estimate of final states from observations of them.

    Args:
        observation: Linear operator ``H`` and standard deviation ``sigma`` of the noise.
        mean: Mean ``m`` of final states.
        gain: The gain ``K``, transposed: from observed numbers to the numbers of a state.
        process: The process with unknown parameters, which final states hold behind their own parts; None: there are
            none.  Where the noise of the observation is one of them, ``sigma`` is the middle of its prior, and each
            state is seen with its own.
    """

    observation: Observation
    mean: Float[Tensor, "*state"]
    gain: Float[Tensor, "seen numbers"]
    process: Varying | None = None

    def __call__(self, y: Float[Tensor, "batch *seen"]) -> Float[Tensor, "batch *state"]:
        """Estimate final states.

        Args:
            y: Observed numbers.

        Returns:
            One state for each observation; unknown parameters are in the middle of their priors.
        """
        found = self._estimated(y)
        return found if self.process is None else self.process.hidden(found)

    def _estimated(self, y: Tensor) -> Tensor:
        """States without parameters."""
        mean, gain = self.mean.to(y), self.gain.to(y)
        gap = (y - self.observation.operator(mean[None])).flatten(1)
        return mean + (gap @ gain).reshape(len(y), *mean.shape)

    def seen(
        self, final: Float[Tensor, "batch *state"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch *state"]:
        """Observe final states with new noise, and estimate them from that.

        Args:
            final: True final states.
            generator: Source of the noise, on the device of ``final``.

        Returns:
            Their estimates.
        """
        if self.process is None:
            return self(self.observation.observe(final, generator=generator))
        state, values = self.process.state(final), self.process.values(final)
        clean, noise = self.observation.operator(state), self.deviations(values)
        n = torch.randn(clean.shape, generator=generator, dtype=clean.dtype, device=clean.device)
        return self.process.joined(self._estimated(clean + match(noise, clean) * n), values)

    def estimated(
        self, states: Float[Tensor, "batch time *state"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch time *state"]:
        """Return trajectories whose last states are estimates, made from new observations of them.

        Args:
            states: True trajectories.
            generator: Source of the noise, on the device of ``states``.
        """
        return torch.cat([states[:, :-1], self.seen(states[:, -1], generator=generator)[:, None]], dim=1)

    def deviations(self, values: Float[Tensor, "batch parameters"]) -> Float[Tensor, " batch"]:
        """Return the standard deviation of the noise of each observation.

        Args:
            values: Values of the unknown parameters.
        """
        names = () if self.process is None else self.process.unknown
        if OBSERVED_NOISE not in names:
            return values.new_full((len(values),), self.observation.noise)
        return values[:, names.index(OBSERVED_NOISE)]

    def plain(self, x: Float[Tensor, "*lead *state"]) -> Float[Tensor, "*lead *state"]:
        """Return states as a method gives them: those of one observation hold nothing else.

        Args:
            x: States.
        """
        return x

    def replaced(self, data: TrajectoryDataset, *, generator: torch.Generator | None = None) -> TrajectoryDataset:
        """Return trajectories whose last states are estimates, in memory.

        Args:
            data: Trajectories.
            generator: Source of the noise, on the device of ``data``.
        """
        return data.with_states(self.estimated(data.load(data.device).trajectories(), generator=generator))

    def tensors(self) -> dict[str, Tensor]:
        """Return mean and gain by name."""
        return {"mean": self.mean, "gain": self.gain}

    @staticmethod
    def from_tensors(
        observation: Observation, tensors: Mapping[str, Tensor], process: Varying | None = None
    ) -> FinalEstimate:
        """Make an estimate again.

        Args:
            observation: The observation that it was fitted for.
            tensors: What :meth:`tensors` returned.
            process: The process with unknown parameters, where there are some.

        Returns:
            The estimate.
        """
        return FinalEstimate(observation, tensors["mean"], tensors["gain"], process)


@torch.no_grad()
def fit_final_estimate(
    layout: StateLayout, final: Float[Tensor, "n *state"], observation: Observation
) -> FinalEstimate:
    """Fit the estimate to the mean and the covariance of final states.

    The covariance is that of the data, drawn towards one with fewer numbers: of fields one that is the same everywhere,
    diagonal in Fourier modes (of the mirror image where fields do not wrap around), channel by channel; of vectors the
    diagonal.  How far is chosen by the error of estimates of states outside the fit.

    Args:
        layout: Layout of the states.
        final: Final states of training data.
        observation: Linear operator ``H`` and standard deviation ``sigma`` of the noise.

    Returns:
        The estimate.

    Raises:
        ValueError: If the states are particles, or parts of them are static or without data, or the operator is not
            linear.
    """
    _check_layout(layout)
    x = final[:_MOST].double()
    check_linear(observation.operator, torch.zeros_like(x[:1]))
    H = jacobian(observation.operator, torch.zeros_like(x[:1]))
    half = max(1, len(x) // 2)
    errors = [_error(*_fit(layout, x[:half], H, observation.noise, a), H, observation.noise, x[half:]) for a in _SHARES]
    mean, gain = _fit(layout, x, H, observation.noise, _SHARES[errors.index(min(errors))])
    return FinalEstimate(observation, mean.to(final), gain.to(final))


def covariance_rows(
    layout: StateLayout, x: Float[Tensor, "n *state"], noise: float
) -> tuple[Float[Tensor, "*state"], Float[Tensor, "numbers numbers"]]:
    """Return mean and covariance of states, drawn towards ones with fewer numbers as far as suits estimates.

    Args:
        layout: Layout of the states.
        x: States, float64.
        noise: Standard deviation of the noise of the estimates that the covariance is for.

    Raises:
        ValueError: If the states are of a kind that cannot be seen in part.
    """
    _check_layout(layout)
    numbers = x[0].numel()
    H = torch.eye(numbers, dtype=x.dtype, device=x.device).reshape(numbers, *x.shape[1:])
    half = max(1, len(x) // 2)
    errors = [_error(*_fit(layout, x[:half], H, noise, a), H, noise, x[half:]) for a in _SHARES]
    mean, cross = _moments(layout, x, H, _SHARES[errors.index(min(errors))])
    return mean, cross


def _check_layout(layout: StateLayout) -> None:
    if not layout.partly_observable or layout.static or layout.valid is not None:
        raise ValueError(
            "`observe` needs vectors, or fields without static channels and missing points; "
            f"these are {', '.join(layout.names)}."
        )


def _fit(layout: StateLayout, x: Tensor, H: Tensor, noise: float, share: float) -> tuple[Tensor, Tensor]:
    """Mean and transposed gain, with a share of the mean and the covariance that have fewer numbers."""
    rows = H.flatten(1)
    mean, cross = _moments(layout, x, H, share)
    seen = cross @ rows.T + noise**2 * torch.eye(len(H), dtype=H.dtype, device=H.device)
    return mean, torch.cholesky_solve(cross, torch.linalg.cholesky((seen + seen.T) / 2))


def _moments(layout: StateLayout, x: Tensor, H: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Mean, and ``H`` times the covariance, with a share of those that have fewer numbers."""
    rows = H.flatten(1)
    mean = share * layout.channel_mean(x) + (1 - share) * x.mean(0) if layout.space else x.mean(0)
    gap = x - mean
    fewer = _stationary(layout, gap, H) if layout.space else H * gap.square().mean(0)
    flat = gap.flatten(1)
    return mean, share * fewer.flatten(1) + (1 - share) * (rows @ flat.T) @ flat / len(x)


def _stationary(layout: StateLayout, gap: Tensor, H: Tensor) -> Tensor:
    """``H C`` for the covariance of fields that look the same everywhere."""
    space, wraps = tuple(gap.shape[2:]), layout.periodic
    power = fourier(mirrored(gap, wraps)).abs().square().mean(0)
    if not wraps:  # a cosine of wave number 0 counts twice in the mirror image
        for axis in range(1, power.ndim):
            power.select(axis, 0).div_(2)
    twice = mirrored(H, wraps)
    whole = inverse_fourier(power * fourier(twice), tuple(twice.shape[2:]))
    return whole[(slice(None), slice(None), *(slice(n) for n in space))]


def _error(mean: Tensor, gain: Tensor, H: Tensor, noise: float, x: Tensor) -> float:
    """Expected squared error of estimates of states, over the noise of what is seen of them."""
    gap = (x - mean).flatten(1)
    missed = gap - (gap @ H.flatten(1).T) @ gain
    return float(missed.square().sum(1).mean() + noise**2 * gain.square().sum()) if len(x) else 0.0
