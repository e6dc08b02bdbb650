"""A diffusion prior that the physics guides finds known posteriors."""

import pytest
from learned_cases import GAUSS, RING, Led, missed, pair

from physinv.evaluation import metrics
from physinv.methods.learned.diffusion_prior import fit_diffusion_prior


def test_a_diffusion_prior_with_the_physics_as_likelihood_is_the_posterior(make, generator):
    problem, test = make(GAUSS, 200, batch=512)
    (truth, final), exact = (x[:200] for x in pair(test)), GAUSS.exact()
    answer = fit_diffusion_prior(problem, steps=20)
    draws, right = answer.sample(final, 64, generator=generator), exact.sample(final, 64, generator=generator)
    assert float(metrics.crps(draws, truth) / metrics.crps(right, truth)) == pytest.approx(1, abs=0.03)
    # 64 draws leave 1/64 of the variance in their mean.  A prior learned from 2000 states adds .001 to .011 to that
    # (data and training of seeds 0 to 3, the worst of them here); twice that is allowed
    assert missed(draws.mean(1), exact.mean(final), truth) < 1 / 64 + 0.022
    # Standard errors in units of the variance: .46 sqrt(2/256) from S, measured on 256 states, .62 sqrt(2/2000) from
    # the prior (derivatives of 1/(1/prior + a^2/(R S))), twice sqrt(2/12600) from both draws: .049 together; three of
    # them.  20 steps add .008 (.078 before they were taken in the angle).
    assert float(draws.var(1).mean() / right.var(1).mean()) == pytest.approx(1.008, abs=3 * 0.049)
    assert missed(answer.mean(final), exact.mean(final), truth) < 1 / 16 + 0.05


def test_a_diffusion_prior_heeds_the_observation_mode_by_mode(make, generator):
    problem, test = make(RING, 200, width=16, depth=1, rate=4e-3)
    (truth, final), exact = (x[:64] for x in pair(test)), RING.exact()
    draws = fit_diffusion_prior(problem, steps=20).sample(final, 16, generator=generator)
    assert missed(draws.mean(1), exact.mean(final), truth) < 1 / 16 + 0.05  # .05 for a prior trained for seconds
    assert float(metrics.spread_skill(draws, truth)) == pytest.approx(1, abs=0.15)


def test_guidance_does_not_count_one_fact_many_times(make, generator):
    """Each of 32 components tells x_1, and pulls as if it were alone; all together they would pull 32 times too far."""
    problem, test = make(Led(), 1, batch=512)  # the prior is white: exact before training
    truth, final = (x[:100] for x in pair(test))
    draws = fit_diffusion_prior(problem, steps=20).sample(final, 16, generator=generator)
    # left alone, 32 pulls of full strength throw x_1 to and fro: it ends at +-38
    assert float(draws.var(1).mean()) < 1  # the prior's
    assert float(metrics.spread_skill(draws[..., :1], truth[:, :1])) == pytest.approx(1, abs=0.3)  # 100 cases, 256 rows
    assert float((draws.mean(1) - truth)[:, 0].square().mean()) < 0.02  # a fiftieth of the prior's
