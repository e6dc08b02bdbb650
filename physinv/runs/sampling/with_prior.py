"""A method with the prior of a run, under a process that is named now: one prior, many forward models."""

from __future__ import annotations

__all__ = ["fit_with_prior", "load_prior"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from physinv.config.seeds import seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.methods.prior import PriorAnswer
from physinv.posterior.learned_prior import LearnedPrior
from physinv.processes.given import GivenPhysics, give_physics
from physinv.processes.parameters import build, describe
from physinv.processes.recorded import Recorded
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator
from physinv.runs.run import Run, fit_run, load_run
from physinv.runs.run_json import identity

_FEWEST = 8  # initial states that the forward model is fitted to
_SHARE = 4  # one of so many runs of the process is for validation


def load_prior(run: Path | str, *, device: torch.device | None = None) -> LearnedPrior:
    """Load the prior that a run learned.

    Args:
        run: Folder of the run.
        device: Where the prior is needed; None: on the CPU.

    Returns:
        The prior.

    Raises:
        ValueError: If the run is missing, unfinished or damaged, or holds another method.
    """
    return _prior_of(load_run(run, device=device, prior=True), run)


def fit_with_prior(
    run: Path | str,
    *,
    method: str,
    simulator: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: torch.device | None = None,
) -> Run:
    """Prepare a method with the prior of a run under any process of the same states; nothing is trained.

    What the method fits in closed form, it fits to runs of the process from the initial states that the run keeps.

    Args:
        run: Folder of the run that learned the prior.
        method: Name of the method, one that takes a prior: ``dps``, ``mcmc``, ``gauss-newton`` or ``lbfgs``.
        simulator: Name of the process, or ``module:Class``; None: that of the prior's data.
        parameters: Its parameters by name.  Those that are not given have the values of the prior's data where the
            process is the same, else their defaults.
        options: Options of the method, by name.
        seed: Seed of whatever it draws.
        device: Where to compute; None: on the CPU.

    Returns:
        The method, ready for observations of that process.

    Raises:
        ValueError: If the run holds no prior, the process has other states or unknown parameters, or the method takes
            no prior.
    """
    learned = load_run(run, device=device, prior=True)
    prior = _prior_of(learned, run)
    process, name = _process(learned, simulator, dict(parameters or {}))
    if process.unknown:
        raise ValueError(
            f"`simulator` must have known parameters with a given prior, got {', '.join(process.unknown)}."
        )
    shape, theirs = tuple(learned.info["shape"]), tuple(process.shape)
    if shape != theirs:
        raise ValueError(
            f"`simulator` must have states of shape {shape} as the prior in {run}, got {theirs} of {name}; set its "
            "parameters of size."
        )

    # Runs of the process from initial states of the prior's data.
    assert learned.summary is not None  # runs that learn a prior keep one
    start = learned.summary.initial
    if len(start) < _FEWEST:
        raise ValueError(
            f"`--prior` must be learned from {_FEWEST} trajectories or more, got {len(start)} in {run}; train it on "
            "more."
        )
    generator = seeds(seed).child("method", "prior").generator()
    states = process.run(start, process.times, generator=generator)
    config = {"simulator": name, "parameters": describe(process), "units": learned.info.get("units", {})}
    header = Header(name, process.layout, shape, tuple(process.times.tolist()), len(states), {}, config)
    held = max(2, len(states) // _SHARE)
    train, valid = (TrajectoryDataset.of_states(some, header, Path(run)) for some in (states[held:], states[:held]))
    physics = process if isinstance(process, GivenPhysics) else None
    fitted = fit_run(
        train, valid, method=method, options=options, seed=seed, device=device, physics=physics, prior=prior
    )
    fitted.info["prior"] = {"run": str(run), "identity": identity(learned.info)}
    return fitted


def _process(learned: Run, simulator: str | None, parameters: dict[str, Any]) -> tuple[Simulator, str]:
    """The process, and the name under which datasets have it."""
    own, kept = learned.simulator, learned.info["simulator"]
    recorded = own.recorded if isinstance(own, GivenPhysics) else own
    if isinstance(recorded, Recorded):
        if simulator is None and not own.known:
            raise ValueError("`simulator` must name the physics, since the prior is of imported data; give it.")
        physics = own if simulator is None else give_physics(recorded, simulator, parameters)
        return physics, "recorded"
    name = simulator or kept
    return build(find(name), (describe(own) if name == kept else {}) | parameters), name


def _prior_of(run: Run, folder: Path | str) -> LearnedPrior:
    if not isinstance(run.answer, PriorAnswer):
        raise ValueError(
            f"{folder} is a run of method `{run.method}`, no prior; make one with `physinv train DATASET --prior`."
        )
    return run.answer.law
