"""Amortised posteriors by diffusion and by flow matching."""

import pytest
import torch
from learned_cases import GAUSS, MIXTURE, RING, missed, pair

from physinv.evaluation import metrics
from physinv.evaluation.two_sample import c2st
from physinv.methods.learned.conditional import fit_conditional_diffusion, fit_flow_matching


@pytest.mark.parametrize("fit", [fit_conditional_diffusion, fit_flow_matching])
@pytest.mark.parametrize("simulator", [GAUSS, MIXTURE], ids=["gauss", "mixture"])
def test_amortised_posteriors_are_exact_on_vectors(fit, simulator, make, generator):
    problem, test = make(simulator, 200 if simulator is GAUSS else 500, batch=512, rate=1e-2)
    (truth, final), exact = pair(test), simulator.exact()
    answer = fit(problem)
    draws, right = answer.sample(final, 32, generator=generator), exact.sample(final, 32, generator=generator)
    assert float(metrics.crps(draws, truth) / metrics.crps(right, truth)) == pytest.approx(1, abs=0.03)
    joint = [torch.cat([x[:, :2].flatten(0, 1), final.repeat_interleave(2, 0)], dim=1) for x in (draws, right)]
    assert float(c2st(*joint, generator=generator)) <= 0.56  # 2000 verdicts: .5 +- .011
    assert missed(answer.mean(final), exact.mean(final), truth) < 0.03


@pytest.mark.parametrize("fit", [fit_conditional_diffusion, fit_flow_matching])
def test_amortised_posteriors_spread_rightly_in_every_mode(fit, make, generator):
    problem, test = make(RING, 150, width=8, depth=1, rate=1e-2)
    (_, final), exact = (x[:32] for x in pair(test)), RING.exact()
    spread = []
    for answer in (fit(problem, steps=16), exact):
        draws = answer.sample(final, 32, generator=generator)
        modes = torch.fft.rfft(draws - draws.mean(1, keepdim=True), norm="ortho").abs().square()
        spread.append(modes.mean((0, 1, 2))[1:])  # the mean is 0 in all initial states
    ratio = (spread[0] / spread[1]).sqrt()
    # deviations from 32 x 31 draws: five standard errors of real modes are .11; the rest is for so short a training
    assert torch.allclose(ratio, torch.ones(4), atol=0.2), ratio
