"""A training run on disk: everything that is needed to reconstruct with it."""

from __future__ import annotations

__all__ = ["Run", "load_run", "read_info", "train_run"]

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.devices import threads_for
from physinv.config.files import load_tensors, read_json, save_tensors, write_text
from physinv.config.settings import Settings
from physinv.config.versions import versions
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.models.build import build_model, clock, score_network, symmetries
from physinv.models.learned_drift import LearnedDrift, load_drift
from physinv.models.references.registry import load_reference
from physinv.models.score import ScoreModel
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator, build, describe
from physinv.training.fit_drift import fit_drift
from physinv.training.loop import History, Record, check_budget, fit
from physinv.training.objectives.choose import curriculum

SCHEMA = 1
PHYSICS = "physics.safetensors"


@dataclass(frozen=True)
class Run:
    """A trained score model with its physics ``sde`` and time grid; ``info`` is ``run.json``.

    ``sde`` is the ``simulator`` that made the data, or was learned from them (``settings.physics``).
    """

    simulator: Simulator
    sde: SDE
    model: ScoreModel
    times: Float[Tensor, " time"]
    info: dict[str, Any]


def train_run(
    run: Path,
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    *,
    settings: Settings,
    steps: int | None = None,
    budget: float | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[float, Record], None] | None = None,
) -> History:
    """Train the inverse solver of a dataset in the folder ``run``; see :func:`~physinv.training.loop.fit`.

    The physics of imported data is learned, whatever ``settings.physics`` says; run.json has it as "learned".
    Raises FileExistsError if ``run`` exists and neither ``resume`` nor ``overwrite`` is set, ValueError if the run to
    resume was begun with other data or settings.  An overwritten run is removed only when all input has been checked.
    """
    check_budget(steps, budget)
    device = device or torch.device("cpu")
    name, values = train.config["simulator"], train.config["parameters"]
    simulator = build(find(name), values)
    if not simulator.known:
        settings = settings.model_copy(update={"physics": "learned"})
    limit = int(settings.memory * 2**30)
    train, valid = (d.load(device) if d.nbytes <= limit else d for d in (train, valid))
    info = {
        "schema": SCHEMA,
        "simulator": name,
        "parameters": describe(simulator),
        "times": [float(t) for t in train.times],
        "shape": list(train.shape),
        "trajectories": train.n_trajectories,
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "steps": steps,
        "budget": budget,
        "device": str(device),
        "versions": versions(),
    }
    for window in curriculum(settings, simulator, len(train.times)):
        train.with_window(window), valid.with_window(window)
    info = json.loads(json.dumps(info))
    if (run / "run.json").exists() and not overwrite:
        _same(run, info)
        if not resume:
            raise FileExistsError(f"{run} holds a run already; add --resume to go on with it, or --overwrite.")
    mixed = device.type == "cuda"
    sde: SDE = simulator
    if settings.physics == "learned":
        steps, budget = steps and max(1, steps // 2), budget and budget / 2
        afresh = overwrite or not (run / "run.json").exists()
        sde = _learned(run, train, valid, settings, steps, budget, seed, afresh=afresh)
    model = build_model(sde, train, settings, seed=seed, mixed=mixed).to(device)
    info["reference"] = settings.reference or model.reference.name
    run.mkdir(parents=True, exist_ok=True)
    if overwrite:
        for name in ("run.json", "log.jsonl", "checkpoint.safetensors", "model.safetensors"):
            (run / name).unlink(missing_ok=True)
    if not (run / "run.json").exists():
        write_text(run / "run.json", json.dumps(info, indent=1) + "\n")
    with threads_for(train.shape):
        return fit(
            model,
            sde,
            train,
            valid,
            settings=settings,
            steps=steps,
            budget=budget,
            seed=seed,
            run=run,
            resume=resume,
            progress=progress,
        )


def _learned(
    run: Path,
    train: TrajectoryDataset,
    valid: TrajectoryDataset,
    settings: Settings,
    steps: int | None,
    budget: float | None,
    seed: int,
    *,
    afresh: bool,
) -> SDE:
    """The drift in ``run/physics.safetensors``; with ``afresh`` it is learned and written there first."""
    path = run / PHYSICS
    if afresh:
        drift = fit_drift(train, valid, settings=settings, steps=steps, budget=budget, seed=seed)
        run.mkdir(parents=True, exist_ok=True)
        save_tensors(path, drift.state_dict(), {"format": "physinv learned drift 1"})
    return load_drift(load_tensors(path)[0], train.layout, settings).to(train.device)


def _same(run: Path, info: dict[str, Any]) -> None:
    """A resumed run must have been begun with the same data, settings, seed and budget."""
    old = read_info(run)
    for key in ("simulator", "parameters", "times", "trajectories", "settings", "seed", "steps", "budget"):
        if old.get(key) != info[key]:
            raise ValueError(
                f"{run} was begun with `{key}` = {_short(old.get(key))}, now {_short(info[key])}; "
                f"use the same, another --out, or --overwrite."
            )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 60 else text[:57] + "..."


def load_run(run: Path, *, device: torch.device | None = None) -> Run:
    """Load a finished run; ValueError in one line if it is missing, unfinished or damaged."""
    info = read_info(run)
    if not (run / "model.safetensors").exists():
        raise ValueError(f"{run} holds an unfinished run; go on with `physinv train ... --out {run} --resume`.")
    simulator = build(find(info["simulator"]), info["parameters"])
    tensors, _ = load_tensors(run / "model.safetensors")
    try:
        settings, layout, sde = Settings(**info["settings"]), simulator.layout, cast(SDE, simulator)
        if settings.physics == "learned":
            sde = load_drift(load_tensors(run / PHYSICS)[0], layout, settings)
        reference = load_reference(info["reference"], sde, tensors)
        times = torch.tensor(info["times"], dtype=torch.float64)
        network = score_network(reference, layout, settings, seed=info["seed"])
        model = ScoreModel(reference, network, clock(times), images=symmetries(sde, layout.shape))
        model.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        message = str(error).splitlines()[0]
        raise ValueError(f"{run}/model.safetensors does not fit {run}/run.json: {message}; train again.") from None
    device = device or torch.device("cpu")
    if isinstance(sde, LearnedDrift):
        sde = sde.to(device)
    return Run(simulator, sde, model.to(device).eval(), times, info)


def read_info(run: Path) -> dict[str, Any]:
    """``run.json``; ValueError in one line if there is none or it is damaged."""
    path = run / "run.json"
    try:
        info: dict[str, Any] = read_json(path)
    except FileNotFoundError:
        raise ValueError(f"{run} is not a run: there is no {path}; make one with `physinv train`.") from None
    if info.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {info.get('schema')}, this version of physinv reads {SCHEMA}.")
    return info
