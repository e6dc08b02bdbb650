"""The verb `physinv train`.  Heavy imports happen inside it."""

from __future__ import annotations

__all__ = ["train"]

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from physinv.cli.options import (
    METHOD,
    Device,
    Options,
    Overwrite,
    Seed,
    Set,
    Verify,
    numbers_of,
    parse_seconds,
    read_assignments,
)
from physinv.cli.terminal import console
from physinv.cli.terminal.progress import progress
from physinv.cli.terminal.stopping import NOTHING, keeping
from physinv.config.outputs.refusals import refuse_inputs

if TYPE_CHECKING:
    from physinv.training.validation import History, ValidationRecord

_WORTH_SAYING = 1.0  # seconds of a phase

_method = partial(typer.Option, rich_help_panel=METHOD)
_physics = partial(typer.Option, rich_help_panel="Physics of imported data")
_seen = partial(typer.Option, rich_help_panel="Partial observations")
_training = partial(typer.Option, rich_help_panel="Training")


def train(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder made by `physinv generate` or `import`.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    method: Annotated[
        str | None,
        _method(
            metavar="NAME",
            show_default="auto",
            help="Method of `physinv benchmark methods`, or module:function.",
        ),
    ] = None,
    prior: Annotated[
        bool, _method("--prior", help="Learn the law of initial states alone, for `reconstruct --prior`.")
    ] = False,
    option: Options = None,
    simulator: Annotated[
        str | None,
        _physics(metavar="NAME", help="Physics of imported data: a simulator, or module:Class; none: it is learned."),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        _physics("--parameter", metavar="KEY=VALUE", help="Parameter of --simulator, in units of the data."),
    ] = None,
    observe: Annotated[
        str | None,
        _seen(
            metavar="WHAT",
            help="Train for partial observations: sensors:FRACTION, every:N, coarse:N, low-pass:K, everything, or "
            "module:function of your own; random:LOW-HIGH for any sensors of such a share of the points.",
        ),
    ] = None,
    observed_noise: Annotated[
        str | None,
        _seen(
            show_default="a twentieth of the spread",
            help="Standard deviation of their noise, in units of the data; with random sensors also LOW-HIGH.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        _seen(metavar="T,T", show_default="the final time", help="When random sensors see, at one or several times."),
    ] = None,
    config: Annotated[Path | None, _method(help="TOML file of training settings.")] = None,
    set_: Set = None,
    budget: Annotated[
        str | None,
        _training(
            show_default="5m, or that of the run with --resume",
            help="Training time, as 90s, 5m or 1h; fits, choice and calibration take time beyond it.",
        ),
    ] = None,
    steps: Annotated[int | None, _training(min=1, help="Updates instead of a time: reproducible exactly.")] = None,
    resume: Annotated[
        bool, _training("--resume", help="Go on with the run in --out; a larger budget extends a finished one.")
    ] = False,
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
    verify: Verify = True,
    tensorboard: Annotated[bool, _training("--tensorboard", help="Also log to OUT/tensorboard.")] = False,
) -> None:
    """Train a method on a dataset; killed at any moment, --resume goes on exactly.

    The settings that --set and --config change are listed below.

    Examples: physinv train datasets/heat --out runs/heat --budget 5m --set windows=[2,4,8]
              physinv train datasets/burgers --out runs/flow --method flow-matching --option steps=16
              physinv train datasets/heat --out runs/heat --budget 10m --resume
              physinv train datasets/burgers --out runs/sparse --observe every:4 --observed-noise 0.1
              physinv train imported --out run --simulator burgers --parameter viscosity=0.01
              physinv train datasets/heat --out runs/prior --prior
    """
    from physinv.config.devices import pick_device
    from physinv.config.files import read_toml
    from physinv.config.settings import Settings
    from physinv.data.checks import precision_warnings
    from physinv.data.dataset import TrajectoryDataset
    from physinv.data.process import process_of
    from physinv.methods.registry import DEFAULT_METHOD
    from physinv.runs.physics import fitted_noise, physics_of
    from physinv.runs.places import replacement
    from physinv.runs.run import train_run
    from physinv.runs.run_json import stored_budget
    from physinv.training.budget import Budget
    from physinv.training.doubts import training_warnings
    from physinv.training.tensorboard import event_writer

    if steps is not None and budget is not None:
        raise ValueError("give `--steps` or `--budget`, not both.")
    if prior and (method is not None or observe is not None):
        raise ValueError(
            "give `--prior` or `--method`, and `--observe` to a method alone; a prior knows no observation."
        )
    if parameter and simulator is None:
        raise ValueError("`--parameter` is for the physics of imported data; give `--simulator`, or leave it out.")
    if resume and overwrite:
        raise ValueError("give `--resume` (go on) or `--overwrite` (start afresh), not both.")
    if steps is None and budget is None:
        spend = (stored_budget(replacement(out) or out) if resume else None) or Budget(seconds=parse_seconds("5m"))
    else:
        spend = Budget(steps=steps) if steps is not None else Budget(seconds=parse_seconds(budget or ""))
    settings = Settings(**{**(read_toml(config) if config else {}), **read_assignments(set_ or [])})
    _check_dataset(dataset)
    refuse_inputs(out, "--out", [dataset / "data"])
    if out.resolve() == dataset.resolve():
        raise ValueError(f"`--out` must not be the folder of the data, got {out}; choose another path, {out}/run say.")
    train_data = TrajectoryDataset(dataset / "data" / "train", verify=verify)
    valid_data = TrajectoryDataset(dataset / "data" / "valid", verify=verify)
    console.warn(precision_warnings(train_data))
    given = read_assignments(parameter or [], "--parameter")
    physics, noise = None, None
    if simulator is not None:
        physics = physics_of(train_data, simulator, given)
        noise = fitted_noise(train_data, physics, simulator, given)
    console.warn(training_warnings(physics or process_of(train_data), train_data, valid_data))
    board = event_writer(out / "tensorboard") if tensorboard else None
    phases = _Phases()
    with keeping(lambda: _kept(out, overwrite)), progress("training") as report:

        def show(done: float, record: ValidationRecord) -> None:
            trained = f"  loss {record.loss:.4f}" if record.step else ""
            report(done, f"step {record.step}{trained}  valid {record.valid:.4f}")
            if board is not None:
                board(record)

        def announce(phase: str) -> None:
            phases(phase)
            report.phase(phase)

        history = train_run(
            out,
            train_data,
            valid_data,
            method="prior" if prior else method or DEFAULT_METHOD,
            options=read_assignments(option or [], "--option"),
            settings=settings,
            budget=spend,
            seed=seed,
            device=pick_device(device),
            resume=resume,
            overwrite=overwrite,
            progress=show,
            announce=announce,
            physics=physics,
            observe=observe,
            observed_noise=observed_noise,
            at=numbers_of(at, "--at"),
        )
    with keeping(f"the run in {out} is finished"):
        _tell(out, history, phases, noise, checked=physics is not None)


def _tell(out: Path, history: History, phases: _Phases, noise: float | None, *, checked: bool) -> None:
    """What was chosen, how far given physics explains the data, the loss, and time beyond the budget."""
    from physinv.evaluation.physics.increments import ChannelCheck, physics_warnings
    from physinv.runs.files import logs
    from physinv.runs.run_json import choice, read_info

    for line in choice(out):
        console.say(line)
    if checked:
        checks = [ChannelCheck(**each) for each in read_info(out)["physics_check"]]
        for each in checks:
            console.say(
                f"physics of `{each.name}`: residuals of mean {each.mean:.3f}, variance {each.variance:.3f}, "
                f"correlation {each.autocorrelation:.3f} from step to step; "
                f"{each.explained:.1%} of the increments explained"
            )
        if noise is not None:
            console.say(f"noise of the physics: {noise:.4g}, fitted to what it leaves of the increments")
        console.warn(physics_warnings(checks))
    if not history.records:
        console.say(f"run in {out}: nothing to train")
        return
    last = [lines[-1] for lines in logs(out).values()]  # of each network, all of which the budget was for
    step, seconds, best = sum(r.step for r in last), sum(r.seconds for r in last), history.records[-1].best
    many = f" of {len(last)} networks" if len(last) > 1 else ""
    said = f"best validation loss{' of the last' if many else ''} {best:.4f}"
    console.say(f"run in {out}: {step} steps{many} in {seconds:.0f} s, {said}")
    beyond = [f"{name} {seconds:.0f} s" for name, seconds in phases.ended() if seconds >= _WORTH_SAYING]
    if beyond:
        console.say(f"beyond the budget of training: {', '.join(beyond)}")


def _check_dataset(path: Path) -> None:
    """Say what to give in the place of a split, a file or a run."""
    if (path / "data").is_dir() or not path.exists():
        return
    root = next((folder for folder in path.resolve().parents if (folder / "data" / "train").is_dir()), None)
    if root is not None:
        raise ValueError(f"{path} is a part of a dataset; give the whole of it, {root}.")
    if (path / "run.json").is_file():
        raise ValueError(f"{path} is a run; give a dataset, and the run as --out, with --resume to go on with it.")


class _Phases:
    """Adds up the seconds of what is announced, but those of training, which the budget covers."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._phase, self._since = "reading the data", time.perf_counter()

    def __call__(self, phase: str) -> None:
        phase, now = phase.partition(" (")[0], time.perf_counter()  # without the network that it is of
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now

    def ended(self) -> list[tuple[str, float]]:
        """The phases beside training, and their seconds."""
        self("")
        return [(name, s) for name, s in self._seconds.items() if not name.startswith("training")]


def _kept(out: Path, overwrite: bool) -> str:
    """What there is of a run that was stopped, and how to go on."""
    from physinv.runs.files import logs
    from physinv.runs.places import replacement
    from physinv.runs.run_json import is_begun

    again = "the same command with --resume goes on"
    if not is_begun(out):
        return NOTHING
    new = replacement(out)
    if overwrite and new is None:
        return f"{out} is as it was; the same command starts again"
    kept = f"{out} is as it was, and keeps the new run up to" if new else f"{out} keeps"
    done = [f"step {lines[-1].step}" + (f" of {name}" if name else "") for name, lines in logs(new or out).items()]
    if done:
        return f"{kept} {', '.join(done)}; {again}" + (" (in the place of --overwrite)" if new else "")
    return f"no checkpoint in {out} yet; {again}"
