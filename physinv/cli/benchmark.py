"""The verbs of `physinv benchmark`: compare methods on one system, report, compare two sets of results.

Heavy imports happen inside the verbs.
"""

from __future__ import annotations

__all__ = ["app"]

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from physinv.cli.options import Device, Json, Set, read_assignments
from physinv.cli.terminal import console
from physinv.cli.terminal.progress import progress
from physinv.cli.terminal.stopping import keeping

_RESULTS = Path("benchmarks") / "results"  # below the working directory


class _RunUnlessNamed(TyperGroup):
    """`physinv benchmark heat` is `physinv benchmark run heat`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="benchmark",
    cls=_RunUnlessNamed,
    no_args_is_help=True,
    help="Which method reconstructs best, by how much, and can its uncertainty be trusted?\n\n"
    "[b]physinv benchmark NAME[/b] runs a recipe of the package, [b]physinv benchmark FILE.toml[/b] one of your own, "
    "and writes one self-contained report.html.  Killed at any moment, the same command goes on.\n\n"
    "Example: physinv benchmark heat --quick",
)


@app.command()
def run(
    what: Annotated[str, typer.Argument(metavar="NAME|RECIPE.toml", help="A recipe of the package, or a file.")],
    out: Annotated[
        Path | None, typer.Option(show_default="benchmarks/results/NAME", help="Folder of the results.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A first look: one seed, small budget, no studies.")] = False,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            metavar="NAME,...",
            show_default="all of the recipe",
            help="Only these methods, of the recipe or from outside (module:function); repeatable.",
        ),
    ] = None,
    set_: Set = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, show_default="cores, or what memory allows", help="Cells at a time.")
    ] = None,
    device: Device = None,
    json_: Json = False,
) -> None:
    """Run a benchmark and write its report (the default: `physinv benchmark heat` will do).

    Examples: physinv benchmark heat --quick
              physinv benchmark burgers --methods physinv,mymodule:fit_mine --jobs 1
    """
    from physinv.comparison.cells import check_benchmark
    from physinv.comparison.recipe import changed, quickened
    from physinv.comparison.runner import run_benchmark
    from physinv.comparison.shipped import find_benchmark
    from physinv.config.devices import pick_device

    # The recipe, with what the command line changes.
    benchmark = find_benchmark(what)
    if quick:
        benchmark = quickened(benchmark)
    for key, value in read_assignments(set_ or []).items():
        benchmark = changed(benchmark, key, value)
    only = [name for words in methods or [] for name in words.split(",")]
    known = {*benchmark.methods, *(name for study in benchmark.studies for name in study.methods)}
    more = [name for name in dict.fromkeys(only) if name not in known]
    if more:
        benchmark = changed(benchmark, "methods", [*benchmark.methods, *more])
    check_benchmark(benchmark)

    # The cells that have no result yet, then the report.
    name = Path(what).stem
    folder = out or _RESULTS / (f"{name}-quick" if quick else name)
    kept = f"finished cells in {folder} are kept; the same command goes on"
    with keeping(kept), progress("benchmark") as report:
        failed = run_benchmark(
            benchmark, folder, device=pick_device(device), jobs=jobs, only=only or None, progress=report
        )
    with keeping(f"all cells in {folder} are kept; the same command writes the report"):
        _report(folder, as_json=json_)
    if failed:
        raise ValueError(
            f"{failed} cells failed; their logs are in {folder / 'logs'}.  The same command tries them again."
        )


@app.command()
def recipe(
    name: Annotated[str, typer.Argument(metavar="NAME|SIMULATOR", help="A recipe of the package, or any simulator.")],
) -> None:
    """Print a recipe of the package, or for any other simulator a new one to start from.

    Example: physinv benchmark recipe kpz > kpz.toml
    """
    from physinv.comparison.shipped import draft_recipe, read_shipped, shipped_recipes

    console.plain((read_shipped(name) if name in shipped_recipes() else draft_recipe(name)).rstrip())


@app.command()
def report(
    what: Annotated[Path, typer.Argument(metavar="NAME|FOLDER", help="A benchmark that was run, or its results.")],
    json_: Json = False,
) -> None:
    """Write report.html, table.md and the figures of a folder of results again.

    Example: physinv benchmark report heat
    """
    folder = _results(what)
    with keeping(f"the results in {folder} are as they were; the same command writes the report"):
        _report(folder, as_json=json_)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The older results: a benchmark's name, or a folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The newer results.")],
    everything: Annotated[bool, typer.Option("--all", help="Show what stayed the same, too.")] = False,
    json_: Json = False,
) -> None:
    """Which figures of B are significantly worse than those of A?  Exit code 1 if any is.

    Paired over common seeds; corrected for the number of comparisons (Holm).

    Example: physinv benchmark compare heat heat-today
    """
    from physinv.reports import compare as comparing

    differences = comparing.compare(_results(a), _results(b))
    if json_:
        console.plain(comparing.to_json(differences))
    else:
        console.table(comparing.render(differences, everything=everything))
    if comparing.regressions(differences):
        raise typer.Exit(1)


@app.command()
def methods(json_: Json = False) -> None:
    """List the methods with their options."""
    from physinv.methods.registry import describe_method, method_names, method_options

    listed, broken = {}, []
    for name in method_names():
        try:
            listed[name] = {"about": describe_method(name), "options": method_options(name)}
        except ValueError as error:
            broken.append(f"`{name}` is left out: {error}")
    console.warn(broken)
    if json_:
        console.plain(json.dumps(listed, indent=1))
        return
    for name, entry in listed.items():
        told = ", ".join(f"{k}={v}" for k, v in method_options(name).items())
        console.say(f"{name:22s} {entry['about']}" + (f"  ({told})" if told else ""))


def _results(what: Path) -> Path:
    """A folder of results as it is, or that of the benchmark of this name."""
    named = _RESULTS / what
    return named if not what.exists() and named.is_dir() else what


def _report(folder: Path, *, as_json: bool) -> None:
    """Write the report; say what it finds, and where it is."""
    from physinv.comparison.records import read_records, summarise
    from physinv.reports.report import write_report
    from physinv.reports.tables import failures, terminal
    from physinv.reports.verdict import verdict

    records = read_records(folder)
    paths = write_report(folder)
    summaries = summarise(records)
    if as_json:
        table = {m: {k: v.as_dict() for k, v in row.items()} for m, row in summaries.items()}
        console.plain(json.dumps({"methods": table, "verdict": verdict(summaries)}, indent=1))
    else:
        console.table(terminal(records))
        for line in failures(records):
            console.note(line)
        for line in verdict(summaries):
            console.say(line)
    console.note(f"report in {paths[-1]}")
