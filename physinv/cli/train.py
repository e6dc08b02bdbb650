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
    workers memory fresh optimiser.

    Examples: physinv train datasets/heat --out runs/heat --budget 5m --set windows=[2,4,8]
              physinv train datasets/burgers --out runs/flow --method flow-matching --option steps=16
    """
    from physinv.cli.assignments import read_assignments
    from physinv.config.devices import pick_device
    from physinv.config.files import read_toml
    from physinv.config.settings import Settings
    from physinv.data.dataset import TrajectoryDataset
    from physinv.methods.registry import DEFAULT_METHOD
    from physinv.runs.files import choice
    from physinv.runs.run import train_run
    from physinv.training.budget import Budget
    from physinv.training.tensorboard import event_writer

    if steps is not None and budget is not None:
        raise ValueError("give `--steps` or `--budget`, not both.")
    if resume and overwrite:
        raise ValueError("give `--resume` (go on) or `--overwrite` (start afresh), not both.")
    spend = Budget(steps=steps) if steps is not None else Budget(seconds=parse_seconds(budget or "5m"))
    settings = Settings(**{**(read_toml(config) if config else {}), **read_assignments(set_ or [])})
    train_data = TrajectoryDataset(dataset / "data" / "train")
    valid_data = TrajectoryDataset(dataset / "data" / "valid")
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
        )
    for line in choice(out):
        console.say(line)
    if not history.records:
        console.say(f"run in {out}: nothing to train")
        return
    last = history.records[-1]
    console.say(f"run in {out}: {last.step} steps in {last.seconds:.0f} s, best validation loss {last.best:.4f}")
