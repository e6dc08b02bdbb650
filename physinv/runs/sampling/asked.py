"""What a reconstruction observes: what its run is trained for, or what is asked of one that takes any sensors."""

from __future__ import annotations

__all__ = ["observation_for"]

from typing import Any

from physinv.laws.operators import named
from physinv.runs.observed import for_sensors
from physinv.runs.run import Run
from physinv.training.final_estimate import Reader
from physinv.training.sensors.estimate import SensorEstimate


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
        if observe is None or for_sensors(observe):
            raise ValueError(
                f"the run is trained for any sensors ({seen['observe']}); say which, such as `observe` = sensors:0.25."
            )
        if noise is None:
            low, high = seen["noise"]
            noise = (low * high) ** 0.5
        observation = named(observe, noise, run.simulator.layout.shape, seed=seed)
        return run.partial.at(observation), {"observe": observe, "observed_noise": noise}
    assert isinstance(run.partial, Reader)
    if observe not in (None, seen["observe"]) or noise not in (None, seen["noise"]):
        raise ValueError(
            f"`observe` and `observed_noise` must be those that the run is trained for, {seen['observe']} and "
            f"{seen['noise']:g}, got {observe} and {noise}; leave them out, or train a run for them."
        )
    return run.partial, {"observe": seen["observe"], "observed_noise": seen["noise"]}
