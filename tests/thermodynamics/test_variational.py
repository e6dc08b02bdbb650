import math

import pytest
import torch
from trap_cases import F64, grid_log_z, normal, source

from physinv.thermodynamics import variational

BETA = 2.0
PAIR = torch.tensor([[0.7, 0.3], [0.3, 0.7]], dtype=F64)  # k/2 (x^2 + y^2) - c/2 (x - y)^2 with k = 1, c = .3


def pair(x):
    """Two trapped particles that repel each other."""
    return BETA * torch.einsum("bi,ij,bj->b", x, PAIR, x) / 2


def test_two_trapped_particles():
    """F = -(1/beta) log(2 pi / beta) + log det / (2 beta); the mean field has the product of the diagonal for det."""
    exact = -math.log(2 * math.pi / BETA) / BETA + float(torch.logdet(PAIR)) / (2 * BETA)
    field = -math.log(2 * math.pi / BETA) / BETA + 2 * math.log(0.7) / (2 * BETA)
    assert abs(exact - -0.801438) < 1e-6
    assert abs(field - -0.750702) < 1e-6
    whole = variational(pair, 3 + normal(100, 2), generator=source())
    assert abs(whole.bound / BETA - exact) < 1e-6
    torch.testing.assert_close(whole.covariance, torch.linalg.inv(BETA * PAIR), atol=1e-4, rtol=0)
    apart = variational(pair, 3 + normal(100, 2), family="mean-field", generator=source())
    assert abs(apart.bound / BETA - field) < 1e-6
    torch.testing.assert_close(apart.covariance, torch.eye(2, dtype=F64) / (BETA * 0.7), atol=1e-4, rtol=0)


def test_the_bound_lies_above_and_covers_one_of_two_wells():
    """Of two wells far apart a Gaussian takes one, and misses log 2."""

    def energy(x):
        return 12 * (x[:, 0] ** 2 - 1) ** 2

    found = variational(energy, 0.9 + 0.1 * normal(50, 1), generator=source())
    excess = found.bound + grid_log_z(energy)
    assert math.log(2) < excess < math.log(2) + 0.02
    assert abs(float(found.mean[0]) - 1) < 0.05


def test_the_error_of_a_bound_is_its_scatter():
    """Of eight minimisations; the ratio of chi-squared with 7 degrees of freedom lies within 2.5 of 1 in both ways."""

    def energy(x):
        return x[:, 0] ** 4 + x[:, 0] ** 2 / 2

    start = normal(50, 1)
    found = [variational(energy, start, generator=source(seed)) for seed in range(8)]
    scatter = torch.tensor([law.bound for law in found], dtype=F64).std()
    error = sum(law.error for law in found) / 8
    assert 1 / 2.5 < float(scatter) / error < 2.5


def test_an_unknown_family_is_told():
    with pytest.raises(ValueError, match=r"`family` can't be 'gausian'; did you mean `gaussian`"):
        variational(pair, normal(10, 2), family="gausian")
