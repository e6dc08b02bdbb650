"""Annealed populations, against quadrature where the posterior has two modes and where it bends."""

import math

import pytest
import torch

import physinv.methods.classical.monte_carlo.mcmc as module
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.monte_carlo.annealed import anneal
from physinv.methods.classical.monte_carlo.diagnostics import Explored, effective_draws, r_hat, warn_of_short
from physinv.methods.classical.monte_carlo.mcmc import PathPosterior
from physinv.methods.classical.monte_carlo.path import PathObjective, fit_path_model
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=2.0, steps=4)
WEAK, SQUARE = 0.8, 0.05  # noise of a sensor that sees x at .5, and of one that sees x^2 at 2
RECORD = ObservationRecord((0.5, Observation(everything, WEAK)), (2.0, Observation(torch.square, SQUARE)))


def gaussian(x, mean, variance):
    return torch.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def two_modes(y):
    """P(x_0 > 0), mean and deviation of x_0 given what both sensors of RECORD saw, by quadrature over x(2)."""
    times = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    s, t = torch.minimum(times[:, None], times), (times[:, None] - times).abs()
    cov = torch.exp(-0.5 * t) * (torch.exp(-s) + 0.25 * (1 - torch.exp(-s)))  # of x(0), x(.5), x(2)
    cov[1, 1] += WEAK**2
    seen = cov[1:, 1:]
    gain = torch.linalg.solve(seen, cov[1:, :1])[:, 0]
    variance = cov[0, 0] - gain @ cov[1:, 0]

    last = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    law = gaussian(last, cov[1, 2] / cov[1, 1] * y[0], cov[2, 2] - cov[1, 2] ** 2 / cov[1, 1])
    weight = law * gaussian(last**2, y[1], SQUARE**2)
    weight = weight / weight.sum()
    mean = gain[0] * y[0] + gain[1] * last
    positive = (weight * 0.5 * (1 + torch.erf(mean / math.sqrt(2 * variance)))).sum()
    middle = (weight * mean).sum()
    return positive, middle, ((weight * (mean - middle) ** 2).sum() + variance).sqrt()


def test_two_modes_get_their_shares():
    model = fit_path_model(OU, generator=torch.Generator().manual_seed(0))
    posterior = PathPosterior(model, None, 4, 150, 1, 1, 0, particles=256).given(RECORD)
    y = torch.tensor([[0.9, 0.64], [-0.3, 0.36], [0.0, 1.0]])
    found = posterior.explore(y, generator=torch.Generator().manual_seed(1))
    assert float(found.r_hat.max()) < 1.05
    draws = found.draws.flatten(1).double()
    for i in range(3):
        positive, mean, deviation = two_modes(y[i].double())
        # 1024 particles whose shares, means and deviations scatter by .015, .035 and .013 over seeds: four times that
        assert float((draws[i] > 0).double().mean()) == pytest.approx(float(positive), abs=0.06)
        assert float(draws[i].mean()) == pytest.approx(float(mean), abs=0.14 * float(deviation))
        assert float(draws[i].std()) == pytest.approx(float(deviation), rel=0.053)


@pytest.mark.filterwarnings("ignore:mcmc has not converged")
def test_memory_does_not_grow_with_the_observations_of_whole_paths(monkeypatch):
    """Initial states of three observations are drawn at once; of whole paths every iteration is kept."""
    model = fit_path_model(OU, generator=torch.Generator().manual_seed(0))
    posterior = PathPosterior(model, None, 2, 8, 1, 1, 0, particles=8).given(RECORD)
    coordinates = posterior.model.numbers(whole=True) * 2 * 8
    monkeypatch.setattr(module, "_NUMBERS", 3 * coordinates)
    rows, plain = [], anneal
    monkeypatch.setattr(
        module, "anneal", lambda objective, *a, **k: rows.append(len(objective.final)) or plain(objective, *a, **k)
    )
    y = torch.tensor([[0.9, 0.64], [-0.3, 0.36], [0.0, 1.0]])
    posterior.sample(y, 2, generator=torch.Generator().manual_seed(1))
    posterior.sample_at(y, 2, [0.0, 0.25], generator=torch.Generator().manual_seed(1))
    assert rows == [3, 1, 1, 1]


def test_populations_are_as_wide_as_the_posterior_across_and_along():
    """Three numbers, of which the first two are seen: a prior of variance 1 becomes one of .0099 there."""
    process = OrnsteinUhlenbeck(dim=3, components=1, spread=0.0, width=1.0, rate=0.01, noise=0.1, horizon=1.0, steps=1)
    model = fit_path_model(process, generator=torch.Generator().manual_seed(0))
    first = Observation(lambda x: x[:, :2], 1e-4)
    record = ObservationRecord((1.0, first))
    objective = PathObjective(model.through([1.0]), torch.zeros(2, 3), record, torch.tensor([[0.4, -1.0], [2.0, 0.1]]))
    found = anneal(objective, 4, 200, generator=torch.Generator().manual_seed(2))
    assert 4 < found.degrees < 60
    x = model.initial(found.paths.flatten(0, 1), torch.zeros(1600, 3)).reshape(2, 800, 3).double()
    decay = math.exp(-0.01)
    noise = 0.1**2 * (1 - decay**2) / 0.02
    gain = decay / (decay**2 + noise)
    deviation = math.sqrt(1 - gain * decay)
    assert torch.allclose(
        x[:, :, :2].mean(1), gain * torch.tensor([[0.4, -1.0], [2.0, 0.1]]).double(), atol=0.15 * deviation
    )
    assert torch.allclose(x[:, :, :2].std(1), torch.full((2, 2), deviation).double(), rtol=0.12)
    assert torch.allclose(x[:, :, 2].std(1), torch.ones(2).double(), rtol=0.12)
    assert float(r_hat(x.reshape(2, 4, 200, 3)).max()) < 1.1


def test_the_same_seed_gives_the_same_populations():
    model = fit_path_model(OU, generator=torch.Generator().manual_seed(0))
    objective = PathObjective(model, torch.tensor([[0.3]]))
    one, two = (anneal(objective, 2, 16, generator=torch.Generator().manual_seed(3)).paths for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, anneal(objective, 2, 16, generator=torch.Generator().manual_seed(4)).paths)


@pytest.mark.parametrize("n", [3, 4, 50, 64, 150, 512, 2048])
def test_draws_come_from_all_chains_alike_and_from_all_their_length(n):
    which = torch.arange(4.0)[:, None].expand(4, 512) + torch.arange(512.0) / 1024
    one = torch.ones(1)
    drawn = Explored(which[None, :, :, None], one, one, one).thinned(n)[0, :, 0]
    counts = torch.bincount(drawn.long(), minlength=4)
    assert int(counts.max() - counts.min()) <= 1
    assert len(drawn.unique()) == n
    assert float((drawn % 1).mean()) == pytest.approx(0.25, abs=1 / n)


def test_chains_that_stand_still_have_not_converged():
    """What does not vary has an R-hat of 1 and as many effective draws as there are draws, moved or not."""
    draws = torch.zeros(2, 3, 40, 1)
    found = Explored(draws, r_hat(draws)[:, 0], effective_draws(draws)[:, 0], torch.tensor([0.0, 0.8]))
    assert found.short.tolist() == [True, False]
    with pytest.warns(UserWarning, match="not converged for 1 observation: .* chains of 1 stand still .*; raise `p"):
        warn_of_short(found, particles=True)
