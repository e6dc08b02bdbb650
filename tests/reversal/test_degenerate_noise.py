"""Noise on momenta only, through loss, reversal and likelihood."""

import math

import numpy as np
import pytest
import torch
from particle_cases import F64, Trap, seeded

from physinv.posterior.posterior import Posterior
from physinv.reversal.split import split
from physinv.training.objectives.base import Batch
from physinv.training.objectives.trajectory import trajectory_loss


def test_reversal_with_noise_on_momenta_only_converges_to_the_exact_posterior():
    trap = Trap()
    K, C = trap.posterior()
    counts = (25, 50, 100)
    found = [trap.chain(n) for n in counts]
    for errors in ([np.abs(g - K).max() for g, _ in found], [np.abs(c - C).max() for _, c in found]):
        assert np.polyfit(np.log(counts), np.log(errors), 1)[0] == pytest.approx(-1.0, abs=0.15)  # first order
        assert errors[-1] < 0.03
    # Posterior draws what the chain says, and mean_flow is its mean
    times = torch.linspace(0, 1, 26, dtype=F64)
    posterior = Posterior(trap.sim, trap.score, times)
    final = torch.tensor([[[0.7, -0.4, 1.0]]], dtype=F64)
    mean, n = found[0][0] @ np.array([0.7, -0.4]), 10_000
    assert np.allclose(posterior.mean_flow(final)[0, 0, :2], mean, atol=1e-10)
    draws = posterior.sample(final, n, generator=seeded())[0, :, 0]
    assert torch.equal(draws[:, 2], torch.ones(n, dtype=F64))  # the static channel stays
    spread = np.sqrt(np.diag(found[0][1]))
    assert np.all(np.abs(draws[:, :2].mean(0).numpy() - mean) < 5 * spread / math.sqrt(n))
    outer = np.outer(spread, spread)  # standard error of a covariance: at most sqrt(2/n) of the product of deviations
    assert np.all(np.abs(np.cov(draws[:, :2].T.numpy()) - found[0][1]) < 5 * math.sqrt(2 / n) * outer)


def test_loss_with_noise_on_momenta_only_is_minimised_by_the_score():
    """Of all multiples c s the loss (a parabola in c) is least at c = 1 + O(dt), with exact transitions as data."""
    trap, n = Trap(), 40_000
    optimum = []
    for dt in (0.02, 0.04):
        A, Q = trap.transition(dt)
        first = np.linalg.cholesky(trap.covariance(0.5)) @ np.random.default_rng(0).normal(size=(2, n))
        second = A @ first + np.linalg.cholesky(Q) @ np.random.default_rng(1).normal(size=(2, n))
        states = torch.ones(n, 2, 1, 3, dtype=F64)
        states[..., 0, :2] = torch.from_numpy(np.stack([first.T, second.T], axis=1))
        times = torch.tensor([0.5, 0.5 + dt], dtype=F64).expand(n, 2)
        P = torch.from_numpy(np.linalg.inv(trap.covariance(0.5 + dt)))

        def value(c, P=P, states=states, times=times):
            def score(x, t):
                return torch.cat([-c * x[..., :2] @ P, torch.zeros_like(x[..., 2:])], dim=-1)

            return float(trajectory_loss(score, trap.sim, Batch(states, times), step=split))

        low, middle, high = value(0.0), value(1.0), value(2.0)
        optimum.append(1 + (low - high) / (2 * (low - 2 * middle + high)))
        # at the optimum the momentum residual is whitened noise: 1 per noisy component, 1 of 3 components
        assert middle == pytest.approx(1 / 3, rel=5 * math.sqrt(2 / n) + 2 * dt)
    # standard error of c: noise sqrt(q) against signal q |s| gives 1 / sqrt(n q P), with q = 1.6 dt and P about 1
    for dt, c in zip((0.02, 0.04), optimum, strict=True):
        assert c == pytest.approx(1.0, abs=5 / math.sqrt(n * 1.6 * dt) + 2 * dt)
    gap = trap.sim.whiten(torch.ones(1, 1, 3), torch.zeros(1), torch.full((1,), 0.25))
    assert gap[0, 0].tolist() == pytest.approx([0.0, 1 / math.sqrt(1.6 * 0.25), 0.0])


def test_likelihood_with_noise_on_momenta_only():
    trap = Trap()

    def gaussian(x, C):
        law = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=F64), torch.from_numpy(C))
        return law.log_prob(x[:, 0, :2])

    posterior = Posterior(trap.sim, trap.score, torch.linspace(0, 1, 11, dtype=F64))
    x = trap.sim.initial(3, generator=seeded(), dtype=F64)
    found = posterior.log_prob(x, base=lambda y: gaussian(y, trap.covariance(1.0)), start=0.0)
    assert torch.allclose(found, gaussian(x, trap.start), atol=1e-3)  # the adaptive solver's tolerance, 1e-5 per step
