"""Classical baselines: closed forms for linear processes, derivatives, and what happens where the solver diverges."""

import math
from dataclasses import replace

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.evaluation.metrics import coverage, relative_l2
from physinv.laws.covariance import isotropic
from physinv.methods.classical.ensemble_kalman import fit_ensemble_kalman
from physinv.methods.classical.forward import Forward, fit_forward
from physinv.methods.classical.gaussian_prior import fit_covariance, fit_gaussian_prior
from physinv.methods.classical.linear_estimate import LinearEstimate
from physinv.methods.classical.minimise import Objective, gauss_newton, lbfgs
from physinv.methods.classical.physics import Physics, fit_physics
from physinv.methods.classical.variational import fit_gauss_newton, fit_lbfgs
from physinv.methods.learned.diffusion_prior import fit_diffusion_prior
from physinv.methods.problem import NotApplicableError, Problem
from physinv.processes.layout import FieldLayout, VectorLayout
from physinv.processes.recorded import Recorded
from physinv.training.budget import Budget
from simulators.fields.advection_diffusion import AdvectionDiffusion
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.particles.langevin import OverdampedParticles
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

FITS = (fit_lbfgs, fit_gauss_newton)


def make(simulator, folder, train=300, valid=100, test=8):
    generate(DatasetPlan(simulator, {"train": train, "valid": valid, "test": test}, 0, "data"), folder)
    splits = [TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid", "test")]
    return Problem(simulator, *splits[:2]), splits[2].states(0), splits[2].states(-1)


@pytest.fixture(scope="module")
def heat(tmp_path_factory):
    return make(Heat(steps=2), tmp_path_factory.mktemp("heat") / "d")


@pytest.fixture(scope="module")
def ou(tmp_path_factory):
    simulator = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, horizon=1.0, steps=2)
    return make(simulator, tmp_path_factory.mktemp("ou") / "d", train=4000, test=50)


@pytest.fixture(scope="module")
def burgers(tmp_path_factory):
    return make(
        Burgers(size=32, viscosity=0.1, horizon=1.0, steps=1, inner=8), tmp_path_factory.mktemp("b") / "d", train=500
    )


@pytest.fixture(scope="module")
def conductivity(tmp_path_factory):
    return make(HeatConductivity(size=8, dimension=1, horizon=0.2, steps=1), tmp_path_factory.mktemp("c") / "d")


# the observation model


def test_the_bias_and_spread_of_a_linear_process_are_found_from_residuals(tmp_path):
    simulator = AdvectionDiffusion(size=8, flow="uniform", speed=1.0, horizon=1.0, steps=1, diffusivity=0.1, inner=4)
    problem, _, _ = make(simulator, tmp_path / "d", train=400)
    found = fit_forward(problem).covariance
    like = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    exact = simulator.still.variance(like.new_ones(1), like)[0]  # the flow carries white noise along, no more
    flat = torch.fft.irfftn(torch.ones(1, 1, 8, 5, dtype=torch.complex128), s=(8, 8), dim=(2, 3), norm="ortho")
    variance = torch.fft.rfftn(found.apply(flat), dim=(2, 3), norm="ortho")[0].real  # C is diagonal in Fourier modes
    ratio = (variance / exact)[0, :, 1:4]  # complex modes, each of them once
    # relative standard error of |y|^2 over 400 draws: 1/20 for one complex mode, over 24 of them 1/20/sqrt(24); the
    # estimated mean takes 1/400
    assert float(ratio.mean()) == pytest.approx(1 - 1 / 400, abs=5 / 20 / math.sqrt(24))
    assert float((ratio - 1).abs().max()) < 5 / 20


def test_the_true_start_leaves_white_residuals(heat, ou, conductivity):
    for (problem, start, final), size in ((heat, 1024), (ou, 1), (conductivity, 8)):
        forward = fit_forward(problem)
        r = forward.misfit(start, final)
        assert r.shape == (len(start), size)
        # chi-squared: relative standard error sqrt(2 / count); R itself is estimated from 300 trajectories (the last)
        slack = 5 * (math.sqrt(2 / r.numel()) + math.sqrt(2 / 300 / size) * (size == 8))
        assert float(r.square().mean()) == pytest.approx(1, abs=slack)
        assert torch.allclose(forward.log_likelihood(start, final), -r.square().sum(1) / 2)
        gap = final - forward.push(start)
        b = forward.bias.to(final) if size == 8 else 0.0
        shift = torch.zeros_like(gap)
        shift[:, :1] += b
        assert torch.allclose(forward.whiten(gap - shift), -r, atol=1e-3)


def test_a_process_without_noise_or_physics_is_refused(heat, tmp_path):
    problem, _, _ = heat
    silent = Problem(Heat(steps=2, noise=0.0), problem.train, problem.valid)
    with pytest.raises(NotApplicableError, match="no noise"):
        fit_forward(silent)
    blind = Problem(Recorded.of(problem.train.layout, problem.train.times.numpy()), problem.train, problem.valid)
    for fit in (fit_forward, fit_physics):
        with pytest.raises(NotApplicableError, match="physics must be known"):
            fit(blind)


# covariances and the prior


@pytest.mark.parametrize(("n", "d"), [(40, 6), (5, 6)])
def test_the_shrunk_covariance_is_that_of_ledoit_and_wolf(n, d, generator):
    x = torch.randn(n, d, generator=generator, dtype=torch.float64) @ torch.diag(torch.arange(1.0, d + 1).double())
    x = x - x.mean(0)
    C = x.T @ x / n
    mu, eye = C.trace() / d, torch.eye(d, dtype=torch.float64)
    distance = ((C - mu * eye) ** 2).sum()
    error = sum(((torch.outer(a, a) - C) ** 2).sum() for a in x) / n**2
    rho = min(error, distance) / distance
    assert rho > 0.05  # the formula matters here
    expected = rho * mu * eye + (1 - rho) * C
    found = fit_covariance(x, VectorLayout("x", d))
    assert torch.allclose(found.apply(eye), expected, rtol=1e-10)
    half = found.whiten(found.whiten(eye))
    assert torch.allclose(half @ expected, eye, atol=1e-9)


def test_channels_of_a_periodic_field_are_correlated_mode_by_mode(generator):
    z = torch.randn(4000, 2, 8, generator=generator, dtype=torch.float64)
    x = torch.stack([z[:, 0], 0.6 * z[:, 0].roll(1, -1) + 0.8 * z[:, 1]], dim=1)
    layout = FieldLayout(("a", "b"), ("x",), (tuple(float(i) for i in range(8)),), "PERIODIC")
    covariance = fit_covariance(x - x.mean(0), layout)
    white = covariance.whiten(x)
    joint = torch.einsum("nci,nej->ciej", white, white) / len(x)
    eye = torch.eye(16, dtype=torch.float64).reshape(2, 8, 2, 8)
    # entries of a sample covariance of 4000 standard normal vectors: standard error sqrt(2 / 4000) at most
    assert float((joint - eye).abs().max()) < 5 * math.sqrt(2 / 4000)
    unit = torch.zeros(1, 2, 8, dtype=torch.float64)
    unit[0, 0, 3] = 1
    assert float(covariance.apply(unit)[0, 1, 4]) == pytest.approx(0.6, abs=5 / math.sqrt(4000))


def test_static_channels_come_from_the_observation(conductivity):
    problem, start, final = conductivity
    prior = fit_gaussian_prior(problem)
    x = prior.root(torch.randn(len(final), 8, generator=torch.Generator().manual_seed(0)), final)
    assert torch.equal(x[:, 1], final[:, 1])
    assert x[:, 0].std() > 0.3
    assert torch.allclose(prior.root(prior.standardise(start), final), start, atol=1e-4)
    for fit in (*FITS, fit_ensemble_kalman, fit_physics):
        draws = fit(problem).sample(final, 3, generator=torch.Generator().manual_seed(0))
        assert torch.equal(draws[:, :, 1], final[:, None, 1].expand(-1, 3, -1))
        assert draws.isfinite().all()


# derivatives


def test_derivatives_through_the_solver(burgers):
    problem, start, final = burgers
    prior, forward = fit_gaussian_prior(problem), fit_forward(problem)
    x, final = start[:1].double(), final[:1].double()
    assert torch.autograd.gradcheck(lambda v: forward.misfit(v, final), (x.requires_grad_(),))
    objective = Objective(forward, prior, final)
    u, v = (torch.randn(1, 32, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (1, 2))
    local, h = objective.linearise(u), 1e-5
    slope = (objective.residual(u + h * v) - objective.residual(u - h * v)) / (2 * h)
    assert torch.allclose(local.tangent(v), slope, rtol=1e-6, atol=1e-6 * float(slope.abs().max()))
    w = torch.randn(slope.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert float((w * local.tangent(v)).sum()) == pytest.approx(float((local.adjoint(w) * v).sum()), rel=1e-10)
    rise = (objective.value(u + h * v) - objective.value(u - h * v)) / (2 * h)
    assert float(rise) == pytest.approx(float((objective.gradient(u)[1] * v).sum()), rel=1e-6)
    solved = local.solve(v, 60)
    assert torch.allclose(solved + local.adjoint(local.tangent(solved)), v, atol=1e-8)


# variational assimilation


@pytest.mark.parametrize("fit", FITS)
def test_heat_from_the_prior_mean_reaches_the_exact_posterior_mean(heat, fit):
    problem, _, final = heat
    exact, found = problem.simulator.exact().mean(final), fit(problem)
    nothing = torch.zeros(len(final), 1024)
    reached = found.prior.root(found.minimise(found.objective(final), nothing), final)
    # rounding 6e-8 times sqrt(condition): signal over noise of the largest mode is 6e4; and a factor 5
    rounding = 5 * 6e-8 * math.sqrt(6e4)
    assert float(relative_l2(reached, exact)) < rounding
    assert float(relative_l2(found.mean(final), exact)) < rounding
    assert float(relative_l2(found.start.mean(final), exact)) > 50 * rounding  # the minimiser has work to do


def test_laplace_draws_of_heat_have_the_exact_spread_on_all_scales(heat):
    problem, truth, final = heat
    sde, exact, n = problem.simulator, problem.simulator.exact(), 32
    draws = fit_lbfgs(problem).sample(final, n, generator=torch.Generator().manual_seed(1))
    like, t = torch.zeros(1, 1, 32, 32), torch.ones(1) * sde.horizon
    a, v, s = sde.decay(t, like), sde.variance(t, like), exact.power.float()
    y = sde.modes((draws - exact.mean(final)[:, None]).flatten(0, 1))
    power = (y.abs().square() / (s * v / (a**2 * s + v)))[:, 0, :, 1:16].mean(0)  # complex modes, each of them once
    shell = (-sde.rates(like)).sqrt().round()[0, 0, :, 1:16]
    for k in range(1, 23):
        ratios = power[shell == k]
        # mean of |y|^2 over so many complex modes: standard error 1/sqrt(count)
        assert float(ratios.mean()) == pytest.approx(1, abs=5 / math.sqrt(len(ratios) * len(final) * n)), k
    parts = [torch.view_as_real(sde.modes(x)[:, 0, :, 1:16]).flatten(1) for x in (draws.flatten(0, 1), truth)]
    held = coverage(parts[0].unflatten(0, (len(final), n)), parts[1], 0.9)
    # independent components: binomial, standard error .3/sqrt(count)
    assert float(held) == pytest.approx(0.9, abs=5 * 0.3 / math.sqrt(parts[1].numel()))


@pytest.mark.parametrize("fit", FITS)
def test_the_ornstein_uhlenbeck_process_has_its_closed_form(ou, fit):
    problem, _, final = ou
    found, a, n = fit(problem), math.exp(-0.5), 400
    one = torch.ones(1, 1, dtype=torch.float64)
    m, S, V = float(found.prior.mean), float(found.prior.covariance.apply(one)), 0.25 * (1 - a**2)
    assert abs(S - 1) < 5 * math.sqrt(2 / 8000) + 1 / 1000  # 4000 states and their mirror images
    assert torch.allclose(found.mean(final), m + a * S / (a**2 * S + V) * (final - a * m), atol=1e-5)
    draws = found.sample(final, n, generator=torch.Generator().manual_seed(0))
    ratio = (draws - found.mean(final)[:, None]).square().mean() / (S * V / (a**2 * S + V))
    assert float(ratio) == pytest.approx(1, abs=5 * math.sqrt(2 / (n * len(final))))
    assert float((draws.mean(1) - problem.simulator.exact().mean(final)).abs().max()) < 0.1


@pytest.mark.parametrize("fit", FITS)
def test_the_double_well_is_solved_as_by_trying_every_start(tmp_path, fit):
    problem, _, final = make(DoubleWell(horizon=0.3, steps=4), tmp_path / "d", test=20)
    found = fit(problem)
    objective = found.objective(final)
    grid = torch.linspace(-6, 6, 2001)
    every = Objective(found.forward, found.prior, final.repeat_interleave(2001, 0))
    values = every.value(grid.repeat(len(final))[:, None]).reshape(len(final), 2001)
    least, reached = values.min(1).values, objective.value(found.prior.standardise(found.mean(final)))
    # the grid is .006 wide: J of the best of its points is at most (.003)^2/2 J'' above the minimum, J'' <= 1000
    assert float((reached - least).max()) < 1e-3
    assert float((reached - least).min()) > -0.005


def test_burgers_improves_on_the_linear_estimate_and_the_prior(burgers):
    problem, truth, final = burgers
    for fit in FITS:
        found = fit(problem)
        objective, start = found.objective(final), found.start.mean(final)
        map_ = found.mean(final)
        reached, before = (objective.value(found.prior.standardise(x)) for x in (map_, start))
        at_truth = objective.value(found.prior.standardise(truth))
        assert bool((reached < before).all()), fit.__name__
        assert bool((reached < at_truth).all()), fit.__name__
        nothing = found.prior.root(torch.zeros(len(final), 32), final)
        assert relative_l2(map_, truth) < 0.9 * relative_l2(start, truth) < relative_l2(nothing, truth)


def test_the_search_starts_where_the_validation_states_are_closest(heat, tmp_path):
    assert isinstance(fit_lbfgs(heat[0]).start, LinearEstimate)  # run backward, heat is not finite
    short = Burgers(size=32, viscosity=0.05, noise=0.01, horizon=0.3, steps=1, inner=4)
    problem, truth, final = make(short, tmp_path / "d", train=100, valid=50)
    found = fit_lbfgs(problem)
    assert isinstance(found.start, Physics)
    assert relative_l2(found.mean(final), truth) < relative_l2(found.start.mean(final), truth)


@pytest.mark.parametrize("fit", FITS)
def test_particles_do_not_start_on_top_of_each_other(tmp_path, fit):
    few = OverdampedParticles(particles=4, horizon=0.3, steps=1, inner=4)
    problem, _, final = make(few, tmp_path / "d", train=100, valid=50, test=3)
    found = fit(problem, draw=10)
    away = found.start.mean_initial.clone()
    away[:, :2] *= 0
    away[:, :2] += torch.tensor([[6.0, 0.0], [0.0, 6.0], [-6.0, 0.0], [0.0, -6.0]])
    found = replace(found, start=replace(found.start, mean_initial=away))  # worse for J than the mean of all starts,
    objective, nothing = found.objective(final), torch.zeros(3, 8)
    start, reached = (found.prior.standardise(x) for x in (found.start.mean(final), found.mean(final)))
    assert bool((objective.value(nothing) < objective.value(start)).all())
    assert not objective.gradient(nothing)[1].isfinite().all()  # which is one point by symmetry
    assert bool((objective.value(reached) < objective.value(nothing)).all())
    assert found.sample(final, 2).isfinite().all()


def test_steps_into_a_blow_up_are_taken_back(tmp_path):
    problem, _, final = make(DoubleWell(barrier=10.0, horizon=0.4, steps=4, inner=4), tmp_path / "d")
    forward, prior = fit_forward(problem), fit_gaussian_prior(problem)
    assert not forward.push(torch.tensor([[6.0]])).isfinite().all()
    wild = Objective(forward, prior, 2 * final, lambda v: 1e3 * v)  # first steps far beyond the basin
    u = torch.full((len(final), 1), 0.5)
    u[0] = 1e4  # an observation that starts where the solver diverges stays there
    for minimise in (lambda: lbfgs(wild, u, iterations=40), lambda: gauss_newton(wild, u, outer=6, inner=1)):
        found = minimise()
        assert found.isfinite().all()
        assert float(found[0]) == 1e4
        assert bool((wild.value(found) < wild.value(u))[1:].all())


# ensemble Kalman inversion


@pytest.mark.parametrize("steps", [1, 4])
def test_many_members_give_the_gaussian_posterior(ou, steps):
    problem, _, final = ou
    final = final[:10]
    m, S = float(problem.train.states(0).mean()), float(problem.train.states(0).var())
    a = math.exp(-0.5)
    V = 0.25 * (1 - a**2)
    mean, variance = m + a * S / (a**2 * S + V) * (final - a * m), S * V / (a**2 * S + V)
    errors = []
    for members in (50, 800):
        found = fit_ensemble_kalman(problem, members=members, steps=steps)
        draws = found.sample(final, members, generator=torch.Generator().manual_seed(0))
        errors.append(float((draws.mean(1) - mean).square().mean().sqrt()))
        # relative standard error of a variance sqrt(2/count), 10 observations; the updates' gains add as much each
        assert float(draws.var(1).mean()) == pytest.approx(variance, rel=5 * (1 + steps) * math.sqrt(2 / members / 10))
    # each update draws gains and noise anew: at most 1 + steps times the error of a mean of 800 draws from the prior
    assert errors[1] < 5 * (1 + steps) * math.sqrt(S / 800 / 10)
    assert errors[0] / errors[1] > 2  # error ~ members^-1/2: 4 expected, root mean square of ten


def test_the_ensemble_kalman_update_uses_few_members_of_a_field(heat):
    problem, truth, final = heat
    found = fit_ensemble_kalman(problem, members=20)
    draws = found.sample(final, 30, generator=torch.Generator().manual_seed(0))
    assert draws.shape == (8, 30, 1, 32, 32)  # as many members as draws are asked for
    few = type(found)(found.forward, found.pool[:8], 20, found.inflations, 0)
    draws = few.sample(final, 20, generator=torch.Generator().manual_seed(0))
    stacked = torch.cat([few.pool, draws[0]]).flatten(1).double()
    assert int(torch.linalg.matrix_rank(stacked, rtol=1e-5)) == 8  # they never leave the span of the start
    exact = problem.simulator.exact()
    best = relative_l2(exact.mean(final), truth)
    wide = fit_ensemble_kalman(problem, members=200).mean(final)
    assert best < relative_l2(wide, truth) < relative_l2(found.mean(final), truth) < 1
    assert torch.equal(wide, fit_ensemble_kalman(problem, members=200).mean(final))


def test_members_that_blow_up_do_not_spoil_the_others(ou):
    problem, _, final = ou
    found = fit_ensemble_kalman(problem, members=200)
    pool = found.pool.clone()
    pool[::2] = torch.inf
    broken = type(found)(found.forward, pool, 200, found.inflations, 0)
    draws = broken.sample(final, 200, generator=torch.Generator().manual_seed(0))
    share = draws.isfinite().float().mean()
    assert 0.4 < float(share) < 0.6
    mean = torch.where(draws.isfinite(), draws, torch.nan).nanmean(1)
    assert float((mean - problem.simulator.exact().mean(final)).abs().max()) < 0.5


def test_options_that_make_no_sense_are_refused(ou):
    problem, _, final = ou
    with pytest.raises(ValueError, match="`members` must be at least 2, got 1"):
        fit_ensemble_kalman(problem, members=1)
    with pytest.raises(ValueError, match="`inflations` must be positive numbers whose inverses sum to 1"):
        fit_ensemble_kalman(problem, inflations=(2.0, 3.0))
    for fit in (fit_lbfgs, fit_physics, fit_ensemble_kalman):
        with pytest.raises(ValueError, match="`n` must be at least 1, got 0"):
            fit(problem).sample(final, 0)


# the physics alone


def test_the_physics_backward_is_the_inverse_of_the_solver(ou, burgers, tmp_path):
    problem, _, final = ou
    assert torch.allclose(fit_physics(problem).mean(final), math.exp(0.5) * final, rtol=1e-5)
    well, _, final = make(DoubleWell(horizon=0.1, steps=4, inner=8), tmp_path / "w")
    final = final.clamp(-0.8, 0.8)
    back = fit_physics(well).mean(final)
    # Heun forward against Runge-Kutta backward: |x'''| h^2 T / 6 with h = .1/32, x''' ~ 4^3
    assert torch.allclose(well.simulator.run(back, noise=False)[:, -1], final, atol=64 * (0.1 / 32) ** 2 * 0.1)
    assert float((back - final).abs().max()) > 0.05
    problem, start, _ = burgers
    early = Problem(
        problem.simulator.__class__(size=32, viscosity=0.1, horizon=0.1, steps=1, inner=4), *[problem.train] * 2
    )
    clean = early.simulator.run(start.double(), noise=False)[:, -1]
    # viscosity k^2 horizon <= .01 k^2 <= 1 for resolved modes k <= 10; the solver is of fourth order
    assert float(relative_l2(fit_physics(early).mean(clean), start.double())) < 1e-3


def test_what_has_been_damped_away_returns_as_noise_without_bound(heat):
    problem, truth, final = heat
    short = Problem(Heat(steps=2, horizon=0.05), problem.train, problem.valid)
    back = fit_physics(short).sample(final, 2)
    assert torch.equal(back[:, 0], back[:, 1])
    assert float(relative_l2(back[:, 0], truth)) > 1e3
    assert not fit_physics(problem).mean(final).isfinite().all()  # e^(512 * .2) is infinite in float32


def test_forward_runs_in_chunks(burgers):
    problem, start, _ = burgers
    forward = Forward(problem.simulator, torch.zeros(1), isotropic(1.0))
    many = start.repeat(300, 1, 1)  # 2400 fields of 32 points: two chunks of 2^16 numbers
    assert torch.allclose(forward.push(many)[-8:], forward.push(start), atol=1e-6)


@pytest.mark.parametrize(
    ("fit", "options"),
    [
        (fit_lbfgs, {"iterations": 3, "draw": 2}),
        (fit_gauss_newton, {"outer": 2, "inner": 2, "draw": 2}),
        (fit_diffusion_prior, {"steps": 2}),
    ],
)
def test_no_more_states_than_fit_are_recorded_for_derivatives(fit, options, tmp_path, monkeypatch):
    """The steps of the solver are kept in memory for so many states at a time, and no more."""
    simulator = Burgers(size=16, viscosity=0.1, horizon=0.5, steps=1, inner=4)
    problem, _, final = make(simulator, tmp_path / "d", train=40, valid=20, test=7)
    problem = replace(problem, budget=Budget(steps=2), settings=Settings(width=4, depth=1, batch=8, validate_windows=8))
    answer = fit(problem, **options)
    plain, pushed = Forward.push, []

    def watched(self, initial):
        if torch.is_grad_enabled() and initial.requires_grad:
            pushed.append(len(initial))
        return plain(self, initial)

    monkeypatch.setattr(Forward, "push", watched)
    whole = answer.mean(final[:4]) if fit in FITS else final
    monkeypatch.setattr(Forward, "at_once", 3)
    in_parts = answer.mean(final[:4]) if fit in FITS else final
    pushed.clear()
    answer.sample(final, 2, generator=torch.Generator().manual_seed(0))
    assert max(pushed) <= 3
    assert len(pushed) >= 14 / 3
    assert torch.allclose(whole, in_parts, atol=1e-3)  # float32, amplified by a few steps of a descent


def test_how_many_states_fit_goes_by_what_a_step_keeps():
    covariance = isotropic(1.0)
    for simulator, kept in (
        (OverdampedParticles(particles=16), 16),  # a vector for each pair
        (Burgers(size=64, dimension=1), 4),
        (Burgers(size=64, dimension=2), 4),
    ):
        forward = Forward(simulator, torch.zeros(1), covariance)
        each = kept * math.prod(simulator.shape)
        assert forward.at_once * each <= 2**17 < (forward.at_once + 1) * each
    assert Forward(Burgers(size=512, dimension=2), torch.zeros(1), covariance).at_once == 1
