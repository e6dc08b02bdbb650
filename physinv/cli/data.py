"""Verbs around data: `physinv simulators`, `generate` and `info`.  Heavy imports happen inside the verbs."""

from __future__ import annotations

__all__ = ["generate", "info", "simulators"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from physinv.cli.options import Device, Json, Overwrite, Set, read_parameters
from physinv.cli.terminal import console
from physinv.cli.terminal.progress import progress
from physinv.cli.terminal.stopping import NOTHING, keeping
from physinv.config.failures import in_one_line
from physinv.config.outputs.refusals import refuse_existing, refuse_inputs

if TYPE_CHECKING:
    from physinv.processes.simulator import Simulator


def simulators(json: Json = False) -> None:
    """List what can be simulated: equation, state, parameters with units and defaults.

    Example: physinv simulators --json
    """
    from physinv.processes.registry import SIMULATORS

    found, broken = SIMULATORS.working()
    listing = []
    for name, cls in found.items():
        try:
            listing.append({"name": name, **_described(cls)})
        except Exception as error:  # of a class that others wrote
            told = in_one_line(error)
            broken.append(f"`{name}` is left out: simulator `{cls.__module__}:{cls.__qualname__}` fails with {told}")
    console.warn(broken)
    console.simulators(listing, as_json=json)


def generate(
    what: Annotated[
        str, typer.Argument(metavar="NAME|RECIPE.toml", help="A simulator (or module:Class), or a recipe file.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            show_default="datasets; of a recipe its own folder",
            help="Folder that gets NAME/data/{train,valid,test}/*.hdf5.",
        ),
    ] = None,
    train: Annotated[
        int | None, typer.Option(min=1, show_default="the recipe's, or 2500", help="Training trajectories.")
    ] = None,
    valid: Annotated[
        int | None, typer.Option(min=1, show_default="the recipe's, or 250", help="Validation trajectories.")
    ] = None,
    test: Annotated[
        int | None, typer.Option(min=1, show_default="the recipe's, or 500", help="Test trajectories.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**63 - 1, show_default="the recipe's, or 0", help="Seed of all randomness."),
    ] = None,
    set_: Set = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE|LAW:A:B",
            help="A parameter of the simulator, or its prior: every trajectory draws its own value from "
            "uniform:LOW:HIGH, log_uniform:LOW:HIGH or normal:MEAN:DEVIATION; repeatable.",
        ),
    ] = None,
    initial: Annotated[
        Path | None, typer.Option(help="File with initial states; one trajectory from each, as an imported dataset.")
    ] = None,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Simulate trajectories into HDF5; killed at any moment, the same command resumes.

    A recipe's data lie beside it (DIR/recipe.toml: DIR/data; DIR/x.toml: DIR/datasets/NAME/data), wherever the
    command is given.

    Examples: physinv generate heat --train 2500 --set prior=edges
              physinv generate mymodule:MyProcess
              physinv generate datasets/heat/recipe.toml
              physinv generate burgers --parameter viscosity=log_uniform:0.01:0.1
              physinv generate heat --initial starts.npy --out mine
    """
    from physinv.config.devices import pick_device
    from physinv.data.checks import precision_warnings
    from physinv.data.dataset import TrajectoryDataset
    from physinv.data.generate import generate
    from physinv.data.recipe import Recipe, Splits, load_recipe
    from physinv.processes.registry import file_name

    if what.endswith(".toml"):
        recipe = load_recipe(Path(what))
    else:
        recipe = Recipe(simulator=what, splits=Splits(train=2500, valid=250, test=500))
    given = {"train": train, "valid": valid, "test": test}
    changes = {
        "parameters": {**recipe.parameters, **read_parameters(set_ or [], parameter or [])},
        "splits": {**recipe.splits.model_dump(), **{k: n for k, n in given.items() if n is not None}},
        "seed": recipe.seed if seed is None else seed,
    }
    plan = Recipe(**{**recipe.model_dump(), **changes}).plan(device=pick_device(device or "cpu"))
    target = _target(Path(what), out, file_name(recipe.simulator))
    if initial is not None:
        if any(n is not None for n in given.values()):
            raise ValueError(
                "`--initial` has one trajectory for each state in the file; leave out --train, --valid, --test."
            )
        from physinv.data.imports.initial import simulate_from

        with keeping(NOTHING), progress("simulating") as report:
            folder = simulate_from(
                initial,
                plan.simulator,
                target,
                seed=plan.seed,
                device=plan.device,
                overwrite=overwrite,
                progress=lambda done, n: report(done / n, f"{done} of {n} trajectories"),
                tell=console.note,
            )
        console.say(f"dataset in {folder}")
        return
    kept = f"finished files in {target} are kept; the same command goes on"
    with keeping(kept), progress("simulating") as report:
        folder = generate(
            plan,
            target,
            overwrite=overwrite,
            progress=lambda done, n: report(done / n, f"{done} of {n} trajectories"),
        )
    with keeping(f"the dataset in {folder} is complete"):
        console.warn(precision_warnings(TrajectoryDataset(folder / "data" / "train")))
        console.say(f"dataset in {folder}")


def info(
    file: Annotated[Path, typer.Argument(help="An HDF5 file, a dataset folder, a run folder or a reconstruction.")],
    json: Json = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also compare the SHA-256 of data files with those in dataset.json.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw it: a trajectory, or a training curve.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Say what is in a file and whether it is whole (exit code 2 if it is damaged).

    All states are read; of data files the sizes are compared with those in dataset.json.

    Examples: physinv info datasets/heat
              physinv info datasets/heat --verify
              physinv info runs/heat --plot curve.png
    """
    from physinv.cli import info as about

    if plot is not None:
        refuse_inputs(plot, "--plot", [file] if file.is_file() else [])
        refuse_existing(plot, "--plot", overwrite=overwrite)
    summary = about.describe_path(file, verify=verify)
    console.mapping(summary, as_json=json)
    for key, problem in summary.items():
        if key.startswith("problem"):
            raise ValueError(str(problem))
    if plot is not None:
        about.draw_path(file, plot)
        console.note(f"figure in {plot}")


def _described(cls: type[Simulator]) -> dict[str, Any]:
    """What is listed about a simulator."""
    from physinv.processes.parameters import parameters

    example = cls()
    return {
        "title": cls.title,
        "equation": cls.equation,
        "state_shape": list(example.shape),
        "exact_posterior": example.exact() is not None,
        "parameters": parameters(cls),
    }


def _target(what: Path, out: Path | None, name: str) -> Path:
    """The folder of a dataset; that of a recipe does not depend on the working directory."""
    if what.suffix != ".toml":
        return (out or Path("datasets")) / name
    own = what.name == "recipe.toml"
    if out is not None:
        return out / (what.resolve().parent.name if own else name)
    return what.parent if own else what.parent / "datasets" / name
