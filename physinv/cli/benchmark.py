"""`physinv benchmark`: compare methods on one system, report, compare two sets of results."""

from __future__ import annotations

__all__ = ["app"]

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from physinv.cli import console

if TYPE_CHECKING:
    from physinv.comparison.recipe import Benchmark

FOLDER = Path("benchmarks")


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
    "[b]physinv benchmark NAME[/b] runs benchmarks/NAME.toml (or, for any simulator, all methods on its defaults) and "
    "writes one self-contained report.html.  Killed at any moment, the same command goes on.\n\n"
    "Example: physinv benchmark heat --quick",
)


@app.command()
def run(
    what: Annotated[
        str, typer.Argument(metavar="NAME|RECIPE.toml", help="A benchmark, a simulator, or a recipe file.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the results [benchmarks/results/NAME].")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A first look: one seed, small budget, no studies.")] = False,
    method: Annotated[list[str] | None, typer.Option(help="Only this method; repeatable.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one value, such as budget=10; repeatable."),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Cells at a time [cores, or what memory allows].")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: the best there is.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Run a benchmark and write its report (the default: `physinv benchmark heat` will do).

    Examples: physinv benchmark heat --quick
              physinv benchmark burgers --method physinv --method flow-matching --jobs 1
    """
    from physinv.cli.assignments import read_assignments
    from physinv.comparison.cells import check_methods
    from physinv.comparison.recipe import changed, quickened
    from physinv.comparison.runner import run_benchmark
    from physinv.config.devices import pick_device

    benchmark = _recipe(what)
    if quick:
        benchmark = quickened(benchmark)
    for key, value in read_assignments(set_ or []).items():
        benchmark = changed(benchmark, key, value)
    check_methods(benchmark)
    for name in method or []:
        if name not in benchmark.methods and not any(name in study.methods for study in benchmark.studies):
            raise ValueError(
                f"`--method` must be one of the recipe's, got {name!r}; it has {', '.join(benchmark.methods)}."
            )
    name = Path(what).stem
    folder = out or FOLDER / "results" / (f"{name}-quick" if quick else name)
    with console.progress("benchmark") as report:
        failed = run_benchmark(
            benchmark, folder, device=pick_device(device), jobs=jobs, only=method or None, progress=report
        )
    _report(folder, as_json=json_)
    if failed:
        raise ValueError(
            f"{failed} cells failed; their logs are in {folder / 'logs'}.  The same command tries them again."
        )


@app.command()
def report(
    what: Annotated[Path, typer.Argument(metavar="NAME|FOLDER", help="A benchmark that was run, or its results.")],
    json_: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Write report.html, table.md and the figures of a folder of results again.

    Example: physinv benchmark report heat
    """
    _report(_results(what), as_json=json_)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The older results: a benchmark's name, or a folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The newer results.")],
    everything: Annotated[bool, typer.Option("--all", help="Show what stayed the same, too.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
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
def methods(json_: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False) -> None:
    """List the methods with their options."""
    import inspect

    from physinv.methods import METHODS

    options = {}
    for name, entry in METHODS.items():
        known = inspect.signature(entry.fit).parameters.values()
        options[name] = {p.name: p.default for p in known if p.kind == p.KEYWORD_ONLY}
    if json_:
        console.plain(json.dumps({n: {"about": e.about, "options": options[n]} for n, e in METHODS.items()}, indent=1))
        return
    for name, entry in METHODS.items():
        told = ", ".join(f"{k}={v}" for k, v in options[name].items())
        console.say(f"{name:22s} {entry.about}" + (f"  ({told})" if told else ""))


def _results(what: Path) -> Path:
    """A folder of results as it is, or that of the benchmark of this name."""
    named = FOLDER / "results" / what
    return named if not what.exists() and named.is_dir() else what


def _recipe(what: str) -> Benchmark:
    """The recipe file, benchmarks/NAME.toml, or everything on a simulator's defaults."""
    from physinv.comparison.recipe import Benchmark, load_benchmark
    from physinv.config.suggest import did_you_mean
    from physinv.data.recipe import Splits
    from physinv.methods import METHODS
    from physinv.processes.registry import simulators

    if what.endswith(".toml"):
        return load_benchmark(Path(what))
    path = FOLDER / f"{what}.toml"
    if path.exists():
        return load_benchmark(path)
    if what in simulators():
        return Benchmark(
            simulator=what,
            splits=Splits(train=2500, valid=250, test=500),
            methods=list(METHODS),
            budget=60.0,
            quick={"budget": 10.0, "observations": 24, "splits.train": 500, "splits.valid": 60, "splits.test": 24},
        )
    known = {*(p.stem for p in FOLDER.glob("*.toml")), *simulators()}
    raise ValueError(f"there is no benchmark or simulator {what!r}; {did_you_mean(what, known)}")


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
        table = {m: {k: dataclasses.asdict(v) for k, v in row.items()} for m, row in summaries.items()}
        console.plain(json.dumps({"methods": table, "verdict": verdict(summaries)}, indent=1))
    else:
        console.table(terminal(records))
        for line in failures(records):
            console.note(line)
        for line in verdict(summaries):
            console.say(line)
    console.note(f"report in {paths[-1]}")
