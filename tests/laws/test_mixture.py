"""Gaussian mixtures: fits by expectation-maximisation, and the number of components by BIC."""

import math

import pytest
import torch

from physinv.laws.mixture import Mixture, cluster, fit_mixture
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


@pytest.mark.parametrize("unit", [2.0**-30, 2.0**-20, 2.0**20])  # powers of two: nothing is rounded by them
def test_clusters_and_fits_do_not_depend_on_the_unit_of_the_data(unit, generator):
    true = OrnsteinUhlenbeck(dim=2, components=3).prior
    x = torch.cat([true.sample(500, generator=generator), torch.ones(200, 2)])  # with a point mass
    seeds = [torch.Generator().manual_seed(0) for _ in range(2)]
    member, scaled = cluster(x, 5, generator=seeds[0]), cluster(unit * x, 5, generator=seeds[1])
    assert member.shape[1] > 2
    assert torch.allclose(scaled, member, atol=1e-6)
    start = Mixture(true.weights, unit * true.means, unit**2 * true.covs)
    fitted, value = fit_mixture(x, true)
    theirs, density = fit_mixture(unit * x, start)
    assert torch.allclose(theirs.covs / unit**2, fitted.covs, rtol=1e-6)
    assert density == pytest.approx(value - 2 * math.log(unit), abs=1e-6)


def test_a_point_mass_at_zero_keeps_a_density():
    x = torch.zeros(20, 2, dtype=torch.float64)
    weights, mean, cov = torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None]
    fitted, _ = fit_mixture(x, Mixture(weights.double(), mean.double(), cov.double()))
    assert bool(fitted.log_prob(x).isfinite().all())
