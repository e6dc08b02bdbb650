"""Records of cells: what is read, what is refused, means and the noise of the seeds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from report_cases import cell, folder

from physinv.comparison.records import StudyPoint, Summary, order, points, read_records, summarise
from physinv.reports.compare import compare
from physinv.reports.report import write_report
from physinv.reports.tables import failures


def test_results_of_two_systems_are_not_compared(tmp_path):
    for name in ("heat", "burgers"):
        (tmp_path / name).mkdir()
        line = {"schema": 1, "key": "k", "system": name, "method": "linear", "seed": 0, "study": None, "error": None}
        line |= {"options": {}, "metrics": {"crps": 1.0}, "curves": {}, "cost": {}}
        (tmp_path / name / "cells.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match=r"both results must be of one system, got heat in .* and burgers in"):
        compare(tmp_path / "heat", tmp_path / "burgers")


def test_a_later_line_replaces_and_a_torn_line_is_skipped(tmp_path: Path) -> None:
    path = folder(tmp_path, cell("a", crps=1.0), cell("b", crps=2.0), cell("a", crps=3.0))
    whole = (path / "cells.jsonl").read_text()
    torn = json.dumps(cell("c", crps=4.0))[:60]
    (path / "cells.jsonl").write_text(f"{torn}\n{whole}{torn}")
    assert {r.method: r.metrics["crps"] for r in read_records(path)} == {"a": 3.0, "b": 2.0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({**cell("a"), "schema": 2}, "`schema` must be 1, got 2 in line 1"),
        (17, "`schema` must be 1, got 17 in line 1"),
        ({k: v for k, v in cell("a").items() if k != "seed"}, "line 1 .* is no cell of a benchmark .*seed"),
        ({**cell("a"), "seed": 1.5}, "`seed` must be a whole number from 0, got float 1.5"),
        ({**cell("a"), "seed": True}, "`seed` must be a whole number"),
        ({**cell("a"), "metrics": [1.0]}, "`metrics` must be an object, got list"),
        ({**cell("a"), "metrics": {"crps": "1"}}, "must be numbers, got str '1'"),
        ({**cell("a"), "metrics": {"crps": [1]}}, "must be numbers, got list"),
        ({**cell("a"), "curves": {"c": [[1]]}}, "must be numbers, got list"),
        ({**cell("a"), "curves": {"c": 3}}, "is no cell of a benchmark"),
        ({**cell("a"), "cost": "much"}, "`cost` must be an object, got str"),
        ({**cell("a"), "notes": 7}, "`notes` must be an object"),
        ({**cell("a"), "study": [1]}, "`study` must be an object"),
        ({**cell("a"), "method": "\x1b[2J"}, "`method` must be printable text"),
        ({**cell("a"), "metrics": {"\x1b[2J": 1.0}}, "names in `metrics` must be printable text"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, line: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_records(folder(tmp_path, line))


def test_the_noise_of_the_seeds_is_that_of_paired_differences_by_hand() -> None:
    """Differences .1, .2, .3: mean .2, sd .1; Student's t of 2 degrees of freedom has its 97.5 % point at 4.3027."""

    def of(*values: float, first: int = 0, data: str = "") -> Summary:
        return Summary.of({(first + i, data): v for i, v in enumerate(values)})

    a, b = of(1.0, 5.0, 9.0), of(0.9, 4.8, 8.7)
    assert a.gap(b) == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-4)
    assert a.gap(b) == pytest.approx(b.gap(a))
    assert a.mean - b.mean < a.gap(b)  # .2 < .248: undecided, where unpaired errors, 2.3 each, would say nothing at all
    steady = of(0.8, 4.79, 8.81)
    assert a.mean - steady.mean > a.gap(steady)
    for apart in (of(1.0, 5.0, 9.0, first=7), of(1.0, 5.0, 9.0, data="of another version")):
        # no observations in common: two standard errors of independent means
        assert a.gap(apart) == pytest.approx(2 * math.hypot(a.error or 0, apart.error or 0))
    assert of(5.0).gap(of(4.0)) == pytest.approx(0.1)


def test_no_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`folder` must hold cells.jsonl"):
        read_records(tmp_path)
    with pytest.raises(ValueError, match="at least one finished cell"):
        write_report(folder(tmp_path))


def test_means_and_standard_errors_by_hand(tmp_path: Path) -> None:
    """1, 2, 4: mean 7/3, sd sqrt(7/3), standard error sqrt(7/3) / sqrt(3) = sqrt(7) / 3."""
    cells = [cell("a", seed, crps=v) for seed, v in enumerate((1.0, 2.0, 4.0))]
    cells += [cell("b", 0, crps=5.0), cell("c", 0, error="failed: no"), cell("d", 0, crps=math.nan)]
    cells.append(cell("a", 0, {"name": "T", "key": "parameters.horizon", "value": 2}, crps=9.0))
    records = read_records(folder(tmp_path, *cells))
    means = summarise(records)
    assert means["a"]["crps"].mean == pytest.approx(7 / 3)
    assert means["a"]["crps"].error == pytest.approx(math.sqrt(7) / 3)
    assert means["a"]["crps"].n == 3
    assert means["b"]["crps"] == Summary(5.0, None, 1)
    assert means["c"] == {}
    assert "crps" not in means["d"]
    assert means["a"]["total_seconds"].mean == 68
    assert means["a"]["sample_seconds"].mean == pytest.approx(8 / 1600)
    assert order(means)[0] == "a"
    (study,) = points(records)["T"]
    assert study == StudyPoint("T", "parameters.horizon", 2.0, "parameters.horizon")
    assert summarise(records, study)["a"]["crps"].mean == 9
    assert failures(records) == ["c (seed 0): failed: no", "d (seed 0): crps not finite, left out of the means"]


def test_numbers_that_no_mean_can_hold_count_as_lost(tmp_path: Path) -> None:
    lines = (cell("a", 0, crps=1e308, bias=1.0), cell("a", 1, crps=-1e308, bias=10**400))
    a, b = read_records(folder(tmp_path, *lines))
    assert (a.lost, b.lost) == (("crps",), ("crps", "bias"))
    assert summarise([a, b])["a"]["bias"].mean == 1.0
