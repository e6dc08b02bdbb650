"""Covariances as linear maps against dense matrices."""

import pytest
import torch

from physinv.laws.covariance import Covariance, diagonal, isotropic


@pytest.mark.parametrize("scale", [1.0, 1e-8])
def test_conditioning_of_a_gaussian_is_that_of_dense_matrices(scale, generator):
    """Mean, covariance and square root, for correlated noise R, also far below the prior's variance."""
    d, seen = 6, 4
    B = torch.randn(d, d, dtype=torch.float64, generator=generator)
    H = torch.randn(seen, d, dtype=torch.float64, generator=generator)
    N = torch.randn(seen, seen, dtype=torch.float64, generator=generator)
    C, R = B @ B.T, scale * (N @ N.T + 0.1 * torch.eye(seen, dtype=torch.float64))
    gain, given = Covariance(lambda v: v @ C, lambda z: z @ B.T).given(H, R)
    K = C @ H.T @ torch.linalg.inv(H @ C @ H.T + R)
    want = (torch.eye(d, dtype=torch.float64) - K @ H) @ C @ (torch.eye(d, dtype=torch.float64) - K @ H).T + K @ R @ K.T
    eye = torch.eye(d, dtype=torch.float64)
    assert torch.allclose(gain(torch.eye(seen, dtype=torch.float64)), K.T, atol=1e-6)
    assert torch.allclose(given.apply(eye), want, atol=1e-9)
    assert torch.allclose(given.root(eye).T @ given.root(eye), want, atol=1e-9)


@pytest.mark.parametrize("rest", [None, 0.5])
def test_a_covariance_diagonal_in_a_basis_is_the_dense_matrix(rest, generator):
    """An orthonormal basis of four of six directions, one of them without variance."""
    E = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=generator))[0][:, :4]
    v = torch.tensor([4.0, 1.0, 0.25, 0.0], dtype=torch.float64)
    found = diagonal(lambda x: x @ E, lambda y, like: y @ E.T, v, rest=rest)
    eye = torch.eye(6, dtype=torch.float64)
    left = (rest or 0.0) * (eye - E @ E.T)
    want = E @ torch.diag(v) @ E.T + left
    assert torch.allclose(found.apply(eye), want)
    assert torch.allclose(found.root(found.root(eye)), want)
    # whitening undoes the root wherever there is variance
    reached = E[:, :3] @ E[:, :3].T + (eye - E @ E.T) * (rest is not None)
    assert torch.allclose(found.whiten(found.root(eye)), reached)


def test_an_isotropic_covariance_whitens_by_the_deviation():
    C, x = isotropic(4.0), torch.ones(1, 3)
    assert torch.equal(C.apply(x), 4 * x)
    assert torch.equal(C.root(x), 2 * x)
    assert torch.equal(C.whiten(x), x / 2)
    with pytest.raises(ValueError, match="`variance` must be positive"):
        isotropic(-1.0)


def test_a_covariance_without_its_inverse_root_does_not_whiten():
    with pytest.raises(ValueError, match="`inverse_root` must be given"):
        Covariance(lambda v: v, lambda z: z).whiten(torch.ones(1, 2))
