"""First lines of tables: names with signs in them, comments, and numbers that are positions or a state."""

import numpy as np
import pytest

from physinv.data.sources.read import open_source

STATES = np.random.default_rng(0).normal(size=(5, 6)).round(3)  # (time, x)


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return open_source(path)


def body(states=STATES):
    return [",".join(map(str, row)) for row in states]


@pytest.mark.parametrize("names", [["Sensor #1", "Sensor #2"], ["#1", "#2"]])
def test_a_sign_within_a_line_begins_no_comment(names, tmp_path):
    rows = [f"{i},{i * 0.5},{-i}" for i in range(6)]
    found = write(tmp_path / "a.csv", "  # of May", ",".join(["time", *names]), rows[0], "# pause", *rows[1:])
    assert list(found.data_vars) == names
    assert found.time.values.tolist() == [0, 1, 2, 3, 4, 5]
    assert found[names[0]].values.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert found[names[1]].values.tolist() == [0, -1, -2, -3, -4, -5]


def test_a_missing_number_of_a_spreadsheet_leaves_the_rest_of_its_row(tmp_path):
    """Also in the first cell, where it looks like a comment."""
    found = write(tmp_path / "a.csv", "u,time,v", "1.5,0,2", "#N/A,1,3", "2.5,2,#N/A", "3.5,3,5")
    assert found.time.values.tolist() == [0, 1, 2, 3]
    assert np.array_equal(found.u, [1.5, np.nan, 2.5, 3.5], equal_nan=True)
    assert np.array_equal(found.v, [2, 3, np.nan, 5], equal_nan=True)


@pytest.mark.parametrize(
    ("head", "states", "leads", "told"),
    [
        ("0.0000,0.0625,0.1250,0.1875,0.2500,0.3125", STATES, True, "in even steps, and is taken for positions"),
        ("0.00,0.33,0.67,1.00,1.33,1.67", STATES, True, "positions"),  # thirds, rounded
        ("5,4,3,2,1,0", (100 * STATES).astype(int), True, "positions"),
        ("0,1,2,3,4,5", (100 * STATES).astype(int), True, "positions"),
        ('"3","1","4","1","5","9"', STATES, True, "stands in quotes"),
        ("0,1,2,3,4,5", np.arange(30).reshape(5, 6), False, "taken for a state"),  # may be either
        ("0,2,4,6,8,10", np.c_[2:12:2, STATES[:, 1:]], False, "taken for a state"),  # times in the first column
        ("0,1,2,4,5,6", STATES, False, ""),
    ],
)
def test_numbers_in_the_first_line_are_positions_or_a_state(head, states, leads, told, tmp_path):
    found = write(tmp_path / "a.csv", head, *body(states))
    read = np.stack([found[f"column_{i}"].values for i in range(6)], axis=1)
    assert np.array_equal(read[-5:], states)
    assert len(read) == 5 + (not leads)
    assert told in " ".join(found.attrs["read_notes"])
    assert len(found.attrs["read_notes"]) == bool(told)


def test_names_in_a_comment_leave_no_doubt_about_the_first_line(tmp_path):
    found = write(tmp_path / "a.txt", "# time,a,b,c,d,e", "0,1,2,3,4,5", *body())
    assert found.attrs["read_notes"] == ["names of the columns are those of the comment above them"]
    assert len(found.a) == 6


def test_a_column_of_samples_that_is_all_there_is_holds_the_states(tmp_path):
    """Beside others it tells the rows apart."""
    rows = [f"{i // 2},{i % 2},{i}" for i in range(8)]
    found = write(tmp_path / "a.csv", "time,Sample #,u", *rows)
    assert dict(found.u.sizes) == {"time": 4, "Sample #": 2}
    found = write(tmp_path / "b.csv", "time,Sample #", "0,3", "1,5", "2,4")
    assert found["Sample #"].values.tolist() == [3, 5, 4]
    assert found.time.values.tolist() == [0, 1, 2]
