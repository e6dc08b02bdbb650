"""The verb `physinv reconstruct`.  Heavy imports happen inside."""

from __future__ import annotations

__all__ = ["reconstruct"]

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from physinv.cli.options import (
    METHOD,
    Device,
    Options,
    Overwrite,
    Seed,
    Strict,
    Verify,
    numbers_of,
    read_assignments,
    refuse_options,
)
from physinv.cli.terminal import console
from physinv.cli.terminal.progress import progress
from physinv.cli.terminal.stopping import NOTHING, keeping
from physinv.config.outputs.refusals import refuse_existing

if TYPE_CHECKING:
    import torch

    from physinv.data.final_states import FinalStates
    from physinv.runs.records import RecordPlan
    from physinv.runs.run import Run

_seen = partial(typer.Option, rich_help_panel="What was observed")
_method = partial(typer.Option, rich_help_panel=METHOD)
_drawn = partial(typer.Option, rich_help_panel="What is drawn")


def reconstruct(
    out: Annotated[Path, typer.Option(help="HDF5 file to write: /observation, /samples, and /truth of --data.")],
    run: Annotated[Path | None, typer.Argument(help="A run folder made by `physinv train`.")] = None,
    data: Annotated[
        Path | None, _seen(help="HDF5 file or folder of trajectories, whose last states are the observations.")
    ] = None,
    observation: Annotated[
        list[Path] | None,
        _seen(
            metavar="FILE",
            help="File of observed final states alone, one or many (npy, npz, nc, h5, csv, mat, pt); repeatable.",
        ),
    ] = None,
    variable: Annotated[str | None, _seen(metavar="NAME", help="Variable of that file, or several: u,v.")] = None,
    names: Annotated[
        str | None, _seen(metavar="A,B", help="What its channels are called in the run, in the file's order.")
    ] = None,
    dims: Annotated[
        str | None, _seen(metavar="A,B", help="What its axes are, in the file's order: sample,y,x.")
    ] = None,
    method: Annotated[
        str | None,
        _method(metavar="NAME", help="A method without training, such as gauss-newton, in the place of a run."),
    ] = None,
    train: Annotated[
        Path | None, _method(metavar="DATASET", help="Dataset folder that --method takes process and prior from.")
    ] = None,
    prior: Annotated[
        Path | None,
        _method(metavar="RUN", help="A run of `physinv train --prior`, whose law of initial states --method takes."),
    ] = None,
    simulator: Annotated[
        str | None,
        _method(metavar="NAME", show_default="that of the prior's data", help="Process that --prior is used under."),
    ] = None,
    set_: Annotated[
        list[str] | None, _method("--set", metavar="KEY=VALUE", help="Parameter of that process; repeatable.")
    ] = None,
    option: Options = None,
    answer: Annotated[
        str, _drawn(help="samples of the posterior; mean: one estimate; with a score model flow, mean-flow.")
    ] = "samples",
    samples: Annotated[int, _drawn(min=1, help="Draws for each observation.")] = 16,
    steps: Annotated[int | None, _drawn(min=1, show_default="as stored", help="Solver steps from T to 0.")] = None,
    grid: Annotated[str, _drawn(help="Where the steps lie: stored, linear, log, learned (equal errors).")] = "stored",
    observe: Annotated[
        str | None,
        _seen(
            help="See only part of x_T: sensors:FRACTION, every:FACTOR (every so many points), coarse:FACTOR (means), "
            "low-pass:KMAX, everything, or module:function of your own."
        ),
    ] = None,
    observed_noise: Annotated[
        str | None,
        _seen(
            show_default="a twentieth of that of the final states",
            help="Standard deviation of its noise; with --at also a prior: log_uniform:0.02:0.5.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        _seen(metavar="T,T", show_default="the final time", help="When --observe sees, at one or several times."),
    ] = None,
    record: Annotated[
        Path | None,
        _seen(metavar="FILE", help="TOML file of observations at several times, which names files of numbers."),
    ] = None,
    frames: Annotated[
        str | None,
        _drawn(
            metavar="T,T", help="With --at or --record, also write states at these times: all (stored), or numbers."
        ),
    ] = None,
    limit: Annotated[int | None, _seen(min=1, show_default="all", help="Only the first so many observations.")] = None,
    refine: Annotated[
        int, _drawn(min=0, metavar="N", help="Move each sample by N gradients of Monte Carlo over paths.")
    ] = 0,
    weigh: Annotated[
        int,
        _drawn(min=0, metavar="N", help="Weigh N draws by their paths, and take samples by their weights."),
    ] = 0,
    certify: Annotated[
        int | None,
        _drawn(
            min=0,
            metavar="N",
            show_default="64, down to 8 of large states",
            help="Log densities and a bracket of log p(x_T) of the first N trajectories.",
        ),
    ] = None,
    strict: Strict = False,
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
    verify: Verify = True,
) -> None:
    """Reconstruct initial states from final ones.

    Examples: physinv reconstruct runs/heat --data datasets/heat/data/test --out heat.hdf5 --samples 16 --steps 32
              physinv reconstruct runs/heat --data datasets/heat/data/test --out part.hdf5 --observe sensors:0.25
              physinv reconstruct runs/heat --data datasets/heat/data/test --out all.hdf5 --at 0.1,0.2 --frames all
              physinv reconstruct --method dps --prior runs/prior --set diffusivity=1.5 --data other/test --out dps.hdf5
              physinv reconstruct --method lbfgs --train datasets/heat --data datasets/heat/data/test --out lbfgs.hdf5
    """
    from physinv.config.devices import pick_device
    from physinv.data.dataset import TrajectoryDataset
    from physinv.runs.observed import noise_of
    from physinv.runs.reconstruct import reconstruct
    from physinv.runs.records import RecordPlan
    from physinv.runs.sampling.plan import SamplingPlan

    refuse_existing(out, "--out", overwrite=overwrite)
    if not out.parent.is_dir():
        raise ValueError(f"`--out` must lie in an existing folder, {out.parent} is none; make it first.")
    given = _Given(prior, simulator, set_)
    if at is not None or record is not None or frames is not None:
        others: dict[str, object] = {"--observation": observation, "--steps": steps}
        others |= {"--variable": variable, "--names": names, "--dims": dims, "--weigh": weigh}
        others |= {"--answer": answer != "samples", "--grid": grid != "stored", "--certify": certify is not None}
        refuse_options(others, "is not for observations at several times")
        if record is not None:
            said = {"--observe": observe, "--observed-noise": observed_noise is not None}
            refuse_options(said, "is said in the file of `--record`, entry by entry")
        asked = RecordPlan(
            observe="everything" if observe is None else observe,
            at=numbers_of(at, "--at"),
            observed_noise=observed_noise,
            samples=samples,
            seed=seed,
            limit=limit,
            refine=refine,
        )
        fitted = _fitted(run, method, train, given, option or [], seed, pick_device(device))
        return _record(fitted, data, record, frames, out, asked, strict=strict, overwrite=overwrite, verify=verify)
    if (data is None) == (not observation):
        raise ValueError("give `--data` (trajectories) or `--observation` (final states alone), one of the two.")
    if data is not None and (variable or names or dims):
        raise ValueError("`--variable`, `--names` and `--dims` are for `--observation`; leave them out with `--data`.")
    plan = SamplingPlan(
        answer=answer,
        samples=samples,
        steps=steps,
        grid=grid,
        seed=seed,
        limit=limit,
        observe=observe,
        observed_noise=observed_noise if observed_noise is None else noise_of(observed_noise),
        refine=refine,
        weigh=weigh,
        certify=certify,
    )
    loaded = _fitted(run, method, train, given, option or [], seed, pick_device(device))
    source: TrajectoryDataset | FinalStates
    if data is not None:
        source = TrajectoryDataset(data, verify=verify)
    else:
        source = _observed(observation or [], loaded, variable, names, dims)
    begun, warnings = time.perf_counter(), list[str]()
    with keeping(NOTHING), progress("reconstructing") as report:
        found = reconstruct(
            loaded,
            source,
            out,
            plan,
            strict=strict,
            overwrite=overwrite,
            progress=lambda done, n: report(done / n, f"{done} of {n} observations"),
            warn=warnings.append,
        )
    with keeping(f"the reconstruction in {out} is whole"):
        if observe is None:
            console.familiarity(found)
        console.warn(warnings)
        console.say(f"reconstruction in {out}, made in {time.perf_counter() - begun:.3g} s")


def _observed(paths: list[Path], run: Run, variable: str | None, names: str | None, dims: str | None) -> FinalStates:
    """Observations alone, brought to the channels and the grid of a run; what was changed is said."""
    from physinv.data.final_states import read_final_states

    found = read_final_states(
        paths,
        run.observed,
        float(run.times[-1]),
        variable=variable,
        names=tuple(names.split(",")) if names else (),
        dims=dims,
        units=run.info.get("units"),
        components=run.info.get("components", ()),
    )
    for line in found.notes:
        console.note(line)
    return found


def _record(
    run: Run,
    data: Path | None,
    record: Path | None,
    frames: str | None,
    out: Path,
    plan: RecordPlan,
    *,
    strict: bool,
    overwrite: bool,
    verify: bool,
) -> None:
    """Reconstruct from observations at several times: of a dataset, or of a file of one's own."""
    from dataclasses import replace

    from physinv.data.dataset import TrajectoryDataset
    from physinv.runs.record_file import RecordData, read_record
    from physinv.runs.records import reconstruct_record

    if (data is None) == (record is None) or (record is None) != bool(plan.at):
        raise ValueError("give `--data` with `--at` (trajectories and when they are seen), or `--record`.")
    times = tuple(run.times.tolist()) if frames == "all" else numbers_of(frames, "--frames")
    source: TrajectoryDataset | RecordData
    if data is not None:
        source = TrajectoryDataset(data, verify=verify)
    else:
        assert record is not None
        source = read_record(record, run.simulator.shape)
    begun, told = time.perf_counter(), list[str]()
    with keeping(NOTHING), progress("reconstructing") as report:
        reconstruct_record(
            run,
            source,
            out,
            replace(plan, frames=times),
            strict=strict,
            overwrite=overwrite,
            progress=lambda done, n: report(done / n, f"{done} of {n} trajectories"),
            warn=told.append,
            announce=console.note,
        )
    with keeping(f"the reconstruction in {out} is whole"):
        console.warn(told)
        console.say(f"reconstruction in {out}, made in {time.perf_counter() - begun:.3g} s")


class _Given(NamedTuple):
    """A prior of another run, and the process that it is used under."""

    prior: Path | None
    simulator: str | None
    parameters: list[str] | None


def _fitted(
    run: Path | None,
    method: str | None,
    train: Path | None,
    given: _Given,
    option: list[str],
    seed: int,
    device: torch.device,
) -> Run:
    """The run of a folder, or a method without training, fitted to a dataset or with a prior."""
    from physinv.data.dataset import TrajectoryDataset
    from physinv.runs.run import fit_run, load_run
    from physinv.runs.sampling.with_prior import fit_with_prior

    if given.prior is None and any(given):
        raise ValueError("`--simulator` and `--set` say under which process a `--prior` is used; give that, too.")
    if given.prior is not None:
        if method is None or run is not None or train is not None:
            raise ValueError("give `--prior RUN` with `--method NAME`, and neither a run nor `--train`.")
        return fit_with_prior(
            given.prior,
            method=method,
            simulator=given.simulator,
            parameters=read_assignments(given.parameters or []),
            options=read_assignments(option, "--option"),
            seed=seed,
            device=device,
        )
    if run is not None:
        if method is not None or train is not None or option:
            raise ValueError("give a run, or `--method` with `--train`, not both.")
        return load_run(run, device=device)
    if method is None or train is None:
        raise ValueError("give the folder of a run, or `--method NAME --train DATASET`.")
    data, valid = (TrajectoryDataset(train / "data" / split) for split in ("train", "valid"))
    options = read_assignments(option, "--option")
    return fit_run(data, valid, method=method, options=options, seed=seed, device=device)
