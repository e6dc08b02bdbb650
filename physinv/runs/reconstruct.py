"""Reconstruct the initial states of a dataset, or of observations alone, and write them to one HDF5 file."""

from __future__ import annotations

__all__ = ["reconstruct"]

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor

from physinv.config.devices import threads_for
from physinv.config.files import write_atomically
from physinv.config.inputs import as_path, check_function, check_instance
from physinv.config.seeds import Seeds, seeds
from physinv.config.versions import versions
from physinv.data.dataset import TrajectoryDataset
from physinv.data.final_states import FinalStates
from physinv.evaluation.observed.familiarity import Familiarity
from physinv.evaluation.observed.plausibility import Plausibility
from physinv.laws.operators import named
from physinv.laws.record import as_record
from physinv.methods.problem import Answer, TakesRecords
from physinv.methods.reverse import ReverseAnswer
from physinv.posterior.stored import SCHEMA
from physinv.processes.parameters import describe
from physinv.processes.varying import Varying
from physinv.runs.evidence import reversal_of
from physinv.runs.observed import DEFAULT_NOISE, check_observable, untrained
from physinv.runs.physics import check_same_system
from physinv.runs.run import Run, load_run
from physinv.runs.sampling.asked import observation_for
from physinv.runs.sampling.certificate import certified, certify
from physinv.runs.sampling.draws import check_unknown, drawn_states, heard, refuse_warnings, steps_of
from physinv.runs.sampling.ends import Ends
from physinv.runs.sampling.forward import ForwardSamples
from physinv.runs.sampling.grids import step_grid
from physinv.runs.sampling.plan import SamplingPlan
from physinv.runs.sampling.refining import prepare_refinement
from physinv.runs.sampling.staged import prepare_stages
from physinv.runs.sampling.store import Store, check_fits, new_store, reserved
from physinv.runs.sampling.weighing import WeighedSamples
from physinv.runs.summary import few_windows, seen_in_training
from physinv.runs.trials.answers import answer_record, path_model_of, try_final
from physinv.training.final_estimate import FinalEstimate, Reader


def reconstruct(
    run: Run | Path | str,
    data: TrajectoryDataset | FinalStates | Path | str,
    out: Path | str,
    plan: SamplingPlan | None = None,
    *,
    strict: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Familiarity | None:
    """Reconstruct the initial states of a dataset, or of observations alone, and write them to one HDF5 file.

    The file holds ``/truth`` (of a dataset), ``/observation``, ``/samples`` and, for partial observations, the observed
    numbers ``/seen``; it appears when it is complete, and equal input, seed, device and
    versions give equal bytes.  Given a partial observation, samples are drawn in two stages
    (:func:`~physinv.posterior.partial.sample_final`).  Samples of observations alone are also run forward again, by
    physics or a regression (:mod:`physinv.runs.sampling.forward`), into ``/predicted`` and ``/predicted_clean``.

    Args:
        run: Fitted method, or the folder of its run.
        data: Trajectories of the same system, whose last states are the observations, or their folder or file; or
            observations alone (:func:`~physinv.data.final_states.read_final_states`,
            :func:`~physinv.data.final_states.final_states`).
        out: File to write.
        plan: Answer, number of samples, steps and observation; None: the defaults of :class:`SamplingPlan`.
        strict: Whether observations that are unlike the training data are refused, before anything is written.
        overwrite: Whether an older reconstruction in ``out`` is replaced, when the new one is complete.
        progress: Called with the number of observations done and their total after each batch.
        warn: Called with each sentence that advises against the samples, which the file holds as well.

    Returns:
        How far the observations lie from the training data; None where the run does not know, or they are partial.

    Raises:
        ValueError: If ``run`` and ``data`` are of different systems, the plan does not fit them, a sample is not
            finite, or ``out`` is what is read, is no reconstruction, or exists and ``overwrite`` is not set.
        OSError: If the disk is full.
    """
    run = load_run(run) if isinstance(run, (str, Path)) else run
    data = TrajectoryDataset(data) if isinstance(data, (str, Path)) else data
    check_instance(run, Run, "run", "give reconstruct(run, data, out)")
    if not isinstance(data, FinalStates):
        check_instance(data, TrajectoryDataset, "data", "give TrajectoryDataset(folder of a split) or FinalStates")
        check_same_system(run.info["simulator"], run.simulator, data)
    plan, out = SamplingPlan() if plan is None else plan, as_path(out, "out", "give the file to write")
    for name, told, form in (("progress", progress, "(done, all) -> None"), ("warn", warn, "(sentence) -> None")):
        if told is not None:
            check_function(told, name, form)
    check_instance(plan, SamplingPlan, "plan", "give SamplingPlan(samples=16)")
    if isinstance(data, FinalStates) and plan.certify:
        raise ValueError(
            f"`certify` is for trajectories, not for observations alone, got {plan.certify}; leave it out."
        )
    layout = run.simulator.layout
    levels = seeds(plan.seed).child("observation", "level")
    ends = Ends(data, plan.limit, run.simulator if isinstance(run.simulator, Varying) else None, levels)
    check_fits(ends.n, plan.draws, layout, out)
    reader, seen_as = observation_for(run, plan.observe, plan.observed_noise, seed=plan.seed)
    plan = replace(plan, **seen_as)
    if reader is None and plan.observe is not None:
        check_observable(plan.observe, layout, alone=isinstance(data, FinalStates))
    check_unknown(run.simulator.unknown, plan, reader)
    if plan.observe is not None and plan.observed_noise is None:
        plan = replace(plan, observed_noise=DEFAULT_NOISE * ends.spread(layout))

    observation = None if reader is None else reader.observation
    if observation is None and plan.observe is not None and plan.observed_noise is not None:
        observation = named(plan.observe, plan.observed_noise, layout.shape, seed=plan.seed)
    device, answer = run.device, prepared(run, data if isinstance(data, TrajectoryDataset) else None, plan)
    streams, told_before = seeds(plan.seed).child("reconstruction", "samples"), list[str]()
    record = None if observation is None else as_record(observation, float(run.times[-1]))
    weighed = WeighedSamples(reversal_of(replace(run, answer=answer)), plan.weigh, plan.draws) if plan.weigh else None
    direct = record is not None and reader is None and isinstance(answer, TakesRecords) and not _reversed(answer)
    paths = path_model_of(run, streams.generator(device)) if plan.refine and not direct else None
    if direct and record is not None:
        y = torch.zeros(1, sum(record.sizes(torch.zeros(1, *run.simulator.shape))), device=device)
        answer, told_before = answer_record(run, record, y, refine=plan.refine, seed=plan.seed)

    # Nonlinear fields that are seen in part, by a run that is not trained for that.
    staged = None
    told_before += untrained(run.simulator, plan.observe if reader is None and _reversed(answer) else None)
    if told_before and observation is not None and not direct:

        def two_stages(y: Tensor, finals: Tensor, n: int, generator: torch.Generator) -> Tensor:
            return drawn_states(None, answer, observation, y, replace(plan, samples=n), generator, finals)

        staged = prepare_stages(run, observation, two_stages, seeds(plan.seed).child("reconstruction", "stages"))
        told_before += [] if staged is None else staged.warnings

    # Monte Carlo behind the samples, given what is observed.
    refined, guard = None, None

    def plain(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
        finals, asked = None if staged is None else staged.finals, replace(plan, samples=n)
        found = drawn_states(run.parameters, answer, reader or observation, x, asked, generator, finals)
        return found if staged is None else staged.mixed(found, generator)

    def moved(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
        found = plain(x, n, generator)
        return found if refined is None else refined(found, x.to(found), generator)

    if paths is not None:
        trial = seeds(plan.seed).child("reconstruction", "refinement")
        refined = prepare_refinement(paths, plain, plan.refine, trial, record)
    if record is not None and not direct and staged is None:
        guard, tried = try_final(run, record, moved, seed=plan.seed, refine=plan.refine)
        told_before += tried

    # What is observed: the last states, or noisy numbers of them, which are displayed as states.
    noise, told = seeds(plan.seed).child("observation", "noise"), warn or (lambda line: None)
    known = None if run.summary is None or (observation and reader is None) else run.summary.law
    estimate = None if reader is None else partial(_estimated, ends, reader, noise)
    familiar = None if known is None else ends.familiarity(known, estimate)
    refuse_warnings(familiar.warnings if familiar is not None else [], strict=strict)

    def write(tmp: Path) -> None:
        with new_store(tmp) as (file, sink):
            # Truth and observation come first, so that the file has the same order whatever the method.
            store = Store(file, layout, ends.n, plan.draws, run.info.get("units", {}), run.info.get("components", ()))
            truth = store.states("truth", "observation_index") if ends.known else None
            shown = store.states("observation", "observation_index")
            seen: h5py.Dataset | None = None
            target = store.states("samples", "observation_index", "draw")
            parameters, true = store.parameters(run.simulator.unknown, known=ends.known)
            alone = truth is None and plan.answer == "samples" and observation is None
            ahead = ForwardSamples(run, store, plan.draws, seed=plan.seed) if alone else None
            doubts = Plausibility(layout, None if run.summary is None else run.summary.initial)

            # Everything is read and written a block at a time, samples a part of it: whatever is not kept need not fit
            # into memory.
            for at in ends.starts():
                end, parts = min(at + ends.block, ends.n), ends.parts(at, plan.draws)
                final = ends.final(at, parts[-1].stop)
                if truth is not None:
                    initial = ends.truth(at, end)
                    truth[at:end] = store.blanked(initial)
                    if true is not None:
                        true[at:end] = layout.constants(initial, run.simulator.unknown).cpu()
                if observation is None:
                    shown[at:end] = store.blanked(final[: end - at])
                else:
                    final = ends.seen(observation, at, final, noise)
                    kept = final[: end - at]
                    shown[at:end] = store.blanked(ends.displayed(observation, kept))
                    seen = store.seen(tuple(final.shape[1:])) if seen is None else seen
                    seen[at:end] = kept.cpu().numpy()
                for part in parts:
                    x = final[part.start - at : part.stop - at].to(device)
                    generator, done = streams.child(part.start).generator(device), min(part.stop, end)
                    if weighed is not None:
                        drawn = weighed.draw(x, done - part.start, generator=generator)
                    else:
                        finals = None if staged is None else staged.finals
                        with heard(told_before):
                            drawn = drawn_states(
                                run.parameters, answer, reader or observation, x, plan, generator, finals
                            )
                        drawn = drawn if staged is None else staged.mixed(drawn, generator)
                    if refined is not None:
                        drawn = refined(drawn, x.to(drawn), generator)
                    drawn = drawn if guard is None else guard.mixed(drawn, generator)
                    drawn = drawn[: done - part.start]
                    doubts.add(drawn)
                    target[part.start : done] = store.blanked(drawn)
                    if parameters is not None:
                        parameters[part.start : done] = layout.constants(drawn, run.simulator.unknown).cpu()
                    if ahead is not None:
                        ahead.write(part.start, drawn)
                    sink.check()
                    if progress is not None:
                        progress(done, ends.n)

            if ahead is not None:
                ahead.close()

            # What the samples are compared with, and how they were made.
            store.background(run.summary, ends.blocks() if observation is None else None)
            store.origin(data if isinstance(data, FinalStates) else None, familiar)
            lines = [*told_before, *few_windows(run.info), *doubts.warnings, *(refined.warnings if refined else ())]
            if ends.known:
                truth = ends.truth(0, min(ends.n, ends.block))
                lines += seen_in_training(run.summary, truth, run.info.get("trajectories"))
            lines += weighed.warnings if weighed is not None else []
            told_of: dict[str, Any] = {} if weighed is None else {"evidence": weighed.info}
            told_of |= {"forward": ahead.by} if ahead is not None else {}
            told_of |= {"refinement": {"gradients": refined.gradients}} if refined is not None else {}
            told_of |= _certificate(run, answer, data, plan, ends, reader)
            refuse_warnings(lines, strict=strict)
            store.info(_info(run, data, plan, answer, familiar) | {"warnings": lines} | told_of)
            for line in lines:
                told(line)

    with threads_for(layout.shape), reserved(out, data, overwrite=overwrite):
        write_atomically(out, write)
    return familiar


def _estimated(ends: Ends, partial: Reader, noise: Seeds, at: int, final: Tensor) -> Tensor:
    """Final states of a block as the run sees them: estimated from what is observed of them."""
    return partial.plain(partial(ends.seen(partial.observation, at, final, noise)))


def _certificate(
    run: Run,
    answer: Answer,
    data: TrajectoryDataset | FinalStates,
    plan: SamplingPlan,
    ends: Ends,
    reader: Reader | None,
) -> dict[str, Any]:
    """Densities of the first trajectories, as many as are read together at most; why there are none, if asked for."""
    asked = certified(math.prod(run.simulator.shape)) if plan.certify is None else plan.certify
    n = min(asked, ends.n, ends.block)
    if isinstance(data, FinalStates) or plan.answer != "samples" or not n:
        return {}
    if plan.observe is not None and not isinstance(reader, FinalEstimate):
        told = "No log density: the run is not trained for this observation alone."
        return {} if plan.certify is None else {"certificate": {"told": [told]}}
    final, stream = ends.final(0, n), seeds(plan.seed)
    if reader is not None:
        final = _estimated(ends, reader, stream.child("observation", "noise"), 0, final)
    generator = stream.child("reconstruction", "certificate").generator(run.device)
    whole, final = reader is None, final.to(run.device)
    found = certify(answer, run.simulator, data, final, whole=whole, generator=generator)
    return {"certificate": found | ({"told": []} if plan.certify is None else {})}


def _info(
    run: Run,
    data: TrajectoryDataset | FinalStates,
    plan: SamplingPlan,
    answer: Answer,
    familiar: Familiarity | None,
) -> dict[str, Any]:
    """How the samples were made, fit for JSON."""
    info: dict[str, Any] = {
        "schema": SCHEMA,
        "method": run.method,
        "answer": plan.answer,
        "steps": steps_of(answer),
        "grid": plan.grid,
        "observe": plan.observe,
        "observed_noise": None if plan.observe is None else plan.observed_noise,
        "samples": plan.draws,
        "refine": plan.refine,
        "weigh": plan.weigh,
        "seed": plan.seed,
        "simulator": run.info["simulator"],
        "parameters": describe(run.simulator),
        "data": ", ".join(dict.fromkeys(data.sources)) if isinstance(data, FinalStates) else str(data.path),
        "device": str(run.device),
        "run": run.info,
        "versions": versions(),
    }
    if isinstance(data, FinalStates):
        first = data.first(plan.limit)
        info["observations"] = {"sources": first.sources, "indices": first.indices, "notes": first.notes}
    if familiar is not None:
        info["familiarity"] = {**asdict(familiar), "warnings": familiar.warnings}
    return info


def _reversed(answer: Answer) -> bool:
    """Whether final states are drawn given their observed part, and then reversed."""
    return isinstance(answer, ReverseAnswer)


def prepared(run: Run, data: TrajectoryDataset | None, plan: SamplingPlan) -> Answer:
    """Return the answer of a run as a plan asks for it.

    Args:
        run: Fitted method.
        data: Trajectories on which a ``"learned"`` grid measures its local errors; None where there are none.
        plan: Steps, grid and kind of answer.

    Returns:
        The answer, for a score model on the grid of the plan.

    Raises:
        ValueError: If the plan asks for what only a score model has, and the method has none.
    """
    answer = run.answer
    if isinstance(answer, ReverseAnswer):
        small = answer.steps is not None or plan.answer in ("flow", "mean-flow") or plan.weigh > 0
        if not small and (plan.steps is not None or plan.grid != "stored"):
            asked_for = f"`steps` = {plan.steps}" if plan.steps is not None else f"`grid` = {plan.grid}"
            told = "leave it out, or take `--answer flow`, which goes by small steps"
            raise ValueError(f"{asked_for} is for small steps, and this run draws by jumps; {told}.")
        times = step_grid(run, data, plan.steps or len(run.times) - 1, plan.grid)
        return answer.on(times, batch=plan.batch)
    asked = {
        "steps": plan.steps is not None,
        "grid": plan.grid != "stored",
        "observe": plan.observe is not None and run.partial is None and not isinstance(answer, TakesRecords),
        "answer": plan.answer not in ("samples", "mean"),
    }
    for name in (name for name, given in asked.items() if given):
        raise ValueError(
            f"`{name}` = {getattr(plan, name)} is for methods with a score model, such as physinv; `{run.method}` has "
            "none, leave it out."
        )
    return answer
