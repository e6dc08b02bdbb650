"""Burgers, Kuramoto-Sivashinsky and Navier-Stokes against exact solutions, conservation laws and energy budgets."""

import dataclasses
import math
import re

import pytest
import torch
from scipy.special import ive

from physinv.equations.solve import solve
from physinv.processes.parameters import build
from simulators.fields.burgers import Burgers
from simulators.fields.kuramoto_sivashinsky import KuramotoSivashinsky
from simulators.fields.navier_stokes import NavierStokes

DOUBLE = torch.float64


def axis(n, length=2 * math.pi):
    return torch.arange(n, dtype=DOUBLE) * length / n


def slope(steps, errors):
    """Exponent of the step in the error, by least squares in logarithms."""
    x, y = torch.tensor(steps).double().log(), torch.tensor(errors).double().log()
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def errors(sim, x, truth, counts):
    """Of solutions in so many solver steps, however few the process itself would take."""
    grids = [torch.linspace(0, sim.horizon, m + 1, dtype=DOUBLE) for m in counts]
    ends = [solve(sim, x, grid, step=sim.step, noise=False)[:, -1] for grid in grids]
    return [float((end - truth).abs().max()) for end in ends]


def cole_hopf(n, viscosity, t):
    """u = -2 nu Z_x / Z with Z_t = nu Z_xx, from u = sin x: Z = I_0 + 2 sum I_k(1 / 2 nu) e^(-nu k^2 t) cos k x."""
    x, top, bottom = axis(n), 0.0, float(ive(0, 0.5 / viscosity))
    for k in range(1, 60):
        weight = 2 * float(ive(k, 0.5 / viscosity)) * math.exp(-viscosity * k**2 * t)
        top, bottom = top + k * weight * torch.sin(k * x), bottom + weight * torch.cos(k * x)
    return 2 * viscosity * top / bottom


def test_burgers_is_cole_hopfs_solution():
    """To 1e-9 with 256 steps, and of order 4 before, through the steepening (width 4 nu / jump = .2)."""
    sim = Burgers(size=256, viscosity=0.1, horizon=1.5, steps=1)
    x, truth = torch.sin(axis(256))[None, None], cole_hopf(256, 0.1, 1.5)
    assert torch.allclose(x[0, 0], cole_hopf(256, 0.1, 0.0), atol=1e-12)
    inners = (32, 64, 128)
    wrong = errors(sim, x, truth, inners)
    assert slope(inners, wrong) == pytest.approx(-4, abs=0.3)
    assert errors(sim, x, truth, (256,))[0] < 1e-9


def test_burgers_in_two_dimensions():
    """A potential flow against Cole-Hopf; a rotational one by hand: (u . grad) u = (sin 2x, sin 2y) / 2."""
    nu, x, y = 0.5, axis(64)[:, None], axis(64)[None]

    def flow(t):
        a, b, c = math.exp(-nu * t), math.exp(-2 * nu * t), math.exp(-5 * nu * t)
        z = 4 + a * (torch.cos(x) + torch.sin(y)) + b * torch.cos(x) * torch.cos(y) + c * torch.sin(2 * x + y)
        zx = -a * torch.sin(x) - b * torch.sin(x) * torch.cos(y) + 2 * c * torch.cos(2 * x + y)
        zy = a * torch.cos(y) - b * torch.cos(x) * torch.sin(y) + c * torch.cos(2 * x + y)
        return -2 * nu * torch.stack([zx / z, zy / z])[None]

    sim = Burgers(dimension=2, size=64, viscosity=nu, horizon=1.0, steps=1, inner=64)
    assert float((sim.run(flow(0.0), noise=False)[:, -1] - flow(1.0)).abs().max()) < 1e-8
    eddy = torch.stack([torch.sin(x) * torch.cos(y), -torch.cos(x) * torch.sin(y)])[None]
    still = dataclasses.replace(sim, viscosity=0.0)
    push = torch.stack([torch.sin(2 * x).expand(64, 64), torch.sin(2 * y).expand(64, 64)])[None] / 2
    assert torch.allclose(still.drift(eddy, torch.zeros(1, dtype=DOUBLE)), -push, atol=1e-13)


def test_vorticity_equation_by_hand():
    """psi = cos x + cos 2y: w = cos x + 4 cos 2y, u = -2 sin 2y, v = sin x, -u . grad w = 6 sin x sin 2y."""
    x, y = axis(16)[:, None], axis(16)[None]
    w = (torch.cos(x) + 4 * torch.cos(2 * y))[None, None]
    t = torch.zeros(1, dtype=DOUBLE)
    sim = NavierStokes(size=16, viscosity=0.1, drag=0.3, forcing="none")
    linear = -0.1 * (torch.cos(x) + 16 * torch.cos(2 * y)) - 0.3 * w
    bend = 6 * torch.sin(x) * torch.sin(2 * y)
    assert torch.allclose(sim.drift(w, t), linear + bend, atol=1e-12)
    forced = dataclasses.replace(sim, forcing="kolmogorov", amplitude=0.7, wavenumber=3)
    assert torch.allclose(forced.drift(w, t), linear + bend - 2.1 * torch.cos(3 * y), atol=1e-12)
    velocity = sim.unmodes(sim.velocity_modes(sim.modes(w), w), w)[0]
    assert torch.allclose(velocity[0], (-2 * torch.sin(2 * y)).expand(16, 16), atol=1e-13)
    assert torch.allclose(velocity[1], torch.sin(x).expand(16, 16), atol=1e-13)
    assert float(sim.energy(w)) == pytest.approx(float(velocity.square().sum(0).mean() / 2), rel=1e-12)


def test_taylor_green_vortices_decay():
    x, y = axis(32)[:, None], axis(32)[None]
    w = (2 * torch.cos(x) * torch.cos(y))[None, None]
    sim = NavierStokes(size=32, viscosity=0.1, forcing="none", horizon=2.0)
    assert torch.allclose(sim.run(w, noise=False)[:, -1], math.exp(-2 * 0.1 * 2.0) * w, atol=1e-13)


def test_ideal_flow_keeps_energy_and_enstrophy(generator):
    """Of the truncated inviscid equations both are exact invariants: the error is that of the step, of order 4 or 5."""
    sim = NavierStokes(size=24, viscosity=0.0, noise=0.0, forcing="none", spin_up=0.0, horizon=1.0, steps=1)
    x = sim.initial(2, generator=generator, dtype=DOUBLE)
    inners = (16, 32, 64)
    for quantity in (sim.energy, sim.enstrophy):
        wrong = []
        for m in inners:
            end = dataclasses.replace(sim, inner=m).run(x)[:, -1]
            wrong.append(float((quantity(end) / quantity(x) - 1).abs().max()))
        assert slope(inners, wrong) < -3.7
        assert wrong[-1] < 1e-6


def test_energy_comes_in_at_the_known_rate(generator):
    """E(T) - E(0) = int (eps - 2 nu Z - 2 alpha E) dt on average: 5 standard errors of the ensemble, 4 % of eps T."""
    sim = NavierStokes(
        size=16,
        viscosity=0.02,
        drag=0.2,
        noise=1.5,
        forcing="stochastic",
        wavenumber=3,
        spin_up=1.0,
        horizon=2.0,
        steps=40,
        inner=1,
    )
    x = sim.simulate(200, generator=generator)
    flat = x.flatten(0, 1)
    e, z = (q(flat).reshape(x.shape[:2]) for q in (sim.energy, sim.enstrophy))
    lost = torch.trapezoid(2 * sim.viscosity * z + 2 * sim.drag * e, dx=0.05, dim=1)
    gained = float(sim.energy_input(x[:1, 0])) * sim.horizon
    gap = e[:, -1] - e[:, 0] + lost - gained
    error = float(gap.std()) / math.sqrt(len(gap))
    assert 5 * error < 0.15 * gained
    assert abs(float(gap.mean())) < 5 * error
    assert float(lost.mean()) > 0.3 * gained


def test_weakly_forced_flow_has_the_linear_spectrum(generator):
    """Noise of 1e-3: u . grad w is 1e-6; every mode is an Ornstein-Uhlenbeck process, whatever the step."""
    sim = NavierStokes(
        size=16, viscosity=0.05, drag=0.1, noise=1e-3, forcing="stochastic", wavenumber=3, horizon=3.0, steps=3, inner=1
    )
    n = 1000
    still = torch.zeros(n, *sim.shape, dtype=DOUBLE)
    power = sim.modes(sim.run(still, generator=generator)[:, -1]).abs().square().mean(0)[0]
    p, q = torch.meshgrid(torch.fft.fftfreq(16, 1 / 16), torch.arange(9.0), indexing="ij")
    k2 = (p**2 + q**2).double()
    ring = ((k2.sqrt() - 3).abs() <= 1) & (p.abs() < 16 / 3) & (q < 16 / 3)
    counts = (ring * torch.where((q == 0) | (q == 8), 1, 2)).sum()
    sigma2 = 1e-6 * 256 / counts
    rate = 0.05 * k2 + 0.1
    want = sigma2 * (1 - torch.exp(-2 * rate * 3)) / (2 * rate)
    # relative standard error of a mean of |N|^2 over n draws is at most sqrt(2/n); five of them
    assert torch.allclose((power / want)[ring], torch.ones(int(ring.sum()), dtype=DOUBLE), atol=5 * math.sqrt(2 / n))
    assert float(power[~ring].max()) < 1e-3 * float(want[ring].min())


def test_the_fastest_place_of_turbulence_is_solved_stably(generator):
    """Runge-Kutta steps of order 4 are stable up to 2.8 radians; one state of hundreds is twice as fast as these."""
    sim = NavierStokes(spin_up=3.0)
    x = sim.initial(8, generator=generator)
    u = sim.unmodes(sim.velocity_modes(sim.modes(x), x), x)
    fastest = float(u.square().sum(1).sqrt().amax())
    assert fastest > 2.5  # the rms is 1.6
    assert fastest * sim.wavenumber_max * sim.horizon / sim.steps / sim.substeps < 2.8 / 1.3


def test_small_waves_grow_as_they_must():
    """Kuramoto-Sivashinsky: rate q^2 - q^4, q = 2 pi k / L, in every mode, however stiff."""
    sim = KuramotoSivashinsky(length=22.0, horizon=1.0, steps=4, inner=1)
    k = torch.arange(1, 32, dtype=DOUBLE)
    waves = 1e-9 * torch.cos(k[:, None] * axis(64))[:, None]
    end = sim.run(waves, noise=False)[:, -1]
    q = 2 * math.pi * k / 22
    # u u_x adds up to 1e-18 k
    assert torch.allclose(end, torch.exp(q**2 - q**4)[:, None, None] * waves, rtol=0, atol=1e-16)


@pytest.mark.parametrize(
    "sim",
    [
        Burgers(size=32, inner=2, viscosity=0.1, noise=0.3),
        KuramotoSivashinsky(spin_up=5.0),
        NavierStokes(size=16, spin_up=0.5, noise=0.5),
    ],
    ids=lambda s: type(s).__name__,
)
def test_means_stay(sim, generator):
    x = sim.simulate(4, generator=generator, dtype=DOUBLE) + 0.0
    mean = x.flatten(2).mean(2)
    assert torch.allclose(mean, mean[:, :1].expand_as(mean), atol=1e-13)
    shifted = sim.run(x[:, 0] + 0.7, generator=generator).flatten(2).mean(2)
    assert torch.allclose(shifted, 0.7 + mean, atol=1e-12)


def test_kuramoto_sivashinsky_is_of_fourth_order(generator):
    """Once 1 / h is not small against the fastest rate (here 67); above, as is known of ETDRK4, it looks like 3."""
    sim = KuramotoSivashinsky(size=32, spin_up=20.0, horizon=0.5, steps=1, inner=3)
    x = sim.initial(2, generator=generator, dtype=DOUBLE)
    truth = dataclasses.replace(sim, inner=256).run(x, noise=False)[:, -1]
    inners = (16, 32, 64)
    assert slope(inners, errors(sim, x, truth, inners)) == pytest.approx(-4, abs=0.3)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: build(Burgers, {"dimension": 3}), "`dimension` of Burgers must be between 1 and 2, got 3"),
        (lambda: build(NavierStokes, {"forcing": "kolmogoroff"}), "did you mean `kolmogorov`?"),
    ],
)
def test_bad_parameters_are_named(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()
