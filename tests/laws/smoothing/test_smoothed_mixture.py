"""The exact answer to a record from a Gaussian mixture: against quadrature over x_0, and one component alone."""

import dataclasses
import math

import pytest
import torch

from physinv.laws.exact import MixturePosterior
from physinv.laws.mixture import Mixture
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

F64 = torch.float64
TIMES = (0.5, 1.0, 1.5, 2.0)
SEVERAL = ObservationRecord(*((t, Observation(everything, 0.3)) for t in TIMES))
NORMAL = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=2.0, steps=4)
THREE = dataclasses.replace(NORMAL, components=3, spread=1.5, width=0.3)


def test_four_noisy_sensors_of_the_process_itself(generator):
    """The deviation of x_0 for N(0, 1): .46369."""
    law = NORMAL.exact().given(SEVERAL)
    y, n = torch.tensor([[0.9, 0.2, 0.3, -0.2]], dtype=F64), 4_000
    assert float(law.parts[0].deviation_at([0.0])) == pytest.approx(0.46369, rel=2e-5)
    assert float(law.sample(y, n, generator=generator).std()) == pytest.approx(0.46369, rel=5 / math.sqrt(2 * n))


def by_quadrature(y):
    """Mean and deviation of x_0 and log p(y) of THREE, by a sum over x_0: what is seen of each is Gaussian."""
    x0 = torch.linspace(-6, 6, 24_001, dtype=F64)
    t, a, g = torch.tensor(TIMES, dtype=F64), 0.5, 0.5
    early, late = torch.minimum(t[:, None], t), torch.maximum(t[:, None], t)
    noise = g**2 * -torch.expm1(-2 * a * early) / (2 * a) * torch.exp(-a * (late - early))
    cov = noise + 0.3**2 * torch.eye(len(t), dtype=F64)
    seen = torch.distributions.MultivariateNormal(x0[:, None] * torch.exp(-a * t), cov)
    logs = THREE.prior.log_prob(x0[:, None]) + seen.log_prob(y)
    p, step = logs.softmax(0), float(x0[1] - x0[0])
    mean = float(p @ x0)
    return mean, math.sqrt(float(p @ (x0 - mean).square())), float(logs.logsumexp(0)) + math.log(step)


def test_a_mixture_is_weighed_by_the_evidence_of_its_components(generator):
    y, n = torch.tensor([[0.6, 0.35, 0.4, 0.1], [-0.2, -0.5, 0.1, 0.0]], dtype=F64), 4_000
    law = THREE.exact().given(SEVERAL)
    drawn = law.sample(y, n, generator=generator)
    for i in range(2):
        mean, deviation, evidence = by_quadrature(y[i])
        assert float(law.mean(y)[i]) == pytest.approx(mean, abs=1e-6)
        assert float(law.log_evidence(y)[i]) == pytest.approx(evidence, abs=1e-6)
        assert float(drawn[i].mean()) == pytest.approx(mean, abs=5 * deviation / math.sqrt(n))
        assert float(drawn[i].std()) == pytest.approx(deviation, rel=0.08)  # 5 standard errors


def test_components_of_any_covariance_and_x_T_seen_almost_exactly():
    """Given x_T with next to no noise the answer is the closed form given x_T."""
    root = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=F64)
    means = torch.randn(2, 3, generator=torch.Generator().manual_seed(2), dtype=F64)
    prior = Mixture(torch.tensor([0.3, 0.7], dtype=F64), means, root @ root.mT + 0.1 * torch.eye(3, dtype=F64))
    law = MixturePosterior(prior, 0.5, 0.5, 2.0)
    final = torch.tensor([[0.5, -0.3, 0.8], [1.0, 0.1, -0.9]], dtype=F64)
    given = law.given(Observation(everything, 1e-5))
    assert torch.allclose(given.mean(final), law.mean(final), atol=1e-6)
    assert torch.allclose(given.log_evidence(final), law.final_log_prob(final), atol=1e-6)


def test_a_trajectory_belongs_to_one_component(generator):
    """States at 0 and .1 of wide apart, narrow components: always near the same one; missing numbers count as none."""
    apart = dataclasses.replace(THREE, width=0.05, noise=0.05)
    y = torch.tensor([[math.nan, math.nan, math.nan, 0.0]], dtype=torch.float32)
    blurred = ObservationRecord(*((t, Observation(everything, 2.0)) for t in TIMES))
    drawn = apart.exact().given(blurred).sample_at(y, 500, [0.0, 0.1], generator=generator)
    assert drawn.dtype == torch.float32
    nearest = (drawn / 1.5).round()
    assert nearest.unique().tolist() == [-1.0, 0.0, 1.0]
    assert torch.equal(nearest[:, :, 0], nearest[:, :, 1])


def test_other_noise_is_the_same_record_with_that_noise():
    y = torch.tensor([[0.6, 0.35, 0.4, 0.1]], dtype=F64)
    louder = ObservationRecord(*((t, Observation(everything, 0.6)) for t in TIMES))
    law = THREE.exact().given(SEVERAL).scaled(2.0)
    assert torch.allclose(law.mean(y), THREE.exact().given(louder).mean(y), atol=1e-10)
