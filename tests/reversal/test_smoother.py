"""The reversal of nonlinear fields: exact for linear-Gaussian processes, bounded for any physics, calibrated."""

import math

import pytest
import torch
from smoother_cases import (
    BLOWING_UP,
    REGIMES,
    Cubic,
    Fixed,
    General,
    Loud,
    exact_model,
    exact_tables,
    fit_smoother,
    per_mode,
    stored,
)

from physinv.config.files import load_tensors, save_tensors
from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.equations.sde import Reverse
from physinv.equations.solve import solve
from physinv.models.build import build_model
from physinv.models.references.registry import load_reference
from physinv.models.references.smoother import SmootherReference
from physinv.models.references.smoother_tables import Tables
from physinv.models.score import ScoreModel
from physinv.posterior.posterior import Posterior
from physinv.reversal.choose import default_step
from physinv.reversal.smoother import gap_and_size, smooth
from physinv.reversal.smoother_noise import calibrate_noise
from physinv.training.budget import Budget
from physinv.training.loop import fit
from physinv.training.objectives.choose import choose_objective
from physinv.training.objectives.smoother import smoother_loss
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("trusted", [True, False])
def test_exact_for_gaussians_at_any_step(regime, trusted, generator):
    heat = REGIMES[regime]
    exact, sde, n = heat.exact(), General(heat), 4000
    assert default_step(sde, exact_model(heat)) is smooth
    posterior = Posterior(sde, exact_model(heat, trusted=trusted), heat.times)
    final = heat.simulate(40, dtype=torch.float64, generator=generator)[:, -1]
    # Rounding alone, in units of the start's spread: 16 digits, modes that differ by up to MOST and more, 20 steps.
    scale = exact.power[:, 1:].sqrt()
    assert float((per_mode(heat, posterior.mean_flow(final) - exact.mean(final)).sqrt() / scale).max()) < 1e-12
    assert float((per_mode(heat, posterior.flow(final) - exact.flow(final)).sqrt() / scale).max()) < 1e-12
    # n draws: a sample variance is known to (2/n)^(1/2); five of these.
    drawn, reference = posterior.sample(final[:1], n, generator=generator)[0], exact.mean(final[:1])
    like = final[:1]
    a, v = (f(0.0, final.new_full((1,), heat.horizon), like) for f in (heat.decay, heat.variance))
    S = exact.power.to(like)
    variance = (S * v / (a**2 * S + v))[0, :, 1:]
    ratio = per_mode(heat, drawn - reference) / variance
    assert float((ratio - 1).abs().max()) < 5 * (2 / n) ** 0.5
    # and the mean of n draws to (variance/n)^(1/2)
    shift = heat.modes(drawn.mean(0, keepdim=True) - reference)[0, :, 1:].abs() / (variance / n).sqrt()
    assert float(shift.max()) < 5


@pytest.mark.parametrize("wrong", [1.0, 0.9])
def test_a_wrong_gain_is_seen(wrong, generator):
    """K = 1 (physics backward, unsmoothed) and K too small by a tenth miss the mean that exact gains meet to 1e-12."""
    heat = REGIMES["long"]
    gain = exact_tables(heat, trusted=True).gain
    model = exact_model(heat, gain=torch.ones_like(gain) if wrong == 1 else wrong * gain)
    final = heat.simulate(40, dtype=torch.float64, generator=generator)[:, -1]
    mean, exact = Posterior(General(heat), model, heat.times).mean_flow(final), heat.exact().mean(final)
    off = (per_mode(heat, mean - exact) / per_mode(heat, exact)).sqrt()
    assert float(off.min()) > 5e-3  # k = 1 is nearly certain
    assert float(off[:, 1:].min()) > 0.1


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 1.4])
def test_every_eta_keeps_the_marginals(eta, generator):
    """Draws of N(0, S_T) arrive at N(0, S_0) for every eta."""
    heat, n = REGIMES["long"], 4000
    reverse = Reverse(General(heat), exact_model(heat), eta)
    like = torch.zeros((1, *heat.shape), dtype=torch.float64)
    tables = exact_tables(heat, trusted=True)
    z = heat.modes(torch.randn((n, *heat.shape), dtype=torch.float64, generator=generator))
    x = heat.unmodes(tables.power[-1].sqrt() * z, like.expand(n, -1, -1))
    if eta == 0:
        x0 = Posterior(reverse.sde, reverse.score, heat.times).flow(x)
    else:
        x0 = solve(reverse, x, heat.times.flip(0), step=smooth, generator=generator)[:, -1]
    ratio = per_mode(heat, x0.detach()) / tables.power[0, :, 1:]
    start = per_mode(heat, x) / tables.power[-1, :, 1:]
    if eta == 0:  # deterministic: what the draws at T are off by, they are at 0
        assert torch.allclose(ratio, start, rtol=1e-9)
    assert float((ratio - 1).abs().max()) < 5 * (2 / n) ** 0.5


@pytest.mark.parametrize("regime", REGIMES)
def test_fitted_tables_give_the_posterior(regime, tmp_path, generator):
    """Tables fitted to 1024 trajectories give the posterior's mean and variance, up to the error of the fit.

    Each step's mean is off by two fitted numbers, of variance C/1024 each, and the gains carry these errors to the
    start as they carry the noise: by two 1024ths of the posterior's variance.
    """
    heat, n, few = REGIMES[regime], 1000, 1024
    data = stored(heat, tmp_path / "d", train=few)["train"]
    model = ScoreModel(fit_smoother(General(heat), data, "fourier"), Fixed(), (0.1, heat.horizon))
    posterior, exact = Posterior(General(heat), model, heat.times), heat.exact()
    final = heat.simulate(100, generator=generator)[:, -1]
    a, v = (f(0.0, final.new_full((1,), heat.horizon), final[:1]) for f in (heat.decay, heat.variance))
    S = exact.power.to(final)
    variance = (S * v / (a**2 * S + v))[0, :, 1:]
    off = per_mode(heat, posterior.mean_flow(final) - exact.mean(final)) / variance
    assert float(off.max()) < 5**2 * 2 / few  # five times the root mean square that is expected
    drawn = posterior.sample(final[:20], n // 10, generator=generator)
    ratio = per_mode(heat, (drawn - drawn.mean(1, keepdim=True)).flatten(0, 1)) / variance * (n / (n - 10))
    # both the fitted variances and the drawn ones: (2/1024 + 2/2000)^(1/2)
    assert float((ratio - 1).abs().max()) < 5 * (2 / few + 2 / (2 * n)) ** 0.5


def test_residual_variance_is_that_of_the_regression(tmp_path):
    """C = S_s - K^2 S_b, with powers over all images, equals the residual of the fit and is not negative."""
    sim = Burgers(dimension=2, size=12, steps=2, horizon=0.1, noise=1e-3, viscosity=0.2, inner=1)
    data = stored(sim, tmp_path / "d", name="burgers", train=64)["train"]
    reference = fit_smoother(sim, data, "fourier")
    i = 1
    earlier, later = (torch.cat(sim.images(data.states(j))) for j in (i, i + 1))
    mean = reference.smoothed(later, torch.full((len(later),), float(data.times[i + 1])))[0]
    left = (reference.modes(earlier) - mean).abs().square().mean(0)
    C = reference.power[i] - reference.gain[i] ** 2 * reference.back_power[i]
    share = reference.power[i] / reference.power[i].amax()
    energetic = share > 1e-4
    # float32: S_s and K^2 S_b agree in all but 1e-6 of their size
    assert float(((left - C).abs() / reference.power[i])[energetic].max()) < 3e-6
    assert float((C / reference.power[i]).min()) > -1e-6
    assert torch.allclose(reference.mean[i], earlier.mean(0), atol=1e-6)  # of the images, too
    # physics backward tells more than the state itself: it is what the fit goes by, in nearly every mode
    assert float(reference.trusted[i][energetic].float().mean()) > 0.9


@pytest.mark.parametrize("regime", ["fine", "long"])
def test_score_and_step_are_one(regime, generator):
    """The network adds to the mean of a step q = g^2 dt times what it adds to the score; the reference score is N(0,
    S_t)'s.

    Channels without noise have no part in the score.
    """
    heat = REGIMES[regime]
    silent, loud = (exact_model(heat, network).requires_grad_(False) for network in (Fixed(), Loud(1)))
    x = heat.simulate(20, dtype=torch.float64, generator=generator)[:, 3]
    t0, t1 = (heat.times[i].expand(20) for i in (3, 2))
    tables = exact_tables(heat, trusted=True)
    power = tables.power[3]
    assert torch.allclose(silent(x, t0), -heat.unmodes(heat.modes(x) / power, x), rtol=1e-9)
    # sum over all modes of the full transform, twins included
    y = torch.fft.fft(x[:, 0], norm="ortho")
    full = torch.cat([power[0], power[0, 1:-1].flip(0)])
    density = -0.5 * (y.abs() ** 2 / full + (2 * math.pi * full).log()).sum(1)
    assert torch.allclose(silent.reference.log_prob(x, t0), density, rtol=1e-9)
    still = torch.zeros((2, *x.shape), dtype=x.dtype)
    one, two = (smooth(Reverse(General(heat), m), x, t0, t1, still) for m in (silent, loud))
    q = heat.noise**2 * float(t0[0] - t1[0])
    assert torch.allclose(q * (loud(x, t0) - silent(x, t0)), two - one, rtol=1e-6, atol=1e-9)
    # t_1/t_3 of the noise is in this step: C^(1/2) (dt/t)^(1/2) = (S (1 - a^2 S/S') / 3)^(1/2)
    before, a = tables.power[2], heat.decay(t1[:1], t0[:1], x)[0]
    unit = (before * (1 - a**2 * before / power) / 3).sqrt()
    added = heat.unmodes(unit * heat.modes(loud.output(x, t0)[:, :1]), x)
    assert torch.allclose(two - one, added, rtol=1e-6, atol=1e-9)
    # the flow takes half of it
    one, two = (smooth(Reverse(General(heat), m, 0.0), x, t0, t1, still) for m in (silent, loud))
    assert torch.allclose(two - one, added / 2, rtol=1e-6, atol=1e-9)

    class HalfSilent(General):
        def diffuse(self, v, t):
            return torch.cat([v[:, :1], 0 * v[:, 1:]], dim=1)

    twice = [torch.cat([table, table], dim=1) if table.ndim > 1 else table for table in tables]
    reference = SmootherReference(HalfSilent(heat), "fourier", Tables(*twice)._replace(box=tables.box))
    state = torch.cat([x, x], dim=1)
    lifted = reference.lift(torch.cat([torch.ones_like(state)] * 2, dim=1), state, t0)
    assert bool((lifted[:, 0] > 0).all())
    assert bool((lifted[:, 1] == 0).all())


def test_training_takes_the_smoother_and_ends_calibrated(tmp_path):
    heat = Heat(size=8, dimension=1, steps=3, noise=0.3)
    sde, data = General(heat), stored(heat, tmp_path / "d", train=64, valid=64)
    settings = Settings(width=8, depth=1, batch=32, validate_every=2, validate_windows=32)
    model = build_model(sde, data["train"], settings)
    assert isinstance(model.reference, SmootherReference)
    assert default_step(sde, model) is smooth
    chosen = choose_objective(settings, sde, model)
    assert chosen.loss is smoother_loss
    assert chosen.window == 2
    before = model.reference.noise_scale.clone()
    fit(model, sde, data["train"], data["valid"], settings=settings, budget=Budget(steps=4))
    after = model.reference.noise_scale.clone()
    assert not torch.equal(before, after)
    calibrate_noise(model, sde, data["valid"], seed=seeds(0).child("training"))
    assert torch.equal(after, model.reference.noise_scale)  # on the validation data, and once is enough


@pytest.mark.parametrize("basis", ["fourier", "identity"])
def test_static_channels_come_back_exactly(basis, tmp_path, generator):
    """Channels with f = g = 0 have gains of 1 and no noise, whatever the network's output.

    Sums of squares in float32 agree to 1e-7, twenty steps to some 1e-6.
    """
    sim = HeatConductivity(size=16, dimension=1, steps=20, inner=2)
    data = stored(sim, tmp_path / "d", name="heat-conductivity", train=300)["train"]
    reference = fit_smoother(sim, data, basis)
    model = ScoreModel(reference, Loud(2), (float(sim.times[1]), sim.horizon))
    final = sim.simulate(50, generator=generator)[:, -1]
    final[:, 1, :8] *= 10  # context as it was never seen
    for x0 in (
        Posterior(sim, model, sim.times).sample(final, 1, generator=generator)[:, 0],
        Posterior(sim, model, sim.times).flow(final),
    ):
        assert float((x0[:, 1] - final[:, 1]).abs().max()) < 2e-5 * float(final[:, 1].abs().max())
        assert float((x0[:, 0] - final[:, 0]).std()) > 0.1


def test_modes_without_energy_stay_without(tmp_path, generator):
    """The mean of the Kuramoto-Sivashinsky equation stays 0, and modes beyond 2/3 of the largest are empty."""
    sim, basis = BLOWING_UP["kuramoto-sivashinsky"]
    data = stored(sim, tmp_path / "d", name="ks", train=64)["train"]
    model = ScoreModel(fit_smoother(sim, data, basis), Loud(1), (float(sim.times[1]), sim.horizon))
    final = sim.simulate(32, generator=generator)[:, -1]
    x0 = Posterior(sim, model, sim.times).sample(final, 2, generator=generator).flatten(0, 1)
    size = model.reference.modes(x0).abs().amax(0)[0]
    empty = torch.ones(17, dtype=torch.bool)
    empty[1:11] = False  # 2/3 of 16 is 10.67
    assert float(size[empty].max()) < 1e-5 * float(size.max())  # twice the largest rounding error seen


@pytest.mark.parametrize("basis", ["fourier", "identity"])
def test_saved_and_loaded_it_draws_the_same(basis, tmp_path, generator):
    sim = Cubic(horizon=0.2, steps=3)
    data = stored(sim, tmp_path / "d", name="toy", train=50, valid=50)
    model = ScoreModel(fit_smoother(sim, data["train"], basis), Loud(1, 0.3), (float(sim.times[1]), sim.horizon))
    calibrate_noise(model, sim, data["valid"])
    save_tensors(tmp_path / "model.safetensors", dict(model.state_dict()), {})
    tensors, _ = load_tensors(tmp_path / "model.safetensors")
    again = ScoreModel(load_reference("smoother", sim, tensors), Loud(1), model.clock)
    again.load_state_dict(tensors)
    assert isinstance(again.reference, SmootherReference)
    assert again.reference.basis == basis
    final = data["valid"].states(-1)
    one, two = (
        Posterior(sim, m, sim.times).sample(final, 2, generator=generator.manual_seed(7)) for m in (model, again)
    )
    assert torch.equal(one, two)
    assert torch.equal(model(final, torch.full((50,), 0.1)), again(final, torch.full((50,), 0.1)))


def test_gaps_are_in_units_of_the_noise(generator):
    """With exact gains on Gaussian data, whitened gaps have unit variance in every mode and interval."""
    heat, n = REGIMES["long"], 2000
    states = heat.simulate(n, dtype=torch.float64, generator=generator)
    network = Fixed().requires_grad_(False)
    for i in range(4):
        t0, t1 = (heat.times[j].expand(n) for j in (i + 1, i))
        _, gap, size = gap_and_size(
            Reverse(General(heat), exact_model(heat, network)), states[:, i + 1], states[:, i], t0, t1
        )
        assert torch.equal(size, torch.ones_like(size))
        assert float((per_mode(heat, gap) - 1).abs().max()) < 5 * (2 / n) ** 0.5
