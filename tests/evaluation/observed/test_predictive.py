"""The posterior predictive check: exact samples pass at their expected values, wrong ones are told in words."""

import pytest
import torch

from physinv.evaluation.observed.predictive import check_prediction, predict
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

CASES = {"vector": (OrnsteinUhlenbeck(dim=2), 150), "field": (Heat(size=16, steps=2), 20)}


@pytest.fixture(scope="module", params=CASES)
def exact(request):
    """A process, observations, and exact samples of them."""
    process, n = CASES[request.param]
    draw = torch.Generator().manual_seed(5)
    final = process.simulate(n, process.times[[0, -1]], generator=draw)[:, -1]
    return process, final, process.exact().sample(final, 16, generator=draw)


def found(process, samples, final, seed=0):
    prediction = predict(process, process.times, samples, generator=torch.Generator().manual_seed(seed))
    return check_prediction(prediction, final, process.layout)


def test_exact_samples_pass_at_their_expected_values(exact):
    process, final, samples = exact
    check = found(process, samples, final)
    n, d = len(final), final[0].numel()
    assert check.warnings == ()
    assert not any(row.warning for row in check.rows)
    assert "the samples lead to what was observed" in check.verdict[0]
    distance, expected, rank = (torch.tensor([getattr(r, k) for r in check.rows]).mean() for k in
                                ("distance", "expected", "rank"))  # fmt: skip
    # chi^2 / d has mean 1 and variance 2 / d for each observation, the rank of d numbers variance 1 / 12 d
    assert abs(float(distance) - 1) < 4 * (2 / d / n) ** 0.5
    assert abs(float(expected) - 1) < 4 * (2 / d / n / 16) ** 0.5 + 0.02
    assert abs(float(rank) - 0.5) < 4 * (1 / 12 / n) ** 0.5


WRONG = {
    "shifted": (lambda x, y: (x + 2 * x.std(1, keepdim=True).mean(), y), "do not lead to what was observed"),
    "too sure": (lambda x, y: (x.mean(1, keepdim=True) + 0.1 * (x - x.mean(1, keepdim=True)), y), "too sure"),
    "too wide": (lambda x, y: (x.mean(1, keepdim=True) + 3 * (x - x.mean(1, keepdim=True)), y), "do not lead to"),
    "other unit": (lambda x, y: (x, 1000 * y), "is one of them in another unit?"),
    "other observation": (lambda x, y: (x, y.roll(1, 0)), "do not lead to what was observed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_samples_fail(case, exact):
    process, final, samples = exact
    change, words = WRONG[case]
    check = found(process, *change(samples, final))
    assert any(words in sentence for sentence in check.warnings), check.verdict
    assert check.warnings == check.verdict


def test_a_single_observation_is_judged_as_well(exact):
    process, final, samples = exact
    assert found(process, samples[:1], final[:1]).warnings == ()
    assert found(process, samples[:1], 1000 * final[:1]).warnings != ()
    assert found(process, samples[:1], 1000 * final[:1]).rows[0].warning is not None


def test_single_observations_are_hardly_ever_found_wrong():
    """One in a thousand of all 300 together by construction; two are far more than that."""
    process, draw = DoubleWell(), torch.Generator().manual_seed(0)
    start, final = process.simulate(300, process.times[[0, -1]], generator=draw).unbind(1)
    # Samples of the exact posterior without knowing it: the true initial state is one, and 16 times the same is the
    # hardest case, since its mean over the samples varies as much as one of them.
    check = found(process, start[:, None].repeat(1, 16, 1), final)
    limits = [row for row in check.rows if row.warning]
    assert len(limits) <= 2
    assert check.warnings == () or "do not fit" in check.warnings[0]


def test_noise_of_learned_physics_makes_small_misses_harmless(exact):
    process, final, samples = exact
    mean = samples.mean(1, keepdim=True)
    prediction = predict(process, process.times, mean + 0.1 * (samples - mean))
    found = check_prediction(prediction, final, process.layout, "learned")
    assert found.warnings == ()
    assert found.verdict[0].startswith("Run forward, the samples come closer to what was observed than")
    assert "Either they are too sure, or the learned physics has too much noise" in found.verdict[0]
    exact = predict(process, process.times, samples)
    passed = check_prediction(exact, final, process.layout, "learned").verdict[0]
    assert "lead to what was observed" in passed
    assert "counts as noise" in passed
    assert check_prediction(prediction, final, process.layout).warnings != ()
    assert check_prediction(prediction, 1000 * final, process.layout, "learned").warnings != ()


def test_what_cannot_be_checked_says_why(exact):
    process, final, samples = exact
    assert "8 at least" in found(process, samples[:, :4], final).verdict[0]
    broken = samples.clone()
    broken[0, 0] = float("inf")
    assert "run away" in found(process, broken, final).warnings[0]
