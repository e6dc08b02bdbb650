"""The observation model: the noise of a trajectory, whitening, derivatives, and what is refused."""

import math
from dataclasses import replace

import pytest
import torch
from classical_cases import FITS, make

from physinv.config.settings import Settings
from physinv.laws.covariance import isotropic
from physinv.methods.classical.ensemble_kalman import fit_ensemble_kalman
from physinv.methods.classical.forward import Forward, fit_forward, load_forward
from physinv.methods.classical.gaussian_prior import fit_gaussian_prior
from physinv.methods.classical.minimise import CostFunction
from physinv.methods.classical.physics import fit_physics
from physinv.methods.classical.variational import fit_gauss_newton, fit_lbfgs
from physinv.methods.learned.diffusion_prior import fit_diffusion_prior
from physinv.methods.problem import NotApplicableError, Problem
from physinv.processes.recorded import Recorded
from physinv.training.budget import Budget
from simulators.fields.advection_diffusion import AdvectionDiffusion
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.particles.langevin import OverdampedParticles


@pytest.fixture(scope="module")
def conductivity(tmp_path_factory):
    return make(HeatConductivity(size=8, dimension=1, horizon=0.2, steps=1), tmp_path_factory.mktemp("c") / "d")


def test_the_bias_and_spread_of_a_linear_process_are_found_from_residuals(tmp_path):
    simulator = AdvectionDiffusion(size=8, flow="uniform", speed=1.0, horizon=1.0, steps=1, diffusivity=0.1, inner=4)
    problem, _, _ = make(simulator, tmp_path / "d", train=400)
    found = fit_forward(problem).covariance
    like = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    exact = simulator.still.variance(0.0, like.new_ones(1), like)[0]  # the flow carries white noise along, no more
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


def test_final_states_of_a_process_without_noise_are_seen_to_a_thousandth(tmp_path):
    problem, start, final = make(Burgers(size=16, viscosity=0.2, noise=0.0, horizon=0.3, steps=1), tmp_path / "d")
    forward = fit_forward(problem)
    deviation = float(problem.train.states(-1).std())
    assert float((forward.misfit(start, final)).abs().max()) < 0.1  # of 1: what rounding leaves
    off = forward.misfit(start, final + 0.01 * deviation)
    assert torch.allclose(off, torch.full_like(off, -10.0), rtol=0.02)  # the mean is no part of the deviation
    again = load_forward(problem.setup, forward.tensors())
    assert torch.equal(again.misfit(start, final), forward.misfit(start, final))


def test_a_process_that_forgets_all_or_without_physics_is_refused(heat, tmp_path):
    problem, _, _ = heat
    still, _, _ = make(Heat(size=4, noise=0.0, diffusivity=1e4, steps=1), tmp_path / "d")
    with pytest.raises(NotApplicableError, match="final states do not vary"):
        fit_forward(still)
    blind = Problem(Recorded.of(problem.train.layout, problem.train.times.numpy()), problem.train, problem.valid)
    for fit in (fit_forward, fit_physics):
        with pytest.raises(NotApplicableError, match="physics must be known"):
            fit(blind)


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


def test_derivatives_through_the_solver(burgers):
    problem, start, final = burgers
    prior, forward = fit_gaussian_prior(problem), fit_forward(problem)
    x, final = start[:1].double(), final[:1].double()
    assert torch.autograd.gradcheck(lambda v: forward.misfit(v, final), (x.requires_grad_(),))
    objective = CostFunction(forward, prior, final)
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


def test_options_that_make_no_sense_are_refused(ou):
    problem, _, final = ou
    with pytest.raises(ValueError, match="`members` must be at least 2, got 1"):
        fit_ensemble_kalman(problem, members=1)
    with pytest.raises(ValueError, match="`inflations` must be positive numbers whose inverses sum to 1"):
        fit_ensemble_kalman(problem, inflations=(2.0, 3.0))
    for fit in (fit_lbfgs, fit_physics, fit_ensemble_kalman):
        with pytest.raises(ValueError, match="`n` must be at least 1, got 0"):
            fit(problem).sample(final, 0)


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
