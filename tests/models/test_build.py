"""Score models as they are built: reference laws that are right, symmetric scores of vectors."""

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.equations.broadcast import expand
from physinv.equations.sde import SDE
from physinv.models.build import build_model
from physinv.models.references.linear import LinearReference
from physinv.models.references.mixture import MixtureReference
from physinv.models.references.smoother import SmootherReference
from simulators.fields.heat import Heat
from simulators.vectors.double_well import DoubleWell
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

QUICK = Settings(width=16, depth=2)


def test_reference_laws_are_right(generator, tmp_path):
    heat = Heat(size=8, steps=4)
    generate(DatasetPlan(heat, {"train": 3000}, 0, "heat"), tmp_path / "heat")
    data = TrajectoryDataset(tmp_path / "heat" / "data" / "train").load()
    model = build_model(heat, data, QUICK)
    assert isinstance(model.reference, LinearReference)
    exact, x = heat.exact(), data.states(2)
    t = torch.full((len(x),), float(data.times[2]))
    power = heat.modes(x).abs().square().mean(0).flatten()[1:]
    reference = model.reference.spectrum(t[:1], x[:1]).now[0].flatten()[1:]
    assert torch.allclose(power / reference, torch.ones_like(power), atol=5 * (2 / 3000) ** 0.5)
    assert torch.allclose(
        model.reference.power0.flatten()[1:] / exact.power.float().flatten()[1:], torch.ones_like(power), atol=0.13
    )

    class Nonlinear(SDE):
        def drift(self, x, t):
            return -(x**3)

        def diffusion(self, t):
            return torch.ones_like(t)

    other = build_model(Nonlinear(), data, QUICK)
    assert isinstance(other.reference, SmootherReference)
    # E[(x - m) . score] = -(number of components) for a Gaussian reference with the data's own moments (of the first
    # 1024 trajectories); the mean mode, whose variance is that of the noise, included
    few = x[:1024]
    score = other.reference.score(few, t[:1024])
    assert float(((few - few.mean(0)) * score).sum() / few.numel()) == pytest.approx(-1.0, abs=1e-4)
    assert other(x[:5], t[:5]).shape == (5, 1, 8, 8)


def test_mixture_reference_finds_the_clusters(tmp_path):
    sim = OrnsteinUhlenbeck(dim=2, steps=20)
    generate(DatasetPlan(sim, {"train": 400}, 0, "ornstein-uhlenbeck"), tmp_path / "d")
    model = build_model(sim, TrajectoryDataset(tmp_path / "d" / "data" / "train"), QUICK)
    reference = model.reference
    assert isinstance(reference, MixtureReference)
    assert len(reference.weights) == 3
    true = OrnsteinUhlenbeck(dim=2).prior.weights
    # 400 trajectories: standard error of a share at most .025
    assert torch.allclose(reference.weights.sort().values, true.float().sort().values, atol=0.1)
    x = torch.randn(20, 2)
    t = torch.full((20,), 0.7)
    assert torch.allclose(reference.score(x, t), reference.law(0.7).score(x), rtol=1e-3, atol=1e-3)
    assert bool((reference.precision(x, t) > 0).all())


def test_physics_feature_vanishes_where_there_is_no_noise(tmp_path):
    sim = DoubleWell(temperature=0.0, steps=4)
    generate(DatasetPlan(sim, {"train": 200}, 0, "double-well"), tmp_path / "w")
    data = TrajectoryDataset(tmp_path / "w" / "data" / "train").load()
    model = build_model(sim, data, QUICK)
    states = data.states(2)
    t = torch.full((len(states),), float(data.times[2]))
    assert bool(model(states, t).isfinite().all())
    assert expand(torch.ones(3), torch.ones(3, 2, 2)).shape == (3, 1, 1)


def test_vectors_get_symmetric_scores_and_fields_do_not(tmp_path):
    for sim, name, mirrored in ((DoubleWell(steps=4), "double-well", True), (Heat(size=8, steps=4), "heat", False)):
        generate(DatasetPlan(sim, {"train": 20}, 0, name), tmp_path / name)
        model = build_model(sim, TrajectoryDataset(tmp_path / name / "data" / "train"), Settings(depth=1))
        assert (model.images is not None) == mirrored
