"""Straight lines and Brownian bridges: their ends, their spread, and rate and pull as derivatives and drifts."""

import math

import pytest
import torch

from physinv.equations.paths.interpolants import Interpolant


def drawn(n, generator):
    return (torch.randn(n, 1, dtype=torch.float64, generator=generator) for _ in range(3))


@pytest.mark.parametrize("path", [Interpolant(), Interpolant(noise=0.7)])
def test_paths_have_their_ends_and_their_rate(path, generator):
    start, end, noise = drawn(5, generator)
    for s, want in ((0.0, start), (1.0, end)):
        assert torch.equal(path.state(start, end, noise, torch.full((5,), s).double()), want)
    s = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    slope = (path.state(start, end, noise, s + 1e-6) - path.state(start, end, noise, s - 1e-6)) / 2e-6
    assert torch.allclose(path.rate(start, end, noise, s), slope, atol=1e-8)


def test_the_spread_is_that_of_a_brownian_motion_tied_at_both_ends():
    """Var of W_s - s W_1 is s (1 - s)."""
    s = torch.tensor([0.25, 0.5], dtype=torch.float64)
    assert torch.allclose(Interpolant(noise=3.0).spread(s) ** 2, 9 * torch.tensor([3 / 16, 1 / 4]).double())


def test_the_pull_makes_a_bridge(generator):
    """Euler steps of dx = pull ds + sigma dW from .3 to 2: mean and deviation in the middle of the path."""
    path, x, end = Interpolant(noise=0.8), torch.full((20000, 1), 0.3), torch.full((20000, 1), 2.0)
    for i in range(50):
        s = torch.full((20000,), i / 100)
        x = x + path.pull(x, end, s) / 100 + 0.8 / 10 * torch.randn(x.shape, generator=generator)
    # five standard errors of 20000 draws, and the error of a step, 1/100 of the variance
    assert float(x.mean()) == pytest.approx(1.15, abs=5 * 0.4 / math.sqrt(20000))
    assert float(x.var()) == pytest.approx(0.16, rel=5 * math.sqrt(2 / 20000) + 0.01)


def test_the_flow_of_a_bridge_and_its_sde_have_the_same_law():
    """pull = rate + sigma^2 / 2 score, with the score -noise / c of a state whose ends are known."""
    path, s = Interpolant(noise=0.6), torch.tensor([0.2, 0.7], dtype=torch.float64)
    start, end, noise = (torch.tensor([[a], [b]], dtype=torch.float64) for a, b in ((0, 1), (2, 3), (-1, 0.4)))
    x = path.state(start, end, noise, s)
    score = -noise / path.spread(s)[:, None]
    assert torch.allclose(path.pull(x, end, s), path.rate(start, end, noise, s) + 0.18 * score)


def test_noise_below_zero_is_refused():
    with pytest.raises(ValueError, match="`noise` must be at least 0 and finite, got -1"):
        Interpolant(noise=-1.0)
