"""Simulation-based inference by another package."""

import pytest
import torch
from learned_cases import GAUSS, pair

from physinv.evaluation import metrics
from physinv.methods.learned.simulation_based import fit_fmpe, fit_npse


@pytest.mark.parametrize("fit", [fit_fmpe, fit_npse])
def test_simulation_based_inference_finds_a_gaussian_posterior(fit, make, generator):
    pytest.importorskip("sbi")
    problem, test = make(GAUSS, 150)
    (truth, final), exact = (x[:100] for x in pair(test)), GAUSS.exact()
    before = torch.get_rng_state()
    answer = fit(problem)
    draws = answer.sample(final, 8, generator=generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert draws.shape == (100, 8, 1)
    right = exact.sample(final, 8, generator=generator)
    assert float(metrics.crps(draws, truth) / metrics.crps(right, truth)) == pytest.approx(1, abs=0.1)
    again = [answer.sample(final[:3], 2, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
