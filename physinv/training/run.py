"""A training run on disk: everything that is needed to reconstruct with it."""

from __future__ import annotations

__all__ = ["Run", "load_run", "read_info", "train_run"]

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.devices import threads_for
from physinv.config.files import load_tensors, read_json, save_tensors, write_text
from physinv.config.inputs import check_instance, describe
from physinv.config.seeds import seeds
from physinv.config.settings import Settings, as_settings
from physinv.config.versions import versions
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.build import build_model, clock, score_network, symmetries
from physinv.models.learned_drift import LearnedDrift, load_drift
from physinv.models.references.registry import load_reference
from physinv.models.score import ScoreModel
from physinv.processes.layout import StateLayout
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator, build
from physinv.processes.simulator import describe as parameters_of
from physinv.training.budget import Budget, check_budget
from physinv.training.fit_drift import fit_drift
from physinv.training.loop import fit
from physinv.training.objectives.choose import check_objective
from physinv.training.validation import History, Progress

SCHEMA = 1
_INFO, _MODEL, _PHYSICS = "run.json", "model.safetensors", "physics.safetensors"
_WRITTEN = (_INFO, "log.jsonl", "checkpoint.safetensors", _MODEL)  # what --overwrite removes
_COMPARED = ("simulator", "parameters", "times", "trajectories", "settings", "seed", "steps", "budget")
_LONGEST = 60  # characters of a value in a message


@dataclass(frozen=True)
class Run:
    """Hold a trained score model with all that a reconstruction needs.

    Args:
        simulator: The process that made the data.
        sde: The physics: the ``simulator``, or a drift learned from the data (setting ``physics``).
        model: The trained score model.
        times: Stored times, from 0 to T, float64.
        info: What run.json says.
    """

    simulator: Simulator
    sde: SDE
    model: ScoreModel
    times: Float[Tensor, " time"]
    info: dict[str, Any]


def train_run(
    run: Path | str,
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    *,
    settings: Settings | Mapping[str, Any] | None = None,
    budget: Budget,
    seed: int = 0,
    device: torch.device | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> History:
    """Train the inverse solver of a dataset in a folder, from which it can be loaded and resumed.

    The physics of imported data is learned, whatever ``settings.physics`` says; run.json has it as "learned". Learning
    the physics takes half of the budget. An overwritten run is removed only when all input has been checked.

    Args:
        run: Folder of the run.
        train: Trajectories to train on.
        valid: Trajectories to validate on, and to calibrate the model on where its reference law asks for it.
        settings: Training settings, or their values by name.
        budget: Number of updates (reproducible to the byte on one device), or a time.
        seed: Seed of the network's first weights and of the training.
        device: Where to train; None: on the CPU.
        resume: Whether to go on with a run that was begun in this folder.
        overwrite: Whether to remove a run that is there.
        progress: Hears of every validation, and twice a second of the share that is done.

    Returns:
        The log, and the step whose averaged weights were kept.

    Raises:
        FileExistsError: If there is a run in the folder and neither ``resume`` nor ``overwrite`` is set.
        ValueError: If the run to resume was begun with other data or settings, or a setting does not fit.
    """
    run, device, settings = _folder(run), device or torch.device("cpu"), as_settings(settings)
    for role, data in (("train", train), ("valid", valid)):
        check_instance(data, TrajectoryDataset, role, "give TrajectoryDataset(folder of a split)")
    check_budget(budget)
    name, values = train.config["simulator"], train.config["parameters"]
    simulator = build(find(name), values)
    if not simulator.known:
        settings = settings.model_copy(update={"physics": "learned"})
    limit = int(settings.memory * 2**30)
    train, valid = (d.load(device) if d.nbytes <= limit else d for d in (train, valid))

    # Check all input before anything is written or removed.
    check_objective(settings)
    for window in settings.windows:
        train.with_window(window), valid.with_window(window)
    info = {
        "schema": SCHEMA,
        "simulator": name,
        "parameters": parameters_of(simulator),
        "times": [float(t) for t in train.times],
        "shape": list(train.shape),
        "trajectories": train.n_trajectories,
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "steps": budget.steps,
        "budget": budget.seconds,
        "device": str(device),
        "versions": versions(),
    }
    info = json.loads(json.dumps(info))
    begun = (run / _INFO).exists() and not overwrite
    if begun:
        _check_same(run, info)
        if not resume:
            raise FileExistsError(f"{run} holds a run already; add --resume to go on with it, or --overwrite.")

    # The physics, learned first if need be, and the score model on top of it.
    sde: SDE = simulator
    if settings.physics == "learned":
        budget = budget.share(0.5)
        if not begun:
            _write_physics(run, fit_drift(train, valid, settings=settings, budget=budget, seed=seed))
        sde = _read_physics(run, settings, train.layout).to(train.device)
    model = build_model(sde, train, settings, seed=seed, mixed=device.type == "cuda").to(device)
    info["reference"] = settings.reference or model.reference.name

    # The folder, and the training in it.
    run.mkdir(parents=True, exist_ok=True)
    if overwrite:
        for file in _WRITTEN:
            (run / file).unlink(missing_ok=True)
    if not begun:
        write_text(run / _INFO, json.dumps(info, indent=1) + "\n")
    with threads_for(train.shape):
        return fit(
            model,
            sde,
            train,
            valid,
            settings=settings,
            budget=budget,
            seed=seed,
            run=run,
            resume=resume,
            progress=progress,
        )


def load_run(run: Path | str, *, device: torch.device | None = None) -> Run:
    """Load a finished run.

    Args:
        run: Folder of the run.
        device: Where the model is needed; None: on the CPU.

    Returns:
        The run: process, physics, model and times.

    Raises:
        ValueError: If the run is missing, unfinished or damaged; one line says what to do.
    """
    run, device = _folder(run), device or torch.device("cpu")
    info = read_info(run)
    if not (run / _MODEL).exists():
        raise ValueError(f"{run} holds an unfinished run; go on with `physinv train ... --out {run} --resume`.")
    simulator = build(find(info["simulator"]), info["parameters"])
    tensors, _ = load_tensors(run / _MODEL)
    try:
        settings, layout, sde = Settings(**info["settings"]), simulator.layout, cast(SDE, simulator)
        if settings.physics == "learned":
            sde = _read_physics(run, settings, layout).to(device)
        reference = load_reference(info["reference"], sde, tensors)
        times = torch.tensor(info["times"], dtype=torch.float64)
        network = score_network(reference, layout, settings, seed=seeds(info["seed"]).child("model", "network"))
        model = ScoreModel(reference, network, clock(times), images=symmetries(sde, layout.shape), shape=layout.shape)
        model.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        message = str(error).splitlines()[0]
        raise ValueError(f"{run}/{_MODEL} does not fit {run}/{_INFO}: {message}; train again.") from None
    return Run(simulator, sde, model.to(device).eval(), times, info)


def read_info(run: Path | str) -> dict[str, Any]:
    """Return what run.json says: names, parameters, settings, seed and versions.

    Args:
        run: Folder of the run.

    Raises:
        ValueError: If there is no run.json, or it is damaged; one line says what to do.
    """
    path = Path(run) / _INFO
    try:
        info: dict[str, Any] = read_json(path)
    except FileNotFoundError:
        raise ValueError(f"{run} is not a run: there is no {path}; make one with `physinv train`.") from None
    if info.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {info.get('schema')}, this version of physinv reads {SCHEMA}.")
    return info


def _folder(run: Path | str) -> Path:
    """The folder of a run."""
    if not isinstance(run, (str, Path)):
        raise ValueError(f"`run` must be a folder, got {describe(run)}; give its path.")
    return Path(run)


def _write_physics(run: Path, drift: LearnedDrift) -> None:
    """Write the learned physics of a run."""
    run.mkdir(parents=True, exist_ok=True)
    save_tensors(run / _PHYSICS, drift.state_dict(), {"format": "physinv learned drift 1"})


def _read_physics(run: Path, settings: Settings, layout: StateLayout) -> LearnedDrift:
    """The learned physics of a run."""
    return load_drift(load_tensors(run / _PHYSICS)[0], layout, settings)


def _check_same(run: Path, info: dict[str, Any]) -> None:
    """A resumed run must have been begun with the same data, settings, seed and budget."""
    old = read_info(run)
    for key in _COMPARED:
        if old.get(key) != info[key]:
            raise ValueError(
                f"{run} was begun with `{key}` = {_short(old.get(key))}, now {_short(info[key])}; "
                f"use the same, another --out, or --overwrite."
            )


def _short(value: object) -> str:
    """A value in a message, cut if it is long."""
    text = str(value)
    return text if len(text) < _LONGEST else text[: _LONGEST - 3] + "..."
