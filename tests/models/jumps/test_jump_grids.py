"""Grids of jumps."""

import itertools

import pytest

from physinv.models.jumps.base import Jump, jump_grids, jumps_of


@pytest.mark.parametrize("intervals", [1, 2, 3, 7, 32])
def test_every_grid_leads_from_the_last_stored_time_to_the_first(intervals: int) -> None:
    for grid in jump_grids(intervals):
        assert (grid[0].later, grid[-1].earlier) == (intervals, 0)
        assert all(a.earlier == b.later for a, b in itertools.pairwise(grid))
        assert all(jump.earlier < jump.later for jump in grid)


def test_grids_with_more_jumps_than_intervals_are_left_out() -> None:
    assert [len(grid) for grid in jump_grids(3)] == [1, 2]
    assert [len(grid) for grid in jump_grids(4)] == [1, 2, 4]


def test_a_jump_of_several_grids_is_listed_once() -> None:
    assert jumps_of([[Jump(0, 2)], [Jump(1, 2), Jump(0, 1)], [Jump(0, 2)]]) == [Jump(0, 2), Jump(1, 2), Jump(0, 1)]
