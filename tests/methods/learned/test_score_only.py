"""A score without physics."""

import dataclasses

import pytest
import torch
from learned_cases import missed, pair

from physinv.evaluation import metrics
from physinv.methods.learned.score_only import fit_score_only
from physinv.training.budget import Budget
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


def test_a_score_without_physics_makes_up_for_the_drift(make, generator):
    simulator = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, steps=40)
    problem, test = make(simulator, 150, trajectories=2000, batch=512, rate=1e-2)
    (truth, final), exact = pair(test), simulator.exact()
    answer = fit_score_only(problem)
    draws, right = answer.sample(final, 32, generator=generator), exact.sample(final, 32, generator=generator)
    assert float(metrics.crps(draws, truth) / metrics.crps(right, truth)) == pytest.approx(1, abs=0.05)
    # The drift moves a state by a tenth of a step's noise, so it is learned slowly: .84 here, .95 with ten times the
    # updates and twice the data, .99 in the limit (the noise of a step is that of no drift).
    before = fit_score_only(dataclasses.replace(problem, budget=Budget(steps=1))).sample(final, 32, generator=generator)
    assert float(before.var(1).mean() / right.var(1).mean()) < 0.5
    assert float(draws.var(1).mean() / right.var(1).mean()) == pytest.approx(1, abs=0.2)
    assert missed(answer.mean(final), exact.mean(final), truth) < 0.03
    assert answer.posterior.sde.drift(final, torch.zeros(len(final))).abs().max() == 0
