"""Options that several verbs share, and what their words mean: times, numbers, and ``key=value`` in the way of TOML."""

from __future__ import annotations

__all__ = [
    "Device",
    "Json",
    "METHOD",
    "Options",
    "Overwrite",
    "Seed",
    "Set",
    "Strict",
    "Verify",
    "check_output",
    "numbers_of",
    "parse_seconds",
    "read_assignments",
    "read_parameters",
    "refuse_options",
]

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from physinv.config.outputs.refusals import check_kind, refuse_existing, refuse_inputs

METHOD = "Method"  # panel of help texts

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value; repeatable.")]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        help="Option of the method, as `physinv benchmark methods` lists them; repeatable.",
        rich_help_panel=METHOD,
    ),
]
Device = Annotated[
    str | None, typer.Option(show_default="the best there is", help="Where to compute: cpu, cuda, cuda:1, mps.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of all randomness; stored with the result.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Strict = Annotated[bool, typer.Option("--strict", help="Make warnings errors: exit code 2, and nothing is written.")]
Verify = Annotated[
    bool, typer.Option("--verify/--no-verify", help="Compare trajectories with their checksums as they are read.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def parse_seconds(text: str) -> float:
    """Convert a time such as ``90s``, ``5m`` or ``1h`` to seconds.

    Args:
        text: A positive number and its unit; seconds without one.

    Returns:
        Seconds.

    Raises:
        ValueError: If ``text`` is no such time.

    Example:
        >>> parse_seconds("5m")
        300.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", text.strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"`--budget` must be a time such as 90s, 5m or 1h, got {text!r}.")
    return float(match[1]) * {"s": 1, "": 1, "m": 60, "h": 3600}[match[2]]


def numbers_of(text: str | None, option: str) -> tuple[float, ...]:
    """Return the numbers that an option lists; none where it was not given.

    Args:
        text: Numbers with commas between them; None: the option was not given.
        option: The option, for messages.

    Raises:
        ValueError: If ``text`` is anything else, or holds a number twice.

    Example:
        >>> numbers_of("0.5,1", "--at")
        (0.5, 1.0)
    """
    try:
        found = tuple(float(word) for word in text.split(",")) if text is not None else ()
    except ValueError:
        raise ValueError(f"`{option}` must be numbers separated by commas, such as 0.5,1, got {text}.") from None
    if len(set(found)) < len(found):
        raise ValueError(f"`{option}` must be numbers that differ, got {text}; leave out what is there twice.")
    return found


def refuse_options(given: Mapping[str, Any], why: str) -> None:
    """Refuse options that do not go together with another one, which would be ignored in silence.

    Args:
        given: For each such option something that is true where it was given.
        why: What is said of the first that was.

    Raises:
        ValueError: If one was given.
    """
    for name in (name for name, value in given.items() if value):
        raise ValueError(f"`{name}` {why}; leave it out.")


def check_output(path: Path | None, option: str, *inputs: Path, overwrite: bool = False) -> None:
    """Refuse to write a table over what a verb reads, over another file unasked, or over anything that is no table.

    Args:
        path: What is to be written; None: nothing.
        option: The option of the command line that names it, for messages.
        inputs: Files and folders that are read.
        overwrite: Whether an older table may be replaced.

    Raises:
        FileExistsError: If there is a file and ``overwrite`` is not set, or something else than JSON.
        ValueError: If it is one of the inputs.
    """
    if path is None:
        return
    refuse_inputs(path, option, inputs)
    check_kind(path, "table", (b"{",))
    refuse_existing(path, option, overwrite=overwrite)


def read_assignments(words: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """Read ``key=value`` words; values are written as in TOML, and what is none there is text.

    Whole numbers may be written with an exponent, 1e5: where a fraction is allowed, a whole number is as well.

    Args:
        words: One word for each key, such as ``"rate=1e-3"``; a later word overrules an earlier one.
        option: The option of the command line that they were given with, for messages.

    Returns:
        Values by key.

    Raises:
        ValueError: If a word has no key or no ``=``.

    Example:
        >>> read_assignments(["rate=1e-3", "prior=edges", "windows=[2, 4]"])
        {'rate': 0.001, 'prior': 'edges', 'windows': [2, 4]}
        >>> read_assignments(["batch=1e3", "rate=1.0"])
        {'batch': 1000, 'rate': 1.0}
    """
    out: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"`{option}` takes key=value, got {word!r}.")
        try:
            out[key.strip()] = _whole(tomllib.loads(f"v = {value}")["v"], value)
        except RecursionError:
            raise ValueError(f"`{option}` {key.strip()} has a value that is nested too deep.") from None
        except tomllib.TOMLDecodeError:
            out[key.strip()] = value.strip()
    return out


def read_parameters(words: Iterable[str], more: Iterable[str] = ()) -> dict[str, Any]:
    """Read parameters of a process, some of which may have priors.

    Args:
        words: ``key=value`` words of ``--set``; a value such as ``log_uniform:0.005:0.05`` is a prior.
        more: Those of ``--parameter``.

    Returns:
        Values by key, and priors as recipes have them.

    Raises:
        ValueError: If a word has no key or no ``=``, or both options have a key.

    Example:
        >>> read_parameters(["size=64", "viscosity=uniform:0.1:0.2"])
        {'size': 64, 'viscosity': {'uniform': [0.1, 0.2]}}
    """
    from physinv.processes.priors import read_prior

    given, others = read_assignments(words), read_assignments(more, "--parameter")
    for key in given.keys() & others.keys():
        raise ValueError(f"`{key}` is given by --set and by --parameter; leave out one of them.")
    values = {**given, **others}
    return {k: v if not isinstance(v, str) or (law := read_prior(v)) is None else law for k, v in values.items()}


def _whole(found: Any, word: str) -> Any:
    """A number with an exponent and no point as a whole number, where it is one that floats hold exactly."""
    if isinstance(found, float) and "." not in word and found.is_integer() and abs(found) < 2**53:
        return int(found)
    return found
