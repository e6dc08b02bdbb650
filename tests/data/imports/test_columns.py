"""Columns of a table as the numbers of a vector: units in brackets, other units, what is missing."""

import pytest

from physinv.data.final_states import read_final_states
from physinv.processes.layout import VectorLayout

SENSORS = {"components": ["left_mm", "right_mm"], "units": {"left_mm": "mm", "right_mm": "mm"}}


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("left [mm],right [mm]\n1,2\n", []),
        ("right [mm],left [mm]\n2,1\n", []),
        ("right [mm],battery [V],left [mm]\n2,12,1\n", ["left out: battery_V"]),
        ("right [m],left [mm]\n2,1\n", ["`right_m` is in m, the run was trained on `right_mm` in mm."]),
    ],
)
def test_columns_with_units_in_brackets_are_taken_by_name(text, notes, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    found = read_final_states(tmp_path / "a.csv", VectorLayout("state", 2), 1.0, **SENSORS)
    assert found.states.tolist() == [[1, 2]]
    assert [note.partition(": ")[2] for note in found.notes] == notes


def test_a_number_that_is_missing_in_all_rows_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("left [mm],right [mm]\n1,\n")
    with pytest.raises(ValueError, match=r"`right \[mm\]` of .*a.csv is missing in all rows; fill it"):
        read_final_states(tmp_path / "a.csv", VectorLayout("state", 2), 1.0, **SENSORS)


def test_a_line_of_words_is_no_observation(tmp_path):
    (tmp_path / "a.csv").write_text("a report of 1999\n")
    with pytest.raises(ValueError, match=r"a\.csv"):
        read_final_states(tmp_path / "a.csv", VectorLayout("state", 2), 1.0)
