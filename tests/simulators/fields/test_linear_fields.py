"""Linear fields against analytic solutions and dense linear algebra: walls, uneven media, stirring, waves."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from scipy import fft, linalg
from scipy.integrate import quad

from physinv.equations.sde import Reverse
from physinv.equations.solve import exponential, solve
from physinv.processes.simulator import build, describe
from physinv.reversal.split import split
from simulators.fields.advection_diffusion import AdvectionDiffusion
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.fields.heat_walls import HeatWalls
from simulators.fields.wave import Wave
from simulators.numerics.oscillator import noise_block, propagator
from simulators.numerics.priors import spots
from simulators.numerics.spectral import gaussian_field
from simulators.numerics.transforms import backward, forward

EVERY = [
    HeatWalls(size=8),
    HeatWalls(size=8, dimension=1, walls="neumann", prior="spots"),
    HeatConductivity(size=8, steps=2),
    HeatConductivity(size=8, dimension=1, steps=2, prior="gaussian"),
    *[AdvectionDiffusion(size=8, steps=3, flow=flow) for flow in ("uniform", "shear", "cellular")],
    Wave(size=8, dimension=2, steps=3),
    Wave(size=8, steps=3, prior="spots"),
]


def named(sim):
    return "-".join([type(sim).__name__, *[str(v) for v in describe(sim).values() if isinstance(v, str)]])


def doubles(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clock(*values):
    return torch.tensor(values, dtype=torch.float64)


def close(a, b, atol=1e-14):
    """Every entry within ``atol``; no relative tolerance."""
    return torch.allclose(a, b, rtol=0, atol=atol)


def expm(A):
    """To rounding; torch's own is good to 1e-11 only."""
    return torch.from_numpy(linalg.expm(A.numpy()))


def dense(operator, shape):
    """The matrix of a linear ``operator`` on states of ``shape``."""
    n = math.prod(shape)
    return operator(torch.eye(n, dtype=torch.float64).reshape(n, *shape)).reshape(n, -1).T


def dense_law(sim, time):
    """``e^{At}`` and the covariance of the accumulated noise, from drift and diffusion alone (Van Loan 1978)."""
    n = math.prod(sim.shape)
    A = dense(lambda x: sim.drift(x, torch.zeros(len(x), dtype=torch.float64)), sim.shape)
    g = dense(lambda x: sim.diffuse(x, torch.zeros(len(x), dtype=torch.float64)), sim.shape)
    pieces = 64  # Van Loan's block matrix grows like e^{+|A|t}: short pieces, chained
    block = torch.zeros(2 * n, 2 * n, dtype=torch.float64)
    block[:n, :n], block[:n, n:], block[n:, n:] = -A, g @ g.T, A.T
    whole = expm(block * (time / pieces))
    F = whole[n:, n:].T
    Q, total, power = F @ whole[:n, n:], torch.zeros_like(A), torch.eye(n, dtype=torch.float64)
    for _ in range(pieces):
        total, power = F @ total @ F.T + Q, F @ power
    return power, total


def one_step(sim, h):
    """A step as matrices: ``x' = M x + N xi`` with unit normal ``xi``, all draws side by side."""

    def run(x, xi):
        start = x.new_zeros(len(x))
        return sim.step(sim, x, start, start + h, xi * math.sqrt(h))

    n, draws = math.prod(sim.shape), sim.step.draws
    M = dense(lambda x: run(x, torch.zeros(draws, *x.shape, dtype=torch.float64)), sim.shape)
    N = dense(lambda xi: run(torch.zeros_like(xi[:, 0]), xi.movedim(1, 0)), (draws, *sim.shape))
    assert N.shape == (n, draws * n)
    return M, N


def chain(sim, h, steps):
    """Matrix and noise covariance of ``steps`` steps."""
    M, N = one_step(sim, h)
    F, Q = torch.eye(len(M), dtype=torch.float64), torch.zeros_like(M)
    for _ in range(steps):
        F, Q = M @ F, M @ Q @ M.T + N @ N.T
    return F, Q


def slope(sizes, errors):
    """Order of convergence by least squares in log-log."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def mesh(n, dimension):
    x = torch.arange(n, dtype=torch.float64) * 2 * math.pi / n
    return torch.meshgrid(*[x] * dimension, indexing="ij")


@pytest.mark.parametrize("sim", EVERY, ids=named)
def test_every_simulator_keeps_its_contract(sim):
    runs = [sim.simulate(3, generator=torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(*runs)
    assert runs[0].shape == (3, len(sim.times), *sim.shape)
    assert runs[0].dtype == torch.float32
    assert bool(runs[0].isfinite().all())
    assert sim.simulate(2, dtype=torch.float64).dtype == torch.float64
    sizes = tuple(len(c) for c in sim.layout.coordinates)
    assert sim.shape == (len(sim.layout.names), *sizes)
    assert build(type(sim), describe(sim)) == sim


@pytest.mark.parametrize("sim", EVERY, ids=named)
def test_images_are_symmetries(sim, generator):
    """``S f(x) = f(S x)``, ``S S = 1``, S orthogonal, and the starts' law stays (mean and skewness of one cell)."""
    x = sim.initial(4000, generator=generator, dtype=torch.float64)
    t = torch.zeros(len(x), dtype=torch.float64)
    assert len(sim.images(x[:1])) >= 4
    window = x[:6].unflatten(0, (2, 3))  # training asks for the images of whole windows
    for image, single in zip(sim.images(window), sim.images(x[:6]), strict=True):
        assert torch.equal(image.flatten(0, 1), single)
    for i, (state, force) in enumerate(zip(sim.images(x), sim.images(sim.drift(x, t)), strict=True)):
        assert close(sim.drift(state, t), force, atol=1e-9)
        assert close(sim.images(state[:9])[i], x[:9])
        assert close(state.square().mean(), x.square().mean())
        first, original = state.flatten(1)[:, 1], x.flatten(1)[:, 1]
        for power in (1, 3):
            error = float((first.pow(power).var() + original.pow(power).var()).sqrt()) / math.sqrt(len(x))
            assert float(first.pow(power).mean()) == pytest.approx(float(original.pow(power).mean()), abs=5 * error)


# ---------------------------------------------------------------------------------------------------- walls


@pytest.mark.parametrize("shape", [(7,), (8,), (6, 5)])
def test_transforms_are_scipys(shape):
    x = doubles(3, 2, *shape)
    axes = tuple(range(2, x.ndim))
    for walls, theirs in (("dirichlet", fft.dstn), ("neumann", fft.dctn)):
        want = torch.from_numpy(theirs(x.numpy(), type=2, norm="ortho", axes=axes))
        assert close(forward(x, walls), want, atol=1e-13)
        assert close(backward(want, walls), x, atol=1e-13)
    assert forward(x.float(), "neumann").dtype == torch.float32


@pytest.mark.parametrize("walls", ["dirichlet", "neumann"])
@pytest.mark.parametrize("dimension", [1, 2])
def test_walls_are_mirrors_of_a_periodic_box(walls, dimension):
    """Method of images: the odd (even) extension to a box of twice the side evolves as the periodic equation."""
    sim = HeatWalls(size=6, dimension=dimension, walls=walls, diffusivity=0.3, horizon=0.7, steps=3)
    x = doubles(4, *sim.shape)
    sign = -1 if walls == "dirichlet" else 1
    wide = x
    for axis in range(2, x.ndim):
        wide = torch.cat([wide, sign * wide.flip(axis)], dim=axis)
    box = Heat(size=12, dimension=dimension, diffusivity=0.3, horizon=0.7, steps=3)
    inside = box.run(wide, noise=False)[(..., *[slice(0, 6)] * dimension)]
    assert close(sim.run(x, noise=False), inside, atol=1e-13)


def test_insulated_walls_keep_the_heat_and_cold_ones_do_not():
    x = 1 + doubles(2, 1, 8, 8)
    kept = HeatWalls(size=8, walls="neumann", horizon=1.0).run(x, noise=False).mean((2, 3, 4))
    assert close(kept, kept[:, :1], atol=1e-13)
    lost = HeatWalls(size=8, walls="dirichlet", horizon=1.0).run(x, noise=False).square().sum((2, 3, 4))
    assert bool((lost.diff(dim=1) < 0).all())
    # at the end only sin x sin y is left, with rate 2 of the variance's 4; the next mode decays with 5
    assert float(lost[0, -1] / lost[0, -2]) == pytest.approx(math.exp(-4 / 24), rel=math.exp(-2 * 3))


@pytest.mark.parametrize("walls", ["dirichlet", "neumann"])
def test_exact_posterior_with_walls_is_dense_algebra(walls, generator):
    sim = HeatWalls(size=3, walls=walls, prior="gaussian", noise=0.6, slope=2.0, horizon=0.2)
    F, Q = dense_law(sim, sim.horizon)
    M, N = one_step(sim, sim.horizon)
    assert close(M, F, atol=1e-12)
    assert close(N @ N.T, Q, atol=1e-12)
    exact = sim.exact()
    P = dense(lambda x: backward(exact.power * forward(x, walls), walls), sim.shape)
    assert float(P.diagonal().mean()) == pytest.approx(1.0)
    drawn = sim.initial(20_000, generator=generator, dtype=torch.float64).flatten(1)
    spread = (P.diagonal()[:, None] * P.diagonal() + P**2).sqrt() / math.sqrt(20_000)  # Isserlis: of E[x x']
    assert bool(((drawn.T @ drawn / 20_000 - P).abs() < 5 * spread).all())
    S = F @ P @ F.T + Q
    gain = torch.linalg.solve(S, F @ P).T
    final = doubles(5, *sim.shape)
    assert close(exact.mean(final).flatten(1), final.flatten(1) @ gain.T, atol=1e-12)
    C = P - gain @ F @ P
    error = (exact.sample(final[:1], 20_000, generator=generator) - exact.mean(final[:1])[:, None])[0].flatten(1)
    spread = (C.diagonal()[:, None] * C.diagonal() + C**2).sqrt() / math.sqrt(20_000)
    assert bool(((error.T @ error / 20_000 - C).abs() < 5 * spread + 1e-12).all())
    flow = dense(exact.flow, sim.shape)
    assert close(flow @ S @ flow.T, P, atol=1e-11)


def test_spots_wrap_in_periodic_boxes_only(generator):
    """Seen from the mean of many, bumps are as likely near an edge as anywhere, so their energy there tells."""
    z = torch.zeros(4000, 1, 16, dtype=torch.float64)
    wrapped = spots(z, torch.Generator().manual_seed(1))
    walled = spots(z, torch.Generator().manual_seed(1), periodic=False)
    assert close(wrapped.mean(2), torch.zeros(4000, 1, dtype=torch.float64), atol=1e-14)
    energy = [u.square().mean((0, 1)) for u in (wrapped, walled)]
    assert float(energy[0][0] / energy[0][8]) == pytest.approx(1, abs=0.2)
    assert float(energy[1][0] / energy[1][8]) == pytest.approx(0.6, abs=0.15)  # half the bump and half a cell more
    assert float(walled.abs().amax()) < 10


# ---------------------------------------------------------------------------------------- uneven conductivity


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


# ------------------------------------------------------------------------------------- advection and diffusion


@pytest.mark.parametrize(
    ("flow", "v"),
    [
        ("uniform", lambda x, y: (1 + 0 * x, 0 * x)),
        ("shear", lambda x, y: (y.sin(), 0 * x)),
        ("cellular", lambda x, y: (x.sin() * y.cos(), -x.cos() * y.sin())),
    ],
)
def test_advection_is_minus_v_grad_u(flow, v):
    sim = AdvectionDiffusion(size=16, steps=99, flow=flow, speed=1.3)
    x, y = mesh(16, 2)
    u, du, dw = (2 * x - y).sin() + (3 * y).cos(), 2 * (2 * x - y).cos(), -(2 * x - y).cos() - 3 * (3 * y).sin()
    vx, vy = v(x, y)
    assert close(sim.advection(u[None, None])[0, 0], -1.3 * (vx * du + vy * dw), atol=1e-12)
    rough = doubles(1, 1, 16, 16)  # all modes: the flow neither makes tracer nor changes its variance
    change = sim.advection(rough)
    assert float(change.mean()) == pytest.approx(0, abs=1e-14)
    assert float((rough * change).mean()) == pytest.approx(0, abs=1e-14)


def test_uniform_flow_carries_and_damps():
    """``u(x, t) = e^{-D k^2 t} u_0(x - U t)``; splitting commutes, so what is left is Runge-Kutta's, of order 4."""
    inners, errors = (6, 12, 24), []
    for inner in inners:
        sim = AdvectionDiffusion(size=16, flow="uniform", steps=6, inner=inner, speed=1.2, diffusivity=0.05)
        x, y = mesh(16, 2)
        end = sim.run((2 * x + y).sin()[None, None], noise=False)[0, -1, 0]
        want = math.exp(-0.05 * 5 * 3) * (2 * (x - 1.2 * 3) + y).sin()
        errors.append(float((end - want).abs().max()))
    assert slope([1 / i for i in inners], errors) == pytest.approx(4, abs=0.15)
    phase = 2 * 1.2 * 3  # each step of it, h, is off by h^5/120
    assert errors[-1] < (phase / 144) ** 4 * phase / 120


def test_eddies_stir_at_second_order_and_lose_variance():
    x, y = mesh(16, 2)
    start = (x.cos() + (x - 2 * y).sin())[None, None]
    inners, ends = (2, 4, 8, 48), []
    for inner in inners:
        sim = AdvectionDiffusion(size=16, horizon=1.5, steps=6, inner=inner, diffusivity=0.1)
        path = sim.run(start, noise=False)[0]
        ends.append(path[-1])
        assert close(path.mean((1, 2, 3)), torch.zeros(7, dtype=torch.float64), atol=1e-14)
        assert bool((path.square().mean((1, 2, 3)).diff() < 0).all())
    errors = [float((e - ends[-1]).abs().max()) for e in ends[:-1]]
    assert slope([1 / i for i in inners[:-1]], errors) == pytest.approx(2, abs=0.15)


def test_strang_steps_have_second_order_covariances():
    """Linear dynamics: the law after T is a matrix and a covariance, known for the steps and for the equation."""
    sim = AdvectionDiffusion(size=6, speed=0.8, diffusivity=0.3, noise=0.7, horizon=1.0, steps=1, inner=1)
    F, Q = dense_law(sim, 1.0)
    counts, gaps = (4, 8, 16), []
    for count in counts:
        M, V = chain(sim, 1 / count, count)
        gaps.append((float((M - F).abs().max()), float((V - Q).abs().max())))
    assert slope([1 / c for c in counts], [g[0] for g in gaps]) == pytest.approx(2, abs=0.1)
    assert slope([1 / c for c in counts], [g[1] for g in gaps]) == pytest.approx(2, abs=0.1)
    t = clock(0.5)  # what reversals use: the covariance of a step, off by O(h^3)
    gaps = []
    for h in (0.1, 0.05):
        q = dense(lambda v, h=h: sim.apply_covariance(v, t, t + h), sim.shape)
        gaps.append(float((q - dense_law(sim, h)[1]).abs().max()))
    assert gaps[0] / gaps[1] == pytest.approx(8, abs=1)
    still = dataclasses.replace(sim, speed=0.0)
    F, Q = dense_law(still, 1.0)
    q = dense(lambda v: still.apply_covariance(v, t, t + 1.0), sim.shape)
    w = dense(lambda v: still.whiten(v, t, t + 1.0), sim.shape)
    assert close(q, Q, atol=1e-12)
    assert close(w @ torch.linalg.solve(F, torch.linalg.solve(F, Q).T) @ w.T, torch.eye(36).double(), atol=1e-6)
    M, V = chain(still, 1.0, 1)
    assert close(M, F, atol=1e-12)
    assert close(V, Q, atol=1e-12)
    x, dw = doubles(3, 1, 6, 6), doubles(2, 3, 1, 6, 6, seed=1)
    # the first draw is the increment of the Brownian motion: slow, still tracer follows it
    slow = dataclasses.replace(still, diffusivity=0.0)
    end = slow.step(slow, x, torch.zeros(3).double(), torch.ones(3).double(), dw)
    assert close(end - x, 0.7 * dw[0], atol=1e-12)


def test_drift_flow_of_a_stirred_tracer_goes_both_ways():
    sim = AdvectionDiffusion(size=8, horizon=0.8, steps=4, diffusivity=0.05, inner=2)
    x = doubles(2, 1, 8, 8)
    t0, t1 = clock(0.1, 0.1), clock(0.3, 0.3)
    there = sim.drift_flow(x, t0, t1)
    assert close(there, sim.run(x, noise=False)[:, 1], atol=1e-13)
    # back and forth differ by Runge-Kutta's error only, (v k h)^5 / 120 per step, with h = .1 and |x| < 4
    assert close(sim.drift_flow(there, t1, t0), x, atol=4 * 4 * (4 * 0.1) ** 5 / 120)


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


# ------------------------------------------------------------------------------------------------------ waves

OSCILLATORS = [
    (9.0, 0.5, 2.0),  # underdamped
    (1.0, 5.0, 2.0),  # overdamped
    (4.0, 4.0, 1.3),  # critical
    (4.0, 4.0 + 1e-7, 1.3),
    (4.0, 4.02, 1.3),  # |s| just beyond the series
    (4.0, 3.98, 1.3),
    (4.0, 0.0, 3.0),  # undamped
    (0.0, 0.8, 3.0),  # free, with friction
    (0.0, 0.0, 3.0),
    (900.0, 0.3, 5.0),  # a phase of 150
    (9.0, 0.5, -1.0),  # back in time
    (1.0, 5.0, -1.0),
]


@pytest.mark.parametrize(("omega2", "damping", "t"), OSCILLATORS)
def test_propagator_is_the_matrix_exponential(omega2, damping, t):
    mine = torch.cat(propagator(clock(t), clock(omega2), damping)).reshape(2, 2).numpy()
    want = linalg.expm(np.array([[0.0, 1.0], [-omega2, -damping]]) * t)
    assert np.abs(mine - want).max() < 1e-12 * max(1, np.abs(want).max()) * max(1, omega2)


@pytest.mark.parametrize(("omega2", "damping", "t"), [case for case in OSCILLATORS if case[2] > 0])
def test_noise_block_is_the_integral(omega2, damping, t):
    A = np.array([[0.0, 1.0], [-omega2, -damping]])
    uu, uw, wu, ww = (float(q) for q in noise_block(clock(t), clock(omega2), damping))
    assert uw == wu

    def kicked(s):
        return linalg.expm(A * s)[:, 1]

    for got, (i, j) in ((uu, (0, 0)), (uw, (0, 1)), (ww, (1, 1))):
        want = quad(lambda s, i=i, j=j: kicked(s)[i] * kicked(s)[j], 0, t, epsabs=1e-13, epsrel=1e-11, limit=400)[0]
        assert got == pytest.approx(want, rel=1e-8, abs=1e-9 * uu**0.5)


def test_noise_block_has_its_limits():
    """``t^3/3, t^2/2, t`` for short times, relative error O((omega + damping) t); equipartition for long ones."""
    omega2, damping, t = clock(0.0, 1.0, 30.0), 0.4, clock(1e-6)
    uu, uw, _, ww = noise_block(t, omega2, damping)
    for got, want in ((uu, 1e-18 / 3), (uw, 1e-12 / 2), (ww, 1e-6)):
        assert close(got / want, torch.ones_like(got), atol=1e-5)
    omega2 = clock(0.04, 1.0, 400.0)
    for damping in (0.4, 2.0, 9.0):  # the slowest rate, .04/9, leaves e^{-35} = 5e-16 of the start
        uu, uw, _, ww = noise_block(clock(4e3), omega2, damping)
        assert close(ww * 2 * damping, torch.ones_like(ww), atol=1e-8)
        assert close(uu * omega2 * 2 * damping, torch.ones_like(uu), atol=1e-8)
        assert close(uw * 2 * damping, torch.zeros_like(uw), atol=1e-8)


def test_propagator_and_noise_are_differentiable_through_critical_damping():
    t, omega2 = clock(1.3).requires_grad_(), clock(3.9, 4.0, 4.1, 0.5).requires_grad_()
    damping = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(propagator, (t, omega2, damping))
    assert torch.autograd.gradcheck(lambda *a: noise_block(*a)[::2], (t, omega2, damping))


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("damping", [0.6, 4.0, 9.0])
def test_waves_ring_and_fade(dimension, damping):
    """A standing wave of ``omega = 2``: released at rest, against the three textbook solutions."""
    k2 = 4 if dimension == 1 else 5
    sim = Wave(size=8, dimension=dimension, speed=2 / math.sqrt(k2), damping=damping, horizon=3.0, steps=6)
    m = mesh(8, dimension)
    wave = torch.cos(2 * m[0]) * (torch.sin(m[-1]) if dimension > 1 else 1)
    path = sim.run(torch.stack([wave, 0 * wave])[None], noise=False)[0]
    for t, (u, w) in zip(sim.times.tolist(), path, strict=True):
        half, ring = damping / 2, math.sqrt(abs(4 - damping**2 / 4))
        if damping < 4:
            shape = math.exp(-half * t) * (math.cos(ring * t) + half / ring * math.sin(ring * t))
            speed = -4 / ring * math.exp(-half * t) * math.sin(ring * t)
        elif damping == 4:
            shape, speed = math.exp(-2 * t) * (1 + 2 * t), -4 * t * math.exp(-2 * t)
        else:
            shape = math.exp(-half * t) * (math.cosh(ring * t) + half / ring * math.sinh(ring * t))
            speed = -4 / ring * math.exp(-half * t) * math.sinh(ring * t)
        assert close(u, shape * wave, atol=1e-13)
        assert close(w, speed * wave, atol=1e-13)


def test_waves_lose_energy_by_damping_only(generator):
    """``E = sum |w|^2 + c^2 k^2 |u|^2`` falls with damping and stays without."""
    for damping in (0.5, 0.0):
        sim = Wave(size=16, damping=damping, speed=0.7)
        path = sim.run(sim.initial(3, generator=generator, dtype=torch.float64), noise=False).flatten(0, 1)
        u, w = torch.fft.fft(path, norm="ortho").unbind(1)
        k = torch.fft.fftfreq(16, 1 / 16, dtype=torch.float64)
        energy = (w.abs() ** 2 + (0.7 * k * u.abs()) ** 2).sum(-1).reshape(3, -1)
        if damping:
            assert bool((energy.diff(dim=1) < 0).all())
        else:
            assert close(energy / energy[:, :1], torch.ones_like(energy), atol=1e-12)


@pytest.mark.parametrize("sim", [Wave(size=4), Wave(size=3, dimension=2, damping=4.0), Wave(size=4, damping=0.0)])
def test_a_wave_step_of_any_length_is_exact(sim):
    """Matrix and noise covariance of one big step, of seven small ones, and of the equation, are the same."""
    F, Q = dense_law(sim, 2.1)
    M, V = chain(sim, 2.1, 1)
    assert close(M, F, atol=1e-10)
    assert close(V, Q, atol=1e-10)
    M, V = chain(sim, 0.3, 7)
    assert close(M, F, atol=1e-10)
    assert close(V, Q, atol=1e-10)
    t = clock(0.4)
    q = dense(lambda v: sim.apply_covariance(v, t, t + 2.1), sim.shape)
    assert close(q, Q, atol=1e-10)
    w = dense(lambda v: sim.whiten(sim.drift_flow(v, t + 2.1, t), t, t + 2.1), sim.shape)
    assert close(w @ Q @ w.T, torch.eye(len(w), dtype=torch.float64), atol=1e-8)


def wave_prior(sim):
    """Covariance of the starts: both channels are ``gaussian_field``, a linear map of white noise."""
    one = dense(lambda z: gaussian_field(z, sim.slope), (1, *sim.shape[1:]))
    return torch.block_diag(one @ one.T, sim.kick**2 * one @ one.T)


@pytest.mark.parametrize("kick", [0.5, 0.0])
def test_exact_posterior_of_waves_is_dense_algebra(kick, generator):
    sim = Wave(size=4, prior="gaussian", horizon=1.5, noise=0.8, kick=kick)
    exact = sim.exact()
    F, Q = dense_law(sim, 1.5)
    P = wave_prior(sim)
    starts = sim.initial(20_000, generator=generator, dtype=torch.float64).flatten(1)
    spread = (P.diagonal()[:, None] * P.diagonal() + P**2).sqrt() / math.sqrt(20_000)
    assert bool(((starts.T @ starts / 20_000 - P).abs() < 5 * spread + 1e-12).all())
    S = F @ P @ F.T + Q
    gain = torch.linalg.solve(S, F @ P).T
    final = doubles(5, *sim.shape)
    assert close(exact.mean(final).flatten(1), final.flatten(1) @ gain.T, atol=1e-9)
    C = P - gain @ F @ P
    error = (exact.sample(final[:1], 20_000, generator=generator) - exact.mean(final[:1])[:, None])[0].flatten(1)
    spread = (C.diagonal()[:, None] * C.diagonal() + C**2).sqrt() / math.sqrt(20_000)
    assert bool(((error.T @ error / 20_000 - C).abs() < 5 * spread + 1e-12).all())
    flow = dense(exact.flow, sim.shape)
    assert close(flow @ S @ flow.T, P, atol=1e-9)


def test_flow_of_waves_solves_the_probability_flow_ode():
    """``dx/dt = A x + G S_t^-1 x / 2`` by dense Runge-Kutta to .05 T; from there by the flow of a shorter process."""
    sim = Wave(size=4, prior="gaussian", horizon=1.5, noise=0.8)
    A = dense(lambda x: sim.drift(x, torch.zeros(len(x), dtype=torch.float64)), sim.shape)
    G = torch.diag(torch.tensor([0.0] * 4 + [0.64] * 4, dtype=torch.float64))
    end = dense(sim.exact().flow, sim.shape)
    P = wave_prior(sim)
    count, stop = 80, 0.075
    h = -(1.5 - stop) / count
    Z = torch.eye(8, dtype=torch.float64)

    def rate(t):
        F, Q = dense_law(sim, t)
        return A + G @ torch.linalg.inv(F @ P @ F.T + Q) / 2

    rates = [rate(1.5 + i * h / 2) for i in range(2 * count + 1)]
    for i in range(0, 2 * count, 2):
        k1 = rates[i] @ Z
        k2 = rates[i + 1] @ (Z + h / 2 * k1)
        k3 = rates[i + 1] @ (Z + h / 2 * k2)
        k4 = rates[i + 2] @ (Z + h * k3)
        Z = Z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    short = dense(dataclasses.replace(sim, horizon=stop).exact().flow, sim.shape)
    assert close(short @ Z, end, atol=1e-5)


@pytest.mark.parametrize("sides", [(6,), (4, 4)], ids=["1d", "2d"])
def test_density_of_waves_is_that_of_the_dense_gaussian(sides):
    """``N(K x_T, P - K F P)`` on the space that the prior reaches: all but the means of both channels."""
    sim = Wave(size=sides[0], dimension=len(sides), prior="gaussian", horizon=1.5, noise=0.8, kick=0.7)
    P = wave_prior(sim)
    F, Q = dense_law(sim, 1.5)
    K = P @ F.T @ torch.linalg.pinv(F @ P @ F.T + Q, hermitian=True)
    values, vectors = torch.linalg.eigh(P - K @ F @ P)
    alive = values > 1e-9 * values[-1]
    assert int((~alive).sum()) == 2
    final, initial = doubles(3, *sim.shape), doubles(3, *sim.shape, seed=5)
    gap = (initial - (final.flatten(1) @ K.T).reshape(initial.shape)).flatten(1) @ vectors[:, alive]
    want = -(gap.square() / values[alive] + (2 * math.pi * values[alive]).log()).sum(1) / 2
    assert close(sim.exact().log_prob(initial, final), want, atol=1e-8 * float(want.abs().max()))
    with pytest.raises(ValueError, match=r"`sde.noise` must be positive for a density, got 0\.$"):
        dataclasses.replace(sim, noise=0.0).exact().log_prob(initial, final)


def test_reversing_waves_with_their_score_gives_the_posterior_mean():
    """Without noise each step of ``split`` is ``E[x_m | x_{m+1}]``, exactly; means of means are means."""
    sim = Wave(size=8, prior="gaussian", horizon=1.5, noise=0.8, steps=5)
    exact, P = sim.exact(), wave_prior(sim)
    inverse = {}
    for t in sim.times.tolist():
        F, Q = dense_law(sim, t) if t else (torch.eye(16, dtype=torch.float64), torch.zeros_like(P))
        inverse[t] = torch.linalg.pinv(F @ P @ F.T + Q)

    def score(x, t):
        return -(x.flatten(1) @ inverse[float(t[0])]).reshape(x.shape)

    final = doubles(3, *sim.shape)
    back = solve(Reverse(sim, score), final, sim.times.flip(0), step=split, noise=False)[:, -1]
    assert close(back, exact.mean(final), atol=1e-8)


# ------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: HeatWalls(dimension=3), "`dimension` of HeatWalls must be between 1 and 2, got 3."),
        (lambda: HeatWalls(walls="neuman"), "did you mean `neumann`?"),
        (lambda: HeatConductivity(dimension=3), "`dimension` of HeatConductivity must be between 1 and 2, got 3"),
        (lambda: HeatConductivity(contrast=0.5), "`contrast` of HeatConductivity must be at least 1, got 0.5"),
        (lambda: Wave(dimension=3), "`dimension` of Wave must be between 1 and 2, got 3"),
    ],
)
def test_bad_parameters_are_named(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()


def test_stability_bounds_are_where_they_are_said_to_be():
    """A step at the bound keeps the fastest mode from growing, one of 1.1 times the bound does not."""
    n, h = 16, 2 / (4 * 1.0 / (2 * math.pi / 16) ** 2)
    zigzag = torch.stack([(-1.0) ** torch.arange(n), torch.ones(n)])[None].double()
    sim = HeatConductivity(size=n, dimension=1, steps=1, noise=0.0)
    still = torch.zeros(1, 1, 2, n, dtype=torch.float64)
    for factor, grows in ((1.0, False), (1.1, True)):
        end = sim.step(sim, zigzag, clock(0.0), clock(factor * h), still)
        assert (float(end[0, 0].abs().max()) > 1 + 1e-9) == grows
    x, _ = mesh(n, 2)
    stirred = AdvectionDiffusion(size=n, flow="uniform", noise=0.0, steps=99)
    wave = (7 * x).cos()[None, None]
    for phase, grows in ((2.8, False), (2.9, True)):
        assert (float(stirred.stir(wave, clock(phase / 7)).norm() / wave.norm()) > 1) == grows


def test_exponential_refuses_what_is_not_linear():
    with pytest.raises(ValueError, match="`exponential` solves Linear SDEs only, got Wave"):
        exponential(Wave(size=4), doubles(1, 2, 4), clock(0.0), clock(1.0), doubles(1, 1, 2, 4))
