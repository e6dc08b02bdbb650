"""A training run on disk: everything that is needed to reconstruct with it."""

from __future__ import annotations

__all__ = ["Run", "build_model", "load_run", "read_info", "train_run"]

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physinv.checkpoint import load_tensors, save_tensors, write_atomically
from physinv.devices import threads_for
from physinv.fit_drift import fit_drift
from physinv.fit_moments import fit_moments
from physinv.learned_drift import load_drift
from physinv.low_rank import LowRankMoments
from physinv.mixture_moments import MixtureMoments
from physinv.moments import LinearMoments, Moments, SpectralMoments
from physinv.networks import MLP, UNet
from physinv.objectives import curriculum
from physinv.registry import find
from physinv.schema import versions
from physinv.score import ScoreModel
from physinv.sde import SDE, Linear
from physinv.settings import Settings
from physinv.simulator import Simulator, build, describe
from physinv.train import History, Record, check_budget, fit
from physinv.trajectories import TrajectoryDataset

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


def build_model(
    sde: SDE, data: TrajectoryDataset, settings: Settings, *, seed: int = 0, mixed: bool = False
) -> ScoreModel:
    """Fit the reference law to ``data`` and put a network that suits the state around it."""
    moments = fit_moments(sde, data, components=settings.components, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch's layers take no generator; the global state is restored
        network = build_network(moments, data.shape, settings)
    return ScoreModel(moments, network, clock(data.times), images=symmetries(sde, data.shape), mixed=mixed)


def build_network(moments: Moments, shape: tuple[int, ...], settings: Settings) -> nn.Module:
    """An MLP for vectors ``(dim,)``, a periodic U-Net for fields ``(channels, *space)``."""
    if len(shape) == 1:
        width, depth = settings.width or 64, settings.depth or 3
        return MLP(moments.channels_in, moments.channels_out, width=width, depth=depth)
    levels = settings.depth or 2
    if any(n % 2**levels for n in shape[1:]):
        raise ValueError(
            f"setting `depth` = {levels} needs grid sides divisible by {2**levels}, "
            f"got {'x'.join(map(str, shape[1:]))}; "
            f"choose a smaller `depth` or another grid."
        )
    return UNet(
        moments.channels_in,
        moments.channels_out,
        dimension=len(shape) - 1,
        width=settings.width or 16,
        levels=levels,
    )


def symmetries(sde: SDE, shape: tuple[int, ...]) -> Callable[[Tensor], list[Tensor]] | None:
    """What a score of states of ``shape`` is averaged over: vectors only, whose networks cost next to nothing."""
    return sde.images if len(shape) == 1 and len(sde.images(torch.zeros(1, *shape))) > 1 else None


def clock(times: Float[Tensor, " time"]) -> tuple[float, float]:
    """First and last stored time after 0, which set the network's sense of time."""
    return float(times[1]), float(times[-1])


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
    """Train the inverse solver of a dataset in the folder ``run``; see :func:`~physinv.train.fit`.

    Raises FileExistsError if ``run`` exists and neither ``resume`` nor ``overwrite`` is set, ValueError if the run to
    resume was begun with other data or settings.  An overwritten run is removed only when all input has been checked.
    """
    check_budget(steps, budget)
    device = device or torch.device("cpu")
    name, values = train.config["simulator"], train.config["parameters"]
    simulator = build(find(name), values)
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
    info["moments"] = type(model.moments).__name__
    run.mkdir(parents=True, exist_ok=True)
    if overwrite:
        for name in ("run.json", "log.jsonl", "checkpoint.safetensors", "model.safetensors"):
            (run / name).unlink(missing_ok=True)
    if not (run / "run.json").exists():
        write_atomically(run / "run.json", lambda tmp: tmp.write_text(json.dumps(info, indent=1) + "\n", "utf-8"))
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
    return load_drift(load_tensors(path)[0], train.shape, settings).to(train.device)


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
        settings, shape, sde = Settings(**info["settings"]), tuple(info["shape"]), cast(SDE, simulator)
        if settings.physics == "learned":
            sde = load_drift(load_tensors(run / PHYSICS)[0], shape, settings).to(device or "cpu")
        moments = _moments(info["moments"], sde, tensors)
        times = torch.tensor(info["times"], dtype=torch.float64)
        network, images = build_network(moments, shape, settings), symmetries(sde, shape)
        model = ScoreModel(moments, network, clock(times), images=images)
        model.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        message = str(error).splitlines()[0]
        raise ValueError(f"{run}/model.safetensors does not fit {run}/run.json: {message}") from None
    return Run(simulator, sde, model.to(device or torch.device("cpu")).eval(), times, info)


def _moments(kind: str, sde: SDE, tensors: dict[str, Tensor]) -> Moments:
    part = {k.removeprefix("moments."): v for k, v in tensors.items() if k.startswith("moments.")}
    if kind == "LinearMoments" and isinstance(sde, Linear):
        return LinearMoments(sde, part["mean0"], part["power0"])
    if kind == "SpectralMoments":
        return SpectralMoments(part["times"], part["mean"], part["power"])
    if kind == "LowRankMoments":
        physics = sde if part["mean"].ndim == 2 else None
        return LowRankMoments(physics, part["times"], part["mean"], part["factor"], part["diagonal"], part["bounds"])
    return MixtureMoments(sde, part["times"], part["weights"], part["means"], part["factors"], part["bounds"])


def read_info(run: Path) -> dict[str, Any]:
    """``run.json``; ValueError in one line if there is none or it is damaged."""
    path = run / "run.json"
    try:
        info: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{run} is not a run: there is no {path}; make one with `physinv train`.") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError(f"{path} is damaged: it is not valid JSON.") from None
    if info.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {info.get('schema')}, this version of physinv reads {SCHEMA}.")
    return info
