"""Paths from an observation: bridges and rectified flows of Gaussians in closed form, and trained ones."""

import dataclasses
import functools
import math

import pytest
import torch
from learned_cases import GAUSS, pair
from torch import nn

from physinv.methods.learned.conditional import fit_flow_matching, load_flow_matching
from physinv.methods.learned.coordinates import Context, TargetCoordinates
from physinv.methods.learned.paths import Bridge, Rectified, Velocity
from physinv.processes.layout import VectorLayout

MEAN, DEVIATION = 0.3, 0.6


def plain(dim=1):
    """Coordinates that leave vectors as they are, and the context of ``n`` of them."""
    ones = torch.ones(1, dim, dtype=torch.float64)
    still = torch.stack([0 * ones[0], ones[0]])
    kept = torch.arange(dim)
    scales = {"final": still, "initial": still, "unit": ones[0], "length": ones[0, 0], "kept": kept, "fixed": kept[:0]}
    return TargetCoordinates(VectorLayout("x", dim), None, scales)


def context(n):
    zeros = torch.zeros(n, 1, dtype=torch.float64)
    return Context(zeros, zeros[:, :0], zeros[:, :0], zeros[:, :0])


class Known(nn.Module):
    """The network of a function ``(features, t) -> output``."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, features, t):
        return self.output(features, t[:, None])


def law_of_draws(model, steps):
    """Mean and variance of draws, which are linear in the noise: exactly, from draws with one unit number each."""
    n, called = steps + 1, iter(range(steps))

    def noise():
        i = next(called)
        return nn.functional.one_hot(torch.tensor(i + 1), n).double()[:, None]

    ends = model.draw(noise, context(n), steps)[:, 0]
    return float(ends[0]), float((ends[1:] - ends[0]).square().sum())


def expected(features, tau):
    """What a denoiser's network adds for N(MEAN, DEVIATION^2): (D - y/(1 + sigma^2)) (1 + sigma^2)^(1/2) / sigma."""
    sigma = torch.exp(math.log(0.002) + tau.double() * math.log(80 / 0.002))
    y = features * (1 + sigma**2).sqrt()
    d = MEAN + DEVIATION**2 / (DEVIATION**2 + sigma**2) * (y - MEAN)
    return (d - y / (1 + sigma**2)) * (1 + sigma**2).sqrt() / sigma


def test_a_bridge_draws_the_gaussian_that_it_expects_at_order_two():
    model = Bridge(plain(), Known(expected))
    errors = []
    for steps in (16, 32):
        mean, variance = law_of_draws(model, steps)
        assert mean == pytest.approx(MEAN, abs=0.01)
        errors.append(variance - DEVIATION**2)
    assert abs(errors[1]) < 0.01
    assert abs(errors[1]) < 0.4 * abs(errors[0])


def test_a_bridge_draws_both_peaks_in_their_shares(generator):
    """1/3 N(-1.25, .22) + 2/3 N(.625, .22), of variance 1, whose expectation given a noisy state is known."""
    shares, places = torch.tensor([1 / 3, 2 / 3]).double(), torch.tensor([-1.25, 0.625]).double()
    width = 1 - float((shares * places**2).sum())

    def peaks(features, tau):
        sigma = torch.exp(math.log(0.002) + tau.double() * math.log(80 / 0.002))
        y, now = features * (1 + sigma**2).sqrt(), width + sigma**2
        which = torch.softmax(shares.log() - (y - places) ** 2 / (2 * now), 1)
        d = (which * (places + width / now * (y - places))).sum(1, keepdim=True)
        return (d - y / (1 + sigma**2)) * (1 + sigma**2).sqrt() / sigma

    n = 20_000
    noise = functools.partial(torch.randn, n, 1, dtype=torch.float64, generator=generator)
    z = Bridge(plain(), Known(peaks)).draw(noise, context(n), 8)[:, 0]
    # five standard errors of 20000 draws; kurtosis below 3
    assert float(z.mean()) == pytest.approx(0, abs=5 / math.sqrt(n))
    assert float(z.var()) == pytest.approx(1, abs=5 * math.sqrt(2 / n))
    third = float((shares * (places**3 + 3 * places * width)).sum())
    assert float((z**3).mean()) == pytest.approx(third, abs=5 * math.sqrt(15 / n))


def test_a_bridge_of_white_noise_is_a_brownian_motion():
    """Without a network the drift is 0, and the sum of all steps has variance 1 whatever their number."""
    model = Bridge(plain(), Known(lambda features, t: 0 * features))
    assert law_of_draws(model, 3) == pytest.approx((0.0, 1.0), abs=1e-12)


def test_eight_steps_from_noise_keep_white_data_and_err_less_at_peaks_than_along_lines():
    """The flow in one dimension keeps the order of numbers, so that its end is known: two peaks, variance 1."""
    shares, near = torch.tensor([0.2, 0.8], dtype=torch.float64), 0.05
    middles = torch.tensor([-2.0, 0.5], dtype=torch.float64) * math.sqrt(1 - near**2)  # mean 0

    def velocity(y, t):
        now = (1 - t) ** 2 + (t * near) ** 2
        weights = (shares.log() - (y - t * middles) ** 2 / (2 * now)).softmax(1)
        return (weights * (middles + (t * near**2 - (1 - t)) / now * (y - t * middles))).sum(1, keepdim=True)

    def network(features, t):
        h = (1 - t) ** 2 + t**2
        y = h.sqrt() * features[:, :1]
        return h.sqrt() * velocity(y, t) - (2 * t - 1) / h.sqrt() * y

    places = (torch.arange(500, dtype=torch.float64) + 0.5) / 500
    n = math.sqrt(2) * torch.erfinv(2 * places - 1)[:, None]
    blank = Velocity(plain(), Known(lambda features, t: 0 * features[:, :1]))
    assert torch.equal(blank.draw(lambda: n, context(500), 8), n)
    ends = Velocity(plain(), Known(network)).draw(lambda: n, context(500), 500)
    turned, straight = (
        float((kind(plain(), Known(network)).draw(lambda: n, context(500), 8) - ends).abs().mean())
        for kind in (Velocity, Rectified)
    )
    assert turned < 0.7 * straight
    assert float(ends.square().mean()) == pytest.approx(1, abs=0.01)


def test_a_rectified_flow_arrives_in_one_step():
    """Noise n goes to m + s n, so at t the velocity is (s - 1) n + m with y = (1 - t + t s) n + t m."""

    def rectified(features, t):
        h = (1 - t) ** 2 + t**2
        y = features * h.sqrt()
        velocity = (DEVIATION - 1) * (y - t * MEAN) / (1 - t + t * DEVIATION) + MEAN
        return h.sqrt() * (velocity - (2 * t - 1) / h * y)

    def straight(features, t):
        h, now = (1 - t) ** 2 + t**2, (1 - t) ** 2 + (t * DEVIATION) ** 2
        y = features * h.sqrt()
        velocity = MEAN + (t * DEVIATION**2 - (1 - t)) / now * (y - t * MEAN)
        return h.sqrt() * (velocity - (2 * t - 1) / h * y)

    assert law_of_draws(Rectified(plain(), Known(rectified)), 1) == pytest.approx((MEAN, DEVIATION**2), abs=1e-9)
    assert abs(law_of_draws(Velocity(plain(), Known(straight)), 1)[1] - DEVIATION**2) > 0.1
    few = Rectified(plain(), Known(rectified)).expected(context(2))
    assert torch.allclose(few, torch.full((2, 1), MEAN, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("path", ["linear", "rectified", "stochastic"])
def test_trained_paths_have_the_posterior_of_the_pair_of_traps(path, make, generator):
    """x_T as an input: mean slope 1.0466 and deviation .7842, where a paired flow without it has 1.687 and none."""
    problem, test = make(GAUSS, 300, batch=512, width=16, depth=1)
    _, final = pair(test)
    answer = fit_flow_matching(problem, path=path, steps=16)
    draws = answer.sample(final, 64, generator=generator)
    mean = answer.mean(final)
    slope = float((mean * final).sum() / final.square().sum())
    # 2000 trajectories: the slope is known to .784/(.593 sqrt(2000)) = .03, the deviation to 1.6 %
    assert slope == pytest.approx(1.0466, abs=0.1)
    assert float(draws.var(1).mean().sqrt()) == pytest.approx(0.7842, rel=0.04)
    assert torch.allclose(draws.mean(1), mean, atol=5 * 0.784 / 8 + 0.05)


@pytest.mark.parametrize(("path", "folders"), [("rectified", ["straight", "reflow"]), ("stochastic", [""])])
def test_paths_are_loaded_as_they_were_saved(path, folders, make, tmp_path):
    """The same draws from the same generator; each network has a log of its own."""
    problem, test = make(GAUSS, 2, batch=64, width=8, depth=1)
    problem = dataclasses.replace(problem, folder=tmp_path)
    final = test.states(-1, limit=3)
    answer = fit_flow_matching(problem, path=path, steps=3)
    again = load_flow_matching(problem.setup, answer.tensors(), path=path, steps=3)
    draws = (a.sample(final, 2, generator=torch.Generator().manual_seed(0)) for a in (answer, again))
    assert torch.equal(*draws)
    assert torch.equal(answer.mean(final), again.mean(final))
    assert set(problem.histories) == {tmp_path / name for name in folders}


def test_unknown_paths_are_refused(make):
    problem, _ = make(GAUSS, 1)
    with pytest.raises(ValueError, match="`path` must be one of linear, rectified, stochastic, got 'strait'"):
        fit_flow_matching(problem, path="strait")
