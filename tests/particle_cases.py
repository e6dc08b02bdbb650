"""A particle with noise on its momentum of which everything is known, and seeds, for the tests of particles."""

import math

import numpy as np
import torch
from scipy.linalg import expm

from physinv.equations.sde import Reverse
from physinv.reversal.split import split
from simulators.particles.langevin import UnderdampedParticles

F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Trap:
    """One underdamped particle in a harmonic trap from a Gaussian start: everything is known."""

    sim = UnderdampedParticles(
        particles=1, dimension=1, pair="none", start="cloud", width=0.5, horizon=1.0, friction=0.8
    )
    F = np.array([[0.0, 1.0], [-1.0, -0.8]])
    start = np.diag([0.25, 1.0])

    def transition(self, t):
        """Gain A and noise covariance Q over a time t (Van Loan 1978)."""
        G = np.diag([0.0, 1.6])
        block = expm(np.block([[-self.F, G], [np.zeros((2, 2)), self.F.T]]) * t)
        A = block[2:, 2:].T
        return A, A @ block[:2, 2:]

    def covariance(self, t):
        A, Q = self.transition(t)
        return A @ self.start @ A.T + Q

    def score(self, x, t):
        """Of a batch that shares its time."""
        P = torch.from_numpy(np.linalg.inv(self.covariance(float(t[0])))).to(x)
        return torch.cat([-x[..., :2] @ P, torch.zeros_like(x[..., 2:])], dim=-1)

    def posterior(self):
        """Gain K of the posterior mean, and the posterior covariance."""
        A, _ = self.transition(1.0)
        K = self.start @ A.T @ np.linalg.inv(self.covariance(1.0))
        return K, self.start - K @ A @ self.start

    def chain(self, steps):
        """Mean gain and covariance that the split step arrives at, by pushing unit vectors and unit noises through."""
        reverse, gain, C = Reverse(self.sim, self.score), torch.eye(2, dtype=F64), torch.zeros(2, 2, dtype=F64)
        basis = torch.zeros(2, 1, 3, dtype=F64)
        basis[:, 0, :2] = torch.eye(2, dtype=F64)
        for i in range(steps, 0, -1):
            t0, t1 = (torch.full((2,), j / steps, dtype=F64) for j in (i, i - 1))
            M = split(reverse, basis, t0, t1, torch.zeros((1, 2, 1, 3), dtype=F64))[:, 0, :2].T
            N = split(reverse, torch.zeros_like(basis), t0, t1, basis[None] / math.sqrt(steps))[:, 0, :2].T
            gain, C = M @ gain, M @ C @ M.T + N @ N.T
        return gain.numpy(), C.numpy()
