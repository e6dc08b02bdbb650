"""Diagnostics, residuals and densities against closed forms, dense matrices, and sbi's own figures."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest
from torch.distributions import MultivariateNormal, Normal

from physinv.equations.sde import SDE
from physinv.evaluation import metrics
from physinv.evaluation.calibration import LEVELS, calibration_error, coverage_curve, sbc, tarp
from physinv.evaluation.physics.residual import Diagonal, physics_residual
from physinv.laws.exact import LinearGaussian
from physinv.laws.exact_1d import ScalarPosterior
from physinv.methods.classical.linear_estimate import LinearEstimate
from physinv.models.references.linear import LinearReference
from physinv.models.score import ScoreModel
from physinv.posterior.posterior import Posterior
from physinv.processes.layout import VectorLayout
from simulators.fields.advection_diffusion import AdvectionDiffusion
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.fields.heat_walls import HeatWalls
from simulators.fields.kpz import KPZ
from simulators.fields.multiplicative_heat import MultiplicativeHeat
from simulators.fields.wave import Wave
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- coverage


def test_the_coverage_curve_is_the_diagonal_for_uniform_ranks():
    # every rank once: no sampling error
    truth, samples = torch.arange(10.0).double() - 0.5, torch.arange(9.0).double().expand(10, -1)
    assert torch.allclose(coverage_curve(samples, truth), LEVELS, atol=1e-12)
    assert float(calibration_error(samples, truth)) < 1e-12
    # the truth in the middle of all members, rank 5 of 0 ... 10: covered at level c by min(1, c (K + 1)) of its rank
    curve = coverage_curve(torch.arange(10.0).double()[None], torch.tensor([4.5]).double())
    assert torch.allclose(curve, (LEVELS * 11).clamp(max=1), atol=1e-12)
    # half of the truths there, half below all members: too many below level 1/2, too few above, which must not cancel
    halves = torch.tensor([4.5, -1.0]).double()
    want = ((LEVELS * 11).clamp(max=1) + (1 - 11 / 2 * (1 - LEVELS)).clamp(min=0)) / 2
    both = torch.arange(10.0).double().expand(2, -1)
    assert torch.allclose(coverage_curve(both, halves), want, atol=1e-12)
    assert float(calibration_error(both, halves)) == pytest.approx(float((want - LEVELS).abs().mean()), abs=1e-12)
    assert float((want - LEVELS).mean().abs()) < 0.5 * float((want - LEVELS).abs().mean())


# ---- simulation-based calibration


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)])
def test_sbc_has_its_level_and_not_much_less(shape):
    """p values of calibrated ensembles: independent tests in 2-D, so Bonferroni's rate is 1 - (1 - .1/2)^2 = .0975."""
    n, runs = 100, 200 if shape == (2,) else 60
    p = np.array([sbc(*_calibrated(n, 9, shape, seed), generator=seeded(seed)) for seed in range(runs)])
    # five standard errors of a share of the runs; above only for the 9 dependent summaries of the field
    error = 5 * math.sqrt(0.1 * 0.9 / runs)
    assert (p < 0.1).mean() < 0.1 + error
    if shape == (2,):
        assert (p < 0.1).mean() > 0.0975 - error
    assert (p > 0.999).mean() < 0.8


def test_sbc_is_the_smallest_chi_squared_p_value_times_the_number_of_summaries():
    samples, truth = _calibrated(400, 9, (3,), 5)
    samples[..., 1] *= 0.8
    counts = [metrics.rank_histogram(samples[..., i], truth[:, i]).numpy() for i in range(3)]
    want = min(1, 3 * min(float(chisquare(c).pvalue) for c in counts))
    assert 1e-12 < want < 0.5
    assert sbc(samples, truth, generator=seeded()) == pytest.approx(want, rel=1e-9)
    # pooled where there are too few observations: 100 in at most 5 bins of ranks 0 ... 9, two ranks each
    few = [metrics.rank_histogram(samples[:100, :, i], truth[:100, i]).reshape(5, 2).sum(1).numpy() for i in range(3)]
    want = min(1, 3 * min(float(chisquare(c).pvalue) for c in few))
    assert sbc(samples[:100], truth[:100], generator=seeded()) == pytest.approx(want, rel=1e-9)
    # ... and bins of unequal size are expected to hold unequal counts: 8 ranks in 5 bins, (2, 2, 1, 2, 1)
    short = metrics.rank_histogram(samples[:100, :7, 0], truth[:100, 0])
    pooled = [int(short[i].sum()) for i in ([0, 1], [2, 3], [4], [5, 6], [7])]
    want = float(chisquare(pooled, np.array([2, 2, 1, 2, 1]) * 100 / 8).pvalue)
    first = sbc(samples[:100, :7], truth[:100], statistics=lambda x: x[:, :1], generator=seeded())
    assert first == pytest.approx(want, rel=1e-9)


def test_sbc_breaks_ties_at_random_and_sees_what_its_statistics_see():
    assert sbc(torch.zeros(400, 9, 2), torch.zeros(400, 2), generator=seeded()) > 1e-3
    samples, truth = _calibrated(400, 9, (2,), 0, correlation=0.9)
    swapped = torch.stack([samples[..., 0], samples.roll(1, 1)[..., 1]], -1)  # right marginals, no dependence
    assert sbc(swapped, truth, generator=seeded()) > 1e-3
    assert sbc(swapped, truth, statistics=lambda x: x.sum(1, keepdim=True), generator=seeded()) < 1e-6


def test_sbc_of_large_states_sees_their_size():
    """64 numbers: truths on a sphere of radius 9, members of radius 8 +- .7; projections hardly differ."""
    z = normal(200, 64, seed=1)
    truth = 9 * z / z.norm(dim=1, keepdim=True)
    assert sbc(normal(200, 9, 64, seed=2), truth, generator=seeded()) < 1e-6


def test_sbc_ranks_are_those_of_sbi():
    module = pytest.importorskip("sbi.diagnostics.sbc")
    samples, truth = _calibrated(200, 19, (3,), 1)
    theirs = module._run_sbc(truth, torch.zeros(200, 1), samples.movedim(1, 0), "marginals", False)
    for i in range(3):
        ours = metrics.rank_histogram(samples[..., i], truth[:, i])
        assert torch.equal(ours, torch.bincount(theirs[:, i].long(), minlength=20))


# ---- tests of accuracy with random points


@pytest.mark.parametrize("members", [1, 9])
def test_tarp_has_a_uniform_p_value(members):
    """200 p values of calibrated ensembles against the uniform law; p > 1e-4 is what a fixed seed has to show."""
    found = [tarp(*_calibrated(60, members, (3,), seed), generator=seeded(seed)).p_value for seed in range(200)]
    assert kstest(found, "uniform").pvalue > 1e-4
    assert min(found) < 0.05  # about 10 of them


def test_tarp_in_one_dimension_by_hand():
    """Reference 0 for everyone, truths at distance 2.5, samples at 0 ... 9: three are nearer, rank 3 of 0 ... 10."""
    truth = torch.tensor([2.5, -2.5]).double().repeat(2000)[:, None]
    samples = torch.arange(10.0).double()[None, :, None].expand(4000, -1, -1)
    found = tarp(samples, truth, references=torch.zeros_like(truth), generator=seeded())
    # shares are uniform on [3/11, 4/11]: .3 lies .3 of the way; five standard errors of 4000
    assert float(found.coverage[4]) == 0
    assert float(found.coverage[5]) == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / 4000))
    assert float(found.coverage[7]) == 1
    assert found.deviation == pytest.approx(0.6)  # at .4
    assert found.p_value < 1e-10


def test_tarp_is_sbi_s_up_to_the_random_part_of_ranks():
    module = pytest.importorskip("sbi.diagnostics.tarp")
    samples, truth = _calibrated(500, 99, (3,), 2)
    samples = 0.5 * samples
    std, mean = torch.std_mean(torch.cat([truth[:, None], samples], 1).flatten(0, 1), dim=0)
    truth, samples = (truth - mean) / std, (samples - mean) / std  # sbi, asked not to scale, has the same distances
    references = normal(500, 3, seed=9)
    theirs, at = module._run_tarp(samples.movedim(1, 0), truth, references)
    low, high = (
        tarp(samples, truth, references=references, levels=(at + shift).double(), generator=seeded()).coverage
        for shift in (-0.011, 0.011)
    )
    # sbi's share is r / K, ours (r + u) / (K + 1): at most 1 / (K + 1) = .01 apart
    assert bool((low <= theirs + 1e-6).all())
    assert bool((theirs <= high + 1e-6).all())
    assert tarp(samples, truth, references=references, generator=seeded()).p_value < 1e-4
    with_own = tarp(samples, truth, generator=seeded())
    assert with_own.p_value == tarp(samples, truth, generator=seeded()).p_value


def test_diagnostics_refuse_what_they_cannot_test():
    truth = torch.zeros(50, 3)
    with pytest.raises(ValueError, match="`samples` must hold at least 1 members, got 0"):
        tarp(torch.zeros(50, 0, 3), truth)
    with pytest.raises(ValueError, match="`samples` must be finite"):
        tarp(torch.full((50, 2, 3), math.nan), truth)
    with pytest.raises(ValueError, match="`truth` must hold at least 40 observations for a test, got 39"):
        sbc(torch.zeros(39, 2, 3), truth[:39])


# ---- the residual of the physics


@pytest.mark.parametrize(
    ("simulator", "diagonal"),
    [
        (OrnsteinUhlenbeck(steps=4), True),
        (Heat(size=16, dimension=1, steps=2), True),
        (HeatWalls(size=8, steps=2), True),
        (KPZ(size=16, steps=4, growth=0.0), True),  # coloured noise, here without its nonlinearity: exact
        (Wave(size=16, steps=8), False),
        (AdvectionDiffusion(size=8, steps=4, inner=3, flow="uniform"), False),
    ],
)
def test_true_trajectories_of_linear_processes_have_residual_one(simulator, diagonal):
    x = simulator.simulate(100, generator=seeded(), dtype=torch.float64)
    n = x[:, 1:].numel() / (1.0 if not isinstance(simulator, KPZ) else 1.6)  # 10 or 11 of KPZ's 16 modes have noise
    # mean of n chi-squared numbers, standard error sqrt(2/n); advection turns isotropic noise, order dt^3 aside
    tolerance = 5 * math.sqrt(2 / n)
    assert isinstance(simulator, Diagonal) == diagonal
    assert float(physics_residual(x, simulator, simulator.times)) == pytest.approx(1, abs=tolerance)
    single = float(physics_residual(x.float(), simulator, simulator.times))
    assert single == pytest.approx(float(physics_residual(x, simulator, simulator.times)), abs=2e-3)
    quiet = simulator.run(x[:, 0], noise=False)
    assert float(physics_residual(quiet, simulator, simulator.times)) < 1e-3
    twice = quiet + 2 * (x - quiet)  # linear: twice the noise
    assert float(physics_residual(twice, simulator, simulator.times)) == pytest.approx(4, abs=4 * tolerance + 1e-6)


class Kicked(SDE):
    """Two numbers, ``dx = -x dt``, noise .5 on the second only; in three steps between stored times."""

    def substeps_in(self, duration):
        return 3

    def drift(self, x, t):
        return -x

    def diffusion(self, t):
        return torch.tensor([0.0, 0.5]).to(t).expand(len(t), 2)


def test_residual_by_hand():
    sde, times = Kicked(), torch.tensor([0.0, 0.1, 0.5], dtype=torch.float64)
    x0 = torch.tensor([[1.0, 2.0], [0.0, -1.0]], dtype=torch.float64)
    x1 = x0 * math.exp(-0.1) + torch.tensor([7.0, 0.3])
    x2 = x1 * math.exp(-0.4) + torch.tensor([7.0, -0.2])
    states = torch.stack([x0, x1, x2], 1)
    want = (0.3**2 / (0.25 * 0.1) + 0.2**2 / (0.25 * 0.4)) / 2  # the first number has no noise and does not count
    # three classical Runge-Kutta steps of .13: e^-h off by h^5/120 = 4e-7
    assert float(physics_residual(states, sde, times)) == pytest.approx(want, rel=1e-4)
    broken = states.clone()
    broken[0, 1, 0] = math.nan
    assert float(physics_residual(broken, sde, times)) == math.inf
    with pytest.raises(ValueError, match="`states` must have shape"):
        physics_residual(states[:, :1], sde, times[:1])
    with pytest.raises(ValueError, match="`times` must increase"):
        physics_residual(states, sde, times.flip(0))
    with pytest.raises(ValueError, match="`sde` must have noise"):
        physics_residual(torch.zeros(2, 2, 1, 8), Heat(size=8, dimension=1, noise=0.0), times[:2])
    with pytest.raises(ValueError, match="depends on the state"):
        physics_residual(torch.ones(2, 3, 1, 8), MultiplicativeHeat(size=8).temperature, times.float())
    # arrays and lists will do, other mistakes cost one line
    arrays = physics_residual(states.numpy(), sde, times.tolist())
    assert float(arrays) == pytest.approx(want, rel=1e-4)
    with pytest.raises(ValueError, match=r"`times` must be finite"):
        physics_residual(states, sde, [0.0, math.nan, 1.0])
    with pytest.raises(ValueError, match=r"`states` must be of shape \(2, 3, 1, 8\) .*, got \(2, 3, 1, 9\)"):
        physics_residual(torch.zeros(2, 3, 1, 9), Heat(size=8, dimension=1), times)


def test_static_channels_do_not_count():
    simulator = HeatConductivity(size=8)
    x = simulator.simulate(100, generator=seeded(), dtype=torch.float64)
    # 8 x 8 numbers of one of the two channels; explicit steps of dt leave 5 % (noise is smoothed within an interval)
    assert float(physics_residual(x, simulator, simulator.times)) == pytest.approx(1, abs=0.08)


# ---- log-likelihoods


def covariance(power, heat):
    """The dense covariance of a periodic field: columns from its action on unit fields."""
    eye = torch.eye(math.prod(heat.shape), dtype=torch.float64).reshape(-1, *heat.shape)
    return heat.unmodes(power * heat.modes(eye), eye).flatten(1)


@pytest.mark.parametrize("heat", [Heat(size=4, noise=0.5), Heat(size=5, dimension=1, noise=0.5)])
def test_linear_gaussian_density_is_that_of_dense_bayes(heat):
    """Precision form of Bayes' rule with dense matrices; odd and even sizes, so modes with and without twins."""
    like = torch.zeros(1, *heat.shape, dtype=torch.float64)
    power, mean = 0.3 + heat.exact().power.double(), normal(*heat.shape, seed=3)
    law = LinearGaussian(heat, heat.horizon, mean, power)
    t = torch.tensor([heat.horizon], dtype=torch.float64)
    S, V = covariance(power, heat), covariance(heat.variance(0.0, t, like)[0], heat)
    A = covariance(heat.decay(0.0, t, like)[0], heat)
    C = torch.linalg.inv(torch.linalg.inv(S) + A.T @ torch.linalg.solve(V, A))
    C = (C + C.T) / 2
    initial, final = normal(3, *heat.shape, seed=1), normal(3, *heat.shape, seed=2)
    m = mean.flatten()
    centre = m + (C @ A.T @ torch.linalg.solve(V, (final.flatten(1) - A @ m).T)).T
    want = MultivariateNormal(centre, C).log_prob(initial.flatten(1))
    # matrices of condition 1e3 in float64
    assert torch.allclose(law.log_prob(initial, final), want, rtol=1e-9)
    assert torch.allclose(law.log_prob(initial.float(), final.float()).double(), want, rtol=1e-4)


def test_linear_gaussian_density_is_that_of_the_exact_score_s_flow():
    """log p(x_T | x_0) + log p(x_0) - log p(x_T), the first exact and the second along the probability flow."""
    heat = Heat(size=4)
    power, mean = 0.3 + heat.exact().power.double(), normal(*heat.shape, seed=3)
    model = ScoreModel(LinearReference(heat, mean, power), torch.nn.Identity(), (float(heat.times[1]), heat.horizon))
    model.output = lambda x, t, features=None: torch.zeros_like(x)
    law = LinearGaussian(heat, heat.horizon, mean, power)
    initial = mean + 0.5 * normal(3, *heat.shape, seed=1)
    final = heat.run(initial, generator=seeded())[:, -1]
    flow = Posterior(heat, model, heat.times).log_prob(initial, final, start=0.0, rtol=1e-7, atol=1e-7)
    assert torch.allclose(law.log_prob(initial, final), flow, atol=1e-5)  # 16 dimensions, integrated to 1e-7


def test_modes_that_the_prior_fixes_are_left_out_and_no_noise_is_refused():
    heat = Heat(size=8)
    x = heat.simulate(4, generator=seeded(), dtype=torch.float64)
    exact = heat.exact()
    assert torch.allclose(exact.log_prob(x[:, 0] + 3.0, x[:, -1]), exact.log_prob(x[:, 0], x[:, -1]))
    with pytest.raises(ValueError, match=r"`sde\.noise` must be positive for a density, got 0"):
        LinearGaussian(Heat(size=8, noise=0.0), 0.2, exact.mean0, exact.power).log_prob(x[:, 0], x[:, -1])


def test_mixture_posterior_density_is_bayes_rule():
    ou = OrnsteinUhlenbeck(dim=2)
    x = ou.simulate(20, generator=seeded(), dtype=torch.float64)
    x0, xT = x[:, 0], x[:, -1]
    a = math.exp(-ou.rate * ou.horizon)
    v = ou.noise**2 * (1 - a**2) / (2 * ou.rate)
    want = Normal(a * x0, math.sqrt(v)).log_prob(xT).sum(1) + ou.prior.log_prob(x0)
    want = want - ou.marginal(ou.horizon).log_prob(xT)
    assert torch.allclose(ou.exact().log_prob(x0, xT), want, atol=1e-10)


def test_scalar_posterior_density_is_the_closed_form():
    ou = OrnsteinUhlenbeck(dim=1, components=2, spread=1.0)
    edges = np.linspace(-4, 4, 401)

    def density(x):
        return ou.prior.log_prob(torch.from_numpy(x)[:, None]).exp().numpy()

    scalar = ScalarPosterior(lambda x: -ou.rate * x, ou.noise, ou.horizon, edges, density)
    x = ou.simulate(200, generator=seeded(), dtype=torch.float64)
    got = scalar.log_prob(x[:, 0], x[:, -1])
    # interpolation: h^2/8 (log p)'' = 5e-5 (1/.3^2) = 6e-4; the grid's own error of second order, 1e-3 at h = .01
    # in tests/test_exact.py, four times that here
    assert torch.allclose(got, ou.exact().log_prob(x[:, 0], x[:, -1]), atol=5e-3)
    assert scalar.log_prob(torch.tensor([[5.0]]), torch.tensor([[0.0]])).tolist() == [-math.inf]
    # the density integrates to one: midpoint rule over the cells
    grid = torch.from_numpy((edges[1:] + edges[:-1]) / 2)[:, None]
    mass = scalar.log_prob(grid, torch.full_like(grid, 0.3)).exp().sum() * 0.02
    assert float(mass) == pytest.approx(1, abs=1e-9)


def test_point_starts_have_probabilities():
    """Two starts of an Ornstein-Uhlenbeck process: odds of the weights times those of two Gaussians."""
    starts, weights = np.array([-1.0, 1.0]), np.array([0.3, 0.7])
    exact = ScalarPosterior(lambda x: -x, 1.0, 1.0, np.linspace(-5, 5, 401), (starts, weights))
    initial = torch.tensor([[1.0], [-0.9], [1.3]], dtype=torch.float64)  # the nearest start counts: 1, -1, 1
    final = torch.tensor([[0.3], [0.3], [-0.2]], dtype=torch.float64)
    law = Normal(torch.from_numpy(starts) * math.exp(-1), math.sqrt((1 - math.exp(-2)) / 2))
    joint = law.log_prob(final) + torch.from_numpy(weights).log()
    want = (joint - joint.logsumexp(1, keepdim=True))[[0, 1, 2], [1, 0, 1]]
    # finite volumes and linear interpolation, second order in the cell width .025: h^2 / v = 1.4e-3
    assert torch.allclose(exact.log_prob(initial, final), want, atol=1.5e-3)


def test_linear_estimate_density_is_its_gaussian():
    deviation = torch.tensor([0.5, 2.0, 0.0], dtype=torch.float64)  # the third is known: left out
    weights, shift = normal(3, 3, seed=1), normal(3, seed=2)
    estimate = LinearEstimate(
        VectorLayout("x", 3), shift, torch.zeros(3).double(), weights, torch.eye(3).double(), deviation
    )
    x0, xT = normal(5, 3, seed=3), normal(5, 3, seed=4)
    mean = shift + xT @ weights
    want = Normal(mean[:, :2], deviation[:2]).log_prob(x0[:, :2]).sum(1)
    assert torch.allclose(estimate.log_prob(x0, xT), want, atol=1e-12)


def _calibrated(n, members, shape, seed, correlation=0.0):
    """Members and truths from one law around a centre of their own; ``correlation`` of two components."""
    z = normal(n, members + 2, *shape, seed=1000 + seed)
    if correlation:
        z[:, 1:, 1] = correlation * z[:, 1:, 0] + math.sqrt(1 - correlation**2) * z[:, 1:, 1]
    x = z[:, :1] + z[:, 1:]
    return x[:, 1:], x[:, 0]


def test_a_calibrated_posterior_of_large_states_passes_with_few_observations():
    """48 observations of 512 numbers, samples exact: p < .1 in a tenth of 24 repetitions (at most 8 with probability
    .998).  With scales from the truths alone, which then lie nearer to them than samples do, 13 and 19 are refused."""
    refused = torch.zeros(2)
    for seed in range(24):
        generator = torch.Generator().manual_seed(seed)
        mean = torch.randn(48, 512, generator=generator)
        truth = mean + 0.5 * torch.randn(48, 512, generator=generator)
        samples = mean[:, None] + 0.5 * torch.randn(48, 8, 512, generator=generator)
        p_values = (tarp(samples, truth, generator=generator).p_value, sbc(samples, truth, generator=generator))
        refused += torch.tensor(p_values) < 0.1
    assert refused.max() <= 8, refused
