"""Regression and dropout: the posterior mean, and noise of the size that is missed."""

import pytest
import torch
from learned_cases import GAUSS, MIXTURE, NETWORKS, OBSERVATIONS, RING, missed, pair

from physinv.methods.classical.linear_estimate import fit_linear
from physinv.methods.learned.coordinates import TargetCoordinates
from physinv.methods.learned.operator import fit_fno
from physinv.methods.learned.regression import fit_dropout, fit_regression
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.mark.parametrize("fit", [*NETWORKS, fit_fno], ids=lambda f: f.__name__)
def test_networks_learn_from_estimates_that_have_not_seen_the_answer(fit, make, monkeypatch):
    """16 numbers from 20 trajectories: what the linear estimate misses on its own data is far less than elsewhere."""
    if fit is fit_fno:
        pytest.importorskip("neuralop")
    sizes, plain = [], TargetCoordinates.context_of

    def watched(coordinates, batch):
        context = plain(coordinates, batch)
        if torch.is_grad_enabled():  # in training
            own = coordinates.context(batch.states[:, 1])
            sizes.append([float(coordinates.target(batch.states[:, 0], c).square().mean()) for c in (context, own)])
        return context

    monkeypatch.setattr(TargetCoordinates, "context_of", watched)
    many = OrnsteinUhlenbeck(dim=16, components=1, spread=0.0, width=1.0, steps=2)
    problem, _ = make(RING if fit is fit_fno else many, 50, trajectories=20, batch=20)
    fit(problem)
    honest, own = torch.tensor(sizes).mean(0).tolist()
    assert honest != own
    if fit is not fit_fno:  # in units of what is missed on 8 validation trajectories: known to sqrt(2/128) = 12 %
        assert honest == pytest.approx(1.0, abs=0.5)
        assert own < 0.75 * honest


def test_regression_finds_a_nonlinear_posterior_mean(make):
    problem, test = make(MIXTURE, 600, batch=512)
    (truth, final), exact = pair(test), MIXTURE.exact()
    answer = fit_regression(problem)
    linear = fit_linear(problem.simulator, problem.train, problem.valid)
    before, after = (missed(a.mean(final), exact.mean(final), truth) for a in (linear, answer))
    # Estimation alone costs (parameters in use)/2000 of what is missed: .02 is that of 40.
    assert before > 0.1
    assert after < 0.02
    draws = answer.sample(final, 3)
    assert draws.shape == (OBSERVATIONS, 3, 2)
    assert torch.equal(draws[:, 2], answer.mean(final))


def test_regression_is_the_posterior_mean_of_a_gaussian_process(make):
    problem, test = make(GAUSS, 200)
    truth, final = pair(test)
    # least squares for the two numbers of a line: 2/2000 of what is missed; five times that
    assert missed(fit_regression(problem).mean(final), GAUSS.exact().mean(final), truth) < 5 * 2 / 2000


def test_dropout_without_rate_is_regression_and_its_noise_is_what_is_missed(make):
    problem, test = make(GAUSS, 120, batch=512)
    _, final = pair(test)
    plain, barely = fit_regression(problem), fit_dropout(problem, rate=1e-7)
    assert torch.allclose(barely.mean(final), plain.mean(final), atol=1e-5)
    answer = fit_dropout(problem, rate=0.1)
    draws = answer.sample(final, 200, generator=torch.Generator().manual_seed(1))
    variance = float(draws.var(1).mean())
    exact = GAUSS.exact().posterior(final).covs.unique()
    # candidates are 10^(6/96) apart, and half of that can be lost: .075; 32 passes and 100000 draws tell the rest
    x0, xT = pair(problem.valid)
    assert variance == pytest.approx(float((answer.mean(xT) - x0).square().mean()), rel=0.1)
    # 500 validation residuals tell a variance to sqrt(2/500): five of that
    assert variance == pytest.approx(float(exact), rel=5 * (2 / 500) ** 0.5 + 0.075)
    assert float(answer.mean(final).sub(draws.mean(1)).square().mean()) < 0.05 * variance
    before = torch.get_rng_state()
    assert torch.equal(
        answer.sample(final[:3], 2), answer.sample(final[:3], 2)
    )  # without a generator from a fixed seed
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match=r"`rate` must be a probability above 0 and below 1, got 0\.0"):
        fit_dropout(problem, rate=0.0)
