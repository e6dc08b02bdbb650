"""Records of observations: what is seen, of noise, of averages, of missing numbers; and what is refused."""

import math

import pytest
import torch

from physinv.laws.observation import Observation
from physinv.laws.operators import sensors
from physinv.laws.record import ObservationRecord, as_record

FIRST = Observation(lambda x: x[:, :1], 0.5)
SQUARES = Observation(lambda x: x.square(), 0.1)


def test_what_is_seen_of_a_trajectory():
    record = ObservationRecord((2.0, SQUARES), (0.5, FIRST), ((0.5, 1.0), SQUARES))
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])  # at .5, 1 and 2
    assert record.times == (0.5, 1.0, 2.0)
    assert torch.equal(record.clean(states), torch.tensor([[25.0, 36.0, 1.0, 5.0, 10.0]]))  # (1 + 9) / 2, (4 + 16) / 2
    assert record.sizes(states[:, 0]) == (2, 1, 2)
    assert torch.allclose(record.deviations(states[:, 0]), torch.tensor([0.1, 0.1, 0.5, 0.1, 0.1]))


def test_noise_has_the_size_of_each_entry(generator):
    record, n = ObservationRecord((1.0, FIRST), (2.0, SQUARES)), 20_000
    states = torch.ones(n, 2, 2)
    spread = (record.observe(states, generator=generator) - 1).std(0)
    assert torch.allclose(spread, torch.tensor([0.5, 0.1, 0.1]), rtol=5 / math.sqrt(2 * n))  # five standard errors


def test_log_likelihood_is_the_sum_over_entries_and_leaves_out_what_is_missing(generator):
    record = ObservationRecord((1.0, FIRST), (2.0, SQUARES))
    states = torch.randn(3, 2, 2, generator=generator, dtype=torch.float64)
    y = record.observe(states, generator=generator)
    a, b = FIRST.log_prob(y[:, :1], states[:, 0]), SQUARES.log_prob(y[:, 1:], states[:, 1])
    assert torch.allclose(record.log_prob(y, states), a + b)
    y[:, 1:] = math.nan
    assert torch.allclose(record.log_prob(y, states), a)
    assert torch.equal(record.residual(y, states)[:, 1:], torch.zeros(3, 2, dtype=torch.float64))


def test_values_of_entries_stand_side_by_side():
    record = ObservationRecord((1.0, FIRST), (2.0, SQUARES))
    y = record.joined([[[1.0]], [[2.0, math.nan]]])
    assert y.shape == (1, 3)
    assert bool(y[0, 2].isnan())
    assert record.until(1.5).times == (1.0,)
    assert record.until(0.5) is None


def test_one_observation_is_a_record_of_the_final_state():
    record = as_record(FIRST, 3.0)
    assert record.times == (3.0,)
    assert as_record(record, 7.0) is record


def test_what_is_wrong_is_told_in_one_line():
    like = torch.zeros(1, 2)
    record = ObservationRecord((1.0, FIRST), (2.0, SQUARES))
    for call, words in (
        (lambda: ObservationRecord(), "`pairs` must hold one or more"),
        (lambda: ObservationRecord(FIRST), r"`pairs` must be \(time, Observation\), got Observation"),
        (lambda: ObservationRecord((-1.0, FIRST)), r"`times` of an entry must be 0 or later, got \[-1.0\]"),
        (lambda: ObservationRecord((math.nan, FIRST)), "`times` must be finite"),
        (lambda: record.clean(torch.zeros(1, 3, 2)), "`states` must have shape .batch, 2, .state."),
        (lambda: record.joined([[[1.0]]]), "`values` must hold numbers for each of the 2 entries, got 1"),
        (lambda: record.joined([[[1.0]], [1.0, 2.0]]), "`values` must have shape"),
        (lambda: record.accepted([[1.0, 2.0]], like), "`y` must hold the 3 numbers of the record"),
        (lambda: record.accepted([[1.0, 2.0, math.inf]], like), "got infinity; give NaN there"),
        (lambda: record.accepted([[math.nan] * 3], like), "got NaN alone in row 0"),
    ):
        with pytest.raises(ValueError, match=words) as found:
            call()
        assert "\n" not in str(found.value)
    wrong = ObservationRecord((1.0, Observation(sensors(torch.ones(3, dtype=torch.bool)), 0.1)))
    with pytest.raises(ValueError, match="`mask` must have the shape"):
        wrong.sizes(like)
    with pytest.raises(ValueError, match="`operator` of entry 0 must take states of shape"):
        ObservationRecord((1.0, Observation(lambda x: x @ torch.eye(3), 0.1))).sizes(like)
    with pytest.raises(ValueError, match="`operator` of entry 0 must return"):
        ObservationRecord((1.0, Observation(lambda x: x[:, 0], 0.1))).sizes(like)
