"""The reversal of nonlinear fields: exact for linear-Gaussian processes, bounded for any physics, calibrated."""

import math

import pytest
import torch
from smoother_cases import (
    Fixed,
    General,
    Loud,
    exact_model,
    exact_tables,
    fit_smoother,
    no_box,
    per_mode,
    stored,
)

from physinv.config.files import load_tensors, save_tensors
from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.equations.broadcast import match
from physinv.equations.sde import Reverse
from physinv.equations.solve import solve
from physinv.models.build import build_model
from physinv.models.references.registry import load_reference
from physinv.models.references.smoother import SmootherReference
from physinv.models.references.smoother_tables import Tables, physics_backward
from physinv.models.score import ScoreModel
from physinv.posterior.posterior import Posterior
from physinv.processes.layout import FieldLayout
from physinv.processes.simulator import Simulator
from physinv.reversal.choose import default_step
from physinv.reversal.smoother import gap_and_size, smooth
from physinv.reversal.smoother_noise import calibrate_noise, match_ensembles, match_single_steps
from physinv.training.budget import Budget
from physinv.training.loop import fit
from physinv.training.objectives.base import Batch
from physinv.training.objectives.choose import choose_objective
from physinv.training.objectives.smoother import smoother_loss
from simulators.fields.allen_cahn import AllenCahn
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.fields.kuramoto_sivashinsky import KuramotoSivashinsky
from simulators.numerics.spectral import grid

# -- 1. exactness


# Stored steps that forget little, few long ones, and some after which modes have decayed by e^-20 and more.
REGIMES = {
    "fine": Heat(size=8, dimension=1, steps=20, horizon=0.3, noise=0.3),
    "long": Heat(size=12, dimension=1, steps=4, horizon=0.4, noise=0.3),
    "stiff": Heat(size=16, dimension=1, steps=4, horizon=2.0, noise=0.3),
}


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
    a, v = (f(final.new_full((1,), heat.horizon), like) for f in (heat.decay, heat.variance))
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
    a, v = (f(final.new_full((1,), heat.horizon), final[:1]) for f in (heat.decay, heat.variance))
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
    before, a = tables.power[2], heat.decay(t0[:1] - t1[:1], x)[0]
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


# -- 2. boundedness


class Cubic(Simulator):
    """``dx = -x^3 dt + g dW`` at every point: backward it is infinite after a time 1/(2 x^2)."""

    title = "cubic"
    equation = "dx = -x^3 dt + g dW"

    @property
    def shape(self):
        return (1, 8)

    @property
    def layout(self):
        return FieldLayout(("x",), ("x",), (grid(8),), "PERIODIC")

    @property
    def substeps(self):
        return 8

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return 2 * torch.randn((batch, 1, 8), generator=generator, device=device, dtype=dtype)

    def drift(self, x, t):
        return -(x**3)

    def diffusion(self, t):
        return 0.3 * torch.ones_like(t)


BLOWING_UP = {
    "burgers": (Burgers(size=32, steps=3, horizon=3.0, viscosity=0.1, inner=6), "fourier"),
    "kuramoto-sivashinsky": (KuramotoSivashinsky(size=32, steps=2, horizon=8.0, spin_up=12.0, inner=16), "fourier"),
    "cubic": (Cubic(horizon=0.5, steps=4), "fourier"),
    "cubic, walls": (Cubic(horizon=0.5, steps=4), "identity"),
}


@pytest.mark.parametrize("name", BLOWING_UP)
def test_reconstructions_stay_within_reach(name, tmp_path, generator):
    """From states ten times too large, with a nonsensical network, no mode exceeds twice the largest in the data."""
    sim, basis = BLOWING_UP[name]
    states = sim.simulate(64, generator=generator)
    assert bool(states.isfinite().all())
    data = stored(sim, tmp_path / "d", name="toy", train=64)["train"]
    reference = fit_smoother(sim, data, basis)
    assert all(bool(table.isfinite().all()) for table in reference.buffers())
    final, t = 10 * states[:, -1], torch.full((64,), float(sim.times[-1]))
    if name.startswith("cubic"):  # the physics alone does not come back
        back = final
        for _ in range(8):
            back = sim.drift_flow(back, t, t - sim.horizon / 4 / 8)
        assert not bool(back.isfinite().all())
    posterior = Posterior(sim, ScoreModel(reference, Loud(1), (float(sim.times[1]), sim.horizon)), sim.times)
    for x0 in (posterior.sample(final, 2, generator=generator).flatten(0, 1), posterior.flow(final)):
        assert bool(x0.isfinite().all())
        size = reference.modes(x0 - reference.mean[0]).abs()
        assert bool((size <= reference.reach[0] * (1 + 1e-4) + 1e-5 * reference.reach[0].max()).all())
    # the reference alone takes no step that is longer than any was
    mean, _ = reference.smoothed(final, t)
    step = (mean - reference.modes(reference.mean[-2:-1])).abs()
    assert bool((step <= (reference.gain[-1].abs() * reference.back_reach[-1]) * (1 + 1e-4) + 1e-6 * step.max()).all())
    honest = reference.modes(data.states(0) - reference.mean[0]).abs().amax(0)
    assert torch.allclose(reference.reach[0], 2 * torch.maximum(honest, reference.reach[0] / 2), rtol=1e-4)


def test_physics_that_overflows_in_a_sum_stays_bounded(generator):
    """Physics whose values are finite, but whose Fourier sums are not."""

    class Explosive(General):
        def drift_flow(self, x, t0, t1):
            return x.sign() * 3e38 + 0 * x

    heat = REGIMES["long"]
    tables = exact_tables(heat, trusted=True)
    reach = 2 * tables.power.sqrt()
    tables = Tables(*(table if table.dtype == torch.bool else table.float() for table in tables))
    tables = tables._replace(reach=reach.float(), back_reach=4 * tables.back_power.sqrt().clamp(max=1e6))
    reference = SmootherReference(Explosive(heat), "fourier", tables)
    reverse = Reverse(reference.sde, ScoreModel(reference, Fixed(), (0.1, 0.4)))
    x = torch.randn(4, *heat.shape, generator=generator)
    states = solve(reverse, x, heat.times.flip(0), step=smooth, generator=generator)
    assert bool(states.isfinite().all())  # every one: a later step may take NaN for physics that blew up


def test_points_where_the_physics_explodes_are_cut_where_that_tells_more(tmp_path, generator):
    """A reaction that saturates forward explodes backward at single points, where no mode exceeds its reach."""
    sim = AllenCahn(size=16, steps=8, horizon=4.0, inner=8)
    data = stored(sim, tmp_path / "d", train=64)["train"]
    reference = fit_smoother(sim, data, "fourier")
    low, high = reference.box.unbind(1)
    for i in range(8):  # symmetric, since the phases may be exchanged
        largest = data.states(i).abs().max()
        assert torch.allclose(high[i], largest)
        assert torch.allclose(low[i], -largest)
    # from data not fitted, through all steps and their noise, as far as a Gaussian goes beyond what 64 fields show:
    # over five seeds the largest value is 1.0 to 2.3 times the data's with the cut, 12 to 13 times without
    final = sim.simulate(200, generator=generator)[:, -1]
    reverse = Reverse(sim, ScoreModel(reference, Fixed(), (float(sim.times[1]), sim.horizon)))
    for box, exploded in (reference.box.clone(), False), (no_box(reference.mean[1:]), True):
        reference.box.copy_(box)
        states = solve(reverse, final, sim.times.flip(0), step=smooth, generator=generator)
        largest = states.flip(1).abs().amax((0, 2, 3, 4)) / data.trajectories(slice(0, 64)).abs().amax((0, 2, 3, 4))
        assert bool((largest > 5).any()) == exploded

    # viscosity amplifies noise on all scales, so that hardly a value leaves the range: cut or not, that is all the same
    heat, data = General(REGIMES["long"]), stored(REGIMES["long"], tmp_path / "heat", train=1024)["train"]
    reference, times = fit_smoother(heat, data, "fourier"), data.times.float()
    for i, (low, high) in enumerate(reference.box):
        x = data.states(i + 1)
        back = physics_backward(heat, x, times[i + 1].expand(len(x)), times.diff()[i].expand(len(x)))
        assert float(((back < low) | (back > high)).float().mean()) < 0.01  # .0001 to .0035 over six seeds


# -- 3. calibration


def test_noise_scale_is_the_variance_that_steps_miss(tmp_path):
    """Gains too small by a fifth, sigma = e^.3 everywhere: the variance of the residuals is known in closed form."""
    heat, n, c, log_size = Heat(size=8, dimension=2, steps=3, noise=0.3, horizon=0.3), 500, 0.8, 0.3
    valid = stored(heat, tmp_path / "d", valid=n)["valid"]
    tables = exact_tables(heat, trusted=True)
    model = exact_model(heat, Fixed(log_size=log_size), gain=c * tables.gain).float()
    match_single_steps(model, General(heat), valid)
    C = tables.power[:-1] - tables.gain**2 * tables.back_power
    residual = C + (1 - c) ** 2 * tables.gain**2 * tables.back_power
    unit = tables.power[:-1] - c**2 * tables.gain**2 * tables.back_power
    expected = residual / unit / math.exp(2 * log_size)
    kx, ky = torch.meshgrid(torch.fft.fftfreq(8, 1 / 8), torch.fft.rfftfreq(8, 1 / 8), indexing="ij")
    shell = (kx**2 + ky**2).sqrt().round()
    for k in range(1, int(shell.max()) + 1):
        on = shell == k
        found = model.reference.noise_scale[:, 0, on]
        assert torch.equal(found, found[:, :1].expand_as(found))  # one number per interval and shell
        # n trajectories; modes of a shell are independent, but for twins on two planes: count no more than half
        tolerance = 5 * (2 / (n * max(1, int(on.sum()) // 2))) ** 0.5
        assert torch.allclose(found[:, 0].double() / expected[:, 0, on].mean(1), torch.ones(3).double(), atol=tolerance)
    assert float((expected[:, 0, 0, 1] - 1).abs().min()) > 0.2  # nothing that an uncalibrated model would pass


def test_modes_without_energy_do_not_count(tmp_path):
    """Resolved modes share shells with dealiased ones, which hold nothing and must not enter the average."""
    sim = Burgers(dimension=2, size=12, steps=1, horizon=0.1, noise=0.3, viscosity=0.2, inner=1)
    data = stored(sim, tmp_path / "d", name="burgers", train=600, valid=600)
    model = ScoreModel(fit_smoother(sim, data["train"], "fourier"), Fixed(), (0.1, 0.1))
    match_single_steps(model, sim, data["valid"])
    kx, ky = torch.meshgrid(torch.fft.fftfreq(12, 1 / 12), torch.fft.rfftfreq(12, 1 / 12), indexing="ij")
    shell, kept = (kx**2 + ky**2).sqrt().round(), (kx.abs() < 4) & (ky.abs() < 4)
    assert bool(((shell == 4) & kept).any())
    assert bool(((shell == 4) & ~kept).any())
    # the fit's own units on other data of the same law: 1, give or take 600 trajectories of at least 3 independent
    # modes, and as many to fit; 5 of 11 modes of the shell are empty
    found = model.reference.noise_scale[0][:, (shell == 4) & kept]
    assert float((found - 1).abs().max()) < 5 * (2 / 1800 + 2 / 1800) ** 0.5


def test_after_calibration_a_step_has_the_noise_of_the_residuals(tmp_path, generator):
    heat, n, log_size = Heat(size=8, dimension=1, steps=2, noise=0.3, horizon=0.3), 500, -0.7
    valid = stored(heat, tmp_path / "d", valid=n)["valid"]
    model = exact_model(heat, Fixed(log_size=log_size)).float()
    sde = General(heat)
    x, t0, t1 = (
        v.expand(2000, *v.shape[1:]) for v in (valid.states(2)[:1], valid.times[2:3].float(), valid.times[1:2].float())
    )

    def noise_of_step():
        dw = torch.randn((2, *x.shape), generator=generator) * match((t0 - t1).sqrt(), x)
        moved = smooth(Reverse(sde, model), x, t0, t1, dw) - smooth(Reverse(sde, model), x, t0, t1, 0 * dw)
        return per_mode(heat, moved)

    C = model.reference.spread()[1][:, 1:]
    # 2000 draws
    assert torch.allclose(noise_of_step() / C, torch.tensor(math.exp(2 * log_size)), atol=0.25 * 5 * (2 / 2000) ** 0.5)
    match_single_steps(model, sde, valid)
    # 500 residuals, 2000 draws
    assert torch.allclose(noise_of_step() / C, torch.tensor(1.0), atol=5 * (2 / n + 2 / 2000) ** 0.5)


def test_calibration_of_components_and_refusal(tmp_path):
    """Modes that are components get one number per channel; sigma = e^-.5 on residuals of unit variance gives e^1."""
    sim = Cubic(horizon=0.2, steps=2)
    data = stored(sim, tmp_path / "d", name="toy", train=1000, valid=500)
    model = ScoreModel(fit_smoother(sim, data["train"], "identity"), Fixed(log_size=-0.5), (0.1, 0.2))
    match_single_steps(model, sim, data["valid"])
    left = model.reference.noise_scale
    assert torch.equal(left, left[..., :1].expand_as(left))
    # residuals are not Gaussian here: with a kurtosis of up to 6 their squares spread sqrt(5), over 8 * 500 numbers and
    # 8 * 1000 of the fit
    tolerance = 5 * (5 / 4000 + 5 / 8000) ** 0.5
    assert torch.allclose(left[1], torch.tensor(math.e), rtol=tolerance)
    # the first interval has heavy tails, since every state at its end explodes just before 0 (2.1 to 4.2 over 13 seeds)
    assert math.e / 3 < float(left[0, 0, 0]) < 3 * math.e
    heat = Heat(size=8, dimension=1)
    linear = build_model(heat, stored(heat, tmp_path / "h", train=20)["train"], Settings(width=8, depth=1))
    with pytest.raises(ValueError, match=r"`model` must have the reference law `smoother`, got `linear`\."):
        calibrate_noise(linear, heat, data["valid"])


@pytest.mark.parametrize("start", [0.5, 2.0])
def test_matched_ensembles_spread_as_much_as_their_mean_errs(start, tmp_path, generator):
    """Steps exact but for the size of their noise: ensembles find the posterior's variance from their errors alone."""
    heat, n = Heat(size=8, dimension=1, steps=4, noise=0.3, horizon=0.4), 500
    valid = stored(heat, tmp_path / "d", valid=n)["valid"]
    model = exact_model(heat, trusted=True).float()
    model.reference.noise_scale.mul_(start)
    match_ensembles(model, General(heat), valid)
    draws = Posterior(General(heat), model, heat.times).sample(valid.states(-1), 8, generator=generator)
    spread = per_mode(heat, (draws - draws.mean(1, keepdim=True)).flatten(0, 1)) * 8 / 7
    exact = heat.exact().sample(valid.states(-1).double(), 8, generator=generator)
    wanted = per_mode(heat, (exact - exact.mean(1, keepdim=True)).flatten(0, 1)) * 8 / 7
    # the squared error of n means, two numbers a mode (one at the last), says how large the spread has to be
    assert torch.allclose(spread.double() / wanted, torch.ones_like(wanted), atol=5 * (2 / n) ** 0.5)


# -- 4. the loss


class Filter(torch.nn.Module):
    """A network that adds ``weight`` times the whitened state, mode by mode, and ``log_size`` everywhere."""

    def __init__(self, weight, log_size=0.0):
        super().__init__()
        self.weight = torch.nn.Parameter(weight.clone())
        self.log_size = torch.nn.Parameter(torch.tensor(float(log_size), dtype=weight.dtype))

    def forward(self, features, tau):
        whitened = features[:, 1:2]
        out = torch.fft.irfft(self.weight * torch.fft.rfft(whitened, norm="ortho"), n=whitened.shape[-1], norm="ortho")
        return torch.cat([out, self.log_size.expand_as(out)], dim=1)


def untaught(c=0.7):
    """A reference law whose gains are too small by ``c``, the filter that corrects them, and the residual size that
    remains.
    """
    heat = Heat(size=8, dimension=1, steps=1, horizon=0.1, noise=0.3)
    tables = exact_tables(heat, trusted=False)
    S, after, K = tables.power[0], tables.back_power[0], tables.gain[0]
    unit = S - c**2 * K**2 * after
    weight = (1 - c) * K * after.sqrt() / unit.sqrt()  # dt/t = 1
    weight[..., 0] = 0.0  # no energy there
    left = (S - K**2 * after) / unit
    left[..., 0] = 0.0
    twins = torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0], dtype=torch.float64)
    log_size = 0.5 * math.log(float((twins * left).sum() / 8))
    return heat, {"gain": c * tables.gain}, weight, log_size


def gradients(heat, changes, network, generator, batches=40, size=100):
    """The loss's gradient in all parameters, on independent batches: ``(batches, parameters)``."""
    model = exact_model(heat, network, trusted=False, **changes)
    times = heat.times.expand(size, -1)
    rows = []
    for _ in range(batches):
        states = heat.simulate(size, dtype=torch.float64, generator=generator)
        loss = smoother_loss(model, General(heat), Batch(states, times))
        found = torch.autograd.grad(loss, list(network.parameters()))
        rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows)


def significance(rows):
    """Each mean in units of its standard error."""
    return rows.mean(0).abs() / (rows.std(0) / len(rows) ** 0.5).clamp(min=1e-300)


def test_loss_is_stationary_at_the_conditional_mean_and_size(generator):
    heat, changes, weight, log_size = untaught()
    at = significance(gradients(heat, changes, Filter(weight, log_size), generator))
    assert float(at[1:].max()) < 5  # four modes and the size; the first mode of the start holds nothing
    off = significance(gradients(heat, changes, Filter(1.5 * weight, log_size), generator))
    assert float(off[1:4].min()) > 5  # every mode of the resolved ones sees its own filter
    assert float(significance(gradients(heat, changes, Filter(weight, log_size + 0.1), generator))[-1]) > 10
    assert float(significance(gradients(heat, changes, Filter(0 * weight, log_size), generator))[1:4].min()) > 10


def test_loss_is_lowest_at_the_conditional_mean(generator):
    """The loss is lowest there, with the value sigma^2 + 1/2 + log sigma, since E |r|^2 = sigma^2."""
    heat, changes, weight, log_size = untaught()
    states = heat.simulate(4000, dtype=torch.float64, generator=generator)
    times = heat.times.expand(4000, -1)

    @torch.no_grad()
    def loss(scale, shift):
        model = exact_model(heat, Filter(scale * weight, log_size + shift), trusted=False, **changes)
        return float(smoother_loss(model, General(heat), Batch(states, times)))

    best = loss(1.0, 0.0)
    s2 = math.exp(2 * log_size)
    # the mean square of 4000 fields of about 7 independent modes
    assert best == pytest.approx(s2 + 0.5 + log_size, abs=5 * (s2 + 0.5) * (2 / 28000) ** 0.5)
    assert min(loss(0.8, 0.0), loss(1.2, 0.0), loss(1.0, 0.2), loss(1.0, -0.2)) > best


def test_longer_windows_are_rolled_out(generator):
    """Windows of three equal a roll-out by hand with the solver's own step; gradients flow through both steps."""
    heat = Heat(size=8, dimension=1, steps=3, horizon=0.3, noise=0.3)
    model = exact_model(heat, Loud(1, 0.5), trusted=False)
    sde, n = General(heat), 50
    states = heat.simulate(n, dtype=torch.float64, generator=generator)[:, 1:]
    times = heat.times[1:].expand(n, -1)
    reverse, reference = Reverse(sde, model), model.reference

    def by_hand(cut):
        x, total = states[:, 2], 0.0
        for m in (1, 0):
            t0, t1 = times[:, m + 1], times[:, m]
            # the network's second half, and the step of the solver itself
            size = model.output(x, t0)[:, 1:].clamp(-4, 2).exp()
            x = smooth(reverse, x, t0, t1, torch.zeros((2, *x.shape), dtype=x.dtype))
            C = reference.power[m + 1] - reference.gain[m + 1] ** 2 * reference.back_power[m + 1]
            r = torch.fft.irfft(torch.fft.rfft(states[:, m] - x, norm="ortho") / C.sqrt(), n=8, norm="ortho")
            total = total + (r**2).mean() + (r.detach() ** 2 / (2 * size**2) + size.log()).mean()
            x = x.detach() if cut else x
        return total / 2

    loss = smoother_loss(model, sde, Batch(states, times))
    assert float(loss.detach()) == pytest.approx(float(by_hand(False).detach()), rel=1e-9)
    whole, cut, given = (torch.autograd.grad(v, model.network.mixing)[0] for v in (by_hand(False), by_hand(True), loss))
    assert torch.allclose(given, whole, rtol=1e-9, atol=1e-12)
    assert float((given - cut).norm()) > 0.05 * float(given.norm())


def test_what_does_not_fit_is_refused(generator):
    heat = REGIMES["long"]
    model, sde = exact_model(heat), General(heat)
    states = heat.simulate(4, dtype=torch.float64, generator=generator)
    with pytest.raises(ValueError, match=r"`smooth` needs Reverse\(sde, score\) with a ScoreModel"):
        smoother_loss(lambda x, t: -x, sde, Batch(states[:, :2], heat.times[:2].expand(4, -1)))
    with pytest.raises(ValueError, match=r"`smooth` needs Reverse\(sde, score\) with a ScoreModel"):
        smooth(sde, states[:, 1], heat.times[1:2].expand(4), heat.times[:1].expand(4), states[None, :, 0])
    stored_only = r"`times` must be the 5 stored ones, 4 steps"
    with pytest.raises(ValueError, match=stored_only):
        smoother_loss(model, sde, Batch(states[:, ::2], heat.times[::2].expand(4, -1)))
    # too long, too short, and of the right length in the wrong place
    for times in (heat.times[::2], torch.linspace(0, heat.horizon, 9, dtype=torch.float64), heat.times + 0.05):
        beyond = r"`times` must end at 0\.4 at the latest"
        with pytest.raises(ValueError, match=stored_only if float(times[-1]) <= heat.horizon else beyond):
            Posterior(sde, model, times)
        with pytest.raises(ValueError, match=stored_only):
            solve(Reverse(sde, model), states[:, -1], times.flip(0), step=smooth, generator=generator)
    assert Posterior(sde, model, heat.times[:3]).mean_flow(states[:, 2]).shape == states[:, 0].shape


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


# -- 5. what does not move


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


# -- 6. on disk


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


# -- 7. gaps


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
