"""Ensemble Kalman inversion: the Gaussian posterior, few members, members that blow up."""

import math

import pytest
import torch

from physinv.evaluation.metrics import relative_l2
from physinv.methods.classical.ensemble_kalman import fit_ensemble_kalman


@pytest.mark.parametrize("steps", [1, 4])
def test_many_members_give_the_gaussian_posterior(ou, steps):
    problem, _, final = ou
    final = final[:10]
    m, S = float(problem.train.states(0).mean()), float(problem.train.states(0).var())
    a = math.exp(-0.5)
    V = 0.25 * (1 - a**2)
    mean, variance = m + a * S / (a**2 * S + V) * (final - a * m), S * V / (a**2 * S + V)
    errors = []
    for members in (50, 800):
        found = fit_ensemble_kalman(problem, members=members, steps=steps)
        draws = found.sample(final, members, generator=torch.Generator().manual_seed(0))
        errors.append(float((draws.mean(1) - mean).square().mean().sqrt()))
        # relative standard error of a variance sqrt(2/count), 10 observations; the updates' gains add as much each
        assert float(draws.var(1).mean()) == pytest.approx(variance, rel=5 * (1 + steps) * math.sqrt(2 / members / 10))
    # each update draws gains and noise anew: at most 1 + steps times the error of a mean of 800 draws from the prior
    assert errors[1] < 5 * (1 + steps) * math.sqrt(S / 800 / 10)
    assert errors[0] / errors[1] > 2  # error ~ members^-1/2: 4 expected, root mean square of ten


def test_the_ensemble_kalman_update_uses_few_members_of_a_field(heat):
    problem, truth, final = heat
    found = fit_ensemble_kalman(problem, members=20)
    draws = found.sample(final, 30, generator=torch.Generator().manual_seed(0))
    assert draws.shape == (8, 30, 1, 32, 32)  # as many members as draws are asked for
    few = type(found)(found.forward, found.pool[:8], 20, found.inflations, 0)
    draws = few.sample(final, 20, generator=torch.Generator().manual_seed(0))
    stacked = torch.cat([few.pool, draws[0]]).flatten(1).double()
    assert int(torch.linalg.matrix_rank(stacked, rtol=1e-5)) == 8  # they never leave the span of the start
    exact = problem.simulator.exact()
    best = relative_l2(exact.mean(final), truth)
    wide = fit_ensemble_kalman(problem, members=200).mean(final)
    assert best < relative_l2(wide, truth) < relative_l2(found.mean(final), truth) < 1
    assert torch.equal(wide, fit_ensemble_kalman(problem, members=200).mean(final))


def test_members_that_blow_up_do_not_spoil_the_others(ou):
    problem, _, final = ou
    found = fit_ensemble_kalman(problem, members=200)
    pool = found.pool.clone()
    pool[::2] = torch.inf
    broken = type(found)(found.forward, pool, 200, found.inflations, 0)
    draws = broken.sample(final, 200, generator=torch.Generator().manual_seed(0))
    share = draws.isfinite().float().mean()
    assert 0.4 < float(share) < 0.6
    mean = torch.where(draws.isfinite(), draws, torch.nan).nanmean(1)
    assert float((mean - problem.simulator.exact().mean(final)).abs().max()) < 0.5
