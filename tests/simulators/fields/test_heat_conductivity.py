"""Heat in a medium whose conductivity is uneven."""

import math

import pytest
import torch
from linear_field_cases import clock, close, expm, mesh, slope

from simulators.fields.heat_conductivity import HeatConductivity


@pytest.mark.parametrize("dimension", [1, 2])
def test_constant_conductivity_is_the_discrete_heat_equation(dimension):
    """Mode ``e^{ikx}`` has rate ``z/dt = -4 kappa/dx^2 sum sin^2(k dx/2)``, and Heun the factor ``1 + z + z^2/2``."""
    sim = HeatConductivity(size=8, dimension=dimension, horizon=0.3, steps=3, inner=40)
    m = mesh(8, dimension)
    wave = torch.cos(2 * m[0]) * (torch.sin(3 * m[-1]) if dimension > 1 else 1)
    x = torch.stack([wave, torch.full_like(wave, 0.7)])[None]
    rate = (
        4 * 0.7 / (math.pi / 4) ** 2 * (math.sin(math.pi / 4) ** 2 + (dimension > 1) * math.sin(3 * math.pi / 8) ** 2)
    )
    z = -rate * 0.3 / 120
    end = sim.run(x, noise=False)[0, -1]
    assert close(end[0], (1 + z + z**2 / 2) ** 120 * wave, atol=1e-13)
    assert torch.equal(end[1], x[0, 1])


@pytest.mark.parametrize("dimension", [1, 2])
def test_heat_is_conserved_and_spreads_in_an_uneven_medium(dimension, generator):
    sim = HeatConductivity(size=12, dimension=dimension, steps=4)
    x = sim.initial(6, generator=generator, dtype=torch.float64)
    kappa = x[:, 1:]
    assert float(kappa.min()) >= sim.diffusivity / sim.contrast
    assert float(kappa.max()) <= sim.diffusivity * sim.contrast
    assert float((kappa.amax() / kappa.amin()).log()) > math.log(sim.contrast)  # uneven indeed
    path = sim.run(x, noise=False)
    heat, rest = path[:, :, 0].flatten(2), path[:, :, 1]
    assert close(heat.mean(2), heat[:, :1].mean(2), atol=1e-13)
    assert bool((heat.square().sum(2).diff(dim=1) < 0).all())
    assert bool((heat.amax(2).diff(dim=1) < 1e-12).all())  # maximum principle
    assert torch.equal(rest, rest[:, :1].expand_as(rest))
    noisy = sim.run(x, generator=generator)
    assert torch.equal(noisy[:, -1, 1], x[:, 1])
    # the accumulated noise of the mean is g^2 T / cells, whatever the medium: 600 numbers, five standard errors
    many = sim.run(x[:1].expand(600, *x.shape[1:]), generator=generator)[:, -1, 0].flatten(1).mean(1)
    want = sim.noise**2 * sim.horizon / math.prod(sim.shape[1:])
    assert float(many.var() / want) == pytest.approx(1, abs=5 * math.sqrt(2 / 600))


@pytest.mark.parametrize("dimension", [1, 2])
def test_conduction_is_second_order_in_space(dimension):
    """Drift against ``kappa Lap u + grad kappa . grad u`` for kappa = 1 + cos(x)/2 + sin(y)/4, u = sin x + cos 2y."""
    sizes, errors = (16, 32, 64, 128), []
    for n in sizes:
        m = mesh(n, dimension)
        x, y = m[0], m[-1]
        more = 1.0 if dimension > 1 else 0.0
        u, kappa = x.sin() + more * (2 * y).cos(), 1 + x.cos() / 2 + more * y.sin() / 4
        want = kappa * (-x.sin() - 4 * more * (2 * y).cos()) - x.sin() / 2 * x.cos()
        want = want - more * y.cos() / 4 * 2 * (2 * y).sin()
        sim = HeatConductivity(size=n, dimension=dimension, steps=1)
        got = sim.drift(torch.stack([u, kappa])[None], clock(0.0))[0, 0]
        errors.append(float((got - want).abs().max()))
    assert slope([1 / n for n in sizes], errors) == pytest.approx(2, abs=0.02)


def test_conduction_converges_to_a_fine_solution():
    """Solutions at T, not only slopes: order 2 against the spectral solution of 48 modes (dense exponential)."""
    horizon, modes = 0.4, 48
    k = torch.arange(-modes, modes + 1, dtype=torch.float64)
    kappa = torch.eye(2 * modes + 1, dtype=torch.float64)  # kappa = 1 + cos(x)/2 as a matrix of Fourier coefficients
    kappa = (
        kappa
        + torch.diag(torch.full((2 * modes,), 0.25).double(), 1)
        + torch.diag(torch.full((2 * modes,), 0.25).double(), -1)
    )
    A = -(k[:, None] * kappa * k)  # d/dx kappa d/dx = (ik) kappa (ik)
    start = torch.zeros(2 * modes + 1, dtype=torch.float64)
    start[modes + 1] = start[modes - 1] = 0.5  # cos x
    coefficients = expm(A * horizon) @ start
    sizes, errors = (16, 32, 64), []
    for n in sizes:
        (x,) = mesh(n, 1)
        sim = HeatConductivity(size=n, dimension=1, horizon=horizon, steps=1, inner=400)
        got = sim.run(torch.stack([x.cos(), 1 + x.cos() / 2])[None], noise=False)[0, -1, 0]
        errors.append(float((got - (k[:, None] * x).cos().T @ coefficients).abs().max()))
    assert slope([1 / n for n in sizes], errors) == pytest.approx(2, abs=0.05)
    assert errors[-1] < 1e-3


def test_drift_flow_of_conduction_is_stable_and_accurate(generator):
    """Over a stored interval with ``|rate| dt = 6.5``, where one Runge-Kutta step would grow zigzags 44-fold."""
    sim = HeatConductivity(size=32, steps=16, diffusivity=0.5, contrast=5.0)
    x = sim.initial(1, generator=generator, dtype=torch.float64)
    x[:, 1] = sim.diffusivity * sim.contrast
    line = torch.arange(32)
    x[:, 0] = (-1.0) ** (line[:, None] + line)
    there = sim.drift_flow(x, clock(0.0), clock(0.2 / 16))
    assert float(there[:, 0].abs().max()) < 1
    m = mesh(32, 2)
    x[:, 0] = m[0].cos()
    rate = 2.5 * 4 * math.sin(math.pi / 32) ** 2 / (math.pi / 16) ** 2
    there = sim.drift_flow(x, clock(0.0), clock(0.2 / 16))
    assert close(
        there[:, 0], math.exp(-rate * 0.2 / 16) * x[:, 0], atol=1e-9
    )  # (rate dt / 4)^5 / 120 = 4e-13, four times
    assert torch.equal(there[:, 1], x[:, 1])
