"""The `physinv` command: one function per verb, in a module per group of verbs, and the exit codes of them all."""

from __future__ import annotations

__all__ = ["app", "main"]

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from physinv.cli import benchmark, console, data, import_data, reconstruct, train
from physinv.cli.options import Seed, parse_seconds

_UsageError: type[Exception] = typer.BadParameter.__mro__[2]  # ClickException, wherever this typer keeps it
_INTERRUPTED = 130  # the customary exit code after Ctrl-C: 128 + SIGINT

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


@app.callback(invoke_without_command=True)
def physinv(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Run a verb of the command, or show the version."""
    if version:
        from physinv import __version__

        console.say(f"physinv {__version__}")
        raise typer.Exit


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, runs, tables and figures.")] = Path("demo"),
    budget: Annotated[str, typer.Option(help="Training time for each of the two processes.")] = "50s",
    seed: Seed = 0,
) -> None:
    """Run the whole way once, on the heat equation and on a particle in a double well."""
    from physinv.cli.demo import run_demo

    run_demo(out, seconds=parse_seconds(budget), seed=seed)


_VERBS: dict[str, Callable[..., None]] = {
    "simulators": data.simulators,
    "generate": data.generate,
    "import": import_data.import_,
    "info": data.info,
    "train": train.train,
    "reconstruct": reconstruct.reconstruct,
    "evaluate": reconstruct.evaluate,
    "demo": demo,
}
for name, verb in _VERBS.items():
    app.command(name)(verb)
app.add_typer(benchmark.app)


def main(argv: list[str] | None = None) -> None:
    """Run the command, with errors of use as one line on standard error.

    Args:
        argv: Words of the command line after `physinv`; None: those of this process.

    Raises:
        SystemExit: With code 1 where a comparison found something worse, 2 for input that cannot be used, 130 when
            interrupted; a run that succeeded raises nothing.
    """
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        code = command(args=argv, standalone_mode=False)  # the code of typer.Exit, and None from a verb that ended
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    except (ValueError, OSError, _UsageError) as error:
        console.fail(_message(error))
        sys.exit(2)
    if code == _INTERRUPTED:
        console.fail("interrupted.")
    if code:
        sys.exit(code)


def _message(error: Exception) -> str:
    if isinstance(error, _UsageError):
        return str(error.format_message())  # type: ignore[attr-defined]
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or ''}: {error.strerror}".removeprefix(": ")
    return " ".join(str(error).split())
