"""The reference law and the network of particles."""

import math

import pytest
import torch
from particle_cases import F64, seeded

from physinv.models.networks import ParticleNet
from physinv.models.references.particles import ParticleReference, fit_tables
from physinv.models.references.registry import load_reference
from simulators.particles.langevin import OverdampedParticles, UnderdampedParticles


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
