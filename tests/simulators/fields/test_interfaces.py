"""Allen-Cahn, Kardar-Parisi-Zhang and Gray-Scott: fronts, Cole-Hopf, stationary slopes, reaction kinetics."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from physinv.equations.solve import solve
from physinv.processes.simulator import build
from simulators.fields.allen_cahn import AllenCahn
from simulators.fields.gray_scott import GrayScott
from simulators.fields.kpz import KPZ

DOUBLE = torch.float64


def axis(n, length=2 * math.pi):
    return torch.arange(n, dtype=DOUBLE) * length / n


def slab(x, width, half, shift):
    """A slab of phase +1 from pi - half - shift to pi + half + shift with tanh fronts."""
    left, right = x - math.pi + half + shift, math.pi + half + shift - x
    unit = math.sqrt(2) * width
    return torch.tanh(left / unit) + torch.tanh(right / unit) - 1


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_fronts_stand_or_travel(tilt):
    """tanh fronts move at sqrt(2) width tilt.  Two of them, 3 apart, see exp(-6 / (sqrt(2) width)) of each other."""
    width, half = 0.15, 1.5
    sim = AllenCahn(dimension=1, size=256, width=width, tilt=tilt, horizon=4.0, inner=8)
    x = axis(256)
    end = sim.run(slab(x, width, half, 0.0)[None, None], noise=False)[0, -1, 0]
    truth = slab(x, width, half, math.sqrt(2) * width * tilt * 4.0)
    assert float((end - truth).abs().max()) < 2e-5
    assert tilt == 0 or float((truth - slab(x, width, half, 0.0)).abs().max()) > 0.5
    along_y = AllenCahn(size=64, width=0.3, tilt=tilt, horizon=1.0, inner=2)
    line = slab(axis(64), 0.3, half, 0.0)[None, None, None].expand(1, 1, 64, 64)
    one = dataclasses.replace(along_y, dimension=1).run(line[:, :, 0], noise=False)
    assert torch.allclose(along_y.run(line, noise=False), one[:, :, :, None].expand(1, 33, 1, 64, 64), atol=1e-12)


def test_allen_cahn_descends_its_energy(generator):
    """dE/dt = -mean u_t^2, exactly: along the path, and by the slope at the start."""
    sim = AllenCahn(noise=0.0)
    x = sim.initial(4, generator=generator, dtype=DOUBLE)
    path = sim.run(x)
    energy = sim.energy(path.flatten(0, 1)).reshape(4, -1)
    assert bool((energy.diff(dim=1) < 0).all())
    assert float((energy[:, -1] / energy[:, 0]).max()) < 0.7
    x.requires_grad_()
    (slope,) = torch.autograd.grad(sim.energy(x).sum(), x)
    force = sim.drift(x.detach(), torch.zeros(4, dtype=DOUBLE))
    assert torch.allclose(slope * 32 * 32, -force, atol=1e-10)


def test_kpz_is_cole_hopfs_solution():
    """exp(lambda h / 2 nu) solves the heat equation; 1e-9 with 512 steps, order 4 before."""
    nu, growth, x = 0.2, 1.6, axis(128)

    def height(t):
        z = 3 + math.exp(-nu * t) * torch.cos(x) + 1.5 * math.exp(-4 * nu * t) * torch.sin(2 * x)
        return 2 * nu / growth * torch.log(z)

    sim = KPZ(diffusivity=nu, growth=growth, horizon=1.0, steps=1)
    errors = []
    for m in (8, 16, 32, 512):
        grid = torch.linspace(0, 1, m + 1, dtype=DOUBLE)
        end = solve(sim, height(0.0)[None, None], grid, step=sim.step, noise=False)[0, -1, 0]
        errors.append(float((end - height(1.0)).abs().max()))
    assert math.log2(errors[0] / errors[2]) / 2 == pytest.approx(4, abs=0.4)
    assert errors[3] < 1e-9


def test_kpz_keeps_white_slopes(generator):
    """h_x has variance sigma^2 / (2 nu) in every mode and no skewness, also where growth matters (Huse et al. 1985)."""
    n, size = 1500, 16
    sim = KPZ(size=size, diffusivity=0.1, growth=2.0, noise=0.3, horizon=4.0, steps=1, inner=100)
    k = torch.arange(9, dtype=DOUBLE)
    keep = (k > 0) & (k < size / 3)
    sigma2 = 0.09 * size / 11  # of 16 modes of the full transform, 11 are resolved
    power = torch.where(keep, sigma2 / (2 * 0.1 * k.clamp(min=1) ** 2), torch.zeros_like(k))
    white = torch.randn((n, 1, size), generator=generator, dtype=DOUBLE)
    start = torch.fft.irfft(torch.fft.rfft(white, norm="ortho") * power.sqrt(), n=size, norm="ortho")
    end = sim.run(start, generator=generator)[:, -1]
    found = sim.modes(end)[:, 0].abs().square().mean(0)
    # relative standard error of a mean of |N|^2, complex: 1 / sqrt(n); five of them
    assert torch.allclose((found / power)[keep], torch.ones(5, dtype=DOUBLE), atol=5 / math.sqrt(n))
    # growth is not small: it moves a typical state by more than its own size meanwhile
    calm = dataclasses.replace(sim, growth=0.0)
    moved = [s.run(start[:100], generator=torch.Generator().manual_seed(1))[:, -1] for s in (sim, calm)]
    gap = (moved[0] - moved[1]) - (moved[0] - moved[1]).mean(2, keepdim=True)
    assert float(gap.std()) > 0.5 * float(start.std())
    # the mean rises by growth / 2 <h_x^2>, where <h_x^2> = 10 / 16 sigma^2 / (2 nu)
    rise = (end - start).mean((1, 2))
    assert float(rise.mean()) == pytest.approx(
        4.0 * 2.0 / 2 * 10 / 16 * sigma2 / 0.2, abs=5 * float(rise.std()) / math.sqrt(n)
    )


def test_homogeneous_gray_scott_follows_its_kinetics():
    sim = GrayScott(size=8, horizon=300.0, inner=40)
    start = [0.6, 0.3]

    def kinetics(_, c):
        rate = c[0] * c[1] ** 2
        return [-rate + 0.035 * (1 - c[0]), rate - (0.035 + 0.062) * c[1]]

    truth = solve_ivp(kinetics, (0, 300), start, rtol=1e-11, atol=1e-13, t_eval=sim.times.numpy()).y
    x = torch.tensor(start, dtype=DOUBLE)[None, :, None, None].expand(1, 2, 8, 8)
    path = sim.run(x, noise=False)[0]
    assert torch.allclose(path, torch.from_numpy(truth.T)[:, :, None, None].expand_as(path), atol=1e-7)


def test_gray_scott_disturbances_grow_at_the_eigenvalues():
    """About the reactive steady state, mode by mode: exp(J t) of kinetics and diffusion, for disturbances of 1e-7."""
    sim = GrayScott(size=16, length=0.3, feed=0.05, kill=0.06, horizon=20.0, steps=1, inner=100)
    f, decay = 0.05, 0.11
    v = (f + math.sqrt(f * f - 4 * f * decay**2)) / (2 * decay)
    u = decay / v
    x, q = axis(16)[:, None].expand(16, 16), 2 * math.pi / 0.3
    for k in (1, 3):
        wave = 1e-7 * torch.cos(k * x)
        start = torch.stack([u + wave, v - 2 * wave])[None]
        end = sim.run(start, noise=False)[0, -1] - torch.tensor([u, v], dtype=DOUBLE)[:, None, None]
        jacobian = np.array([[-(v**2) - f, -2 * u * v], [v**2, 2 * u * v - decay]])
        jacobian -= (k * q) ** 2 * np.diag([2e-5, 1e-5])
        values, vectors = np.linalg.eig(jacobian)
        gain = (vectors * np.exp(20 * values)) @ np.linalg.inv(vectors) @ np.array([1, -2])
        want = torch.from_numpy(gain.real)[:, None, None] * wave
        # second-order terms: (1e-7)^2, times growth
        assert torch.allclose(end, want, rtol=0, atol=1e-11)
        assert float(want.abs().max()) > 1e-9


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: build(AllenCahn, {"dimension": 3}), "`dimension` of AllenCahn must be between 1 and 2, got 3"),
        (lambda: build(AllenCahn, {"tilt": 1.5}), "`tilt` of AllenCahn must be between -1 and 1, got 1.5"),
    ],
)
def test_bad_parameters_are_named(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()
