"""Noise with the correlations of the physics: exact where the posterior is known, nearest to Laplace's elsewhere."""

import pytest
import torch

from physinv.equations.fourier import filtered, fourier
from physinv.models.jumps.physical_noise import PhysicalNoise, nearest_covariance

POINTS, N = 16, 4000
DECAY = torch.exp(-0.3 * torch.arange(9.0))  # of every mode by the physics
PRIOR = 4.0 / (1 + torch.arange(9.0)) ** 2  # power of earlier states
ADDED = torch.full((9,), 0.05)  # power that the noise adds


def forward(moving, later):
    return filtered(moving, DECAY)


def trajectories(generator):
    """Fields with the powers above, and their later states."""
    x = filtered(torch.randn(N, 1, POINTS, generator=generator), PRIOR.sqrt())
    noise = filtered(torch.randn(N, 1, POINTS, generator=generator), ADDED.sqrt())
    return x, forward(x, x) + noise


def exact_power():
    """Posterior variance of each mode of a linear process (Kalman)."""
    return 1 / (DECAY.square() / ADDED + 1 / PRIOR)


def fitted(generator, free=None):
    noise = PhysicalNoise(1, 1, True, (9,), (POINTS,))
    x, y = trajectories(generator)
    free = torch.ones(1, 9) if free is None else free
    assert noise.fit(forward, lambda v: v, x, y, x, free, 0)
    return noise, x, y


def test_draws_of_a_linear_process_have_the_covariance_of_its_posterior(generator):
    noise, _, y = fitted(generator)
    power = exact_power()
    counts = torch.tensor([1.0, *[2.0] * 7, 1.0])
    deviation = (power * counts).sum().div(POINTS).sqrt().expand(2, 1, POINTS)
    row = torch.arange(2).repeat_interleave(N)
    drawn = noise.draw(forward, torch.zeros(2, 1, POINTS), deviation, y[:2], row, 0, generator=generator)
    found = fourier(drawn).abs().square().mean((0, 1))
    # powers are known to (2 / 4000)^(1/2) = 2 % in the data and again in the draws; the weights fall to 0 as 1 / rounds
    assert torch.allclose(found / power, torch.ones(9), atol=0.15)


def test_known_modes_get_no_noise(generator):
    free = torch.ones(1, 9)
    free[:, 0] = free[:, 5] = 0.0
    noise, _, y = fitted(generator, free)
    one = torch.ones(1, 1, POINTS)
    drawn = noise.draw(forward, 0 * one, one, y[:1], torch.zeros(50, dtype=torch.int64), 0, generator=generator)
    power = fourier(drawn).abs().square().mean((0, 1))
    assert float(power[[0, 5]].max()) < 1e-10 < float(power[[1, 2, 3, 4, 6, 7, 8]].min())


def test_learned_deviations_bound_those_of_the_draws(generator):
    """Where the learned deviation is below Laplace's, draws have it, point by point."""
    noise, _, y = fitted(generator)
    laplace = float((exact_power() * torch.tensor([1.0, *[2.0] * 7, 1.0])).sum().div(POINTS).sqrt())
    want = laplace * (0.5 + 0.2 * (torch.arange(POINTS) * 2 * torch.pi / POINTS).cos()).reshape(1, 1, POINTS)
    row = torch.zeros(2 * N, dtype=torch.int64)
    drawn = noise.draw(forward, torch.zeros(1, 1, POINTS), want, y[:1], row, 0, generator=generator)
    assert torch.allclose(drawn.std(0) / want[0], torch.ones(1, POINTS), atol=0.05)


def test_the_nearest_covariance_meets_the_conditions_of_least_relative_entropy(generator):
    """C^-1 - H is a field of weights, which are positive only where the variance is at its bound."""
    a = torch.randn(1, 6, 6, generator=generator, dtype=torch.float64)
    H = a @ a.mT + torch.eye(6)
    laplace = torch.linalg.inv(H)[0].diagonal().sqrt()
    most = laplace * torch.tensor([0.3, 0.5, 0.7, 0.9, 3.0, 5.0])
    C = nearest_covariance(H, torch.eye(6), most[None])[0]
    weights = torch.linalg.inv(C) - H[0]
    assert float((weights - torch.diag(weights.diagonal())).abs().max()) < 1e-8
    w, v = weights.diagonal(), C.diagonal()
    assert bool((w > -1e-9).all())
    assert bool((v <= 1.05 * most.square()).all())
    slack = w * (most.square() - v) * v  # complementary: one of both is 0
    assert float((slack / v).abs().max()) < 0.05


def test_states_from_before_are_read_without_it_and_states_of_today_draw_the_same(generator):
    noise, _, y = fitted(generator)
    again, old = (PhysicalNoise(1, 1, True, (9,), (POINTS,)) for _ in range(2))
    again.load_state_dict(noise.state_dict())
    old.load_state_dict({})
    one, row = torch.ones(1, 1, POINTS), torch.zeros(3, dtype=torch.int64)

    def drawn(noise):
        return noise.draw(forward, 0 * one, one, y[:1], row, 0, generator=torch.Generator().manual_seed(3))

    assert torch.equal(drawn(again), drawn(noise))
    assert noise.known(0)
    assert not old.known(0)


@pytest.mark.parametrize("why", ["the physics fails", "too many modes"])
def test_there_is_none_where_the_physics_cannot_give_it(why, generator):
    x, y = trajectories(generator)
    if why == "the physics fails":
        noise = PhysicalNoise(1, 1, True, (9,), (POINTS,))
        assert not noise.fit(lambda v, w: v / 0, lambda v: v, x, y, x, torch.ones(1, 9), 0)
    else:
        noise, big = PhysicalNoise(1, 1, True, (101,), (200,)), torch.randn(9, 1, 200, generator=generator)
        assert not noise.fit(lambda v, w: v, lambda v: v, big, 2 * big, big, torch.ones(1, 101), 0)
    assert not noise.known(0)
