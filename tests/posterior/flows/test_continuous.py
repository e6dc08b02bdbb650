"""Continuous flows: densities against Gaussians, exact and estimated, and training by likelihood and by matching."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal

from physinv.equations.noising import VE
from physinv.models.networks.mlp import MLP
from physinv.posterior.flows.continuous import ContinuousFlow, likelihood_loss, matching_loss
from physinv.posterior.likelihood import hutchinson, rademacher
from physinv.training.objectives.base import Batch

MEAN = torch.tensor([0.4, -0.3], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.2, 0.5], [0.5, 0.7]], dtype=torch.float64)


class Gaussian(nn.Module):
    """The network of the flow to N(m, S): v = m + (t S - (1 - t)) H^-1 (y - t m), H = (1 - t)^2 + t^2 S."""

    def forward(self, scaled, t):
        s, h = float(t[0]), float((1 - t[0]) ** 2 + t[0] ** 2)
        y, unit = scaled * math.sqrt(h), torch.eye(2, dtype=scaled.dtype)
        covariance = COVARIANCE.to(scaled)
        now = (1 - s) ** 2 * unit + s**2 * covariance
        velocity = MEAN.to(y) + (y - s * MEAN.to(y)) @ torch.linalg.solve(now, s * covariance - (1 - s) * unit)
        return math.sqrt(h) * (velocity - (2 * s - 1) / h * y)


def test_a_known_velocity_has_the_density_of_its_gaussian(generator):
    """To 1e-3 nats, by the exact trace; and its draws have its mean and covariance."""
    flow, law = ContinuousFlow(Gaussian()), MultivariateNormal(MEAN, COVARIANCE)
    x = MEAN + torch.randn(20, 2, dtype=torch.float64, generator=generator)
    assert torch.allclose(flow.log_prob(x, tolerance=1e-8), law.log_prob(x), atol=1e-6)
    assert torch.allclose(flow.log_prob(x.float()).double(), law.log_prob(x), atol=1e-3)
    z = torch.randn(20_000, 2, dtype=torch.float64, generator=generator)
    drawn = flow.transport(z)
    # the flow is linear and commutes with nothing else: a map with A A^T = COVARIANCE, to the order of Heun's method
    shift = flow.transport(torch.zeros(1, 2, dtype=torch.float64))
    columns = (flow.transport(torch.eye(2, dtype=torch.float64)) - shift).T
    assert torch.allclose(shift[0], MEAN, atol=1e-3)
    assert torch.allclose(columns @ columns.T, COVARIANCE, atol=2e-3)
    assert torch.allclose(drawn, z @ columns.T + shift, atol=1e-9)


def test_hutchinson_s_estimate_is_unbiased_to_1e_3_nats(generator):
    flow, law = ContinuousFlow(Gaussian()), MultivariateNormal(MEAN, COVARIANCE)
    x = MEAN[None].expand(400, 2)
    guessed = flow.log_prob(x, divergence=hutchinson(rademacher(x, 1, generator=generator)))
    assert float(guessed.std()) > 0.1
    error = 5 * float(guessed.std()) / math.sqrt(400)
    assert float(guessed.mean()) == pytest.approx(float(law.log_prob(MEAN)), abs=error)
    # z . J z of signs is tr J +- (J_12 + J_21): of all four probes the mean is the trace
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    four = flow.log_prob(MEAN[None], divergence=hutchinson(signs[:, None]))
    assert float(four) == pytest.approx(float(law.log_prob(MEAN)), abs=1e-3)


@pytest.mark.parametrize(("loss", "updates"), [(matching_loss, 300), (likelihood_loss, 40)])
def test_training_finds_the_density_of_a_gaussian(loss, updates, generator):
    """N(.5, .7^2), from which the untrained flow is (.49 + .25 - 1)/2 - log .7 = .227 nats away (Kullback-Leibler)."""
    torch.manual_seed(0)
    flow, law = ContinuousFlow(MLP(1, 1, width=16, depth=1)), Normal(0.5, 0.7)
    optimiser = torch.optim.Adam(flow.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    x = torch.linspace(-1.6, 2.6, 22)[:, None]  # three deviations to each side
    weight = law.log_prob(x)[:, 0].exp() * 0.2

    def divergence():
        return float((weight * (law.log_prob(x)[:, 0] - flow.log_prob(x))).sum())

    before = divergence()
    for _ in range(updates):
        z = 0.5 + 0.7 * torch.randn(512, 1, generator=generator)
        batch = Batch(torch.stack([z, z], 1), torch.tensor([0.0, 1.0]).expand(512, 2), generator=generator)
        optimiser.zero_grad()
        loss(flow, VE(), batch).backward()
        optimiser.step()
        schedule.step()
    assert before == pytest.approx(0.227, abs=0.01)
    # to 1e-3 nats by matching; of the slow updates through the solver there are few
    assert divergence() < (1e-3 if loss is matching_loss else 0.01)


def test_the_likelihood_is_differentiated_rightly():
    """Against central differences in a weight, in float64."""
    torch.manual_seed(0)
    flow = ContinuousFlow(MLP(2, 2, width=4, depth=1)).double()
    for p in flow.parameters():
        nn.init.normal_(p, std=0.5)
    x = torch.tensor([[0.3, -1.0]], dtype=torch.float64)
    weight = flow.network.layers[0].weight
    value = flow.log_prob(x, tolerance=1e-6, differentiable=True).mean()
    (slope,) = torch.autograd.grad(value, weight)
    ends = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            weight[1, 0] += step
            ends.append(float(flow.log_prob(x, tolerance=1e-6).mean()))
            weight[1, 0] -= step
    assert float(slope[1, 0]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3)
