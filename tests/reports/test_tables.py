"""Tables of results: which number is bold, in which order, with how many digits."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_cases import cell, folder, summary, table

from physinv.comparison.records import read_records
from physinv.reports.tables import COLUMNS, best, markdown, number
from physinv.reports.verdict import verdict

CRPS, COVERAGE = (next(c for c in COLUMNS if c.name == name) for name in ("crps", "coverage_90"))


def test_best_is_what_lies_within_two_standard_errors() -> None:
    """Gap 0.0028 against 2 sqrt(2) 0.001 = 0.00283: a tie; 0.0029: none.  The exact posterior takes no part."""
    rows = table(exact=(0.05, 1), a=(0.1, 1), b=(0.1028, 1), c=(0.1029, 1))
    assert best(CRPS, rows) == {"a", "b"}
    target = {m: {"coverage_90": summary(v, 0.002)} for m, v in {"a": 0.85, "b": 0.91, "c": 0.895, "d": 0.99}.items()}
    assert best(COVERAGE, target) == {"b", "c"}
    assert best(CRPS, {m: {"crps": summary(1.0)} for m in "ab"}) == set()


def test_what_differs_by_more_than_a_tenth_is_no_tie() -> None:
    """Noise of .06 hides a difference of .03, which is 23 %: neither best nor beaten for sure."""
    rows = table(physinv=(0.13, 60, 0.03), a=(0.1, 60, 0.001), b=(0.105, 60, 0.03), c=(0.131, 60, 0.03))
    assert best(CRPS, rows) == {"a", "b"}
    said = verdict(rows)[0]
    assert said == (
        "a (0.100 ± 0.0010) and b (0.105 ± 0.030) may beat physinv on CRPS (0.130 ± 0.030), within the noise of the "
        "seeds; c is level with it."
    )
    assert verdict(table(physinv=(0.1, 60, 0.03), a=(0.13, 60, 0.03)))[0].endswith(
        "next: a, 0.130 ± 0.030), a lead within the noise of the seeds."
    )
    rows["a"]["crps"] = summary(0.05, 0.001)
    assert verdict(rows)[0].startswith("a (0.0500 ± 0.0010) beats physinv on CRPS (0.130 ± 0.030); b may do so, within")


def test_markdown_has_the_exact_posterior_first_the_best_bold_and_reasons_below(tmp_path: Path) -> None:
    cells = [cell(m, s, crps=v + 1e-4 * s) for m, v in {"b": 0.2, "a": 0.1, "exact": 0.05}.items() for s in range(2)]
    lines = markdown(read_records(folder(tmp_path, *cells, cell("c", error="does not apply: walls")))).splitlines()
    assert lines[0].startswith("| method | CRPS ↓ | training s ↓ |")
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["exact", "a", "b"]
    assert [line.split("|")[2].strip().startswith("**") for line in lines[2:5]] == [False, True, False]
    assert lines[-1] == "- c (seed 0): does not apply: walls"
    assert len({line.count("|") for line in lines[:5]}) == 1


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (0.094, 0.00123, "0.0940 ± 0.0012"),
        (0.094, None, "0.0940"),
        (1234.5, 12.0, "1,234 ± 12"),
        (12.0, 0.5, "12.0 ± 0.50"),
    ],
)
def test_numbers_are_short(mean: float, error: float | None, text: str) -> None:
    assert number(summary(mean, error), CRPS) == text
