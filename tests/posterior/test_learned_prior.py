"""Learned priors: Gaussians are exact whatever was trained, other laws are learned, and densities are normalised."""

import math
from pathlib import Path

import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.equations.fourier import fourier
from physinv.posterior.learned_prior import fit_prior
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


def test_states_with_static_parts_are_refused():
    layout = VectorLayout("x", 2).with_static(["stiffness"])
    header = Header("given", layout, layout.shape, (0.0, 1.0), 4, {}, {})
    data = TrajectoryDataset.of_states(torch.zeros(4, 2, *layout.shape), header, Path("given"))
    with pytest.raises(ValueError, match="without static parts"):
        fit_prior(data, data, budget=Budget(steps=1))
