"""Gaussian mixtures: fits by expectation-maximisation, and the number of components by BIC."""

import math

import torch

from physinv.laws.mixture import cluster, fit_mixture
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


def test_em_recovers_a_mixture_and_bic_its_size(generator):
    true = OrnsteinUhlenbeck(dim=2, components=3).prior
    x = true.sample(3000, generator=generator)
    member = cluster(x, 6, generator=generator)
    assert member.shape == (3000, 3)
    assert torch.allclose(member.mean(0).sort().values, true.weights.sort().values, atol=0.05)
    fitted, value = fit_mixture(x, true)
    assert value >= float(true.log_prob(x).mean()) - 1e-9  # EM never lowers the likelihood it starts from
    assert torch.allclose(fitted.means, true.means, atol=5 * 0.3 / math.sqrt(500))
    assert cluster(x[:, :1] * 0 + 1.0, 4, generator=generator).shape[1] == 1  # a point mass
