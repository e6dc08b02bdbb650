"""What a reconstruction observes: what its run is trained for, or what is asked of one that takes any sensors."""

from __future__ import annotations

__all__ = ["AmortisedRecord", "observation_for", "records_of", "usual_noise"]

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import Times, as_times
from physinv.config.seeds import seeds
from physinv.laws.operators import named
from physinv.laws.record import ObservationRecord
from physinv.methods.auto import underlying
from physinv.methods.classical.smoothing.given_start import trajectories_given
from physinv.methods.parameters import joint_samples
from physinv.methods.problem import Answer, RecordAnswer, TakesRecords
from physinv.models.jumps.parameters import ParameterKernel
from physinv.processes.varying import Varying
from physinv.runs.observed import for_sensors
from physinv.runs.run import Run
from physinv.training.final_estimate import Reader
from physinv.training.sensors.estimate import SensorEstimate, sensor_places

_TRIED = 48  # new trajectories on which draws given a record are tried
_GRADIENTS = 16  # by which the noise on the way is moved, given an initial state
_MEAN_DRAWS = 64  # of unknown parameters, over which single estimates of a state are averaged
_NEAR = 1e-6  # of the horizon, and of a noise: numbers that are the same


def observation_for(
    run: Run, observe: str | None, noise: float | None, *, seed: int
) -> tuple[Reader | None, dict[str, Any]]:
    """Return the partial observation of a reconstruction, and what reads it for the run.

    Args:
        run: The run.
        observe: What is asked to be observed; None leaves it to the run.
        noise: Standard deviation of its noise; None likewise.
        seed: Seed of the places of sensors, where the run does not set them.

    Returns:
        What estimates final states from what is observed, None where the run is not trained for that; and words and
        noise by the names that :class:`~physinv.runs.sampling.plan.SamplingPlan` has for them.

    Raises:
        ValueError: If the run is trained for another observation, or noise is given and nothing that has it.
    """
    seen, asked = run.info.get("observation"), {"observe": observe, "observed_noise": noise}
    if seen is None:
        if observe is None and noise is not None:
            raise ValueError(f"`observed_noise` belongs to a partial observation, got {noise:g}; give `observe`.")
        return None, asked
    if isinstance(run.partial, SensorEstimate):
        if "at" in seen:
            told = ",".join(f"{t:g}" for t in seen["at"])
            raise ValueError(f"the run is trained for sensors that see several times; give `at` = {told} as well.")
        if observe is None or for_sensors(observe):
            raise ValueError(
                f"the run is trained for any sensors ({seen['observe']}); say which, such as `observe` = sensors:0.25."
            )
        noise = _middle(*seen["noise"]) if noise is None else noise
        observation = named(observe, noise, run.simulator.layout.shape, seed=seed)
        return run.partial.at(observation), {"observe": observe, "observed_noise": noise}
    assert isinstance(run.partial, Reader)
    if observe not in (None, seen["observe"]) or noise not in (None, seen["noise"]):
        raise ValueError(
            f"`observe` and `observed_noise` must be those that the run is trained for, {seen['observe']} and "
            f"{seen['noise']:g}, got {observe} and {noise}; leave them out, or train a run for them."
        )
    return run.partial, {"observe": seen["observe"], "observed_noise": seen["noise"]}


def usual_noise(run: Run) -> float | None:
    """Return the middle of the noises that a run for random sensors is trained for; None for another run.

    Args:
        run: The run.
    """
    return _middle(*run.info["observation"]["noise"]) if isinstance(run.partial, SensorEstimate) else None


def _middle(low: float, high: float) -> float:
    """The middle of a range of noises, in logarithms."""
    return math.sqrt(low) * math.sqrt(high)


def records_of(run: Run) -> TakesRecords:
    """Return what answers records of observations for a run.

    Args:
        run: The run.

    Raises:
        ValueError: If its method answers none, or it is trained for one partial observation.
    """
    if isinstance(run.partial, SensorEstimate):
        return _Amortised(run.answer, run.partial, run.times, run.parameters)
    if run.partial is not None:
        seen = run.info["observation"]["observe"]
        raise ValueError(
            f"the run is trained for `observe` = {seen} of final states and answers no records; train one with "
            "`--observe random:LOW-HIGH --at T,T`, or on whole final states."
        )
    answer = underlying(run.answer)
    if not isinstance(answer, TakesRecords):
        raise ValueError(
            f"method `{run.method}` answers no records of several times; take mcmc, gauss-newton or physinv."
        )
    return answer


@dataclass(frozen=True)
class _Amortised:
    """A run that is trained for random sensors, as what answers records of such.

    Args:
        answer: What draws initial states given estimates.
        estimate: The estimate from any sensors.
        times: Stored times.
        parameters: The law of unknown parameters, which are drawn first; None: all are known.
    """

    answer: Answer
    estimate: SensorEstimate
    times: Float[Tensor, " time"]
    parameters: ParameterKernel | None = None

    def given(self, observed: ObservationRecord) -> AmortisedRecord:
        """Return the answer to a record.

        Args:
            observed: The record.

        Raises:
            ValueError: If it is not one that the run is trained for.
        """
        process, end = self.estimate.process, float(self.times[-1])
        times = [float(self.times[row]) for row in process.seen_rows]
        told, noises = ", ".join(f"{t:g}" for t in times), {entry.observation.noise for entry in observed.entries}
        seen = sorted((entry.times for entry in observed.entries), key=lambda at: at[0])
        fits = len(seen) == len(times) and all(
            len(at) == 1 and abs(at[0] - t) <= _NEAR * end for at, t in zip(seen, times, strict=True)
        )
        if not fits:
            got = "; ".join(", ".join(f"{t:g}" for t in at) for at in seen)
            raise ValueError(
                f"the run is trained for one entry of a record at each of the times {told}, got {got}; where nothing "
                "was seen give NaN."
            )
        if observed.level is not None or max(noises) > (1 + _NEAR) * min(noises):
            raise ValueError("the run is trained for one noise, the same at all times, that is known; give a number.")
        level, shape = process.design.level(max(noises)), process.plain.shape
        parts = []
        for entry in observed.entries:
            row = seen.index(entry.times)
            places, mask = sensor_places(entry.observation, shape, process.points)
            parts.append((row, places, mask))
        return AmortisedRecord(self.answer, self.estimate, observed, tuple(parts), level, self.parameters)


@dataclass(frozen=True)
class AmortisedRecord(RecordAnswer):
    """The answer of a run that is trained for random sensors to a record of such: one pass for each draw.

    States after the initial one are those of paths from it: the noise on the way is drawn given both
    (:mod:`~physinv.methods.classical.smoothing.given_start`).

    Args:
        answer: What draws initial states given estimates.
        estimate: The estimate from any sensors.
        record: What is seen at which times.
        parts: Of each entry the number of its time, the place of each observed number in a flat state, and which
            points are seen.
        level: Level of the noise.
        parameters: The law of unknown parameters, which are drawn first; None: all are known.
        tried: New trajectories on which draws are tried.
    """

    answer: Answer
    estimate: SensorEstimate
    record: ObservationRecord
    parts: tuple[tuple[int, Tensor, Tensor], ...]
    level: float
    parameters: ParameterKernel | None = None
    tried: int = _TRIED

    def mean(self, final: Any) -> Float[Tensor, "batch *state"]:
        if self.parameters is not None:
            generator = seeds(0).child("method", "mean").generator(final.device)
            return self.sample(final, _MEAN_DRAWS, generator=generator).mean(1)
        return self._plain(self.answer.mean(self._estimated(final)))

    def sample_at(
        self, y: Float[Tensor, "batch seen"], n: int, times: Times, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch n time *state"]:
        """Draw trajectories: initial states by the run, and the noise on the way given them.

        Args:
            y: Observed numbers, NaN where one is missing.
            n: Draws for each row.
            times: Times, 0 or later; those after the last of the record are forecasts.
            generator: Source of randomness.

        Returns:
            One trajectory for each draw.

        Raises:
            NotApplicableError: For later times of a process whose paths have no density, or no known physics.
        """
        drawn = self._plain(self._drawn(self._estimated(y), n, generator))
        wanted = as_times(times).tolist()
        if wanted == [0.0]:
            return drawn[:, :, None]
        process, record = self.estimate.process.inner, self.record
        record = record.through(process.state) if isinstance(process, Varying) else record
        return trajectories_given(process, record, drawn, y, wanted, _GRADIENTS, generator=generator)

    def _drawn(self, estimated: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
        """Initial states with sensors, whose unknown parameters are drawn first."""
        if self.parameters is None:
            return self.answer.sample(estimated, n, generator=generator)

        def state(seen: Tensor) -> Tensor:
            return self.answer.sample(seen, 1, generator=generator)[:, 0]

        return joint_samples(self.parameters, state, estimated, n, generator=generator)

    def _estimated(self, y: Tensor) -> Tensor:
        """Final states with all that is told of the record."""
        process = self.estimate.process
        numbers, rows = math.prod(process.plain.shape), len(process.seen_rows)
        whole, seen = y.new_zeros(len(y), rows, numbers), y.new_zeros(len(y), rows, process.points, dtype=torch.bool)
        pieces = torch.split(y, [len(places) for _, places, _ in self.parts], dim=1)
        for (row, places, mask), piece in zip(self.parts, pieces, strict=True):
            there = torch.ones(len(y), numbers, dtype=torch.bool, device=y.device)
            there[:, places] = piece.isfinite()
            whole[:, row, places] = piece.nan_to_num(0.0)
            seen[:, row] = mask.to(y.device) & there.reshape(len(y), -1, process.points).all(1)
        whole = whole.reshape(len(y), rows, *process.plain.shape)
        return self.estimate(whole, seen.flatten(1), y.new_full((len(y),), self.level))

    def _plain(self, x: Tensor) -> Tensor:
        """States without sensors and estimates."""
        process = self.estimate.process
        return x.narrow(x.ndim - len(process.shape), 0, process.inner.shape[0])
