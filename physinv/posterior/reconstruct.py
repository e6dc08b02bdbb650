"""Reconstruct the initial states of a dataset with a trained run, into one HDF5 file."""

from __future__ import annotations

__all__ = ["GRIDS", "METHODS", "Reconstruction", "read_reconstruction", "reconstruct", "step_grid"]

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.devices import threads_for
from physinv.config.seeds import seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.data.schema import versions
from physinv.equations.sde import Reverse
from physinv.equations.time_grids import learned, linear, logarithmic, resample_times
from physinv.laws.observation import Observation, picture
from physinv.laws.operators import named
from physinv.posterior.partial import sample_given
from physinv.posterior.posterior import Posterior, default_batch
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator, build, describe
from physinv.reversal.choose import default_step
from physinv.training.checkpoint import write_atomically
from physinv.training.run import Run

METHODS = ("sde", "flow", "mean-flow")
GRIDS = ("stored", "linear", "log", "learned")
SCHEMA = 2


@dataclass(frozen=True)
class Reconstruction:
    """``truth (n, *state)``, ``observation (n, *state)``, ``samples (n, K, *state)`` and how they were made.

    ``seen (n, *seen)``: the observed numbers, where not all of the final state was observed (see :attr:`operator`).
    """

    simulator: Simulator
    truth: Float[Tensor, "n *state"]
    observation: Float[Tensor, "n *state"]
    samples: Float[Tensor, "n k *state"]
    info: dict[str, Any]
    seen: Float[Tensor, "n *seen"] | None = None

    @property
    def operator(self) -> Observation | None:
        """What was observed of the final states, or None: all of them, without noise."""
        if self.info["observe"] is None:
            return None
        return named(
            self.info["observe"], self.info["observed_noise"], tuple(self.truth.shape[1:]), seed=self.info["seed"]
        )


def reconstruct(
    run: Run,
    data: TrajectoryDataset,
    out: Path,
    *,
    method: str = "sde",
    samples: int = 16,
    steps: int | None = None,
    grid: str = "stored",
    observe: str | None = None,
    observed_noise: float = 0.05,
    limit: int | None = None,
    seed: int = 0,
    batch: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``out`` with ``/truth``, ``/observation``, ``/samples`` for the first ``limit`` trajectories of ``data``.

    ``method``: ``sde`` draws ``samples`` from the posterior of each observation, ``flow`` and ``mean-flow`` give one
    state each.  ``steps`` solver steps from T to 0 (default: one per stored time), placed as :func:`step_grid` says.
    ``observe`` (``sensors:0.25``, ``every:4``, ``coarse:4``, ``low-pass:5``) hides the final states but for noisy
    observations of them, see :func:`~physinv.laws.operators.named`; samples are then drawn in two stages
    (:func:`~physinv.posterior.partial.sample_given`), ``/seen`` holds the observed numbers and ``/observation`` a
    picture of them.  ``batch`` bounds the states in work (see :class:`~physinv.posterior.posterior.Posterior`); the
    file appears when it is complete.  ValueError if ``run`` and ``data`` are of different systems.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}.")
    for name, value in (("samples", samples), ("limit", limit), ("steps", steps)):
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    _check_same_system(run, data)
    if observe is not None and method != "sde":
        raise ValueError(f"`observe` needs `method` sde (posterior samples), got {method!r}.")
    if observe is not None and data.layout.kind == "particles":
        raise ValueError("`observe` is for vectors and fields; particles are seen whole, leave it out.")
    observation = None if observe is None else named(observe, observed_noise, data.shape, seed=seed)
    device = next(run.model.parameters()).device
    times = step_grid(run, data, steps or len(run.times) - 1, grid)
    posterior = Posterior(run.sde, run.model, times, batch=batch)
    generator = seeds(seed).child("reconstruction", "samples").generator(device)
    n = min(limit or data.n_trajectories, data.n_trajectories)
    k = samples if method == "sde" else 1
    truth, final = data.states(0, limit=n), data.states(len(data.times) - 1, limit=n)
    if observation is not None:
        final = observation.observe(final, generator=seeds(seed).child("observation", "noise").generator(final.device))
    shown = final if observation is None else picture(observation, final, data.shape)
    begun = time.perf_counter()

    def write(tmp: Path) -> None:
        with h5py.File(tmp, "w", track_order=False) as file:
            space = _scales(file, run.simulator, n, k)
            _field(file, "truth", (n, *data.shape), ["observation_index", *space])[...] = truth.cpu().numpy()
            _field(file, "observation", (n, *data.shape), ["observation_index", *space])[...] = shown.cpu().numpy()
            if observation is not None:
                file.create_dataset("seen", data=final.cpu().numpy())
            target = _field(file, "samples", (n, k, *data.shape), ["observation_index", "draw", *space])
            at = 0
            for part in torch.split(final, max(1, (batch or default_batch(shown)) // k)):
                x = part.to(device)
                if observation is not None:
                    drawn = sample_given(posterior, observation, x, k, generator=generator)
                elif method == "sde":
                    drawn = posterior.sample(x, k, generator=generator)
                else:
                    drawn = (posterior.flow(x) if method == "flow" else posterior.mean_flow(x))[:, None]
                if not bool(drawn.isfinite().all()):
                    raise ValueError(f"the reconstruction diverged with {len(times) - 1} steps; take more `--steps`.")
                target[at : at + len(part)] = drawn.cpu().numpy()
                at += len(part)
                if progress is not None:
                    progress(at, n)
            info = {
                "schema": SCHEMA,
                "method": method,
                "steps": len(times) - 1,
                "grid": grid,
                "observe": observe,
                "observed_noise": None if observe is None else observed_noise,
                "samples": k,
                "seed": seed,
                "simulator": run.info["simulator"],
                "parameters": describe(run.simulator),
                "data": str(data.path),
                "device": str(device),
                "seconds": round(time.perf_counter() - begun, 3),
                "run": run.info,
                "versions": versions(),
            }
            for key in ("method", "steps", "samples", "seed", "simulator", "data", "device", "seconds"):
                file.attrs[key] = info[key]
            file.attrs["Conventions"] = "CF-1.8"
            file.create_dataset("info_json", data=json.dumps(info))

    with threads_for(data.shape):
        write_atomically(out, write)


def step_grid(run: Run, data: TrajectoryDataset, steps: int, grid: str) -> Float[Tensor, " grid"]:
    """Times of a reversal in ``steps`` steps: like the ``stored`` ones, ``linear``, ``log`` or ``learned``.

    ``log``: geometric from a hundredth of the horizon on, for starts with structure on all scales.  ``learned``: equal
    local errors, measured on a few trajectories of ``data`` (:func:`~physinv.equations.time_grids.learned`).
    """
    horizon = float(run.times[-1])
    match grid:
        case "stored":
            return resample_times(run.times, steps)
        case "linear":
            return linear(horizon, steps)
        case "log":
            return logarithmic(horizon, steps, horizon / 100)
        case "learned":
            few = data.trajectories(slice(0, 16)).to(next(run.model.parameters()).device)
            reverse = Reverse(run.sde, run.model)
            return learned(reverse, few, data.times, steps, step=default_step(run.sde, run.model))
    raise ValueError(f"`grid` must be one of {', '.join(GRIDS)}, got {grid!r}.")


def read_reconstruction(path: Path) -> Reconstruction:
    """Read a file that :func:`reconstruct` wrote; ValueError in one line if it is something else or damaged."""
    try:
        with h5py.File(path, "r") as file:
            info = json.loads(file["info_json"][()])
            truth, shown, samples = (torch.from_numpy(file[k][...]) for k in ("truth", "observation", "samples"))
            seen = torch.from_numpy(file["seen"][...]) if "seen" in file else None
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; make one with `physinv reconstruct`.") from None
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a whole reconstruction file: {str(error).splitlines()[0]}") from None
    if info.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {info.get('schema')}, this version of physinv reads {SCHEMA}.")
    if not bool(samples.isfinite().all() and truth.isfinite().all()):
        raise ValueError(f"{path} holds values that are not finite; reconstruct again.")
    return Reconstruction(build(find(info["simulator"]), info["parameters"]), truth, shown, samples, info, seen)


def _check_same_system(run: Run, data: TrajectoryDataset) -> None:
    config = data.config
    if config["simulator"] != run.info["simulator"]:
        raise ValueError(
            f"the run was trained on `{run.info['simulator']}`, the data are `{config['simulator']}`; "
            "they must be of one system."
        )
    theirs = describe(build(find(config["simulator"]), config["parameters"]))
    for name, value in describe(run.simulator).items():
        if theirs[name] != value:
            raise ValueError(
                f"the run was trained with `{name}` = {value}, the data have {theirs[name]}; "
                "they must be of one system."
            )


def _scales(file: h5py.File, simulator: Simulator, n: int, k: int) -> list[str]:
    """Dimension scales, so that xarray opens the file as (observation_index, draw, ...)."""
    layout = simulator.layout
    axes: dict[str, Any] = {"observation_index": range(n), "draw": range(k)}
    space = list(layout.axes)
    if layout.kind == "field":
        axes["channel"] = range(len(layout.names))
        space = ["channel", *space]
    if layout.kind == "particles":
        axes["feature"] = range(layout.shape[1])
        space = ["particle", "feature"]
    axes |= dict(zip(layout.axes, layout.coordinates, strict=True))
    for name, values in axes.items():
        scale = file.create_dataset(name, data=list(values), dtype="f8" if name in layout.axes else "i8")
        scale.make_scale(name)
    return space


def _field(file: h5py.File, name: str, shape: tuple[int, ...], dims: list[str]) -> h5py.Dataset:
    chunks = (1, *shape[1:]) if len(dims) > 2 else None
    data = file.create_dataset(name, shape, dtype="f4", chunks=chunks)
    for i, dim in enumerate(dims):
        data.dims[i].attach_scale(file[dim])
    return data
