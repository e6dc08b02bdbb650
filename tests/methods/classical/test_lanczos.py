"""Draws by few products: their covariance is that of Laplace's Gaussian."""

import pytest
import torch

from physinv.methods.classical.lanczos import lanczos_draws
from physinv.methods.classical.minimise import Linearised


def linear(K):
    """The derivative ``K`` of every row."""
    return Linearised(torch.zeros(1, len(K)), lambda v: v @ K.mT, lambda w: w @ K, lambda v: v)


def test_enough_products_take_the_inverse_root_exactly(generator):
    K = torch.randn(5, 6, generator=generator, dtype=torch.float64) * 3
    guess = torch.diag(torch.rand(6, generator=generator, dtype=torch.float64) + 0.5)
    z = torch.eye(6, dtype=torch.float64)
    drawn = lanczos_draws(linear(K), lambda v: v @ guess, z, 6)
    assert torch.allclose(drawn.mT @ drawn, torch.linalg.inv(torch.eye(6) + K.mT @ K), atol=1e-9)


def test_with_a_perfect_guess_one_product_is_enough(generator):
    K = torch.diag(torch.tensor([0.0, 1.0, 3.0, 10.0]))
    deviation = (1 + K.diagonal().square()).rsqrt()
    z = torch.randn(7, 4, generator=generator)
    drawn = lanczos_draws(linear(K), lambda v: v * deviation, z, 1)
    assert torch.allclose(drawn, z * deviation, atol=1e-5)
    more = lanczos_draws(linear(K), lambda v: v * deviation, z, 4)  # nothing new after the first: no division by 0
    assert torch.allclose(more, drawn, atol=1e-4)


def test_few_products_leave_less_out_than_conjugate_gradients_do(generator):
    values = torch.logspace(-1, 1, 100)
    K, z = torch.diag(values), torch.randn(200, 100, generator=generator)
    exact, local = float((1 / (1 + values.square())).sum()), linear(K)
    drawn = [float(lanczos_draws(local, lambda v: v, z, k).square().sum(1).mean()) for k in (4, 30)]
    # of 200 rows of 100 numbers the mean square is known to 1 %, and all of it is there after a root of the condition
    assert drawn[1] == pytest.approx(exact, rel=0.05)
    rhs = z + local.adjoint(torch.randn(200, 100, generator=generator))
    assert float(local.solve(rhs, 4).square().sum(1).mean()) < drawn[0] < drawn[1] * 1.01
