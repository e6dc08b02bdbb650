"""Velocities of straight paths: their score, exactness for white data, and the minimiser of the matching error."""

import math

import pytest
import torch

from physinv.posterior.flows.straight import (
    matching_error,
    score_of_velocity,
    straight_velocity,
    transport_noise,
    turn,
    turn_back,
    undone,
)

MEAN, DEVIATION = 0.5, 0.4


def velocity(y, t):
    """E[z - n | (1 - t) n + t z = y] for z from N(MEAN, DEVIATION^2)."""
    u = t[:, None]
    now = (1 - u) ** 2 + (u * DEVIATION) ** 2
    return MEAN + (u * DEVIATION**2 - (1 - u)) / now * (y - u * MEAN)


def test_the_score_of_a_velocity_is_that_of_its_gaussian():
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    y = torch.tensor([[1.0], [-0.3], [0.7]], dtype=torch.float64)
    now = (1 - t) ** 2 + (t * DEVIATION) ** 2
    assert torch.allclose(score_of_velocity(velocity(y, t), y, t), -(y - t[:, None] * MEAN) / now[:, None])


def test_white_data_need_no_network(generator):
    """Every draw keeps its variance 1: Heun's steps err by the cube of their length, .06 at most."""
    noise = torch.randn(5, 3, dtype=torch.float64, generator=generator)
    ends = transport_noise(lambda y, t: straight_velocity(torch.zeros_like, y, t), noise, 32)
    assert torch.allclose(ends, noise, rtol=2e-3)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_the_true_velocity_minimises_the_matching_error(factor, generator):
    """The error is quadratic: a factor f adds (f - 1)^2 E|v|^2 and nothing else."""
    n, z = torch.randn(2, 400_000, 1, dtype=torch.float64, generator=generator)
    z, t = MEAN + DEVIATION * z, torch.rand(400_000, dtype=torch.float64, generator=generator)
    least = matching_error(velocity, n, z, t)
    size = velocity((1 - t[:, None]) * n + t[:, None] * z, t).square().mean()
    gap = float(matching_error(lambda y, s: factor * velocity(y, s), n, z, t) - least)
    # the cross term has mean 0, and a standard error of 2 |f - 1| (size least / 400000)^(1/2)
    error = 2 * abs(factor - 1) * math.sqrt(float(size * least) / 400_000)
    assert gap == pytest.approx((factor - 1) ** 2 * float(size), abs=5 * error + 1e-12)


@pytest.mark.parametrize("steps", [1, 8])
def test_turned_noise_stays_white_where_the_network_is_0(steps, generator):
    """Exactly, whatever the number of steps."""
    noise = torch.randn(5, 3, dtype=torch.float64, generator=generator)
    assert torch.equal(turn(lambda w, t: torch.zeros_like(w), noise, steps), noise)


def network(w, t):
    """That of the true velocity: h^(1/2) (v - (2 t - 1) / h y) at y = h^(1/2) w."""
    u = t[:, None]
    h = (1 - u) ** 2 + u**2
    return h.sqrt() * (velocity(h.sqrt() * w, t) - (2 * u - 1) / h.sqrt() * w)


def test_turned_noise_has_the_law_of_the_data_to_second_order(generator):
    """The flow of a Gaussian is z = MEAN + DEVIATION n; errors fall by 4 with steps of half the length."""
    n = torch.randn(50, 1, dtype=torch.float64, generator=generator)
    errors = [float((turn(network, n, k) - MEAN - DEVIATION * n).abs().max()) for k in (8, 16, 32)]
    assert errors[2] < 2e-3
    assert errors[0] / errors[1] > 3
    assert errors[1] / errors[2] > 3


def test_turning_back_undoes_the_steps_themselves(generator):
    n = torch.randn(50, 1, dtype=torch.float64, generator=generator)
    assert torch.allclose(turn_back(network, turn(network, n, 8), 8), n, atol=1e-9)


def test_two_steps_of_a_steep_network_are_undone_too(generator):
    """Each multiplies states by 3.9 or 7.5, so that undamped corrections would grow by as much each time."""
    n = torch.randn(50, 3, dtype=torch.float64, generator=generator)
    for steep in (lambda w, t: 3 * w, lambda w, t: 3 * w + torch.sin(w)):
        assert torch.allclose(turn_back(steep, turn(steep, n, 2), 2), n, atol=1e-9)


def test_where_steps_fold_what_is_found_is_finite_and_leads_nearer_than_no_correction(generator):
    """They have no inverse there: these take several states to the same one, and leave others out."""
    data = 3 * torch.randn(200, 1, dtype=torch.float64, generator=generator)

    def step(w):
        return w + 2 * torch.sin(3 * w)

    found = undone(step, data, data)
    left, before = ((step(w) - data).abs() for w in (found, data))
    assert bool((left <= before).all())
    assert float(left.median()) < 1e-9
