"""A tracer that is carried, stirred and damped."""

import dataclasses
import math

import pytest
import torch
from linear_field_cases import chain, clock, close, dense, dense_law, doubles, mesh, slope

from simulators.fields.advection_diffusion import AdvectionDiffusion


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
