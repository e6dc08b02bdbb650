"""Whole states estimated from any sensors: one fit, every mask and every level of the noise.

For ``y = M x + sigma n`` with any mask ``M`` the best linear estimate is
``m + C M^T (M C M^T + sigma^2 I)^-1 (y - M m)``.  With the leading directions of the covariance, ``C = U diag(p) U^T``,
it is

    m + U z,    (diag(1/p) + U^T M^T M U / sigma^2) z = U^T M^T (y - M m) / sigma^2,

one small system for each mask, solved for all of a batch at once.  The states at several times side by side are one
such ``x``, of which those at some times are not seen at all.
"""

from __future__ import annotations

__all__ = ["SensorEstimate", "SensorReader", "fit_sensor_estimate", "sensor_places"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.laws.observation import Observation, jacobian
from physinv.processes.varying import Varying
from physinv.training.final_estimate import covariance_rows
from physinv.training.sensors.process import Sensed

_MOST = 256  # directions of the covariance that are kept
_LEAST = 1e-3  # of the smallest variance of the noise: directions with less are left out
_SHARPEST = 1e12  # variance of the states over that of the noise, from which on a sensor counts as exact
_FIELD = 2048  # numbers of a state up to which its covariance is made
_ROWS = 4096  # final states that moments are taken of
_BLOCK = 2**24  # numbers in the matrices that are solved at the same time


@dataclass(frozen=True)
class SensorEstimate:
    """The best linear estimate of states from the sensors that these states name in their static parts.

    Args:
        process: The process with sensors.
        mean: Mean of the states at the estimated times, flat, side by side.
        basis: Leading directions of their covariance, ``(directions, numbers)``, orthonormal.
        power: Variance along each.
    """

    process: Sensed
    mean: Float[Tensor, " numbers"]
    basis: Float[Tensor, "directions numbers"]
    power: Float[Tensor, " directions"]

    def __call__(
        self,
        y: Float[Tensor, "batch *plain"],
        mask: Tensor,
        level: Float[Tensor, " batch"],
        values: Float[Tensor, "batch parameters"] | None = None,
    ) -> Float[Tensor, "batch *state"]:
        """Estimate final states.

        Args:
            y: Observed numbers at their places in states without sensors and unknown parameters, of several times
                ``(batch, times, *plain)``; what is elsewhere does not count.
            mask: Where each trajectory is seen, ``(batch, times points)``.
            level: Level of the noise of each.
            values: Unknown parameters that the state says; None: the middle of their priors.

        Returns:
            One state for each observation, with its sensors, and where these see several times with its estimates.
        """
        process, shape, plain = self.process, self.process.inner.shape, self.process.plain.shape
        times, rows = process.estimated_rows, [process.estimated_rows.index(row) for row in process.seen_rows]
        numbers, unseen = math.prod(plain), math.prod(shape) - math.prod(plain)  # unknown parameters come last
        seen = mask.new_zeros(len(mask), len(times), process.points)
        seen[:, rows] = mask.reshape(len(mask), len(rows), process.points)
        seen = torch.nn.functional.pad(seen.repeat(1, 1, numbers // process.points), (0, unseen)).flatten(1)
        whole = y.new_zeros(len(y), len(times), numbers + unseen)
        whole[:, rows, :numbers] = y.reshape(len(y), len(rows), numbers)
        found = self._found(whole.flatten(1), seen, level).to(y).reshape(len(y), len(times), *shape)
        last = found[:, -1]
        if isinstance(process.inner, Varying):
            hidden = process.inner.hidden(last)
            last = hidden if values is None else process.inner.joined(process.inner.state(last), values)
        return process.with_sensors(last, mask, level, found[:, :-1])

    def _found(self, y: Tensor, seen: Tensor, level: Tensor) -> Tensor:
        """States at all estimated times, flat, in float64: sharp sensors leave little of what float32 knows."""
        basis, mean, power = (v.to(y.device).double() for v in (self.basis, self.mean, self.power))
        gap = torch.where(seen, y.double() - mean, torch.zeros_like(mean))
        precision = self.process.design.deviation(level.double()).to(mean)[:, None] ** -2
        if len(power):
            precision = precision.clamp(max=_SHARPEST / float(power.amax()))  # sharper ones leave no digits of the rest
        found, size = [], max(1, _BLOCK // max(1, basis.numel()))  # no direction is left where the noise hides all
        for m, g, p in zip(*(torch.split(v, size) for v in (seen.to(mean), gap, precision)), strict=True):
            system = torch.einsum("bn,in,jn->bij", m, basis, basis) * p[:, :, None] + (1 / power).diag()
            z = torch.cholesky_solve((p * (g @ basis.T))[..., None], torch.linalg.cholesky(system))[..., 0]
            found.append(mean + z @ basis)
        return torch.cat(found)

    def estimated(
        self, states: Float[Tensor, "batch time *state"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch time *state"]:
        """Observe trajectories by their sensors with new noise, and estimate final states from that.

        Args:
            states: True trajectories at all stored times, with sensors.
            generator: Source of the noise, on their device.

        Returns:
            The trajectories, whose last states are estimates; of several times all states tell what is estimated.
        """
        process = self.process
        inner, (mask, level) = states[:, :, : process.inner.shape[0]], process.sensors_of(states[:, 0])
        clean = inner[:, list(process.seen_rows), : process.plain.shape[0]]
        values = process.inner.values(inner[:, 0]) if isinstance(process.inner, Varying) else None
        deviation = process.design.deviation(level).reshape(-1, *[1] * (clean.ndim - 1))
        n = torch.randn(clean.shape, generator=generator, dtype=clean.dtype, device=clean.device)
        last = self(clean + deviation * n, mask, level, values)
        told = last[:, None, process.inner.shape[0] :]
        known = torch.cat([inner, told.expand(-1, states.shape[1], *told.shape[2:])], dim=2)
        return torch.cat([known[:, :-1], last[:, None]], dim=1)

    def replaced(self, data: TrajectoryDataset, *, generator: torch.Generator | None = None) -> TrajectoryDataset:
        """Return trajectories with sensors of their own, whose last states are estimates, in memory.

        Args:
            data: Trajectories without sensors.
            generator: Source of sensors and noise, on the device of ``data``.
        """
        states, process = data.load(data.device).trajectories(), self.process
        mask, level = process.sensors(len(states), generator=generator, device=states.device)
        times = states.shape[1]
        every = process.with_sensors(
            states.flatten(0, 1), mask.repeat_interleave(times, 0), level.repeat_interleave(times)
        ).reshape(*states.shape[:2], *process.shape)
        return data.with_states(self.estimated(every, generator=generator), process.layout)

    def tensors(self) -> dict[str, Tensor]:
        """Return mean, directions and variances by name."""
        return {"mean": self.mean, "basis": self.basis, "power": self.power}

    @staticmethod
    def from_tensors(process: Sensed, tensors: Mapping[str, Tensor]) -> SensorEstimate:
        """Make an estimate again.

        Args:
            process: The process with sensors.
            tensors: What :meth:`tensors` returned.

        Returns:
            The estimate.
        """
        return SensorEstimate(process, tensors["mean"], tensors["basis"], tensors["power"])

    def at(self, observation: Observation) -> SensorReader:
        """Return the estimate for one observation of final states by sensors.

        Args:
            observation: An operator that sees some of the numbers as they are, and the deviation of its noise.

        Raises:
            ValueError: If it does something else, or its noise is not in the range of the design.
        """
        level = self.process.design.level(observation.noise)
        places, mask = sensor_places(observation, self.process.plain.shape, self.process.points)
        return SensorReader(observation, self, places, mask, level)


def sensor_places(
    observation: Observation, shape: tuple[int, ...], points: int
) -> tuple[Int64[Tensor, " seen"], Bool[Tensor, " points"]]:
    """Return which numbers of a state an observation by sensors sees.

    Args:
        observation: An operator that sees some of the numbers as they are.
        shape: Shape of a state.
        points: Points of a field, or components of a vector.

    Returns:
        The place of each observed number in a flat state, and which points are seen.

    Raises:
        ValueError: If it does something else, or sees a part of the channels of a point.
    """
    H = jacobian(observation.operator, torch.zeros(1, *shape)).flatten(1)
    places = H.abs().argmax(1)
    picked = torch.nn.functional.one_hot(places, H.shape[1]).to(H)
    mask = picked.amax(0).reshape(-1, points) > 0
    if not torch.equal(H, picked) or not bool((mask == mask[:1]).all()):
        raise ValueError(
            "the run is trained for sensors that see all channels of a point; take sensors:FRACTION, every:FACTOR "
            "or everything."
        )
    return places, mask[0]


@dataclass(frozen=True)
class SensorReader:
    """Estimates from one observation: what a reconstruction from given sensors is made with.

    Args:
        observation: The operator and its noise.
        estimate: The estimate from any sensors.
        places: Where each observed number is in a flat state.
        mask: Which points are seen.
        level: Level of the noise.
    """

    observation: Observation
    estimate: SensorEstimate
    places: Int64[Tensor, " seen"]
    mask: Tensor
    level: float

    def __call__(self, y: Float[Tensor, "batch *seen"]) -> Float[Tensor, "batch *state"]:
        """Estimate final states, with their sensors.

        Args:
            y: Observed numbers.

        Returns:
            One state for each observation.
        """
        shape = self.estimate.process.plain.shape
        whole = y.new_zeros(len(y), math.prod(shape))
        whole[:, self.places.to(y.device)] = y.flatten(1)
        mask = self.mask.to(y.device).expand(len(y), -1)
        return self.estimate(whole.reshape(len(y), *shape), mask, y.new_full((len(y),), self.level))

    def plain(self, x: Float[Tensor, "*lead *state"]) -> Float[Tensor, "*lead *inner"]:
        """Return states without sensors.

        Args:
            x: States with sensors.
        """
        shape = self.estimate.process.shape
        return x.narrow(x.ndim - len(shape), 0, self.estimate.process.inner.shape[0])


@torch.no_grad()
def fit_sensor_estimate(process: Sensed, states: Float[Tensor, "n times *inner"]) -> SensorEstimate:
    """Fit the estimate to the mean and the covariance of states.

    Args:
        process: The process with sensors.
        states: States of training data at the estimated times, without sensors.

    Returns:
        The estimate.

    Raises:
        ValueError: If the states are too large, or of a kind that cannot be seen in part.
    """
    numbers, times = states[0].numel(), states.shape[1]
    if numbers > _FIELD:
        told = (
            f"these have {numbers}" if times == 1 else f"at {times} times, that of x_0 among them, these have {numbers}"
        )
        raise ValueError(
            f"`observe` = random is for states of at most {_FIELD} numbers, {told}; train for one "
            "observation, such as sensors:0.25."
        )
    x = states[:_ROWS].flatten(1, 2).double()  # times as channels, or as components
    mean, covariance = covariance_rows(process.plain.layout, x, process.design.noise[0])
    power, directions = torch.linalg.eigh((covariance + covariance.T) / 2)
    kept = (power > _LEAST * process.design.noise[0] ** 2).nonzero()[-_MOST:, 0]
    return SensorEstimate(process, mean.flatten().to(states), directions.T[kept].to(states), power[kept].to(states))
