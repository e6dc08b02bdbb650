"""Reconstruct the initial states of a dataset with a fitted method, and write them to one HDF5 file."""

from __future__ import annotations

__all__ = ["ANSWERS", "GRIDS", "SamplingPlan", "reconstruct", "step_grid"]

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
from physinv.config.files import write_atomically
from physinv.config.inputs import check_instance
from physinv.config.seeds import seeds
from physinv.config.versions import versions
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import Reverse
from physinv.equations.time_grids import linear, logarithmic, resample_times
from physinv.laws.observation import Observation, displayed_state
from physinv.laws.operators import named
from physinv.methods.classical.monte_carlo.path import fit_path_model
from physinv.methods.classical.monte_carlo.refine import refine
from physinv.methods.problem import Answer
from physinv.methods.reverse import ReverseAnswer
from physinv.posterior.partial import sample_final
from physinv.posterior.posterior import default_batch
from physinv.posterior.reconstruction import SCHEMA
from physinv.processes.given import GivenPhysics
from physinv.processes.parameters import build, describe
from physinv.processes.registry import find
from physinv.processes.simulator import Simulator
from physinv.reversal.choose import default_step
from physinv.reversal.learned_grid import learned
from physinv.runs.run import Run, load_run

ANSWERS = ("samples", "mean", "flow", "mean-flow")
"""What is computed from each observation: posterior samples, the method's best single estimate, or, by a score model,
the probability flow or the reversal without noise."""

GRIDS = ("stored", "linear", "log", "learned")
"""Placements of the solver's steps; see :func:`step_grid`."""

_TIMED_TRAJECTORIES = 16  # trajectories on which the local errors of a learned grid are measured


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """How the initial states of a dataset are reconstructed.

    Args:
        answer: ``"samples"`` draws from the posterior; the others give one state for each observation: ``"mean"`` the
            best single estimate of the method, and with a score model ``"flow"`` the solution of the probability flow,
            ``"mean-flow"`` that of the reversal without noise.
        samples: Draws for each observation (``"samples"`` only).
        steps: Solver steps from T to 0 of a score model; None: as many as the run has stored intervals.
        grid: Placement of the steps: ``"stored"``, ``"linear"``, ``"log"`` or ``"learned"``; see :func:`step_grid`.
        seed: Seed of the draws, of the noise of a partial observation and of the places of its sensors.
        batch: Largest number of states computed at the same time; None: as suits the device.
        limit: Number of trajectories to reconstruct, from the first on; None: all.
        observe: Partial observation of the final states, such as ``"sensors:0.25"`` or ``"coarse:4"``; see
            :func:`~physinv.laws.operators.named`.  None: the whole final state is observed, without noise.
        observed_noise: Standard deviation of the noise of a partial observation, in the unit of the state.
        refine: Gradients of Monte Carlo over paths that each sample moves by in the end
            (:func:`~physinv.methods.classical.monte_carlo.refine.refine`); 0: none.

    Raises:
        ValueError: If a name is unknown, a number is smaller than 1, or a partial observation is combined with an
            answer other than ``"samples"``.

    Example:
        >>> SamplingPlan(samples=4, steps=8).answer
        'samples'
    """

    answer: str = "samples"
    samples: int = 16
    steps: int | None = None
    grid: str = "stored"
    seed: int = 0
    batch: int | None = None
    limit: int | None = None
    observe: str | None = None
    observed_noise: float = 0.05
    refine: int = 0

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise ValueError(f"`answer` must be one of {', '.join(ANSWERS)}, got {self.answer!r}.")
        _check_grid(self.grid)
        for name in ("samples", "limit", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        if self.observe is not None and self.answer != "samples":
            raise ValueError(f"`observe` needs `answer` samples, got {self.answer!r}.")
        if self.refine < 0 or (self.refine and (self.answer != "samples" or self.observe is not None)):
            raise ValueError(
                f"`refine` must be 0 or more, and moves samples given the whole final state, got {self.refine} with "
                f"`answer` {self.answer!r} and `observe` {self.observe!r}."
            )

    @property
    def draws(self) -> int:
        """Return the number of states computed for each observation: ``samples``, or 1 of a single estimate."""
        return self.samples if self.answer == "samples" else 1


def reconstruct(
    run: Run | Path | str,
    data: TrajectoryDataset | Path | str,
    out: Path | str,
    plan: SamplingPlan | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Reconstruct the initial states of a dataset and write them to one HDF5 file.

    The file holds ``/truth``, ``/observation``, ``/samples`` and, for partial observations, the observed numbers
    ``/seen``; it appears when it is complete.  Given a partial observation, samples are drawn in two stages
    (:func:`~physinv.posterior.partial.sample_final`).

    Args:
        run: Fitted method, or the folder of its run.
        data: Trajectories of the same system, whose last states are the observations, or their folder or file.
        out: File to write; an existing one is replaced.
        plan: Answer, number of samples, steps and observation; None: the defaults of :class:`SamplingPlan`.
        progress: Called with the number of observations done and their total after each batch.

    Raises:
        ValueError: If ``run`` and ``data`` are of different systems, the plan does not fit them, or a sample is not
            finite.
    """
    run = load_run(run) if isinstance(run, (str, Path)) else run
    data = TrajectoryDataset(data) if isinstance(data, (str, Path)) else data
    check_instance(run, Run, "run", "give reconstruct(run, data, out)")
    check_instance(data, TrajectoryDataset, "data", "give TrajectoryDataset(folder of a split)")
    plan, out = SamplingPlan() if plan is None else plan, Path(out)
    check_instance(plan, SamplingPlan, "plan", "give SamplingPlan(samples=16)")
    _check_same_system(run, data)
    if plan.observe is not None and not data.layout.partly_observable:
        raise ValueError("`observe` is for vectors and fields; particles are seen whole, leave it out.")

    observation = None if plan.observe is None else named(plan.observe, plan.observed_noise, data.shape, seed=plan.seed)
    device, answer = run.device, prepared(run, data, plan)
    generator = seeds(plan.seed).child("reconstruction", "samples").generator(device)

    paths = fit_path_model(run.simulator, generator=generator, device=device) if plan.refine else None

    # What is observed: the last states, or noisy numbers of them, which `shown` displays as states.
    n, k = min(plan.limit or data.n_trajectories, data.n_trajectories), plan.draws
    truth, final = data.states(0, limit=n), data.states(len(data.times) - 1, limit=n)
    if observation is not None:
        noise = seeds(plan.seed).child("observation", "noise").generator(final.device)
        final = observation.observe(final, generator=noise)
    shown = final if observation is None else displayed_state(observation, final, data.shape)
    begun = time.perf_counter()

    def write(tmp: Path) -> None:
        with h5py.File(tmp, "w", track_order=False) as file:
            # Truth and observation come first, so that the file has the same order whatever the method.
            space = _scales(file, run.simulator, n, k)
            _field(file, "truth", (n, *data.shape), ["observation_index", *space])[...] = _blank(truth, data).numpy()
            _field(file, "observation", (n, *data.shape), ["observation_index", *space])[...] = _blank(
                shown, data
            ).numpy()
            if observation is not None:
                file.create_dataset("seen", data=final.cpu().numpy())

            # Samples are written batch by batch: they are the only array that may not fit into memory.
            target = _field(file, "samples", (n, k, *data.shape), ["observation_index", "draw", *space])
            at = 0
            for part in torch.split(final, max(1, (plan.batch or default_batch(shown)) // k)):
                drawn = _drawn(answer, observation, part.to(device), plan, generator)
                if paths is not None:
                    drawn = refine(paths, drawn, part.to(drawn), plan.refine, generator=generator)
                target[at : at + len(part)] = _blank(drawn, data).numpy()
                at += len(part)
                if progress is not None:
                    progress(at, n)

            # How the samples were made, once for readers of attributes and once complete, as JSON.
            info = {
                "schema": SCHEMA,
                "method": run.method,
                "answer": plan.answer,
                "steps": _steps(answer),
                "grid": plan.grid,
                "observe": plan.observe,
                "observed_noise": None if plan.observe is None else plan.observed_noise,
                "samples": k,
                "refine": plan.refine,
                "seed": plan.seed,
                "simulator": run.info["simulator"],
                "parameters": describe(run.simulator),
                "data": str(data.path),
                "device": str(device),
                "seconds": round(time.perf_counter() - begun, 3),
                "run": run.info,
                "versions": versions(),
            }
            for key in ("method", "answer", "steps", "samples", "seed", "simulator", "data", "device", "seconds"):
                if info[key] is not None:
                    file.attrs[key] = info[key]
            file.attrs["Conventions"] = "CF-1.8"
            file.create_dataset("info_json", data=json.dumps(info))

    with threads_for(data.shape):
        write_atomically(out, write)


def step_grid(run: Run, data: TrajectoryDataset, steps: int, grid: str) -> Float[Tensor, " grid"]:
    """Return the times of a reversal.

    Args:
        run: Trained run.
        data: Trajectories on which a ``"learned"`` grid measures its local errors.
        steps: Number of solver steps from T to 0.
        grid: ``"stored"``: spaced like the stored times.  ``"linear"``: equal steps.  ``"log"``: geometric from a
            hundredth of the horizon on, for initial states with structure on all scales.  ``"learned"``: equal local
            errors (:func:`~physinv.reversal.learned_grid.learned`).

    Returns:
        Increasing times from 0 to T, ``(steps + 1,)``, in the unit of time of the process.

    Raises:
        ValueError: If there is no grid of that name.
    """
    _check_grid(grid)
    horizon = float(run.times[-1])
    if grid == "stored":
        return resample_times(run.times, steps)
    if grid == "linear":
        return linear(horizon, steps)
    if grid == "log":
        return logarithmic(horizon, steps, horizon / 100)
    timed = data.trajectories(slice(0, _TIMED_TRAJECTORIES)).to(run.device)
    reverse = Reverse(run.sde, run.model)
    return learned(reverse, timed, data.times, steps, step=default_step(run.sde, run.model))


def _check_grid(grid: str) -> None:
    """Raise ValueError unless there is a grid of that name."""
    if grid not in GRIDS:
        raise ValueError(f"`grid` must be one of {', '.join(GRIDS)}, got {grid!r}.")


def prepared(run: Run, data: TrajectoryDataset, plan: SamplingPlan) -> Answer:
    """Return the answer of a run as a plan asks for it.

    Args:
        run: Fitted method.
        data: Trajectories on which a ``"learned"`` grid measures its local errors.
        plan: Steps, grid and kind of answer.

    Returns:
        The answer, for a score model on the grid of the plan.

    Raises:
        ValueError: If the plan asks for what only a score model has, and the method has none.
    """
    answer = run.answer
    if isinstance(answer, ReverseAnswer):
        small = answer.steps is not None or plan.answer in ("flow", "mean-flow")
        if not small and (plan.steps is not None or plan.grid != "stored"):
            raise ValueError(
                f"`steps` and `grid` are for small steps, this run draws by jumps, got {plan.steps} and {plan.grid}; "
                "leave them out."
            )
        times = step_grid(run, data, plan.steps or len(run.times) - 1, plan.grid)
        return answer.on(times, batch=plan.batch)
    asked = {
        "steps": plan.steps is not None,
        "grid": plan.grid != "stored",
        "observe": plan.observe is not None,
        "answer": plan.answer not in ("samples", "mean"),
    }
    for name in (name for name, given in asked.items() if given):
        raise ValueError(
            f"`{name}` = {getattr(plan, name)} is for methods with a score model, such as physinv; `{run.method}` has "
            "none, leave it out."
        )
    return answer


def _steps(answer: Answer) -> int | None:
    """Solver steps of the samples of a score model; None for samples without small steps."""
    return answer.steps if isinstance(answer, ReverseAnswer) else None


def _drawn(
    answer: Answer, observation: Observation | None, x: Tensor, plan: SamplingPlan, generator: torch.Generator
) -> Float[Tensor, "batch k *state"]:
    """Reconstructed states of one batch of observations, all finite."""
    if isinstance(answer, ReverseAnswer) and observation is not None:
        final = sample_final(answer.posterior, observation, x, plan.draws, generator=generator)
        drawn = answer.sample(final.flatten(0, 1), 1, generator=generator).reshape(final.shape)
    elif plan.answer == "samples":
        drawn = answer.sample(x, plan.draws, generator=generator)
    elif isinstance(answer, ReverseAnswer) and plan.answer != "mean":
        p = answer.posterior
        drawn = (p.flow(x) if plan.answer == "flow" else p.mean_flow(x))[:, None]
    else:
        drawn = answer.mean(x)[:, None]
    if not bool(drawn.isfinite().all()):
        steps, of = _steps(answer), f"the reconstruction by `{plan.answer}` diverged"
        raise ValueError(f"{of} with {steps} steps; take more `--steps`." if steps else f"{of}; take another method.")
    return drawn.detach()


def _blank(states: Tensor, data: TrajectoryDataset) -> Tensor:
    """States on the CPU, with NaN where there are no data."""
    valid = data.layout.valid
    return states.cpu() if valid is None else torch.where(valid, states.cpu(), torch.nan)


def _check_same_system(run: Run, data: TrajectoryDataset) -> None:
    """Raise ValueError unless the run was trained on the simulator and parameters of the data."""
    config, ours, name = data.config, run.simulator, run.info["simulator"]
    if isinstance(ours, GivenPhysics):
        ours, name = ours.recorded, "recorded"
    if config["simulator"] != name:
        raise ValueError(
            f"the run was trained on `{name}`, the data are `{config['simulator']}`; they must be of one system."
        )
    theirs = describe(build(find(config["simulator"]), config["parameters"]))
    for name, value in describe(ours).items():
        if theirs[name] != value:
            raise ValueError(
                f"the run was trained with `{name}` = {value}, the data have {theirs[name]}; "
                "they must be of one system."
            )


def _scales(file: h5py.File, simulator: Simulator, n: int, k: int) -> list[str]:
    """Dimension scales, so that xarray opens the file as (observation_index, draw, ...)."""
    layout = simulator.layout
    axes: dict[str, Any] = {"observation_index": range(n), "draw": range(k)}
    axes |= {name: range(size) for name, size in zip(layout.dims, layout.shape, strict=True) if name not in layout.axes}
    axes |= dict(zip(layout.axes, layout.coordinates, strict=True))
    for name, values in axes.items():
        scale = file.create_dataset(name, data=list(values), dtype="f8" if name in layout.axes else "i8")
        scale.make_scale(name)
    return list(layout.dims)


def _field(file: h5py.File, name: str, shape: tuple[int, ...], dims: list[str]) -> h5py.Dataset:
    """Create a float32 dataset of states, in chunks of one observation, with its dimension scales."""
    chunks = (1, *shape[1:]) if len(dims) > 2 else None
    data = file.create_dataset(name, shape, dtype="f4", chunks=chunks)
    for i, dim in enumerate(dims):
        data.dims[i].attach_scale(file[dim])
    return data
