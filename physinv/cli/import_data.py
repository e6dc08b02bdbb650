"""The verb `physinv import`.  Heavy imports happen inside it."""

from __future__ import annotations

__all__ = ["import_"]

from functools import partial
from json import loads
from pathlib import Path
from typing import Annotated

import typer

from physinv.cli.options import Overwrite, Seed
from physinv.cli.terminal import console
from physinv.cli.terminal.progress import progress
from physinv.cli.terminal.stopping import NOTHING, keeping

_read = partial(typer.Option, rich_help_panel="What the files hold, where they do not say")
_cut = partial(typer.Option, rich_help_panel="Which times are kept")
_split = partial(typer.Option, rich_help_panel="What is set aside")


def import_(
    sources: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of any known format, or folders.")],
    out: Annotated[Path | None, typer.Option(help="Dataset folder to write.")] = None,
    variable: Annotated[str | None, _read(help="Variables that make up a state: NAME or NAME,NAME.")] = None,
    dims: Annotated[
        str | None, _read(help="Names of their axes as the file has them, such as sample,time,y,x.")
    ] = None,
    frames: Annotated[
        str | None,
        _read(help="Variables that are the states at one time each: INITIAL,FINAL; needs --times, such as 0:1."),
    ] = None,
    times: Annotated[str | None, _read(help="Times: a step, FIRST:LAST, or the name of a variable.")] = None,
    positions: Annotated[
        list[str] | None,
        _read(metavar="AXIS=...", help="Positions: a spacing, FIRST:LAST, or a variable; repeatable."),
    ] = None,
    boundary: Annotated[
        str | None,
        _read(help="What lies at the ends: periodic, wall or open, or AXIS=WORD,AXIS=WORD; if the file is silent."),
    ] = None,
    window: Annotated[int | None, _cut(min=2, help="Cut long recordings into trajectories of so many states.")] = None,
    stride: Annotated[
        int | None, _cut(min=1, help="Stored times from one window to the next; as --every if not given.")
    ] = None,
    every: Annotated[int, _cut(min=1, help="Keep one of so many stored times.")] = 1,
    resample: Annotated[float | None, _cut(help="Interpolate to times so far apart, if they are uneven.")] = None,
    period: Annotated[
        float | None,
        _read(help="Length of a cycle, such as 365.25 (days): its phase at the start of a window is context."),
    ] = None,
    context: Annotated[
        str | None,
        _read(help="Variables along the times that are known, such as a heater: NAME or NAME,NAME."),
    ] = None,
    box: Annotated[
        str | None,
        _read(help="Box of particles: a side, sides, a variable or a file, if the file of states is silent."),
    ] = None,
    valid: Annotated[float, _split(help="Share of the data for validation.")] = 0.1,
    test: Annotated[float, _split(help="Share of the data for tests.")] = 0.1,
    split_by: Annotated[
        str | None, _split(help="time or trajectory: what is set aside; windows are split by time.")
    ] = None,
    seed: Seed = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what was understood, and write nothing.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Make a dataset of trajectories that others wrote, whatever their format.

    netCDF, HDF5, The Well, PDEBench, Zarr, GRIB, .mat, .npz, .npy, csv, torch .pt, GSD, XYZ.  A folder with train,
    valid and test inside keeps its splits.  One long recording is cut into windows, and split by blocks of time.

    Examples: physinv import the_well/datasets/gray_scott --out datasets/gray-scott --every 10
              physinv import 1D_Burgers_Sols_Nu0.01.hdf5 --out datasets/burgers --boundary periodic
              physinv import sst.nc --out datasets/sst --window 6 --dry-run
    """
    from physinv.data.checks import few_warnings, value_warnings
    from physinv.data.dataset import TrajectoryDataset
    from physinv.data.importing import Choices, Planned, check_values, refuse_existing, write_import
    from physinv.data.imports.plan import plan_import

    if out is None and not dry_run:
        raise ValueError("`--out` must name the folder to write; or look first with `--dry-run`.")
    choices = Choices(
        variable=variable,
        dims=dims,
        frames=frames,
        times=times,
        positions=_pairs(positions or []),
        boundary=boundary,
        every=every,
        window=window,
        stride=stride,
        resample=resample,
        period=period,
        context=context,
        box=box,
        valid=valid,
        test=test,
        split_by=split_by,
        seed=seed,
    )
    if out is not None and not dry_run:
        refuse_existing(out, overwrite)
    plan = plan_import(sources, choices)
    if dry_run or out is None:
        few = check_values(plan)
        checked = "finite, in float32 too" if few else "not checked, since there are many: the import does"
        console.mapping({**plan.summary(), "values": checked}, as_json=False)
        console.warn(few_warnings(plan.picks, len(plan.recorded.times), cut=choices.window is not None))
        if few:
            console.warn(value_warnings(Planned(plan)))
        return
    for text in plan.notes:
        console.note(text)
    with keeping(NOTHING), progress("importing") as report:
        folder = write_import(
            plan,
            out,
            overwrite=overwrite,
            progress=lambda done, n: report(done / n, f"{done} of {n} trajectories"),
        )
    with keeping(f"the dataset in {folder} is complete"):
        data = TrajectoryDataset(folder / "data" / "train")
        few_of = few_warnings(plan.picks, len(data.times), cut=choices.window is not None)
        noted = loads((folder / "dataset.json").read_text("utf-8"))["notes"]  # ours, and what the values say
        console.warn([*few_of, *noted[len(plan.notes) :]])
        splits = ", ".join(f"{split} {len(picks)}" for split, picks in plan.picks.items())
        console.say(f"dataset in {folder}: {splits} trajectories ({plan.config['split']})")


def _pairs(given: list[str]) -> dict[str, str]:
    for text in given:
        if "=" not in text:
            raise ValueError(f"`--positions` must be AXIS=FIRST:LAST, AXIS=SPACING or AXIS=NAME, got {text!r}.")
    return dict(text.partition("=")[::2] for text in given)
