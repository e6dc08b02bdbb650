"""Runs that are trained for partial observations of final states: for one, or for any sensors."""

from __future__ import annotations

__all__ = [
    "DEFAULT_NOISE",
    "check_observable",
    "for_sensors",
    "noise_of",
    "observation_info",
    "observed_of",
    "observed_tensors",
    "plain_data",
    "prior_of_noise",
    "row_at",
    "rows_at",
    "seen_by_method",
    "untrained",
    "with_observations",
    "with_unknown_noise",
]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.inputs import as_times, describe
from physinv.config.seeds import seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import Linear
from physinv.laws.operators import named
from physinv.methods.problem import Problem
from physinv.methods.registry import METHODS
from physinv.methods.saving import below, loading_of, prefixed
from physinv.processes.layout import StateLayout
from physinv.processes.priors import OBSERVED_NOISE, ParameterPrior, prior_from, read_prior
from physinv.processes.simulator import Simulator
from physinv.processes.varying import Varying, with_observed_noise
from physinv.training.final_estimate import FinalEstimate, Observer, fit_final_estimate
from physinv.training.sensors.design import WORD, SensorDesign, read_design
from physinv.training.sensors.estimate import SensorEstimate, fit_sensor_estimate
from physinv.training.sensors.process import Sensed

DEFAULT_NOISE = 0.05
"""Noise of a partial observation where none is given, over the standard deviation of final states."""

_PART = "observed"
_NEAR = 1e-6  # of the horizon: times that are the same


def for_sensors(observe: str | None) -> bool:
    """Return whether an observation is random sensors, in other places for each trajectory.

    Args:
        observe: What is observed.

    Example:
        >>> for_sensors("random:0.05-0.5"), for_sensors("sensors:0.25")
        (True, False)
    """
    return observe is not None and observe.partition(":")[0] == WORD


def observation_info(
    problem: Problem, observe: str, noise: float | str | None, at: Sequence[float] = ()
) -> dict[str, Any]:
    """Return what run.json says of a partial observation.

    Args:
        problem: The problem, with whole final states.
        observe: What is observed.
        noise: Standard deviation of its noise, or a range or a prior of it; None: a twentieth of that of final states.
        at: Stored times at which random sensors see; none: the final one.

    Returns:
        Its words, its noise (of random sensors the two ends of its range, of an unknown one the middle of its prior),
        the seed of the places of its sensors, and times that are not the final one alone.

    Raises:
        ValueError: If the words are no observation, a range is given to one that has a single noise, or times are not
            stored ones or belong to no random sensors.
    """
    if not isinstance(observe, str):
        raise ValueError(f"`observe` must be a word such as sensors:0.25, got {describe(observe)}; see the guide.")
    if noise is None:
        noise = DEFAULT_NOISE * float(problem.train.layout.moving(problem.train.states(-1)).std())
    if for_sensors(observe):
        if OBSERVED_NOISE in problem.simulator.unknown:
            raise ValueError(
                "`observe` = random is told the noise of each trajectory, which is unknown here; give a range such as "
                "`observed_noise` = 0.05-0.3, or take one observation, such as sensors:0.25."
            )
        design, info = read_design(observe, str(noise)), {"observe": observe, "seed": problem.seed}
        times = problem.train.times
        told = [float(times[row]) for row in rows_at(times, at)]
        return info | {"noise": list(design.noise)} | ({"at": told} if told not in ([], [float(times[-1])]) else {})
    if at:
        raise ValueError(
            f"`at` is for random sensors, got it with {observe}; take `observe` = random:LOW-HIGH, such as random:0.25."
        )
    prior = prior_of_noise(noise)
    middle = noise_of(noise) if prior is None else float(prior.quantile(torch.tensor(0.5, dtype=torch.float64)))
    return {"observe": observe, "noise": middle, "seed": problem.seed}


def row_at(times: Float[Tensor, " time"], t: float) -> int | None:
    """Return the number of a stored time; None where it is not stored.

    Args:
        times: Stored times.
        t: One of them.
    """
    gap = (times - t).abs()
    return int(gap.argmin()) if float(gap.min()) <= _NEAR * float(times[-1]) else None


def rows_at(times: Float[Tensor, " time"], at: Sequence[float]) -> tuple[int, ...]:
    """Return the numbers of stored times, increasing.

    Args:
        times: Stored times.
        at: Some of them.

    Raises:
        ValueError: If one is not stored, or named twice.
    """
    rows = [row_at(times, t) for t in as_times(at, "at").tolist()]
    found = sorted({row for row in rows if row is not None})
    if len(found) < len(rows):
        raise ValueError(
            f"`at` must be different stored times, 0 to {float(times[-1]):g} in {len(times) - 1} steps, got "
            f"{', '.join(f'{float(t):g}' for t in at)}; choose from these."
        )
    return tuple(found)


def prior_of_noise(noise: float | str | None) -> ParameterPrior | None:
    """Return the prior of a noise that is unknown; None where it is a number.

    Args:
        noise: Such as ``"log_uniform:0.02:0.5"``, or a number.

    Raises:
        ValueError: If there is no such law.
    """
    told = read_prior(noise) if isinstance(noise, str) else None
    return None if told is None else prior_from(OBSERVED_NOISE, told)


def with_unknown_noise(problem: Problem, prior: ParameterPrior) -> Problem:
    """Let every trajectory have its own deviation of the noise of its observation, which nobody is told.

    Args:
        problem: The problem, with its data in memory.
        prior: The law of the deviation.

    Returns:
        The problem, whose process and states have one more unknown parameter.
    """
    made = with_observed_noise(problem.simulator, prior)
    stream = seeds(problem.seed).child("training", "observed", "level")
    found = []
    for role, data in (("train", problem.train), ("valid", problem.valid)):
        states = data.load(data.device).trajectories()
        u = torch.rand(len(states), generator=stream.child(role).generator(states.device), device=states.device)
        level = prior.quantile(u.double().clamp(1e-7, 1 - 1e-7)).to(states)
        still = level.reshape(-1, *[1] * (states.ndim - 1)).expand(*states.shape[:2], 1, *states.shape[3:])
        found.append(data.with_states(torch.cat([states, still], dim=2), made.layout))
    return replace(problem, simulator=made, train=found[0], valid=found[1])


def noise_of(noise: float | str) -> float:
    """Return one standard deviation of the noise of an observation.

    Args:
        noise: The number, or its text.

    Raises:
        ValueError: If it is no number.
    """
    try:
        return float(noise)
    except ValueError:
        raise ValueError(
            f"`observed_noise` must be one number, got {noise!r}; ranges such as 0.05-0.3 are for `observe` = "
            "random:LOW-HIGH, priors such as log_uniform:0.02:0.5 for `train`, and for records of some times (`at`)."
        ) from None


def seen_by_method(info: Mapping[str, Any], simulator: Simulator) -> Simulator:
    """Return the process as the method of a run sees it: with the sensors of each trajectory, where it is told those.

    Args:
        info: What run.json says.
        simulator: The process.
    """
    seen = info.get("observation")
    if seen is None or not for_sensors(seen["observe"]):
        return simulator
    fraction = read_design(seen["observe"], "1").fraction
    rows = rows_at(simulator.times, seen.get("at", ()))
    return _sensed(simulator, SensorDesign(fraction, tuple(seen["noise"])), rows)


def with_observations(problem: Problem, method: str, seen: Mapping[str, Any]) -> Problem:
    """Put estimates from partial observations into the place of all final states.

    Args:
        problem: The problem, with whole final states.
        method: Name of the method that will solve it.
        seen: What :func:`observation_info` returned.

    Returns:
        The problem, with its data in memory; for random sensors its process and its states have them.

    Raises:
        ValueError: If the method needs whole final states, or the data are too large for the memory.
    """
    if not loading_of(METHODS.find(method)).partial:
        raise ValueError(
            f"method `{method}` needs whole final states, so it can't be trained for `observe` = {seen['observe']}; "
            "take physinv, flow-matching, conditional-diffusion or deep-ensemble."
        )
    for role, data in (("train", problem.train), ("valid", problem.valid)):
        if not data.in_memory:
            raise ValueError(
                f"`observe` needs the data in memory, `{role}` has {data.nbytes / 2**30:.3g} GiB; raise the setting "
                "`memory`, or give fewer trajectories."
            )
    simulator = seen_by_method({"observation": seen}, problem.simulator)
    estimate = _fitted(simulator, problem.train, seen)
    stream = seeds(problem.seed).child("training", "observed")
    train, valid = (
        estimate.replaced(data, generator=stream.child(role).generator(data.device))
        for role, data in (("train", problem.train), ("valid", problem.valid))
    )
    return replace(problem, simulator=simulator, train=train, valid=valid, observed=estimate)


def plain_data(problem: Problem) -> tuple[Simulator, TrajectoryDataset, TrajectoryDataset]:
    """Return process, training and validation data of a problem without the sensors that a method is told.

    Args:
        problem: The problem.
    """
    process = problem.simulator
    if not isinstance(process, Sensed):
        return process, problem.train, problem.valid
    channels, layout = process.inner.shape[0], process.inner.layout
    train, valid = (
        data.with_states(data.load(data.device).trajectories()[:, :, :channels], layout)
        for data in (problem.train, problem.valid)
    )
    return process.inner, train, valid


def observed_tensors(problem: Problem) -> dict[str, Tensor]:
    """Return the tensors of the estimate of final states, by the names that a run stores them under.

    Args:
        problem: The problem that was solved.
    """
    return {} if problem.observed is None else prefixed(_PART, problem.observed.tensors())


def observed_of(info: Mapping[str, Any], tensors: Mapping[str, Tensor], simulator: Simulator) -> Observer | None:
    """Return the estimate of final states of a run; None where it is trained for whole ones.

    Args:
        info: What run.json says.
        tensors: All tensors of the run.
        simulator: The process.
    """
    seen = info.get("observation")
    if seen is None:
        return None
    process = seen_by_method(info, simulator)
    if isinstance(process, Sensed):
        return SensorEstimate.from_tensors(process, below(_PART, tensors))
    varying = simulator if isinstance(simulator, Varying) else None
    shape = simulator.shape if varying is None else varying.inner.shape
    observation = named(seen["observe"], seen["noise"], shape, seed=seen["seed"])
    return FinalEstimate.from_tensors(observation, below(_PART, tensors), varying)


def untrained(simulator: Simulator, observe: str | None) -> list[str]:
    """Return the warning of a reconstruction from partial observations that its run is not trained for.

    Args:
        simulator: The process.
        observe: What is observed; None: whole final states, or what the run is trained for.

    Returns:
        One sentence where final states given a part of them are drawn from a law that they do not have.
    """
    if observe is None or isinstance(simulator, Linear) or not simulator.layout.space:
        return []
    return [
        "whole final states were drawn by a Gaussian update given the observed part, and states of a nonlinear process "
        "have another law: intervals may be too narrow or too wide; train a run for this, `physinv train ... "
        f"--observe {observe}`."
    ]


def check_observable(observe: str, layout: StateLayout, *, alone: bool) -> None:
    """Refuse partial observations of what cannot be seen in part, by a run that is trained for whole final states.

    Args:
        observe: What is to be observed.
        layout: Layout of the states.
        alone: Whether final states are given alone, without the trajectories that they end.

    Raises:
        ValueError: If final states are given alone, or are particles.
    """
    if alone:
        raise ValueError(
            f"`observe` takes numbers from whole trajectories and adds noise, got {observe} with observations; "
            "leave it out, give `data`, or a run that is trained for it."
        )
    if not layout.partly_observable:
        raise ValueError("`observe` is for vectors and fields; particles are seen whole, leave it out.")


def _sensed(simulator: Simulator, design: SensorDesign, rows: tuple[int, ...]) -> Sensed:
    return Sensed(horizon=simulator.horizon, steps=simulator.steps, inner=simulator, design=design, rows=rows)


def _fitted(simulator: Simulator, train: TrajectoryDataset, seen: Mapping[str, Any]) -> Observer:
    """The estimate of final states of a process, as a method sees it."""
    if isinstance(simulator, Sensed):
        return fit_sensor_estimate(simulator, torch.stack([train.states(i) for i in simulator.estimated_rows], 1))
    final = train.states(-1)
    varying = simulator if isinstance(simulator, Varying) else None
    own = simulator if varying is None else varying.inner
    observation = named(seen["observe"], seen["noise"], own.shape, seed=seen["seed"])
    estimate = fit_final_estimate(own.layout, final if varying is None else varying.state(final), observation)
    return replace(estimate, process=varying)
