"""Step grids: known densities give known grids."""

import math

import pytest
import torch

from physinv.equations.time_grids import equidistributed, linear, logarithmic, resample_times


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_linear_and_resampled_grids_run_from_start_to_end(steps):
    grid = linear(0.3, steps)
    assert grid.dtype == torch.float64
    assert torch.allclose(grid, torch.arange(steps + 1).double() * 0.3 / steps, atol=1e-15)
    assert torch.allclose(resample_times(linear(0.3, 5), steps), grid, atol=1e-15)
    uneven = torch.tensor([0.0, 0.1, 1.0], dtype=torch.float64)
    assert torch.allclose(resample_times(uneven, 4), torch.tensor([0.0, 0.05, 0.1, 0.55, 1.0]).double(), atol=1e-7)


def test_logarithmic_grid_is_geometric_after_its_first_step():
    grid = logarithmic(8.0, 4, 1.0)
    assert torch.allclose(grid, torch.tensor([0.0, 1.0, 2.0, 4.0, 8.0], dtype=torch.float64), atol=1e-14)
    assert float(logarithmic(0.2, 33, 1e-3)[1]) == 1e-3
    assert float(logarithmic(0.2, 33, 1e-3)[-1]) == 0.2


def test_known_densities_reproduce_known_grids():
    """int_0^t 1/(2 sqrt t) = sqrt(t): squares of a linear grid.  1/t: a geometric grid.  Constant, or none: linear."""
    fine = torch.linspace(0.01, 1, 4001, dtype=torch.float64)
    squares = equidistributed(fine, 1 / (2 * fine.sqrt()), 9)
    # trapezoidal rule on 4000 intervals: relative error h^2 w''/(12 w) <= 2.5e-4^2 * .75e4 / 12 = 4e-5
    assert torch.allclose(squares, torch.linspace(0.1, 1, 10, dtype=torch.float64) ** 2, atol=1e-4)
    geometric = equidistributed(fine, 1 / fine, 4)
    assert torch.allclose(geometric, 0.01 ** (1 - torch.arange(5).double() / 4), atol=2e-4)
    for flat in (torch.full_like(fine, 3.0), torch.zeros_like(fine)):
        assert torch.allclose(equidistributed(fine, flat, 3), torch.linspace(0.01, 1, 4).double(), atol=1e-7)


def test_steps_jump_over_times_at_which_nothing_happens():
    t = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    grid = equidistributed(t, torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0]).double(), 4)  # shares 1, 1/2, 0, 1/2
    assert torch.allclose(grid, torch.tensor([0.0, 0.5, 1.0, 3.0, 4.0], dtype=torch.float64))
    assert bool((grid.diff() > 0).all())


def test_what_makes_no_grid_is_refused():
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="`steps` must be at least 1, got 0"):
        linear(1.0, 0)
    with pytest.raises(ValueError, match="`horizon` must be positive"):
        linear(0.0, 3)
    with pytest.raises(ValueError, match="`steps` must be at least 2"):
        logarithmic(1.0, 1, 0.1)
    with pytest.raises(ValueError, match="`first` must lie between 0 and the horizon 1, got 2"):
        logarithmic(1.0, 5, 2.0)
    with pytest.raises(ValueError, match="strictly increasing"):
        equidistributed(t.flip(0), t, 3)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="`speed` must be finite and nowhere negative"):
            equidistributed(t, torch.tensor([1.0, bad], dtype=torch.float64), 3)
