"""The calibrated noise of the smoother: what steps miss, step by step and over ensembles."""

import math

import pytest
import torch
from smoother_cases import (
    Cubic,
    Fixed,
    General,
    exact_model,
    exact_tables,
    fit_smoother,
    per_mode,
    stored,
)

from physinv.config.settings import Settings
from physinv.equations.broadcast import match
from physinv.equations.sde import Reverse
from physinv.models.build import build_model
from physinv.models.score import ScoreModel
from physinv.posterior.posterior import Posterior
from physinv.reversal.smoother import smooth
from physinv.reversal.smoother_noise import calibrate_noise, match_ensembles, match_single_steps
from simulators.fields.burgers import Burgers
from simulators.fields.heat import Heat


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
