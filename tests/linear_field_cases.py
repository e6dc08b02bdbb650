"""Dense algebra and slopes, for the tests of linear fields."""

import math

import numpy as np
import torch
from scipy import linalg


def doubles(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clock(*values):
    return torch.tensor(values, dtype=torch.float64)


def close(a, b, atol=1e-14):
    """Every entry within ``atol``; no relative tolerance."""
    return torch.allclose(a, b, rtol=0, atol=atol)


def expm(A):
    """To rounding; torch's own is good to 1e-11 only."""
    return torch.from_numpy(linalg.expm(A.numpy()))


def dense(operator, shape):
    """The matrix of a linear ``operator`` on states of ``shape``."""
    n = math.prod(shape)
    return operator(torch.eye(n, dtype=torch.float64).reshape(n, *shape)).reshape(n, -1).T


def dense_law(sim, time):
    """``e^{At}`` and the covariance of the accumulated noise, from drift and diffusion alone (Van Loan 1978)."""
    n = math.prod(sim.shape)
    A = dense(lambda x: sim.drift(x, torch.zeros(len(x), dtype=torch.float64)), sim.shape)
    g = dense(lambda x: sim.diffuse(x, torch.zeros(len(x), dtype=torch.float64)), sim.shape)
    pieces = 64  # Van Loan's block matrix grows like e^{+|A|t}: short pieces, chained
    block = torch.zeros(2 * n, 2 * n, dtype=torch.float64)
    block[:n, :n], block[:n, n:], block[n:, n:] = -A, g @ g.T, A.T
    whole = expm(block * (time / pieces))
    F = whole[n:, n:].T
    Q, total, power = F @ whole[:n, n:], torch.zeros_like(A), torch.eye(n, dtype=torch.float64)
    for _ in range(pieces):
        total, power = F @ total @ F.T + Q, F @ power
    return power, total


def one_step(sim, h):
    """A step as matrices: ``x' = M x + N xi`` with unit normal ``xi``, all draws side by side."""

    def run(x, xi):
        start = x.new_zeros(len(x))
        return sim.step(sim, x, start, start + h, xi * math.sqrt(h))

    n, draws = math.prod(sim.shape), sim.step.draws
    M = dense(lambda x: run(x, torch.zeros(draws, *x.shape, dtype=torch.float64)), sim.shape)
    N = dense(lambda xi: run(torch.zeros_like(xi[:, 0]), xi.movedim(1, 0)), (draws, *sim.shape))
    assert N.shape == (n, draws * n)
    return M, N


def chain(sim, h, steps):
    """Matrix and noise covariance of ``steps`` steps."""
    M, N = one_step(sim, h)
    F, Q = torch.eye(len(M), dtype=torch.float64), torch.zeros_like(M)
    for _ in range(steps):
        F, Q = M @ F, M @ Q @ M.T + N @ N.T
    return F, Q


def slope(sizes, errors):
    """Order of convergence by least squares in log-log."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def mesh(n, dimension):
    x = torch.arange(n, dtype=torch.float64) * 2 * math.pi / n
    return torch.meshgrid(*[x] * dimension, indexing="ij")
