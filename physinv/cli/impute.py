"""The verb `physinv impute`: trajectories with missing entries, completed.  Heavy imports happen inside it."""

from __future__ import annotations

__all__ = ["impute"]

import time
from pathlib import Path
from typing import Annotated

import typer

from physinv.cli.options import Device, Overwrite, Seed, Verify
from physinv.cli.terminal import console
from physinv.cli.terminal.progress import progress
from physinv.cli.terminal.stopping import NOTHING, keeping
from physinv.config.outputs.refusals import refuse_existing


def impute(
    run: Annotated[Path, typer.Argument(help="A run folder made by `physinv train --method imputation`.")],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Numbers (trajectory, time, *state) at the stored times of the run, NaN where one is missing "
            "(npy, npz, nc, mat, pt); or a dataset, with --hide.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="HDF5 file to write: /frames, /samples (their first states), /seen.")],
    hide: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT",
            help="Hide entries that are there, for a test: every:N (all frames but each N-th), after:T (all later "
            "frames), entries:SHARE, places:SHARE (numbers of a state, always); repeatable.",
        ),
    ] = None,
    observed_noise: Annotated[
        float | None,
        typer.Option(
            min=0, show_default="none", help="Standard deviation of the noise of the entries; --hide adds it to them."
        ),
    ] = None,
    variable: Annotated[str | None, typer.Option(metavar="NAME", help="Variable of the file.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Draws for each trajectory.")] = 16,
    limit: Annotated[
        int | None, typer.Option(min=1, show_default="all", help="Only the first so many trajectories.")
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
    verify: Verify = True,
) -> None:
    """Draw whole trajectories given those of their entries that are known: gaps, sensors that fail, forecasts.

    Examples: physinv train datasets/heat --method imputation --out runs/heat-windows --budget 2m
              physinv impute runs/heat-windows --data measured.npy --out filled.hdf5
              physinv impute runs/heat-windows --data datasets/heat/data/test --hide every:2 --out half.hdf5
    """
    from physinv.config.devices import pick_device
    from physinv.runs.imputation import trajectories_with_gaps
    from physinv.runs.records import RecordPlan, reconstruct_record
    from physinv.runs.run import load_run

    refuse_existing(out, "--out", overwrite=overwrite)
    if observed_noise == 0:
        raise ValueError("`--observed-noise` must be above 0, got 0; leave it out for exact entries.")
    fitted, begun = load_run(run, device=pick_device(device)), time.perf_counter()
    gaps = trajectories_with_gaps(
        fitted,
        data,
        hide=hide or (),
        noise=observed_noise,
        variable=variable,
        limit=limit,
        seed=seed,
        verify=verify,
    )
    plan = RecordPlan(frames=tuple(fitted.times.tolist()), samples=samples, seed=seed, limit=limit)
    with keeping(NOTHING), progress("completing") as report:
        reconstruct_record(
            fitted,
            gaps,
            out,
            plan,
            overwrite=overwrite,
            progress=lambda done, n: report(done / n, f"{done} of {n} trajectories"),
            warn=lambda line: console.warn([line]),
        )
    console.say(f"trajectories in {out}, made in {time.perf_counter() - begun:.3g} s")
