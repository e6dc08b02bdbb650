"""Samples outside the range of known states, and how many are expected there."""

import pytest
import torch

from physinv.evaluation.value_range import beyond_by, outside, value_range
from physinv.processes.layout import FieldLayout, ParticleLayout, VectorLayout

FIELD = FieldLayout(("u", "medium"), ("x",), [range(4)], "PERIODIC", static=("medium",))


def test_a_sample_with_one_number_outside_is_outside():
    known = torch.tensor([[0.0, 0.0], [1.0, 10.0]])
    samples = torch.tensor([[[0.5, 5.0], [0.5, 11.0]], [[-0.5, 5.0], [1.0, 10.0]]])
    found, _ = outside(samples, known, VectorLayout("x", 2))
    assert found.tolist() == [[False, True], [True, False]]


def test_a_hundredth_of_the_range_is_allowed():
    known = torch.tensor([[-1.0], [1.0]])
    found, _ = outside(torch.tensor([[[1.019], [1.021], [-1.019], [-1.021], [torch.nan]]]), known, VectorLayout("x", 1))
    assert found.tolist() == [[False, True, False, True, True]]


def test_the_expected_share_is_that_of_new_states(generator):
    """Of N + 1 exchangeable numbers the last is the smallest or largest with probability 2 / (N + 1)."""
    n, trials = 20, 4000
    layout, shares = VectorLayout("x", 1), []
    # Exponential tails: a margin of 1 % of the range hides few of them, all in all 4 % of the cases.
    for _ in range(trials // 20):
        known = torch.randn((n, 1), generator=generator).sign() * torch.randn((n, 1), generator=generator).exp()
        new = torch.randn((20, 1, 1), generator=generator).sign() * torch.randn((20, 1, 1), generator=generator).exp()
        found, expected = outside(new, known, layout)
        shares.append((float(found.double().mean()), expected))
    found, expected = torch.tensor(shares, dtype=torch.float64).mean(0).tolist()
    assert found == pytest.approx(expected, abs=0.015)
    assert 0.8 * 2 / (n + 1) < expected < 2 / n


def test_fields_have_one_range_per_channel_and_static_ones_none(generator):
    known = torch.rand((50, 2, 4), generator=generator)
    low, high = value_range(known, FIELD)
    assert low.shape == high.shape == (50, 1, 1)
    sample = known[:3, None].clone()
    sample[0, 0, 1] = 99.0  # the medium is known
    sample[1, 0, 0, 2] = 1.1
    found, _ = outside(sample, known, FIELD)
    assert found.flatten().tolist() == [False, True, False]


def test_points_without_data_have_no_range():
    sea = FieldLayout("u", "x", [range(3)], mask=[True, True, False])
    x = torch.tensor([[[3.0, 4.0, 0.0]], [[5.0, 2.0, 0.0]]])
    low, high = value_range(x, sea)
    assert (low.flatten().tolist(), high.flatten().tolist()) == ([3.0, 2.0], [4.0, 5.0])
    assert outside(torch.tensor([[[[1.0, 3.0, 0.0]]]]), x, sea)[0].tolist() == [[True]]


def test_particles_have_one_range_for_all():
    layout = ParticleLayout(3, 1, ("position",))
    known = torch.tensor([[[0.0, 1.0], [2.0, 1.0], [5.0, 1.0]], [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]])
    found, _ = outside(known.flip(1)[:, None], known, layout)
    assert not found.any()


def test_one_state_has_no_range():
    with pytest.raises(ValueError, match="at least 2 states"):
        outside(torch.zeros(1, 1, 1), torch.zeros(1, 1), VectorLayout("x", 1))


def test_how_many_numbers_are_outside_and_by_how_much():
    """A range of 2 for x and of 4 for y: one of six numbers is outside, by half of the range of y."""
    known = torch.tensor([[-1.0, 0.0], [1.0, 4.0]])
    samples = torch.tensor([[[0.0, 6.0], [1.01, 1.0], [0.5, 4.03]]])  # a hundredth of the range is allowed
    assert beyond_by(samples, known, VectorLayout("x", 2)) == (pytest.approx(1 / 6), pytest.approx(0.5))
