"""Simulators: the contract of all, recipes and cards, and the first four against analytic solutions.

Those are decay and variance of every mode, priors, Boltzmann's law and closed-form marginals.
"""

import math
import re
from pathlib import Path

import pytest
import torch
from scipy.integrate import quad

from physinv.data.recipe import load_recipe
from physinv.equations.solve import euler, solve
from physinv.processes.parameters import build, describe, parameters
from physinv.processes.registry import find
from physinv.processes.registry import simulators as registered
from physinv.processes.simulator import refine
from simulators.fields.advection_diffusion import AdvectionDiffusion
from simulators.fields.allen_cahn import AllenCahn
from simulators.fields.burgers import Burgers
from simulators.fields.gray_scott import GrayScott
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.fields.heat_walls import HeatWalls
from simulators.fields.kpz import KPZ
from simulators.fields.kuramoto_sivashinsky import KuramotoSivashinsky
from simulators.fields.multiplicative_heat import MultiplicativeHeat
from simulators.fields.navier_stokes import NavierStokes
from simulators.fields.navier_stokes_3d import NavierStokes3D
from simulators.fields.wave import Wave
from simulators.numerics.spectral import gaussian_field, power_law
from simulators.particles.langevin import OverdampedParticles, UnderdampedParticles
from simulators.vectors.cox_ingersoll_ross import CoxIngersollRoss
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.geometric_brownian_motion import GeometricBrownianMotion
from simulators.vectors.lorenz import Lorenz63, Lorenz96
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
from simulators.vectors.quadratic import Quadratic

DATASETS = Path(__file__).resolve().parents[2] / "datasets"

EVERY = [
    Heat(size=8, dimension=1),
    Heat(size=8, prior="spots"),
    Heat(size=4, dimension=3, prior="edges"),
    OrnsteinUhlenbeck(dim=1, components=2),
    Quadratic(horizon=0.2, steps=10),
    DoubleWell(dimension=2, steps=10),
    AdvectionDiffusion(size=8, steps=3),
    AllenCahn(size=8, steps=3),
    Burgers(size=16, viscosity=0.2, steps=3),
    Burgers(size=8, dimension=2, viscosity=0.2, steps=3),
    CoxIngersollRoss(steps=4),
    GeometricBrownianMotion(steps=4),
    GrayScott(size=8, length=0.2, spin_up=5.0, steps=2),
    HeatConductivity(size=8, steps=2),
    HeatWalls(size=8, steps=2),
    KPZ(size=16, diffusivity=0.2, steps=3),
    KuramotoSivashinsky(size=32, spin_up=1.0, steps=3),
    Lorenz63(steps=3),
    Lorenz96(sites=5, spin_up=0.1, steps=3),
    MultiplicativeHeat(size=8, steps=3),
    NavierStokes(size=16, spin_up=0.1, strength=1.0, steps=2),
    NavierStokes3D(size=6, steps=2),
    OverdampedParticles(particles=4, steps=2),
    UnderdampedParticles(particles=4, dimension=3, steps=2),
    Wave(size=8, steps=3),
]
OURS = {
    "advection-diffusion": AdvectionDiffusion,
    "allen-cahn": AllenCahn,
    "burgers": Burgers,
    "cox-ingersoll-ross": CoxIngersollRoss,
    "double-well": DoubleWell,
    "geometric-brownian-motion": GeometricBrownianMotion,
    "gray-scott": GrayScott,
    "heat": Heat,
    "heat-conductivity": HeatConductivity,
    "heat-walls": HeatWalls,
    "kpz": KPZ,
    "kuramoto-sivashinsky": KuramotoSivashinsky,
    "lorenz-63": Lorenz63,
    "lorenz-96": Lorenz96,
    "multiplicative-heat": MultiplicativeHeat,
    "navier-stokes": NavierStokes,
    "navier-stokes-3d": NavierStokes3D,
    "ornstein-uhlenbeck": OrnsteinUhlenbeck,
    "particles": OverdampedParticles,
    "particles-underdamped": UnderdampedParticles,
    "quadratic": Quadratic,
    "wave": Wave,
}


@pytest.mark.parametrize("sim", EVERY, ids=lambda s: f"{type(s).__name__}{s.shape}")
def test_every_simulator_keeps_its_contract(sim):
    runs = [sim.simulate(6, generator=torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(*runs)
    assert runs[0].shape == (6, len(sim.times), *sim.shape)
    assert runs[0].dtype == torch.float32
    assert bool(runs[0].isfinite().all())
    assert sim.simulate(2, dtype=torch.float64).dtype == torch.float64
    assert sim.times[0] == 0
    layout = sim.layout
    assert len(layout.coordinates) == len(layout.axes)
    sizes = tuple(len(c) for c in layout.coordinates)
    moving, static = (sum((n in layout.static) == still for n in layout.names) for still in (False, True))
    want = {
        "vector": sizes,
        "field": (moving + static, *sizes),
        "particles": (sizes[0], moving * sizes[-1] + static),  # vectors of each particle, then one number each
    }
    assert sim.shape == layout.shape == want[layout.kind]
    numbered = torch.arange(float(math.prod(sim.shape))).reshape(sim.shape)
    parts = {name: numbered[(..., *place)] for name, place in layout.parts()}
    assert all(part.ndim == len(layout.axes_of(name)) for name, part in parts.items())
    assert torch.equal(torch.cat([part.flatten() for part in parts.values()]).sort().values, numbered.flatten())
    kept = torch.cat([part.flatten() for name, part in parts.items() if name not in layout.static])
    assert torch.equal(layout.moving(numbered).flatten().sort().values, kept.sort().values)
    for name, place in layout.parts():
        if name in layout.static:
            assert torch.equal(runs[0][(..., *place)], runs[0][:, :1][(..., *place)].expand_as(runs[0][(..., *place)]))
    assert build(type(sim), describe(sim)) == sim
    assert {p["name"] for p in parameters(type(sim))} == set(describe(sim))
    other = sim.simulate(6, generator=torch.Generator().manual_seed(5))
    assert not torch.equal(other, runs[0])


@pytest.mark.parametrize("sim", EVERY, ids=lambda s: f"{type(s).__name__}{s.shape}")
def test_images_are_symmetries(sim, generator):
    """S f(x) = f(S x), and S leaves the law of x_0 as it is (compared by mean and skewness of the first component)."""
    x = sim.initial(4000, generator=generator, dtype=torch.float64)
    t = torch.zeros(len(x), dtype=torch.float64)
    drift = sim.drift(x, t)
    rounding = 1e-12 * max(1e3, float(drift.abs().max()))  # of double precision, in units of the largest rate
    for state, force in zip(sim.images(x), sim.images(drift), strict=True):
        assert torch.allclose(sim.drift(state, t), force, atol=rounding)
        first, original = state.flatten(1)[:, 0], x.flatten(1)[:, 0]
        for power in (1, 3):
            gap = first.pow(power) - original.pow(power)  # of pairs, so that five standard errors are just that
            assert abs(float(gap.mean())) <= 5 * float(gap.std()) / math.sqrt(len(x)) + 1e-12


def ours():
    """The registered simulators that are in this repository: other packages may register theirs."""
    return {name: cls for name, cls in registered().items() if cls.__module__.startswith("simulators.")}


def test_registered_simulators_are_ours():
    found = ours()
    assert found == {**OURS, "buoyancy": found["buoyancy"]}
    assert {type(sim) for sim in EVERY} == set(OURS.values())


@pytest.mark.parametrize("folder", sorted(p.parent for p in DATASETS.glob("*/recipe.toml")), ids=lambda p: p.name)
def test_recipe_builds_and_its_card_says_so(folder):
    """Times, splits and size in the card and in the table are those of the recipe."""
    recipe = load_recipe(folder / "recipe.toml")
    sim = build(find(recipe.simulator), recipe.parameters)
    card = (folder / "README.md").read_text("utf-8")
    row = re.search(
        rf"^\| \[{folder.name}\]\({folder.name}/README.md\) \|.*$", (DATASETS / "README.md").read_text(), re.M
    )
    assert row
    assert card.startswith(f"# {folder.name}\n")
    assert f"physinv generate datasets/{folder.name}/recipe.toml\n" in card
    splits = recipe.splits
    assert f"| times | {sim.steps + 1} stored states from 0 to T = {sim.horizon:g}" in card
    assert f"| trajectories | {splits.train} train, {splits.valid} valid, {splits.test} test |" in card
    assert f"| {sim.horizon:g} | {splits.train}, {splits.valid}, {splits.test} |" in row[0]
    sizes = [re.search(r"\| ([\d.]+) MB", text) for text in (card, row[0])]
    assert all(sizes)
    assert sizes[0][1] == sizes[1][1]
    if sim.layout.kind == "field":  # for smaller states what the file format adds counts as well
        still = len(sim.layout.static)
        channels = (sim.shape[0] - still) * (sim.steps + 1) + still
        numbers = (splits.train + splits.valid + splits.test) * channels * math.prod(sim.shape[1:])
        assert float(sizes[0][1]) == pytest.approx(4e-6 * numbers, rel=0.02)  # two figures are given


def test_every_simulator_of_ours_has_a_recipe():
    recipes = {load_recipe(path).simulator for path in DATASETS.glob("*/recipe.toml")}
    assert set(ours()) == recipes
    assert not [p for p in DATASETS.iterdir() if (p / "README.md").exists() != (p / "recipe.toml").exists()]


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_heat_modes_decay_as_they_must(dimension):
    heat = Heat(size=8, dimension=dimension, noise=0.0, diffusivity=0.7)
    x = torch.arange(8, dtype=torch.float64) * 2 * math.pi / 8
    mesh = torch.meshgrid(*[x] * dimension, indexing="ij")
    wave = torch.cos(2 * mesh[0]) * (torch.sin(mesh[-1]) if dimension > 1 else 1)
    k2 = 4 + (1 if dimension > 1 else 0)
    end = heat.run(wave[None, None], noise=False)[0, -1, 0]
    assert torch.allclose(end, math.exp(-0.7 * k2 * heat.horizon) * wave, atol=1e-13)


def test_heat_noise_has_the_exact_variance_in_every_mode(generator):
    heat = Heat(size=8, steps=3)
    n = 20_000
    still = torch.zeros(n, *heat.shape, dtype=torch.float64)
    end = solve(heat, still, heat.times, step=heat.step, generator=generator)[:, -1]
    power = heat.modes(end).abs().square().mean(0)
    want = heat.variance(0.0, torch.full((1,), heat.horizon, dtype=torch.float64), still[:1])[0]
    # relative standard error of a mean of |N|^2 over n draws is at most sqrt(2/n); five of them
    assert torch.allclose(power / want, torch.ones_like(power), atol=5 * math.sqrt(2 / n))
    # Euler with steps of T/300 sees the same process
    k2 = -heat.rates(still[:1])[0]
    dt = heat.horizon / 300
    chain = heat.noise**2 * dt * sum((1 - k2 * dt) ** (2 * j) for j in range(300))
    assert torch.allclose(chain / want, torch.ones_like(want), atol=0.03)  # k^2 dt <= .02


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_gaussian_prior_has_its_spectrum_and_unit_variance(dimension, generator):
    like = torch.zeros(4000, 1, *[8] * dimension, dtype=torch.float64)
    field = gaussian_field(torch.randn(like.shape, generator=generator, dtype=torch.float64), 4.0)
    power = power_law(like, 4.0)
    space = tuple(range(2, like.ndim))
    modes = torch.fft.rfftn(field, dim=space, norm="ortho").abs().square().mean(0)
    keep = power > 0
    assert torch.allclose((modes / power)[keep], torch.ones_like(power[keep]), atol=5 * math.sqrt(2 / 4000))
    full = torch.fft.fftn(field, dim=space, norm="ortho").abs().square().mean(0)
    assert float(full.mean()) == pytest.approx(1.0, abs=0.06)  # Parseval: unit pixel variance
    assert float(modes.flatten()[0]) == pytest.approx(0.0, abs=1e-20)
    ratio = power_law(like, 4.0).flatten()
    assert float(ratio[1] / ratio[2]) == pytest.approx(16.0)  # |k| = 1 against |k| = 2


def test_other_priors_are_what_they_say(generator):
    edges = Heat(prior="edges").initial(200, generator=generator)
    assert set(edges.unique().tolist()) == {-1.0, 1.0}
    spots = Heat(prior="spots").initial(200, generator=generator)
    assert torch.allclose(spots.mean((1, 2, 3)), torch.zeros(200), atol=1e-5)
    assert 1 < float(spots.abs().amax((1, 2, 3)).mean()) < 3
    assert Heat(prior="spots").exact() is None


def test_ou_marginals_are_closed_forms(generator):
    ou = OrnsteinUhlenbeck()
    x = ou.simulate(50_000, generator=generator, dtype=torch.float64)
    for i in (0, 10, 40):
        law = ou.marginal(float(ou.times[i]))
        assert torch.allclose(x[:, i].mean(0), law.mean(), atol=5 * 1.3 / math.sqrt(50_000))
        # E[-log p(x)] over samples equals that over draws of the closed form
        drawn = law.sample(50_000, generator=generator)
        assert float((law.log_prob(x[:, i]).mean() - law.log_prob(drawn).mean()).abs()) < 5 * 1.5 / math.sqrt(25_000)


def test_ou_score_is_the_gradient_of_its_marginal():
    ou = OrnsteinUhlenbeck(dim=3)
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (slope,) = torch.autograd.grad(ou.marginal(0.6).log_prob(x).sum(), x)
    assert torch.allclose(ou.score(x.detach(), torch.full((7,), 0.6, dtype=torch.float64)), slope, atol=1e-12)


def test_quadratic_is_the_published_chain(generator):
    """Euler steps of .01, every second one stored; starts +-1 in equal numbers; noise-free |x| = 1 / (1 + rate t)."""
    sim = Quadratic(horizon=1.0, steps=50)
    x = sim.initial(250, generator=generator)
    assert sorted(x.flatten().tolist()) == [-1.0] * 125 + [1.0] * 125
    path = sim.run(x, generator=torch.Generator().manual_seed(1))
    again = solve(sim, x, refine(sim.times, 2), step=euler, generator=torch.Generator().manual_seed(1))[:, ::2]
    assert torch.equal(path, again)
    errors = []
    for inner in (2, 4, 8):
        fine = Quadratic(horizon=1.0, steps=50, inner=inner).run(x.double()[:1], noise=False)[0, -1, 0].abs()
        errors.append(abs(float(fine) - 1 / 8))
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.2)  # first order
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.2)


def test_double_well_keeps_boltzmanns_law(generator):
    """Detailed balance: started from exp(-U/kT) by rejection, a long run has its moments still."""
    sim = DoubleWell(dimension=2, temperature=0.4, horizon=2.0, steps=20, inner=10)
    x = 4 * torch.rand((400_000, 2), generator=generator, dtype=torch.float64) - 2
    keep = torch.rand(len(x), generator=generator, dtype=torch.float64) < torch.exp(-sim.potential(x) / 0.4)
    end = sim.run(x[keep], generator=generator)[:, -1]

    def moment(power):
        weight = [quad(lambda y, p=p: abs(y) ** p * math.exp(-((y**2 - 1) ** 2) / 0.4), -4, 4)[0] for p in (power, 0)]
        return weight[0] / weight[1]

    n = len(end)
    assert n > 20_000
    assert float(end[:, 0].square().mean()) == pytest.approx(moment(2), abs=5 * 0.7 / math.sqrt(n))
    assert float(end[:, 0].pow(4).mean()) == pytest.approx(moment(4), abs=5 * 1.6 / math.sqrt(n))
    # equipartition along x_2: stiffness <x_2^2> = kT, apart from the truncation of the start at |x_2| < 2
    assert float(sim.stiffness * end[:, 1].square().mean() / 0.4) == pytest.approx(
        1.0, abs=5 * math.sqrt(2 / n) + 0.005
    )


def test_force_is_minus_the_gradient_of_the_potential():
    sim = DoubleWell(dimension=2)
    x = torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    (slope,) = torch.autograd.grad(sim.potential(x).sum(), x)
    assert torch.allclose(sim.drift(x.detach(), torch.zeros(9, dtype=torch.float64)), -slope, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: build(Heat, {"sise": 3}), "Heat has no parameter `sise`; did you mean `size`?"),
        (lambda: build(Heat, {"size": 3.5}), "`size` of Heat must be of type int, got 3.5"),
        (lambda: build(Heat, {"noise": float("nan")}), "`noise` of Heat must be finite"),
        (lambda: Heat(noise=1e200), "`noise` of Heat must be between 1e-38 and 1e+38 in size, got 1e+200"),
        (lambda: Heat(horizon=5e-324), "`horizon` of Heat must be between 1e-38"),  # an interval of no length
        (lambda: build(Heat, {"horizon": -1}), "`horizon` of Heat must be above 0"),
        (lambda: build(Heat, {"dimension": 4}), "`dimension` of Heat must be between 1 and 3, got 4"),
        (lambda: build(DoubleWell, {"dimension": 3}), "`dimension` of DoubleWell must be between 1 and 2, got 3"),
        (lambda: build(Heat, {"prior": "edge"}), "did you mean `edges`?"),
    ],
)
def test_bad_parameters_are_named(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()
