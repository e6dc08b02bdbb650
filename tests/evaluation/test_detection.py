"""Which metric sees which defect?  Every metric on exact posterior samples, and on ones that are wrong in a known way.

The posterior is ``N(m(x_T), C)``, four correlated numbers, whose law is known.  Defects act on the deviations from m:
``narrow`` and ``wide``, 20 % too small and too large; ``shifted`` by half a standard deviation in every component;
``unlinked``, each component with its right marginal law but without the correlations.  A metric *sees* a defect where
it is off its value for the exact posterior by more than its sampling error (tests below: t > 5, or p < 1e-4).

    metric                 narrow  wide  shifted  unlinked   blind to
    CRPS                     x       x       x       -       dependence: a mean over components
    energy score             x       x       x       x
    variogram score          x       x       x       x       a shift common to all components
    log score                x       x       x       x
    coverage curve           x       x       x       -       dependence
    spread-skill             x       x       x       -       dependence; a shift b with widths s^2 = 1 + b^2
    rank histogram           x       x       x       -       dependence
    SBC, per component       x       x       x       -       dependence, unless a statistic sees it
    TARP                     x       x       x       x       posteriors that ignore x_T
    C2ST, Wasserstein        x       x       x       x       (need exact samples of the same posterior)
    spread / error spectrum  x       x       x       -       dependence between scales (fields only)
    physics residual         x       x       -       .       errors that obey the noise-free equation (needs paths)

A shift along the path that the equation carries is no violation of it; one of the start alone is, and is seen.
"""

import math

import numpy as np
import pytest
import torch
from detection_cases import BLOCKS, DEFECTS, SHIFT, K, N, in_blocks, seeded, t_value
from scipy.integrate import quad
from scipy.special import gamma, hyp2f1
from scipy.stats import chi2, chisquare, norm

from physinv.evaluation import metrics
from physinv.evaluation.calibration import LEVELS, calibration_error, coverage_curve, sbc, tarp
from physinv.evaluation.two_sample import c2st, energy_distance, wasserstein
from physinv.laws.exact import MixturePosterior
from physinv.laws.mixture import Mixture

A, V = math.exp(-0.5), 0.25 * (1 - math.exp(-1))
_ROOT = torch.tensor(
    [[0.6, 0, 0, 0], [0.8, 0.5, 0, 0], [-0.5, 0.7, 0.9, 0], [0.3, 0.2, -1.0, 1.2]], dtype=torch.float64
)
PRIOR = _ROOT @ _ROOT.T


@pytest.fixture(scope="module")
def case():
    """Truths, posterior means and exact samples; the covariances of posterior and of its mean, by Bayes' rule."""
    law = MixturePosterior(Mixture(torch.ones(1).double(), torch.zeros(1, 4).double(), PRIOR[None]), 0.5, 0.5, 1.0)
    g = seeded()
    truth = law.prior.sample(N, generator=g)
    final = A * truth + math.sqrt(V) * torch.randn(N, 4, generator=g, dtype=torch.float64)
    mean, samples = law.mean(final), law.sample(final, K, generator=g)
    eye = torch.eye(4, dtype=torch.float64)
    C = torch.linalg.inv(torch.linalg.inv(PRIOR) + A**2 / V * eye)
    assert torch.allclose(PRIOR - C, A**2 / V * C @ (A**2 * PRIOR + V * eye) @ C / V, atol=1e-9)
    return law, truth, final, mean, samples, C


def spoilt(samples, mean, C, name):
    """The samples with a defect: ``m + s (x - m) + b sigma``, or each component from another member."""
    if name == "unlinked":
        return torch.stack([samples[..., i].roll(i, 1) for i in range(4)], -1)
    scale, shift = DEFECTS[name]
    return mean[:, None] + scale * (samples - mean[:, None]) + shift * C.diagonal().sqrt()


def blocks(metric, samples, truth):
    """A metric on twenty independent parts of the observations."""
    parts = zip(samples.chunk(BLOCKS), truth.chunk(BLOCKS), strict=True)
    return torch.stack([torch.as_tensor(metric(x, y)).double() for x, y in parts])


def expected_crps(C, scale=1.0, shift=0.0):
    """``E|x - y| - E|x - x'|/2`` of Gaussians, ``x - y ~ N(b sigma, (1 + s^2) sigma^2)``: folded normal means."""
    tau = math.sqrt(1 + scale**2)
    folded = tau * math.sqrt(2 / math.pi) * math.exp(-(shift**2) / (2 * tau**2))
    folded += shift * math.erf(shift / (tau * math.sqrt(2)))
    return float(C.diagonal().sqrt().mean()) * (folded - scale / math.sqrt(math.pi))


def mean_norm(covariance):
    """``E||z||``, ``z ~ N(0, covariance)``: ``pi^(-1/2) int_0^inf (1 - E exp(-u^2 |z|^2)) / u^2 du``."""
    eigenvalues = torch.linalg.eigvalsh(covariance).numpy()

    def gap(u):
        return (1 - np.prod((1 + 2 * u**2 * eigenvalues) ** -0.5)) / u**2

    return (quad(gap, 0, 1)[0] + quad(gap, 1, np.inf)[0]) / math.sqrt(math.pi)


def expected_variogram(C, scale=1.0, p=0.5):
    """``E (|y|^p - E|x|^p)^2`` per pair, ``y ~ N(d, c), x ~ N(d, s^2 c)``, ``d ~ N(0, e)``.

    ``E|y|^p E|x|^p`` is the product moment of two normal numbers with variances ``e + c, e + s^2 c``, covariance e, and
    ``E|uv|^p = (2 su sv)^p / pi Gamma((p + 1)/2)^2 2F1(-p/2, -p/2; 1/2; rho^2)`` (Nabeya 1951).
    """

    def product(u, v, cov):
        rho2 = cov**2 / (u * v)
        return (2 * math.sqrt(u * v)) ** p / math.pi * gamma((p + 1) / 2) ** 2 * hyp2f1(-p / 2, -p / 2, 0.5, rho2)

    total = []
    for i, j in zip(*torch.triu_indices(4, 4, 1).tolist(), strict=True):
        c, e = (float(M[i, i] + M[j, j] - 2 * M[i, j]) for M in (C, PRIOR - C))
        square = (2 * (e + c)) ** p * gamma(p + 0.5) / math.sqrt(math.pi)
        wide = e + scale**2 * c
        total.append(square - 2 * product(e + c, wide, e) + product(wide, wide, e))
    return sum(total) / len(total)


SCORES = {"crps": metrics.crps, "energy": metrics.energy_score, "variogram": metrics.variogram_score}


def test_proper_scores_have_their_exact_values(case):
    _, truth, _, mean, samples, C = case
    exact = {"crps": expected_crps(C), "energy": mean_norm(C) / math.sqrt(2), "variogram": expected_variogram(C)}
    for name, metric in SCORES.items():
        assert abs(t_value(blocks(metric, samples, truth) - exact[name])) < 5, name
    for name, (scale, shift) in DEFECTS.items():  # and those of wrong posteriors, as far as formulas go
        x = spoilt(samples, mean, C, name)
        assert abs(t_value(blocks(metrics.crps, x, truth) - expected_crps(C, scale, shift))) < 5, name
        if not shift:
            assert abs(t_value(blocks(metrics.variogram_score, x, truth) - expected_variogram(C, scale))) < 5, name
            energy = mean_norm((1 + scale**2) * C) - scale / math.sqrt(2) * mean_norm(C)
            assert abs(t_value(blocks(metrics.energy_score, x, truth) - energy)) < 5, name


@pytest.mark.parametrize("defect", [*DEFECTS, "unlinked"])
@pytest.mark.parametrize("name", SCORES)
def test_proper_scores_are_worse_for_wrong_posteriors(case, name, defect):
    _, truth, _, mean, samples, C = case
    wrong = spoilt(samples, mean, C, defect)
    worse = blocks(SCORES[name], wrong, truth) - blocks(SCORES[name], samples, truth)
    if (name, defect) == ("crps", "unlinked"):
        assert float(worse.abs().max()) < 1e-12
    else:
        assert t_value(worse) > 5


def test_the_variogram_score_does_not_see_what_components_share(case):
    _, truth, _, _, samples, _ = case
    change = metrics.variogram_score(samples + SHIFT, truth) - metrics.variogram_score(samples, truth)
    assert abs(float(change)) < 1e-12


def test_the_log_score_is_the_entropy_and_falls_with_every_defect(case):
    law, truth, final, _, _, C = case
    score = law.log_prob(truth, final)
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * C))
    # log p = const - chi^2_4 / 2: variance 2, five standard errors
    assert float(score.mean()) == pytest.approx(-entropy, abs=5 * math.sqrt(2 / N))
    p, sigma = law.posterior(final), C.diagonal().sqrt()
    for name, (s, b) in DEFECTS.items():
        wrong = Mixture(p.weights, p.means + b * sigma, s**2 * p.covs).log_prob(truth)
        # E log N(y; m + b sigma, s^2 C): 4 log s + (4 (1/s^2 - 1) + b^2 sigma C^-1 sigma / s^2) / 2 lower
        drop = 4 * math.log(s) + (4 * (s**-2 - 1) + b**2 * float(sigma @ torch.linalg.solve(C, sigma)) / s**2) / 2
        lost = score - wrong
        assert float(lost.mean()) == pytest.approx(drop, abs=5 * float(lost.std()) / math.sqrt(N)), name
        assert t_value(lost) > 5, name
    unlinked = Mixture(p.weights, p.means, torch.diag_embed(p.covs.diagonal(dim1=-2, dim2=-1)))
    assert t_value(score - unlinked.log_prob(truth)) > 5


def test_coverage_spread_and_ranks(case):
    _, truth, _, mean, samples, C = case
    coverages = torch.stack([coverage_curve(x, y) for x, y in in_blocks(samples, truth)])
    error = coverages.std(0) / math.sqrt(BLOCKS)
    # 19 levels, t with 19 degrees of freedom: 5 standard errors each
    assert bool(((coverages.mean(0) - LEVELS).abs() < 5 * error).all())
    bound = 5 * float(error.mean())  # so the mean deviation is below this
    assert float(calibration_error(samples, truth)) < bound
    assert abs(t_value(blocks(metrics.spread_skill, samples, truth).log())) < 5
    flat = _uniformity(samples, truth)
    assert flat > 1e-3
    for name, (s, b) in DEFECTS.items():
        x = spoilt(samples, mean, C, name)
        assert float(calibration_error(x, truth)) > bound, name
        covered = torch.stack([metrics.coverage(x, y, 0.5) for x, y in in_blocks(x, truth)])
        # large ensembles would cover P(|y - b| < s q) with q = .674; K = 24 is close enough for the direction
        q = norm.ppf(0.75)
        assert (norm.cdf(s * q + b) - norm.cdf(b - s * q) < 0.5) == (float(covered.mean()) < 0.5), name
        assert abs(t_value(covered - 0.5)) > 5, name
        ratio = blocks(metrics.spread_skill, x, truth)
        want = s * math.sqrt((1 + 1 / K) / (1 + b**2 + s**2 / K))
        assert abs(t_value(ratio.log() - math.log(want))) < 5, name
        assert abs(t_value(ratio.log())) > 5, name
        assert _uniformity(x, truth) < 1e-4, name


def test_a_shift_hides_behind_width_from_the_spread_skill_ratio_only(case):
    _, truth, _, mean, samples, C = case
    x = mean[:, None] + math.sqrt(1 + SHIFT**2) * (samples - mean[:, None]) + SHIFT * C.diagonal().sqrt()
    assert float(metrics.spread_skill(x, truth)) == pytest.approx(
        1, abs=0.03
    )  # (1 + b^2) (K + 1)/(K + 1 + K b^2 + b^2)
    assert _uniformity(x, truth) < 1e-4
    assert t_value(blocks(metrics.crps, x, truth) - blocks(metrics.crps, samples, truth)) > 5


@pytest.mark.parametrize("defect", [None, *DEFECTS, "unlinked"])
def test_sbc_and_tarp(case, defect):
    _, truth, _, mean, samples, C = case
    x = samples if defect is None else spoilt(samples, mean, C, defect)
    seen = {"sbc": sbc(x, truth, generator=seeded()), "tarp": tarp(x, truth, generator=seeded()).p_value}
    expected = {"sbc": defect not in (None, "unlinked"), "tarp": defect is not None}
    for name, p in seen.items():
        assert p < 1e-4 if expected[name] else p > 1e-3, (name, p)
    if defect == "unlinked":  # marginals are right; a sum of components is not
        assert sbc(x, truth, statistics=lambda y: y.sum(1, keepdim=True), generator=seeded()) < 1e-4


def test_calibration_does_not_see_the_prior_but_scores_do(case):
    law, truth, _, _, samples, _ = case
    prior = law.prior.sample(N * K, generator=seeded(7)).reshape(samples.shape)
    assert sbc(prior, truth, generator=seeded()) > 1e-3
    assert tarp(prior, truth, generator=seeded()).p_value > 1e-3
    assert t_value(blocks(metrics.energy_score, prior, truth) - blocks(metrics.energy_score, samples, truth)) > 5


@pytest.fixture(scope="module")
def pair(case):
    """1000 and 1000 exact samples given one observation."""
    law, _, final, mean, _, C = case
    x = law.sample(final[:1], 2000, generator=seeded(3))[0]
    return x[:1000], x[1000:], mean[0], C


def test_c2st_has_the_bayes_accuracy(pair):
    a, b, mean, C = pair
    sigma = C.diagonal().sqrt()
    # 2000 held-out answers; a trained classifier loses up to .08 of accuracy, and folds share their training sets
    error = math.sqrt(0.25 / 2000)

    def accuracy(wrong):
        return float(c2st(a.float(), wrong.float(), folds=2, generator=seeded()))

    assert abs(accuracy(b) - 0.5) < 5 * error
    for name, (s, shift) in DEFECTS.items():
        if s == 1:  # 1/2 + TV/2 with Mahalanobis distance
            bayes = norm.cdf(shift * math.sqrt(float(sigma @ torch.linalg.solve(C, sigma))) / 2)
        else:  # equal densities at r^2 = 8 log s / (1 - 1/s^2)
            r2 = 8 * math.log(s) / (1 - s**-2)
            bayes = 0.5 + abs(chi2.cdf(r2, 4) - chi2.cdf(r2 / s**2, 4)) / 2
        found = accuracy(spoilt(b[None], mean[None], C, name)[0])
        assert bayes - 0.08 < found < bayes + 5 * error, name
        assert found > 0.5 + 4 * error, name


def test_wasserstein_distance_of_known_maps(pair):
    """``x -> s x + b`` is the gradient of a convex function and so optimal (Brenier 1991)."""
    a, _, mean, C = pair
    order = torch.randperm(300, generator=seeded())
    for name in DEFECTS:
        moved = spoilt(a[None], mean[None], C, name)[0]
        for x, y in ((a[:300], moved[:300]), (a[:300, :1], moved[:300, :1])):  # by assignment, and in order
            want = float((y - x).square().sum(1).mean().sqrt())
            assert float(wasserstein(x, y[order])) == pytest.approx(want, rel=1e-9), name
    # of the laws in one dimension: W_2^2 = b^2 + (s - 1)^2 sigma^2; each empirical law is (log log n / n)^(1/2) = .01
    # sigma from its own, n = 20000
    z = torch.randn(2, 20_000, 1, generator=seeded(), dtype=torch.float64)
    assert float(wasserstein(z[0], 0.5 + 1.2 * z[1])) == pytest.approx(math.hypot(0.5, 0.2), abs=0.03)


def test_energy_distance_of_gaussians_is_the_known_one(generator):
    """2 E|N(m, 2)| - 2 E|N(0, 2)|, with E|N(m, v)| = (2 v / pi)^(1/2) e^(-m^2 / 2 v) + m erf(m / (2 v)^(1/2))."""

    def size(m):
        return math.sqrt(4 / math.pi) * math.exp(-(m**2) / 4) + m * math.erf(m / 2)

    a, b = (torch.randn(20, 500, 1, dtype=torch.float64, generator=generator) for _ in range(2))
    for m in (0.0, 1.0):
        found = torch.stack([energy_distance(x, y + m) for x, y in zip(a, b, strict=True)])
        # five standard errors of the mean of 20 sets: unbiased, so also below 0 for equal laws
        want = 2 * (size(m) - size(0.0))
        assert float(found.mean()) == pytest.approx(want, abs=5 * float(found.std()) / math.sqrt(20))
        assert float(found.std()) < 0.2
    with pytest.raises(ValueError, match="must hold two samples or more"):
        energy_distance(a[0, :1], b[0, :1])


def test_wasserstein_against_exact_samples_sees_every_defect(case):
    law, _, final, mean, _, C = case
    x = law.sample(final[:1], 24 * 400, generator=seeded(4)).reshape(12, 2, 400, 4)
    floor = torch.stack([wasserstein(a, b) for a, b in x])
    for name in [*DEFECTS, "unlinked"]:
        wrong = torch.stack([wasserstein(a, spoilt(b[None], mean[:1], C, name)[0]) for a, b in x])
        assert t_value(wrong - floor) > 5, name


def _uniformity(samples, truth):
    """p value of the chi-squared test of the ranks of the first component, one per observation."""
    counts = metrics.rank_histogram(samples[..., 0], truth[:, 0], generator=seeded())
    return float(chisquare(counts.numpy()).pvalue)
