"""Options that several verbs share, and the times that they are given as text."""

from __future__ import annotations

__all__ = ["Device", "Json", "Options", "Overwrite", "Seed", "Set", "Strict", "parse_seconds"]

import re
from typing import Annotated

import typer

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value; repeatable.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Option of the method; repeatable.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: the best there is.")]
Seed = Annotated[int, typer.Option(help="Seed of all randomness; stored with the result.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Strict = Annotated[bool, typer.Option("--strict", help="Make warnings errors: exit code 2, and nothing is written.")]
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
