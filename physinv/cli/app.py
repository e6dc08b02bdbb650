"""The `physinv` command: one function per verb, in a module per group of verbs, and the exit codes of them all."""

from __future__ import annotations

__all__ = ["app", "main"]

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from physinv.cli import (
    benchmark,
    compare,
    data,
    evaluate,
    evidence,
    free_energy,
    import_data,
    impute,
    reconstruct,
    train,
)
from physinv.cli.options import Seed, parse_seconds
from physinv.cli.terminal import console
from physinv.cli.terminal.settings_help import SettingsHelp
from physinv.cli.terminal.stopping import Heard, Stopped, heard, keeping
from physinv.cli.terminal.streams import flushed
from physinv.cli.terminal.usage import usage_line
from physinv.config.devices import keep_freed_memory
from physinv.config.failures import memory_failure, os_failure

_UsageError: type[Exception] = typer.BadParameter.__mro__[2]  # ClickException, wherever this typer keeps it
_INTERRUPTED = 128 + signal.SIGINT  # what typer makes of Ctrl-C
_READER_LEFT = 128 + 13  # SIGPIPE, which not every system has
_LOOP = "Symlink loop from "

app = typer.Typer(
    name="physinv",
    help="Reconstruct initial states of physical processes as samples of a calibrated posterior.\n\n"
    "The way of the data: [b]generate[/b] trajectories -> [b]train[/b] an inverse solver -> [b]reconstruct[/b] "
    "initial states -> [b]evaluate[/b] against the exact answer.  Start with [b]physinv demo[/b].",
    no_args_is_help=True,
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

    with keeping(f"what is finished is in {out}; the same command starts again"):
        run_demo(out, seconds=parse_seconds(budget), seed=seed)


_VERBS: dict[str, Callable[..., None]] = {
    "simulators": data.simulators,
    "generate": data.generate,
    "import": import_data.import_,
    "info": data.info,
    "train": train.train,
    "reconstruct": reconstruct.reconstruct,
    "impute": impute.impute,
    "evaluate": evaluate.evaluate,
    "evidence": evidence.evidence,
    "free-energy": free_energy.free_energy,
    "compare": compare.compare,
    "demo": demo,
}
for name, verb in _VERBS.items():
    app.command(name, cls=SettingsHelp if name == "train" else None)(verb)
app.add_typer(benchmark.app)


def main(argv: list[str] | None = None) -> None:
    """Run the command, with errors of use as one line on standard error.

    Args:
        argv: Words of the command line after `physinv`; None: those of this process.

    Raises:
        SystemExit: With code 1 where a comparison found something worse, 2 for input that cannot be used and for what
            the machine refuses (disk, memory, permission), 128 and the number of a signal that stopped it, 141 where
            nobody reads what is printed any more; a run that succeeded raises nothing.
    """
    keep_freed_memory()
    # Of numbers of users that another type does not hold, such as forms of NaN; what reads them refuses these itself.
    warnings.filterwarnings("ignore", r"(invalid value|overflow) encountered in cast", RuntimeWarning)
    with heard() as hearer:
        try:
            code = _run(argv)
        except Stopped as stop:
            _end(hearer, str(stop), stop.code)
        except _ReaderLeftError:
            _end(hearer, "", _READER_LEFT)
        except Exception as error:  # a signal may have broken what reports it
            if hearer.number is not None:
                found = Stopped(hearer.number)
                _end(hearer, str(found), found.code)
            told = _message(error)
            if told is None:
                raise
            _end(hearer, told, 2)
        _refuse_if_stopped(hearer)
    if code:
        sys.exit(code)


class _ReaderLeftError(Exception):
    """Nobody reads standard output any more, as after ``physinv ... | head``."""


def _run(argv: list[str] | None) -> int:
    """The exit code of the verb, its output written out."""
    if not all(map(str.strip, sys.argv[1:] if argv is None else argv)):  # which as a path would be the working folder
        raise ValueError("an argument must not be an empty or blank word; has a variable of the shell no value?")
    try:
        os.getcwd()
    except FileNotFoundError:  # in which libraries that torch loads end the program
        raise ValueError("the working folder was removed; change to one that is there, and begin again.") from None
    try:
        code = _command()(args=argv, standalone_mode=False)  # that of typer.Exit, and None from a verb that ended
    except (typer.Abort, KeyboardInterrupt):
        raise Stopped(signal.SIGINT) from None
    except SystemExit as left:
        if "_PHYSINV_COMPLETE" in os.environ:  # the shell asks how a word goes on
            raise
        if isinstance(left.__context__, BrokenPipeError):  # typer makes 1 of it, which is another answer
            raise _ReaderLeftError from None
        raise ValueError(f"a part of another package ended the command with {left.code!r}.") from None
    if code == _INTERRUPTED:
        raise Stopped(signal.SIGINT)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise _ReaderLeftError from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from None
    return code if isinstance(code, int) else 0


@cache
def _command() -> Callable[..., Any]:
    """The verbs and their options as typer reads words by them, made once however often the command is called."""
    return typer.main.get_command(app)


def _refuse_if_stopped(hearer: Heard) -> None:
    """Say so where a signal arrived, and something made nothing of it."""
    if hearer.number is not None:
        stop = Stopped(hearer.number, "the command had ended all the same, and its result is whole")
        _end(hearer, str(stop), stop.code)


def _end(hearer: Heard, text: str, code: int) -> NoReturn:
    """Say what is wrong, once, and exit; what cannot be written to standard output is given up."""
    hearer.done()
    flushed(sys.stdout, 1)
    if text:
        with contextlib.suppress(OSError):
            console.fail(text)
    flushed(sys.stderr, 2)
    sys.exit(code)


def _message(error: Exception) -> str | None:
    """One line about what a user or the machine has to change; None for faults of the program."""
    if isinstance(error, _UsageError):
        return usage_line(error)
    if (told := memory_failure(error)) is not None:
        return told
    if isinstance(error, OSError):
        return os_failure(error)
    if isinstance(error, RuntimeError) and str(error).startswith(_LOOP):  # which Python below 3.13 raises
        return f"{str(error).removeprefix(_LOOP)[1:-1]} is a link that leads back to itself; give another path."
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "no more threads may be started; raise the limit (`ulimit -u`), or close other programs."
    return " ".join(str(error).split()) if isinstance(error, ValueError) else None
