"""A trained method on disk: everything that is needed to reconstruct with it."""

from __future__ import annotations

__all__ = ["Run", "fit_run", "load_run", "read_info", "train_run"]

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from physinv.config.devices import as_device, threads_for
from physinv.config.inputs import as_path, as_times, check_instance
from physinv.config.outputs.locks import lock_folder
from physinv.config.seeds import seeds
from physinv.config.settings import Settings, as_settings
from physinv.config.versions import versions
from physinv.data.checks import check_moving, check_sizes, check_splits, fingerprint
from physinv.data.dataset import TrajectoryDataset
from physinv.data.imports.windows import independent
from physinv.data.process import process_of
from physinv.evaluation.physics.increments import check_physics
from physinv.laws.prior import Prior
from physinv.methods.auto import underlying
from physinv.methods.parameters import SHARE, draws_parameters, fit_parameters, load_parameters
from physinv.methods.prior import PriorAnswer
from physinv.methods.problem import Problem
from physinv.methods.registry import (
    DEFAULT_METHOD,
    METHODS,
    check_options,
    check_takes_prior,
    fit_method,
    load_method,
    stored_tensors,
    trains,
)
from physinv.methods.saving import Setup, below, check_saveable, notes_of, prefixed
from physinv.models.networks.build import check_network
from physinv.models.references.registry import check_reference
from physinv.processes.given import GIVEN, GivenPhysics
from physinv.processes.parameters import describe as parameters_of
from physinv.processes.priors import OBSERVED_NOISE
from physinv.processes.simulator import Simulator
from physinv.processes.varying import Varying
from physinv.runs.files import SUMMARY, read_model, write_model
from physinv.runs.observed import (
    observation_info,
    observed_of,
    observed_tensors,
    plain_data,
    prior_of_noise,
    seen_by_method,
    with_observations,
    with_unknown_noise,
)
from physinv.runs.places import Opening, finish, place_of
from physinv.runs.run_json import SCHEMA, process_of_run, read_info, write_info
from physinv.runs.summary import TrainingSummary, read_summary, summarise, write_summary
from physinv.runs.trained import Run
from physinv.training.budget import Budget, check_budget
from physinv.training.objectives.choose import check_objective
from physinv.training.validation import Announce, History, Progress, check_listeners

_PARAMETERS = "parameters"  # folder, and first part of the names of tensors, of the law of unknown parameters


def train_run(
    run: Path | str,
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    *,
    method: str = DEFAULT_METHOD,
    options: Mapping[str, Any] | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    budget: Budget,
    seed: int = 0,
    device: torch.device | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    announce: Announce | None = None,
    physics: GivenPhysics | None = None,
    observe: str | None = None,
    observed_noise: float | str | None = None,
    at: Sequence[float] = (),
) -> History:
    """Train a method on a dataset in a folder, from which it can be loaded and resumed.

    The physics of imported data is learned where a method needs physics, whatever ``settings.physics`` says; run.json
    has it as "learned". Learning the physics takes half of the budget. An overwritten run stays as it was until the new
    one is finished, which then takes its place as a whole; stopped before that, ``resume`` goes on with the new one.

    A run may be resumed with a larger budget, finished or not: it goes on from its last checkpoint. The learning rate
    depends on the share of the budget that is done, so the weights are not those of a run with that budget from the
    start. Learned physics stays as it was. Until the new answer is written the older one stays.

    Args:
        run: Folder of the run.
        train: Trajectories to train on.
        valid: Trajectories to validate on, and to calibrate the method on where it asks for that.
        method: Name of the method, or ``module:function`` (:mod:`physinv.methods`).
        options: Options of the method, by name.
        settings: Training settings, or their values by name.
        budget: Number of updates (reproducible to the byte on one device), or a time.
        seed: Seed of the networks' first weights and of the training.
        device: Where to train, such as ``"cuda"``; None: on the CPU.
        resume: Whether to go on with a run that was begun in this folder.
        overwrite: Whether to replace a run that is there, when the new one is finished.
        progress: Hears of every validation, and twice a second of the share that is done.
        announce: Hears what is being done: fits, training, calibration, choice.
        physics: Physics of recorded data (:func:`~physinv.runs.physics.physics_of`); None: it is learned.
        observe: What will be observed of final states, such as ``"sensors:0.25"``; see
            :func:`~physinv.laws.operators.named`.  ``"random:0.05-0.5"``: any sensors, of this share of the points.
            None: the whole of them.
        observed_noise: Standard deviation of its noise, in the unit of the state, of random sensors also a range such
            as ``"0.05-0.3"``, and where it is unknown a prior such as ``"log_uniform:0.02:0.5"``; None: a twentieth
            of the standard deviation of final states.
        at: Stored times at which random sensors see, at each of them others; none: the final time.

    Returns:
        The log, and the step whose averaged weights were kept; of several networks the lines one after another, and
        the step of the last one.

    Raises:
        BlockingIOError: If another process trains there.
        FileExistsError: If there is a run in the folder and neither ``resume`` nor ``overwrite`` is set.
        ValueError: If the run to resume was begun with other data or settings, the method can't be saved, or a
            setting does not fit.
    """
    run, device = as_path(run, "run", "give the folder of the run"), as_device(device)
    check_options(method, options)
    check_listeners(progress, announce)
    options, at = dict(options or {}), tuple(as_times(at, "at").tolist())
    check_saveable(method, METHODS.find(method))
    problem = _problem(train, valid, as_settings(settings), budget, seed, device, physics)
    if observe is not None and (own := _noise_of_data(problem.simulator)) is not None:
        if observed_noise is not None:
            raise ValueError("`observed_noise` has a prior in the data already, one for each trajectory; leave it out.")
        observed_noise = own
    elif observe is not None and (prior := prior_of_noise(observed_noise)) is not None:
        problem = with_unknown_noise(problem, prior)
    info = _info(problem, train, method, options)
    if observe is not None:
        info["observation"] = seen = observation_info(problem, observe, observed_noise, at)
        problem = with_observations(problem, method, seen)
    elif at:
        raise ValueError("`at` belongs to a partial observation; give `observe`, such as random:0.25.")
    elif observed_noise is not None:
        told = observed_noise if isinstance(observed_noise, str) else f"{observed_noise:g}"
        raise ValueError(f"`observed_noise` belongs to a partial observation, got {told}; give `observe`.")
    if physics is not None:
        info["physics_check"] = [asdict(check) for check in check_physics(train, physics)]

    # Check all input before anything is written or removed.
    check_objective(problem.settings)
    check_reference(problem.settings)
    check_network(problem.settings)
    for window in problem.settings.windows:
        train.with_window(window), valid.with_window(window)

    # Train, then put the answer into its place, as a whole: its presence says that the run is finished.
    with lock_folder(run, "train"):
        place = place_of(run, info, resume=resume, overwrite=overwrite)
        opening = Opening(place, info, resume=resume)
        problem = replace(problem, folder=place, resume=resume, progress=progress, announce=announce, opening=opening)
        with threads_for(train.shape):  # the method first: it refuses what it cannot take before anything is spent
            share = SHARE if problem.simulator.unknown else 0.0
            answer = fit_method(method, _begun(problem, 1 - share), options)
            rest = problem.part(_PARAMETERS, share=SHARE, begun=1 - SHARE)
            parameters = fit_parameters(rest) if share else None
        opening()
        unknown = {} if parameters is None else prefixed(_PARAMETERS, dict(parameters.state_dict()))
        few = problem.valid.states(-1, limit=2)
        tensors = stored_tensors(method, answer, problem.setup, few, options) | unknown | observed_tensors(problem)
        info |= {"notes": notes_of(answer), "summary": True}
        with finish(run, place) as folder:
            write_summary(folder, summarise(*plain_data(problem)), info)
            write_info(folder, info)
            write_model(folder, tensors, info)
    done = sorted(problem.histories.items(), key=lambda item: item[0].name != _PARAMETERS)
    lines = [line for _, history in done for line in history.records]
    return History(lines, done[-1][1].best_step if done else 0)


def fit_run(
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    *,
    method: str,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    physics: GivenPhysics | None = None,
    prior: Prior | None = None,
) -> Run:
    """Fit a method that takes no training, without a folder.

    Args:
        train: Trajectories from which it takes the process, and what it fits in closed form.
        valid: Trajectories to validate on.
        method: Name of the method, or ``module:function``.
        options: Options of the method, by name.
        seed: Seed of whatever it draws.
        device: Where to compute; None: on the CPU.
        physics: Physics of recorded data; None: there is none, or the data are of a process.
        prior: The law of initial states, for methods that take one; None: that of the process or the data.

    Returns:
        What :func:`load_run` would return.

    Raises:
        ValueError: If there is no such method or option, the method takes training, or no prior.
    """
    device = as_device(device)
    check_options(method, options)
    options = dict(options or {})
    if prior is not None:
        check_takes_prior(method)
    elif trains(method):
        raise ValueError(
            f"method `{method}` takes training; run `physinv train ... --method {method}` and give the run."
        )
    problem = _problem(train, valid, Settings(), Budget(seconds=60.0), seed, device, physics)
    problem = replace(problem, prior=prior)
    with threads_for(train.shape):
        answer = fit_method(method, problem, options)
    if problem.simulator.unknown and not draws_parameters(answer):
        told = ", ".join(problem.simulator.unknown)
        raise ValueError(
            f"unknown parameters ({told}) take training; run `physinv train ... --method {method}` and give the run."
        )
    info = _info(problem, train, method, options) | {"budget": None, "notes": notes_of(answer)}
    summary = summarise(problem.simulator, problem.train, problem.valid)
    return Run(problem.simulator, underlying(answer), train.times, info, device, summary, prior=prior)


def load_run(run: Path | str, *, device: torch.device | str | None = None, prior: bool = False) -> Run:
    """Load a finished run.

    Args:
        run: Folder of the run.
        device: Where the answer is needed, such as ``"cuda"``; None: on the CPU.
        prior: Whether it may hold a prior, which knows no observation.

    Returns:
        The run: process, answer and times.

    Raises:
        ValueError: If the run is missing, unfinished or damaged, or holds a prior unasked; one line says what to do.
    """
    run, device = as_path(run, "run", "give the folder of a run"), as_device(device)
    info = read_info(run)
    simulator, times = process_of_run(info, run)
    tensors = read_model(run, info)
    try:
        setup = Setup(simulator, times, Settings(**info["settings"]), info["seed"], device, info["notes"])
        setup = replace(setup, simulator=seen_by_method(info, simulator))
        parameters = load_parameters(setup, below(_PARAMETERS, tensors))
        own = {key: tensor for key, tensor in tensors.items() if not key.startswith(f"{_PARAMETERS}.")}
        answer = load_method(info["method"], setup, tensors if parameters is None else own, info["options"])
    except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:  # whatever a wrong note leads to
        lacks = isinstance(error, KeyError) and error.args
        message = f"it lacks `{error.args[0]}`" if lacks else (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{run}/model.safetensors does not fit {run}/run.json: {message}; train again.") from None
    if isinstance(answer, PriorAnswer) and not prior:
        raise ValueError(
            f"{run} holds a prior, which knows no observation; give it to a method and a process: `physinv reconstruct "
            f"--method dps --prior {run} --simulator {info['simulator']}`."
        )
    summary, partial = _summary(run, info, simulator, device), observed_of(info, tensors, simulator)
    return Run(simulator, underlying(answer), times, info, device, summary, parameters, partial)


def _begun(problem: Problem, share: float) -> Problem:
    """The problem with the first share of its budget."""
    return replace(problem, budget=problem.budget.share(share), progress=problem.shifted(share, 0.0))


def _summary(run: Path, info: Mapping[str, Any], simulator: Simulator, device: torch.device) -> TrainingSummary | None:
    """What the run kept of its training data; None for runs of earlier versions, which kept nothing."""
    found = read_summary(run, info, simulator.layout, device)
    if found is None and info.get("summary"):
        raise ValueError(f"{run} lacks {SUMMARY}, which was written with it; put back a copy, or train again.")
    return found


def _problem(
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    settings: Settings,
    budget: Budget,
    seed: int,
    device: torch.device,
    physics: GivenPhysics | None = None,
) -> Problem:
    """The problem of a dataset, with data in memory unless they are too large."""
    check_splits(train, valid)
    check_budget(budget)
    seeds(seed)
    if physics is not None:
        check_instance(physics, GivenPhysics, "physics", "make it with physics_of of physinv.runs.physics")
    simulator = physics or process_of(train)
    if not simulator.known:
        settings = settings.model_copy(update={"physics": "learned"})
    limit = int(settings.memory * 2**30)
    train, valid = (d.load(device) if d.nbytes <= limit else d for d in (train, valid))
    check_moving(train, "train")
    check_sizes(train, "train")
    return Problem(simulator, train, valid, settings, budget, seed, device, mixed=device.type == "cuda")


def _info(problem: Problem, train: TrajectoryDataset, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says, but the notes of the answer."""
    info = {
        "schema": SCHEMA,
        "method": method,
        "options": options,
        "simulator": train.config["simulator"] if problem.simulator.startable or not problem.simulator.known else GIVEN,
        "parameters": parameters_of(problem.simulator),
        "times": [float(t) for t in train.times],
        "shape": list(problem.train.shape),
        "units": {**train.config.get("units", {}), **train.config.get("axis_units", {}), **_clock(train.config)},
        "components": list(train.config.get("components", ())),
        "trajectories": train.n_trajectories,
        "data": fingerprint(train, (0, -1)),
        **_judges(problem),
        "settings": problem.settings.model_dump(mode="json"),
        "seed": problem.seed,
        "steps": problem.budget.steps,
        "budget": problem.budget.seconds,
        "device": str(problem.device),
        "versions": versions(),
    }
    out: dict[str, Any] = json.loads(json.dumps(info))
    return out


def _clock(config: Mapping[str, Any]) -> dict[str, str]:
    """The unit of time, if the data say it."""
    return {"time": str(config["time_unit"])} if config.get("time_unit") else {}


def _judges(problem: Problem) -> dict[str, float]:
    """Of recorded data, about how many validation trajectories have no times in common."""
    if problem.simulator.startable:
        return {}
    return {"independent": independent(problem.valid.n_trajectories, problem.valid.config)}


def _noise_of_data(simulator: Simulator) -> float | None:
    """The middle of the prior of the noise that trajectories have; None where they have none."""
    priors = dict(simulator.priors) if isinstance(simulator, Varying) else {}
    prior = priors.get(OBSERVED_NOISE)
    return None if prior is None else float(prior.quantile(torch.tensor(0.5, dtype=torch.float64)))
