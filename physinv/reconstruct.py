"""Reconstruct the initial states of a dataset with a trained run, into one HDF5 file."""

from __future__ import annotations

__all__ = ["METHODS", "Reconstruction", "read_reconstruction", "reconstruct"]

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

from physinv.checkpoint import write_atomically
from physinv.devices import threads_for
from physinv.grids import resample_times
from physinv.posterior import Posterior, default_batch
from physinv.registry import find
from physinv.run import Run
from physinv.schema import versions
from physinv.simulator import Simulator, build, describe
from physinv.trajectories import TrajectoryDataset

METHODS = ("sde", "flow", "mean-flow")
SCHEMA = 1


@dataclass(frozen=True)
class Reconstruction:
    """``truth (n, *state)``, ``observation (n, *state)``, ``samples (n, K, *state)`` and how they were made."""

    simulator: Simulator
    truth: Float[Tensor, "n *state"]
    observation: Float[Tensor, "n *state"]
    samples: Float[Tensor, "n k *state"]
    info: dict[str, Any]


def reconstruct(
    run: Run,
    data: TrajectoryDataset,
    out: Path,
    *,
    method: str = "sde",
    samples: int = 16,
    steps: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``out`` with ``/truth``, ``/observation``, ``/samples`` for the first ``limit`` trajectories of ``data``.

    ``method``: ``sde`` draws ``samples`` from the posterior of each observation, ``flow`` and ``mean-flow`` give one
    state each.  ``steps`` solver steps from T to 0 (default: one per stored time).  ``batch`` bounds the states in
    work (see :class:`~physinv.posterior.Posterior`); the file appears when it is complete.
    ValueError if ``run`` and ``data`` are of different systems.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}.")
    for name, value in (("samples", samples), ("limit", limit), ("steps", steps)):
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    _check_same_system(run, data)
    device = next(run.model.parameters()).device
    times = run.times if steps is None else resample_times(run.times, steps)
    posterior = Posterior(run.simulator, run.model, times, batch=batch)
    generator = torch.Generator(device).manual_seed(seed)
    n = min(limit or data.n_trajectories, data.n_trajectories)
    k = samples if method == "sde" else 1
    truth, final = data.states(0, limit=n), data.states(len(data.times) - 1, limit=n)
    begun = time.perf_counter()

    def write(tmp: Path) -> None:
        with h5py.File(tmp, "w", track_order=False) as file:
            space = _scales(file, run.simulator, n, k)
            _field(file, "truth", (n, *data.shape), ["observation_index", *space])[...] = truth.cpu().numpy()
            _field(file, "observation", (n, *data.shape), ["observation_index", *space])[...] = final.cpu().numpy()
            target = _field(file, "samples", (n, k, *data.shape), ["observation_index", "draw", *space])
            at = 0
            for part in torch.split(final, max(1, (batch or default_batch(final)) // k)):
                x = part.to(device)
                if method == "sde":
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


def read_reconstruction(path: Path) -> Reconstruction:
    """Read a file that :func:`reconstruct` wrote; ValueError in one line if it is something else or damaged."""
    try:
        with h5py.File(path, "r") as file:
            info = json.loads(file["info_json"][()])
            truth, seen, samples = (torch.from_numpy(file[k][...]) for k in ("truth", "observation", "samples"))
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; make one with `physinv reconstruct`.") from None
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a whole reconstruction file: {str(error).splitlines()[0]}") from None
    if info.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {info.get('schema')}, this version of physinv reads {SCHEMA}.")
    if not bool(samples.isfinite().all() and truth.isfinite().all()):
        raise ValueError(f"{path} holds values that are not finite; reconstruct again.")
    return Reconstruction(build(find(info["simulator"]), info["parameters"]), truth, seen, samples, info)


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
