"""Our equations in torchsde and torchdiffeq: same laws, same flows, errors as asked for, directions refused."""

import math

import numpy as np
import pytest
import torch
import torchdiffeq
import torchsde

from physinv.equations.bridges import ForTorchsde, flow_field, solve_adaptive, solve_torchsde
from physinv.equations.sde import SDE, Reverse
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


def test_torchsde_solves_our_equations_to_the_same_law():
    ou = OrnsteinUhlenbeck(dim=2, components=1, width=0.5, noise=0.4)
    x = torch.ones(20_000, 2, dtype=torch.float64)
    bm = torchsde.BrownianInterval(
        0.0, 1.0, size=x.shape, dtype=x.dtype, entropy=7, levy_area_approximation="space-time"
    )
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
    end = torchsde.sdeint(ForTorchsde(ou, (2,)), x, ts, bm=bm, dt=0.05, method="srk")[-1]
    mean = math.exp(-ou.rate)
    variance = ou.noise**2 * (1 - math.exp(-2 * ou.rate)) / (2 * ou.rate)
    assert float(end.mean()) == pytest.approx(mean, abs=4 * math.sqrt(variance / 4e4))
    assert float(end.var()) == pytest.approx(variance, rel=4 * math.sqrt(2 / 4e4) + 0.01)


def test_torchsde_runs_the_reversal():
    ou = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0)
    x = ou.marginal(2.0).sample(10_000, generator=torch.Generator().manual_seed(1))
    bm = torchsde.BrownianInterval(
        0.0, 2.0, size=x.shape, dtype=x.dtype, entropy=8, levy_area_approximation="space-time"
    )
    ts = torch.tensor([0.0, 2.0], dtype=torch.float64)
    back = torchsde.sdeint(ForTorchsde(Reverse(ou, ou.score), (1,), 2.0), x, ts, bm=bm, dt=0.05, method="srk")[-1]
    assert float(back.var()) == pytest.approx(1.0, rel=4 * math.sqrt(2 / 1e4) + 0.005)
    with pytest.raises(ValueError, match="`horizon` must be given"):
        ForTorchsde(Reverse(ou, ou.score), (1,))


@pytest.fixture(scope="module")
def flowed():
    ou = OrnsteinUhlenbeck(dim=2)
    x = ou.marginal(ou.horizon).sample(50, generator=torch.Generator().manual_seed(2))
    return ou, x, ou.exact().flow(x)


def test_torchdiffeq_integrates_the_flow(flowed):
    ou, x, exact = flowed
    flow = flow_field(Reverse(ou, ou.score, eta=0.0))
    ts = torch.tensor([ou.horizon, 0.0], dtype=torch.float64)
    back = torchdiffeq.odeint(flow, x, ts, rtol=1e-9, atol=1e-10)[-1]
    # two independent integrators of the same ODE; ours has fixed RK4 steps of .005, error below 1e-8
    assert torch.allclose(back, exact, atol=1e-6)
    with pytest.raises(ValueError, match="`flow` must be deterministic"):
        flow_field(Reverse(ou, ou.score, eta=1.0))


def test_adaptive_error_falls_in_proportion_with_the_tolerance(flowed):
    ou, x, exact = flowed
    tolerances = np.array([1e-3, 1e-4, 1e-5, 1e-6, 1e-7])
    down = torch.tensor([ou.horizon, 0.0], dtype=torch.float64)
    flow = Reverse(ou, ou.score, eta=0.0)
    errors = [float((solve_adaptive(flow, x, down, rtol=r, atol=r)[:, -1] - exact).norm()) for r in tolerances]
    # local errors are held at rtol: slope 1; steps change by whole numbers, hence the tolerance
    assert np.polyfit(np.log(tolerances), np.log(errors), 1)[0] == pytest.approx(1, abs=0.2)
    assert errors[-1] / float(exact.norm()) < 1e-6


def test_adaptive_takes_float32_both_directions_and_times_in_between(flowed):
    ou, x, exact = flowed
    flow = Reverse(ou, ou.score, eta=0.0)
    times = torch.tensor([2.0, 1.3, 0.0])
    path = solve_adaptive(flow, x.float(), times, rtol=1e-5, atol=1e-5)
    assert path.shape == (50, 3, 2)
    assert path.dtype == torch.float32
    assert torch.equal(path[:, 0], x.float())
    assert torch.allclose(path[:, -1], exact.float(), atol=5e-4)  # a dozen steps at 1e-5, which the flow expands
    back = solve_adaptive(flow, path[:, -1], times.flip(0), rtol=1e-5, atol=1e-5)
    assert torch.allclose(back.flip(1), path, atol=5e-4)


class Fate(SDE):
    """``dx/dt = rule(x)``, no noise."""

    def __init__(self, rule):
        self.rule = rule

    def drift(self, x, t):
        return self.rule(x)

    def diffusion(self, t):
        return torch.zeros_like(t)


def test_adaptive_says_what_to_do_when_the_flow_ends():
    """x' = x^2 is 1/(1 - t) from 1."""
    one, up = torch.ones(1, 1, dtype=torch.float64), torch.tensor([0.0, 1.5], dtype=torch.float64)
    for rule in (lambda x: x**2, lambda x: torch.full_like(x, math.nan)):
        flow = Reverse(Fate(rule), lambda x, t: torch.zeros_like(x), eta=0.0)
        with pytest.raises(ValueError, match="the flow became infinite, NaN, or steeper"):
            solve_adaptive(flow, one, up, rtol=1e-4, atol=1e-4)
    flow = Reverse(Fate(lambda x: x**2), lambda x, t: torch.zeros_like(x), eta=0.0)
    ends = solve_adaptive(flow, one, torch.tensor([0.0, 0.9], dtype=torch.float64), rtol=1e-8, atol=1e-8)
    assert float(ends[0, -1, 0]) == pytest.approx(10, rel=1e-5)


def test_adaptive_never_asks_beyond_the_ends():
    asked = []

    def score(x, t):
        asked.append(float(t[0]))
        return -x

    ou, one = OrnsteinUhlenbeck(dim=1), torch.ones(1, 1, dtype=torch.float64)
    solve_adaptive(Reverse(ou, score, 0.0), one, torch.tensor([1.0, 0.25]).double(), rtol=1e-3, atol=1e-3)
    assert min(asked) == pytest.approx(0.25, abs=1e-12)
    assert max(asked) == 1.0


def test_torchsde_draws_from_the_exact_posterior():
    ou = OrnsteinUhlenbeck(dim=1, components=2, spread=1.0, width=0.5, noise=0.6, horizon=1.0)
    n, generator = 10_000, torch.Generator().manual_seed(0)
    final = torch.full((n, 1), 0.3, dtype=torch.float64)
    times = torch.tensor([1.0, 0.4, 0.0], dtype=torch.float64)
    path = solve_torchsde(Reverse(ou, ou.score), final, times, dt=0.05, generator=generator)
    assert path.shape == (n, 3, 1)
    assert torch.equal(path[:, 0], final)
    for i, t in enumerate((1.0, 0.4, 0.0)):
        if i == 0:
            continue
        gap = 1.0 - t
        gain, variance = math.exp(-ou.rate * gap), ou.noise**2 * -math.expm1(-2 * ou.rate * gap) / (2 * ou.rate)
        law = ou.marginal(t).given(final[:1], gain, variance)
        mean = float(law.mean())
        second = float((law.weights * (law.covs[..., 0, 0] + (law.means[..., 0] - mean) ** 2)).sum())
        # four standard errors (kurtosis of these mixtures <= 3), and the bias of a method of weak order 2 at .05
        assert float(path[:, i].mean()) == pytest.approx(mean, abs=4 * math.sqrt(second / n) + 1e-3)
        assert float(path[:, i].var()) == pytest.approx(second, rel=4 * math.sqrt(2 / n) + 2e-3)


@pytest.mark.parametrize("method", ["euler", "milstein", "srk"])
def test_torchsde_simulates_fields_and_takes_its_seed_from_the_generator(method):
    ou = OrnsteinUhlenbeck(dim=3)
    x, times = torch.ones(4, 3), torch.tensor([0.0, 0.5, 2.0])
    a, b, c = (
        solve_torchsde(ou, x, times, dt=0.1, method=method, generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    )
    assert a.shape == (4, 3, 3)
    assert a.dtype == torch.float32
    assert torch.equal(a, b)
    assert float((a - c)[:, 1:].abs().min()) > 0
    quiet = solve_torchsde(OrnsteinUhlenbeck(dim=3, noise=0.0), x, times, dt=0.05, method=method)
    assert torch.allclose(quiet[0, :, 0], torch.exp(-0.5 * times), atol=6e-3)  # Euler: lambda^2/2 t dt e^-1 = .0046


def test_engines_refuse_wrong_directions_and_settings():
    ou, x = OrnsteinUhlenbeck(dim=1), torch.zeros(2, 1)
    up, down = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    with pytest.raises(ValueError, match="wrap it in Reverse"):
        solve_torchsde(ou, x, down, dt=0.1)
    with pytest.raises(ValueError, match="give decreasing times"):
        solve_torchsde(Reverse(ou, ou.score), x, up, dt=0.1)
    with pytest.raises(ValueError, match="`dt` must be positive, got 0"):
        solve_torchsde(ou, x, up, dt=0.0)
    with pytest.raises(ValueError, match="`flow` must be deterministic"):
        solve_adaptive(Reverse(ou, ou.score), x, down, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="strictly increasing or strictly decreasing"):
        solve_adaptive(Reverse(ou, ou.score, 0.0), x, torch.tensor([1.0, 0.0, 0.5]), rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="`rtol` and `atol` must be positive, got 0"):
        solve_adaptive(Reverse(ou, ou.score, 0.0), x, down, rtol=0.0, atol=0.1)
