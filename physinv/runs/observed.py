"""Runs that are trained for partial observations of final states."""

from __future__ import annotations

__all__ = [
    "DEFAULT_NOISE",
    "check_observable",
    "observation_info",
    "observed_of",
    "observed_tensors",
    "trained_for",
    "untrained",
    "with_observations",
]

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from physinv.config.seeds import seeds
from physinv.equations.sde import Linear
from physinv.laws.operators import named
from physinv.methods.problem import Problem
from physinv.methods.registry import METHODS
from physinv.methods.saving import below, loading_of, prefixed
from physinv.processes.layout import StateLayout
from physinv.processes.simulator import Simulator
from physinv.training.final_estimate import FinalEstimate, fit_final_estimate

DEFAULT_NOISE = 0.05
"""Noise of a partial observation where none is given, over the standard deviation of final states."""

_PART = "observed"


def observation_info(problem: Problem, observe: str, noise: float | None) -> dict[str, Any]:
    """Return what run.json says of a partial observation.

    Args:
        problem: The problem, with whole final states.
        observe: What is observed.
        noise: Standard deviation of its noise; None: a twentieth of that of final states.

    Returns:
        Its words, its noise and the seed of the places of its sensors.
    """
    if noise is None:
        noise = DEFAULT_NOISE * float(problem.train.layout.moving(problem.train.states(-1)).std())
    return {"observe": observe, "noise": float(noise), "seed": problem.seed}


def with_observations(problem: Problem, method: str, seen: Mapping[str, Any]) -> Problem:
    """Put estimates from partial observations into the place of all final states.

    Args:
        problem: The problem, with whole final states.
        method: Name of the method that will solve it.
        seen: What :func:`observation_info` returned.

    Returns:
        The problem, with its data in memory.

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
    observation = named(seen["observe"], seen["noise"], problem.train.shape, seed=seen["seed"])
    estimate = fit_final_estimate(problem.train.layout, problem.train.states(-1), observation)
    stream = seeds(problem.seed).child("training", "observed")
    train, valid = (
        estimate.replaced(data, generator=stream.child(role).generator(data.device))
        for role, data in (("train", problem.train), ("valid", problem.valid))
    )
    return replace(problem, train=train, valid=valid, observed=estimate)


def observed_tensors(problem: Problem) -> dict[str, Tensor]:
    """Return the tensors of the estimate of final states, by the names that a run stores them under.

    Args:
        problem: The problem that was solved.
    """
    return {} if problem.observed is None else prefixed(_PART, problem.observed.tensors())


def observed_of(info: Mapping[str, Any], tensors: Mapping[str, Tensor], simulator: Simulator) -> FinalEstimate | None:
    """Return the estimate of final states of a run; None where it is trained for whole ones.

    Args:
        info: What run.json says.
        tensors: All tensors of the run.
        simulator: The process.
    """
    seen = info.get("observation")
    if seen is None:
        return None
    observation = named(seen["observe"], seen["noise"], simulator.layout.shape, seed=seen["seed"])
    return FinalEstimate.from_tensors(observation, below(_PART, tensors))


def trained_for(info: Mapping[str, Any], observe: str | None, noise: float | None) -> dict[str, Any]:
    """Return the partial observation of a reconstruction: that which the run is trained for, or the one that is asked.

    Args:
        info: What run.json says.
        observe: What is asked to be observed; None leaves it to the run.
        noise: Standard deviation of its noise; None likewise.

    Returns:
        Both, by the names that :class:`~physinv.runs.reconstruct.SamplingPlan` has for them.

    Raises:
        ValueError: If the run is trained for another observation.
    """
    seen = info.get("observation")
    if seen is None:
        return {"observe": observe, "observed_noise": noise}
    if observe not in (None, seen["observe"]) or noise not in (None, seen["noise"]):
        raise ValueError(
            f"`observe` and `observed_noise` must be those that the run is trained for, {seen['observe']} and "
            f"{seen['noise']:g}, got {observe} and {noise}; leave them out, or train a run for them."
        )
    return {"observe": seen["observe"], "observed_noise": seen["noise"]}


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
        "whole final states were drawn from a Gaussian law given the observed part, and states of a nonlinear process "
        f"have another: intervals are too narrow or too wide; train a run for this, `physinv train ... --observe "
        f"{observe}`."
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
