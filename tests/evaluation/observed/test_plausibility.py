"""Samples that cannot be right are named with their size, and those that can are not."""

import math

import numpy as np
import pytest
import torch

from physinv.evaluation.observed.plausibility import Plausibility, divergence
from physinv.processes.layout import FieldLayout, VectorLayout

FIELD = FieldLayout(("u", "c"), "x", [range(16)], static=("c",))


def told(samples, known, layout=FIELD, parts=1):
    look = Plausibility(layout, known)
    for part in samples.chunk(parts):
        look.add(part)
    return look.warnings


@pytest.fixture
def known(generator):
    return torch.randn(100, 2, 16, generator=generator)


@pytest.mark.parametrize("parts", [1, 4])
def test_samples_of_the_prior_are_plausible(known, generator, parts):
    samples = 3 * torch.randn(8, 5, 2, 16, generator=generator)
    samples[:, :, 1] = 1e9  # context, which no method makes
    assert told(samples, known, parts=parts) == []


@pytest.mark.parametrize("sign", [1, -1])
def test_samples_beyond_all_data_are_an_explosion(known, generator, sign):
    samples = torch.randn(8, 5, 2, 16, generator=generator)
    samples[2, 3, 0, 7] = sign * 1e5
    (line,) = told(samples, known, parts=4)
    low, high = float(known[:, 0].min()), float(known[:, 0].max())
    assert f"samples of `u` reach {sign * 1e5:.3g}, and those of the training data lie between {low:.3g}" in line
    assert f"and {high:.3g}: run backward, the physics amplifies errors" in line
    assert "more solver steps change nothing" in line


@pytest.mark.parametrize("parts", [1, 4])
def test_samples_that_are_mostly_bounds_were_cut_off(known, generator, parts):
    samples = 4 * torch.randn(8, 5, 2, 16, generator=generator)
    beyond = 2 * (1 - math.erf(2 / 4 / 2**0.5)) / 2  # of a normal law, at both ends
    (line,) = told(samples.clamp(-2, 2), known, parts=parts)
    share = int(line.partition("%")[0])
    assert abs(share / 100 - beyond) < 4 * (beyond * (1 - beyond) / 640) ** 0.5
    assert "are exactly -2 or 2, the bounds at which a reversal is cut off" in line


def test_sharp_states_have_the_same_values_over_and_over(generator):
    """Fields of zeros and ones are no bounds where the data are like that."""
    layout = FieldLayout("u", "x", [range(16)])
    known, samples = (torch.randint(0, 2, shape, generator=generator).float() for shape in ((50, 1, 16), (8, 5, 1, 16)))
    assert told(samples, known, layout) == []
    assert told(torch.zeros(8, 5, 1, 16), known, layout) == []


def test_points_without_data_count_for_nothing(generator):
    mask = np.arange(16) < 6
    layout = FieldLayout("u", "x", [range(16)]).masked(mask)
    known, samples = (torch.randn(*shape, generator=generator) for shape in ((50, 1, 16), (8, 5, 1, 16)))
    assert told(layout.emptied(samples), layout.emptied(known), layout) == []


def test_nothing_is_said_of_runs_that_know_no_data():
    assert told(torch.full((2, 2, 1), 1e30), None, VectorLayout("x", 1)) == []


def test_what_is_not_finite_is_counted_and_steps_are_advised_only_where_few_were_taken():
    samples, final = torch.zeros(4, 3, 2), torch.tensor([[1.0], [-7.0], [0.0], [2.0]])
    samples[1, 2, 0], samples[3] = math.nan, math.inf
    line = divergence(samples, final)
    assert "not finite in 4 of 12 states, from final states with values up to 7" in line
    assert "ill-posed" in line
    assert "steps" not in line
    assert divergence(samples, final, steps=3).endswith("with 3 solver steps; take more `steps`, or leave them out.")
