"""Scores against closed forms, against scoringrules, and against ensembles that are wrong in a known way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scoringrules
import torch
from scipy.stats import chi2
from torch import Tensor

from physinv.evaluation import metrics
from physinv.evaluation.spectra import ensemble_spectra, radial_spectrum, spectral_error
from physinv.evaluation.two_sample import c2st, wasserstein

torch.set_num_threads(1)
N, K = 40_000, 16


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ensemble(scale: float = 1.0, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    """Truths from N(0, 1), members from N(shift, scale^2): calibrated with the default arguments."""
    return shift + scale * normal(N, K, seed=1), normal(N, seed=2)


# ---- errors of estimates


def test_relative_l2_of_a_scaled_truth_is_the_excess() -> None:
    truth = normal(7, 2, 5)
    torch.testing.assert_close(metrics.relative_l2(1.25 * truth, truth), torch.tensor(0.25, dtype=truth.dtype))
    samples = torch.stack([truth, 1.5 * truth, 0 * truth], dim=1)  # errors 0, 1/2, 1
    torch.testing.assert_close(metrics.sample_relative_l2(samples, truth), torch.tensor(0.5, dtype=truth.dtype))


def test_reconstruction_error_compares_clean_final_states() -> None:
    truth = normal(7, 3)
    error = metrics.reconstruction_error(truth + 0.5, truth, lambda x: 3 * x)
    torch.testing.assert_close(error, torch.tensor(2.25, dtype=truth.dtype))


# ---- proper scores


@pytest.mark.parametrize("members", [2, 3, 16])
def test_scores_agree_with_scoringrules(members: int) -> None:
    samples, truth = normal(50, members, 6, seed=3) ** 3, normal(50, 6, seed=4)
    oracle = scoringrules.crps_ensemble(truth.numpy(), samples.numpy(), m_axis=1, estimator="fair").mean()
    assert metrics.crps(samples, truth).item() == pytest.approx(oracle, rel=1e-12)
    oracle = scoringrules.es_ensemble(truth.numpy(), samples.numpy(), m_axis=1, v_axis=2, estimator="fair").mean()
    assert metrics.energy_score(samples, truth).item() == pytest.approx(oracle, rel=1e-12)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0])
def test_variogram_score_agrees_with_scoringrules(p: float) -> None:
    samples, truth = normal(50, 7, 6, seed=3), normal(50, 6, seed=4)
    oracle = (
        scoringrules.vs_ensemble(truth.numpy(), samples.numpy(), p=p, estimator="fair").mean() / 30
    )  # ordered pairs
    assert metrics.variogram_score(samples, truth, p=p).item() == pytest.approx(oracle, rel=1e-10)
    field = metrics.variogram_score(samples.reshape(50, 7, 2, 3), truth.reshape(50, 2, 3), p=p)
    assert field.item() == pytest.approx(oracle, rel=1e-10)


def test_variogram_score_of_random_pairs_is_that_of_all() -> None:
    def score(pairs: int, seed: int = 0) -> float:
        generator = torch.Generator().manual_seed(seed)
        return metrics.variogram_score(samples, truth, pairs=pairs, generator=generator).item()

    scale = torch.linspace(0.2, 3.0, 12, dtype=torch.float64)  # so that pairs differ
    samples, truth = scale * normal(200, 8, 12, seed=3), scale * normal(200, 12, seed=4)
    every = score(66)
    assert score(66, seed=1) == every
    assert score(65) == score(65) != score(65, seed=1)
    few = torch.tensor([score(20, seed) for seed in range(100)], dtype=torch.float64)
    # unbiased: the mean of 100 subsets within four of its own standard errors
    assert abs(few.mean().item() - every) < 4 * few.std().item() / 10


@pytest.mark.parametrize("members", [2, 16])
def test_crps_of_a_calibrated_gaussian_does_not_depend_on_the_ensemble_size(members: int) -> None:
    sigma = 2.5
    samples, truth = sigma * normal(N, members, seed=5), sigma * normal(N, seed=6)
    standard_error = metrics.crps_map(samples, truth).std().item() / N**0.5
    assert abs(metrics.crps(samples, truth).item() - sigma / math.pi**0.5) < 4 * standard_error


def test_energy_score_in_one_dimension_is_the_crps() -> None:
    samples, truth = normal(100, 8, 1, seed=7), normal(100, 1, seed=8)
    torch.testing.assert_close(metrics.energy_score(samples, truth), metrics.crps(samples, truth))


# ---- calibration


@pytest.mark.parametrize("members", [2, 7, 16, 101])
@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 0.995])
def test_coverage_over_all_ranks_is_exactly_the_level(members: int, level: float) -> None:
    # Each rank once = the uniform law of the rank = a perfect ensemble, without sampling error.
    truth = torch.arange(members + 1, dtype=torch.float64) - 0.5
    samples = torch.arange(members, dtype=torch.float64).expand(members + 1, -1)
    assert metrics.coverage(samples, truth, level).item() == pytest.approx(level, abs=1e-12)


def test_coverage_of_ties_is_the_level() -> None:
    assert metrics.coverage(torch.zeros(4, K, 3), torch.zeros(4, 3)).item() == pytest.approx(0.9, abs=1e-6)


def test_calibrated_ensemble_passes_and_wrong_ones_are_caught() -> None:
    # Coverage: N independent numbers in [0, 1] of mean .9 have standard error <= sqrt(.9 .1 / N) = .0015.
    standard_error = (0.9 * 0.1 / N) ** 0.5
    flat = chi2.ppf(1 - 1e-4, df=K)

    def scores(scale: float, shift: float) -> tuple[float, Tensor, float]:
        samples, truth = ensemble(scale, shift)
        # Spread^2 is s^2 (K + 1) / K, the mean's square error 1 + b^2 + s^2 / K with relative error sqrt(2 / N) = .007:
        # half of it reaches the ratio; 4 times that is .014.
        spread = scale * ((1 + 1 / K) / (1 + shift**2 + scale**2 / K)) ** 0.5
        assert metrics.spread_skill(samples, truth).item() == pytest.approx(spread, rel=0.014)
        counts = metrics.rank_histogram(samples, truth, generator=torch.Generator().manual_seed(0))
        assert counts.sum() == N
        assert len(counts) == K + 1
        expected = N / (K + 1)
        return metrics.coverage(samples, truth).item(), counts, float((counts - expected).square().sum() / expected)

    inside, counts, deviation = scores(1.0, 0.0)
    assert abs(inside - 0.9) < 4 * standard_error
    assert deviation < flat
    inside, counts, deviation = scores(0.8, 0.0)  # too narrow: a bowl
    assert inside < 0.9 - 5 * standard_error
    assert deviation > flat
    assert min(counts[0], counts[K]) > 1.5 * counts[K // 2]
    inside, counts, deviation = scores(1.2, 0.0)  # too wide: a dome
    assert inside > 0.9 + 5 * standard_error
    assert deviation > flat
    assert 1.5 * max(counts[0], counts[K]) < counts[K // 2]
    inside, counts, deviation = scores(1.0, 0.5)  # members too high: the truth ranks low
    assert inside < 0.9 - 5 * standard_error
    assert deviation > flat
    assert counts[0] > 2 * counts[K]


def test_the_quantile_interval_of_a_perfect_ensemble_is_too_narrow() -> None:
    samples, truth = ensemble()
    low, high = torch.quantile(samples, torch.tensor([0.05, 0.95], dtype=samples.dtype), dim=1)
    naive = ((low <= truth) & (truth <= high)).double().mean().item()
    assert naive == pytest.approx(0.807, abs=4 * (0.807 * 0.193 / N) ** 0.5)  # why `coverage` counts ranks


def test_rank_histogram_breaks_ties_at_random() -> None:
    def counts() -> Tensor:
        generator = torch.Generator().manual_seed(3)
        return metrics.rank_histogram(torch.zeros(N, 4), torch.zeros(N), generator=generator)

    assert torch.equal(counts(), counts())
    assert (counts() - N / 5).square().sum() / (N / 5) < chi2.ppf(1 - 1e-4, df=4)


# ---- spectra


@pytest.mark.parametrize("space", [(32,), (16, 16), (8, 12, 8)])
def test_spectral_error_of_a_scaled_field_is_the_logarithm(space: tuple[int, ...]) -> None:
    truth = normal(3, 2, *space)
    assert spectral_error(truth, truth) == 0
    assert spectral_error(truth * math.e**0.7, truth).item() == pytest.approx(0.7, rel=1e-12)


def test_radial_spectrum_of_one_wave_and_parseval() -> None:
    x = 2 * math.pi * torch.arange(15, dtype=torch.float64) / 15
    k, power = radial_spectrum(torch.cos(3 * x).reshape(1, 1, 15))
    torch.testing.assert_close(k, torch.arange(8, dtype=torch.float64))
    torch.testing.assert_close(power[0, 0], torch.tensor([0, 0, 0, 0.25, 0, 0, 0, 0], dtype=torch.float64))
    field = normal(1, 1, 15)
    power = radial_spectrum(field)[1][0, 0]
    torch.testing.assert_close(power[0] + 2 * power[1:].sum(), field.square().mean())


def test_spectra_of_spread_and_error_agree_when_every_member_is_the_truth_once() -> None:
    # the mean over the roles of either is the unbiased variance of all five: an identity, without sampling error
    fields = normal(3, 5, 2, 6, 6)
    roles = [ensemble_spectra(fields[:, [i for i in range(5) if i != j]], fields[:, j])[1] for j in range(5)]
    whole = ensemble_spectra(fields, fields[:, 0])[1].spread
    for name in ("spread", "error"):
        torch.testing.assert_close(torch.stack([getattr(r, name) for r in roles]).mean(0), whole)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda u, e: spectral_error(u[:1], u),
            r"`estimate` must have the shape \(2, 1, 8\) of `truth`, got \(1, 1, 8\)",
        ),
        (lambda u, e: spectral_error(u * np.nan, u), r"`estimate` must be finite, got NaN"),
        (lambda u, e: spectral_error(u, u / 0), r"`truth` must be finite, got NaN"),
        (
            lambda u, e: spectral_error(u[0], u[0]),
            r"`truth` must have shape \(batch, channels, \*space\) .* got \(1, 8\)",
        ),
        (lambda u, e: spectral_error("u", u), r"`estimate` must be a tensor or an array of numbers, got str 'u'"),
        (lambda u, e: radial_spectrum(u + 1j), r"`field` must be real, got ndarray"),
        (lambda u, e: radial_spectrum(u * np.nan), r"`field` must be finite, got NaN"),
        (lambda u, e: radial_spectrum(u[:0]), r"`field` must have shape .* got \(0, 1, 8\)"),
        (lambda u, e: ensemble_spectra(u, e), r"`samples` must have shape .*; samples come first, the truth second"),
        (lambda u, e: ensemble_spectra(e * np.nan, u), r"`samples` must be finite, got NaN"),
        (
            lambda u, e: ensemble_spectra(e[:, :, 0, 0], u[:, 0, 0]),
            r"`truth` must have shape \(batch, channels, \*space\)",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_wrong_arguments_of_spectra_cost_one_line(call, message) -> None:
    field, members = normal(2, 1, 8).numpy(), normal(2, 3, 1, 8).numpy()
    with pytest.raises(ValueError, match=message) as caught:
        call(field, members)
    assert "\n" not in str(caught.value)


def test_arrays_have_the_spectra_of_tensors() -> None:
    field, members = normal(2, 1, 8), normal(2, 3, 1, 8)
    assert torch.equal(radial_spectrum(field.numpy())[1], radial_spectrum(field)[1])
    assert spectral_error(members[:, 0].numpy(), field.tolist()) == pytest.approx(
        float(spectral_error(members[:, 0], field))
    )
    ours, theirs = (ensemble_spectra(*x)[1] for x in ((members.numpy(), field.numpy()), (members, field)))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_published_heat_set_up_has_its_published_numbers() -> None:
    # Heat equation on 32 x 32, g = .1, T = .2 in 32 steps (decay, then noise), prior power |k|^-4 with unit pixel
    # variance.  Exact values per mode; the standard deviations over batches of 500 were measured on 6 batches.
    n, fields, members = 32, 500, 16
    k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    k2 = k[:, None] ** 2 + k**2
    s = torch.where(k2 > 0, k2.clamp(min=1) ** -2, 0)
    s *= n**2 / s.sum()
    a = torch.exp(-0.2 * k2)
    v = 0.1**2 * 0.2 / 32 * sum(torch.exp(-2 * k2 * 0.2 / 32 * j) for j in range(32))
    gain, variance = a * s / (a**2 * s + v), s * v / (a**2 * s + v)

    def scale(c: Tensor, u: Tensor) -> Tensor:
        return torch.fft.ifft2(c * torch.fft.fft2(u)).real

    truth, other = scale(s.sqrt(), normal(2, fields, 1, n, n))
    final = scale(a, truth) + scale(v.sqrt(), normal(fields, 1, n, n, seed=1))
    mean, flow = scale(gain, final), scale((s / (a**2 * s + v)).sqrt(), final)
    samples = mean.unsqueeze(1) + scale(variance.sqrt(), normal(fields, members, 1, n, n, seed=2))

    assert spectral_error(other, truth).item() == pytest.approx(0.240, abs=4 * 0.0034)
    assert spectral_error(samples[:, 0], truth).item() == pytest.approx(0.136, abs=4 * 0.0014)
    assert spectral_error(flow, truth).item() == pytest.approx(0.130, abs=4 * 0.0017)
    assert spectral_error(mean, truth).item() == pytest.approx(5.755, abs=4 * 0.0025)

    def pushed(u: Tensor) -> float:
        return metrics.reconstruction_error(u, truth, lambda x: scale(a, x)).item()

    floor = (a**2 * variance).mean().item()  # of the posterior mean; a sample has twice that
    assert pushed(mean) == pytest.approx(floor, abs=4 * 0.7e-6)
    assert pushed(samples[:, 0]) == pytest.approx(2 * floor, abs=4 * 0.8e-6)
    assert floor == pytest.approx(3.9e-5, abs=0.05e-5)
    pixel = variance.mean().sqrt().item()
    assert metrics.crps(samples, truth).item() == pytest.approx(pixel / math.pi**0.5, rel=4 * 0.0015)
    assert metrics.spread_skill(samples, truth).item() == pytest.approx(1, abs=4 * 0.0015)


# ---- two samples


def test_c2st_is_a_coin_toss_for_equal_laws() -> None:
    # 2000 held-out answers: sqrt(.25 / 2000) = .011; the folds share their training sets, so take 5 of them.
    state = torch.get_rng_state()
    a, b = normal(1000, 4, seed=1).float(), normal(1000, 4, seed=2).float()
    scores = [c2st(a, b, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    assert scores[0] == scores[1]
    assert abs(scores[0].item() - 0.5) < 0.056
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("distance", [1.0, 2.0])
def test_c2st_of_shifted_gaussians_is_the_bayes_accuracy(distance: float) -> None:
    a, b = normal(1000, 4, seed=1), normal(1000, 4, seed=2)
    b[:, 2] += distance
    bayes = 0.5 * (1 + math.erf(distance / 2 / 2**0.5))
    # Sampling error 4 sqrt(.25 / 2000) = .045 either way; a trained classifier loses up to .02 more.
    accuracy = c2st(a, b, generator=torch.Generator().manual_seed(0)).item()
    assert bayes - 0.065 < accuracy < bayes + 0.045


def test_c2st_of_joint_draws_that_share_the_observation_is_a_coin_toss_if_pairs_stay_together() -> None:
    """Exact posterior draws, 20 sets of 100: the mean accuracy of the 4000 verdicts has a standard error of .011 at
    most, were pairs of verdicts equal; parted, what was learned under the other label pulls it far below."""
    generator = torch.Generator().manual_seed(0)
    means = []
    for paired in (True, False):
        scores = []
        for _ in range(20):
            y = torch.randn(100, 1, generator=generator)
            a, b = (torch.cat([y + 0.5 * torch.randn(100, 1, generator=generator), y], 1) for _ in range(2))
            scores.append(float(c2st(a, b, paired=paired, generator=generator)))
        means.append(sum(scores) / len(scores))
    assert abs(means[0] - 0.5) < 5 * 0.011
    assert means[1] < 0.5 - 2 * 0.011


def test_c2st_sees_a_correlation_behind_equal_marginals() -> None:
    a, z = normal(1000, 2, seed=1), normal(1000, 2, seed=2)
    b = torch.stack([z[:, 0], 0.8 * z[:, 0] + 0.6 * z[:, 1]], dim=1)
    assert c2st(a, b, generator=torch.Generator().manual_seed(0)) > 0.65


def test_wasserstein_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    # nearest neighbours first would cost 0 + 3^2 + 5^2; the best matching moves each point by (0, 1)
    assert wasserstein(a, (a + torch.tensor([0.0, 1.0]))[[2, 0, 1]]).item() == pytest.approx(1)
    assert wasserstein(a[:, :1], a[:, 1:]).item() == pytest.approx(3**-0.5)  # 0, 0, 3 against 0, 0, 4
    assert wasserstein(a, a[[1, 2, 0]]) == 0
    with pytest.raises(ValueError, match=r"`[ab]` must be finite"):
        wasserstein(a, a / 0)
    with pytest.raises(ValueError, match=r"`a` and `b` must hold samples"):
        wasserstein(a[:0], a[:0])


# ---- errors that teach


def test_errors_name_the_argument() -> None:
    one, truth = torch.zeros(3, 1, 2), torch.zeros(3, 2)
    with pytest.raises(ValueError, match="`samples` must hold at least 2 members, got 1"):
        metrics.crps(one, truth)
    with pytest.raises(ValueError, match=r"`level` must be a probability between 0 and 1, such as .9, got 90\.0"):
        metrics.coverage(one, truth, 90.0)
    with pytest.raises(ValueError, match="`truth` must be finite"):
        metrics.coverage(one.expand(-1, 2, -1), truth / 0)
    with pytest.raises(ValueError, match="`samples` must hold at least 2 members, got 1"):
        metrics.coverage(one, truth)
    with pytest.raises(ValueError, match="`folds` must be between 2 and the 3 samples in each set, got 5"):
        c2st(truth, truth)
    with pytest.raises(ValueError, match=r"`pairs` must be at least 1, got 0"):
        metrics.variogram_score(one, truth, pairs=0)
    with pytest.raises(ValueError, match="`truth` must have at least 2 components to pair, got 1"):
        metrics.variogram_score(torch.zeros(3, 2, 1), truth[:, :1])
    with pytest.raises(ValueError, match="`samples` must hold at least 2 members, got 1"):
        ensemble_spectra(torch.zeros(3, 1, 1, 8), torch.zeros(3, 1, 8))
    with pytest.raises(ValueError, match="`truth` must have at least 4 points along each space axis"):
        spectral_error(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
