"""Forces, neighbours, and derivatives of one step."""

import dataclasses

import pytest
import torch
from particle_cases import F64, seeded

from simulators.particles.langevin import OverdampedParticles, UnderdampedParticles
from simulators.particles.neighbours import all_pairs, cell_pairs

PAIRS = ["none", "soft", "wca", "lennard-jones", "yukawa"]


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
