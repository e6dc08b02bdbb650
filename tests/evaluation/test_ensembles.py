"""Shapes and units that every metric takes: states without an axis, and states in any unit."""

import pytest
import torch

from physinv.evaluation import metrics
from physinv.evaluation.calibration import calibration_error, coverage_curve, sbc, tarp
from physinv.evaluation.ensembles import check_pair, ensemble
from physinv.evaluation.physics.residual import physics_residual
from physinv.evaluation.two_sample import c2st, wasserstein
from simulators.fields.heat import Heat


def seeded(metric):
    """A metric that draws, with its generator."""
    return lambda s, y: metric(s, y, generator=torch.Generator().manual_seed(3))


SCALAR = {
    "crps": metrics.crps,
    "energy_score": metrics.energy_score,
    "coverage": metrics.coverage,
    "spread_skill": metrics.spread_skill,
    "sample_relative_l2": metrics.sample_relative_l2,
    "rank_histogram": seeded(metrics.rank_histogram),
    "relative_l2": lambda s, y: metrics.relative_l2(s[:, 0], y),
    "reconstruction_error": lambda s, y: metrics.reconstruction_error(s[:, 0], y, lambda x: 2 * x),
    "calibration_error": calibration_error,
    "coverage_curve": coverage_curve,
    "sbc": lambda s, y: torch.tensor(seeded(sbc)(s, y)),
    "tarp": lambda s, y: torch.tensor(seeded(tarp)(s, y).p_value),
    "tarp with references": lambda s, y: torch.tensor(
        tarp(s, y, references=y + 1, generator=torch.Generator().manual_seed(3)).p_value
    ),
    "c2st": lambda s, y: seeded(c2st)(s[:, 0], y),
    "wasserstein": lambda s, y: wasserstein(s[:, 0], y),
}


@pytest.mark.parametrize("name", SCALAR)
def test_states_without_an_axis_are_states_of_one_number(name, generator):
    """Samples ``(n, K)`` and truths ``(n,)`` get the same value as with an axis of length 1."""
    s, y = torch.randn(100, 8, generator=generator), torch.randn(100, generator=generator)
    assert torch.equal(SCALAR[name](s, y), SCALAR[name](s[..., None], y[:, None]))


def test_states_of_one_number_have_no_pairs(generator):
    s, y = torch.randn(100, 8, generator=generator), torch.randn(100, generator=generator)
    with pytest.raises(ValueError, match="`truth` must have at least 2 components to pair, got 1; take `crps`"):
        metrics.variogram_score(s, y)
    assert metrics.crps_map(s, y).shape == (100,)


PROPORTIONAL = {  # to the unit, to this power
    "crps": (metrics.crps, 1),
    "energy_score": (metrics.energy_score, 1),
    "spread_skill": (metrics.spread_skill, 0),
    "sample_relative_l2": (metrics.sample_relative_l2, 0),
    "relative_l2": (lambda s, y: metrics.relative_l2(s[:, 0], y), 0),
    "reconstruction_error": (lambda s, y: metrics.reconstruction_error(s[:, 0], y, lambda x: x), 2),
    "variogram_score": (metrics.variogram_score, 1),
    "coverage": (metrics.coverage, 0),
    "sbc": (SCALAR["sbc"], 0),
    "tarp": (SCALAR["tarp"], 0),
    "c2st": (SCALAR["c2st"], 0),
    "wasserstein": (SCALAR["wasserstein"], 1),
}


@pytest.mark.parametrize("unit", [1e-25, 1e-21, 1e19, 1e25])
@pytest.mark.parametrize("name", PROPORTIONAL)
def test_metrics_are_proportional_to_the_unit_of_the_state(name, unit, generator):
    """Squares of float32 numbers of these sizes under- or overflow."""
    metric, power = PROPORTIONAL[name]
    s, y = torch.randn(200, 8, 2, generator=generator), torch.randn(200, 2, generator=generator)
    want = float(metric(s + 0.3, y))
    assert float(metric((s + 0.3) * unit, y * unit)) / unit**power == pytest.approx(want, rel=1e-4)


def test_the_physics_residual_of_true_trajectories_is_1_in_every_unit():
    for unit in (1.0, 1e-25):
        heat = Heat(size=16, dimension=1, steps=4, noise=unit)
        x = heat.run(torch.zeros(200, 1, 16).double(), generator=torch.Generator().manual_seed(0)).float()
        # 200 x 4 x 16 numbers: a relative standard error of sqrt(2/12800) = .0125
        assert float(physics_residual(x, heat, heat.times)) == pytest.approx(1, abs=5 * 0.0125)


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="`samples` must have shape"):
        ensemble(torch.zeros(3, 8), torch.zeros(4))
    with pytest.raises(ValueError, match="`samples` must have shape"):
        ensemble(torch.zeros(8), torch.zeros(()))
    with pytest.raises(ValueError, match="`samples` must hold at least 2 members, got 1"):
        ensemble(torch.zeros(3, 1), torch.zeros(3), least=2)
    with pytest.raises(ValueError, match="`estimate` must have the shape"):
        check_pair(torch.zeros(3, 1), torch.zeros(3))
