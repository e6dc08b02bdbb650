"""The verb `physinv free-energy`: what it costs to change a parameter of a process.  Heavy imports happen inside it."""

from __future__ import annotations

__all__ = ["free_energy", "parse_change"]

import json
import math
from typing import TYPE_CHECKING, Annotated

import typer

from physinv.cli.options import Json, Seed, Set, read_assignments
from physinv.cli.terminal import console
from physinv.cli.terminal.progress import progress
from physinv.cli.terminal.stopping import NOTHING, keeping

if TYPE_CHECKING:
    from rich.table import Table

    from physinv.thermodynamics.free_energy import FreeEnergy


def free_energy(
    process: Annotated[
        str, typer.Argument(metavar="NAME|module:Class", help="A process with a potential, such as double-well.")
    ],
    vary: Annotated[str, typer.Option(metavar="KEY=A:B", help="Parameter that changes evenly from A to B.")],
    duration: Annotated[float, typer.Option(help="Time that the change takes, in units of time of the process.")] = 1.0,
    runs: Annotated[int, typer.Option(min=100, help="Runs in each direction.")] = 1000,
    steps: Annotated[
        int | None, typer.Option(min=1, show_default="as many as are almost always accepted", help="Steps of each run.")
    ] = None,
    set_: Set = None,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """Compute the difference of free energy between two values of a parameter, from the work of changing it in time.

    Runs start in equilibrium and go in both directions.  Bennett's estimate takes both; Jarzynski's, from one direction
    each, need slow changes; the slope of Crooks' line is 1 if all is right.

    Example: physinv free-energy double-well --vary barrier=1:3 --duration 2 --runs 10000
    """
    from physinv.config.devices import threads_for
    from physinv.processes.parameters import build
    from physinv.processes.registry import find
    from physinv.thermodynamics.free_energy import free_energy

    name, first, last = parse_change(vary)
    given = read_assignments(set_ or [])
    if name in given:
        raise ValueError(f"`--set {name}` must be another parameter than that of `--vary`; leave it out.")
    made = build(find(process), given)
    with keeping(NOTHING), progress("changing the energy") as report, threads_for(made.shape):
        found = free_energy(
            made, name, first, last, duration=duration, runs=runs, steps=steps, seed=seed, progress=report
        )
        told = found.as_dict()
    if json_:
        change = {"process": process, "parameter": name, "from": first, "to": last, "duration": duration, "seed": seed}
        console.plain(json.dumps({**change, **told}, indent=1))
        return
    console.table(_table(found, f"{process}, {name} from {first:g} to {last:g} in a time of {duration:g}"))
    console.say(f"{runs} runs in each direction of {found.steps} steps, {found.accepted:.1%} of them accepted")
    if told["difference_in_energy"] is not None:
        value, error = told["difference_in_energy"], told["error_in_energy"]
        console.say(f"in units of energy: {value:.5g} +- {error:.2g}")
    console.red(told["warnings"])


def parse_change(text: str) -> tuple[str, float, float]:
    """Convert a change such as ``barrier=1:3`` to its name and both values.

    Args:
        text: A parameter, its first and its last value.

    Returns:
        Name, first value, last value.

    Raises:
        ValueError: If ``text`` is no such change.

    Example:
        >>> parse_change("barrier=1:3")
        ('barrier', 1.0, 3.0)
    """
    name, _, values = text.partition("=")
    try:
        first, last = (float(value) for value in values.split(":"))
    except ValueError:
        first = last = math.nan
    if not (name.strip() and math.isfinite(first) and math.isfinite(last)):
        raise ValueError(f"`--vary` takes KEY=A:B, such as barrier=1:3, got {text!r}.")
    return name.strip(), first, last


def _table(found: FreeEnergy, title: str) -> Table:
    """The estimates, and the work in both directions."""
    from rich.markup import escape
    from rich.table import Table

    told = found.as_dict()
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    table.add_column("free energy, in units of kT")
    for name in ("value", "+-", "effective share"):
        table.add_column(name, justify="right")
    for name, row in told["estimates"].items():
        share = "" if row["effective"] is None else f"{row['effective']:.0%}"
        known = row["value"] is not None and row["error"] is not None
        table.add_row(name, *((f"{row['value']:.5g}", f"{row['error']:.2g}") if known else ("not known", "")), share)
    for name, key in (("mean work forward", "work"), ("mean work backward", "work_backward")):
        table.add_row(name, f"{told[key]['mean']:.5g}", f"{told[key]['error']:.2g}", "")
    table.add_row("dissipated there and back", f"{told['dissipated']:.4g}", "", "")
    line = told["crooks_slope"]
    if line["value"] is not None:
        table.add_row("slope of Crooks' line (1)", f"{line['value']:.4g}", f"{line['error'] or math.nan:.2g}", "")
    return table
