"""Processes with known posteriors, and measures of an answer, for the tests of the learned baselines."""

import dataclasses

import torch

from physinv.methods.learned.conditional import fit_conditional_diffusion, fit_flow_matching
from physinv.methods.learned.deep_ensemble import fit_deep_ensemble
from physinv.methods.learned.regression import fit_dropout, fit_regression
from physinv.processes.layout import VectorLayout
from physinv.processes.simulator import Simulator
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

NETWORKS = (fit_regression, fit_dropout, fit_deep_ensemble, fit_conditional_diffusion, fit_flow_matching)
OBSERVATIONS = 500
GAUSS = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, steps=2)
MIXTURE = OrnsteinUhlenbeck(dim=2, components=3, steps=2)
RING = Heat(size=8, dimension=1, steps=2, noise=0.5)


@dataclasses.dataclass(frozen=True)
class Led(Simulator):
    """``dx_k = 3 x_1 dt + dW_k / 10``, k = 1 ... 32: all that happens says the same of x_1."""

    title, equation = "led", "dx_k = 3 x_1 dt + dW_k / 10"
    shape, layout, steps = (32,), VectorLayout("x", 32), 2

    def drift(self, x, t):
        return 3 * x[:, :1].expand_as(x)

    def diffusion(self, t):
        return 0.1 * torch.ones_like(t)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn((batch, 32), generator=generator, device=device, dtype=dtype)


def pair(test):
    return test.states(0), test.states(-1)


def missed(estimate, exact, truth):
    """Squared distance to the exact mean, relative to what the latter misses."""
    return float((estimate - exact).square().mean() / (exact - truth).square().mean())
