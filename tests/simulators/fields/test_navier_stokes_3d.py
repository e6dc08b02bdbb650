"""Three-dimensional flow: exact solutions, no divergence, the energy budget, and noise of the right size."""

import dataclasses
import math

import pytest
import torch

from simulators.fields.navier_stokes_3d import NavierStokes3D

DOUBLE = torch.float64


def axes(n):
    a = torch.arange(n, dtype=DOUBLE) * 2 * math.pi / n
    return a[:, None, None], a[None, :, None], a[None, None]


def field(*parts, n):
    return torch.stack([p.expand(n, n, n) for p in parts])[None]


def test_taylor_green_vortices_decay():
    """Constant along z it is the exact solution of 1937, whatever the viscosity: e^(-2 nu t)."""
    x, y, _ = axes(16)
    u = field(torch.cos(x) * torch.sin(y), -torch.sin(x) * torch.cos(y), torch.zeros_like(x), n=16)
    sim = NavierStokes3D(viscosity=0.1, horizon=2.0)
    assert torch.allclose(sim.run(u, noise=False)[:, -1], math.exp(-2 * 0.1 * 2.0) * u, atol=1e-12)


def test_flows_along_their_own_vorticity_decay():
    """Arnold, Beltrami and Childress: curl u = u, so u x curl u = 0, in three dimensions: e^(-nu t)."""
    x, y, z = axes(16)
    u = field(torch.sin(z) + torch.cos(y), torch.sin(x) + torch.cos(z), torch.sin(y) + torch.cos(x), n=16)
    sim = NavierStokes3D(viscosity=0.3, horizon=1.0)
    assert torch.allclose(sim.run(u, noise=False)[:, -1], math.exp(-0.3) * u, atol=1e-12)


def test_advection_by_hand():
    """u = (sin y, 0, sin y sin x) has u . grad u = (0, 0, sin y sin y cos x), without pressure gradient: -P of it."""
    x, y, _ = axes(16)
    u = field(torch.sin(y), torch.zeros_like(x), torch.sin(y) * torch.sin(x), n=16)
    sim = NavierStokes3D(viscosity=0.0)
    push = field(torch.zeros_like(x), torch.zeros_like(x), -(torch.sin(y) ** 2) * torch.cos(x), n=16)
    assert torch.allclose(sim.drift(u, torch.zeros(1, dtype=DOUBLE)), push, atol=1e-13)


def test_ideal_flow_keeps_its_energy(generator):
    """The truncated inviscid equations keep it exactly: the error is that of the step, of order 4 or 5."""
    sim = NavierStokes3D(size=12, viscosity=0.0, noise=0.0, horizon=1.0, steps=1)
    x = sim.initial(2, generator=generator, dtype=DOUBLE)
    wrong = []
    for m in (8, 16, 32):
        end = dataclasses.replace(sim, inner=m).run(x)[:, -1]
        wrong.append(float((end.square().sum((1, 2, 3, 4)) / x.square().sum((1, 2, 3, 4)) - 1).abs().max()))
    assert math.log2(wrong[0] / wrong[2]) / 2 > 3.7
    assert float((end - x).abs().max()) > 0.1


def test_velocities_have_no_divergence_with_noise_or_without(generator):
    sim = NavierStokes3D(size=8, noise=0.5, steps=4)
    x = sim.simulate(4, generator=generator, dtype=DOUBLE)
    assert float(sim.divergence(x.flatten(0, 1)).abs().max()) < 1e-12
    mean = x.flatten(3).mean(3)
    assert torch.allclose(mean, torch.zeros_like(mean), atol=1e-13)
    w = torch.randn(4, *sim.shape, generator=generator, dtype=DOUBLE)
    t = torch.zeros(4, dtype=DOUBLE)
    for y in (sim.diffuse(w, t), sim.apply_covariance(w, t, t + 0.1), sim.whiten(w, t, t + 0.1)):
        assert float(sim.divergence(y).abs().max()) < 1e-12
    assert torch.allclose(sim.solenoidal(x[:, 0]), x[:, 0], atol=1e-13)


def test_initial_speed_is_what_it_says(generator):
    x = NavierStokes3D(size=8, strength=1.5).initial(400, generator=generator)
    # |u|^2 of 400 fields with some 60 modes each: relative standard error below .01
    assert float(x.square().sum(1).mean().sqrt()) == pytest.approx(1.5, rel=0.03)


def test_noise_has_the_variance_of_two_components(generator):
    """From rest and weak: every mode is an Ornstein-Uhlenbeck process, with two thirds of the noise of a free one."""
    sim = NavierStokes3D(size=6, viscosity=0.2, noise=1e-3, steps=1, horizon=1.5)
    n = 2000
    still = torch.zeros(n, *sim.shape, dtype=DOUBLE)
    power = sim.modes(sim.run(still, generator=generator)[:, -1]).abs().square().sum(1).mean(0)
    want = 2 * sim.variance(0.0, torch.tensor([1.5], dtype=DOUBLE), still[:1])[0, 0]
    noisy = want > 0
    # |N|^2 of two complex components: relative standard error sqrt(1/2n) or, of real modes, sqrt(1/n); five of them
    assert torch.allclose(power[noisy] / want[noisy], torch.ones(int(noisy.sum()), dtype=DOUBLE), atol=5 / math.sqrt(n))
    assert float(power[~noisy].max()) < 1e-12
