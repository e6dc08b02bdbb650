"""The exponential integrator: phi functions, orders with and without noise, the law of the linear part, derivatives."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from physinv.equations.solve import euler, heun, solve
from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import parameter
from physinv.processes.simulator import refine
from simulators.fields.allen_cahn import AllenCahn
from simulators.fields.burgers import Burgers
from simulators.fields.gray_scott import GrayScott
from simulators.fields.heat import Heat
from simulators.fields.kpz import KPZ
from simulators.fields.kuramoto_sivashinsky import KuramotoSivashinsky
from simulators.fields.navier_stokes import NavierStokes
from simulators.numerics.phi import phi
from simulators.numerics.semilinear import Semilinear
from simulators.numerics.spectral import derivatives, resolved, squared_wavenumbers

DOUBLE = torch.float64
EVERY = [
    Burgers(size=16, viscosity=0.2, inner=2),
    Burgers(size=12, dimension=2, viscosity=0.2, inner=2),
    KuramotoSivashinsky(size=32, spin_up=10.0),
    NavierStokes(size=16, spin_up=0.3, strength=1.0),
    NavierStokes(size=16, spin_up=0.3, strength=1.0, forcing="none"),
    NavierStokes(size=16, spin_up=0.3, strength=1.0, forcing="stochastic", wavenumber=2),
    AllenCahn(size=16, dimension=1),
    AllenCahn(size=8),
    AllenCahn(size=8, tilt=0.3),
    KPZ(size=16, diffusivity=0.2),
    GrayScott(size=8, length=0.2, spin_up=20.0),
]


def name(sim):
    return f"{type(sim).__name__}{sim.shape}"


@dataclass(frozen=True)
class Waves(Semilinear):
    """u_t = nu u_xx - c u_x + noise: complex rates, no nonlinearity."""

    speed: float = parameter(1.5, "c", "speed")
    viscosity: float = parameter(0.4, "nu", "viscosity")

    @property
    def shape(self):
        return (1, self.size)

    @property
    def layout(self):
        return FieldLayout(("u",), ("x",), (tuple(range(self.size)),), "PERIODIC")

    def symbol(self, like):
        (k,) = derivatives(like)
        return -self.viscosity * squared_wavenumbers(like) - 1j * self.speed * k

    def nonlinear(self, y, like):
        return 0 * y

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn((batch, *self.shape), generator=generator, device=device, dtype=dtype)


@dataclass(frozen=True)
class Pixels(Waves):
    """dx = (-x + 2 sin x) dt + g dW in every pixel on its own."""

    dealias = 1

    def symbol(self, like):
        return -torch.ones_like(squared_wavenumbers(like))

    def nonlinear(self, y, like):
        return self.modes(2 * torch.sin(self.unmodes(y, like)))


def test_phi_functions_are_contour_integrals():
    """Against means over a circle (Kassam and Trefethen 2005), exact to rounding with 64 points of radius 2."""
    real = torch.cat([-torch.logspace(-12, 2, 200, dtype=DOUBLE), torch.linspace(0, 3, 31, dtype=DOUBLE)])
    for z in (real, torch.complex(real, real.flip(0)), torch.complex(real, torch.linspace(-9, 9, 231, dtype=DOUBLE))):
        around = 2 * torch.exp(2j * math.pi * (torch.arange(64, dtype=DOUBLE) + 0.5) / 64)
        r = z[:, None] + around
        f1 = (r.exp() - 1) / r
        f2 = (r.exp() - 1 - r) / r**2
        f3 = (r.exp() - 1 - r - r**2 / 2) / r**3
        for ours, theirs in zip(phi(z), (f1, f2, f3), strict=True):
            want = theirs.mean(1)
            # the contour's values are up to e^2 times larger, and so is its rounding
            assert torch.allclose(ours.to(want), want, rtol=1e-13, atol=1e-14)
    for ours, coarse in zip(phi(real), phi(real.float()), strict=True):
        assert torch.allclose(ours.float(), coarse, rtol=2e-6, atol=0)


@pytest.mark.parametrize("h", [1e-3, 0.1, 10.0])
def test_linear_waves_have_their_exact_law_for_any_step(h, generator):
    """One step from 0 answers to its two draws mode by mode, R_0 dw_0 + R_1 dw_1: h (|R_0|^2 + |R_1|^2) = q(h)."""
    sim = Waves(size=12, noise=0.7)
    dw = torch.randn((2, 1, *sim.shape), generator=generator, dtype=DOUBLE)
    t0, t1, still = torch.zeros(1, dtype=DOUBLE), torch.full((1,), h, dtype=DOUBLE), torch.zeros_like(dw[0])
    answer = [
        sim.modes(sim.advance(still, t0, t1, dw * pick)) / sim.modes(dw[i : i + 1])[0]
        for i, pick in enumerate(torch.eye(2, dtype=DOUBLE)[:, :, None, None, None])
    ]
    q = h * sum(a.abs().square() for a in answer)
    k = torch.arange(7, dtype=DOUBLE)
    keep = k < 4  # 2/3 of 6; seven of twelve modes of the full transform carry the noise
    sigma2 = 0.7**2 * 12 / 7
    rate = 0.4 * k**2
    want = torch.where(k == 0, torch.tensor(h, dtype=DOUBLE), (1 - torch.exp(-2 * rate * h)) / (2 * rate).clamp(min=1))
    want = torch.where(k == 1, (1 - math.exp(-0.8 * h)) / 0.8, want) * sigma2 * keep
    assert torch.allclose(q[0, 0], want, rtol=1e-12, atol=1e-16)
    # with one step's decay the variance that a mode settles at is sigma^2 / (-2 r), whatever h
    settled = (q[0, 0] / (1 - torch.exp(-2 * rate * h)))[1:4]
    assert torch.allclose(settled, sigma2 / (2 * rate[1:4]), rtol=1e-10)
    assert torch.allclose(sim.variance(0.0, t1, still)[0, 0], want, rtol=1e-12, atol=1e-16)
    # the first draw alone, seen from steps far below every time scale, is the Brownian increment
    if h == 1e-3:
        brownian = sim.modes(sim.diffuse(dw[0], t0))
        assert torch.allclose(answer[0] * sim.modes(dw[0]), brownian, rtol=5e-3, atol=1e-12)
    drifted = sim.drift_flow(dw[0], t0, t1)
    moved = torch.exp(-(rate + 1.5j * k * (k < 6)) * h) * sim.modes(dw[0])
    assert torch.allclose(sim.modes(drifted), moved, atol=1e-13)


def test_whitening_and_covariance_are_those_of_the_linear_equation(generator):
    """All modes noisy: as for the heat equation; otherwise whiten(q v) = e^(r dt) q^(1/2) v."""
    heat = Heat(dimension=1, size=12, noise=0.3, diffusivity=0.4)
    ours = dataclasses.replace(Pixels(size=12, noise=0.3), speed=0.0)
    v = torch.randn((3, 1, 12), generator=generator, dtype=DOUBLE)
    t0, t1 = torch.zeros(3, dtype=DOUBLE), torch.tensor([0.1, 0.2, 0.3], dtype=DOUBLE)

    @dataclass(frozen=True)
    class Whole(Waves):
        dealias = 1

    same = Whole(size=12, noise=0.3, speed=0.0, viscosity=0.4)
    assert torch.allclose(same.apply_covariance(v, t0, t1), heat.apply_covariance(v, t0, t1), atol=1e-14)
    assert torch.allclose(same.whiten(v, t0, t1), heat.whiten(v, t0, t1), rtol=1e-12)
    assert torch.allclose(same.drift_flow(v, t0, t1), heat.drift_flow(v, t0, t1), atol=1e-14)
    assert torch.allclose(ours.apply_covariance(v, t0, t1), 0.09 * (1 - torch.exp(-2 * t1))[:, None, None] / 2 * v)
    sim = Waves(size=12, noise=0.3)
    white = sim.whiten(sim.apply_covariance(v, t0, t1), t0, t1)
    q = sim.variance(0.0, t1, v)
    want = torch.exp(-0.4 * squared_wavenumbers(v) * t1[:, None, None]) * q.sqrt() * sim.modes(v)
    assert torch.allclose(sim.modes(white), want, atol=1e-13)
    assert torch.equal(q > 0, resolved(v).expand_as(q) > 0)


@pytest.mark.parametrize("sim", EVERY, ids=name)
def test_noise_is_a_symmetric_filter_of_known_size(sim, generator):
    sim = dataclasses.replace(sim, noise=0.3)
    t = torch.zeros(2, dtype=DOUBLE)
    v, w = torch.randn((2, 2, *sim.shape), generator=generator, dtype=DOUBLE)
    assert torch.allclose((v * sim.diffuse(w, t)).sum(), (w * sim.diffuse(v, t)).sum(), atol=1e-12)
    ones = torch.eye(math.prod(sim.shape), dtype=DOUBLE).reshape(-1, *sim.shape)
    filtered = sim.diffuse(ones, torch.zeros(len(ones), dtype=DOUBLE))
    per_pixel = filtered.square().flatten(1).sum(1)  # diagonal of G G: the variance of each pixel per unit of time
    assert torch.allclose(per_pixel, torch.full_like(per_pixel, 0.09), rtol=1e-10)
    assert torch.equal(sim.diffusion(t), torch.full_like(t, 0.3))


def test_weak_order_is_two():
    """dx = (-x + 2 sin x) dt + dW: E[x_T^2] by Gauss-Hermite quadrature over the draws of each step, no sampling.

    u_n(x) = E u_{n+1}(step(x)), interpolated at Chebyshev nodes; the reference is Heun's method the same way (order 2,
    256 steps, extrapolated).
    """
    span, count = 7.0, 64
    nodes = torch.from_numpy(np.polynomial.chebyshev.chebpts1(count))
    draws, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(14))
    weights = weights / weights.sum()
    first, second = torch.meshgrid(draws, draws, indexing="ij")
    x = (span * nodes)[:, None, None].expand(count, 1, 196)
    sim = Pixels(size=196, noise=1.0)

    def second_moment(step, m):
        h = 1.0 / m
        dw = math.sqrt(h) * torch.stack([first.flatten(), second.flatten()])[:, None, None].expand(2, count, 1, 196)
        t0, t1 = torch.zeros(count, dtype=DOUBLE), torch.full((count,), h, dtype=DOUBLE)
        reached = (step(sim, x, t0, t1, dw)[:, 0] / span).numpy()
        # Chebyshev coefficients -> values at all reached points -> mean over the draws
        basis = torch.from_numpy(np.polynomial.chebyshev.chebvander(reached.clip(-1, 1), count - 1))
        forward = torch.einsum("nqc,q->nc", basis, (weights[:, None] * weights).flatten())
        inverse = torch.linalg.inv(torch.from_numpy(np.polynomial.chebyshev.chebvander(nodes.numpy(), count - 1)))
        u = (span * nodes) ** 2
        for _ in range(m):
            u = forward @ (inverse @ u)
        return float(torch.from_numpy(np.polynomial.chebyshev.chebvander([0.5 / span], count - 1)) @ (inverse @ u))

    truth = (4 * second_moment(heun, 128) - second_moment(heun, 64)) / 3
    wrong = torch.tensor([abs(second_moment(sim.step, m) - truth) for m in (4, 8, 16)]).log2()
    assert float(wrong[0] - wrong[2]) / 2 == pytest.approx(2, abs=0.25)
    assert float(wrong[2]) < math.log2(3e-3)


@pytest.mark.parametrize("sim", EVERY, ids=name)
def test_run_is_the_loop_of_the_step(sim, generator):
    """It only stays in Fourier space between stored times; same noise, same states."""
    sim = dataclasses.replace(sim, steps=2, horizon=sim.horizon / 8)
    x = sim.initial(2, generator=generator, dtype=DOUBLE)
    ours = sim.run(x, generator=torch.Generator().manual_seed(1))
    fine = refine(sim.times, sim.substeps)
    theirs = solve(sim, x, fine, step=sim.step, generator=torch.Generator().manual_seed(1))[:, :: sim.substeps]
    assert torch.allclose(ours, theirs, atol=1e-11)


@pytest.mark.parametrize("sim", EVERY, ids=name)
def test_one_step_is_eulers_on_the_same_brownian_path(sim, generator):
    """Both are f dt + g dW; they differ by noise times f', of order h^(3/2)."""
    x = sim.initial(2, generator=generator, dtype=DOUBLE)
    draws = torch.randn((2, *x.shape), generator=generator, dtype=DOUBLE)
    t, gaps = torch.zeros(2, dtype=DOUBLE), []
    for h in (1e-5, 1e-7):
        steps = [step(sim, x, t, t + h, math.sqrt(h) * draws) for step in (sim.step, euler)]
        gaps.append(float((steps[0] - steps[1]).abs().max()))
        moved = float((steps[1] - x).abs().max())
    assert math.log(gaps[0] / gaps[1], 100) > 1.4
    assert gaps[1] < 1e-2 * moved


@pytest.mark.parametrize("sim", EVERY, ids=name)
def test_a_step_can_be_differentiated(sim, generator):
    """By the state, the noise and every float parameter of the equation, against finite differences."""
    tiny = dataclasses.replace(sim, size=6 if len(sim.shape) > 2 else 8, noise=0.2)
    fixed = {"horizon", "scale", "spin_up", "strength"} | ({"amplitude"} if "forcing" in vars(sim) else set())
    if isinstance(sim, NavierStokes):
        tiny = dataclasses.replace(tiny, drag=0.1, wavenumber=1)
        fixed -= {"amplitude"} if sim.forcing == "kolmogorov" else set()
    names = [f.name for f in dataclasses.fields(sim) if isinstance(f.default, float) and f.name not in fixed]
    values = [torch.tensor(getattr(tiny, n), dtype=DOUBLE, requires_grad=True) for n in names]
    x = (0.3 * torch.randn((1, *tiny.shape), generator=generator, dtype=DOUBLE)).requires_grad_()
    dw = (0.3 * torch.randn((2, 1, *tiny.shape), generator=generator, dtype=DOUBLE)).requires_grad_()
    t = torch.zeros(1, dtype=DOUBLE)

    def step(x, dw, *values):
        return dataclasses.replace(tiny, **dict(zip(names, values, strict=True))).advance(x, t, t + 0.05, dw)

    assert torch.autograd.gradcheck(step, (x, dw, *values), fast_mode=True)
    moved = dataclasses.replace(tiny, **dict(zip(names, values, strict=True)), horizon=0.1, steps=1)
    end = moved.run(x, generator=torch.Generator().manual_seed(0))[:, -1]
    slopes = torch.autograd.grad(end.square().sum(), values)
    assert all(s.isfinite() and s != 0 for s in slopes)


def test_steps_of_different_length_side_by_side(generator):
    sim = NavierStokes(size=16, spin_up=0.0)
    x = sim.initial(3, generator=generator, dtype=DOUBLE)
    t0, t1 = torch.zeros(3, dtype=DOUBLE), torch.tensor([0.01, 0.02, 0.03], dtype=DOUBLE)
    together = sim.drift_flow(x, t0, t1)
    for i in range(3):
        assert torch.allclose(together[i], sim.drift_flow(x[i : i + 1], t0[:1], t1[i : i + 1])[0], atol=1e-13)
    back = sim.drift_flow(together, t1, t0)
    assert torch.allclose(back, x, atol=1e-4)
    stiff = KuramotoSivashinsky(spin_up=0.0)
    end = stiff.drift_flow(stiff.initial(2, generator=generator), t1[:2].float(), t0[:2].float() - 0.6)
    assert end.isfinite().all()


@pytest.mark.parametrize("sim", EVERY, ids=name)
def test_images_are_symmetries(sim, generator):
    """Linear involutions that commute with the physics and the noise, and leave the law of x_0 as it is."""
    x = sim.initial(300, generator=generator, dtype=DOUBLE)
    t = torch.zeros(len(x), dtype=DOUBLE)
    some = slice(0, 3)
    images = sim.images(x)
    assert len(images) > 1
    for i, (state, force) in enumerate(zip(images, sim.images(sim.drift(x[some], t[some])), strict=True)):
        assert torch.equal(sim.images(state)[i], x)
        assert torch.equal(sim.images(2 * x)[i], 2 * state)
        scale = float(force.abs().max())
        assert torch.allclose(sim.drift(state[some], t[some]), force, atol=1e-10 * scale)
        noise = sim.images(sim.diffuse(x[some], t[some]))[i]
        assert torch.allclose(sim.diffuse(state[some], t[some]), noise, atol=1e-10)
        first, original = state.flatten(1)[:, 0], x.flatten(1)[:, 0]
        for power in (1, 2, 3):
            # not independent: the standard error of the difference is at most the sum of both
            error = float(first.pow(power).std() + original.pow(power).std()) / math.sqrt(len(x))
            gap = float(first.pow(power).mean() - original.pow(power).mean())
            assert abs(gap) <= 5 * error + 1e-12


@pytest.mark.parametrize("sim", EVERY, ids=name)
def test_every_simulator_keeps_its_contract(sim):
    runs = [sim.simulate(3, generator=torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(*runs)
    assert runs[0].shape == (3, sim.steps + 1, *sim.shape)
    assert runs[0].dtype == torch.float32
    assert runs[0].isfinite().all()
    layout = sim.layout
    assert sim.shape == (len(layout.names), *(len(c) for c in layout.coordinates))
    assert len(layout.coordinates) == len(layout.axes)
