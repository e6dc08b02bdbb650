"""Lorenz' systems: steps of their order, invariants, rest states, and the largest Lyapunov exponent."""

import dataclasses
import itertools
import math

import pytest
import torch

from physinv.equations.solve import solve
from simulators.vectors.lorenz import Lorenz63, Lorenz96

DOUBLE = torch.float64


def still(t=1):
    return torch.zeros(t, dtype=DOUBLE)


def test_the_products_of_1996_keep_the_sum_of_squares(generator):
    """sum_i x_i dx_i/dt = sum_i x_i (forcing - x_i): what carries neither makes nor destroys."""
    sim = Lorenz96(sites=7, forcing=3.0)
    x = torch.randn(5, 7, generator=generator, dtype=DOUBLE)
    rate = (x * sim.drift(x, still(5))).sum(1)
    assert torch.allclose(rate, (x * (3.0 - x)).sum(1), atol=1e-12)
    # site 2 by hand: (x_3 - x_0) x_1 - x_2 + 3
    assert torch.allclose(sim.drift(x, still(5))[:, 2], (x[:, 3] - x[:, 0]) * x[:, 1] - x[:, 2] + 3, atol=1e-13)


def test_volumes_of_1963_shrink_at_the_known_rate_and_rest_states_rest():
    sim = Lorenz63()
    x = torch.tensor([[1.0, -2.0, 20.0]], dtype=DOUBLE)
    slope = torch.autograd.functional.jacobian(lambda y: sim.drift(y, still()), x)[0, :, 0]
    assert float(slope.trace()) == pytest.approx(-(10 + 1 + 8 / 3))
    side = math.sqrt(8 / 3 * 27)
    rest = torch.tensor([[side, side, 27.0], [0.0, 0.0, 0.0]], dtype=DOUBLE)
    assert torch.allclose(sim.drift(rest, still(2)), torch.zeros(2, 3, dtype=DOUBLE), atol=1e-12)


@pytest.mark.parametrize("sim", [Lorenz63(noise=0.0), Lorenz96(sites=8, noise=0.0)], ids=["1963", "1996"])
def test_steps_are_of_order_four_without_noise(sim, generator):
    x = sim.initial(3, generator=generator, dtype=DOUBLE)
    ends = [
        solve(sim, x, torch.linspace(0, 0.2, n + 1, dtype=DOUBLE), step=sim.step)[:, -1] for n in (20, 40, 80, 1280)
    ]
    wrong = [float((end - ends[-1]).abs().max()) for end in ends[:-1]]
    assert all(math.log2(a / b) == pytest.approx(4, abs=0.3) for a, b in itertools.pairwise(wrong))


def test_noise_has_the_variance_of_the_linear_part(generator):
    """Around 0, where products vanish: y of 1963 with rayleigh = 0 decays at rate 1, z at 8/3, x at 10 towards y."""
    sim = Lorenz63(rayleigh=0.0, noise=1e-3, horizon=0.3, steps=15)
    n = 40_000
    end = sim.run(torch.zeros(n, 3, dtype=DOUBLE), generator=generator)[:, -1]
    for i, rate in ((1, 1.0), (2, 8 / 3)):
        want = 1e-6 * -math.expm1(-2 * rate * 0.3) / (2 * rate)
        assert float(end[:, i].var()) == pytest.approx(want, rel=5 * math.sqrt(2 / n))
    halves = dataclasses.replace(sim, steps=30).run(torch.zeros(n, 3, dtype=DOUBLE), generator=generator)[:, -1]
    assert float(halves[:, 0].var() / end[:, 0].var()) == pytest.approx(1, abs=5 * math.sqrt(4 / n))


def test_states_of_the_attractor_forget_their_start_at_the_known_rate(generator):
    """The largest exponent of 1963 is 0.906 (Wolf et al. 1985): the mean growth of small differences over 20 units."""
    sim = Lorenz63(noise=0.0, spin_up=5.0)
    x = sim.initial(400, generator=generator, dtype=DOUBLE)
    gap = 1e-8 * torch.randn(x.shape, generator=generator, dtype=DOUBLE)
    times, grown = torch.linspace(0, 1, 51, dtype=DOUBLE), []
    for _ in range(20):
        ends = solve(sim, torch.cat([x, x + gap]), times, step=sim.step, noise=False)[:, -1]
        x, y = ends.chunk(2)
        size = (y - x).norm(dim=1, keepdim=True)
        grown.append(float((size / 1e-8).log().mean()) if grown else 0.0)
        gap = 1e-8 * (y - x) / size
    # differences of single trajectories over 19 units vary by about .05: the mean of 400 by .003, and the first
    # direction is forgotten within the first unit
    assert sum(grown[2:]) / 18 == pytest.approx(0.906, abs=0.02)


def test_the_prior_is_gaussian_before_the_spin_up(generator):
    sim = Lorenz96(sites=6)
    x = sim.initial(50_000, generator=generator, dtype=DOUBLE)
    assert float(x.mean()) == pytest.approx(2.0, abs=5 * 3 / math.sqrt(300_000))
    assert float(x.var()) == pytest.approx(9.0, rel=5 * math.sqrt(2 / 300_000))
    y = x[:2].requires_grad_()
    (slope,) = torch.autograd.grad(sim.initial_log_prob(y).sum(), y)
    assert torch.allclose(slope, -(y.detach() - 2) / 9)
    assert dataclasses.replace(sim, spin_up=1.0).initial_log_prob(x) is None
