"""What the command line prints: tables and one-line errors.  Results go to stdout, the rest to stderr."""

from __future__ import annotations

__all__ = ["checks", "fail", "mapping", "metrics", "note", "pairs", "plain", "say", "simulators", "table", "warn"]

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from physinv.evaluation.checks import Check
    from physinv.evaluation.evaluate import Row
    from physinv.evaluation.paired import Pair


def _out() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _err() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a result.

    Args:
        text: What to print, without markup.
    """
    _out().print(escape(text))


def plain(text: str) -> None:
    """Print a result for machines, unchanged.

    Args:
        text: What to print.
    """
    print(text)


def table(content: Table) -> None:
    """Print a table as a result.

    Args:
        content: The table.
    """
    _out().print(content)


def note(text: str) -> None:
    """Print a message beside the result, to standard error.

    Args:
        text: What to print, without markup.
    """
    _err().print(escape(text))


def warn(texts: Iterable[str]) -> None:
    """Print warnings, a line each, to standard error.

    Args:
        texts: What is doubtful, and what to do.
    """
    for text in texts:
        note(f"warning: {text}")


def fail(text: str) -> None:
    """Print an error in one line, to standard error.

    Args:
        text: What is wrong and what to do.
    """
    _err().print(f"[bold red]physinv:[/] {escape(text)}")


def simulators(listing: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print the catalogue of simulators.

    Args:
        listing: Per simulator its name, title, equation, shape of the state, parameters, and whether an exact posterior
            is known.
        as_json: Print JSON instead of a table.
    """
    if as_json:
        print(json.dumps(listing, indent=1))
        return
    console = _out()
    for entry in listing:
        exact = "exact posterior known" if entry["exact_posterior"] else "no exact posterior"
        console.print(f"[bold]{entry['name']}[/]  {escape(entry['title'])}")
        console.print(f"  {escape(entry['equation'])}")
        console.print(f"  state {tuple(entry['state_shape'])} by default; {exact}")
        table = Table(box=None, padding=(0, 2), show_header=False)
        for p in entry["parameters"]:
            doc = p["doc"] + (f": {', '.join(p['choices'])}" if "choices" in p else "")
            table.add_row(
                "", p["name"], p["symbol"], str(p["default"]), f"[{p['unit']}]".replace("[", r"\["), escape(doc)
            )
        console.print(table)


def mapping(summary: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a flat description of a file.

    Args:
        summary: Names and values.
        as_json: Print JSON instead of a table.
    """
    if as_json:
        print(json.dumps(summary, indent=1))
        return
    table = Table(box=None, padding=(0, 2), show_header=False)
    for key, value in summary.items():
        text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
        table.add_row(f"[bold]{escape(key)}[/]", escape(text))
    _out().print(table)


def metrics(rows: Sequence[Row], title: str) -> None:
    """Print metrics beside those of the exact posterior.

    Args:
        rows: The metrics.
        title: Title of the table.
    """
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    table.add_column("metric")
    table.add_column("physinv", justify="right")
    table.add_column("exact", justify="right")
    table.add_column("best", justify="right")
    table.add_column("what")
    for row in rows:
        exact = "-" if row.exact is None else f"{row.exact:.4g}"
        table.add_row(row.metric, f"{row.value:.4g}", exact, row.best, escape(row.about))
    _out().print(table)


def pairs(found: Sequence[Pair], a: str, b: str) -> None:
    """Print the comparison of two reconstructions.

    Args:
        found: The comparisons, metric by metric.
        a: Name of the first one.
        b: Name of the second one.
    """
    table = Table(title=escape(f"A: {a}   B: {b}"), title_justify="left", title_style="bold")
    table.add_column("metric")
    for name in ("A", "B", "B - A", "+-", "best"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for pair in found:
        numbers = (pair.a, pair.b, pair.difference)
        table.add_row(pair.metric, *(f"{x:.4g}" for x in numbers), f"{pair.error:.2g}", pair.best, pair.verdict)
    _out().print(table)


def checks(found: Sequence[Check]) -> None:
    """Print checks beside the values that exact samples would have, and in words what cannot be right.

    Args:
        found: The checks; nothing is printed without any.
    """
    if not found:
        return
    table = Table(title="Checks that need no exact posterior", title_justify="left", title_style="bold")
    table.add_column("check")
    table.add_column("physinv", justify="right")
    table.add_column("expected", justify="right")
    table.add_column("+-", justify="right")
    table.add_column("what")
    for check in found:
        marked = f"[bold red]{check.value:.3g}[/]" if check.warning else f"{check.value:.3g}"
        table.add_row(check.name, marked, f"{check.expected:.3g}", f"{check.error:.1g}", escape(check.about))
    console = _out()
    console.print(table)
    for check in found:
        if check.warning:
            console.print(f"[bold red]{escape(check.warning)}[/]")
