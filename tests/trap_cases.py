"""Shared by the tests of thermodynamics: a trap that is dragged or stiffened, and energies in closed form."""

import math
from dataclasses import dataclass

import torch

import physinv as pi

F64 = torch.float64


def source(seed=0):
    """A generator."""
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    """Normal numbers in float64, none of those that ``source`` yields."""
    return torch.randn(shape, dtype=F64, generator=source(1000 + seed))


@dataclass(frozen=True)
class Trap(pi.Simulator):
    """A particle in the trap ``stiffness/2 (x - centre)^2``, of mobility and temperature 1."""

    title = "Trap"
    equation = "dx = -stiffness (x - centre) dt + sqrt(2) dW"
    layout = pi.VectorLayout("position", 1)

    stiffness: float = pi.parameter(1.0, "k", "spring constant", above=0)
    centre: float = pi.parameter(0.0, "c", "centre")

    inverse_temperature = 1.0

    def potential(self, x):
        return self.stiffness / 2 * (x[:, 0] - self.centre) ** 2

    def drift(self, x, t):
        return -self.stiffness * (x - self.centre)

    def diffusion(self, t):
        return 2**0.5 * torch.ones_like(t)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn((batch, 1), generator=generator, device=device, dtype=dtype)


def gaussian(variance, mean=0.0):
    """The energy ``|x - mean|^2 / (2 variance)``."""
    return lambda x: (x - mean).square().flatten(1).sum(1) / (2 * variance)


def grid_log_z(energy, reach=6.0, points=200_001):
    """``log Z`` of an energy in one dimension, by the trapezoidal rule."""
    x = torch.linspace(-reach, reach, points, dtype=F64)
    return float((-energy(x[:, None])).logsumexp(0)) + math.log(2 * reach / (points - 1))
