"""Compare two folders of results, metric by metric, by tests that are corrected for their number."""

from __future__ import annotations

__all__ = ["Difference", "compare", "regressions", "render", "to_json"]

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.table import Table

from physinv.comparison.records import CellRecord, StudyPoint, read_records
from physinv.reports.tables import COLUMNS, COST, Column

Flag = Literal["worse", "better", "same", "check", "no test (one seed)", "missing"]

_COMPARED = [c for c in COLUMNS if c.best is not None and c not in COST]
_LEVEL = 0.05
_TOLERATED = 0.05
_COLOURS = {"worse": "bold red", "better": "green", "check": "yellow", "missing": "yellow"}


@dataclass(frozen=True)
class Difference:
    """The comparison of one metric of one method at one study point.

    Args:
        method: The method.
        study: The study point, as text; empty for the main table.
        metric: The metric.
        a: Mean of the older results.
        b: Mean of the newer results.
        n: Number of pairs of seeds, or the smaller number of seeds.
        test: Name of the test; empty where nothing could be tested.
        p: Its p value.
        holm: The p value corrected for all comparisons.
        flag: The conclusion.
    """

    method: str
    study: str
    metric: str
    a: float | None
    b: float | None
    n: int
    test: str
    p: float | None
    holm: float | None
    flag: Flag


def compare(a: Path, b: Path) -> list[Difference]:
    """Compare each metric that has a best value, for each method and study point.

    The losses (for a target value, the distances from it) are compared by a paired t test over the seeds in common, if
    there are two or more, else by Welch's.  Holm's correction over all tests keeps the level of 5 %.  With few seeds
    only large changes pass it.  The flag "check" marks a metric that changed by more than 5 % and is significant by
    itself, but not after the correction; where one side has a single seed, a loss that changed by more than 5 % (of the
    target, where there is one).  A method of which more cells failed in the newer results counts as worse.

    Args:
        a: Folder of the older results.
        b: Folder of the newer results.

    Returns:
        One comparison per metric, in the order of the older results.

    Raises:
        ValueError: If the results are of different systems, or a folder has none.

    References:
        Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    records = [read_records(folder) for folder in (a, b)]
    systems = [", ".join(sorted({r.system for r in side})) for side in records]
    if systems[0] != systems[1] and all(systems):
        raise ValueError(f"both results must be of one system, got {systems[0]} in {a} and {systems[1]} in {b}.")
    before, after = (_cells(side) for side in records)
    found: list[Difference] = []
    for (method, study), old in before.items():
        new, place = after.get((method, study)), "" if study is None else f"{study.name} = {study.value}"
        if new is None:
            found.append(Difference(method, place, "all", None, None, 0, "", None, None, "missing"))
            continue
        if _failed(new) > _failed(old):
            shares = _failed(old), _failed(new)
            found.append(Difference(method, place, "failures", *shares, len(new), "", None, None, "worse"))
        for column in _COMPARED:
            x, y = (_values(side, column.name) for side in (old, new))
            if x and y:
                found.append(_difference(method, place, column, x, y))
            elif x and not all(r.error for r in new.values()):
                found.append(Difference(method, place, column.name, _mean(x), None, 0, "", None, None, "missing"))
    return _corrected(found)


def regressions(differences: Sequence[Difference]) -> bool:
    """Tell whether any comparison came out worse.

    Args:
        differences: All comparisons.

    Returns:
        True if so; `physinv benchmark compare` then exits with 1.
    """
    return any(d.flag == "worse" for d in differences)


def render(differences: Sequence[Difference], *, everything: bool = False) -> Table:
    """Format the comparisons for a terminal, the worst first.

    Args:
        differences: All comparisons.
        everything: Show what stayed the same, too.

    Returns:
        The table.
    """
    shown = [d for d in differences if everything or d.flag not in ("same", "no test (one seed)")]
    rank = ["worse", "missing", "check", "better", "same", "no test (one seed)"]
    title = f"{len(differences)} comparisons, {sum(d.flag == 'worse' for d in differences)} worse"
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("method", "study", "metric"):
        table.add_column(name)
    for name in ("before", "after", "n", "p (Holm)"):
        table.add_column(name, justify="right")
    table.add_column("")
    for d in sorted(shown, key=lambda d: rank.index(d.flag)):
        colour = _COLOURS.get(d.flag, "none")
        numbers = (_number(d.a), _number(d.b), str(d.n), _number(d.holm, ".2g"))
        table.add_row(d.method, d.study, d.metric, *numbers, f"[{colour}]{d.flag}[/]")
    return table


def to_json(differences: Sequence[Difference]) -> str:
    """Format the comparisons as JSON, and whether any is worse.

    Args:
        differences: All comparisons.

    Returns:
        JSON.
    """
    found = {"worse": regressions(differences), "differences": [dataclasses.asdict(d) for d in differences]}
    return json.dumps(found, indent=1)


Cells = Mapping[int, CellRecord]


def _cells(records: Sequence[CellRecord]) -> dict[tuple[str, StudyPoint | None], dict[int, CellRecord]]:
    """Records by (method, study point) and by seed."""
    out: dict[tuple[str, StudyPoint | None], dict[int, CellRecord]] = {}
    for record in records:
        out.setdefault((record.method, record.study), {})[record.seed] = record
    return out


def _values(cells: Cells, name: str) -> dict[int, float]:
    return {seed: r.metrics[name] for seed, r in cells.items() if r.error is None and name in r.metrics}


def _difference(method: str, study: str, column: Column, x: Mapping[int, float], y: Mapping[int, float]) -> Difference:
    """The comparison before correction: "worse" or "better" by its sign alone, until :func:`_corrected`."""
    from scipy.stats import ttest_1samp, ttest_ind  # which takes a second to import

    before, after = ({seed: column.loss(v) for seed, v in side.items()} for side in (x, y))
    common = sorted(before.keys() & after.keys())
    p: float | None = None
    flag: Flag | None = None
    if len(common) >= 2:
        test, n = "paired t", len(common)
        x, y, before, after = ({seed: side[seed] for seed in common} for side in (x, y, before, after))
        gaps = [after[seed] - before[seed] for seed in common]
        p = _certain(gaps) if _constant(gaps) else float(ttest_1samp(gaps, 0.0).pvalue)
    elif min(len(before), len(after)) >= 2:
        test, n = "Welch", min(len(before), len(after))
        old, new = list(before.values()), list(after.values())
        gaps = [_mean(after) - _mean(before)]
        still = _constant(old) and _constant(new)
        p = _certain(gaps) if still else float(ttest_ind(new, old, equal_var=False).pvalue)
    else:
        test, n = "", min(len(before), len(after))
        scale = column.best if isinstance(column.best, float) else abs(_mean(before))
        flag = "check" if abs(_mean(after) - _mean(before)) > _TOLERATED * scale else "no test (one seed)"
    flag = flag or ("worse" if _mean(after) > _mean(before) else "better")
    return Difference(method, study, column.name, _mean(x), _mean(y), n, test, p, None, flag)


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    """Holm's step-down: the i-th smallest of m p values times m - i, never below an earlier one.

    What changed by more than is tolerated, and is significant by itself but not among so many, is "check", not "same".
    """
    tested = sorted((i for i, d in enumerate(differences) if d.p is not None), key=lambda i: differences[i].p or 0.0)
    out, running = list(differences), 0.0
    for rank, i in enumerate(tested):
        d = differences[i]
        running = max(running, min(1.0, (len(tested) - rank) * (d.p or 0.0)))
        large = d.a is not None and d.b is not None and abs(d.b - d.a) > _TOLERATED * abs(d.a)
        unsure: Flag = "check" if large and (d.p or 0.0) < _LEVEL else "same"
        out[i] = dataclasses.replace(d, holm=running, flag=d.flag if running < _LEVEL else unsure)
    return out


def _constant(values: Sequence[float]) -> bool:
    """Equal up to rounding: no variance for a t test to divide by."""
    size = max(map(abs, values))
    return max(values) - min(values) <= 1e-9 * size


def _certain(gaps: Sequence[float]) -> float:
    return 1.0 if all(g == 0 for g in gaps) else 0.0


def _mean(values: Mapping[int, float]) -> float:
    return statistics.fmean(values.values())


def _failed(cells: Cells) -> float:
    return sum(r.error is not None for r in cells.values()) / len(cells)


def _number(value: float | None, spec: str = ".4g") -> str:
    return "-" if value is None else f"{value:{spec}}"
