"""Reconstruct from records of observations at several times, and write initial states and trajectories to one file."""

from __future__ import annotations

__all__ = ["RecordPlan", "reconstruct_record"]

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physinv.config.devices import threads_for
from physinv.config.files import write_atomically
from physinv.config.inputs import check_count
from physinv.config.seeds import seeds
from physinv.config.versions import versions
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.broadcast import default_batch
from physinv.evaluation.observed.plausibility import divergence
from physinv.laws.described import EntryText, record_of
from physinv.laws.observation import Observation, displayed_state
from physinv.laws.record import ObservationRecord
from physinv.posterior.stored import SCHEMA
from physinv.processes.parameters import describe
from physinv.processes.priors import ParameterPrior
from physinv.processes.simulator import Simulator
from physinv.processes.varying import Varying, with_observed_noise
from physinv.runs.observed import noise_of, prior_of_noise, row_at
from physinv.runs.physics import check_same_system
from physinv.runs.record_file import RecordData
from physinv.runs.run import Run
from physinv.runs.sampling.asked import records_of, usual_noise
from physinv.runs.sampling.draws import heard, refuse_warnings
from physinv.runs.sampling.ends import answered_together, rows_of_spread
from physinv.runs.sampling.store import Store, check_fits, new_store, reserved
from physinv.runs.sampling.tried import unlike
from physinv.runs.sampling.waiting import waiting
from physinv.runs.trials.answers import answer_record
from physinv.runs.trials.starts import starts_of

_NEAR = 1e-6  # of T: times that are the same
_NOISE = 0.05  # of the deviation of the states at the last time: noise of an observation


@dataclass(frozen=True, kw_only=True)
class RecordPlan:
    """What is observed of the trajectories of a dataset, and what is drawn given it.

    Args:
        observe: What is seen at each time (:func:`~physinv.laws.operators.named`); not for data of one's own.
        at: When, in units of time; stored times of the dataset.
        observed_noise: Standard deviation of the noise, in the unit of the state, or its prior, such as
            ``"log_uniform:0.02:0.5"``, of which each trajectory has a value of its own; None: a twentieth of the
            standard deviation of the states at the last of these times, or the middle of what the run is trained for.
        frames: Times whose states are written beside the initial ones; those after the last observation are forecasts.
        samples: Draws for each trajectory.
        seed: Seed of the draws, of the noise and of the places of sensors.
        limit: Number of trajectories, from the first on; None: all.
        refine: Gradients of Monte Carlo over paths by which each draw is moved
            (:func:`~physinv.methods.classical.monte_carlo.refine.refine_given`); 0: none.

    Raises:
        ValueError: If a number is smaller than 1, or ``refine`` than 0.
    """

    observe: str = "everything"
    at: tuple[float, ...] = ()
    observed_noise: float | str | None = None
    frames: tuple[float, ...] = ()
    samples: int = 16
    seed: int = 0
    limit: int | None = None
    refine: int = 0

    def __post_init__(self) -> None:
        check_count(self.samples, "samples")
        check_count(self.refine, "refine", 0)
        if self.limit is not None:
            check_count(self.limit, "limit")


def reconstruct_record(
    run: Run,
    data: TrajectoryDataset | RecordData,
    out: Path,
    plan: RecordPlan,
    *,
    strict: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    warn: Callable[[str], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Reconstruct trajectories from observations at several times.

    Args:
        run: Fitted method, one that answers records.
        data: Trajectories, of which the plan says what is seen, or observed numbers.
        out: File to write: ``/samples`` (initial states), ``/frames`` (states at the times of ``/time``), ``/seen``
            (observed numbers), ``/observation`` (a picture of those of the last time), and of a dataset ``/truth`` and
            ``/frames_truth``.
        plan: What is seen and drawn.
        strict: Whether warnings are errors, and nothing is written then.
        overwrite: Whether an older reconstruction in ``out`` is replaced.
        progress: Called with the number of trajectories done and their total.
        warn: Called with each sentence that the method says of its draws.
        announce: Called, before draws begin, with a sentence on how long they or their trial will take, where that is
            long, and with one on observations beyond the final time.

    Raises:
        ValueError: If the method answers no records, a time is not stored, draws are not finite, or ``strict`` forbids
            a warning.
    """
    if not run.simulator.layout.partly_observable:
        raise ValueError("records are for vectors and fields; particles are seen whole, leave `--at` out.")
    records_of(run)
    if plan.observed_noise is None:
        plan = replace(plan, observed_noise=usual_noise(run))

    # What is seen: of stored states with noise, or what the user has.
    truth, known = None, None
    read: TrajectoryDataset | list[Path]
    level = data.level if isinstance(data, RecordData) else prior_of_noise(plan.observed_noise)
    process = run.simulator if level is None else with_observed_noise(run.simulator, level)
    layout = process.layout
    if isinstance(data, RecordData):
        entries, y, read = data.entries, data.y, list(data.paths)
        truth, known = _known_of(data, plan, run.times)
    else:
        check_same_system(run.info["simulator"], run.simulator, data)
        entries, y, levels = _seen(data, plan, run.simulator, level)
        kept = min(plan.limit or len(y), len(y))
        truth, known, read = data.states(0, limit=kept), _known(data, plan.frames, kept), data
        if levels is not None:
            truth, known = _joined(process, truth, levels), _joined(process, known, levels)
    shape = process.inner.shape if isinstance(process, Varying) else process.shape
    record = record_of(entries, shape, seed=plan.seed, level=level)
    given, tried = answer_record(run, record, y, refine=plan.refine, seed=plan.seed, announce=announce)
    n, k, shown = min(plan.limit or len(y), len(y)), plan.samples, _shown(record, y, shape)
    if isinstance(process, Varying):
        shown = process.hidden(shown)
    check_fits(n, k * (1 + len(plan.frames)), layout, out)
    expected = seeds(plan.seed).child("reconstruction", "expected")
    before = [*unlike(run.simulator, record, y, expected, starts_of(run)), *tried]
    refuse_warnings(before, strict=strict)
    if announce is not None and (line := _late(record, run.simulator)) is not None:
        announce(line)
    if announce is not None and (line := waiting(given, y.to(run.device), k, n)) is not None:
        announce(line)
    block, streams = default_batch(shown), seeds(plan.seed).child("reconstruction", "samples")
    parts = [
        part
        for at in range(0, n, block)
        for part in answered_together(at, n, len(y), block, k * (1 + len(plan.frames)))
    ]

    def write(tmp: Path) -> None:
        with new_store(tmp) as (file, sink):
            store = Store(file, layout, n, k, run.info.get("units", {}), run.info.get("components", ()))
            if truth is not None:
                store.states("truth", "observation_index")[...] = store.blanked(truth)
            store.states("observation", "observation_index")[...] = store.blanked(shown[:n])
            file.create_dataset("seen", data=y[:n].numpy())
            target, frames = store.states("samples", "observation_index", "draw"), None
            unknown, true = store.parameters(process.unknown, known=truth is not None)
            if true is not None and isinstance(process, Varying) and truth is not None:
                true[...] = process.values(truth).numpy()
            if plan.frames:
                store.time(plan.frames)
                frames = store.states("frames", "observation_index", "draw", "time")
                if known is not None:
                    store.states("frames_truth", "observation_index", "time")[...] = store.blanked(known)

            # Draws of whole trajectories, so that initial states and frames belong together; of those that are answered
            # together, the noise depends on which these are, and not on the limit.
            told = before
            for part in parts:
                ask, done = y[part.start : part.stop].to(run.device), min(part.stop, n)
                generator = streams.child(part.start).generator(run.device)
                with heard(told):
                    drawn = given.sample_at(ask, k, [0.0, *plan.frames], generator=generator)[: done - part.start]
                if not bool(drawn.isfinite().all()):
                    why = divergence(drawn[:, :, 0], shown[part.start : done], steps=None)
                    raise ValueError(f"`samples`: {why}")
                target[part.start : done] = store.blanked(drawn[:, :, 0])
                if unknown is not None and isinstance(process, Varying):
                    values = process.values(drawn[:, :, 0].flatten(0, 1))
                    unknown[part.start : done] = values.reshape(*drawn.shape[:2], -1).cpu().numpy()
                if frames is not None:
                    frames[part.start : done] = store.blanked(drawn[:, :, 1:])
                sink.check()
                if progress is not None:
                    progress(done, n)
            summary = run.summary
            if summary is not None and isinstance(process, Varying):
                summary = replace(summary, initial=process.hidden(summary.initial))
            store.background(summary, None)
            refuse_warnings(told, strict=strict)
            store.info(_info(run, data, plan, entries, n, process, level) | {"warnings": told})
            for line in told if warn is not None else []:
                warn(line)  # type: ignore[misc]

    verb = "impute" if run.info["method"] == "imputation" else "reconstruct"
    with threads_for(layout.shape), reserved(out, read, overwrite=overwrite, verb=verb):
        write_atomically(out, write)


def _joined(process: Simulator, states: Tensor | None, levels: Tensor) -> Tensor | None:
    """States ``(n, *time, *state)`` with the level of each trajectory as a static part."""
    if states is None or not isinstance(process, Varying):
        return states
    lead = states.ndim - len(process.shape)
    each = levels[: len(states)].repeat_interleave(math.prod(states.shape[1:lead]), 0)
    flat = process.joined(states.flatten(0, lead - 1), each[:, None])
    return flat.reshape(*states.shape[:lead], *process.shape)


def _late(record: ObservationRecord, process: Simulator) -> str | None:
    """What there is to know of observations beyond the final time; None where there are none."""
    end = float(process.horizon)
    late = [t for t in record.times if t > end * (1 + _NEAR)]
    if not late:
        return None
    return (
        f"{len(late)} of {len(record.times)} times of the record lie beyond T = {end:g}, up to {late[-1]:g}: there "
        "the physics runs on, and nothing else is known."
    )


def _seen(
    data: TrajectoryDataset, plan: RecordPlan, process: Simulator, level: ParameterPrior | None
) -> tuple[tuple[EntryText, ...], Tensor, Tensor | None]:
    """The entries that a plan asks for, noisy numbers of the stored states at their times, levels of their noise."""
    places = [row_at(data.times, t) for t in plan.at]
    if None in places or not places:
        missing = [t for t, place in zip(plan.at, places, strict=True) if place is None]
        raise ValueError(
            f"`at` must be stored times, 0 to {float(data.times[-1]):g} in {len(data.times) - 1} steps of "
            f"{float(data.times[1]):g}, got {missing}; choose from these."
        )
    # A part that the limit cuts is answered whole: it ends before twice the limit.
    n = min(2 * (plan.limit or data.n_trajectories), data.n_trajectories)
    states = {float(data.times[i]): data.states(i, limit=n) for i in places if i is not None}
    shape = process.inner.shape if isinstance(process, Varying) else process.shape
    if level is not None:
        noise = 1.0
    elif plan.observed_noise is not None:
        noise = noise_of(plan.observed_noise)
    else:
        last = max(i for i in places if i is not None)
        noise = _NOISE * float(data.states(last, limit=rows_of_spread(math.prod(shape))).std())
    entries = tuple(EntryText(at=[t], observe=plan.observe, noise=noise) for t in states)
    record = record_of(entries, shape, seed=plan.seed)

    # Each trajectory has noise of its own, whatever their number, and where that is unknown a level of its own.
    paths = torch.stack([states[t] for t in record.times], 1)
    clean = record.clean(paths[:, :, : shape[0]]).cpu()
    streams = seeds(plan.seed).child("observation", "noise")
    draws = [torch.randn(clean.shape[1:], generator=streams.child(i).generator()) for i in range(n)]
    noisy = record.deviations(torch.zeros(1, *shape)).to(clean) * torch.stack(draws)
    if level is None:
        return entries, clean + noisy, None
    of_levels = seeds(plan.seed).child("observation", "level")
    u = torch.stack([torch.rand((), generator=of_levels.child(i).generator()) for i in range(n)])
    levels = level.quantile(u.double().clamp(1e-7, 1 - 1e-7)).to(clean)
    return entries, clean + levels[:, None] * noisy, levels


def _known(data: TrajectoryDataset, frames: tuple[float, ...], n: int) -> Tensor | None:
    """The true states at some times, NaN where they are not stored."""
    if not frames:
        return None
    places = [row_at(data.times, t) for t in frames]
    blank = torch.full_like(data.states(0, limit=n), torch.nan)
    return torch.stack([blank if i is None else data.states(i, limit=n) for i in places], 1)


def _known_of(data: RecordData, plan: RecordPlan, times: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The true initial states of a record in numbers, and the states at the times of frames; None if not all known."""
    if data.whole is None or not bool((whole := data.whole[: plan.limit])[:, 0].isfinite().all()):
        return None, None
    places = [int((times - t).abs().argmin()) for t in plan.frames]
    return whole[:, 0], whole[:, places] if places else None


def _shown(record: ObservationRecord, y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The smallest states that are observed as the entry of the last time."""
    sizes = record.sizes(torch.zeros(1, *shape))
    i = max(range(len(sizes)), key=lambda i: max(record.entries[i].times))
    observation: Observation = record.entries[i].observation
    part = y[:, sum(sizes[:i]) : sum(sizes[: i + 1])].nan_to_num(0.0)
    return displayed_state(observation, part, shape)


def _info(
    run: Run,
    data: TrajectoryDataset | RecordData,
    plan: RecordPlan,
    entries: tuple[EntryText, ...],
    n: int,
    process: Simulator,
    level: ParameterPrior | None,
) -> dict[str, Any]:
    """How the samples were made, fit for JSON."""
    info: dict[str, Any] = {
        "schema": SCHEMA,
        "method": run.method,
        "answer": "samples",
        "steps": None,
        "grid": "stored",
        "observe": "record",
        "observed_noise": None,
        "record": [entry.model_dump(exclude_none=True) for entry in entries],
        "samples": plan.samples,
        "refine": plan.refine,
        "seed": plan.seed,
        "simulator": run.info["simulator"],
        "parameters": describe(process),
        "data": str(data.paths[0]) if isinstance(data, RecordData) else str(data.path),
        "device": str(run.device),
        "run": run.info,
        "versions": versions(),
    }
    if level is not None:
        info["level"] = level.described()
    if isinstance(data, RecordData) and data.whole is None:
        info["observations"] = {"sources": [str(data.paths[0])] * n, "indices": list(range(n)), "notes": []}
    return info
