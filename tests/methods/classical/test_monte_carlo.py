"""Monte Carlo over paths and over runs, against closed forms, Fokker-Planck and each other."""

import math
import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.equations.multiplicative import Multiplicative
from physinv.evaluation.metrics import crps
from physinv.laws.observation import Observation
from physinv.methods.classical.monte_carlo.diagnostics import effective_draws, r_hat
from physinv.methods.classical.monte_carlo.importance import fit_importance
from physinv.methods.classical.monte_carlo.initial_law import fit_initial_law
from physinv.methods.classical.monte_carlo.laplace import linearise
from physinv.methods.classical.monte_carlo.mcmc import fit_mcmc
from physinv.methods.classical.monte_carlo.path import PathObjective, fit_path_model
from physinv.methods.classical.monte_carlo.refine import refine
from physinv.methods.classical.variational import fit_gauss_newton, fit_lbfgs
from physinv.methods.problem import NotApplicableError, Problem
from physinv.methods.registry import fit_method
from physinv.processes.layout import VectorLayout
from physinv.processes.parameters import parameter
from physinv.processes.simulator import Simulator
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.particles.langevin import OverdampedParticles, UnderdampedParticles
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
from simulators.vectors.quadratic import Quadratic


@dataclass(frozen=True)
class FitzHughNagumo(Simulator):
    """An excitable cell with noise on both of its numbers."""

    title: ClassVar[str] = "FitzHugh-Nagumo"
    equation: ClassVar[str] = "dv = 3 (v - v^3/3 - w) dt + g dW, dw = (v + .7 - .8 w) / 3 dt + g dW"
    horizon: float = parameter(1.0, "T", "final time")
    steps: int = parameter(2, "M", "stored steps")

    @property
    def layout(self):
        return VectorLayout("state", 2)

    @property
    def longest_step(self):
        return 0.1

    def drift(self, x, t):
        v, w = x[:, :1], x[:, 1:]
        return torch.cat([3 * (v - v**3 / 3 - w), (v + 0.7 - 0.8 * w) / 3], 1)

    def diffusion(self, t):
        return 0.3 * torch.ones_like(t)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return 0.6 * torch.randn((batch, 2), generator=generator, device=device, dtype=dtype)


@dataclass(frozen=True)
class StateNoise(FitzHughNagumo, Multiplicative):
    """The same with noise that depends on the state."""

    def amplitude(self, x, t):
        return 0.3 * x


@dataclass(frozen=True)
class LinearBurgers(Burgers):
    """Burgers' equation without its nonlinearity: heat, by the steps of the whole equation."""

    def nonlinear(self, y: Tensor, like: Tensor) -> Tensor:
        return torch.zeros_like(y)


def make(simulator, folder, train=200, test=6):
    """A problem, and true initial and final states."""
    generate(DatasetPlan(simulator, {"train": train, "valid": 60, "test": 2}, 0, "data"), folder / "d")
    splits = [TrajectoryDataset(folder / "d" / "data" / s).load() for s in ("train", "valid")]
    states = simulator.simulate(test, generator=torch.Generator().manual_seed(5))
    return Problem(simulator, *splits), states[:, 0], states[:, -1]


def explored(problem, final, begin=None, **options):
    given = {"iterations": 60, "warm_up": 10, "most": 1} | options
    with warnings.catch_warnings():  # short chains: tolerances follow the effective draws
        warnings.simplefilter("ignore", UserWarning)
        return fit_mcmc(problem, **given).explore(final, begin=begin, generator=torch.Generator().manual_seed(1))


def agrees(found, mean, deviation, *, slack=0.0):
    """Whether means and deviations are those expected, up to five standard errors and a share of the deviation."""
    draws = found.draws.flatten(1, 2).flatten(2).double()
    error = deviation / found.effective[:, None].sqrt()
    assert bool(((draws.mean(1) - mean).abs() < 5 * error + slack * deviation).all())
    ratio = draws.std(1) / deviation
    assert bool(((ratio - 1).abs() < 5 / (2 * found.effective[:, None]).sqrt() + slack).all())


# closed forms


def test_it_is_exact_for_an_ornstein_uhlenbeck_process(tmp_path):
    simulator = OrnsteinUhlenbeck(dim=2, components=1, spread=0.0, width=1.0, horizon=1.0, steps=2)
    problem, _, final = make(simulator, tmp_path)
    found, law = explored(problem, final), simulator.exact()
    posterior = law.posterior(final)
    agrees(found, posterior.mean().double(), posterior.covs[:, 0].diagonal(dim1=1, dim2=2).sqrt().double())
    assert float(found.r_hat.max()) < 1.05
    assert not bool(found.short.any())


def test_the_scores_of_heat_are_exact(tmp_path):
    simulator = Heat(size=8, dimension=1, steps=2)
    problem, truth, final = make(simulator, tmp_path, test=40)
    found = explored(problem, final)
    exact = simulator.exact().sample(final, 1000, generator=torch.Generator().manual_seed(2))
    # both have hundreds of independent draws for each of 40 truths: 1 % as demanded is three standard errors
    assert float(crps(found.draws.flatten(1, 2), truth)) == pytest.approx(float(crps(exact, truth)), rel=0.01)


def linear_posterior(simulator, final):
    """Mean and deviation of the posterior of :class:`LinearBurgers`, mode by mode."""
    like, n = final[:1].double(), simulator.size
    k = torch.arange(n // 2 + 1, dtype=torch.float64)
    weight = torch.where((k == 0) | (k == n // 2), 1.0, 2.0)
    S = torch.exp(-((k / simulator.scale) ** 2)) * (k > 0) * (k < n / 3)
    S = S / (S * weight).sum() * n
    a, V = torch.exp(-simulator.viscosity * k**2), simulator.variance(0.0, like.new_ones(1), like)[0, 0]
    total = torch.where(S > 0, a**2 * S + V, 1.0)
    mean = simulator.unmodes(a * S / total * simulator.modes(final.double()), like).flatten(1)
    return mean, ((S * V / total * weight).sum() / n).sqrt().expand_as(mean)


LINEAR = LinearBurgers(size=16, viscosity=0.1, horizon=1.0, steps=1, inner=4, scale=2.0, noise=0.2)


def test_paths_of_many_steps_are_exact_where_burgers_is_linear(tmp_path):
    problem, _, final = make(LINEAR, tmp_path, test=3)  # of 16 numbers each
    mean, deviation = linear_posterior(LINEAR, final)
    # the kernel adds .1 % to the variance of the noise, so less than that to anything here; the prior is fitted to
    # 2^16 draws, .4 % of its variances
    for late in (0.0, 0.5):
        agrees(explored(problem, final, late=late, particles=0), mean, deviation, slack=0.01)


@pytest.mark.parametrize("late", [0.0, 0.5, 1.0])
def test_chains_that_begin_at_samples_of_another_law_come_to_the_posterior(tmp_path, late):
    problem, _, final = make(LINEAR, tmp_path, test=3)
    prior = LINEAR.initial(3 * 8, generator=torch.Generator().manual_seed(2)).reshape(3, 8, *LINEAR.shape)
    prior[0, 3] = math.nan  # one that another method failed for begins in the middle
    found = explored(problem, final, prior, late=late)
    assert found.draws.shape[:2] == (3, 8)
    agrees(found, *linear_posterior(LINEAR, final), slack=0.01)


def test_chains_begin_at_two_samples_or_more(tmp_path):
    problem, _, final = make(LINEAR, tmp_path, test=2)
    with pytest.raises(ValueError, match=r"^`begin` must hold two states or more for each of 2 observations, got"):
        explored(problem, final, final[:, None])


def test_noise_on_momenta_alone(tmp_path):
    simulator = UnderdampedParticles(
        particles=1, dimension=1, pair="none", start="cloud", horizon=1.0, steps=1, inner=8, friction=0.5
    )
    problem, _, final = make(simulator, tmp_path)
    # the step is linear: its matrix, and those of a unit of noise, give the joint law of x_0 and x_T
    t, h = torch.zeros(2, dtype=torch.float64), 1 / 8
    state = torch.eye(2, dtype=torch.float64)
    static = torch.ones(2, 1, 1, dtype=torch.float64)
    still = torch.zeros(1, 2, 1, 3, dtype=torch.float64)
    A = simulator.advance(torch.cat([state[:, None], static], 2), t, t + h, still)[:, 0, :2].T
    kick = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand(1, 1, 1, 3) * math.sqrt(h)
    b = simulator.advance(torch.zeros(1, 1, 3, dtype=torch.float64), t[:1], t[:1] + h, kick)[0, 0, :2]
    F, Q = torch.eye(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    for _ in range(8):
        F, Q = A @ F, A @ Q @ A.T + torch.outer(b, b)
    S = torch.diag(torch.tensor([simulator.width**2, 1.0], dtype=torch.float64))
    gain = S @ F.T @ torch.linalg.inv(F @ S @ F.T + Q)
    mean = final[:, 0, :2].double() @ gain.T
    deviation = (S - gain @ F @ S).diagonal().sqrt().expand_as(mean)
    found = explored(problem, final)
    agrees(replace(found, draws=found.draws[..., :2]), mean, deviation, slack=0.01)
    assert bool((found.draws[..., 2] == 1).all())


def test_a_start_that_is_not_gaussian_against_fokker_planck(tmp_path):
    simulator = DoubleWell(barrier=0.1, temperature=0.2, start=0.25, width=0.15, horizon=0.2, steps=1, inner=4)
    problem, _, final = make(simulator, tmp_path)
    found, law = explored(problem, final, iterations=150), simulator.exact()
    centres, p = torch.as_tensor(law.centers), torch.as_tensor(law.probabilities(final))
    mean = p @ centres
    deviation = (p @ centres**2 - mean**2).sqrt()
    agrees(found, mean[:, None], deviation[:, None], slack=0.01)  # a few Heun steps for a continuous process


def test_partial_observations(tmp_path):
    simulator = Heat(size=8, dimension=1, steps=2)
    problem, _, final = make(simulator, tmp_path)
    seen = Observation(lambda x: x[..., ::2], 0.05)
    y = seen.observe(final, generator=torch.Generator().manual_seed(3))
    posterior = fit_mcmc(problem, iterations=60, warm_up=10, most=1).given(seen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = posterior.explore(y, generator=torch.Generator().manual_seed(1))
    exact = simulator.exact().given(seen)
    spread = exact.sample(y, 4000, generator=torch.Generator().manual_seed(2)).double()
    agrees(found, exact.mean(y).flatten(1).double(), spread.std(1).flatten(1), slack=0.02)  # 1/sqrt(8000)


# two ways to the same answer


def test_paths_and_runs_agree_on_an_excitable_cell(tmp_path):
    problem, _, final = make(FitzHughNagumo(), tmp_path)
    runs = fit_importance(problem, runs=150_000)
    many = runs.sample(final, 4000, generator=torch.Generator().manual_seed(2)).double()
    assert float(runs.effective(final).min()) > 100
    found = explored(problem, final, iterations=80, most=1)
    effective = 1 / (1 / found.effective + 1 / runs.effective(final))
    agrees(replace(found, effective=effective), many.mean(1), many.std(1), slack=0.02)
    assert bool(((runs.mean(final) - many.mean(1)).abs() < 5 * many.std(1) / math.sqrt(4000)).all())


def test_weighted_runs_are_exact_for_atoms(tmp_path):
    simulator = Quadratic(horizon=2.0, steps=10)
    problem, _, _ = make(simulator, tmp_path)
    runs = fit_importance(problem, runs=10_000)
    final = torch.tensor([[-0.08], [-0.04], [0.04], [0.08]])
    drawn = runs.sample(final, 4000, generator=torch.Generator().manual_seed(0))
    exact = torch.as_tensor(simulator.exact().probabilities(final))[:, 1]
    up = (drawn[..., 0] > 0).double().mean(1)
    error = (exact * (1 - exact) * (1 / 4000 + 1 / runs.effective(final))).sqrt()
    assert bool(((up - exact).abs() < 5 * error + 0.01).all())
    with pytest.warns(UserWarning, match="effective runs for 1 of 1"):
        runs.sample(torch.full((1, 1), 5.0), 2)


# refinement


def test_refined_samples_are_those_of_the_posterior():
    generator = torch.Generator().manual_seed(0)
    final = LINEAR.simulate(3, generator=generator)[:, -1]
    model = fit_path_model(LINEAR, generator=generator)
    shifted = 1 + 0.1 * torch.randn(3, 100, 1, 16, generator=generator)
    assert refine(model, shifted, final, 3) is shifted
    found = refine(model, shifted, final, 60, generator=generator).flatten(2).double()
    mean, deviation = linear_posterior(LINEAR, final)
    assert bool(((found.mean(1) - mean).abs() < 5 * deviation / 10).all())
    assert bool(((found.std(1) / deviation - 1).abs() < 5 / math.sqrt(200)).all())


# parts


def test_a_path_that_begins_as_told_follows_the_conditional_law():
    simulator = LinearBurgers(size=8, viscosity=0.1, horizon=1.0, steps=1, inner=3, scale=2.0, noise=0.2)
    generator = torch.Generator().manual_seed(0)
    final = simulator.simulate(1, generator=generator)[:, -1]
    objective = PathObjective(fit_path_model(simulator, generator=generator), final)
    reference = linearise(objective, torch.zeros(1, objective.numbers))
    drawn = reference.path(torch.randn(1, 20_000, objective.numbers, generator=generator))
    again = reference.given(drawn[:, :, :8], generator=generator)
    assert torch.equal(again[:, :, :8], drawn[:, :, :8])
    # with first coordinates from the law itself whole paths have its covariance; errors of 20 000 draws
    a, b = (torch.cov(x[0].T.double()) for x in (drawn, again))
    assert float((a - b).abs().max()) < 7 * math.sqrt(2 * 2 / 20_000)
    assert torch.allclose(reference.path(reference.whiten(drawn)), drawn, atol=1e-3)


def test_chains_that_have_not_met_are_told():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, 4, 2000, 1, generator=generator)
    assert float(r_hat(z)) == pytest.approx(1, abs=5e-3)
    assert float(r_hat(z + torch.tensor([0.0, 0, 3, 3])[None, :, None, None])) > 1.5
    assert float(effective_draws(z)) == pytest.approx(8000, rel=0.15)
    slow = torch.zeros_like(z)
    for i in range(1, 2000):  # AR(1): (1 - a) / (1 + a) of the draws
        slow[:, :, i] = 0.8 * slow[:, :, i - 1] + 0.6 * z[:, :, i]
    assert float(effective_draws(slow)) == pytest.approx(8000 / 9, rel=0.25)
    with pytest.raises(ValueError, match="`draws` must hold at least 4"):
        r_hat(z[:, :, :3])


def test_an_answer_that_has_not_converged_says_so(tmp_path):
    problem, _, final = make(DoubleWell(temperature=0.05, start=1.0, width=0.05, horizon=0.1, steps=1), tmp_path)
    posterior = fit_mcmc(problem, iterations=10, warm_up=1, most=1, particles=0)
    with pytest.warns(UserWarning, match="mcmc has not converged for . observations?.*give `particles`"):
        assert posterior.sample(final, 60).shape == (6, 60, 1)


def test_without_noise_the_initial_state_alone_is_unknown(tmp_path):
    """Heat: every mode is seen up to a thousandth of the deviation of x_T; damped ones stay as the prior has them."""
    simulator = Heat(size=8, dimension=1, noise=0.0, diffusivity=2.0, horizon=0.5, steps=1)
    problem, _, final = make(simulator, tmp_path)
    model = fit_path_model(simulator, generator=torch.Generator().manual_seed(0))
    assert model.numbers(whole=True) == model.law.numbers  # no noise among the coordinates
    draws = fit_mcmc(problem, iterations=300).sample(final, 400, generator=torch.Generator().manual_seed(1))
    like = torch.zeros(1, 1, 8, dtype=torch.float64)
    decay, prior = simulator.decay(0.0, like.new_full((1,), 0.5), like).flatten(), simulator.exact().power.flatten()
    seen = 1 / float(model.whitening[0, 0]) ** 2
    posterior = prior * seen / (decay**2 * prior + seen)
    y = simulator.modes(draws.double().flatten(0, 1)).reshape(len(final), 400, 5)
    power = (y - y.mean(1, keepdim=True)).abs().square().mean((0, 1))
    # 6 x 400 draws, 400 of them effective at least: relative standard error .05 for a real mode
    assert torch.allclose(power[1:] / posterior[1:], torch.ones(4, dtype=torch.float64), atol=0.25)
    assert float(posterior[1]) < 1e-3 * float(prior[1])  # known
    assert float(posterior[4]) > 0.99 * float(prior[4])  # forgotten
    for fit in (fit_lbfgs, fit_gauss_newton):
        mean = simulator.modes(fit(problem).mean(final).double())[:, 0]
        gain = decay * prior / (decay**2 * prior + seen)
        assert torch.allclose(mean[:, 1:], (gain * simulator.modes(final.double())[:, 0])[:, 1:], atol=2e-2)


def test_what_has_no_density_is_refused(tmp_path):
    with pytest.raises(NotApplicableError, match="depends on the state"):
        fit_path_model(StateNoise())
    with pytest.raises(NotApplicableError, match="not Gaussian, and their density is not known"):
        fit_path_model(Quadratic())
    with pytest.raises(NotApplicableError, match="final states do not vary"):
        fit_path_model(Heat(size=4, noise=0.0, diffusivity=1e4, steps=1))
    with pytest.raises(NotApplicableError, match="at most 1024"):
        fit_path_model(Burgers(size=48, dimension=2, steps=1))
    problem, _, _ = make(Heat(size=8, dimension=1, steps=1), tmp_path)
    with pytest.raises(ValueError, match="`chains` must be at least 2, got 1"):
        fit_mcmc(problem, chains=1)
    with pytest.raises(ValueError, match=r"`late` must be 0 where `particles` are annealed, got 0\.5"):
        fit_mcmc(problem, late=0.5, particles=8)
    with pytest.raises(ValueError, match="`particles` must be 0 or more, got -1"):
        fit_mcmc(problem, particles=-1)
    with pytest.raises(ValueError, match="`late` must be a share, from 0 to 1, got -1"):
        fit_mcmc(problem, late=-1)
    with pytest.raises(ValueError, match="`substeps` must be at least 1, got 0"):
        fit_mcmc(problem, substeps=0)
    with pytest.raises(ValueError, match=r"option `particles` of method `mcmc` must be of type int, got float 1\.5"):
        fit_method("mcmc", problem, {"particles": 1.5})
    with pytest.raises(NotApplicableError, match="up to 4 numbers, got 8"):
        fit_importance(problem)
    with pytest.raises(ValueError, match="`runs` must be at least 1000"):
        fit_importance(problem, runs=10)
    with pytest.raises(ValueError, match="`n_gradients` must be 0 or more"):
        refine(problem.simulator, torch.zeros(1, 1, 1, 8), torch.zeros(1, 1, 8), -1)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_direction_of_separated_particles_is_integrated_out(dimension):
    simulator = OverdampedParticles(particles=3, dimension=dimension, start="separated", offset=0.7, width=0.6)
    generator = torch.Generator().manual_seed(0)
    x = simulator.initial(5, generator=generator, dtype=torch.float64)
    e = torch.nn.functional.normalize(
        torch.randn(200_000, 1, dimension, generator=generator, dtype=torch.float64), dim=-1
    )
    averaged = []
    for state in x:
        q, species = state[:, :dimension], state[:, dimension:]
        gap = (q - 0.7 * species * e).square().sum((1, 2)) / (2 * 0.6**2)
        averaged.append(torch.logsumexp(-gap, 0))
    gap = simulator.initial_log_prob(x) - torch.stack(averaged)
    assert float((gap - gap[0]).abs().max()) < 0.05  # errors of averages of 2e5 exponentials, 5 of them
    assert fit_initial_law(simulator, generator=generator).log_prob is not None
    assert fit_initial_law(replace(simulator, start="cloud"), generator=generator).log_prob is None
