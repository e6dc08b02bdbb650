import math

import pytest
import torch
from trap_cases import F64, gaussian, normal

from physinv.thermodynamics import Weights, importance
from physinv.thermodynamics.weights import few_effective


def wide(x):
    """Log density of N(0, 4) in each component."""
    return -x.square().sum(1) / 8 - x.shape[1] / 2 * math.log(8 * math.pi)


def test_importance_sampling_finds_the_constant_and_the_law():
    x = 2 * normal(20_000, 2)
    found = importance(gaussian(1.0, 0.5), x, wide(x))
    assert abs(found.log_mean - math.log(2 * math.pi)) < 4 * found.error
    assert abs(float(found.resample(generator=torch.Generator().manual_seed(0)).mean()) - 0.5) < 0.04
    w = found.log_weights.exp()
    assert found.effective == pytest.approx(float(w.mean() ** 2 / w.square().mean()))


def test_the_mean_log_weight_is_the_bound_of_gibbs_bogoliubov_and_feynman():
    """Its distance from log Z is KL(q || p) = d/2 (v - 1 - log v) with v = 4, not the other divergence."""
    x = 2 * normal(20_000, 2)
    found = importance(gaussian(1.0), x, wide(x))
    assert abs(math.log(2 * math.pi) - found.lower - (3 - math.log(4))) < 4 * found.lower_error


def test_a_law_that_misses_part_of_another_is_not_told_by_the_weights():
    """Support: a trial law on the right half finds half of Z, with an error that says nothing of it."""
    x = normal(20_000, 1).abs()
    found = importance(gaussian(1.0), x, -x.square().sum(1) / 2 - math.log(math.pi / 2) / 2)
    assert abs(found.log_mean - math.log(2 * math.pi) / 2 + math.log(2)) < 1e-9
    assert found.effective > 0.999


def test_few_effective_runs_are_told():
    assert few_effective(0.05, 100, "it") == []
    (told,) = few_effective(0.049, 100, "it")
    assert "the weights of it have an effective share of 4.9% of 100 runs" in told


def test_one_run_has_no_error():
    assert math.isnan(Weights(torch.zeros(1, 1, dtype=F64), torch.zeros(1, dtype=F64)).error)
