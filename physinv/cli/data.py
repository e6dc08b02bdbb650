"""Verbs around data: `physinv simulators`, `generate` and `info`.  Heavy imports happen inside the verbs."""

from __future__ import annotations

__all__ = ["generate", "info", "simulators"]

from pathlib import Path
from typing import Annotated

import typer

from physinv.cli import console
from physinv.cli.options import Device, Json, Overwrite, Set


def simulators(json: Json = False) -> None:
    """List what can be simulated: equation, state, parameters with units and defaults.

    Example: physinv simulators --json
    """
    from physinv.processes import registry
    from physinv.processes.parameters import parameters

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
                "parameters": parameters(cls),
            }
        )
    console.simulators(listing, as_json=json)


def generate(
    what: Annotated[
        str, typer.Argument(metavar="NAME|RECIPE.toml", help="A simulator (or module:Class), or a recipe file.")
    ],
    out: Annotated[Path, typer.Option(help="Folder that gets NAME/data/{train,valid,test}/*.hdf5.")] = Path("datasets"),
    train: Annotated[int | None, typer.Option(min=1, help="Training trajectories [recipe's, or 2500].")] = None,
    valid: Annotated[int | None, typer.Option(min=1, help="Validation trajectories [recipe's, or 250].")] = None,
    test: Annotated[int | None, typer.Option(min=1, help="Test trajectories [recipe's, or 500].")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed [recipe's, or 0].")] = None,
    set_: Set = None,
    initial: Annotated[
        Path | None, typer.Option(help="File with initial states; one trajectory from each, as an imported dataset.")
    ] = None,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Simulate trajectories into HDF5; killed at any moment, the same command resumes.

    Examples: physinv generate heat --train 2500 --set prior=edges
              physinv generate mymodule:MyProcess
              physinv generate datasets/heat/recipe.toml
              physinv generate heat --initial starts.npy --out mine
    """
    from physinv.cli.assignments import read_assignments
    from physinv.config.devices import pick_device
    from physinv.data.generate import generate
    from physinv.data.recipe import Recipe, Splits, load_recipe
    from physinv.processes.registry import file_name

    if what.endswith(".toml"):
        recipe = load_recipe(Path(what))
    else:
        recipe = Recipe(simulator=what, splits=Splits(train=2500, valid=250, test=500))
    given = {"train": train, "valid": valid, "test": test}
    changes = {
        "parameters": {**recipe.parameters, **read_assignments(set_ or [])},
        "splits": {**recipe.splits.model_dump(), **{k: n for k, n in given.items() if n is not None}},
        "seed": recipe.seed if seed is None else seed,
    }
    plan = Recipe(**{**recipe.model_dump(), **changes}).plan(device=pick_device(device or "cpu"))
    name = Path(what).resolve().parent.name if what.endswith("/recipe.toml") else file_name(recipe.simulator)
    if initial is not None:
        if any(n is not None for n in given.values()):
            raise ValueError(
                "`--initial` has one trajectory for each state in the file; leave out --train, --valid, --test."
            )
        from physinv.data.imports.initial import simulate_from

        with console.progress("simulating") as report:
            folder = simulate_from(
                initial,
                plan.simulator,
                out / name,
                seed=plan.seed,
                device=plan.device,
                overwrite=overwrite,
                progress=lambda done, n: report(done / n, f"{done} of {n} trajectories"),
            )
        console.say(f"dataset in {folder}")
        return
    with console.progress("simulating") as report:
        folder = generate(
            plan,
            out / name,
            overwrite=overwrite,
            progress=lambda done, n: report(done / n, f"{done} of {n} trajectories"),
        )
    console.say(f"dataset in {folder}")


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
