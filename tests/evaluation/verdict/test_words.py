"""The verdict says in words what is known by construction: better, worse, too narrow, at which scales, at a bound."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from physinv.evaluation.metrics import coverage
from physinv.evaluation.verdict.baselines import Baseline, baselines
from physinv.evaluation.verdict.words import verdict
from physinv.posterior.reconstruction import Reconstruction
from physinv.processes.layout import FieldLayout, VectorLayout
from physinv.processes.recorded import Recorded
from simulators.fields.heat import Heat

VECTOR = VectorLayout("x", 3)
LINE = FieldLayout("u", "x", [range(32)], "PERIODIC")
N, K = 100, 15


def posterior(generator, noise=0.5, n=N, k=K):
    """Truths, and samples of their exact posterior given observations with noise, both of variance 1 and noise^2."""
    truth = torch.randn(n, 3, generator=generator)
    seen = truth + noise * torch.randn(n, 3, generator=generator)
    gain = 1 / (1 + noise**2)
    spread = noise * gain**0.5
    return truth, gain * seen[:, None] + spread * torch.randn(n, k, 3, generator=generator), seen


def rivals(truth, seen, generator):
    prior = torch.randn(len(truth), K, 3, generator=generator)
    return [Baseline("climatology", prior, True), Baseline("persistence", seen[:, None].expand(-1, K, -1), False)]


def test_an_exact_posterior_is_better_than_what_costs_nothing(generator):
    truth, samples, seen = posterior(generator)
    found = verdict(samples, truth, VECTOR, rivals(truth, seen, generator), {"crps": 1.0})
    assert found.warnings == ()
    assert found.sentences[0].startswith("By CRPS the posterior is better than climatology (0.")
    assert "persistence" in found.sentences[0]
    assert "they can be trusted" in found.sentences[1]
    # What a check says against the samples is not taken back by their coverage.
    doubted = verdict(samples, truth, VECTOR, rivals(truth, seen, generator), {"crps": 1.0}, doubted=True)
    assert not any("can be trusted" in line for line in doubted.sentences)
    assert "checks above" in doubted.sentences[1]
    # CRPS of normal laws: deviation / sqrt(pi); .447 of that of the prior, 4 standard errors of 100 observations
    ratio = float(found.sentences[0].partition("climatology (")[2].partition(" ")[0])
    assert ratio == pytest.approx(0.2**0.5, abs=0.1)


def test_worse_than_the_linear_estimate(generator):
    truth, samples, _ = posterior(generator)
    linear = Baseline("linear", samples, True)
    found = verdict(torch.randn(N, K, 3, generator=generator), truth, VECTOR, [linear], {})  # the prior
    assert any("worse than the linear estimate" in line for line in found.warnings)
    ratio = float(found.warnings[0].partition("estimate (")[2].partition(" ")[0])
    assert ratio == pytest.approx(5**0.5, abs=0.5)  # 1 / deviation; 10 % for each CRPS of 100 observations
    same = verdict(samples, truth, VECTOR, [Baseline("linear", samples.roll(1, 1), True)], {})
    assert any("cannot be told from the linear estimate" in line for line in same.sentences)


def test_the_error_of_a_ratio_is_that_of_repeated_experiments(generator):
    """Far better than a rival whose score varies a lot: the ratio is known better than the difference."""
    ratios, errors = [], []
    for _ in range(60):
        size = torch.rand(N, 1, generator=generator) ** 2  # observations that are easy, and ones that are hard
        truth = size * torch.randn(N, 3, generator=generator)
        ours, theirs = (
            truth[:, None] + width * size[:, None] * torch.randn(N, K, 3, generator=generator) for width in (0.1, 1.0)
        )
        said = verdict(ours, truth, VECTOR, [Baseline("linear", theirs, True)], {}).sentences[0]
        ratio, _, error, *_ = said.partition("estimate (")[2].split()
        ratios.append(float(ratio))
        errors.append(float(error))
    spread = torch.tensor(ratios).std()
    # 60 ratios give their deviation to 10 %, and errors are told to one digit
    assert float(torch.tensor(errors).mean()) == pytest.approx(float(spread), rel=0.35)


def test_a_rival_that_fails_now_and_then_is_told_from_one_that_is_alike(generator):
    """Persistence is wrong in one of twenty observations alone: the difference varies more than the ratio."""
    truth = torch.randn(40, 3, generator=generator)
    ours = truth[:, None] + 0.1 * torch.randn(40, K, 3, generator=generator)
    rare = torch.zeros(40, 1).index_fill_(0, torch.tensor([7, 31]), 100.0)
    theirs = Baseline("persistence", (truth + rare)[:, None].expand(-1, K, -1), False)
    found = verdict(ours, truth, VECTOR, [theirs], {}).sentences[0]
    assert found.startswith("By CRPS the posterior is better than persistence (0.004"), (
        found
    )  # .1 (2^.5 - 1) / pi^.5 over 5


def test_few_that_differ_are_too_few_to_trust_intervals(generator):
    """Forty observations in five groups of alike ones, of which one is missed: nobody knows."""
    truth, samples = torch.zeros(40, 3), torch.randn(40, K, 3, generator=generator)
    truth[:8] = 8.0
    found = verdict(samples, truth, VECTOR, [], {})
    assert any("too few observations differ enough to say" in line for line in found.sentences), found
    assert not any("can be trusted" in line and "too few" not in line for line in found.sentences)


@pytest.mark.parametrize(("factor", "word"), [(0.4, "too narrow"), (3.0, "too wide")])
def test_wrong_widths(factor, word, generator):
    truth, samples, _ = posterior(generator)
    mean = samples.mean(1, keepdim=True)
    found = verdict(mean + factor * (samples - mean), truth, VECTOR, [], {})
    assert any(word in line and "cannot be trusted" in line for line in found.warnings), found
    peaked = next(line for line in found.warnings if "ranks are peaked" in line)
    assert ("all samples" in peaked) == (factor < 1)


def test_scales_are_judged_one_by_one(generator):
    """White posteriors, right at all scales but the smallest, where they are four times too narrow."""
    truth, samples = torch.randn(N, 1, 32, generator=generator), torch.randn(N, K, 1, 32, generator=generator)
    assert "at all scales" in verdict(samples, truth, LINE, [], {}).sentences[0]
    modes = torch.fft.rfft(samples)
    modes[..., 10:] *= 0.25
    found = verdict(torch.fft.irfft(modes, n=32), truth, LINE, [], {})
    assert any("cannot be trusted at small scales" in line and "too narrow" in line for line in found.warnings)
    assert any("can be trusted at large scales" in line and "middle scales" in line for line in found.sentences)


def test_points_without_data_do_not_count(generator):
    """Of 32 points 24 hold no data; the intervals of the others are half as wide as they should be."""
    layout = FieldLayout("u", "x", [range(32)], "WALL", mask=[i < 8 for i in range(32)])
    truth, samples = (layout.emptied(torch.randn(N, *k, 1, 32, generator=generator)) for k in ((), (K,)))
    found = verdict(0.5 * samples, truth, layout, [], {})
    share = float(found.warnings[0].partition("truth in ")[2].partition(" ")[0])
    assert share == pytest.approx(100 * float(coverage(0.5 * samples[..., :8], truth[..., :8])), abs=0.05)
    assert share < 75


def test_bounds_few_observations_and_metrics_that_are_not_finite(generator):
    truth, samples, _ = posterior(generator)
    found = verdict(samples.clamp(-1, 1), truth, VECTOR, [], {"crps": float("nan")})
    assert any("at the bound of the box" in line for line in found.warnings)
    assert "The metric crps is not finite." in found.warnings
    few = verdict(samples[:5], truth[:5], VECTOR, [], {})
    assert any("5 observations are too few to compare answers: 8" in line for line in few.warnings)
    assert any("5 observations are too few to say whether intervals" in line for line in few.warnings)
    one = verdict(samples[:1], truth[:1], VECTOR, [], {})
    assert any("1 observation is too few" in line for line in one.warnings)
    # Truths on the same atoms as the samples are no bound.
    atoms = verdict(samples.sign(), truth.sign(), VECTOR, [], {})
    assert not any("bound" in line for line in atoms.warnings)


def test_single_estimates_get_no_verdict_on_intervals(generator):
    truth, samples, _ = posterior(generator)
    assert verdict(samples[:, :1], truth, VECTOR, [], {}).sentences == ()


def test_baselines_are_what_they_are_called(generator):
    process = Heat(size=8, steps=2)
    truth, final = process.simulate(12, process.times[[0, -1]], generator=generator).unbind(1)
    info = {"method": "x", "answer": "samples", "observe": None, "seed": 0, "simulator": "heat", "steps": None}
    pool, deviation = process.initial(30, generator=generator), torch.full((1, 8, 8), 0.5)
    samples = torch.zeros(12, 40, 1, 8, 8)
    recon = Reconstruction(
        process, truth, final, samples, info, climatology=pool, linear=2 * final, linear_deviation=deviation
    )
    found = {b.name: b for b in baselines(recon)}
    assert list(found) == ["climatology", "persistence", "linear"]
    drawn = found["climatology"].samples.flatten(0, 1)
    assert all(any(torch.equal(x, y) for y in pool) for x in drawn[:20])
    assert torch.equal(found["persistence"].samples[:, 7], final)
    assert not found["persistence"].spread
    gap = found["linear"].samples - 2 * final[:, None]
    assert float(gap.std()) == pytest.approx(0.5, rel=0.02)
    assert not torch.equal(baselines(recon, seed=1)[0].samples, found["climatology"].samples)
    assert [b.name for b in baselines(Reconstruction(process, truth, final, samples, info))] == ["persistence"]


def test_windows_that_overlap_say_one_thing_once(generator):
    """Every observation twenty times, one after the other: errors stay; independent ones would be 4.5 times less."""
    truth, samples, seen = posterior(generator, n=60)
    often = [x.repeat_interleave(20, 0) for x in (truth, samples, seen)]
    found = []
    for x, drawn, final in ((truth, samples, seen), often):
        told = verdict(drawn, x, VECTOR, rivals(x, final, torch.Generator().manual_seed(1)), {}).sentences
        held = next(line for line in told if "hold the truth" in line)
        found.append(float(held.partition(" +- ")[2].partition(" ")[0]))
    assert found[1] > 0.6 * found[0]


def test_a_rival_without_any_error_has_no_ratio(generator):
    truth, samples, _ = posterior(generator)
    exact = truth[:, None].expand(-1, K, -1)
    rival = [Baseline("linear", exact, False)]
    said = verdict(samples, truth, VECTOR, rival, {}).sentences
    assert any("worse than the linear estimate (whose CRPS is 0)" in s for s in said)


def test_climatology_of_recordings_knows_the_season(generator):
    """A season of amplitude 1, and weather of deviation .1: what is usual for the season errs by the weather."""
    layout = VectorLayout("temperature", 1, ("sine", "cosine"))
    angle = 2 * math.pi * torch.arange(120) / 12
    weather = 0.1 * torch.randn(120, generator=generator)
    states = torch.stack([angle.sin() + weather, angle.sin(), angle.cos()], 1)
    process = Recorded.of(layout, np.array([0.0, 1.0]))
    samples, truth, info = torch.zeros(24, 40, 3), states[96:], {"method": "x"}
    recon = Reconstruction(process, truth, truth.roll(3, 0), samples, info, climatology=states[:96])
    recon = replace(recon, observation=torch.cat([truth[:, :1].roll(3, 0), truth[:, 1:]], 1))  # three months later
    found = baselines(recon)[0]
    drawn = layout.moving(found.samples)
    gap = drawn - angle[96:].sin()[:, None, None]
    assert float(gap.std()) == pytest.approx(0.1, rel=0.15)  # a deviation of 96 known states, to 7 %
    assert float(gap.mean(1).abs().max()) < 0.1  # six standard errors of 40 draws
    assert torch.equal(found.samples[:, 5, 1:], truth[:, 1:])


def test_what_was_observed_exactly_is_not_judged(generator):
    """That a CRPS of 0 is better than climatology says nothing, nor do intervals without width."""
    truth, samples, seen = posterior(generator)
    same = truth[:, None].expand_as(samples)
    found = verdict(same, truth, VECTOR, rivals(truth, seen, generator), {"crps": 0.0, "spread_skill": math.nan})
    assert found.sentences == (
        "Every sample is the true initial state, as where it was observed exactly: there is nothing to judge.",
    )
    assert found.warnings == ()
    two = torch.cat([same[..., :2], samples[..., 2:]], -1)
    some = verdict(two, truth, VECTOR, rivals(truth, seen, generator), {"crps": 0.1})
    assert some.warnings == ()
    assert any("67 % of the numbers were observed exactly. Of the others, 90 % intervals" in s for s in some.sentences)
    narrow = torch.cat(
        [same[..., :2], seen[:, None, 2:] + 0.3 * (samples[..., 2:] - samples[..., 2:].mean(1)[:, None])], -1
    )
    assert any("too narrow" in line for line in verdict(narrow, truth, VECTOR, [], {}).warnings)
    few = verdict(two[:10], truth[:10], VECTOR, [], {})
    assert any("too few to say whether" in line for line in few.warnings)


def test_a_small_unit_beside_a_large_one_is_not_taken_for_an_exact_observation(generator):
    """Rounding of a heat content of 1e6 J is more than a whole concentration of 1e-6 mol/l."""
    truth, samples, seen = posterior(generator)
    unit = torch.tensor([1e-6, 1.0, 1e6])
    found = verdict(unit * samples, unit * truth, VECTOR, rivals(unit * truth, unit * seen, generator), {"crps": 0.1})
    assert not any("observed exactly" in line for line in found.sentences)


def test_choices_among_few_values_are_judged_where_samples_are_sure(generator):
    """Of one of two places samples may be sure; that is no exact observation, and their intervals count."""
    layout = VectorLayout("x", 1)
    place = torch.where(torch.rand((400, 1), generator=generator) < 0.5, -1.0, 1.0)
    sure = torch.rand((400, 1, 1), generator=generator) < 0.6
    chance = torch.where(torch.rand((400, 40, 1), generator=generator) < 0.75, 1.0, -1.0) * place[:, None]
    right = torch.rand((400, 1), generator=generator) < 0.75  # of those that are not sure
    truth = torch.where(sure[:, 0] | right, place, -place)
    samples = torch.where(sure, place[:, None], chance)
    found = verdict(samples, truth, layout, [], {})
    assert not any("observed exactly" in line for line in found.sentences)
    assert any("they can be trusted" in line for line in found.sentences)
