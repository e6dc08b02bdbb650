"""Solvers: orders by fitted slope, laws against closed forms, directions refused."""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy.linalg import expm

from physinv.equations.sde import SDE, Reverse
from physinv.equations.solve import gather, march, solve
from physinv.equations.steps import SRK3, Step, euler, exponential, heun, srk3
from physinv.processes.registry import find
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


class OnCircle(SDE):
    """dx = -sin(x) dt + g dW on the circle: smooth, nonlinear, and its Kolmogorov equation is a small matrix."""

    def __init__(self, g):
        self.g = g

    def drift(self, x, t):
        return -x.sin()

    def diffusion(self, t):
        return torch.full_like(t, self.g)


def weak_errors(step: Step, counts, g=0.8, horizon=1.0, n=32):
    """max_x |E phi(x_T) - exact| for phi = cos(x) + sin(2x), without sampling.

    Backward in time u_m(x) = E u_{m+1}(step(x)): the noise by Gauss-Hermite quadrature, u by its Fourier series.  The
    exact u solves u_t = -sin(x) u' + g^2/2 u'' (Kolmogorov), a matrix exponential in Fourier space.
    """
    k = np.arange(-n, n + 1)
    up = np.zeros((2 * n + 1, 2 * n + 1), dtype=complex)
    for j, m in enumerate(k):  # -sin(x) d/dx e^{imx} = -(m/2) (e^{i(m+1)x} - e^{i(m-1)x})
        up[j, j] -= g**2 / 2 * m**2
        if j + 1 <= 2 * n:
            up[j + 1, j] -= m / 2
        if j >= 1:
            up[j - 1, j] += m / 2
    phi = np.zeros(2 * n + 1, dtype=complex)
    phi[[n - 1, n + 1]] = 0.5
    phi[n + 2], phi[n - 2] = -0.5j, 0.5j
    exact = expm(up * horizon) @ phi

    nodes, weights = hermegauss(12)
    weights = weights / weights.sum()
    grids = np.meshgrid(*[nodes] * step.draws, indexing="ij")
    mass = np.prod(np.meshgrid(*[weights] * step.draws, indexing="ij"), axis=0).ravel()
    x = 2 * math.pi * np.arange(2 * n + 1) / (2 * n + 1)
    to_modes = np.exp(-1j * np.outer(k, x)) / (2 * n + 1)
    errors = []
    for count in counts:
        h = horizon / count
        start = torch.tensor(np.repeat(x, mass.size))[:, None]
        noise = np.stack([np.tile(z.ravel(), x.size) for z in grids])[..., None] * math.sqrt(h)
        t0 = torch.zeros(len(start), dtype=torch.float64)
        end = step(OnCircle(g), start, t0, t0 + h, torch.tensor(noise))[:, 0].numpy()
        transfer = (np.exp(1j * np.outer(end, k)).reshape(x.size, mass.size, k.size) * mass[None, :, None]).sum(1)
        u = phi
        for _ in range(count):
            u = to_modes @ (transfer @ u)
        errors.append(np.abs(np.exp(1j * np.outer(x, k)) @ (u - exact)).max())
    return np.array(errors)


@pytest.mark.parametrize("step", [euler, heun, srk3], ids=["euler", "heun", "srk3"])
def test_weak_order_is_the_declared_one(step):
    counts = np.array([8, 16, 32])
    errors = weak_errors(step, counts)
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    # The slope of a p-th order method differs from p by O(h); with h <= 1/8 by less than a quarter.
    assert slope == pytest.approx(step.weak_order, abs=0.25)


@pytest.mark.parametrize("step", [euler, heun], ids=["euler", "heun"])
def test_strong_order_is_one_for_additive_noise(step, generator):
    fine, horizon, paths = 256, 1.0, 400
    dw = torch.randn((fine, paths, 1), generator=generator, dtype=torch.float64) * math.sqrt(horizon / fine)
    sde, start = OnCircle(0.8), torch.full((paths, 1), 0.7, dtype=torch.float64)

    def end(count):
        x, t = start, torch.zeros(paths, dtype=torch.float64)
        for i in range(count):
            part = dw[i * fine // count : (i + 1) * fine // count].sum(0, keepdim=True)
            x = step(sde, x, t + i * horizon / count, t + (i + 1) * horizon / count, part)
        return x

    counts = np.array([4, 8, 16, 32])
    errors = [float((end(c) - end(fine)).abs().mean()) for c in counts]
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.2)  # statistical error of the slope with 400 paths on the same noise: .05


def test_srk3_coefficients_satisfy_their_order_conditions():
    n, w = np.array(SRK3.nodes), np.array(SRK3.weights)
    a = np.zeros((4, 4))
    for i, row in enumerate(SRK3.stages):
        a[i, : len(row)] = row
    c = np.array(SRK3.signs) * np.sqrt(n * (1 - n))
    assert np.allclose(a.sum(1), n, atol=1e-15)
    conditions = {
        "sum w": (w.sum(), 1),
        "sum w n": (w @ n, 1 / 2),
        "sum w n^2": (w @ n**2, 1 / 3),
        "sum w a n": (w @ a @ n, 1 / 6),
        "(sum w c)^2": ((w @ c) ** 2, 1 / 12),
        "sum w a cov": ((w @ (a * (np.outer(n, n) + np.outer(c, c)))).sum(), 1 / 6),
    }
    for name, (got, want) in conditions.items():
        assert got == pytest.approx(want, abs=1e-14), name


def test_exponential_is_exact_at_any_step(generator):
    ou = OrnsteinUhlenbeck(dim=1, components=1, width=0.5)
    x = torch.full((200_000, 1), 1.0, dtype=torch.float64)
    times = torch.tensor([0.0, 0.1, 2.0], dtype=torch.float64)
    end = solve(ou, x, times, step=exponential, generator=generator)[:, -1]
    mean = math.exp(-ou.rate * 2)
    variance = ou.noise**2 * (1 - math.exp(-2 * ou.rate * 2)) / (2 * ou.rate)
    # four standard errors of a mean and of a variance over 2e5 samples
    assert float(end.mean()) == pytest.approx(mean, abs=4 * math.sqrt(variance / 2e5))
    assert float(end.var()) == pytest.approx(variance, rel=4 * math.sqrt(2 / 2e5))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_reverse_keeps_the_marginals(eta, generator):
    """Backward from p_T every eta arrives at p_0: mean and covariance of a skewed two-component mixture."""
    ou = OrnsteinUhlenbeck(dim=2, components=2, spread=1.0, width=0.4, noise=0.6)
    x = ou.marginal(ou.horizon).sample(10_000, generator=generator)
    times = torch.linspace(ou.horizon, 0, 81, dtype=torch.float64)
    back = solve(Reverse(ou, ou.score, eta), x, times, step=heun, generator=generator)[:, -1]
    prior = ou.prior
    mean = prior.mean()
    centred = prior.means - mean
    cov = (prior.weights[:, None, None] * (prior.covs + centred[:, :, None] * centred[:, None, :])).sum(0)
    # four standard errors over 1e4 samples; Heun's bias with 80 steps is below one of them
    assert torch.allclose(back.mean(0), mean, atol=4 * float(cov.max().sqrt()) / 100)
    assert torch.allclose(back.T.cov(), cov, atol=4 * 1.5 * float(cov.max()) / 100)


def test_times_must_be_monotone_and_fit_the_direction():
    ou = OrnsteinUhlenbeck(dim=1)
    x = torch.zeros(1, 1)
    up, down = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    with pytest.raises(ValueError, match="strictly increasing or strictly decreasing"):
        solve(ou, x, torch.tensor([0.0, 1.0, 0.5]))
    with pytest.raises(ValueError, match="wrap it in Reverse"):
        solve(ou, x, down)
    with pytest.raises(ValueError, match="give decreasing times"):
        solve(Reverse(ou, ou.score), x, up)
    solve(Reverse(ou, ou.score, eta=0.0), x, up)  # the flow is an ODE: both ways are meant
    with pytest.raises(ValueError, match="`eta` must be a finite number >= 0"):
        Reverse(ou, ou.score, eta=-1.0)
    with pytest.raises(ValueError, match="Linear SDEs only"):
        solve(OnCircle(1.0), x, up, step=exponential)


def test_same_generator_same_path_and_march_equals_solve():
    ou = OrnsteinUhlenbeck(dim=3)
    x = torch.ones(5, 3)
    runs = [solve(ou, x, ou.times, step=srk3, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(runs[0], runs[1])
    with torch.no_grad():  # where states are written to their places instead of stacked at the end
        assert torch.equal(solve(ou, x, ou.times, step=srk3, generator=torch.Generator().manual_seed(3)), runs[0])
    marched = list(march(ou, x, ou.times, step=srk3, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(torch.stack(marched, dim=1), runs[0])


@pytest.mark.parametrize("gradients", [True, False])
def test_gathering_puts_states_in_order_and_refuses_another_number_of_them(gradients, generator):
    x = torch.randn(4, 2, 3, generator=generator)  # four states of two members
    with torch.set_grad_enabled(gradients):
        assert torch.equal(gather(iter(x), 4), x.transpose(0, 1))
        for count in (3, 5):  # never a state that nobody wrote
            with pytest.raises(ValueError, match="zip"):
                gather(iter(x), count)


@pytest.mark.parametrize("name", ["ornstein-uhlenbeck", "heat", "heat-walls"])
def test_the_loop_that_stays_in_the_basis_makes_the_exponential_steps(name):
    sde = find(name)()
    times = torch.tensor([0.0, 0.1, 0.2, 0.25, 0.6], dtype=torch.float64) * sde.horizon  # one length occurs twice
    x = sde.initial(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draw, fast = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    path = [x]
    for a, b in itertools.pairwise(times.tolist()):
        dw = math.sqrt(b - a) * torch.randn((1, *x.shape), generator=draw, dtype=x.dtype)
        path.append(exponential(sde, path[-1], x.new_full((3,), a), x.new_full((3,), b), dw))
    states = solve(sde, x, times, step=exponential, generator=fast)
    # rounding of float64 transforms, and of steps that count as equal up to 1e-9
    assert torch.allclose(states, torch.stack(path, dim=1), rtol=1e-8, atol=1e-8)
    assert float((states[:, -1] - path[-2]).abs().max()) > 1e-2


class Swinging(SDE):
    """dx = (cos(2 pi t / 3600) - x / 600) dt + .1 dW, with t in seconds; notes the times that it is asked about."""

    def __init__(self):
        self.asked = []

    def drift(self, x, t):
        self.asked.append(t)
        return (torch.cos(2 * math.pi * t / 3600)[:, None] - x) / 600

    def diffusion(self, t):
        return torch.full_like(t, 0.1)


@pytest.mark.parametrize("step", [euler, heun, srk3], ids=["euler", "heun", "srk3"])
@pytest.mark.parametrize("noise", [False, True])
def test_the_origin_of_time_does_not_matter(step, noise):
    """1.7e9 s, a multiple of 3600 nearby: float32 times are 128 s apart there, steps are 60 s."""
    far = 3600 * (1_700_000_000 // 3600)
    times = 60 * torch.arange(11, dtype=torch.float64)
    x = torch.ones(3, 1)
    near, away = (
        solve(Swinging(), x, t, step=step, noise=noise, generator=torch.Generator().manual_seed(0))
        for t in (times, far + times)
    )
    assert away.dtype == torch.float32
    # cos of 2 pi 5e5 in float64 is right to 1e-10; float32 states of order 1 add a rounding per step
    assert torch.allclose(near, away, atol=3e-6)
    assert float((near[:, -1] - x).abs().min()) > 1e-2


def test_times_are_as_exact_as_the_steps_need():
    sde, x = Swinging(), torch.ones(1, 1)
    for times, dtype in (
        ([0.0, 0.01, 0.02], torch.float32),
        ([10.0, 10.01], torch.float32),  # a rounding of 1e-6 in a step of 1e-2
        ([0.0, 1e6, 1e6 + 60], torch.float64),  # the second step starts at a number with a rounding of .06
        ([0.0, 1e6, 1e6 + 600], torch.float32),
        ([1.7e9, 1.7e9 + 60], torch.float64),
        ([1.0, 1 + 1e-5], torch.float64),
    ):
        sde.asked.clear()
        solve(sde, x, torch.tensor(times, dtype=torch.float64))
        assert sde.asked[-1].dtype == dtype, times
        assert float(sde.asked[-1]) == pytest.approx(times[-2], rel=1e-7)


def test_a_linear_process_decays_by_the_length_of_its_steps():
    ou = OrnsteinUhlenbeck(dim=1, noise=0.0, rate=1 / 600)
    times = 1.7e9 + 60 * torch.arange(11, dtype=torch.float64)
    for step in (exponential, euler):
        end = solve(ou, torch.ones(1, 1), times, step=step)[0, -1, 0]
        assert float(end) == pytest.approx(math.exp(-1) if step is exponential else 0.9**10, rel=1e-5)
