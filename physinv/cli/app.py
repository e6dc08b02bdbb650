"""The `physinv` command: thin, one function per verb.  Heavy imports happen inside the verbs, so --help is instant.

Exit code 0, or 2 with one line on standard error for input that cannot be used.
"""

from __future__ import annotations

__all__ = ["app", "main"]

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from physinv.cli import benchmark, console

if TYPE_CHECKING:
    from physinv.training.validation import Record

_UsageError: type[Exception] = typer.BadParameter.__mro__[2]  # ClickException, wherever this typer keeps it

app = typer.Typer(
    name="physinv",
    help="Reconstruct initial states of physical processes as samples of a calibrated posterior.\n\n"
    "The way of the data: [b]generate[/b] trajectories -> [b]train[/b] an inverse solver -> [b]reconstruct[/b] "
    "initial states -> [b]evaluate[/b] against the exact answer.  Start with [b]physinv demo[/b].",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

app.add_typer(benchmark.app)

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value; repeatable.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: the best there is.")]
Seed = Annotated[int, typer.Option(help="Seed of all randomness; stored with the result.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@app.callback(invoke_without_command=True)
def physinv(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """The command itself."""
    if version:
        from physinv import __version__

        console.say(f"physinv {__version__}")
        raise typer.Exit


@app.command()
def simulators(json: Json = False) -> None:
    """List what can be simulated: equation, state, parameters with units and defaults.

    Example: physinv simulators --json
    """
    from physinv.processes import registry, simulator

    listing = []
    for name, cls in sorted(registry.simulators().items()):
        example = cls()
        listing.append(
            {
                "name": name,
                "title": cls.title,
                "equation": cls.equation,
                "state_shape": list(example.shape),
                "exact_posterior": example.exact() is not None,
                "parameters": simulator.parameters(cls),
            }
        )
    console.simulators(listing, as_json=json)


@app.command()
def generate(
    what: Annotated[str, typer.Argument(metavar="NAME|RECIPE.toml", help="A simulator, or a recipe file.")],
    out: Annotated[Path, typer.Option(help="Folder that gets NAME/data/{train,valid,test}/*.hdf5.")] = Path("datasets"),
    train: Annotated[int | None, typer.Option(min=1, help="Training trajectories [recipe's, or 2500].")] = None,
    valid: Annotated[int | None, typer.Option(min=1, help="Validation trajectories [recipe's, or 250].")] = None,
    test: Annotated[int | None, typer.Option(min=1, help="Test trajectories [recipe's, or 500].")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed [recipe's, or 0].")] = None,
    set_: Set = None,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Simulate trajectories into HDF5; killed at any moment, the same command resumes.

    Examples: physinv generate heat --train 2500 --set prior=edges
              physinv generate datasets/heat/recipe.toml
    """
    from physinv.config.devices import pick_device
    from physinv.config.settings import assign
    from physinv.data.generate import generate
    from physinv.data.recipe import Recipe, Splits, load_recipe
    from physinv.processes.registry import find
    from physinv.processes.simulator import build

    if what.endswith(".toml"):
        recipe = load_recipe(Path(what))
    else:
        recipe = Recipe(simulator=what, splits=Splits(train=2500, valid=250, test=500))
    simulator = build(find(recipe.simulator), {**recipe.parameters, **assign(set_ or [])})
    given = {"train": train, "valid": valid, "test": test}
    splits = {**recipe.splits.model_dump(), **{k: n for k, n in given.items() if n is not None}}
    name = Path(what).resolve().parent.name if what.endswith("/recipe.toml") else recipe.simulator
    with console.progress("simulating") as report:
        folder = generate(
            simulator,
            recipe.simulator,
            splits,
            recipe.seed if seed is None else seed,
            out / name,
            device=pick_device(device or "cpu"),
            dtype=recipe.dtype,
            trajectories_per_shard=recipe.trajectories_per_shard,
            overwrite=overwrite,
            progress=lambda done, n: report(done / n, f"{done} of {n} trajectories"),
        )
    console.say(f"dataset in {folder}")


@app.command("import")
def import_(
    sources: Annotated[list[Path], typer.Argument(metavar="FILE...", help="HDF5 files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Dataset folder to write.")],
    valid: Annotated[float, typer.Option(help="Share of trajectories for validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of trajectories for tests.")] = 0.1,
    every: Annotated[int, typer.Option(min=1, help="Keep one of so many stored times.")] = 1,
    boundary: Annotated[
        str | None, typer.Option(help="periodic, wall or open: what lies at the ends, if not as the file says.")
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Make a dataset of trajectories that others wrote: The Well's HDF5 layout, or PDEBench's.

    A folder with train, valid and test inside keeps its splits.  Training on the result learns the physics as well.

    Examples: physinv import the_well/datasets/gray_scott --out datasets/gray-scott --every 10
              physinv import 1D_Burgers_Sols_Nu0.01.hdf5 --out datasets/burgers --boundary periodic
    """
    from physinv.data.importing import import_trajectories

    kinds = {"periodic": "PERIODIC", "wall": "WALL", "open": "OPEN", None: None}
    if boundary not in kinds:
        raise ValueError(f"`--boundary` must be one of periodic, wall, open, got {boundary!r}.")
    with console.progress("importing") as report:
        folder = import_trajectories(
            sources,
            out,
            valid=valid,
            test=test,
            seed=seed,
            every=every,
            boundary=kinds[boundary],  # type: ignore[arg-type]
            overwrite=overwrite,
            progress=lambda done, n: report(done / n, f"{done} of {n} trajectories"),
        )
    console.say(f"dataset in {folder}")


@app.command()
def info(
    file: Annotated[Path, typer.Argument(help="An HDF5 file, a dataset folder, a run folder or a reconstruction.")],
    json: Json = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw it: a trajectory, or a training curve.")] = None,
) -> None:
    """Say what is in a file and whether it is whole (exit code 2 if it is damaged).

    Examples: physinv info datasets/heat
              physinv info runs/heat --plot curve.png
    """
    from physinv.cli import info as about

    summary = about.describe_path(file)
    console.mapping(summary, as_json=json)
    for key, problem in summary.items():
        if key.startswith("problem"):
            raise ValueError(str(problem))
    if plot is not None:
        about.draw_path(file, plot)
        console.note(f"figure in {plot}")


@app.command()
def train(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder made by `physinv generate`.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
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
    """Train the inverse solver of a dataset; killed at any moment, --resume goes on exactly.

    Settings: loss width depth components windows batch rate weight_decay clip ema validate_every validate_windows
    workers memory.  Example: physinv train datasets/heat --out runs/heat --budget 5m --set windows=[2,4,8]
    """
    from physinv.config.devices import pick_device
    from physinv.config.settings import assign, read_toml, settings_from
    from physinv.data.dataset import TrajectoryDataset
    from physinv.training.budget import Budget
    from physinv.training.run import train_run
    from physinv.training.tensorboard import event_writer

    if steps is not None and budget is not None:
        raise ValueError("give `--steps` or `--budget`, not both.")
    if resume and overwrite:
        raise ValueError("give `--resume` (go on) or `--overwrite` (start afresh), not both.")
    spend = Budget(steps=steps) if steps is not None else Budget(seconds=_seconds(budget or "5m"))
    settings = settings_from({**(read_toml(config) if config else {}), **assign(set_ or [])})
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
            settings=settings,
            budget=spend,
            seed=seed,
            device=pick_device(device),
            resume=resume,
            overwrite=overwrite,
            progress=show,
        )
    last = history.records[-1]
    console.say(f"run in {out}: {last.step} steps in {last.seconds:.0f} s, best validation loss {last.best:.4f}")


@app.command()
def reconstruct(
    run: Annotated[Path, typer.Argument(help="A run folder made by `physinv train`.")],
    data: Annotated[Path, typer.Option(help="HDF5 file or folder with the observations (their last states).")],
    out: Annotated[Path, typer.Option(help="HDF5 file to write: /truth, /observation, /samples.")],
    method: Annotated[str, typer.Option(help="sde: posterior samples; flow: one pre-image; mean-flow.")] = "sde",
    samples: Annotated[int, typer.Option(min=1, help="Draws for each observation (sde).")] = 16,
    steps: Annotated[int | None, typer.Option(min=1, help="Solver steps from T to 0 [as stored].")] = None,
    grid: Annotated[
        str, typer.Option(help="Where the steps lie: stored, linear, log, learned (equal errors).")
    ] = "stored",
    observe: Annotated[
        str | None,
        typer.Option(
            help="See only part of x_T: sensors:FRACTION, every:FACTOR (every so many points), coarse:FACTOR (means), "
            "low-pass:KMAX, everything."
        ),
    ] = None,
    observed_noise: Annotated[float, typer.Option(help="Standard deviation of that observation.")] = 0.05,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many observations.")] = None,
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Reconstruct initial states from final ones.

    Examples: physinv reconstruct runs/heat --data datasets/heat/data/test --out heat.hdf5 --samples 16 --steps 32
              physinv reconstruct runs/heat --data datasets/heat/data/test --out part.hdf5 --observe sensors:0.25
    """
    from physinv.config.devices import pick_device
    from physinv.data.dataset import TrajectoryDataset
    from physinv.posterior.reconstruct import reconstruct
    from physinv.training.run import load_run

    _free(out, overwrite)
    loaded = load_run(run, device=pick_device(device))
    dataset = TrajectoryDataset(data)
    with console.progress("reconstructing") as report:
        reconstruct(
            loaded,
            dataset,
            out,
            method=method,
            samples=samples,
            steps=steps,
            grid=grid,
            observe=observe,
            observed_noise=observed_noise,
            limit=limit,
            seed=seed,
            progress=lambda done, n: report(done / n, f"{done} of {n} observations"),
        )
    console.say(f"reconstruction in {out}")


@app.command()
def evaluate(
    recon: Annotated[Path, typer.Argument(help="A file made by `physinv reconstruct`.")],
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the table as JSON.")] = None,
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Also draw figures into this folder.")] = None,
) -> None:
    """Score a reconstruction: a table of metrics, the exact posterior's values beside ours.

    Example: physinv evaluate heat.hdf5 --json heat.json --plots figures
    """
    from physinv.evaluation import evaluate as scoring
    from physinv.posterior.reconstruct import read_reconstruction

    loaded = read_reconstruction(recon)
    rows = scoring.evaluate(loaded)
    console.scores(rows, f"{loaded.info['simulator']}, {loaded.info['method']}, {loaded.info['steps']} steps")
    if json is not None:
        scoring.write_json(rows, loaded, json)
        console.note(f"table in {json}")
    if plots is not None:
        for path in scoring.draw(loaded, plots):
            console.note(f"figure in {path}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, runs, tables and figures.")] = Path("demo"),
    budget: Annotated[str, typer.Option(help="Training time for each of the two processes.")] = "50s",
    seed: Seed = 0,
) -> None:
    """Run the whole way once, on the heat equation and on a particle in a double well."""
    from physinv.cli.demo import run_demo

    run_demo(out, seconds=_seconds(budget), seed=seed)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", text.strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"`--budget` must be a time such as 90s, 5m or 1h, got {text!r}.")
    return float(match[1]) * {"s": 1, "": 1, "m": 60, "h": 3600}[match[2]]


def _free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another --out, or add --overwrite.")
    if not path.parent.is_dir():
        raise ValueError(f"`--out` must lie in an existing folder, {path.parent} is none; make it first.")


def main(argv: list[str] | None = None) -> None:
    """Entry point: run the command, turn errors of use into one line and exit code 2."""
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        command(args=argv, standalone_mode=False)
    except typer.Abort:
        console.fail("interrupted.")
        sys.exit(130)
    except (ValueError, OSError, _UsageError) as error:
        console.fail(_message(error))
        sys.exit(2)


def _message(error: Exception) -> str:
    if isinstance(error, _UsageError):
        return str(error.format_message())  # type: ignore[attr-defined]
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or ''}: {error.strerror}".removeprefix(": ")
    return " ".join(str(error).split())
