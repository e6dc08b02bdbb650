"""Deep ensembles: their spread, and their density."""

import pytest
import torch
from learned_cases import GAUSS, MIXTURE, missed, pair

from physinv.evaluation import metrics
from physinv.methods.learned.deep_ensemble import fit_deep_ensemble


def test_a_deep_ensemble_knows_where_it_is_unsure(make):
    problem, test = make(MIXTURE, 900, batch=512, rate=1e-2)
    (truth, final), exact = pair(test), MIXTURE.exact()
    answer = fit_deep_ensemble(problem, members=3)
    draws = answer.sample(final, 200, generator=torch.Generator().manual_seed(1))
    told, known = draws.var(1), exact.sample(final, 400, generator=torch.Generator().manual_seed(2)).var(1)
    # draws of 200 and 400 tell variances to 12 % together, and to 2 % their average over 1000
    assert float(told.mean() / known.mean()) == pytest.approx(1, abs=0.1)
    assert float(torch.corrcoef(torch.stack([told.flatten().log(), known.flatten().log()]))[0, 1]) > 0.85
    assert missed(answer.mean(final), exact.mean(final), truth) < 0.02
    # the 1000 components are right for the spread, not for the shape: five standard errors and .02 for the latter
    assert float(metrics.coverage(draws, truth, 0.9)) == pytest.approx(0.9, abs=5 * (0.09 / 1000) ** 0.5 + 0.02)


def test_the_density_of_a_deep_ensemble_is_that_of_its_draws(make):
    problem, test = make(GAUSS, 30)
    answer = fit_deep_ensemble(problem, members=2)
    final, grid = test.states(-1, limit=1), torch.linspace(-8, 8, 2001)[:, None]
    density = answer.log_prob(grid, final.expand(len(grid), -1)).exp()
    step = 16 / 2000
    mass = float(density.sum() * step)
    assert mass == pytest.approx(1, abs=1e-4)  # trapezoids, analytic integrand: rounding
    mean = float((density * grid[:, 0]).sum() * step)
    variance = float((density * (grid[:, 0] - mean) ** 2).sum() * step)
    draws = answer.sample(final, 20000, generator=torch.Generator().manual_seed(1))
    assert mean == pytest.approx(float(answer.mean(final)), abs=1e-4)
    assert mean == pytest.approx(float(draws.mean()), abs=5 * (variance / 20000) ** 0.5)
    assert variance == pytest.approx(float(draws.var()), rel=5 * (2 / 20000) ** 0.5)
