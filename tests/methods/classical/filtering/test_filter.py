"""Filters against Kalman's exact answer, and on a chaotic process that nothing but observations holds."""

import math

import pytest
import torch

import physinv as pi
from physinv.laws.exact import LinearGaussian
from physinv.laws.observation import Observation
from physinv.laws.operators import everything
from physinv.laws.record import ObservationRecord
from physinv.methods.classical.filtering.filter import Ensemble, filter_record
from physinv.methods.classical.filtering.particles import WeightedParticles
from physinv.methods.classical.filtering.transform import EnsembleTransform
from simulators.vectors.lorenz import Lorenz63
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

F64 = torch.float64
OU = OrnsteinUhlenbeck(dim=2, components=1, spread=0.0, width=1.0, rate=0.5, noise=0.5, horizon=2.0, steps=4)
SENSOR, OTHER = Observation(everything, 0.3), Observation(lambda x: x[:, :1], 0.4)
RECORD = ObservationRecord((1.0, SENSOR), (0.5, OTHER), (2.0, SENSOR))
LAW = LinearGaussian(OU, 2.0, torch.zeros(2, dtype=F64), torch.ones(2, dtype=F64))


@pytest.mark.parametrize(
    ("analysis", "members"), [(EnsembleTransform(inflation=1.0, rotate=False), 4000), (WeightedParticles(), 40_000)]
)
def test_linear_gaussian_processes_are_filtered_exactly(analysis, members):
    generator = torch.Generator().manual_seed(0)
    y = RECORD.observe(OU.simulate(2, [0.0, *RECORD.times], generator=generator)[:, 1:], generator=generator)
    y[1, :2] = math.nan  # the entry of time 1 is missing
    found = filter_record(OU, RECORD, y, analysis, members, generator=generator)
    assert found.times == (0.5, 1.0, 2.0)
    error = 5 / math.sqrt(members / 10)  # five standard errors; a tenth of the particles count, and of members all
    for row, i in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)):
        t = found.times[i]
        kept = [k for k, time in enumerate((1.0, 0.5, 2.0)) if time <= t and not (row == 1 and k == 0)]
        parts = torch.split(y[row : row + 1].double(), [2, 1, 2], 1)
        until = LAW.given(ObservationRecord(*(((1.0, 0.5, 2.0)[k], (SENSOR, OTHER, SENSOR)[k]) for k in kept)))
        mean = until.mean_at(torch.cat([parts[k] for k in kept], 1), [t])[0, 0]
        deviation = until.deviation_at([t])[0]
        assert bool(((found.mean[row, i] - mean).abs() < error * deviation).all())
        assert torch.allclose(found.deviation[row, i].double(), deviation, rtol=error / math.sqrt(2))


def test_deviations_of_few_members_count_one_less():
    states = torch.randn((3, 5, 2), generator=torch.Generator().manual_seed(0), dtype=F64)
    even = Ensemble(states, torch.zeros(3, 5, dtype=F64).log_softmax(1))
    assert torch.allclose(even.deviation, states.std(1))
    assert torch.allclose(even.mean, states.mean(1))


def test_particles_that_nothing_explains():
    """Of two that are 1e20 deviations away the nearer one is right; one that is infinite weighs nothing."""
    even = torch.full((1, 3), -math.log(3), dtype=F64)
    states = torch.tensor([[[1e20, 0.0], [3e20, 0.0], [math.inf, 0.0]]])
    known, chosen = WeightedParticles()(Ensemble(states, even), SENSOR, torch.zeros(1, 2), None)
    assert known.weights[0].tolist() == [1.0, 0.0, 0.0]
    assert known.mean[0].tolist() == [states[0, 0, 0].item(), 0.0]
    assert bool((chosen.states == states[:, :1]).all())
    with pytest.raises(ValueError, match="no particle of trajectory 0 is finite"):
        WeightedParticles()(Ensemble(torch.full_like(states, math.nan), even), SENSOR, torch.zeros(1, 2), None)


def test_small_ensembles_widen_where_the_gap_asks_for_it():
    """Of members half as wide as the errors the deviation grows; of members that are wide enough it hardly does."""
    generator = torch.Generator().manual_seed(1)
    states = torch.randn((400, 20, 6), generator=generator)
    before = Ensemble(states, torch.zeros(400, 20, dtype=F64).log_softmax(1))
    truth = torch.randn((400, 6), generator=generator)
    sensor, noise = Observation(everything, 0.5), 0.5 * torch.randn((400, 6), generator=generator)
    ratios = []
    for size in (1.0, 4.0):
        known, _ = EnsembleTransform()(before, sensor, size * truth + noise, generator)
        plain, _ = EnsembleTransform(inflation=1.0)(before, sensor, size * truth + noise, generator)
        ratios.append(float((known.deviation / plain.deviation).mean()))
    wide = math.sqrt(4.0**2 / (4.0**2 + 0.25) / (1 / 1.25))  # after the correction, of members four times as wide
    assert abs(ratios[0] - 1) < 0.06
    assert 0.5 < (ratios[1] - 1) / (wide - 1) < 1.2


@pytest.mark.parametrize("m", [3, 5, 20])
def test_where_nothing_is_seen_deviations_have_the_factor_of_the_least_j(m):
    """J(l) = (1 + 1/m) / l^2 + 2 m / (m - 1) log l is least at l^2 = 1 - 1 / m^2."""
    states = torch.randn((4, m, 2), generator=torch.Generator().manual_seed(0), dtype=F64)
    even = Ensemble(states, torch.zeros(4, m, dtype=F64).log_softmax(1))
    known, _ = EnsembleTransform(rotate=False)(even, Observation(everything, 1e6), torch.zeros(4, 2), None)
    assert torch.allclose(known.deviation / states.std(1), torch.tensor((1 - m**-2) ** 0.5, dtype=F64), rtol=1e-4)


def test_jitter_has_the_width_of_a_kernel_and_the_covariance_of_the_particles():
    """A sensor that tells nothing lets each particle go on once: n^(-1/6) of a deviation is added in two dimensions."""
    generator, n = torch.Generator().manual_seed(0), 2000
    z = torch.randn((1, n, 2), generator=generator, dtype=F64)
    before = torch.stack([z[..., 0], 3 * (0.8 * z[..., 0] + 0.6 * z[..., 1])], -1)
    even = torch.zeros((1, n), dtype=F64).log_softmax(1)
    blind = Observation(lambda x: x[:, :1], noise=1e3)
    analysis = WeightedParticles(jitter=0.7, least=1.0)
    known, after = analysis(Ensemble(before, even), blind, torch.zeros(1, 1), generator)
    assert torch.equal(known.states, before)
    found, wanted = torch.cov((after.states - before)[0].T), torch.cov(before[0].T) * (0.7 * n ** (-1 / 6)) ** 2
    # entries of a covariance of 2000 draws: five standard errors of at most sqrt(2 / n) of the variances
    scale = wanted.diagonal().sqrt()
    assert float(((found - wanted) / (scale * scale[:, None])).abs().max()) < 5 * (2 / n) ** 0.5


def test_turned_members_keep_their_mean_and_covariance():
    generator = torch.Generator().manual_seed(1)
    before = Ensemble(torch.randn((2, 12, 4), generator=generator), torch.zeros(2, 12, dtype=F64).log_softmax(1))
    known, turned = EnsembleTransform()(before, SENSOR, torch.zeros(2, 4), generator)
    assert not torch.allclose(known.states, turned.states, atol=0.1)
    assert torch.allclose(known.mean, turned.mean, atol=1e-6)
    for a, b in zip(known.states, turned.states, strict=True):
        assert torch.allclose(torch.cov(a.T), torch.cov(b.T), atol=1e-5)


@pytest.mark.parametrize(
    ("analysis", "members"), [(EnsembleTransform(), 20), (WeightedParticles(jitter=0.7, least=0.1), 1000)]
)
def test_a_chaotic_process_is_held_by_a_third_of_its_numbers(analysis, members):
    """Errors grow by e^9 in ten units of time; seen every .1, those of all numbers stay below the noise of one."""
    process, generator = Lorenz63(noise=0.0, horizon=0.1, steps=5), torch.Generator().manual_seed(0)
    times = [round(0.1 * (i + 1), 3) for i in range(100)]
    start = torch.tensor([1.5, -1.5, 25.5]) + torch.randn((members + 1, 3), generator=generator)
    truth = process.run(start[:1], [0.0, *times], noise=False)[:, 1:]
    record = ObservationRecord(*((t, Observation(lambda x: x[:, :1], 1.0)) for t in times))
    y = record.observe(truth, generator=generator)
    found = filter_record(process, record, y, analysis, members, start=start[None, 1:], generator=generator)
    errors = (found.mean - truth)[:, 20:]
    free = process.run(start[1:2], [0.0, *times], noise=False)[:, 21:] - truth[:, 20:]
    assert float(errors.square().mean().sqrt()) < 1.0 < float(free.square().mean().sqrt()) / 4
    assert 0.5 < float(found.deviation[:, 20:].square().mean() / errors.square().mean()) ** 0.5 < 2.5


def test_what_is_no_filter_is_refused():
    average = ObservationRecord(((0.5, 1.0), SENSOR))
    with pytest.raises(ValueError, match="entry 0 of `record` must be of one time"):
        pi.filter_record(OU, average, torch.zeros(1, 2), EnsembleTransform(), 10)
    with pytest.raises(ValueError, match="`start` must have shape"):
        pi.filter_record(OU, RECORD, torch.zeros(1, 5), EnsembleTransform(), 10, start=torch.zeros(1, 9, 2))
    with pytest.raises(ValueError, match="`members` must be at least 2"):
        pi.filter_record(OU, RECORD, torch.zeros(1, 5), EnsembleTransform(), 1)
    with pytest.raises(ValueError, match="`members` became infinite or NaN"):
        pi.filter_record(OU, RECORD, torch.zeros(1, 5), EnsembleTransform(), 4, start=torch.full((1, 4, 2), torch.nan))
    with pytest.raises(ValueError, match="`inflation` must be positive"):
        EnsembleTransform(inflation=0.0)
    with pytest.raises(ValueError, match="`jitter` must be 0 or more"):
        WeightedParticles(jitter=-1.0)
    with pytest.raises(ValueError, match="`least` must be above 0"):
        WeightedParticles(least=0.0)
