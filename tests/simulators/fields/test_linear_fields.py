"""Every linear field keeps its contract, has its symmetries, and names bad parameters."""

import math
import re

import pytest
import torch
from linear_field_cases import clock, close, doubles, mesh

from physinv.equations.solve import exponential
from physinv.processes.parameters import build, describe
from simulators.fields.advection_diffusion import AdvectionDiffusion
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.fields.heat_walls import HeatWalls
from simulators.fields.wave import Wave

EVERY = [
    HeatWalls(size=8),
    HeatWalls(size=8, dimension=1, walls="neumann", prior="spots"),
    HeatConductivity(size=8, steps=2),
    HeatConductivity(size=8, dimension=1, steps=2, prior="gaussian"),
    *[AdvectionDiffusion(size=8, steps=3, flow=flow) for flow in ("uniform", "shear", "cellular")],
    Wave(size=8, dimension=2, steps=3),
    Wave(size=8, steps=3, prior="spots"),
]


def named(sim):
    return "-".join([type(sim).__name__, *[str(v) for v in describe(sim).values() if isinstance(v, str)]])


@pytest.mark.parametrize("sim", EVERY, ids=named)
def test_every_simulator_keeps_its_contract(sim):
    runs = [sim.simulate(3, generator=torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(*runs)
    assert runs[0].shape == (3, len(sim.times), *sim.shape)
    assert runs[0].dtype == torch.float32
    assert bool(runs[0].isfinite().all())
    assert sim.simulate(2, dtype=torch.float64).dtype == torch.float64
    sizes = tuple(len(c) for c in sim.layout.coordinates)
    assert sim.shape == (len(sim.layout.names), *sizes)
    assert build(type(sim), describe(sim)) == sim


@pytest.mark.parametrize("sim", EVERY, ids=named)
def test_images_are_symmetries(sim, generator):
    """``S f(x) = f(S x)``, ``S S = 1``, S orthogonal, and the starts' law stays (mean and skewness of one cell)."""
    x = sim.initial(4000, generator=generator, dtype=torch.float64)
    t = torch.zeros(len(x), dtype=torch.float64)
    assert len(sim.images(x[:1])) >= 4
    window = x[:6].unflatten(0, (2, 3))  # training asks for the images of whole windows
    for image, single in zip(sim.images(window), sim.images(x[:6]), strict=True):
        assert torch.equal(image.flatten(0, 1), single)
    for i, (state, force) in enumerate(zip(sim.images(x), sim.images(sim.drift(x, t)), strict=True)):
        assert close(sim.drift(state, t), force, atol=1e-9)
        assert close(sim.images(state[:9])[i], x[:9])
        assert close(state.square().mean(), x.square().mean())
        first, original = state.flatten(1)[:, 1], x.flatten(1)[:, 1]
        for power in (1, 3):
            error = float((first.pow(power).var() + original.pow(power).var()).sqrt()) / math.sqrt(len(x))
            assert float(first.pow(power).mean()) == pytest.approx(float(original.pow(power).mean()), abs=5 * error)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: HeatWalls(dimension=3), "`dimension` of HeatWalls must be between 1 and 2, got 3."),
        (lambda: HeatWalls(walls="neuman"), "did you mean `neumann`?"),
        (lambda: HeatConductivity(dimension=3), "`dimension` of HeatConductivity must be between 1 and 2, got 3"),
        (lambda: HeatConductivity(contrast=0.5), "`contrast` of HeatConductivity must be at least 1, got 0.5"),
        (lambda: Wave(dimension=3), "`dimension` of Wave must be between 1 and 2, got 3"),
    ],
)
def test_bad_parameters_are_named(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()


def test_stability_bounds_are_where_they_are_said_to_be():
    """A step at the bound keeps the fastest mode from growing, one of 1.1 times the bound does not."""
    n, h = 16, 2 / (4 * 1.0 / (2 * math.pi / 16) ** 2)
    zigzag = torch.stack([(-1.0) ** torch.arange(n), torch.ones(n)])[None].double()
    sim = HeatConductivity(size=n, dimension=1, steps=1, noise=0.0)
    still = torch.zeros(1, 1, 2, n, dtype=torch.float64)
    for factor, grows in ((1.0, False), (1.1, True)):
        end = sim.step(sim, zigzag, clock(0.0), clock(factor * h), still)
        assert (float(end[0, 0].abs().max()) > 1 + 1e-9) == grows
    x, _ = mesh(n, 2)
    stirred = AdvectionDiffusion(size=n, flow="uniform", noise=0.0, steps=99)
    wave = (7 * x).cos()[None, None]
    for phase, grows in ((2.8, False), (2.9, True)):
        assert (float(stirred.stir(wave, clock(phase / 7)).norm() / wave.norm()) > 1) == grows


def test_exponential_refuses_what_is_not_linear():
    with pytest.raises(ValueError, match="`exponential` solves Linear SDEs only, got Wave"):
        exponential(Wave(size=4), doubles(1, 2, 4), clock(0.0), clock(1.0), doubles(1, 1, 2, 4))
