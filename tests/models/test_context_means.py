"""Means that depend on what is known of a trajectory: fitted, bounded, and saved."""

import math

import pytest
import torch

from physinv.models.context_means import ContextMeans, context_of, persisting
from physinv.processes.layout import FieldLayout, VectorLayout

SEA = FieldLayout(
    ("T", "phase_sine", "phase_cosine"),
    "x",
    [range(4)],
    "OPEN",
    ("phase_sine", "phase_cosine"),
    mask=[True, True, True, False],
)
ROOM = VectorLayout("temperature", 2, "heater")


def seasons(n):
    """States at phases over whole years, the first channel with two harmonics and a size that grows with x."""
    angle = 2 * math.pi * torch.arange(n) / 12
    wave = torch.outer(3 * angle.sin() + (2 * angle).cos(), torch.arange(1.0, 5.0))
    still = torch.stack([angle.sin(), angle.cos()], 1)[:, :, None].expand(-1, -1, 4)
    return SEA.emptied(torch.cat([wave[:, None], still], 1))


def test_a_year_has_two_harmonics_where_there_are_enough_years_for_them():
    states = seasons(72)
    double = SEA.set_moving(2 * SEA.moving(states), states)
    for n, left in ((72, 0.02), (36, 1.1)):  # five coefficients need 50 windows; without the second harmonic 1 is left
        means = ContextMeans.fit(SEA, states[:n], double[:n])
        first, last = means.shifts(states)
        gap = (states - first)[:, 0, 0]
        assert float(gap.abs().max()) < left
        assert torch.allclose(SEA.moving(last), 2 * SEA.moving(first), atol=1e-4)
    assert float(gap.abs().max()) > 0.9


def test_numbers_beyond_those_of_training_count_as_the_nearest():
    heater = torch.linspace(0, 1, 60)
    states = torch.stack([heater.square(), heater, heater], 1)
    means = ContextMeans.fit(ROOM, states, states)
    inside, outside = (means.shifts(torch.tensor([[0.0, 0.0, h]]))[0] for h in (1.0, 50.0))
    assert torch.equal(inside, outside)


@pytest.mark.parametrize(
    ("layout", "states"),
    [
        (VectorLayout("x", 2), torch.randn(50, 2)),  # nothing is known
        (ROOM, torch.tensor([1.0, 2.0, 3.0]) * torch.tensor([[1.0, 1.0, 0.0]]).expand(50, 3)),  # it never differs
        (ROOM, torch.arange(15.0).reshape(5, 3)),  # too few
    ],
)
def test_without_context_there_is_nothing_to_fit(layout, states):
    assert ContextMeans.fit(layout, states, states) is None


def test_saved_they_are_the_same():
    means = ContextMeans.fit(SEA, seasons(72), seasons(72))
    again = ContextMeans.from_tensors(SEA, means.tensors())
    assert all(torch.equal(a, b) for a, b in zip(means.shifts(seasons(9)), again.shifts(seasons(9)), strict=True))


def test_context_counts_points_with_data_only():
    still = torch.stack([torch.zeros(4), torch.tensor([1.0, 2.0, 3.0, 100.0]), torch.full((4,), 5.0)])
    assert torch.equal(context_of(SEA, still[None]), torch.tensor([[2.0, 5.0]]))


@pytest.mark.parametrize("unit", [1e-15, 1.0, 1e15])
def test_what_persists_is_a_regression_in_any_unit(unit, generator):
    final = torch.randn(200, 3, generator=generator)
    initial = final * torch.tensor([0.3, -2.0, 1.0]) + 5
    final[:, 2] = 7.0
    share = persisting(ROOM, unit * initial, unit * final)
    assert torch.allclose(share, torch.tensor([0.3, -2.0, 0.0]), rtol=1e-4)
