"""The journal: what a kill cuts short is no result, and nothing else is lost."""

import json

import pytest

from physinv.comparison import journal
from physinv.comparison.records import read_records
from physinv.reports.tables import failures


def test_a_figure_that_is_not_finite_is_told(tmp_path):
    raw = {
        "schema": 1,
        "key": "k",
        "system": "s",
        "method": "linear",
        "seed": 0,
        "metrics": {"crps": 0.1, "c2st": None},
    }
    (tmp_path / "cells.jsonl").write_text(json.dumps(raw) + "\n")
    (record,) = read_records(tmp_path)
    assert record.lost == ("c2st",)
    assert failures([record]) == ["linear (seed 0): c2st not finite, left out of the means"]


def test_a_torn_line_is_no_result_and_the_next_one_is_whole(tmp_path):
    path = tmp_path / "cells.jsonl"
    journal.append(path, {"key": "a", "v": 1, "error": None})
    with path.open("a") as file:
        file.write('{"key": "b", "v"')
    journal.append(path, {"key": "c", "v": 3, "error": None})
    journal.append(path, {"key": "a", "v": 4, "error": None})
    assert journal.read(path) == [{"key": "a", "v": 4, "error": None}, {"key": "c", "v": 3, "error": None}]


def test_a_line_that_is_no_record_is_refused(tmp_path):
    for line in ("3", '{"v": 1}'):
        (tmp_path / "cells.jsonl").write_text(line + "\n")
        with pytest.raises(ValueError, match="holds a line that is no record"):
            journal.read(tmp_path / "cells.jsonl")
