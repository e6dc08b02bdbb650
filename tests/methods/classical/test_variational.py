"""Variational assimilation against closed forms, brute force and the linear estimate."""

import math
from dataclasses import replace

import pytest
import torch
from classical_cases import FITS, make

from physinv.evaluation.metrics import coverage, relative_l2
from physinv.methods.classical.forward import fit_forward
from physinv.methods.classical.gaussian_prior import fit_gaussian_prior
from physinv.methods.classical.linear_estimate import LinearEstimate
from physinv.methods.classical.minimise import CostFunction, gauss_newton, lbfgs
from physinv.methods.classical.physics import Physics
from physinv.methods.classical.variational import fit_lbfgs
from simulators.fields.burgers import Burgers
from simulators.particles.langevin import OverdampedParticles
from simulators.vectors.double_well import DoubleWell


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
    a, v, s = sde.decay(0.0, t, like), sde.variance(0.0, t, like), exact.power.float()
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
    every = CostFunction(found.forward, found.prior, final.repeat_interleave(2001, 0))
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
    wild = CostFunction(forward, prior, 2 * final, precondition=lambda v: 1e3 * v)  # first steps far beyond the basin
    u = torch.full((len(final), 1), 0.5)
    u[0] = 1e4  # an observation that starts where the solver diverges stays there
    for minimise in (lambda: lbfgs(wild, u, iterations=15), lambda: gauss_newton(wild, u, outer=4, inner=1)):
        found = minimise()
        assert found.isfinite().all()
        assert float(found[0]) == 1e4
        assert bool((wild.value(found) < wild.value(u))[1:].all())
