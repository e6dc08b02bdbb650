"""Every objective is minimised by the true score: in closed form for Gaussians, by its slopes for a mixture."""

import functools
import math

import pytest
import torch

from physinv.reversal.split import split
from physinv.training.objectives.base import Batch
from physinv.training.objectives.denoising import denoising_loss
from physinv.training.objectives.implicit import implicit_loss, sliced_loss, sliced_vr_loss
from physinv.training.objectives.trajectory import trajectory_loss
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

SIGMA = torch.tensor([[1.0, 0.4, 0.0], [0.4, 0.5, -0.2], [0.0, -0.2, 2.0]], dtype=torch.float64)
MU = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
G, DT = 0.5, 0.1  # noise and time step of the windows: the weights of the implicit objectives are G^2 DT


def gaussian_windows(n, generator):
    """Pairs whose later state is N(MU, SIGMA); the earlier one must not matter."""
    z = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    x = MU + z @ torch.linalg.cholesky(SIGMA).T
    times = torch.tensor([0.0, DT], dtype=torch.float64).expand(n, 2)
    return torch.stack([torch.full_like(x, torch.nan), x], dim=1), times


def linear(theta):
    """s(x, t) = A x + b with the 12 parameters in one vector."""
    return lambda x, t: x @ theta[:9].reshape(3, 3).T + theta[9:]


def minimiser(loss):
    """``(A, b)`` at the minimum of ``loss(theta)``, which is quadratic: one Newton step from 0; and its value there."""
    zero = torch.zeros(12, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(loss, zero)
    theta = -torch.linalg.solve(torch.autograd.functional.hessian(loss, zero), slope)
    return theta[:9].reshape(3, 3), theta[9:], float(loss(theta).detach())


def test_implicit_on_a_gaussian_is_exact(generator):
    ou = OrnsteinUhlenbeck(dim=3, noise=G)
    states, times = gaussian_windows(2000, generator)
    x = states[:, 1]
    A, b, value = minimiser(lambda theta: implicit_loss(linear(theta), ou, Batch(states, times)))
    # for linear scores the objective sees two moments of the data only: the precision of the sample is the answer
    precision = torch.linalg.inv(x.T.cov(correction=0))
    assert torch.allclose(A, -precision, rtol=1e-9, atol=1e-9)
    assert torch.allclose(b, precision @ x.mean(0), rtol=1e-9, atol=1e-9)
    # Hyvarinen's optimum -tr(precision) / 2, times 2 G^2 DT / 3
    assert value == pytest.approx(-(G**2) * DT * float(precision.trace()) / 3, rel=1e-9)


@pytest.mark.parametrize("objective", [sliced_loss, sliced_vr_loss])
def test_sliced_on_a_gaussian(objective, generator):
    ou, n = OrnsteinUhlenbeck(dim=3, noise=G), 40_000
    states, times = gaussian_windows(n, generator)

    def loss(theta):
        return objective(linear(theta), ou, Batch(states, times, generator=torch.Generator().manual_seed(1)))

    A, b, value = minimiser(loss)
    precision = torch.linalg.inv(SIGMA)
    # whitened, A is -1 with an error of entries of size sqrt(3 / n) (products of three signs and normals at most)
    L = torch.linalg.cholesky(SIGMA)
    eye = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(L.T @ A @ L, -eye, atol=6 * math.sqrt(3 / n) * float(torch.linalg.cond(L)))
    assert torch.allclose(L.T @ (A @ MU + b), torch.zeros(3, dtype=torch.float64), atol=0.1)
    assert value == pytest.approx(-(G**2) * DT * float(precision.trace()) / 3, rel=0.05)


def test_one_dimension_needs_no_slicing(generator):
    ou = OrnsteinUhlenbeck(dim=1)
    states = ou.simulate(50, generator=generator, dtype=torch.float64)[:, 5:8]
    times = ou.times[5:8].expand(50, 3)
    batch = Batch(states, times, generator=generator)
    values = [loss(curved, ou, batch) for loss in (implicit_loss, sliced_loss)]
    assert torch.allclose(values[0], values[1], rtol=1e-12)
    assert torch.allclose(values[0], sliced_vr_loss(curved, ou, batch), rtol=1e-12)


def curved(x, t):
    return torch.sin(2 * x) - x


def test_components_count_with_their_own_noise(generator):
    """One component four times as noisy, one without noise: sums of one-dimensional objectives with their weights."""

    class Uneven(OrnsteinUhlenbeck):
        def diffusion(self, t):
            return torch.stack([0.5 + 0 * t, 2.0 + 0 * t, 0 * t], dim=1)

    uneven, one = Uneven(dim=3), OrnsteinUhlenbeck(dim=1, noise=1.0)
    states = torch.randn(40, 3, 3, generator=generator, dtype=torch.float64)
    times = torch.tensor([0.1, 0.3, 0.4], dtype=torch.float64).expand(40, 3)
    single = [implicit_loss(curved, one, Batch(states[..., i : i + 1], times)).detach() for i in range(3)]
    expected = (0.25 * single[0] + 4 * single[1]) / 3
    batch = Batch(states, times, generator=generator)
    # d s_i / d x_j = 0 off the diagonal, so that slicing is exact here too
    assert torch.allclose(implicit_loss(curved, uneven, batch), expected, rtol=1e-12)
    assert torch.allclose(sliced_vr_loss(curved, uneven, batch), expected, rtol=1e-12)


def test_denoising_gives_the_score_of_the_noised_law(generator):
    """With the kernel N(x_0, sigma^2 I): -(Sigma + sigma^2 I)^-1 (x - mu)."""
    sigma, n = 0.7, 100_000

    class Fixed(OrnsteinUhlenbeck):
        def decay(self, t0, t1, like):
            return torch.ones_like(t1)[:, None]

        def variance(self, t0, t1, like):
            return sigma**2 * torch.ones_like(t1)[:, None]

    states, times = gaussian_windows(n, generator)
    states = states.flip(1)

    def loss(theta):
        batch = Batch(states, times, generator=torch.Generator().manual_seed(1))
        return denoising_loss(linear(theta), Fixed(dim=3), batch)

    A, b, _ = minimiser(loss)
    noised = SIGMA + sigma**2 * torch.eye(3, dtype=torch.float64)
    L = torch.linalg.cholesky(noised)
    eye = torch.eye(3, dtype=torch.float64)
    # regression of xi / sigma on whitened x: standard error of an entry at most sqrt(lambda_max) / (sigma sqrt(n))
    error = float(torch.linalg.matrix_norm(L, 2)) / (sigma * math.sqrt(n))
    assert torch.allclose(L.T @ A @ L, -eye, atol=5 * error)
    assert torch.allclose(L.T @ (A @ MU + b), torch.zeros(3, dtype=torch.float64), atol=5 * error)


# ---- a mixture: the slope of each objective along two directions, with its standard error over 40 blocks of data

ou = OrnsteinUhlenbeck(dim=2, steps=100, horizon=1.0, width=0.4, spread=1.0)
PRIOR = ou.prior


def true_score(x, t):
    """The exact score, each row of x at its own time."""
    decay = torch.exp(-ou.rate * t)[:, None]
    v = ou.width**2 * decay**2 + ou.noise**2 * (1 - decay**2) / (2 * ou.rate)
    means = decay[..., None] * PRIOR.means
    r = (PRIOR.weights.log() - ((x[:, None] - means) ** 2).sum(-1) / (2 * v)).softmax(1)
    return ((r[..., None] * means).sum(1) - x) / v


def bump(x, t):
    """A smooth direction that is no multiple of the score, and no gradient."""
    return 4 * torch.stack([torch.cos(x[:, 1] - 1) * t, torch.sin(x[:, 0])], dim=1)


def slopes(objective, at, direction, window, first, n, generator):
    """d/d eps of ``objective`` at ``at + eps direction``: mean and standard error over 40 blocks; the curvature."""
    x = ou.simulate(n, generator=generator, dtype=torch.float64)[:, first : first + window]
    times = ou.times[first : first + window].expand(n, window)
    eps = torch.zeros((), dtype=torch.float64, requires_grad=True)
    found, bends = [], []
    for states, clock in zip(x.chunk(40), times.chunk(40), strict=True):
        batch = Batch(states, clock, generator=generator)
        value = objective(lambda y, t: at(y, t) + eps * direction(y, t), ou, batch)
        (slope,) = torch.autograd.grad(value, eps, create_graph=True)
        bends.append(float(torch.autograd.grad(slope, eps)[0]))
        found.append(float(slope.detach()))
    found = torch.tensor(found, dtype=torch.float64)
    return float(found.mean()), float(found.std()) / math.sqrt(40), sum(bends) / 40


OBJECTIVES = {
    # name: (objective, window, first state of the window, bias of the minimiser in units of the direction)
    "1-step": (functools.partial(trajectory_loss, step=split), 2, 20, 0.0),
    # The chain of conditional means is off the conditional mean by O(window dt) on a law that is not Gaussian, and the
    # probability flow, which the bidirectional loss runs, by O(dt): window * rate of the score * dt = 4 * 3 * .01.
    "multi-step": (functools.partial(trajectory_loss, step=split), 5, 20, 0.12),
    "bidirectional": (functools.partial(trajectory_loss, bidirectional=True), 2, 20, 0.06),
    "implicit": (implicit_loss, 3, 20, 0.0),
    "sliced": (sliced_loss, 3, 20, 0.0),
    "sliced, variance-reduced": (sliced_vr_loss, 3, 20, 0.0),
    "denoising": (denoising_loss, 101, 0, 0.0),
}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("direction", [true_score, bump])
def test_slopes_vanish_at_the_true_score(name, direction, generator):
    objective, window, first, bias = OBJECTIVES[name]
    n = 20_000 if name == "denoising" else 40_000
    slope, error, bend = slopes(objective, true_score, direction, window, first, n, generator)
    assert bend > 0
    # the minimum along the direction lies at -slope / bend
    assert abs(slope) < 4.5 * error + bias * bend
    # and the figures tell: at twice, half and minus the score the slope would be bend, -bend/2 and -2 bend
    assert 4.5 * error + bias * bend < (0.4 if direction is true_score else 1.0) * bend


def test_the_slope_at_twice_the_score_is_the_curvature(generator):
    """The objectives are quadratic in the score, so this is what a factor of two would look like."""

    def twice(x, t):
        return 2 * true_score(x, t)

    slope, error, bend = slopes(implicit_loss, twice, true_score, 3, 20, 40_000, generator)
    assert slope == pytest.approx(bend, abs=4.5 * error)
    assert bend > 20 * error


def test_excess_is_that_of_the_one_step_loss(generator):
    """Same units: implicit and 1-step losses grow by the same amount when the score is off."""
    x = ou.simulate(40_000, generator=generator, dtype=torch.float64)[:, 20:22]
    batch = Batch(x, ou.times[20:22].expand(len(x), 2))

    def off(y, t):
        return true_score(y, t) + bump(y, t)

    one_step, implicit = (
        float((loss(off, ou, batch) - loss(true_score, ou, batch)).detach())
        for loss in (functools.partial(trajectory_loss, step=split), implicit_loss)
    )
    # both are g^2 dt E|bump|^2 / 2, about .007, to 2 g^2 dt rate = .5 %; the 1-step target is unit normal noise, which
    # multiplied by 2 g sqrt(dt) |bump| / 2 has the standard error 2 sqrt(.007 / (2 n)) = .0006, implicit has .0003
    assert 0.005 < implicit < 0.01
    assert one_step == pytest.approx(implicit, abs=4.5 * 0.0007)


@pytest.mark.parametrize("objective", [implicit_loss, sliced_loss, sliced_vr_loss, denoising_loss])
def test_short_windows_are_refused(objective):
    with pytest.raises(ValueError, match="windows of 2 or more states, got 1; take window=2"):
        objective(true_score, ou, Batch(torch.zeros(3, 1, 2), torch.zeros(3, 1)))
