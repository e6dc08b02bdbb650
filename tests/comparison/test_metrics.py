"""All metrics of one method: what diverged, what has no spread, states that take few values."""

import pytest
import torch

from physinv.comparison.metrics import Drawn, all_metrics
from physinv.reports.tables import CHECKS
from simulators.fields.heat import Heat


def test_few_observations_that_differ_are_no_atoms(generator):
    """Eight fields and a biased ensemble without spread: moved to the nearest truth it would look perfect."""
    truth = torch.randn(8, 1, 6, 6, generator=generator)
    samples = (truth + 0.3)[:, None] + 1e-3 * torch.randn(8, 9, 1, 6, 6, generator=generator)
    metrics, _ = all_metrics(Drawn(truth, truth, samples, samples.mean(1)), Heat(size=6), truth.mean(0), seed=0)
    assert metrics["coverage_90"] == pytest.approx(
        0.5
    )  # all truths below all members: half of that rank counts as inside


def test_so_few_observations_that_a_classifier_learns_nothing_have_the_other_figures():
    heat = Heat(size=16, dimension=1, steps=2)
    truth, final = heat.simulate(4, heat.times[[0, -1]], generator=torch.Generator().manual_seed(0)).unbind(1)
    samples = heat.exact().sample(final, 4, generator=torch.Generator().manual_seed(1))
    found, _ = all_metrics(Drawn(truth, final, samples, samples.mean(1)), heat, truth.mean(0), seed=0)
    assert {"crps", "wasserstein"} <= set(found)
    assert "c2st" not in found


def test_what_diverged_is_counted_and_replaced():
    heat = Heat(size=16, dimension=1, steps=2)
    run = heat.simulate(40, generator=torch.Generator().manual_seed(0))
    truth, final = run[:, 0], run[:, -1]
    samples = heat.exact().sample(final, 4, generator=torch.Generator().manual_seed(1))
    whole, _ = all_metrics(Drawn(truth, final, samples, samples.mean(1)), heat, truth.mean(0), seed=0)
    samples[:10, 0] = torch.nan
    samples[10:20, 1] = 1e9
    broken, curves = all_metrics(Drawn(truth, final, samples, samples.mean(1)), heat, truth.mean(0), seed=0)
    assert whole["diverged"] == 0
    assert broken["diverged"] == pytest.approx(20 / 160)
    assert all(torch.tensor(v).isfinite().all() for v in curves.values())
    assert whole["crps"] < broken["crps"] < 10 * whole["crps"]


def test_an_estimate_without_spread_scores_its_absolute_error():
    heat = Heat(size=16, dimension=1, steps=2)
    run = heat.simulate(40, generator=torch.Generator().manual_seed(0))
    guess = heat.exact().mean(run[:, -1])
    found, _ = all_metrics(
        Drawn(run[:, 0], run[:, -1], guess[:, None].expand(-1, 4, 1, 16), guess), heat, guess[0], seed=0
    )
    assert found["crps"] == pytest.approx(float((guess - run[:, 0]).abs().mean()), rel=1e-6)
    assert not {"coverage_90", "calibration_error", "spread_skill", "tarp_p", "misfit_median", "outside"} & set(found)


def test_checks_of_exact_samples_are_at_their_targets_and_those_of_the_prior_miss_the_observation():
    heat = Heat(size=16, dimension=1, steps=2)
    draw = torch.Generator().manual_seed(2)
    truth, final = heat.simulate(100, heat.times[[0, -1]], generator=draw).unbind(1)
    exact = heat.exact().sample(final, 4, generator=draw)
    prior = heat.initial(400, generator=draw).reshape(exact.shape)
    found, ignorant = (
        all_metrics(Drawn(truth, final, x, x.mean(1)), heat, truth.mean(0), seed=0)[0] for x in (exact, prior)
    )
    targets = {c.name: c.best for c in CHECKS}
    assert targets.keys() <= found.keys()
    for name, best in targets.items():
        # medians of 16 numbers each and ratios over 100 fields; the classifier has a standard error of .035
        assert found[name] == pytest.approx(0.0 if best == "low" else best, abs=0.15), name
    assert ignorant["misfit_median"] > 3
    assert ignorant["total_variation"] == pytest.approx(1.0, abs=0.15)


def test_a_draw_near_a_point_of_the_prior_is_a_hit():
    """Fair coins, missed by 1e-4: calibrated, where ranks of the bare numbers say that all are too low."""
    from simulators.vectors.quadratic import Quadratic

    coin = torch.Generator().manual_seed(0)
    truth = torch.randint(2, (200, 1), generator=coin) * 2.0 - 1
    samples = torch.randint(2, (200, 9, 1), generator=coin) * 2.0 - 1 - 1e-4
    found, _ = all_metrics(Drawn(truth, truth, samples, samples.mean(1)), Quadratic(steps=4), truth.mean(0), seed=0)
    # five standard errors of a share of 200; ties count as fractions, so its variance is below that of a coin
    assert found["coverage_90"] == pytest.approx(0.9, abs=5 * (0.09 / 200) ** 0.5)
    assert found["sbc_p"] > 1e-3
