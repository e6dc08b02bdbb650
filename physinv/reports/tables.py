"""The columns of tables, which method is best in each, and tables in Markdown and for a terminal."""

from __future__ import annotations

__all__ = [
    "CALIBRATION",
    "CHECKS",
    "COLUMNS",
    "COST",
    "HEADLINE",
    "PHYSICS",
    "Column",
    "best",
    "failures",
    "markdown",
    "number",
    "terminal",
]

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from physinv.comparison.records import CellRecord, StudyPoint, Summary, order, summarise

Summaries = Mapping[str, Mapping[str, Summary]]
_CLOSE = 0.1  # relative difference above which two figures are not called level, whatever the noise


@dataclass(frozen=True)
class Column:
    """A metric or cost in tables.

    Args:
        name: Its name in records.
        heading: Its name in tables.
        best: ``"low"``, ``"high"``, a target value, or None where no value is better.
        spec: Format of the mean: ``#.3g`` keeps three significant digits, ``.3f`` three decimals.
        about: What it is, in one line.
        slight: A difference below which no one calls two values different.
    """

    name: str
    heading: str
    best: str | float | None
    spec: str
    about: str
    slight: float = 0.0

    @property
    def direction(self) -> str:
        """Say in a few words which value is best."""
        if self.best is None:
            return ""
        return {"low": "lower is better", "high": "higher is better"}.get(str(self.best), f"best at {self.best}")

    def gap(self, a: Summary, b: Summary) -> float:
        """Return the difference beyond which two means differ.

        Args:
            a: One mean.
            b: The other.

        Returns:
            The noise of the seeds (:meth:`~physinv.comparison.records.Summary.gap`), or ``slight`` if that is more.
        """
        return max(a.gap(b), self.slight)

    def level(self, a: Summary, b: Summary) -> bool:
        """Tell whether two means are level.

        They are if they differ by less than ``slight``, or by no more than the noise of the seeds and a tenth.  A
        difference of more than a tenth is no tie, even if so few seeds cannot confirm it.

        Args:
            a: One mean.
            b: The other.

        Returns:
            Whether they are level.
        """
        losses = self.loss(a.mean), self.loss(b.mean)
        tenth = _CLOSE * max(map(abs, losses))
        return abs(losses[0] - losses[1]) <= max(self.slight, min(a.gap(b), tenth))

    def loss(self, value: float) -> float:
        """Convert a value to a number that is smaller the better it is.

        Args:
            value: The value.

        Returns:
            The value, its negative, or its distance from the target.

        Raises:
            ValueError: Where no value is better.
        """
        if self.best is None:
            raise ValueError(f"`best` of {self.name} must be known to compare values, got None; leave it out.")
        if isinstance(self.best, float):
            return abs(value - self.best)
        return value if self.best == "low" else -value


_CRPS = Column("crps", "CRPS", "low", "#.3g", "fair continuous ranked probability score per component")
_COVERAGE = Column(
    "coverage_90", "90 % coverage", 0.9, ".3f", "share of components inside the central 90 % interval", 0.01
)
_ERROR = Column("calibration_error", "calibration error", "low", ".3f", "mean |empirical - nominal coverage|", 0.01)

HEADLINE = (
    _CRPS,
    Column("energy_score", "energy score", "low", "#.3g", "fair energy score of whole states"),
    Column("variogram_score", "variogram", "low", "#.3g", "differences between pairs of components"),
    Column("relative_l2_mean", "error of mean", "low", "#.3g", "relative L2 error of the ensemble mean"),
    _COVERAGE,
    _ERROR,
    Column(
        "c2st",
        "C2ST",
        0.5,
        ".3f",
        "accuracy of a classifier telling (sample, x_T) from (truth, x_T)",
        0.01,
    ),
    Column("wasserstein", "Wasserstein", "low", "#.3g", "distance W_2 of (sample, x_T) and (truth, x_T); see exact"),
    Column("log_prob", "log density", "high", "#.4g", "log density of the truth, in nats per number"),
    Column("total_seconds", "total s", "low", "#.3g", "training and sampling, in seconds"),
)
PHYSICS = (
    Column("relative_l2", "error of a sample", "low", "#.3g", "relative L2 error of one sample; favours no spread"),
    Column("reconstruction_mse", "error at T", "low", "#.3g", "samples run forward against the truth run forward"),
    Column("spectral_error", "spectral error", "low", "#.3g", "log radial spectrum of a sample against the truth's"),
    Column("physics_residual", "residual", 1.0, "#.3g", "noise that the trajectory needs over the noise there is"),
    Column("diverged", "diverged", "low", ".3f", "share of reconstructions that were not finite"),
)
CALIBRATION = (
    _COVERAGE,
    _ERROR,
    Column("spread_skill", "spread / skill", 1.0, ".3f", "ensemble spread over the error of its mean", 0.01),
    Column("sbc_p", "SBC p", None, ".3f", "simulation-based calibration: p value of uniform ranks, mean over seeds"),
    Column("tarp_p", "TARP p", None, ".3f", "coverage of random balls: p value, mean over seeds"),
    Column("bracket_width", "bracket", 0.0, ".3f", "width of the bracket of log p(x_T), in nats per number", 0.001),
)
CHECKS = (
    Column(
        "misfit_median", "misfit", 1.0, "#.3g", "median chi^2 of samples run forward, over that of the truths", 0.05
    ),
    Column("misfit_90", "misfit, 90 %", 1.0, "#.3g", "its 90 % quantile over that of the truths", 0.05),
    Column("outside", "outside", "low", ".3f", "share of samples outside the range of all truths", 0.005),
    Column("total_variation", "total variation", 1.0, ".3f", "of samples, over that of the truths", 0.02),
    Column("zigzags", "zigzags", 1.0, "#.3g", "neighbouring differences of different sign, over those of truths", 0.05),
    Column("power_low", "power, low k", 1.0, "#.3g", "of samples over truths, lowest third of log wave numbers", 0.05),
    Column("power_middle", "middle k", 1.0, "#.3g", "the same, middle third", 0.05),
    Column("power_high", "high k", 1.0, "#.3g", "the same, highest third", 0.05),
    Column("patch_c2st", "patches", 0.5, ".3f", "accuracy of a classifier of patches of samples and of truths", 0.03),
)
COST = (
    Column("training_seconds", "training s", "low", "#.3g", "wall time of training"),
    Column("sample_seconds", "s per sample", "low", "#.2g", "wall time per sample and observation"),
    Column("total_seconds", "total s", "low", "#.3g", "training and sampling of the whole test set"),
    Column("network_evaluations", "evaluations", "low", "#.3g", "network evaluations per sample"),
    Column("peak_memory_mb", "memory MB", "low", "#.3g", "peak memory"),
    Column("parameters", "weights", None, ".0f", "trained numbers"),
)
COLUMNS = tuple({c.name: c for c in (*HEADLINE, *PHYSICS, *CALIBRATION, *CHECKS, *COST)}.values())
_TERMINAL = (_CRPS, HEADLINE[3], _COVERAGE, HEADLINE[-1])
_README = (*HEADLINE[:-1], CALIBRATION[2], COST[0], COST[1], COST[3], COST[4])


def best(column: Column, summaries: Summaries) -> set[str]:
    """Find the methods that are best in a column: that of the lowest loss and all that are level with it.

    The exact posterior is the standard of comparison and takes no part.  No method is best in a column of equal
    numbers.

    Args:
        column: The column.
        summaries: Summaries by method and name.

    Returns:
        Names of methods.
    """
    found = {m: own[column.name] for m, own in summaries.items() if column.name in own and m != "exact"}
    if column.best is None or not found:
        return set()
    if len(found) > 1 and len({s.mean for s in found.values()}) == 1:
        return set()
    first = min(found.values(), key=lambda s: column.loss(s.mean))
    return {m for m, s in found.items() if column.level(s, first)}


def number(summary: Summary | None, column: Column) -> str:
    """Format a mean with its standard error.

    Args:
        summary: The mean over the seeds, or None.
        column: The column, which has the format.

    Returns:
        ``mean ± standard error``, the mean alone for one seed, a dash for None; the error has at most two digits.
    """
    if summary is None:
        return "–"
    mean = _short(summary.mean, column.spec)
    if not summary.error or column.best is None:
        return mean
    if "e" in mean:
        return f"{mean} ± {summary.error:.1e}"
    two_digits = 1 - math.floor(math.log10(summary.error))
    decimals = max(0, min(two_digits, len(mean.partition(".")[2]) + 1))
    return f"{mean} ± {summary.error:,.{decimals}f}"


def markdown(records: Sequence[CellRecord], study: StudyPoint | None = None) -> str:
    """Format the table of one study point in Markdown, best in bold, with failures in lines below it.

    Args:
        records: Records of one system.
        study: Point of a study; None for the main table.

    Returns:
        Markdown.
    """
    summaries = summarise(records, study)
    columns = [c for c in _README if any(c.name in own for own in summaries.values())]
    winners = {c.name: best(c, summaries) for c in columns}
    lines = ["| method | " + " | ".join(_heading(c) for c in columns) + " |", "|:--|" + "--:|" * len(columns)]
    for method in order(summaries):
        if own := summaries[method]:
            cells = [number(own.get(c.name), c) for c in columns]
            cells = [f"**{t}**" if method in winners[c.name] else t for t, c in zip(cells, columns, strict=True)]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
    lines += [""] + [f"- {line}" for line in failures(r for r in records if r.study == study)]
    return "\n".join(lines).rstrip() + "\n"


def terminal(records: Sequence[CellRecord]) -> Table:
    """Format the main table for a terminal of 80 columns, best in bold; the report has more columns.

    Args:
        records: Records of one system.

    Returns:
        The table.
    """
    summaries = summarise(records)
    columns = [c for c in _TERMINAL if any(c.name in own for own in summaries.values())]
    winners = {c.name: best(c, summaries) for c in columns}
    table = Table()
    table.add_column("method", no_wrap=True)
    for column in columns:
        table.add_column(column.heading, justify="right", overflow="fold")
    for method in order(summaries):
        if own := summaries[method]:
            cells = [number(own.get(c.name), c) for c in columns]
            bold = [f"[bold]{t}[/]" if method in winners[c.name] else t for t, c in zip(cells, columns, strict=True)]
            table.add_row(method, *bold)
    return table


def failures(records: Iterable[CellRecord]) -> list[str]:
    """Say in one line per method and reason which cells failed, and which numbers were not finite.

    Args:
        records: Records of one system.

    Returns:
        The lines, sorted.
    """
    cells: defaultdict[tuple[str, str], list[CellRecord]] = defaultdict(list)
    for record in records:
        if record.error is not None:
            cells[record.method, " ".join(record.error.split())].append(record)
        elif record.lost:
            cells[record.method, f"{', '.join(record.lost)} not finite, left out of the means"].append(record)
    return [f"{method} ({_places(own)}): {reason}" for (method, reason), own in sorted(cells.items())]


def _places(records: Sequence[CellRecord]) -> str:
    seeds = sorted({r.seed for r in records})
    text = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    studies = dict.fromkeys(f"{r.study.name} = {_plain(r.study.value)}" for r in records if r.study)
    return "; ".join([text, *studies])


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _heading(column: Column) -> str:
    if isinstance(column.best, float):
        return f"{column.heading} → {column.best:g}"
    return column.heading + {"low": " ↓", "high": " ↑"}.get(column.best or "", "")


def _short(value: float, spec: str) -> str:
    """No exponent from 1000 to a million, no bare point at the end."""
    if spec.endswith("g") and 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:,{spec}}".rstrip(".") if spec.endswith("f") else f"{value:{spec}}".rstrip(".")
