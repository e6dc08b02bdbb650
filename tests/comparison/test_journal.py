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
        with pytest.raises(ValueError, match=r"line 1 of .* is no record; remove it"):
            journal.read(tmp_path / "cells.jsonl")


RECORDS = [{"key": k, "error": None, "metrics": {"crps": 0.25, "bias": -1e-7}, "method": "é"} for k in ("a", "b", "c")]


def test_no_flip_of_a_bit_changes_what_is_read(tmp_path):
    """All flips of the second line and its end: each is refused, or changes nothing."""
    path = tmp_path / "cells.jsonl"
    for record in RECORDS:
        journal.append(path, record)
    data = path.read_bytes()
    start = data.index(b"\n") + 1
    for at in range(start, data.index(b"\n", start) + 1):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                found = journal.read(path)
            except ValueError:
                continue
            # A flip in the name of the checksum makes the line one of an earlier version, with a key more.
            assert [{k: r.get(k) for k in RECORDS[0]} for r in found] == RECORDS, flipped[start : at + 1]


def test_every_beginning_of_a_line_is_no_result(tmp_path):
    path = tmp_path / "cells.jsonl"
    for record in RECORDS:
        journal.append(path, record)
    data = path.read_bytes()
    start = data.rindex(b"\n", 0, len(data) - 1) + 1
    checksum = data.rindex(b'"sha256"')
    for end in range(start, checksum + 70):
        path.write_bytes(data[:end].decode("utf-8", "ignore").encode())
        assert journal.read(path) == RECORDS[:2]


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"key": ' + "9" * 5000 + "}", '{"a": 1}}', '{"key": "a" "b"}', "nonsense"]
)
def test_what_no_kill_leaves_is_damage(tmp_path, line):
    (tmp_path / "cells.jsonl").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=r"line 1 of .*cells.jsonl is damaged"):
        journal.read(tmp_path / "cells.jsonl")


def test_other_text_is_damage(tmp_path):
    (tmp_path / "cells.jsonl").write_bytes(b'{"key": "\xff"}\n')
    with pytest.raises(ValueError, match="no text in UTF-8"):
        journal.read(tmp_path / "cells.jsonl")
