"""Draws from Laplace's Gaussian by few products with the derivative of the physics.

For ``z`` standard normal and any ``P = C C^T`` near the covariance ``(1 + K^T K)^-1``

    C (C^T (1 + K^T K) C)^(-1/2) z

is a draw from ``N(0, (1 + K^T K)^-1)``, exactly.  The root of the matrix is taken on the Krylov space of ``z``
(Lanczos 1950).  After no product the draw would be one from ``N(0, P)``; each product corrects what ``P`` leaves out.
"""

from __future__ import annotations

__all__ = ["lanczos_draws"]

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.methods.classical.minimise import Linearised

_LEAST = 1e-6  # of the largest eigenvalue: below it there is rounding only


def lanczos_draws(
    local: Linearised, root: Callable[[Tensor], Tensor], white: Float[Tensor, "batch d"], products: int
) -> Float[Tensor, "batch d"]:
    """Draw from ``N(0, (1 + K^T K)^-1)``, approximately.

    Args:
        local: The derivative ``K`` at one point of each observation.
        root: A symmetric root ``C`` of a guess at the covariance, such as the square root of its average.
        white: Standard normal numbers ``z``.
        products: Products with ``K`` and its adjoint, at least 1; with a perfect guess one is enough.

    Returns:
        One draw for each row.

    References:
        Chow and Saad (2014), Preconditioned Krylov subspace methods for sampling multivariate Gaussian distributions.
    """
    size = white.norm(dim=1, keepdim=True)
    basis, along, across = [white / size], [], []
    for _ in range(products):
        v = root(basis[-1])
        w = root(v + local.adjoint(local.tangent(v)))
        along.append((w * basis[-1]).sum(1))

        # What is new, orthogonal to all before: in float32 twice is needed.
        for q in basis + basis:
            w = w - (w * q).sum(1, keepdim=True) * q
        length = w.norm(dim=1, keepdim=True)
        new = length > torch.finfo(w.dtype).eps * along[-1][:, None].abs()
        across.append(torch.where(new, length, torch.zeros_like(length))[:, 0])
        basis.append(torch.where(new, w / length, torch.zeros_like(w)))

    # The inverse root of the tridiagonal matrix, times its first coordinate.
    T = torch.diag_embed(torch.stack(along, 1).double())
    if products > 1:
        off = torch.stack(across[:-1], 1).double()
        T = T + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    values, vectors = torch.linalg.eigh(T)
    least = _LEAST * values.amax(1, keepdim=True)
    weights = torch.einsum("bij,bj,bj->bi", vectors, torch.maximum(values, least).rsqrt(), vectors[:, 0]).to(white)
    return root(size * torch.einsum("bi,ibd->bd", weights, torch.stack(basis[:-1])))
