"""Fields on other grids: exact where interpolation is, of second order elsewhere, refused where points are missing."""

import numpy as np
import pytest

from physinv.data.regrid import regrid
from physinv.processes.layout import FieldLayout


def on(n, boundary, offset=0.0):
    """Positions of n points from 0 to 1, of a periodic axis without the last."""
    return (np.arange(n) / n if boundary == "PERIODIC" else np.linspace(0, 1, n)) + offset


@pytest.mark.parametrize("boundary", ["PERIODIC", "WALL"])
def test_the_error_is_of_second_order(boundary):
    layout = FieldLayout("u", "x", [on(24, boundary, 0.0)], boundary)
    errors = []
    for n in (41, 82, 164):
        have = on(n, boundary)
        found, notes = regrid(np.sin(2 * np.pi * have)[None, None], {"x": have}, layout)
        errors.append(np.abs(found[0, 0] - np.sin(2 * np.pi * np.asarray(layout.coordinates[0]))).max())
        assert notes == [f"the observation: interpolated linearly from {n} to 24 points along x."]
    slope = np.polyfit(np.log((41, 82, 164)), np.log(errors), 1)[0]
    assert -2.3 < slope < -1.7


def test_lines_are_exact_in_the_plane_and_axes_are_independent():
    layout = FieldLayout(("u", "v"), ("x", "y"), [on(5, "WALL"), on(9, "WALL")], "WALL")
    x, y = on(8, "WALL"), on(9, "WALL")
    plane = (2 * x[:, None] - 3 * y)[None, None].repeat(2, 1)
    found, notes = regrid(plane, {"x": x, "y": y}, layout)
    assert np.allclose(found[0, 1], 2 * on(5, "WALL")[:, None] - 3 * y)
    assert len(notes) == 1


def test_a_periodic_axis_may_begin_anywhere_and_be_stored_closed():
    layout = FieldLayout("u", "x", [on(8, "PERIODIC")], "PERIODIC")
    want = np.cos(2 * np.pi * on(8, "PERIODIC"))
    moved = on(32, "PERIODIC") - 0.5
    assert np.allclose(regrid(np.cos(2 * np.pi * moved)[None, None], {"x": moved}, layout)[0][0, 0], want, atol=1e-12)
    closed = np.linspace(0, 1, 33)
    assert np.allclose(regrid(np.cos(2 * np.pi * closed)[None, None], {"x": closed}, layout)[0][0, 0], want, atol=1e-12)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (np.linspace(0.2, 1, 12), "covers 0.2 to 1, the grid of the run 0 to 1; give a field that covers it"),
        (np.zeros(12), "must be 12 different finite numbers"),
        (np.where(np.arange(12) == 3, np.nan, np.linspace(0, 1, 12)), "must be 12 different finite numbers"),
    ],
)
def test_positions_that_do_not_cover_the_grid_are_refused(positions, message):
    layout = FieldLayout("u", "x", [on(8, "WALL")], "WALL")
    with pytest.raises(ValueError, match=message):
        regrid(np.zeros((1, 1, 12)), {"x": positions}, layout)
    with pytest.raises(ValueError, match="has 12 points along x, the run 8; give their positions"):
        regrid(np.zeros((1, 1, 12)), {}, layout)


def test_points_of_the_file_are_taken_alone_whatever_lies_beside_them():
    have = np.arange(12) * 30.0
    layout = FieldLayout("T", "lon", [have], "PERIODIC")
    values = np.where(np.arange(12) == 7, np.nan, np.arange(12.0))
    found, notes = regrid(np.roll(values, 6)[None, None], {"lon": have - 180}, layout)
    assert np.array_equal(found[0, 0], values, equal_nan=True)
    assert "begin elsewhere" in notes[0]
