"""Two sets of results: what is called worse, and how often by chance."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
from report_cases import cell, drawn, folder

from physinv.reports.compare import compare, regressions, render, to_json


def test_noise_is_rarely_flagged(tmp_path: Path) -> None:
    """120 pairs without any change, 8 tests in each: Holm holds the share with a flag below 5 %.

    Bound: 6 expected at most, plus 3 standard errors sqrt(120 x .05 x .95) = 2.4: 13.  Uncorrected there would be
    1 - .95^8 = 34 %, 40 of them.  At least one: the tests are not asleep (a chance of .95^120 = .2 % if all is well).
    """
    rng = np.random.default_rng(1)
    flagged = 0
    for i in range(120):
        a, b = drawn(tmp_path / "a", rng, range(5)), drawn(tmp_path / "b", rng, range(5))
        flagged += any(d.flag in ("worse", "better") for d in compare(a, b))
        assert i or {d.test for d in compare(a, b)} == {"paired t"}
    assert 1 <= flagged <= 13


def test_a_doubled_error_is_never_called_the_same(tmp_path: Path) -> None:
    """Three seeds, 80 figures: p of the doubled one is 3e-4, times 80 that is .03 or so: it must at least be shown."""
    rng, sides = np.random.default_rng(3), []
    for name, factor in (("a", 1.0), ("b", 2.0)):
        cells = []
        for i, seed in itertools.product(range(20), range(3)):
            values = {c: 1 + 0.02 * rng.normal() for c in ("crps", "energy_score", "variogram_score", "relative_l2")}
            values["crps"] *= factor if i == 0 else 1.0
            cells.append(cell(f"method{i}", seed, **values))
        sides.append(folder(tmp_path / name, *cells))
    found = {(d.method, d.metric): d for d in compare(*sides)}
    assert found["method0", "crps"].flag in ("check", "worse")
    assert found["method0", "crps"].p < 0.05
    assert sum(d.flag == "check" for d in found.values()) <= 2  # noise of 2 % seldom moves a mean by 5 %


def test_more_failures_than_before_are_worse(tmp_path: Path) -> None:
    some = [cell("npse", 0, crps=1.0), cell("npse", 1, crps=1.1), cell("npse", 2, error="failed: no")]
    none = [cell("npse", seed, error="failed: no") for seed in range(3)]
    found = compare(folder(tmp_path / "a", *some), folder(tmp_path / "b", *none))
    assert [(d.metric, d.flag) for d in found] == [("failures", "worse")]


def test_a_true_regression_is_flagged_and_nothing_else(tmp_path: Path) -> None:
    """A shift of 0.2, ten standard deviations of a difference (0.014) and more: t = 0.2 / (0.014 / sqrt(6)) = 35."""
    rng = np.random.default_rng(2)
    a, b = drawn(tmp_path / "a", rng, range(6)), drawn(tmp_path / "b", rng, range(6), shift=0.2)
    found = compare(a, b)
    assert [(d.method, d.metric) for d in found if d.flag == "worse"] == [("physinv", "crps")]
    assert regressions(found)
    back = compare(b, a)
    assert [(d.method, d.metric) for d in back if d.flag == "better"] == [("physinv", "crps")]
    assert not regressions(back)
    assert json.loads(to_json(found))["worse"] is True
    assert render(found).row_count == 1
    assert render(found, everything=True).row_count == len(found) == 8
    welch = compare(a, drawn(tmp_path / "c", rng, range(10, 16), shift=0.2))
    assert {d.test for d in welch} == {"Welch"}
    assert [(d.method, d.metric) for d in welch if d.flag == "worse"] == [("physinv", "crps")]


def test_one_seed_is_checked_not_tested_and_targets_have_two_sides(tmp_path: Path) -> None:
    old = cell("a", crps=1.0, energy_score=1.0, coverage_90=0.88)
    new = cell("a", crps=1.04, energy_score=1.06, coverage_90=0.93)  # 0.01 further from 0.9, which is 1 % of it
    found = {d.metric: d.flag for d in compare(folder(tmp_path / "a", old), folder(tmp_path / "b", new))}
    assert found == {"crps": "no test (one seed)", "energy_score": "check", "coverage_90": "no test (one seed)"}
    sides = [
        folder(tmp_path / str(v), *(cell("a", s, coverage_90=v + 1e-4 * s**2) for s in range(4)))
        for v in (0.87, 0.92, 0.97)
    ]
    assert compare(sides[0], sides[1])[0].flag == "better"
    assert compare(sides[1], sides[2])[0].flag == "worse"


def test_a_method_that_fails_now_is_worse_and_one_that_is_gone_is_missing(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", cell("a", crps=1.0), cell("b", crps=1.0))
    b = folder(tmp_path / "b", cell("a", error="failed: no"))
    found = compare(a, b)
    assert [(d.method, d.metric, d.flag) for d in found] == [("a", "failures", "worse"), ("b", "all", "missing")]
    assert regressions(found)
    assert not regressions(compare(a, a))
