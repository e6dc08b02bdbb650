"""Jump kernels of particles: equivariant, and exact before any training where the process is linear."""

import copy
import math

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.models.jumps.particle_noise import ParticleNoise, exchangeable_covariance
from physinv.models.jumps.particles import empty_particle_jumps, fit_particle_jumps
from simulators.particles.langevin import OverdampedParticles

N = 4000
CLOUD = {"particles": 3, "start": "cloud", "width": 0.8, "steps": 2, "horizon": 0.6, "temperature": 0.5}


@pytest.fixture(scope="module")
def free():
    """Independent particles in a trap: an Ornstein-Uhlenbeck process of every component."""
    return OverdampedParticles(pair="none", **CLOUD)


@pytest.fixture(scope="module")
def fitted(free, tmp_path_factory):
    folder = tmp_path_factory.mktemp("particles") / "d"
    generate(DatasetPlan(free, {"train": N, "valid": N, "test": 1}, 0, "particles"), folder)
    data = {s: TrajectoryDataset(folder / "data" / s).load() for s in ("train", "valid")}
    kernel = fit_particle_jumps(free, data["train"], Settings(), seed=0).eval()
    kernel.finish(data["valid"])
    return kernel, data["train"]


def exact(simulator):
    """Slope and deviation of x_0 given x_T, for every component; Heun's steps are right to h^3."""
    decay = math.exp(-simulator.stiffness * simulator.horizon)
    added = simulator.temperature / simulator.stiffness * (1 - decay**2)
    variance = simulator.width**2
    slope = decay * variance / (decay**2 * variance + added)
    return slope, math.sqrt(variance * (1 - slope * decay))


def test_without_training_independent_particles_have_their_exact_posterior(free, fitted, generator):
    kernel, data = fitted
    slope, deviation = exact(free)
    final = data.states(-1, limit=20)
    mean, _ = kernel.moments(final, 0)
    # three slopes, of the particle, its species and all, from 8000 and 16000 components: each known to about 1 %
    assert float((mean - slope * final[..., :2]).square().mean().sqrt()) < 0.03 * deviation
    drawn = kernel.draw(final.repeat_interleave(500, 0), 0, generator=generator).reshape(20, 500, 3, 3)
    spread = (drawn[..., :2] - mean[:, None]).square().mean().sqrt()
    assert abs(float(spread) / deviation - 1) < 0.03
    assert torch.equal(drawn[..., 2], final[:, None, :, 2].expand(20, 500, 3))


def test_mean_and_deviation_turn_and_change_places_with_the_particles(fitted, generator):
    kernel, data = copy.deepcopy(fitted[0]), fitted[1]
    for p in kernel.network.parameters():  # trained networks are not 0 in their last layers
        p.data += 0.03 * torch.randn(p.shape, generator=generator)
    x = data.states(-1, limit=6)
    x[..., 2] = 1.0  # of one species
    mean, deviation = kernel.moments(x, 0)
    angle = torch.tensor(0.7)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    turned = torch.cat([x[..., :2] @ turn.T, x[..., 2:]], -1)[:, [2, 0, 1]]
    # the ways back are clamped to a box, which no rotation leaves as it is: these particles are inside of it
    mean_turned, deviation_turned = kernel.moments(turned, 0)
    assert torch.allclose(mean_turned, (mean @ turn.T)[:, [2, 0, 1]], atol=1e-4)
    assert torch.allclose(deviation_turned, deviation[:, [2, 0, 1]], rtol=1e-3)
    assert float((mean - mean.mean(0)).abs().max()) > 0.01


def test_a_stored_kernel_draws_the_same(fitted, free, generator):
    kernel, data = fitted
    again = empty_particle_jumps(free, data.times, data.layout, Settings(), seed=9)
    again.load_state_dict(kernel.state_dict())
    final = data.states(-1, limit=4)
    one, two = (k.eval().draw(final, 0, generator=torch.Generator().manual_seed(1)) for k in (kernel, again))
    assert torch.equal(one, two)


def test_noise_of_particles_on_springs_has_the_covariance_of_their_posterior(generator):
    """Two particles that a linear physics couples: Laplace's covariance is that of Kalman."""
    mix = torch.tensor([[0.6, 0.3], [0.3, 0.6]])  # of the two particles, every component alone

    def forward(moving, later):
        return torch.einsum("ij,bjk->bik", mix, moving)

    species = torch.ones(N, 2, 1)
    x = 0.9 * torch.randn(N, 2, 2, generator=generator)
    later = torch.cat([forward(x, x) + 0.2 * torch.randn(N, 2, 2, generator=generator), species], -1)
    noise = ParticleNoise(1, 2, 1, 2)
    assert noise.fit(forward, x, later, x, 0)
    row = torch.zeros(2 * N, dtype=torch.int64)
    wide = torch.full((1, 2, 2), 5.0)  # the learned deviations bound nothing
    drawn = noise.draw(forward, torch.zeros(1, 2, 2), wide, later[:1], row, 0, generator=generator)
    found = torch.einsum("bik,bjk->ij", drawn, drawn) / (2 * len(drawn))
    want = torch.linalg.inv(mix.T @ mix / 0.04 + torch.eye(2) / 0.81)
    # the noise's variance and that of the draws are known to 2 % each; weights fall to 0 as 1 / rounds
    assert torch.allclose(found, want, atol=0.06 * float(want.diagonal().max()))
    assert float(found[0, 1] / found[0, 0]) < -0.5  # what one has too much the other has too little


def test_learned_deviations_bound_those_of_draws(generator):
    noise = ParticleNoise(1, 2, 1, 1)
    x = torch.randn(N, 2, 1, generator=generator)
    later = torch.cat([x + 0.5 * torch.randn(N, 2, 1, generator=generator), torch.ones(N, 2, 1)], -1)
    assert noise.fit(lambda moving, _: moving, x, later, x, 0)
    bound = torch.tensor([[[0.1], [0.3]]])
    row = torch.zeros(2 * N, dtype=torch.int64)
    drawn = noise.draw(lambda moving, _: moving, 0 * bound, bound, later[:1], row, 0, generator=generator)
    assert torch.allclose(drawn.std(0) / bound[0], torch.ones(2, 1), atol=0.05)


def test_the_exchangeable_covariance_is_that_of_the_data(generator):
    """Of particles that share a species' centre, and of two species whose centres are opposite."""
    centre = torch.randn(8 * N, 1, 2, generator=generator)
    species = torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None]
    moving = species * centre + torch.tensor([[0.5], [0.5], [0.2], [0.2]]) * torch.randn(
        8 * N, 4, 2, generator=generator
    )
    x = torch.cat([moving, species.expand(8 * N, 4, 1)], -1).double()
    flat = moving.flatten(1).double()
    sample = flat.T @ flat / len(flat)
    assert torch.allclose(exchangeable_covariance(x), sample, atol=0.03)


def test_many_particles_have_independent_noise():
    assert not ParticleNoise(1, 100, 1, 2).few
    assert ParticleNoise(1, 64, 1, 2).few
