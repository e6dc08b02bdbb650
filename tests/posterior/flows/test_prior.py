"""Laws of states by flows: Gaussians are exact whatever was trained, and densities are in the units of the data."""

from pathlib import Path

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from physinv.data.dataset import TrajectoryDataset
from physinv.data.file_format import Header
from physinv.equations.fourier import fourier
from physinv.equations.gaussian import gaussian_log_prob
from physinv.laws.prior import Prior
from physinv.posterior.flows.prior import fit_flow
from physinv.processes.layout import VectorLayout
from physinv.training.budget import Budget

MODES = torch.tensor([0.0, 4.0, 1.0, 0.25, 0.05])


def vectors(x):
    return TrajectoryDataset.from_arrays(x[:, None].expand(-1, 2, -1).numpy(), times=[0.0, 1.0], names="x")


@pytest.mark.parametrize("loss", ["matching", "likelihood"])
def test_gaussian_vectors_are_drawn_and_weighed_exactly(loss, generator):
    """One update is no training: mean and deviation come from the data, and the density counts their units."""
    scale, mean = torch.tensor([2.0, 0.05]), torch.tensor([3.0, -1.0])
    data = vectors(mean + scale * torch.randn(4000, 2, generator=generator))
    law = fit_flow(
        data, data, budget=Budget(steps=1), loss=loss, settings={"width": 8, "batch": 64, "validate_windows": 64}
    )
    drawn = law.draw(4000, steps=8, generator=generator)
    assert torch.allclose(((drawn - mean) / scale).mean(0), torch.zeros(2), atol=0.1)  # 6 errors of mean and sample
    assert torch.allclose(drawn.std(0) / scale, torch.ones(2), atol=0.08)
    x = mean + scale * torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    # the variance is known to 2 %
    assert torch.allclose(law.log_prob(x), Normal(mean, scale).log_prob(x).sum(1), atol=0.1)


def test_correlated_vectors_in_very_different_units_are_exact_before_any_training(generator):
    """Component by component a correlation of .95 costs a nat, and takes thousands of updates to learn."""
    mean, scale = torch.tensor([3.0, -1e-3]), torch.tensor([1e3, 1e-3])
    root = torch.linalg.cholesky(torch.tensor([[1.0, 0.95], [0.95, 1.0]]))
    n = 20000
    data = vectors(mean + scale * (torch.randn(n, 2, generator=generator) @ root.T))
    law = fit_flow(data, data, budget=Budget(steps=1), settings={"width": 8, "batch": 64, "validate_windows": 64})
    z = torch.randn(200, 2, generator=generator)
    exact = MultivariateNormal(mean / scale, root @ root.T).log_prob(mean / scale + z @ root.T) - scale.log().sum()
    # half of the data tell the variances, to (2 / 10000)^.5: of the two axes .014 (z^2 - 1)/2 each
    assert float((law.log_prob(mean + scale * (z @ root.T)) - exact).square().mean().sqrt()) < 0.05
    drawn = (law.draw(n, steps=8, generator=generator) - mean) / scale
    assert float(torch.corrcoef(drawn.T)[0, 1]) == pytest.approx(0.95, abs=0.005)  # (1 - .95^2)/n^.5 = .0007 each
    x = mean + scale * (z[:20] @ root.T)
    assert torch.allclose((law.decode(law.encode(x)) - x) / scale, torch.zeros(20, 2), atol=1e-3)


@pytest.mark.parametrize("copy", [True, False])
def test_fields_between_walls_have_the_density_of_their_points(copy, generator):
    """Also where one point repeats another, so that there is no density along their difference to be exact about."""
    covariance = 4 * 0.8 ** (torch.arange(6.0)[:, None] - torch.arange(6.0)).abs()
    x = torch.randn(8000, 6, generator=generator) @ torch.linalg.cholesky(covariance).T
    x = torch.cat([x[:, :5], x[:, 4:5]], 1) if copy else x
    frames = x[:, None, None].expand(-1, 2, -1, -1).numpy()
    place = {"x": range(6)}
    data = TrajectoryDataset.from_arrays(frames, times=[0.0, 1.0], coordinates=place, names="u", boundary="wall")
    law = fit_flow(data, data, budget=Budget(steps=1), settings={"width": 8, "validate_windows": 64})
    seen = x[:50, None]
    found = law.log_prob(seen)
    assert found.isfinite().all()
    if not copy:
        exact = MultivariateNormal(torch.zeros(6), covariance).log_prob(x[:50])
        # half of the data tell six variances to (2 / 4000)^.5 = .022 each; axes and mean add as much again
        assert float((found - exact).square().mean().sqrt()) < 0.2
        assert abs(float((found - exact).mean())) < 0.05


def test_periodic_fields_get_their_spectrum_and_their_density(generator):
    """Also where a mode does not vary, as the mean of heat: it stays, and is left out of the density."""
    white = torch.randn(2000, 1, 8, generator=generator)
    x = torch.fft.irfft(torch.fft.rfft(white) * MODES.sqrt(), n=8) + 5
    frames = x[:, None].expand(-1, 2, 1, 8).numpy()
    place = {"x": range(8)}
    data = TrajectoryDataset.from_arrays(frames, times=[0.0, 1.0], coordinates=place, names="u", boundary="periodic")
    law = fit_flow(data, data, budget=Budget(steps=1), settings={"width": 8})
    drawn = law.draw(2000, steps=8, generator=generator)
    assert torch.allclose(drawn.mean(-1), torch.full((2000, 1), 5.0), atol=1e-3)
    power = fourier((drawn - 5).double()).abs().square().mean((0, 1))
    # six standard errors: of data and of draws, in real modes
    assert torch.allclose(
        power[1:] / MODES[1:].double(), torch.ones(4, dtype=torch.float64), atol=6 * (4 / 2000) ** 0.5
    )
    want = gaussian_log_prob(fourier(x[:4] - 5), MODES, x[:4])
    assert torch.allclose(law.log_prob(x[:4]), want, atol=7 * 0.1)


def test_numbers_of_very_different_size_all_vary(generator):
    scale = torch.tensor([1e5, 1e-2])
    data = vectors(scale * torch.randn(500, 2, generator=generator))
    law = fit_flow(data, data, budget=Budget(steps=1), settings={"width": 8})
    assert torch.allclose(law.draw(2000, generator=generator).std(0) / scale, torch.ones(2), atol=0.2)
    with pytest.raises(ValueError, match="whose squares float32 can hold"):
        fit_flow(vectors(1e25 * torch.randn(20, 2, generator=generator)), data, budget=Budget(steps=1))


def test_noise_becomes_a_draw_differentiably(generator):
    data = vectors(3 + 2 * torch.randn(500, 1, generator=generator))
    law = fit_flow(data, data, budget=Budget(steps=1), settings={"width": 8})
    u = torch.zeros(1, 1, requires_grad=True)
    (slope,) = torch.autograd.grad(law.decode(u).sum(), u)
    assert float(slope) == pytest.approx(2.0, rel=0.1)  # the deviation of 500 data is known to 3 %


def test_what_cannot_be_learned_is_refused():
    layout = VectorLayout("x", 2).with_static(["stiffness"])
    header = Header("given", layout, layout.shape, (0.0, 1.0), 4, {}, {})
    data = TrajectoryDataset.of_states(torch.zeros(4, 2, *layout.shape), header, Path("given"))
    with pytest.raises(ValueError, match="without static parts"):
        fit_flow(data, data, budget=Budget(steps=1))
    data = vectors(torch.zeros(4, 1))
    with pytest.raises(ValueError, match="`loss` must be one of matching, likelihood, got 'score'"):
        fit_flow(data, data, budget=Budget(steps=1), loss="score")


def test_a_flow_is_a_prior_with_coordinates_and_a_score(generator):
    """decode undoes encode; the score is -(x - m)/S of data from N(m, S), where the network is next to nothing."""
    scale, mean = torch.tensor([2.0, 0.05]), torch.tensor([3.0, -1.0])
    data = vectors(mean + scale * torch.randn(4000, 2, generator=generator))
    law = fit_flow(data, data, budget=Budget(steps=1), settings={"width": 8, "batch": 64})
    assert isinstance(law, Prior)
    x = mean + scale * torch.randn(20, 2, generator=generator)
    u = law.encode(x)
    assert torch.allclose(law.decode(u), x, atol=1e-4)
    assert torch.allclose(u, (x - mean) / scale, atol=0.2)
    # the variance is known to 2 %, the mean to .016 deviations
    assert torch.allclose(law.score(x) * scale, -(x - mean) / scale, atol=0.25)
    assert not torch.allclose(law.score(x) * scale, (x - mean) / scale, atol=0.25)
