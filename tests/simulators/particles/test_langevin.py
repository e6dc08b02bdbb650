"""Heat baths: equipartition, Boltzmann's law, orders of the steps, and the limit without a bath."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from particle_cases import F64, Trap, seeded
from scipy.integrate import quad

from physinv.equations.solve import march
from simulators.particles.langevin import OverdampedParticles, UnderdampedParticles


def end(sim, x, generator=None, noise=True):
    """The last state alone, without memory for the others."""
    times = torch.linspace(0, sim.horizon, sim.steps * sim.inner + 1, dtype=F64)
    for state in march(sim, x, times, step=sim.step, noise=noise, generator=generator):
        last = state
    return last


@pytest.mark.parametrize("cls", [OverdampedParticles, UnderdampedParticles])
def test_equipartition_in_a_harmonic_trap(cls):
    """k <x^2> = kT and <p^2>/m = kT within 1 %, from a start that is far too cold in the positions."""
    sim = cls(particles=2600, pair="none", temperature=0.7, stiffness=2.0, start="cloud", width=0.1, horizon=2.0)
    if cls is UnderdampedParticles:
        sim = dataclasses.replace(sim, friction=2.0, horizon=4.0)  # e^{-8} of the start is left
    sim = dataclasses.replace(sim, steps=1, inner=40)
    x = end(sim, sim.initial(100, generator=seeded()), seeded(1))
    # 520,000 numbers: five relative standard errors of a variance, 5 sqrt(2/520000) = .98 %; the step's own bias is
    # known exactly and taken out (test_heun_bias..., test_baoab_is_exact...)
    C = stationary(*linear_step(sim, sim.horizon / sim.inner))
    error = 5 * math.sqrt(2 / 520_000)
    assert float(x[..., :2].square().mean()) == pytest.approx(float(C[0, 0]), rel=error)
    assert float(C[0, 0]) == pytest.approx(0.7 / 2, rel=0.003)  # Heun: (k h mu)^2 / 4 = .25 %
    if cls is UnderdampedParticles:
        assert float(x[..., 2:4].square().mean()) == pytest.approx(float(C[2, 2]), rel=error)
        assert float(C[2, 2]) == pytest.approx(0.7 * (1 - 0.005), rel=1e-9)  # 1 - h^2 k / 4 m


def linear_step(sim, h):
    """Matrices M, N of one step ``x -> M x + N dw / sqrt(h)`` of one particle in a harmonic trap, moving part."""
    k = sim.shape[-1] - 1
    t = torch.zeros(k, dtype=F64)
    basis = torch.zeros(k, 1, k + 1, dtype=F64)
    basis[:, 0, :k] = torch.eye(k, dtype=F64)
    still = torch.zeros((1, *basis.shape), dtype=F64)
    M = sim.step(sim, basis, t, t + h, still)[:, 0, :k].T
    N = sim.step(sim, torch.zeros_like(basis), t, t + h, math.sqrt(h) * basis[None])[:, 0, :k].T
    return M, N


def stationary(M, N):
    k = len(M)
    flat = torch.linalg.solve(torch.eye(k * k, dtype=F64) - torch.kron(M, M), (N @ N.T).flatten())
    return flat.view(k, k)


@pytest.mark.parametrize("h", [0.05, 0.5, 1.5])
def test_baoab_is_exact_in_the_positions_of_a_harmonic_trap(h):
    """<q^2> = kT/k at any step, <p^2> = m kT (1 - h^2 k / 4 m) (Leimkuhler and Matthews 2013): the exact chain."""
    sim = UnderdampedParticles(particles=1, dimension=1, stiffness=1.3, mass=0.8, friction=0.6, temperature=0.7)
    C = stationary(*linear_step(sim, h))
    assert float(C[0, 0]) == pytest.approx(0.7 / 1.3, rel=1e-10)
    assert float(C[1, 1]) == pytest.approx(0.8 * 0.7 * (1 - h**2 * 1.3 / (4 * 0.8)), rel=1e-10)
    assert float(C[0, 1]) == pytest.approx(0.0, abs=1e-12)


def test_heun_bias_in_a_harmonic_trap_is_of_second_order():
    sim = OverdampedParticles(particles=1, dimension=1, stiffness=1.0, temperature=1.0)
    biases = [abs(float(stationary(*linear_step(sim, h))[0, 0]) - 1) for h in (0.05, 0.1, 0.2)]
    assert np.polyfit(np.log([0.05, 0.1, 0.2]), np.log(biases), 1)[0] == pytest.approx(2.0, abs=0.1)
    assert biases[0] < 0.01  # kT within 1 % at the step of the datasets, without any sampling error


def boltzmann(energy, power, low=-5.0, high=5.0):
    top, bottom = (quad(lambda y, p=p: y**p * math.exp(-energy(y)), low, high)[0] for p in (power, 0))
    return top / bottom


def test_baoab_is_of_second_order():
    """In law, noise included: the covariance after T = 1 in a harmonic trap, from matrices, against the exact one.
    And in the mean: the noise-free path in an anharmonic well, friction included, against a very fine one."""
    trap, counts, errors = Trap(), (10, 20, 40, 80), []
    for n in counts:
        M, N = linear_step(trap.sim, 1 / n)
        C = torch.from_numpy(trap.start)
        for _ in range(n):
            C = M @ C @ M.T + N @ N.T
        errors.append(float((C - torch.from_numpy(trap.covariance(1.0))).abs().max()))
    assert np.polyfit(np.log(counts), np.log(errors), 1)[0] == pytest.approx(-2.0, abs=0.1)
    well = UnderdampedParticles(particles=6, dimension=1, pair="none", external="double-well", horizon=1.0, steps=1)
    x = well.initial(5, generator=seeded(), dtype=F64).clamp(-1.5, 1.5)
    fine = end(dataclasses.replace(well, inner=1000), x, noise=False)
    errors = [float((end(dataclasses.replace(well, inner=n), x, noise=False) - fine).abs().mean()) for n in counts]
    assert np.polyfit(np.log(counts), np.log(errors), 1)[0] == pytest.approx(-2.0, abs=0.15)


@pytest.mark.parametrize("cls", [OverdampedParticles, UnderdampedParticles])
def test_boltzmanns_law_in_a_double_well(cls):
    sim = cls(particles=500, dimension=1, pair="none", external="double-well", barrier=1.0, start="cloud", width=0.8)
    sim = dataclasses.replace(sim, horizon=6.0, steps=1, inner=150)
    q = end(sim, sim.initial(60, generator=seeded(), dtype=F64), seeded(1))[..., 0]
    for power, spread in ((2, 0.8), (4, 2.0)):  # standard deviations of q^2 and q^4, below these
        exact = boltzmann(lambda y: (y * y - 1) ** 2, power)
        assert float(q.pow(power).std()) < spread
        # 30,000 independent particles; the Heun chain's own bias at h = .04 is below .5 % (second order, as above)
        assert float(q.pow(power).mean()) == pytest.approx(exact, abs=5 * spread / math.sqrt(30_000) + 0.005 * exact)


@pytest.mark.parametrize("cls", [OverdampedParticles, UnderdampedParticles])
def test_two_repelling_particles_keep_boltzmanns_distance(cls):
    """In a trap the gap r of two has the law ``exp(-(k r^2 / 4 + u(r)) / kT) r dr``: pair force, noise and trap."""
    sim = cls(particles=2, pair="soft", strength=4.0, start="cloud", width=0.7, horizon=4.0, steps=1, inner=80)
    x = end(sim, sim.initial(6_000, generator=seeded(), dtype=F64), seeded(1))
    r = (x[:, 0, :2] - x[:, 1, :2]).norm(dim=-1)

    def energy(y):
        return y * y / 4 + (2 * (1 - y) ** 2 if y < 1 else 0.0)

    weight = quad(lambda y: y * math.exp(-energy(y)), 0, 12)[0]
    for power in (1, 2):
        exact = quad(lambda y, p=power: y ** (1 + p) * math.exp(-energy(y)), 0, 12)[0] / weight
        # 5 standard errors, and 1 % for the step: Heun's bias is (a h)^2 / 4 of a variance with a at most 1 + 2 * 4 (in
        # contact) and h = .05, so below 5 % of the contact's small variance
        assert float(r.pow(power).mean()) == pytest.approx(
            exact, abs=5 * float(r.pow(power).std()) / math.sqrt(len(r)) + 0.01 * exact
        )


def test_mean_square_displacement_of_free_particles():
    """2 D t per component overdamped; ``2 kT/(m gamma^2) (gamma t - 1 + e^{-gamma t})`` underdamped (Langevin 1908)."""
    n = 40_000
    free = {"pair": "none", "external": "none", "temperature": 0.7, "start": "cloud", "horizon": 2.0}
    for sim, exact in (
        (OverdampedParticles(particles=n, mobility=0.6, steps=3, inner=1, **free), 2 * 0.6 * 0.7 * 2.0),
        (
            UnderdampedParticles(particles=n, mass=1.5, friction=0.8, steps=20, inner=2, **free),
            2 * 0.7 / (1.5 * 0.64) * (1.6 - 1 + math.exp(-1.6)),
        ),
    ):
        x = sim.initial(1, generator=seeded(), dtype=F64)
        moved = (end(sim, x, seeded(1)) - x)[..., :2].square().mean()
        # Gaussian: 80,000 numbers; BAOAB's own error at gamma h = .04 is of second order, below (gamma h)^2
        error = 5 * math.sqrt(2 / (2 * n)) + (0.04**2 if isinstance(sim, UnderdampedParticles) else 0)
        assert float(moved) == pytest.approx(exact, rel=error)


def test_newtonian_limit_conserves_momentum_and_reverses():
    """Without heat bath: total momentum to rounding; run, flip all momenta, run: back at the start."""
    sim = UnderdampedParticles(
        particles=30, box=6.0, external="none", strength=20.0, friction=0.0, horizon=1.0, steps=1, inner=100
    )
    x = sim.initial(2, generator=seeded(), dtype=F64)
    y = end(sim, x, noise=False)
    assert (y - x)[..., :2].abs().max() > 0.5
    assert torch.allclose(y[..., 2:4].sum(1), x[..., 2:4].sum(1), atol=1e-11)
    flip = torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0], dtype=F64)
    assert torch.allclose(end(sim, y * flip, noise=False) * flip, x, atol=1e-9)


def test_energy_drift_is_of_second_order():
    sim = UnderdampedParticles(
        particles=9, pair="yukawa", screening=2.0, cutoff=4.0, strength=2.0, friction=0.0, steps=1
    )
    x = sim.initial(8, generator=seeded(3), dtype=F64)
    x[..., :2] = torch.cartesian_prod(*[torch.arange(-1.0, 2.0, dtype=F64)] * 2) + 0.2 * x[..., :2]  # no hard contacts
    errors, steps = [], (20, 40, 80)
    for inner in steps:
        y = end(dataclasses.replace(sim, inner=inner), x, noise=False)
        errors.append(float((sim.potential(y) - sim.potential(x)).abs().mean()))
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(-2.0, abs=0.15)
