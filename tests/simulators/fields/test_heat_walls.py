"""The heat equation between walls, and what a box without period changes."""

import math

import pytest
import torch
from linear_field_cases import close, dense, dense_law, doubles, one_step
from scipy import fft

from simulators.fields.heat import Heat
from simulators.fields.heat_walls import HeatWalls
from simulators.numerics.priors import spots
from simulators.numerics.transforms import backward, forward


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
