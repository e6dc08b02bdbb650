"""What the command line prints: tables and one-line errors.  Results go to stdout, the rest to stderr."""

from __future__ import annotations

__all__ = [
    "bayes_factor",
    "checks",
    "evidence",
    "fail",
    "familiarity",
    "mapping",
    "metrics",
    "missing",
    "note",
    "pairs",
    "plain",
    "predictive",
    "red",
    "say",
    "simulators",
    "table",
    "verdict",
    "warn",
]

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from physinv.cli.terminal.printing import as_text, errors, named, output

if TYPE_CHECKING:
    from physinv.evaluation.checks import Check
    from physinv.evaluation.evaluate import Row
    from physinv.evaluation.frames import Frame, Missing
    from physinv.evaluation.observed.familiarity import Familiarity
    from physinv.evaluation.observed.predictive import Predictive
    from physinv.evaluation.paired import Pair
    from physinv.evaluation.verdict.words import Verdict
    from physinv.posterior.reconstruction import Reconstruction
    from physinv.runs.evidence import BayesFactor, Evidence


_BASELINES = ("climatology", "persistence", "linear")  # columns beside the exact posterior, where they are known
_MOST_ROWS = 20  # lines of the table of observations
_WIDE = 120  # columns of a terminal from which metrics are explained in the table
_SHOWN = 8  # observations whose distance is printed
_LONGEST = 1000  # characters of an error; what is longer quotes a name or a value that is


def say(text: str) -> None:
    """Print a result.

    Args:
        text: What to print, without markup.
    """
    output().print(as_text(text))


def plain(text: str) -> None:
    """Print a result for machines, unchanged.

    Args:
        text: What to print.
    """
    with named("standard output"):
        print(text)


def table(content: Table) -> None:
    """Print a table as a result.

    Args:
        content: The table.
    """
    output().print(content)


def note(text: str) -> None:
    """Print a message beside the result, to standard error.

    Args:
        text: What to print, without markup.
    """
    errors().print(as_text(text))


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
    text = text.replace("\n", "\ufffd")  # of a name: an error is one line
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    errors().print(f"[bold red]physinv:[/] {as_text(short)}")


def simulators(listing: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print the catalogue of simulators.

    Args:
        listing: Per simulator its name, title, equation, shape of the state, parameters, and whether an exact posterior
            is known.
        as_json: Print JSON instead of a table.
    """
    if as_json:
        plain(json.dumps(listing, indent=1))
        return
    console = output()
    for entry in listing:
        exact = "exact posterior known" if entry["exact_posterior"] else "no exact posterior"
        console.print(f"[bold]{entry['name']}[/]  {as_text(entry['title'])}")
        console.print(f"  {as_text(entry['equation'])}")
        console.print(f"  state {tuple(entry['state_shape'])} by default; {exact}")
        table = Table(box=None, padding=(0, 2), show_header=False)
        for _ in range(6):
            table.add_column(overflow="fold")  # whole units, in narrow windows too
        for p in entry["parameters"]:
            doc = p["doc"] + (f": {', '.join(p['choices'])}" if "choices" in p else "")
            table.add_row(
                "", p["name"], p["symbol"], str(p["default"]), f"[{p['unit']}]".replace("[", r"\["), as_text(doc)
            )
        console.print(table)


def mapping(summary: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a flat description of a file.

    Args:
        summary: Names and values.
        as_json: Print JSON instead of a table.
    """
    if as_json:
        plain(json.dumps(summary, indent=1))
        return
    table = Table(box=None, padding=(0, 2), show_header=False)
    for key, value in summary.items():
        text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
        table.add_row(f"[bold]{as_text(key)}[/]", as_text(text))
    output().print(table)


def metrics(rows: Sequence[Row], title: str) -> None:
    """Print metrics beside those of the exact posterior.

    Args:
        rows: The metrics.
        title: Title of the table.
    """
    console = output()
    wide = console.width >= _WIDE
    # No padding beside what divides columns: all of them are 80 characters wide.
    table = Table(title=as_text(title), title_justify="left", title_style="bold", box=box.SIMPLE, padding=0)
    columns = [c for c in ("exact", *_BASELINES) if c == "exact" or any(getattr(r, c) is not None for r in rows)]
    table.add_column("metric", no_wrap=True)
    for name in ("samples", *columns, "best"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("what")
    for row in rows:
        beside = ["-" if (v := getattr(row, c)) is None else f"{v:.4g}" for c in columns]
        table.add_row(row.metric, f"{row.value:.4g}", *beside, row.best, *([as_text(row.about)] if wide else []))
    console.print(table)


def frames(found: Sequence[Frame]) -> None:
    """Print metrics of the frames of trajectories beside those of the exact smoother; nothing where there are none.

    Args:
        found: The metrics, time by time.
    """
    if not found:
        return
    table = Table(title="frames", title_justify="left", title_style="bold", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in ("time", "CRPS", "exact", "90 % coverage", "exact"):
        table.add_column(name, justify="right")
    for frame in found:
        figures = (frame.time, frame.crps, frame.exact_crps, frame.coverage_90, frame.exact_coverage_90)
        table.add_row(*("-" if x is None else f"{x:.4g}" for x in figures))
    output().print(table)


def missing(found: Missing | None) -> None:
    """Print how well missing entries are found; nothing where there are none.

    Args:
        found: Their metrics.
    """
    if found is None:
        return
    beside = {"linear interpolation": found.interpolation, "exact": found.exact_crps}
    told = "".join(f", {name} {value:.4g}" for name, value in beside.items() if value is not None)
    say(f"missing entries ({found.share:.0%}): CRPS {found.crps:.4g}{told}, 90 % coverage {found.coverage_90:.3f}")


def pairs(found: Sequence[Pair], a: str, b: str) -> None:
    """Print the comparison of two reconstructions.

    Args:
        found: The comparisons, metric by metric.
        a: Name of the first one.
        b: Name of the second one.
    """
    table = Table(title=as_text(f"A: {a}   B: {b}"), title_justify="left", title_style="bold")
    table.add_column("metric")
    for name in ("A", "B", "B - A", "+-", "best"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for pair in found:
        numbers = (pair.a, pair.b, pair.difference)
        table.add_row(pair.metric, *(f"{x:.4g}" for x in numbers), f"{pair.error:.2g}", pair.best, pair.verdict)
    output().print(table)


def evidence(found: Evidence, title: str) -> None:
    """Print the evidence of observations under a run, and what speaks against it.

    Args:
        found: The evidence.
        title: Name of the run.
    """
    (total, error), n = found.total, int(found.known.sum())
    table = Table(title=as_text(title), title_justify="left", title_style="bold")
    for name in ("", "nats", "+-"):
        table.add_column(name, justify="right" if name else "left")
    table.add_row(f"log p of {n} final states", f"{total:.6g}", f"{error:.2g}")
    table.add_row("log p of one, mean", f"{found.mean(found.log_evidence):.6g}", f"{error / n:.2g}")
    if found.upper is not None and found.lower is not None and found.width is not None:
        width, doubt = found.width
        table.add_row("bound from below, mean", f"{found.mean(found.lower):.6g}", "")
        table.add_row("bound from above, mean", f"{found.mean(found.upper):.6g}", "")
        table.add_row("width", f"{width:.4g}", f"{doubt:.2g}")
        table.add_row("width per number", f"{width / found.numbers:.4g}", f"{doubt / found.numbers:.2g}")
    output().print(table)
    share = found.mean(found.effective)
    if found.by_runs:
        say(f"by {found.draws} runs of the process forward, of which {share * found.draws:.0f} count: draws told less")
    else:
        say(f"effective share of {found.draws} draws: {share:.0%}; prior: {found.prior}")
    red(found.warnings)


def bayes_factor(found: BayesFactor, a: str, b: str) -> None:
    """Print how much more likely observations are under one run than under another.

    Args:
        found: The comparison.
        a: Name of the first run.
        b: Name of the second run.
    """
    evidence(found.a, f"A: {a}")
    evidence(found.b, f"B: {b}")
    part = f" of the {found.observations} that both know" if found.observations < len(found.a.known) else ""
    say(f"log Bayes factor A over B{part}: {found.value:.5g} +- {found.error:.2g} nats ({found.verdict})")


def verdict(found: Verdict | None) -> None:
    """Print the verdict on a reconstruction, its warnings in red.

    Args:
        found: The verdict; nothing is printed without one.
    """
    if found is not None:
        _sentences(found.sentences, found.warnings)


def familiarity(found: Familiarity | None) -> None:
    """Print how far observations lie from the training data, and warnings, to standard error.

    Args:
        found: The distances; None where the run does not know its training data.
    """
    console = errors()
    if found is None:
        console.print(
            "how usual the observations are is not known: the run keeps no law of final states, as where there "
            "are few trajectories"
        )
        return
    far = [f"{d:.2g}" for d in found.distance]
    shown = ", ".join(far[:_SHOWN]) + (f" ... (at most {max(found.distance):.2g})" if len(far) > _SHOWN else "")
    console.print(
        f"distance from the training data at T, in standard deviations: {shown}; up to {found.limit:.2g} is usual"
    )
    for line in found.warnings:
        console.print(f"[bold red]{as_text(line)}[/]")


def predictive(found: Predictive | None, recon: Reconstruction, title: str) -> None:
    """Print the posterior predictive check, one line for each observation, and its verdict.

    Args:
        found: The check; None where there is nothing to run samples forward by.
        recon: The reconstruction, which says where observations come from.
        title: Title of the table.
    """
    console = output()
    if found is None:
        console.print(
            f"{as_text(title)}: no predictive check, since nothing says where samples lead: the method has no "
            "physics, and the run is of an earlier version, or has too few or too large states for a regression."
        )
        return
    if found.rows:
        told = recon.info.get("observations", {})
        sources, indices = told.get("sources", ()), told.get("indices", ())
        distances = recon.info.get("familiarity", {}).get("distance", ())
        table = Table(title=as_text(f"{title}, run forward"), title_justify="left", title_style="bold")
        for name in ("observation", "rank (.5)", "chi^2 / d", "expected", "deviations", "from training"):
            table.add_column(name, justify="left" if name == "observation" else "right")
        worst = sorted(found.rows, key=lambda row: -abs(row.deviations))[:_MOST_ROWS]
        for row in sorted(worst, key=lambda row: row.observation):
            i = row.observation
            name = f"{Path(sources[i]).name} {indices[i]}" if i < len(sources) else str(i)
            size = f"[bold red]{row.deviations:.2g}[/]" if row.warning else f"{row.deviations:.2g}"
            training = f"{distances[i]:.2g}" if i < len(distances) else "-"
            figures = (f"{row.rank:.2f}", f"{row.distance:.3g}", f"{row.expected:.3g}")
            table.add_row(as_text(name), *figures, size, training)
        console.print(table)
        if len(found.rows) > len(worst):
            console.print(f"These are the {len(worst)} of {len(found.rows)} that fit worst; --json has them all.")
    _sentences(found.verdict, found.warnings)


def red(lines: Sequence[str]) -> None:
    """Print sentences that advise against a result, in red.

    Args:
        lines: The sentences.
    """
    _sentences(lines, lines)


def _sentences(lines: Sequence[str], red: Sequence[str]) -> None:
    """Print sentences, some of them in red."""
    console = output()
    for line in lines:
        console.print(f"[bold red]{as_text(line)}[/]" if line in red else as_text(line))


def checks(found: Sequence[Check]) -> None:
    """Print checks beside the values that exact samples would have, and in words what cannot be right.

    Args:
        found: The checks; nothing is printed without any.
    """
    if not found:
        return
    table = Table(title="Checks that need no exact posterior", title_justify="left", title_style="bold")
    table.add_column("check")
    table.add_column("samples", justify="right")
    table.add_column("expected", justify="right")
    table.add_column("+-", justify="right")
    table.add_column("what")
    for check in found:
        marked = f"[bold red]{check.value:.3g}[/]" if check.warning else f"{check.value:.3g}"
        table.add_row(check.name, marked, f"{check.expected:.3g}", f"{check.error:.1g}", as_text(check.about))
    console = output()
    console.print(table)
    for check in found:
        if check.warning:
            console.print(f"[bold red]{as_text(check.warning)}[/]")
