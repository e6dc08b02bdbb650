"""Waves: energy, exact steps, posterior, density and reversal."""

import dataclasses
import math

import pytest
import torch
from linear_field_cases import chain, clock, close, dense, dense_law, doubles, mesh

from physinv.equations.sde import Reverse
from physinv.equations.solve import solve
from physinv.reversal.split import split
from simulators.fields.wave import Wave
from simulators.numerics.spectral import gaussian_field


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
