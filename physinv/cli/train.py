"""The verb `physinv train`.  Heavy imports happen inside it."""

from __future__ import annotations

__all__ = ["train"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from physinv.cli import console
from physinv.cli.options import Device, Options, Overwrite, Seed, Set, parse_seconds

if TYPE_CHECKING:
    from physinv.training.validation import Record


def train(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder made by `physinv generate`.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Method of `physinv benchmark methods`, or module:function [auto].",
        ),
    ] = None,
    option: Options = None,
    simulator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Physics of imported data: a simulator, or module:Class; none: it is learned."
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="KEY=VALUE", help="Parameter of --simulator, in units of the data."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of training settings.")] = None,
    set_: Set = None,
    budget: Annotated[str | None, typer.Option(help="Training time, as 90s, 5m or 1h [default: 5m].")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates instead of a time: reproducible exactly.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also log to OUT/tensorboard.")] = False,
) -> None:
    """Train a method on a dataset; killed at any moment, --resume goes on exactly.

    Settings: loss width depth components windows batch rate weight_decay clip ema validate_every validate_windows
    workers memory fresh optimiser drift.

    Examples: physinv train datasets/heat --out runs/heat --budget 5m --set windows=[2,4,8]
              physinv train datasets/burgers --out runs/flow --method flow-matching --option steps=16
              physinv train imported --out run --simulator burgers --parameter viscosity=0.01
    """
    from physinv.cli.assignments import read_assignments
    from physinv.config.devices import pick_device
    from physinv.config.files import read_toml
    from physinv.config.settings import Settings
    from physinv.data.dataset import TrajectoryDataset
    from physinv.evaluation.physics_check import ChannelCheck, physics_warnings
    from physinv.methods.registry import DEFAULT_METHOD
    from physinv.runs.files import choice, read_info
    from physinv.runs.physics import physics_of
    from physinv.runs.run import train_run
    from physinv.training.budget import Budget
    from physinv.training.tensorboard import event_writer

    if steps is not None and budget is not None:
        raise ValueError("give `--steps` or `--budget`, not both.")
    if parameter and simulator is None:
        raise ValueError("`--parameter` is for the physics of imported data; give `--simulator`, or leave it out.")
    if resume and overwrite:
        raise ValueError("give `--resume` (go on) or `--overwrite` (start afresh), not both.")
    spend = Budget(steps=steps) if steps is not None else Budget(seconds=parse_seconds(budget or "5m"))
    settings = Settings(**{**(read_toml(config) if config else {}), **read_assignments(set_ or [])})
    train_data = TrajectoryDataset(dataset / "data" / "train")
    valid_data = TrajectoryDataset(dataset / "data" / "valid")
    given = read_assignments(parameter or [], "--parameter")
    physics = None if simulator is None else physics_of(train_data, simulator, given)
    board = event_writer(out / "tensorboard") if tensorboard else None
    with console.progress("training") as report:

        def show(done: float, record: Record) -> None:
            report(done, f"step {record.step}  loss {record.loss:.4f}  valid {record.valid:.4f}")
            if board is not None:
                board(record)

        history = train_run(
            out,
            train_data,
            valid_data,
            method=method or DEFAULT_METHOD,
            options=read_assignments(option or [], "--option"),
            settings=settings,
            budget=spend,
            seed=seed,
            device=pick_device(device),
            resume=resume,
            overwrite=overwrite,
            progress=show,
            physics=physics,
        )
    for line in choice(out):
        console.say(line)
    if physics is not None:
        checks = [ChannelCheck(**each) for each in read_info(out)["physics_check"]]
        for each in checks:
            console.say(
                f"physics of `{each.name}`: residuals of mean {each.mean:.3f}, variance {each.variance:.3f}, "
                f"correlation {each.autocorrelation:.3f} from step to step; "
                f"{each.explained:.1%} of the increments explained"
            )
        for line in physics_warnings(checks):
            console.note(f"warning: {line}")
    if not history.records:
        console.say(f"run in {out}: nothing to train")
        return
    last = history.records[-1]
    console.say(f"run in {out}: {last.step} steps in {last.seconds:.0f} s, best validation loss {last.best:.4f}")
