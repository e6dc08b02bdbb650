"""Particles: forces, heat baths and splittings against statistical mechanics; layout, network and whole chain."""

import math
import re

import h5py
import numpy as np
import pytest
import torch
from particle_cases import F64, seeded

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.data.writer import TrajectoryWriter
from physinv.evaluation.evaluate import evaluate
from physinv.evaluation.metrics import crps
from physinv.models.build import build_model
from physinv.models.references.particles import ParticleReference
from physinv.posterior.reconstruction import read_reconstruction
from physinv.processes.layout import FieldLayout
from physinv.processes.parameters import build, describe, parameters
from physinv.processes.registry import find
from physinv.reports import plots as plot
from physinv.reports.reconstruction import draw_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import load_run, train_run
from physinv.runs.sampling.plan import SamplingPlan
from physinv.training.budget import Budget
from simulators.particles.langevin import OverdampedParticles, UnderdampedParticles

pytestmark = pytest.mark.usefixtures("few_judges")


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


@pytest.mark.parametrize("cls", [OverdampedParticles, UnderdampedParticles])
def test_files_hold_particles(cls, tmp_path):
    sim = cls(particles=5, steps=4)
    states = sim.simulate(6, generator=seeded())
    path = tmp_path / "p.hdf5"
    with TrajectoryWriter(
        path,
        name="p",
        layout=sim.layout,
        shape=sim.shape,
        times=sim.times,
        count=6,
        config={"simulator": "x", "parameters": {}},
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
    reconstruct(run, test, tmp_path / "r.hdf5", SamplingPlan(samples=4, certify=2))
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
