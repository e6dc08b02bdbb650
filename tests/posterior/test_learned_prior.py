"""Learned priors: Gaussians are exact whatever was trained, other laws are learned, and densities are normalised."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.equations.fourier import fourier
from physinv.equations.noising import Noising
from physinv.models.score import ScoreModel
from physinv.posterior.learned_prior import LearnedPrior, fit_prior
from physinv.processes.layout import VectorLayout
from physinv.training.budget import Budget


def vectors(x):
    """Trajectories of two equal times that start at given vectors."""
    return TrajectoryDataset.from_arrays(x[:, None].expand(-1, 2, -1).numpy(), times=[0.0, 1.0], names="x")


def test_gaussian_vectors_are_drawn_and_weighed_exactly(generator):
    """Components of different size and mean: draws and log densities in the units of the data."""
    scale, mean = torch.tensor([2.0, 0.05]), torch.tensor([3.0, -1.0])
    data = vectors(mean + scale * torch.randn(4000, 2, generator=generator))
    prior = fit_prior(data, data, budget=Budget(steps=1))
    drawn = prior.draw(4000, steps=8, generator=generator)
    assert torch.allclose(((drawn - mean) / scale).mean(0), torch.zeros(2), atol=0.1)  # 6 errors of mean and sample
    assert torch.allclose(drawn.std(0) / scale, torch.ones(2), atol=0.08)
    x = mean + scale * torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    want = torch.distributions.Normal(mean, scale).log_prob(x).sum(1)
    # the variance is known to 2 %, and 1e-4 of it is noise
    assert torch.allclose(prior.log_prob(x), want, atol=0.1)


def test_periodic_fields_get_their_spectrum(generator):
    """One update is no training: the power of each mode comes from the reference law."""
    modes = torch.tensor([4.0, 4.0, 1.0, 0.25, 0.05])
    white = torch.randn(2000, 1, 8, generator=generator)
    x = torch.fft.irfft(torch.fft.rfft(white) * modes.sqrt(), n=8) + 5
    x = x[:, None].expand(-1, 2, 1, 8).numpy()
    place = {"x": range(8)}
    data = TrajectoryDataset.from_arrays(x, times=[0.0, 1.0], coordinates=place, names="u", boundary="periodic")
    prior = fit_prior(data, data, budget=Budget(steps=1), settings={"width": 8})
    drawn = prior.draw(2000, steps=4, generator=generator)
    power = fourier((drawn - 5).double()).abs().square().mean((0, 1))
    assert torch.allclose(power / modes.double(), torch.ones(5, dtype=torch.float64), atol=6 * math.sqrt(4 / 2000))


def test_two_peaks_are_learned_and_the_density_integrates_to_one(generator):
    """Peaks at -2 and 2 of deviation 1/2: |x| has the deviation .5, that of the Gaussian to begin with is 1.24."""
    x = 4.0 * torch.randint(0, 2, (1000, 1), generator=generator) - 2 + 0.5 * torch.randn(1000, 1, generator=generator)
    data = vectors(x)
    prior = fit_prior(data, data, budget=Budget(steps=500))
    drawn = prior.draw(1000, generator=generator)
    assert float(drawn.abs().std()) < 1.1
    at = torch.linspace(-6, 6, 121)[:, None]
    assert float(prior.log_prob(at).exp().sum() * 0.1) == pytest.approx(1, abs=0.01)

    # The flow draws peaks as well, and is undone but in the middle, where it is steep.
    u = torch.randn(1000, 1, generator=generator)
    size = prior.decode(u).abs()
    assert float(size.std()) < 1.1
    assert float(size.mean()) == pytest.approx(2, abs=0.3)
    near = u[u.abs()[:, 0] > 0.5]
    assert float((prior.encode(prior.decode(near)) - near).abs().mean()) < 0.1
    again = LearnedPrior.from_tensors(prior.tensors(), VectorLayout("x", 1), Settings())
    assert torch.equal(again.decode(u), prior.decode(u))


class TwoValues(ScoreModel):
    """The exact score of a number that is -1 or 1 with equal odds."""

    process: Noising

    def output(self, x, t):
        a, v = self.process.decay(0.0, t, x), self.process.variance(0.0, t, x)
        exact = (a * torch.tanh(a * x / v) - x) / v
        return (exact - self.reference.score(x, t)) / self.reference.lift(torch.ones_like(x), x, t)


def test_the_flow_of_the_exact_score_leads_to_the_values_that_states_have(generator):
    data = vectors(2.0 * torch.randint(0, 2, (1000, 1), generator=generator) - 1)
    prior = fit_prior(data, data, budget=Budget(steps=1))
    model = TwoValues(prior.model.reference, prior.model.network, prior.model.clock)
    model.process = prior.process
    u = torch.randn(4000, 1, generator=generator)
    reached = replace(prior, model=model).decode(u)
    apart = u.abs() > 0.02  # closer to 0 the flow is too steep for eight steps
    assert float((reached - u.sign())[apart].abs().max()) < 0.1


def correlated(generator, n=4000):
    """Draws of two correlated numbers far from the origin, and their law."""
    mean, C = torch.tensor([3.0, -1.0]), torch.tensor([[4.0, 0.9], [0.9, 0.25]])
    law = torch.distributions.MultivariateNormal(mean, C)
    return mean + torch.randn(n, 2, generator=generator) @ torch.linalg.cholesky(C).T, law


def test_principal_axes_make_correlated_gaussians_exact_before_training(generator):
    """Draws, density, score, coordinates: of a Gaussian law everything is known but for the error of 4000 states."""
    x, law = correlated(generator)
    prior = fit_prior(vectors(x), vectors(x), budget=Budget(steps=1))
    drawn = prior.draw(4000, steps=4, generator=generator)
    assert float(torch.corrcoef(drawn.T)[0, 1]) == pytest.approx(0.9, abs=0.02)  # 5 errors (1 - .81)/sqrt(4000), twice
    at = law.mean + torch.tensor([[0.0, 0.0], [2.0, 0.45], [1.0, -0.3]])
    assert torch.allclose(prior.log_prob(at), law.log_prob(at), atol=0.2)  # variances to 3 %, of half of the states
    slope = -torch.linalg.solve(law.covariance_matrix, (at - law.mean).T).T
    gap = (prior.score(at) - slope) @ torch.linalg.cholesky(law.covariance_matrix)
    assert float(gap.abs().max()) < 0.1  # in units where scores are 0 to 2

    # decode is a root of the covariance, and encode its inverse.
    u = torch.randn(4, 2, generator=generator)
    ends = prior.decode(torch.eye(2)) - prior.decode(torch.zeros(1, 2))
    assert torch.allclose(ends.T @ ends, law.covariance_matrix, rtol=0.15)
    assert torch.allclose(prior.encode(prior.decode(u)), u, atol=0.01)


def test_states_given_noised_ones_have_mean_and_covariance_of_the_joint_gaussian(generator):
    x, law = correlated(generator)
    prior = fit_prior(vectors(x), vectors(x), budget=Budget(steps=1))
    t, z = torch.full((2,), 0.3), torch.tensor([[0.5, -1.0], [2.0, 1.0]])
    a, v = prior.process.decay(0.0, t, z)[0], prior.process.variance(0.0, t, z)[0]
    S = law.covariance_matrix / prior.scale / prior.scale[:, None]  # in standardised units the mean is 0
    gain = a * torch.linalg.solve(a**2 * S + v * torch.eye(2), S).T
    mean, covariance = prior.start_given(z, t)
    assert torch.allclose((mean - prior.mean) / prior.scale, z @ gain.T, atol=0.05)  # variances to 3 %
    left = (S - a * gain @ S) * prior.scale * prior.scale[:, None]
    assert torch.allclose(covariance.apply(torch.eye(2)), left, rtol=0.1, atol=0.01)
    roots = covariance.root(torch.eye(2))
    assert torch.allclose(roots.T @ roots, covariance.apply(torch.eye(2)), atol=1e-5)


def test_states_with_static_parts_are_refused():
    layout = VectorLayout("x", 2).with_static(["stiffness"])
    header = Header("given", layout, layout.shape, (0.0, 1.0), 4, {}, {})
    data = TrajectoryDataset.of_states(torch.zeros(4, 2, *layout.shape), header, Path("given"))
    with pytest.raises(ValueError, match="without static parts"):
        fit_prior(data, data, budget=Budget(steps=1))
