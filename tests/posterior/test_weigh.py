"""Weights of reversals and brackets, where evidence and posterior are known in closed form."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from density_cases import around_mixture

from physinv.equations.gaussian import gaussian_log_prob
from physinv.equations.sde import SDE
from physinv.equations.steps import euler, heun
from physinv.laws.fokker_planck import FokkerPlanck
from physinv.models.jumps.base import Jump, JumpKernel
from physinv.models.references.linear import LinearReference, power_spectrum
from physinv.models.score import ScoreModel
from physinv.posterior import bracket as bracket_module
from physinv.posterior.bracket import bracket
from physinv.posterior.jumps import JumpPosterior
from physinv.posterior.posterior import Posterior
from physinv.posterior.weigh import Weighed, weigh
from simulators.fields.heat import Heat
from simulators.numerics.spectral import power_law
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

OU = OrnsteinUhlenbeck(dim=2, components=1, spread=0.0, width=1.0)


def seed(number=0):
    return torch.Generator().manual_seed(number)


def reversal(factor=1.0, steps=40, step=euler, ou=OU):
    """The reversal of a Gaussian process with a multiple of its score."""

    def score(x, t):
        return -factor * x / ou.marginal(float(t[0])).covs[0, 0, 0]

    return Posterior(ou, score, torch.linspace(0, ou.horizon, steps + 1, dtype=torch.float64), step=step)


def finals(n, ou=OU, number=1):
    law = ou.marginal(ou.horizon)
    x = law.sample(n, generator=seed(number))
    return x, law.log_prob(x)


@pytest.mark.parametrize("factor", [1.0, 0.7, 1.3])
def test_the_mean_weight_is_the_evidence_whatever_the_score(factor):
    x, truth = finals(20)
    found = weigh(reversal(factor), x, 400, generator=seed())
    z = (found.log_evidence - truth) / found.error
    # 20 normal deviates have a mean square of 1 +- .32; Jensen's bias, error^2 / 2, is a tenth of an error at most
    assert 0.2 < float(z.square().mean()) < 2.5
    assert float(found.error.mean()) < 0.05
    assert found.prior == "closed form"


def test_a_good_score_has_even_weights_and_a_poor_one_does_not():
    x, _ = finals(20)
    good, poor = (weigh(reversal(factor), x, 400, generator=seed()) for factor in (1.0, 0.4))
    assert float(good.effective.mean()) > 0.85 > 0.75 > float(poor.effective.mean())
    assert bool((poor.effective <= 1).all())
    assert bool((poor.lower < poor.log_evidence).all())


def test_weighted_draws_have_the_exact_posterior_whatever_the_score():
    """Of .7 of the score: means of unweighted draws are off by 10 standard errors, weighted and resampled ones not."""
    x, exact = torch.full((1, 2), 1.5, dtype=torch.float64), OU.exact()
    found = weigh(reversal(0.7, steps=80), x, 4000, generator=seed())
    law = exact.posterior(x)
    mean, deviation = law.means[0, 0], law.covs[0, 0].diagonal().sqrt()
    error = deviation / (4000 * found.effective) ** 0.5
    again = found.resample(generator=seed(2))[0]
    assert bool(((found.samples[0].mean(0) - mean).abs() > 10 * error).all())
    assert bool(((found.mean()[0] - mean).abs() < 4 * error).all())
    assert bool(((again.mean(0) - mean).abs() < 5 * error).all())
    torch.testing.assert_close(again.std(0), deviation, rtol=0.08, atol=0)


def test_two_rates_are_told_apart_by_their_likelihood_ratio():
    slow = dataclasses.replace(OU, rate=0.2)
    x, truth = finals(40)
    fast, other = (weigh(posterior, x, 200, generator=seed()) for posterior in (reversal(), reversal(ou=slow)))
    factor = float((fast.log_evidence - other.log_evidence).sum())
    error = float((fast.error.square() + other.error.square()).sum().sqrt())
    expected = float((truth - slow.marginal(slow.horizon).log_prob(x)).sum())
    assert abs(expected) > 6 * error
    assert factor == pytest.approx(expected, abs=3 * error)


class Nothing(torch.nn.Module):
    def forward(self, x, t):
        return torch.zeros_like(x[:, :1])


def warm(heat):
    """The reversal of heat around the exact law of its initial states."""
    like = torch.zeros((1, *heat.shape), dtype=torch.float64)
    reference = LinearReference(heat, like[0], power_law(like, heat.slope))
    return Posterior(heat, ScoreModel(reference, Nothing(), (float(heat.times[1]), heat.horizon)), heat.times)


def known(heat, x):
    T = torch.tensor(heat.horizon, dtype=torch.float64)
    power = heat.decay(0.0, T, x) ** 2 * power_law(x, heat.slope) + heat.variance(0.0, T, x)
    return gaussian_log_prob(heat.modes(x), power, x)


def test_the_exact_reversal_of_a_field_has_constant_weights():
    """All draws, those of small fields with self-conjugate modes too, and true paths have the weight p(x_T)."""
    for heat in (Heat(size=8, steps=6), Heat(size=7, dimension=1, steps=3, diffusivity=1.1)):
        x = heat.simulate(3, generator=seed(), dtype=torch.float64)
        found = bracket(warm(heat), x, draws=4, generator=seed())
        truth = known(heat, x[:, -1])
        torch.testing.assert_close(found.weighed.log_weights, truth[:, None].expand(-1, 4), rtol=0, atol=1e-6)
        torch.testing.assert_close(found.upper, truth, rtol=0, atol=1e-6)
        assert abs(found.width) < 1e-6


def test_modes_that_vary_by_rounding_alone_have_no_density():
    """The mean of heat is 0 but for 1e-8 in stored states: fitted to these, it would count for 15 nats."""
    heat = Heat(size=16, dimension=1, steps=8)
    x = heat.simulate(4000, generator=seed())
    mean, power = power_spectrum(heat.modes, heat, x[:, 0])
    assert 0 < float(power[0, 0]) < 1e-12
    reference = LinearReference(heat, mean, power)
    reference.load_state_dict({"mean0": mean, "power0": power})  # as of a run that an earlier version stored
    posterior = Posterior(heat, ScoreModel(reference, Nothing(), (float(heat.times[1]), heat.horizon)), heat.times)
    found = bracket(posterior, x[:50], heat.times, draws=64, generator=seed())
    truth = known(heat, x[:50, -1].double())
    # powers of 4000 states are off by 2 %, which costs far less than a hundredth of a nat in each of 15 numbers
    torch.testing.assert_close(found.weighed.log_evidence, truth, rtol=0, atol=0.1)
    assert abs(found.width) < 0.15


def test_rounding_to_float32_costs_a_field_less_than_a_hundredth_of_a_nat():
    heat = Heat(size=16, steps=8)
    x = heat.simulate(3, generator=seed())[:, -1]
    posterior = warm(heat)
    posterior.score.float()
    found = weigh(posterior, x, 4, generator=seed())
    torch.testing.assert_close(found.log_evidence, known(heat, x.double()), rtol=0, atol=0.01)


def read(values, at, x):
    """Values on an even grid, between its points."""
    place = ((x - at[0]) / (at[1] - at[0])).clamp(0, len(at) - 1.001)
    return torch.lerp(values[place.long()], values[place.long() + 1], place - place.long())


@pytest.fixture(scope="module")
def well():
    """A double well with its places, and the log densities of its states at 51 times by the Fokker-Planck equation."""
    well = DoubleWell()
    grid = FokkerPlanck(lambda x, t: -4 * x * (x**2 - 1), 1.0, np.linspace(-3, 3, 401))
    at = torch.from_numpy(grid.centers)
    densities = [well.log_prior(at[:, None]).exp().numpy()]
    for _ in range(well.steps):
        densities.append(grid.forward(densities[-1], 0.0, well.horizon / well.steps))
    return well, at, [torch.from_numpy(np.log(np.maximum(p, 1e-300))) for p in densities]


def test_a_double_well_has_the_evidence_of_the_fokker_planck_equation(well):
    well, at, logs = well
    slopes = [torch.gradient(log, spacing=float(at[1] - at[0]))[0] for log in logs]

    def score(x, t):
        return read(slopes[round(float(t[0]) / well.horizon * well.steps)], at, x)

    final = well.simulate(30, generator=seed(), dtype=torch.float64)[:, -1]
    found = weigh(Posterior(well, score, well.times, step=euler), final, 300, generator=seed())
    error = found.log_evidence - read(logs[-1], at, final)[:, 0]
    assert float(error.square().mean().sqrt()) < 0.05  # sampling error .025, Euler steps of .01


def test_small_steps_around_a_mixture_can_be_weighed_under_nonlinear_physics(well):
    """The noise goes through the physics there: its density takes the volume that the flow makes, some nats in all."""
    _, at, logs = well
    coarse = DoubleWell(steps=20)
    x = coarse.simulate(20, generator=seed(), dtype=torch.float64)
    found = bracket(Posterior(coarse, around_mixture(coarse), coarse.times), x, draws=150, generator=seed())
    error = found.weighed.log_evidence - read(logs[-1], at, x[:, -1])[:, 0]
    # z^2 of 20 deviates has the mean 1 +- .32; .05 for Euler steps of .025
    assert float((error / (found.weighed.error + 0.05)).square().mean()) < 2.5
    assert found.width > 0


def test_brackets_hold_the_truth_and_are_as_wide_as_the_divergence_of_the_paths():
    """With c times the score the upper bound is too high by KL = (1 - c)^2/2 int g^2 E|s|^2 dt (Girsanov).

    E|s|^2 = 2/v in two dimensions, v = (1 - g^2) e^-t + g^2 for rate 1/2 and g^2 = 1/4, and
    int_0^2 dt/v = 4 log(3/4 + e^2/4), so that KL = .3436 for c = .4.
    """
    divergence = 0.6**2 / 2 * 0.25 * 2 * 4 * math.log(0.75 + math.e**2 / 4)
    for factor, expected in ((1.0, 0.0), (0.4, divergence)):
        posterior = reversal(factor, steps=80)
        x = OU.simulate(400, posterior.times, generator=seed(3), dtype=torch.float64)
        found = bracket(posterior, x, draws=4, generator=seed())
        truth = OU.marginal(OU.horizon).log_prob(x[:, -1])
        assert found.holds(truth)
        assert not found.holds(truth + 0.5 + found.width)
        assert not found.holds(truth - 0.5 - found.width)
        above = found.upper - truth
        error = 3 * float(above.std()) / 400**0.5
        assert error < 0.15
        assert float(above.mean()) == pytest.approx(expected, abs=error + 0.02)  # and of 80 Euler steps
        assert found.width == pytest.approx(2 * expected, abs=2 * error + 0.04 + 0.1 * expected)
        assert found.width_per_number == found.width / 2


def test_brackets_find_the_times_of_the_reversal_among_those_of_trajectories():
    posterior = reversal(steps=10)
    times = torch.linspace(0, 2, 21, dtype=torch.float64)
    x = OU.simulate(50, times, generator=seed(), dtype=torch.float64)
    every = bracket(posterior, x[:, ::2], generator=seed())
    torch.testing.assert_close(bracket(posterior, x, times, generator=seed()).upper, every.upper)
    with pytest.raises(ValueError, match=r"must have the 11 times of the reversal, got 21; give `times`"):
        bracket(posterior, x)
    with pytest.raises(ValueError, match=r"must hold all times of the reversal, got none at 0\.2"):
        bracket(posterior, x, times + 0.05 * (times > 0))


class ExactJumps(JumpKernel):
    """The exact law p(x_s | x_t) of a Gaussian process, with a range beyond which draws are cut off."""

    def __init__(self, ou, jumps, limit=math.inf):
        super().__init__(torch.nn.Identity(), ou, jumps)
        self.ou, self.times, self.limit = ou, ou.times, limit

    def prepare(self, later, jump):
        return later

    def loss(self, *given, generator=None):
        raise NotImplementedError

    def law(self, later, jump):
        s, t = (float(self.times[i]) for i in self.jumps[jump])
        v, (a, q) = self.ou.marginal(s).covs[0, 0, 0], self.ou.exact()._law(t - s)
        return torch.distributions.Normal(a * v / (a * a * v + q) * later, (q * v / (a * a * v + q)).sqrt())

    def draw(self, later, jump, *, generator=None):
        law = self.law(later, jump)
        z = torch.randn(later.shape, generator=generator, dtype=later.dtype)
        return (law.mean + law.stddev * z).clamp(-self.limit, self.limit)

    def mean(self, later, jump):
        return self.law(later, jump).mean

    def log_density(self, later, earlier, jump):
        found = self.law(later, jump).log_prob(earlier).sum(1)
        return torch.where((earlier.abs() < self.limit).all(1), found, -math.inf)


GRIDS = [[Jump(0, 40)], [Jump(15, 40), Jump(0, 15)]]
JUMPS = [Jump(0, 40), Jump(15, 40), Jump(0, 15)]


def test_exact_jumps_of_any_length_have_constant_weights_on_every_grid():
    x, truth = finals(5)
    found = weigh(JumpPosterior(ExactJumps(OU, JUMPS), GRIDS), x, 4, generator=seed())
    torch.testing.assert_close(found.log_weights, truth[:, None].expand(-1, 4), rtol=0, atol=1e-9)


class WideJumps(ExactJumps):
    """Jumps whose draws spread half as much again as the exact law."""

    def law(self, later, jump):
        exact = super().law(later, jump)
        return torch.distributions.Normal(exact.mean, 1.5 * exact.stddev)


def test_a_bracket_from_above_is_the_mean_over_the_chains_of_the_posterior():
    """What a trajectory loses on a chain is the sum of log q(x_s | x_t) - log p(x_s | x_t) over its jumps."""
    x = OU.simulate(6, generator=seed(3), dtype=torch.float64)
    truth = OU.marginal(OU.horizon).log_prob(x[:, -1])
    exact = bracket(JumpPosterior(ExactJumps(OU, JUMPS), GRIDS), x, OU.times, draws=2, generator=seed())
    torch.testing.assert_close(exact.upper, truth, rtol=0, atol=1e-9)
    assert abs(exact.width) < 1e-9

    wide, right = WideJumps(OU, JUMPS), ExactJumps(OU, JUMPS)
    found = bracket(JumpPosterior(wide, GRIDS), x, OU.times, draws=2, generator=seed()).upper
    lost = torch.zeros(2, len(x), dtype=torch.float64)
    for chain, grid in enumerate(GRIDS):
        for jump in grid:
            pair = x[:, jump.later], x[:, jump.earlier], JUMPS.index(jump)
            lost[chain] += wide.log_density(*pair) - right.log_density(*pair)
    assert not torch.allclose(lost[0], lost[1], atol=0.1)
    torch.testing.assert_close(found, truth - lost.mean(0), rtol=0, atol=1e-9)


def test_draws_that_were_cut_off_weigh_nothing():
    """The rest weighs p(x_T) each: the mean is p(x_T) times the share of the posterior within the range."""
    x, truth = torch.full((1, 2), 1.5, dtype=torch.float64), OU.marginal(2.0).log_prob(torch.full((1, 2), 1.5).double())
    posterior = JumpPosterior(ExactJumps(OU, JUMPS, limit=1.5), GRIDS[:1])
    found = weigh(posterior, x, 4000, generator=seed())
    cut = (found.samples.abs() == 1.5).any(-1)
    assert 0.2 < float(cut.double().mean()) < 0.8
    assert torch.equal(cut, found.log_weights == -math.inf)
    assert found.log_evidence.item() == pytest.approx(float(truth) + math.log(1 - float(cut.double().mean())), abs=1e-6)
    assert not bool((found.resample(generator=seed()).abs() == 1.5).any())


def test_what_cannot_be_weighed_says_so():
    x = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="step `heun` has no log density that is known"):
        weigh(reversal(step=heun), x, 4)
    with pytest.raises(ValueError, match="DoubleWell is not linear, and how likely it is to make a jump is not known"):
        weigh(JumpPosterior(ExactJumps(DoubleWell(), JUMPS), GRIDS), x, 4)

    class Brownian(SDE):
        def drift(self, x, t):
            return 0 * x

        def diffusion(self, t):
            return torch.ones_like(t)

    free = Posterior(Brownian(), lambda x, t: -x, [0, 0.5, 1], step=euler)
    with pytest.raises(ValueError, match="initial states of Brownian is not known; give `log_prior`"):
        weigh(free, x, 4)
    assert weigh(free, x, 4, log_prior=lambda x: -x.square().sum(1)).prior == "given"


def test_closed_forms_of_priors_integrate_to_one():
    """In one dimension by the trapezoidal rule; heat in its modes, where it is a product."""
    at = torch.linspace(-6, 6, 4001, dtype=torch.float64)[:, None]
    for process in (OrnsteinUhlenbeck(dim=1), DoubleWell(), DoubleWell(start=1.1, width=0.3)):
        mass = float(torch.trapezoid(process.log_prior(at).exp(), at[:, 0]))
        assert mass == pytest.approx(1, abs=1e-6)
    plane = torch.cartesian_prod(*2 * [torch.linspace(-3, 3, 301, dtype=torch.float64)])
    assert float(DoubleWell(dimension=2).log_prior(plane).exp().sum()) * 0.02**2 == pytest.approx(1, abs=1e-6)

    # The entropy of a Gaussian is minus the mean of its log density.
    heat = Heat(size=6)
    x = heat.initial(4000, generator=seed(), dtype=torch.float64)
    power = (x.flatten(1).T @ x.flatten(1) / len(x)).double()
    values = torch.linalg.eigvalsh(power)[1:]  # all but the mean
    entropy = float((2 * math.pi * math.e * values).log().sum() / 2)
    assert float(-heat.log_prior(x).mean()) == pytest.approx(entropy, abs=0.3)


def test_error_and_effective_share_are_those_of_the_weights():
    weights = torch.tensor([[1.0, 2.0, 3.0, 0.0]], dtype=torch.float64)
    found = Weighed(torch.arange(4.0).reshape(1, 4, 1), weights.log() + 700, "given")  # no overflow
    assert found.log_evidence.item() == pytest.approx(700 + math.log(1.5))
    assert found.error.item() == pytest.approx(float(weights.std()) / 1.5 / 2)
    assert found.effective.item() == pytest.approx(36 / 14 / 4)
    assert found.mean().item() == pytest.approx(8 / 6)


def test_a_trajectory_that_no_step_leads_to_has_no_upper_bound(monkeypatch):
    posterior = reversal(steps=4)
    x = OU.simulate(3, posterior.times, generator=seed(), dtype=torch.float64)
    right = bracket(posterior, x, draws=4, generator=seed())
    weight = bracket_module.path_log_weight

    def without_the_second(*given):
        return weight(*given).index_fill(0, torch.tensor([1]), math.nan)

    monkeypatch.setattr(bracket_module, "path_log_weight", without_the_second)
    with pytest.raises(ValueError, match="no step of the physics leads to the states of 1 of 3 trajectories"):
        bracket(posterior, x, draws=4, generator=seed())
    kept = bracket(posterior, x, draws=4, keep_lost=True, generator=seed())
    assert kept.upper.isnan().tolist() == [False, True, False]
    assert torch.equal(kept.upper[[0, 2]], right.upper[[0, 2]])


@pytest.mark.parametrize("n", [10**13, 10**23])  # of which the second is no size of a tensor either
def test_draws_that_no_memory_holds_are_refused(n):
    with pytest.raises(ValueError, match=rf"weighing {n} draws for each of 2 final states takes .*; take fewer draws"):
        weigh(reversal(), torch.zeros(2, 2), n, generator=seed())
