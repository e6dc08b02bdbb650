"""Particles: forces, heat baths and splittings against statistical mechanics; layout, network and whole chain."""

import dataclasses
import math
import re

import h5py
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.linalg import expm

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.writer import TrajectoryWriter
from physinv.equations.sde import Reverse
from physinv.equations.solve import march
from physinv.evaluation.evaluate import evaluate
from physinv.evaluation.metrics import crps
from physinv.models.build import build_model
from physinv.models.networks import ParticleNet
from physinv.models.references.particles import ParticleReference, fit_tables
from physinv.models.references.registry import load_reference
from physinv.posterior.posterior import Posterior
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import build, describe, parameters
from physinv.processes.registry import find
from physinv.reports import plots as plot
from physinv.reports.reconstruction import draw_reconstruction
from physinv.reversal.split import split
from physinv.runs.reconstruct import SamplingPlan, reconstruct
from physinv.runs.run import load_run, train_run
from physinv.training.budget import Budget
from physinv.training.objectives.base import Batch
from physinv.training.objectives.trajectory import trajectory_loss
from simulators.particles.langevin import OverdampedParticles, UnderdampedParticles
from simulators.particles.neighbours import all_pairs, cell_pairs

PAIRS = ["none", "soft", "wca", "lennard-jones", "yukawa"]
F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def end(sim, x, generator=None, noise=True):
    """The last state alone, without memory for the others."""
    times = torch.linspace(0, sim.horizon, sim.steps * sim.inner + 1, dtype=F64)
    for state in march(sim, x, times, step=sim.step, noise=noise, generator=generator):
        last = state
    return last


# ---- contract, symmetries, starts


@pytest.mark.parametrize("cls", [OverdampedParticles, UnderdampedParticles])
@pytest.mark.parametrize("start", ["cloud", "separated", "droplet", "corner"])
@pytest.mark.parametrize("dimension", [1, 3])
def test_contract(cls, start, dimension):
    sim = cls(particles=5, dimension=dimension, start=start, steps=2)
    runs = [sim.simulate(3, generator=seeded()) for _ in range(2)]
    assert torch.equal(*runs)
    assert runs[0].shape == (3, 3, *sim.shape)
    assert sim.simulate(2, dtype=F64).dtype == F64
    assert build(cls, describe(sim)) == sim
    assert {p["name"] for p in parameters(cls)} == set(describe(sim))
    species = runs[0][..., -1]
    assert torch.equal(species, torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0]).expand_as(species))  # static context
    t = torch.zeros(3)
    g = sim.diffusion(t)[0, 0]
    assert torch.equal(g > 0, torch.arange(len(g)).ge(len(g) - 1 - dimension) & torch.arange(len(g)).lt(len(g) - 1))


@pytest.mark.parametrize("external", ["harmonic", "double-well", "mueller-brown", "none"])
def test_images_commute_with_the_drift_and_keep_the_starts(external):
    sim = UnderdampedParticles(particles=6, external=external, box=4.0 if external == "none" else 0.0)
    x = sim.initial(4000, generator=seeded(), dtype=F64)
    t = torch.zeros(len(x), dtype=F64)
    assert len(sim.images(x)) == (1 if external == "mueller-brown" else 4)
    for state, force in zip(sim.images(x), sim.images(sim.drift(x, t)), strict=True):
        assert torch.allclose(sim.drift(state, t), force, atol=1e-9)
        assert torch.equal(state[..., -1], x[..., -1])
        # odd moments vanish: 5 standard errors
        assert state[:, 0, :2].pow(3).mean(0).abs().max() < 5 * state[:, 0, :2].pow(3).std() / math.sqrt(len(x))


def test_starts_are_what_they_say():
    n = 4000
    make = {}
    for start in ("cloud", "separated", "droplet", "corner"):
        sim = OverdampedParticles(particles=8, start=start, offset=3.0, width=0.4)
        make[start] = sim.initial(n, generator=seeded(), dtype=F64)
    for start, x in make.items():
        q = x[..., :2]
        centre = torch.zeros(n, 1, 2, dtype=F64) if start == "cloud" else q.mean(1, keepdim=True)
        if start == "separated":
            centre = torch.cat([q[:, :4].mean(1, True).expand(-1, 4, -1), q[:, 4:].mean(1, True).expand(-1, 4, -1)], 1)
            gap = (q[:, :4].mean(1) - q[:, 4:].mean(1)).norm(dim=-1) / 2
            # |offset e + noise| with noise of variance width^2/8 per component: 3 + width^2/8 / (2 offset) + ...
            assert float(gap.mean()) == pytest.approx(3.0 + 0.4**2 / 8 / 6, abs=5 * 0.4 / math.sqrt(8 * n))
        lost = {"cloud": 0, "separated": 1 / 4}.get(start, 1 / 8)  # variance taken away by the estimated centre
        spread = float((q - centre).square().mean() / (1 - lost))
        # relative standard error of a variance of 16 n numbers, at most sqrt(2 / (16 n)) as no start is heavy-tailed
        assert spread == pytest.approx(0.4**2, rel=5 * math.sqrt(2 / (12 * n)))
    assert (make["corner"][..., :2].abs().mean(1) - 3).abs().max() < 0.4 * math.sqrt(3)
    radius = (make["droplet"][..., :2] - make["droplet"][..., :2].mean(1, keepdim=True)).norm(dim=-1)
    assert radius.max() < 2 * 0.4 * 2  # a ball of radius width sqrt(4), around its mean


# ---- forces and neighbours


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    ("external", "dimension"), [("none", 3), ("harmonic", 1), ("double-well", 2), ("mueller-brown", 2)]
)
def test_force_is_minus_the_gradient(pair, external, dimension):
    box = 6.0 if external == "none" else 0.0
    sim = OverdampedParticles(pair=pair, external=external, dimension=dimension, box=box, unlike=0.3, particles=7)
    x = 1.5 * sim.initial(4, generator=seeded(2), dtype=F64)
    x[..., -1] /= 1.5
    x.requires_grad_()
    (slope,) = torch.autograd.grad(sim.potential(x).sum() + 0 * x.sum(), x)
    force = sim.force(x.detach())
    assert torch.allclose(force, -slope[..., :dimension], atol=1e-12 * float(force.abs().max()) + 1e-12)


@pytest.mark.parametrize("pair", ["lennard-jones", "yukawa", "wca", "soft"])
def test_pair_laws_end_smoothly_and_are_capped(pair):
    law = OverdampedParticles(pair=pair)._law
    s = torch.tensor([[[float(law.reach) - 1e-6, float(law.reach), float(law.reach) + 1]]], dtype=F64)
    u, slope = law(s)
    assert u.abs().max() < 1e-9
    assert slope.abs().max() < 1e-4  # curvature at the end (at most 57, WCA) times 1e-6
    inside = torch.linspace(0.0, law.closest, 5, dtype=F64)[None, None]
    assert torch.allclose(law(inside)[1], law(inside[..., -1:])[1].expand_as(inside), atol=1e-12) or law.closest == 0
    far, near = (float(law(torch.full((1, 1, 1), r, dtype=F64))[0]) for r in (1.0, 0.9))
    assert near > far  # all of them repel at contact


@pytest.mark.parametrize(("dimension", "box"), [(2, 12.0), (2, 0.0), (3, 8.0), (3, 0.0), (1, 50.0)])
def test_cells_find_what_all_pairs_find(dimension, box):
    dense = OverdampedParticles(
        particles=120, dimension=dimension, box=box, external="none" if box else "harmonic", neighbours="dense"
    )
    cells = dataclasses.replace(dense, neighbours="cells", capacity=30)
    x = dense.initial(3, generator=seeded(), dtype=F64)
    x[..., :dimension] = 14 * torch.rand(3, 120, dimension, generator=seeded(1), dtype=F64) - 4  # unwrapped
    assert dense.force(x).abs().max() > 0.1
    assert torch.allclose(dense.force(x), cells.force(x), atol=1e-12)
    assert torch.allclose(dense.potential(x), cells.potential(x), atol=1e-10)
    q = x[..., :dimension]
    found = cell_pairs(q, box or None, 1.0, side=cells.side, capacity=30)
    near = (all_pairs(q, box or None).gaps.norm(dim=-1) < 1).sum() - q.shape[0] * q.shape[1]
    assert ((found.gaps.norm(dim=-1) < 1) & found.real).sum() == near  # none twice, none missing


def test_overflowing_cells_are_not_silent():
    sim = OverdampedParticles(particles=40, box=10.0, external="none", neighbours="cells", capacity=4)
    x = sim.initial(2, generator=seeded(), dtype=F64)
    x[0, :, :2] = 0.01 * x[0, :, :2]
    x[1, :, :2] = 10 * torch.rand(40, 2, generator=seeded(4), dtype=F64)
    force = sim.force(x)
    assert force[0].isnan().any()
    assert force[1].isfinite().all()


@pytest.mark.parametrize("cls", [OverdampedParticles, UnderdampedParticles])
@pytest.mark.parametrize("pair", ["soft", "yukawa", "lennard-jones"])
def test_one_step_is_differentiable_in_state_and_parameters(cls, pair):
    """Every float parameter that the step uses, noise included, against finite differences."""
    base = cls(particles=3, dimension=2, pair=pair, unlike=0.7, temperature=0.5)
    names = ["strength", "diameter", "unlike", "stiffness", "temperature"]
    names += ["mobility"] if cls is OverdampedParticles else ["mass", "friction"]
    names += ["cutoff"] if pair != "soft" else []
    names += ["screening"] if pair == "yukawa" else []
    x = torch.tensor([[[0.0, 0.0], [0.83, 0.1], [0.2, 0.95]]], dtype=F64)
    momenta = [0.3 * x.roll(1, 1)] if cls is UnderdampedParticles else []
    x = torch.cat([x, *momenta, torch.tensor([[[1.0], [1.0], [-1.0]]], dtype=F64)], dim=-1)
    dw = 0.1 * torch.randn((1, *x.shape), generator=seeded(), dtype=F64)
    t = torch.zeros(1, dtype=F64)

    def step(state, *values):
        sim = dataclasses.replace(base, **dict(zip(names, values, strict=True)))
        return sim.step(sim, state, t, t + 0.01, dw)

    values = [torch.tensor(float(getattr(base, n)), dtype=F64, requires_grad=True) for n in names]
    assert torch.autograd.gradcheck(step, (x.requires_grad_(), *values), atol=1e-6)


# ---- heat baths


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


# ---- degenerate noise through loss, reversal and likelihood


class Trap:
    """One underdamped particle in a harmonic trap from a Gaussian start: everything is known."""

    sim = UnderdampedParticles(
        particles=1, dimension=1, pair="none", start="cloud", width=0.5, horizon=1.0, friction=0.8
    )
    F = np.array([[0.0, 1.0], [-1.0, -0.8]])
    start = np.diag([0.25, 1.0])

    def transition(self, t):
        """Gain A and noise covariance Q over a time t (Van Loan 1978)."""
        G = np.diag([0.0, 1.6])
        block = expm(np.block([[-self.F, G], [np.zeros((2, 2)), self.F.T]]) * t)
        A = block[2:, 2:].T
        return A, A @ block[:2, 2:]

    def covariance(self, t):
        A, Q = self.transition(t)
        return A @ self.start @ A.T + Q

    def score(self, x, t):
        """Of a batch that shares its time."""
        P = torch.from_numpy(np.linalg.inv(self.covariance(float(t[0])))).to(x)
        return torch.cat([-x[..., :2] @ P, torch.zeros_like(x[..., 2:])], dim=-1)

    def posterior(self):
        """Gain K of the posterior mean, and the posterior covariance."""
        A, _ = self.transition(1.0)
        K = self.start @ A.T @ np.linalg.inv(self.covariance(1.0))
        return K, self.start - K @ A @ self.start

    def chain(self, steps):
        """Mean gain and covariance that the split step arrives at, by pushing unit vectors and unit noises through."""
        reverse, gain, C = Reverse(self.sim, self.score), torch.eye(2, dtype=F64), torch.zeros(2, 2, dtype=F64)
        basis = torch.zeros(2, 1, 3, dtype=F64)
        basis[:, 0, :2] = torch.eye(2, dtype=F64)
        for i in range(steps, 0, -1):
            t0, t1 = (torch.full((2,), j / steps, dtype=F64) for j in (i, i - 1))
            M = split(reverse, basis, t0, t1, torch.zeros((1, 2, 1, 3), dtype=F64))[:, 0, :2].T
            N = split(reverse, torch.zeros_like(basis), t0, t1, basis[None] / math.sqrt(steps))[:, 0, :2].T
            gain, C = M @ gain, M @ C @ M.T + N @ N.T
        return gain.numpy(), C.numpy()


def test_reversal_with_noise_on_momenta_only_converges_to_the_exact_posterior():
    trap = Trap()
    K, C = trap.posterior()
    counts = (25, 50, 100)
    found = [trap.chain(n) for n in counts]
    for errors in ([np.abs(g - K).max() for g, _ in found], [np.abs(c - C).max() for _, c in found]):
        assert np.polyfit(np.log(counts), np.log(errors), 1)[0] == pytest.approx(-1.0, abs=0.15)  # first order
        assert errors[-1] < 0.03
    # Posterior draws what the chain says, and mean_flow is its mean
    times = torch.linspace(0, 1, 26, dtype=F64)
    posterior = Posterior(trap.sim, trap.score, times)
    final = torch.tensor([[[0.7, -0.4, 1.0]]], dtype=F64)
    mean, n = found[0][0] @ np.array([0.7, -0.4]), 10_000
    assert np.allclose(posterior.mean_flow(final)[0, 0, :2], mean, atol=1e-10)
    draws = posterior.sample(final, n, generator=seeded())[0, :, 0]
    assert torch.equal(draws[:, 2], torch.ones(n, dtype=F64))  # the static channel stays
    spread = np.sqrt(np.diag(found[0][1]))
    assert np.all(np.abs(draws[:, :2].mean(0).numpy() - mean) < 5 * spread / math.sqrt(n))
    outer = np.outer(spread, spread)  # standard error of a covariance: at most sqrt(2/n) of the product of deviations
    assert np.all(np.abs(np.cov(draws[:, :2].T.numpy()) - found[0][1]) < 5 * math.sqrt(2 / n) * outer)


def test_loss_with_noise_on_momenta_only_is_minimised_by_the_score():
    """Of all multiples c s the loss (a parabola in c) is least at c = 1 + O(dt), with exact transitions as data."""
    trap, n = Trap(), 40_000
    optimum = []
    for dt in (0.02, 0.04):
        A, Q = trap.transition(dt)
        first = np.linalg.cholesky(trap.covariance(0.5)) @ np.random.default_rng(0).normal(size=(2, n))
        second = A @ first + np.linalg.cholesky(Q) @ np.random.default_rng(1).normal(size=(2, n))
        states = torch.ones(n, 2, 1, 3, dtype=F64)
        states[..., 0, :2] = torch.from_numpy(np.stack([first.T, second.T], axis=1))
        times = torch.tensor([0.5, 0.5 + dt], dtype=F64).expand(n, 2)
        P = torch.from_numpy(np.linalg.inv(trap.covariance(0.5 + dt)))

        def value(c, P=P, states=states, times=times):
            def score(x, t):
                return torch.cat([-c * x[..., :2] @ P, torch.zeros_like(x[..., 2:])], dim=-1)

            return float(trajectory_loss(score, trap.sim, Batch(states, times), step=split))

        low, middle, high = value(0.0), value(1.0), value(2.0)
        optimum.append(1 + (low - high) / (2 * (low - 2 * middle + high)))
        # at the optimum the momentum residual is whitened noise: 1 per noisy component, 1 of 3 components
        assert middle == pytest.approx(1 / 3, rel=5 * math.sqrt(2 / n) + 2 * dt)
    # standard error of c: noise sqrt(q) against signal q |s| gives 1 / sqrt(n q P), with q = 1.6 dt and P about 1
    for dt, c in zip((0.02, 0.04), optimum, strict=True):
        assert c == pytest.approx(1.0, abs=5 / math.sqrt(n * 1.6 * dt) + 2 * dt)
    gap = trap.sim.whiten(torch.ones(1, 1, 3), torch.zeros(1), torch.full((1,), 0.25))
    assert gap[0, 0].tolist() == pytest.approx([0.0, 1 / math.sqrt(1.6 * 0.25), 0.0])


def test_likelihood_with_noise_on_momenta_only():
    trap = Trap()

    def gaussian(x, C):
        law = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=F64), torch.from_numpy(C))
        return law.log_prob(x[:, 0, :2])

    posterior = Posterior(trap.sim, trap.score, torch.linspace(0, 1, 11, dtype=F64))
    x = trap.sim.initial(3, generator=seeded(), dtype=F64)
    found = posterior.log_prob(x, base=lambda y: gaussian(y, trap.covariance(1.0)), start=0.0)
    assert torch.allclose(found, gaussian(x, trap.start), atol=1e-3)  # the adaptive solver's tolerance, 1e-5 per step


# ---- reference law


def gaussian_particles(momenta=False):
    """Independent particles in a trap around random centres: the law that the reference is exact for."""
    cls = UnderdampedParticles if momenta else OverdampedParticles
    return cls(particles=7, pair="none", start="separated", offset=1.0, width=0.4, steps=3)


def moments_of(sim, n=3000):
    paths = sim.simulate(n, generator=seeded(), dtype=F64)
    tables = [torch.stack(t) for t in zip(*(fit_tables(paths[:, i]) for i in range(4)), strict=True)]
    one, none = torch.ones((), dtype=F64), torch.zeros(2, dtype=F64)
    return ParticleReference(sim, sim.times, *tables, one, none, torch.tensor(True)), paths


@pytest.mark.parametrize("momenta", [False, True])
def test_reference_is_the_dense_gaussian_and_its_score_the_gradient(momenta):
    sim = gaussian_particles(momenta)
    reference, paths = moments_of(sim)
    x, t = paths[:5, 2].clone().requires_grad_(), torch.full((5,), float(sim.times[2]), dtype=F64)
    log_q = reference.log_prob(x, t)
    (slope,) = torch.autograd.grad(log_q.sum(), x)
    assert torch.allclose(reference.score(x, t)[..., :-1], slope[..., :-1], atol=1e-9)
    # the same law written as one covariance over all particles
    k, groups = x.shape[-1] - 1, [range(4), range(4, 7)]
    W, B = reference.within[2], reference.centre[2]
    C, mean = torch.zeros(7, k, 7, k, dtype=F64), torch.zeros(7, k, dtype=F64)
    for s, these in enumerate(groups):
        for i in these:
            mean[i] = reference.mean[2, s]
            for r, others in enumerate(groups):
                for j in others:
                    C[i, :, j] = B[s * k : (s + 1) * k, r * k : (r + 1) * k]
                    if r == s:
                        C[i, :, j] += W[s] * ((i == j) - 1 / len(these))
    dense = torch.distributions.MultivariateNormal(mean.flatten(), C.reshape(7 * k, 7 * k))
    assert torch.allclose(log_q, dense.log_prob(x[..., :-1].flatten(1)), atol=1e-8)
    again = load_reference("particles", sim, {f"reference.{n}": v for n, v in reference.state_dict().items()})
    assert torch.equal(again.score(x, t), reference.score(x, t))
    assert torch.equal(again.features(x, t), reference.features(x, t))
    assert reference.features(x, t).shape == (5, 7, reference.channels_in)


def test_reference_is_exact_for_independent_particles_in_a_trap():
    """Droplets around Gaussian centres in a harmonic trap: W, B and M in closed form."""
    sim = OverdampedParticles(particles=8, pair="none", start="droplet", offset=1.0, width=0.4, steps=3, inner=8)
    n = 5_000
    x = sim.simulate(n, generator=seeded(), dtype=F64)[:, -1]
    mean, within, centre = fit_tables(x)
    decay, heat = math.exp(-2.0), -math.expm1(-2.0)  # k = kT = mobility = T = 1
    own = 0.4**2 * decay + heat
    # relative standard errors of variances: 6 n deviations per species and component, n centres
    assert torch.allclose(within, own * torch.eye(2, dtype=F64).expand(2, 2, 2), atol=5 * own * math.sqrt(2 / (3 * n)))
    shared = 1.0 * decay
    C = torch.full((2, 2), shared, dtype=F64) + torch.eye(2, dtype=F64) * own / 4
    want = torch.kron(C, torch.eye(2, dtype=F64))
    assert torch.allclose(centre, want, atol=5 * float(want.max()) * math.sqrt(2 / n))
    assert mean.abs().max() < 5 * math.sqrt(float(want.max()) / n)


def test_species_of_one_particle_has_a_finite_reference():
    sim = OverdampedParticles(particles=2, steps=3)
    reference, paths = moments_of(sim, 500)
    score = reference.score(paths[:5, 2], torch.full((5,), float(sim.times[2]), dtype=F64))
    assert score.isfinite().all()
    assert reference.lift(torch.ones(5, 2, 2, dtype=F64), paths[:5, 2], torch.ones(5, dtype=F64)).abs().max() < 100


# ---- network


def trained_like(net):
    """Weights of an untrained network, moved off zero where they start there."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=seeded(p.numel()), dtype=p.dtype))
    return net.double()


def features_of(n, d, vectors, generator):
    return torch.randn(2, n, d * (1 + vectors) + 1, generator=generator, dtype=F64)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("neighbours", [None, 4])
@pytest.mark.parametrize("absolute", [False, True])
def test_network_symmetries(dimension, neighbours, absolute):
    d, vectors, n, box = dimension, 3, 9, 2.5
    t = torch.tensor([0.2, 0.9], dtype=F64)
    net = trained_like(ParticleNet(d, vectors, 1, width=16, neighbours=neighbours, absolute=absolute))
    wrapped = trained_like(ParticleNet(d, vectors, 1, width=16, neighbours=neighbours, absolute=absolute, box=box))
    f = features_of(n, d, vectors, seeded())
    out = net(f, t)
    assert out.abs().max() > 1e-2

    order = torch.randperm(n, generator=seeded(1))
    for one in (net, wrapped):
        assert torch.allclose(one(f[:, order], t), one(f, t)[:, order], atol=1e-10)

    moved = f.clone()
    moved[..., :d] += torch.arange(1.0, d + 1, dtype=F64)
    assert torch.allclose(net(moved, t), out, atol=1e-10)
    wound = f.clone()
    wound[0, 2, 0] += box
    wound[1, 3, 1] -= 2 * box
    assert torch.allclose(wrapped(wound, t), wrapped(f, t), atol=1e-10)
    assert not torch.allclose(net(wound, t), out, atol=1e-3)
    if absolute:  # with a box, absolute positions are features: shifting all particles changes the output
        assert not torch.allclose(wrapped(moved, t), wrapped(f, t), atol=1e-3)

    q, _ = torch.linalg.qr(torch.randn(d, d, generator=seeded(2), dtype=F64))
    for rotation in (q, -q if d % 2 else q @ torch.diag(torch.tensor([-1.0, *[1.0] * (d - 1)], dtype=F64))):
        turned = torch.cat([(f[..., :-1].unflatten(-1, (-1, d)) @ rotation).flatten(-2), f[..., -1:]], dim=-1)
        same = torch.allclose(net(turned, t), out @ rotation, atol=1e-10)
        assert same != absolute


def test_network_starts_at_zero_and_has_gradients_where_particles_coincide():
    net = ParticleNet(2, 3, 1).double()
    f = features_of(5, 2, 3, seeded())
    f[:, 1, :2] = f[:, 0, :2]
    f.requires_grad_()
    t = torch.zeros(2, dtype=F64)
    assert torch.equal(net(f, t), torch.zeros(2, 5, 2, dtype=F64))
    (slope,) = torch.autograd.grad(trained_like(net)(f, t).square().sum(), f)
    assert slope.isfinite().all()
    with pytest.raises(ValueError, match="`neighbours` must be at least 1"):
        ParticleNet(2, 3, 1, neighbours=0)


# ---- data and the whole chain


@pytest.mark.parametrize("cls", [OverdampedParticles, UnderdampedParticles])
def test_files_hold_particles(cls, tmp_path):
    sim = cls(particles=5, steps=4)
    states = sim.simulate(6, generator=seeded())
    path = tmp_path / "p.hdf5"
    with TrajectoryWriter(
        path, name="p", layout=sim.layout, shape=sim.shape, times=sim.times, count=6, config={"simulator": "x"}
    ) as writer:
        writer.write(states[:4])
        writer.write(states[4:])
    data = TrajectoryDataset(path, window=3)
    assert data.layout == sim.layout
    assert data.shape == sim.shape
    assert torch.equal(data.trajectories(slice(1, 5)), states[1:5])
    assert torch.equal(data.states(2), states[:, 2])
    windows, _ = data.__getitems__(torch.tensor([7, 0, 17]))
    assert torch.equal(windows, torch.stack([states[2, 1:4], states[0, :3], states[5, 2:5]]))
    assert torch.equal(data.load().__getitems__(torch.tensor([7]))[0], windows[:1])
    xarray = pytest.importorskip("xarray")
    tree = xarray.open_datatree(path, engine="h5netcdf")
    fields = tree["t0_fields"]
    assert fields["position"].dims == ("sample", "time", "particle", "component")
    assert fields["species"].dims == ("sample", "particle")
    assert np.array_equal(fields["position"].values, states[..., :2])
    assert np.array_equal(fields["species"].values, states[:, 0, :, -1])
    assert set(fields.data_vars) == {*sim.names, "species"}
    tree.close()
    changed = states[:2].clone()
    changed[0, 2, 1, -1] = 7
    with (
        pytest.raises(ValueError, match="`species` is static in `layout`, but `states` change it"),
        TrajectoryWriter(tmp_path / "q", name="p", layout=sim.layout, shape=sim.shape, times=sim.times, count=2) as w,
    ):
        w.write(changed)


def test_static_channels_of_fields_are_stored_once(tmp_path):
    axes = ((0.0, 1.0, 2.0), (0.0, 1.0))
    layout = FieldLayout(("u", "wall", "v"), ("x", "y"), axes, "OPEN", ("wall",))
    states = torch.randn(4, 5, 3, 3, 2, generator=seeded())
    states[:, :, 1] = states[:, :1, 1]
    path, times = tmp_path / "f.hdf5", torch.arange(5.0)
    with TrajectoryWriter(path, name="f", layout=layout, shape=(3, 3, 2), times=times, count=4) as writer:
        writer.write(states)
    data = TrajectoryDataset(path, window=2)
    assert data.layout == layout
    assert torch.equal(data.trajectories(slice(0, 4)), states)
    assert torch.equal(data.states(3), states[:, 3])
    assert torch.equal(data.__getitems__(torch.tensor([6]))[0], states[1:2, 2:4])
    assert torch.equal(layout.moving(states), states[:, :, [0, 2]])
    with h5py.File(path) as file:
        assert file["t0_fields/wall"].shape == (4, 3, 2)


@pytest.mark.parametrize("name", ["particles", "particles-underdamped"])
def test_the_whole_chain(name, tmp_path):
    sim = build(find(name), {"particles": 4, "steps": 6, "horizon": 0.6})
    generate(DatasetPlan(sim, {"train": 48, "valid": 16, "test": 4}, 0, name), tmp_path / "data")
    train, valid, test = (TrajectoryDataset(tmp_path / "data" / "data" / s) for s in ("train", "valid", "test"))
    settings = Settings(width=8, depth=1, batch=16, validate_windows=32, validate_every=10)
    train_run(tmp_path / "run", train, valid, settings=settings, budget=Budget(steps=12))
    run = load_run(tmp_path / "run")
    assert isinstance(run.model.reference, ParticleReference)
    fresh = build_model(run.sde, train, settings)
    assert set(fresh.state_dict()) == set(run.model.state_dict())
    with pytest.raises(ValueError, match="`observe` is for vectors and fields; particles are seen whole"):
        reconstruct(run, test, tmp_path / "r.hdf5", SamplingPlan(observe="sensors:0.5"))
    reconstruct(run, test, tmp_path / "r.hdf5", SamplingPlan(samples=4))
    recon = read_reconstruction(tmp_path / "r.hdf5")
    assert torch.equal(recon.samples[..., -1], recon.truth[:, None, :, -1].expand(-1, 4, -1))
    rows = {row.metric: row.value for row in evaluate(recon)}
    assert all(math.isfinite(v) for v in rows.values())
    # static components do not count: the CRPS is that of positions (and momenta) alone
    assert rows["crps"] == pytest.approx(float(crps(recon.samples[..., :-1], recon.truth[..., :-1])))
    paths = draw_reconstruction(recon, tmp_path / "figures") if name == "particles" else []
    assert not paths or {p.stem for p in paths} == {"reconstruction", "ranks", "coverage"}


@pytest.mark.parametrize("dimension", [1, 3])
def test_figures(dimension):
    sim = OverdampedParticles(particles=4, steps=8, dimension=dimension)
    paths = sim.simulate(3, generator=seeded())
    samples = paths[:, :1].repeat(1, 5, 1, 1)
    figures = [
        plot.trajectory(paths[0], sim.times, sim.layout, frames=4),
        plot.reconstruction(paths[:, 0], paths[:, -1], samples, sim.layout, rows=2),
        plot.reconstruction(paths[:, 0], paths[:, -1], samples[:, :1], sim.layout),
    ]
    assert [len(f.axes) for f in figures] == [4, 2 * 6, 3 * 3]
    for figure in figures:
        figure.draw_without_rendering()
        assert all(ax.has_data() for ax in figure.axes)
    dots = figures[0].axes[-1].lines[-1].get_xydata()  # the second species at the last time
    assert np.allclose(dots[:, 0], paths[0, -1, 2:, 0])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: OverdampedParticles(dimension=4), "`dimension` of OverdampedParticles must be between 1 and 3, got 4"),
        (lambda: OverdampedParticles(external="mueller-brown", dimension=3), "needs `dimension` = 2, got 3"),
        (lambda: OverdampedParticles(box=5.0), "`external` of OverdampedParticles must be 'none' in a periodic `box`"),
        (lambda: OverdampedParticles(box=1.5, external="none"), "twice the range of the pair force, 2, got 1.5"),
        (lambda: OverdampedParticles(box=2.5, external="none", neighbours="cells"), "needs a `box` of three cells, 3"),
        (
            lambda: UnderdampedParticles(pair="hard"),
            "`pair` of UnderdampedParticles can't be 'hard'; it must be",
        ),
        (lambda: UnderdampedParticles(friction=-1.0), "`friction` of UnderdampedParticles must be at least 0"),
    ],
)
def test_bad_parameters_are_named(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()
