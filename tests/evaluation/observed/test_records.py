"""The predictive check of records: exact samples pass at their expected values, wrong ones are told in words."""

import pytest
import torch

from physinv.evaluation.observed.records import check_record, predict_record
from physinv.laws.observation import Observation
from physinv.laws.record import ObservationRecord
from physinv.laws.unknown import unknown_noise
from physinv.processes.priors import LogUniform
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=2)
SENSORS = ObservationRecord(
    (0.0, Observation(lambda x: x[:, :1], noise=0.5)),
    (0.5, Observation(lambda x: x, noise=0.3)),
    ((1.0, 1.5), Observation(lambda x: x.sum(1, keepdim=True), noise=0.1)),
)
CASES = {
    "vector": (OU, SENSORS, 150),
    "field": (Heat(size=8), ObservationRecord((0.1, Observation(lambda x: x[..., ::2, ::2], noise=0.1))), 40),
}


@pytest.fixture(scope="module", params=CASES)
def exact(request):
    """A process, a record, observed numbers, and exact samples of initial states given them."""
    process, record, n = CASES[request.param]
    draw = torch.Generator().manual_seed(5)
    times = [0.0, *(t for t in record.times if t > 0)]
    states = process.simulate(n, times, generator=draw)[:, -len(record.times) :]
    y = record.observe(states, generator=draw)
    return process, record, y, process.exact().given(record).sample(y, 16, generator=draw)


def found(process, record, samples, y, levels=None):
    generator = torch.Generator().manual_seed(0)
    return check_record(predict_record(process, record, samples, levels=levels, generator=generator), y)


def test_exact_samples_pass_at_their_expected_values(exact):
    process, record, y, samples = exact
    check, n = found(process, record, samples, y), len(y)
    assert check.warnings == ()
    assert not any(row.warning for row in check.rows)
    distance, expected, rank = (
        torch.tensor([getattr(row, name) for row in check.rows]).mean() for name in ("distance", "expected", "rank")
    )
    # at most as in test_predictive.py if all numbers of a record were one number
    assert abs(float(distance) - 1) < 4 * (2 / n) ** 0.5
    assert abs(float(expected) - 1) < 4 * (2 / n / 16) ** 0.5 + 0.02
    assert abs(float(rank) - 0.5) < 4 * (1 / 12 / n) ** 0.5


WRONG = {
    "shifted": (lambda x, y: (x + 2 * x.std(1, keepdim=True).mean(), y), "do not lead to what was observed"),
    "of the prior": (lambda x, y: (x.roll(1, 0), y), "do not lead to what was observed"),
    "other unit": (lambda x, y: (x, 1000 * y), "is one of them in another unit?"),
    "an offset": (lambda x, y: (x, y + y.std()), "too low"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_samples_fail(case, exact):
    process, record, y, samples = exact
    change, words = WRONG[case]
    check = found(process, record, *change(samples, y))
    assert any(words in sentence for sentence in check.warnings), check.verdict


def test_wrong_noise_of_the_sensors_is_found():
    draw = torch.Generator().manual_seed(1)
    y = SENSORS.observe(OU.simulate(150, SENSORS.times, generator=draw), generator=draw)
    for factor, words in ((0.2, "do not lead to what was observed"), (5.0, "reproduce the noise")):
        told = ObservationRecord(
            *((e.times, Observation(e.observation.operator, factor * e.observation.noise)) for e in SENSORS.entries)
        )
        samples = OU.exact().given(told).sample(y, 16, generator=draw)
        assert any(words in sentence for sentence in found(OU, told, samples, y).warnings)


def test_missing_numbers_are_left_out():
    draw = torch.Generator().manual_seed(2)
    y = SENSORS.observe(OU.simulate(60, SENSORS.times, generator=draw), generator=draw)
    y[3, 1] = torch.nan
    samples = OU.exact().given(SENSORS).sample(y, 16, generator=draw)
    assert found(OU, SENSORS, samples, y).warnings == ()
    assert found(OU, SENSORS, samples, torch.where(y.isfinite(), 100 * y, y)).warnings
    (said,) = found(OU, SENSORS, samples, torch.full_like(y, torch.nan)).verdict
    assert "No number of the record was observed of every trajectory" in said


def test_an_unknown_level_is_that_of_each_sample():
    prior, draw = LogUniform(0.1, 10.0), torch.Generator().manual_seed(3)
    record = ObservationRecord(*((e.times, e.observation) for e in SENSORS.entries), level=prior)
    levels = prior.quantile(torch.rand(60, generator=draw, dtype=torch.float64)).float()
    y = record.observe(OU.simulate(60, record.times, generator=draw), level=levels, generator=draw)
    law = unknown_noise(OU.exact(), record, prior.quantile, lambda x, values: torch.cat([x, values], 1))
    drawn = law.sample(y, 16, generator=draw)
    assert found(OU, record, drawn[..., :2], y, drawn[..., 2]).warnings == ()
    assert found(OU, record, drawn[..., :2], y, drawn[..., 2] / 10).warnings
