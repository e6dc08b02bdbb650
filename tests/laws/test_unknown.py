"""Exact joint posteriors of a state and an unknown parameter against integrals over both."""

import math

import pytest
import torch

from physinv.evaluation import metrics
from physinv.evaluation.calibration import sbc
from physinv.processes.parameters import build
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

DOUBLE = torch.float64
OU = {"dim": 1, "components": 1, "spread": 0.0, "width": 1.0, "rate": {"log_uniform": [0.1, 2.0]}}


def final(process, *x):
    state = torch.tensor(x, dtype=DOUBLE)[:, None]
    return process.joined(state, torch.full((len(x), 1), 0.7, dtype=DOUBLE))


def by_hand(x):
    """Means of rate and x_0 given x_T = x, of OU from N(0, 1): sums over the rate, Gaussian in x_0."""
    u = (torch.arange(20_000, dtype=DOUBLE) + 0.5) / 20_000
    rate = 0.1 * 20.0**u
    a, v = torch.exp(-2 * rate), 0.25 * (1 - torch.exp(-4 * rate)) / (2 * rate)  # T = 2, noise .5
    weight = torch.exp(-(x**2) / (2 * (a**2 + v))) / (a**2 + v).sqrt()
    weight = weight / weight.sum()
    mean = a / (a**2 + v) * x
    second = v / (a**2 + v) + mean.square()
    return tuple(float((weight * q).sum()) for q in (rate, mean, rate * mean, second))


@pytest.mark.parametrize("x", [0.3, 2.0])
def test_ornstein_uhlenbeck_is_the_integral_over_the_rate(x, generator):
    process = build(OrnsteinUhlenbeck, OU)
    law, seen = process.exact(), final(process, x)
    rate, state, product, second = by_hand(x)
    mean = law.mean(seen)[0]
    assert float(mean[0]) == pytest.approx(state, rel=1e-3)  # 64 cells or more: a second-order error
    assert float(mean[1]) == pytest.approx(rate, rel=1e-3)
    n = 40_000
    drawn = law.sample(seen, n, generator=generator)[0]
    for number, want in (
        (drawn[:, 0], state),
        (drawn[:, 1], rate),
        (drawn.prod(1), product),
        (drawn[:, 0] ** 2, second),
    ):
        assert float(number.mean()) == pytest.approx(want, abs=5 * float(number.std()) / math.sqrt(n) + 1e-3)


def test_what_the_final_state_says_of_the_parameter_does_not_count():
    process = build(OrnsteinUhlenbeck, OU)
    one, other = final(process, 1.0), final(process, 1.0)
    other[:, 1] = 0.1
    assert torch.equal(process.exact().probabilities(one), process.exact().probabilities(other))


def test_heat_finds_its_diffusivity(generator):
    """Bayes' rule by hand on a grid of 4000 values, from the closed-form spectrum of the final states."""
    process = build(Heat, {"size": 8, "dimension": 1, "noise": 0.2, "diffusivity": {"uniform": [0.5, 8.0]}})
    x = process.simulate(3, generator=generator, dtype=DOUBLE)[:, -1]
    values = 0.5 + 7.5 * (torch.arange(4000, dtype=DOUBLE) + 0.5) / 4000
    k = torch.arange(5, dtype=DOUBLE)
    prior = torch.where(k > 0, k.clamp(min=1) ** -4, 0.0)
    twins = torch.tensor([1.0, 2, 2, 2, 1], dtype=DOUBLE)
    prior = prior * 8 / (twins * prior).sum()  # unit variance per point
    decay = torch.exp(-values[:, None] * k**2 * 0.2)
    noise = torch.where(k > 0, 0.04 * (1 - decay**2) / (2 * values[:, None] * k.clamp(min=1) ** 2), 0.04 * 0.2)
    variance = decay**2 * prior + noise
    power = torch.fft.rfft(x[:, 0], norm="ortho").abs() ** 2
    logs = -(twins * (power[:, None] / variance + variance.log())).sum(-1) / 2
    want = logs.softmax(1) @ values
    assert torch.allclose(process.values(process.exact().mean(x))[:, 0], want, rtol=2e-3)


def test_truths_cannot_be_told_from_draws(generator):
    process = build(Heat, {"size": 8, "steps": 1, "diffusivity": {"log_uniform": [0.3, 3.0]}})
    runs = process.simulate(200, generator=generator)
    truth, drawn = runs[:, 0], process.exact().sample(runs[:, -1], 60, generator=generator)
    value, mine = process.values(truth), drawn[:, :, 1].flatten(2)[..., :1]
    assert sbc(mine, value, generator=generator) > 1e-3
    # 200 truths: a standard error of .021
    assert float(metrics.coverage(mine, value, 0.9)) == pytest.approx(0.9, abs=5 * 0.021)
    assert float(metrics.crps(mine, value)) < 0.5 * float((value - value.mean()).abs().mean())


def test_what_has_no_such_law_says_so():
    assert build(DoubleWell, {"barrier": {"uniform": [0.5, 2.0]}}).exact() is None
    process = build(OrnsteinUhlenbeck, OU)
    with pytest.raises(ValueError, match="`flow` needs known parameters"):
        process.exact().flow(final(process, 1.0))
