"""Heads of columns say which point of a field each column is: none is mirrored, and no head is an observation."""

import numpy as np
import pytest

from physinv.data.final_states import read_final_states
from physinv.data.observed.heads import order_of
from physinv.processes.layout import FieldLayout

X = np.arange(16) / 16
LINE = FieldLayout("u", "x", [X], "PERIODIC")
STATES = np.random.default_rng(0).normal(size=(3, 16)).astype("f4")
ORDERS = {"up": np.arange(16), "down": np.arange(16)[::-1], "mixed": np.random.default_rng(1).permutation(16)}


def written(folder, heads, rows, first=()):
    """A table with a line of heads; ``first`` is a column before the others, with its head."""
    lines = [",".join(heads), *(",".join(f"{v:.9g}" for v in row) for row in rows)]
    lines = [f"{a},{line}" for a, line in zip(first, lines, strict=True)] if first else lines
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return folder / "a.csv"


NAMES = {
    "positions": lambda i: f"x={X[i]:.4f}",
    "in units": lambda i: f"u ({X[i]:g} m)",
    "from 0": lambda i: f"u{i}",
    "from 1": lambda i: f"u_[{i + 1:02}]",
    "numbers alone": lambda i: f"{X[i]:.4f}",
    "in quotes": lambda i: f'"{X[i]:.4f}"',
    "another period": lambda i: f"{X[i] - (X[i] >= 0.5):g}",
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("names", NAMES)
def test_columns_are_ordered_by_their_heads(names, order, tmp_path):
    heads = [NAMES[names](i) for i in ORDERS[order]]
    found = read_final_states(written(tmp_path, heads, STATES[:, ORDERS[order]]), LINE, 1.0)
    assert np.array_equal(found.states[:, 0], STATES)
    assert found.indices == (0, 1, 2)
    alone = names in ("numbers alone", "in quotes", "another period")
    assert sum("is no observation" in note for note in found.notes) == alone
    assert sum("were put in order" in note for note in found.notes) == (order != "up")
    assert len(found.notes) == alone + (order != "up")


@pytest.mark.parametrize("start", [0, 1])
def test_a_line_that_numbers_the_points_down_is_no_observation(start, tmp_path):
    heads = [str(i + start) for i in range(16)][::-1]
    found = read_final_states(written(tmp_path, heads, STATES[:, ::-1]), LINE, 1.0)
    assert np.array_equal(found.states[:, 0], STATES)
    again = read_final_states(written(tmp_path, heads, STATES[:, ::-1], ["", 0, 1, 2]), LINE, 1.0)
    assert np.array_equal(again.states[:, 0], STATES)


def test_a_first_line_of_data_stays_an_observation(tmp_path):
    """Counts, the only state of a file, and a state that is near the positions."""
    counts = np.stack([np.arange(16)[::-1], np.ones(16)]).astype("f4")
    for rows in (counts, X[None].astype("f4"), np.stack([X + 0.01, X]).astype("f4")):
        found = read_final_states(written(tmp_path, [f"{v:.9g}" for v in rows[0]], rows[1:]), LINE, 1.0)
        assert np.array_equal(found.states[:, 0], rows)


def test_other_names_are_taken_in_order_with_a_notice(tmp_path):
    for heads in (
        [f"p{chr(97 + i)}" for i in range(16)],
        [f"x={100 * x:g}" for x in X],
        [f"{'uv'[i % 2]}{i}" for i in range(16)],
    ):
        found = read_final_states(written(tmp_path, heads, STATES), LINE, 1.0)
        assert np.array_equal(found.states[:, 0], STATES)
        assert [note.partition(": ")[2] for note in found.notes] == [
            f"the columns {heads[0]}, {heads[1]}, ..., {heads[-1]} are taken in order for the 16 points along x."
        ]


def test_signs_belong_to_positions_where_these_are_negative(tmp_path):
    layout = FieldLayout("u", "x", [np.linspace(-1, 1, 5)], "WALL")
    values = STATES[:, :5]
    found = read_final_states(written(tmp_path, [f"x{v}" for v in np.linspace(1, -1, 5)], values[:, ::-1]), layout, 1.0)
    assert np.array_equal(found.states[:, 0], values)
    found = read_final_states(written(tmp_path, [f"x-{i}" for i in (4, 3, 2, 1, 0)], values[:, ::-1]), layout, 1.0)
    assert np.array_equal(found.states[:, 0], values)


def test_columns_of_a_map_and_static_numbers_beside_a_field(tmp_path):
    layout = FieldLayout("u", ("y", "x"), [np.arange(3.0), X], "WALL")
    found = read_final_states(written(tmp_path, [f"{v:g}" for v in X[::-1]], STATES[:, ::-1]), layout, 1.0)
    assert np.array_equal(found.states[0, 0], STATES)
    known = FieldLayout(("u", "viscosity"), "x", [X], "PERIODIC", "viscosity")
    rows = np.concatenate([STATES[:, ::-1], [[0.5], [0.25], [0.125]]], axis=1)
    found = read_final_states(written(tmp_path, [*(f"u{i}" for i in range(15, -1, -1)), "viscosity"], rows), known, 1.0)
    assert np.array_equal(found.states[:, 0], STATES)
    assert found.states[:, 1, 0].tolist() == [0.5, 0.25, 0.125]


def test_positions_must_be_the_same_up_to_rounding():
    assert order_of(np.array([0.0, 0.5, 1.0]) + 0.004, np.array([1.0, 0.5, 0.0])).tolist() == [2, 1, 0]
    assert order_of(np.array([0.0, 0.5, 1.0]) + 0.006, np.array([1.0, 0.5, 0.0])) is None
    assert order_of(np.array([0.0, 0.5, np.nan]), np.array([1.0, 0.5, 0.0])) is None
