"""Whole final states estimated from partial, noisy observations, in whose place a method is trained on them.

The estimate is ``m + K (y - H m)`` for ``y = H x_T + sigma n``, with the gain ``K = C H^T (H C H^T + sigma^2 I)^-1``.
Where no direction that is seen has variance 0, ``y`` can be computed from it again.  A method that is trained with
estimates in the place of final states therefore draws from ``p(x_0 | y)``, whatever the law of ``x_T``.
"""

from __future__ import annotations

__all__ = ["FinalEstimate", "fit_final_estimate"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.equations.fourier import fourier, inverse_fourier
from physinv.laws.observation import Observation, jacobian
from physinv.laws.wiener import mirrored
from physinv.processes.layout import StateLayout

_MOST = 4096  # final states that moments are taken of
_SHARES = (1.0, 0.5, 0.1, 0.01)  # of the mean and the covariance that have fewer numbers


@dataclass(frozen=True)
class FinalEstimate:
    """The best linear estimate of final states from observations of them.

    Args:
        observation: Linear operator ``H`` and standard deviation ``sigma`` of the noise.
        mean: Mean ``m`` of final states.
        gain: The gain ``K``, transposed: from observed numbers to the numbers of a state.
    """

    observation: Observation
    mean: Float[Tensor, "*state"]
    gain: Float[Tensor, "seen numbers"]

    def __call__(self, y: Float[Tensor, "batch *seen"]) -> Float[Tensor, "batch *state"]:
        """Estimate final states.

        Args:
            y: Observed numbers.

        Returns:
            One state for each observation.
        """
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
        return self(self.observation.observe(final, generator=generator))

    def replaced(self, data: TrajectoryDataset, *, generator: torch.Generator | None = None) -> TrajectoryDataset:
        """Return trajectories whose last states are estimates, in memory.

        Args:
            data: Trajectories.
            generator: Source of the noise, on the device of ``data``.
        """
        states = data.load(data.device).trajectories().clone()
        states[:, -1] = self.seen(states[:, -1], generator=generator)
        return data.with_states(states)

    def tensors(self) -> dict[str, Tensor]:
        """Return mean and gain by name."""
        return {"mean": self.mean, "gain": self.gain}

    @staticmethod
    def from_tensors(observation: Observation, tensors: Mapping[str, Tensor]) -> FinalEstimate:
        """Make an estimate again.

        Args:
            observation: The observation that it was fitted for.
            tensors: What :meth:`tensors` returned.

        Returns:
            The estimate.
        """
        return FinalEstimate(observation, tensors["mean"], tensors["gain"])


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
        ValueError: If the states are particles, or parts of them are static or without data.
    """
    if not layout.partly_observable or layout.static or layout.valid is not None:
        raise ValueError(
            "`observe` needs vectors, or fields without static channels and missing points; "
            f"these are {', '.join(layout.names)}."
        )
    x = final[:_MOST].double()
    H = jacobian(observation.operator, torch.zeros_like(x[:1]))
    half = max(1, len(x) // 2)
    errors = [_error(*_fit(layout, x[:half], H, observation.noise, a), H, observation.noise, x[half:]) for a in _SHARES]
    mean, gain = _fit(layout, x, H, observation.noise, _SHARES[errors.index(min(errors))])
    return FinalEstimate(observation, mean.to(final), gain.to(final))


def _fit(layout: StateLayout, x: Tensor, H: Tensor, noise: float, share: float) -> tuple[Tensor, Tensor]:
    """Mean and transposed gain, with a share of the mean and the covariance that have fewer numbers."""
    n, rows = len(x), H.flatten(1)
    mean = share * layout.channel_mean(x) + (1 - share) * x.mean(0) if layout.space else x.mean(0)
    gap = x - mean
    fewer = _stationary(layout, gap, H) if layout.space else H * gap.square().mean(0)
    flat = gap.flatten(1)
    cross = share * fewer.flatten(1) + (1 - share) * (rows @ flat.T) @ flat / n
    seen = cross @ rows.T + noise**2 * torch.eye(len(H), dtype=H.dtype, device=H.device)
    return mean, torch.cholesky_solve(cross, torch.linalg.cholesky((seen + seen.T) / 2))


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
