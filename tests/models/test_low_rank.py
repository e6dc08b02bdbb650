"""The low-rank reference law: Woodbury against dense algebra, factor analysis, a linear-Gaussian posterior in 40
dimensions.
"""

import math

import pytest
import torch

from physinv.config.files import load_tensors
from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.equations.sde import SDE
from physinv.equations.time_grids import resample_times
from physinv.models.build import build_model
from physinv.models.references.low_rank import LowRankReference, factor_analysis
from physinv.models.references.registry import fit_reference
from physinv.models.references.smoother import SmootherReference
from physinv.posterior.posterior import Posterior
from physinv.processes.layout import FieldLayout
from physinv.runs.run import load_run, train_run
from physinv.training.budget import Budget
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

D, RANK = 40, 3
TIMES = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)


@pytest.fixture
def reference(generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mean, factor, diagonal = draw(3, D), draw(3, D, RANK), 0.1 + draw(3, D).square()
    return LowRankReference(OrnsteinUhlenbeck(dim=D), TIMES, mean, factor, diagonal, draw(3, 2, D).sort(1).values)


@pytest.mark.parametrize("at", [0.5, 1.1])
def test_woodbury_is_dense_algebra(reference, at, generator):
    x = torch.randn(7, D, generator=generator, dtype=torch.float64)
    t = torch.full((7,), at, dtype=torch.float64)
    w = 0.0 if at == 0.5 else (at - 0.5) / 1.5
    m, U, diagonal = (
        (1 - w) * table[1] + w * table[2] for table in (reference.mean, reference.factor, reference.diagonal)
    )
    C = U @ U.T + diagonal.diag()
    law = torch.distributions.MultivariateNormal(m, C)
    assert torch.allclose(reference.log_prob(x, t), law.log_prob(x), rtol=1e-10)
    assert torch.allclose(reference.score(x, t), -torch.linalg.solve(C, (x - m).T).T, rtol=1e-10, atol=1e-10)
    if at == 0.5:
        assert torch.allclose(reference.precision(x, t)[0], torch.linalg.inv(C).diagonal(), rtol=1e-10)


def test_score_is_the_gradient_of_log_prob(reference, generator):
    x = torch.randn(4, D, generator=generator, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.0, 0.2, 1.0, 2.0], dtype=torch.float64)
    (slope,) = torch.autograd.grad(reference.log_prob(x, t).sum(), x)
    assert torch.allclose(reference.score(x, t), slope, rtol=1e-10, atol=1e-10)


def test_features_and_lift_are_of_order_one(reference, generator):
    """Under the reference law features (but the physics) before asinh and score / lift(1) have unit variance."""
    n = 20_000
    U, diagonal = reference.factor[1], reference.diagonal[1]
    z, e = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (RANK, D))
    x, t = reference.mean[1] + z @ U.T + diagonal.sqrt() * e, torch.full((n,), 0.5, dtype=torch.float64)
    features = reference.features(x, t)
    assert features.shape == (n, reference.channels_in)
    one = torch.ones(D, dtype=torch.float64)
    error = 5 * math.sqrt(2 / n)
    assert torch.allclose(features[:, :D].var(0), one, atol=error)
    assert torch.allclose(features[:, D : 2 * D].sinh().var(0), one, atol=error)
    out = torch.cat([torch.ones_like(x), torch.zeros_like(x)], dim=1)
    assert torch.allclose((reference.score(x, t) / reference.lift(out, x, t)).var(0), one, atol=error)
    # the second half of the output multiplies the physics, 2 f / g^2, relative to the mean
    physics = reference.lift(out.flip(1), x, t)
    assert torch.allclose(physics, -2 * 0.5 / 0.5**2 * (x - reference.mean[1]), rtol=1e-9, atol=1e-9)


def test_factor_analysis_finds_the_law(generator):
    """Components of very different noise, which principal component analysis alone would take for factors."""
    n = 20_000
    U = torch.randn(D, RANK, generator=generator, dtype=torch.float64)
    diagonal = torch.logspace(-1, 1, D, dtype=torch.float64)
    z, e = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (RANK, D))
    found, rest = factor_analysis(5 + z @ U.T + diagonal.sqrt() * e, 16)
    assert found.shape == (D, 16)
    assert int((found.abs().sum(0) > 0).sum()) == RANK
    C, scale = U @ U.T + diagonal.diag(), ((U @ U.T).diagonal() + diagonal).sqrt()
    gap = (found @ found.T + rest.diag() - C) / (scale[:, None] * scale)
    # an entry of a correlation matrix has the standard error 1/sqrt(n), a variance sqrt(2/n); 800 entries, 5 errors
    assert float(gap.abs().max()) < 5 * math.sqrt(2 / n)
    assert torch.allclose(rest / diagonal, torch.ones(D, dtype=torch.float64), atol=0.15)


def test_independent_components_need_no_factors(generator):
    x = torch.randn(2000, 30, generator=generator, dtype=torch.float64)
    U, rest = factor_analysis(x, 16)
    assert int((U.abs().sum(0) > 0).sum()) == 1  # the least there is
    assert torch.allclose(U @ U.T + rest.diag(), torch.eye(30, dtype=torch.float64), atol=6 / math.sqrt(2000))


class Correlated(OrnsteinUhlenbeck):
    """40 components that start from N(1, U U^T + .3)."""

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        z, e = (torch.randn((batch, k), generator=generator, dtype=dtype) for k in (RANK, D))
        return 1 + z @ self.directions.to(dtype).T + math.sqrt(0.3) * e

    @property
    def directions(self):
        i = torch.arange(D, dtype=torch.float64)[:, None]
        return torch.cat([torch.cos(i / 7), torch.sin(i / 3), torch.cos(i)], dim=1)


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    sim = Correlated(dim=D, horizon=1.0, steps=20)
    folder = tmp_path_factory.mktemp("low") / "d"
    generate(DatasetPlan(sim, {"train": 4000}, 0, "ornstein-uhlenbeck"), folder)
    return sim, TrajectoryDataset(folder / "data" / "train").load()


def test_untrained_posterior_of_a_linear_gaussian_process(process, generator):
    sim, data = process
    model = build_model(sim, data, Settings(width=8, depth=1))
    assert isinstance(model.reference, LowRankReference)
    assert model.reference.factor.shape[-1] == RANK
    prior = sim.directions @ sim.directions.T + 0.3 * torch.eye(D, dtype=torch.float64)
    a = math.exp(-sim.rate * sim.horizon)
    q = sim.noise**2 * -math.expm1(-2 * sim.rate * sim.horizon) / (2 * sim.rate)
    gain = a * prior @ torch.linalg.inv(a**2 * prior + q * torch.eye(D, dtype=torch.float64))
    variance = (prior - a * gain @ prior).diagonal()
    final, n = data.states(-1, limit=40), 100
    mean = 1 + (final.double() - a) @ gain.T
    # steps of 1/100: split is off by O(dt) = precision g^2 dt / 2 = .25 / .3 / 200 = .4 % of the standard deviation
    samples = Posterior(sim, model, resample_times(data.times, 100)).sample(final, n, generator=generator).double()
    z = (samples.mean(1) - mean) / variance.sqrt()
    # error of the mean: 1/n of the draws, and of 3 + 1 fitted coefficients per component with 4000 trajectories
    assert float(z.square().mean()) < (1 / n) * 1.15 + 12 / 4000
    # of the variance: the mean over 40 components and 40 finals has sqrt(2 / (100 * 1600)); the fit sqrt(2 / 160000)
    assert float((samples.var(1) / variance).mean()) == pytest.approx(1, abs=0.02)
    assert float((samples.var(1).mean(0) / variance - 1).abs().max()) < 5 * math.sqrt(2 / 4000 + 2 / 4000) + 0.02


def test_nonlinear_vectors_are_fitted_at_every_time(process):
    sim, data = process

    class Unknown(SDE):
        def drift(self, x, t):
            return sim.drift(x, t)

        def diffusion(self, t):
            return sim.diffusion(t)

    carried, fitted = fit_reference(sim, data), fit_reference(Unknown(), data)
    for i in (0, 7, 20):
        one, two = (m.factor[i] @ m.factor[i].T + m.diagonal[i].diag() for m in (carried, fitted))
        scale = one.diagonal().sqrt()
        # both see the same starts; the difference is that of 4000 draws of the noise
        assert float(((one - two) / (scale[:, None] * scale)).abs().max()) < 5 * math.sqrt(2 / 4000)
    # neighbouring times are aligned, so that interpolation makes sense: a half-way factor is no shorter
    half = (fitted.factor[7] + fitted.factor[8]) / 2
    assert float(half.norm() / fitted.factor[7].norm()) > 0.95


def test_fields_with_walls(process, generator):
    """A field with walls gets a smoother of its components; as one long vector it has no feature of the physics."""
    _, data = process
    walls = FieldLayout(("u",), ("x",), (tuple(float(i) for i in range(D)),), "WALL")

    class Walled(TrajectoryDataset):
        layout, shape, n_trajectories = walls, (1, D), data.n_trajectories

        def __init__(self):
            self.times = data.times

        def states(self, time_index, limit=None):
            return data.states(time_index, limit)[:, None]

    class Still(SDE):
        def drift(self, x, t):
            return 0 * x

        def diffusion(self, t):
            return 0.5 + 0 * t

    smoother = fit_reference(Still(), Walled())
    assert isinstance(smoother, SmootherReference)
    assert smoother.basis == "identity"
    before, after = (data.states(i, limit=1024).double() for i in (2, 3))
    low, high = smoother.box[2].flatten().double()  # this physics changes nothing: whether it is cut is chance
    assert float(low) <= float(before.min())
    assert float(high) >= float(before.max())
    own, cut = (
        ((before - before.mean(0)) * (v - v.mean(0))).mean(0) / v.var(0, unbiased=False)
        for v in (after, after.clamp(low, high))
    )
    slope = torch.where(smoother.trusted[2, 0], cut, own)
    assert torch.allclose(smoother.gain[2, 0].double(), slope, rtol=1e-5)  # float32

    reference = LowRankReference.fit(Still(), Walled(), Settings())
    x, t = data.states(3, limit=5)[:, None], torch.full((5,), float(data.times[3]))
    assert reference.features(x, t).shape == (5, 2, D)
    assert reference.lift(torch.ones(5, 1, D), x, t).shape == reference.score(x, t).shape == (5, 1, D)


def test_runs_with_low_rank_are_reloaded(tmp_path, generator):
    sim = OrnsteinUhlenbeck(dim=20, steps=4, components=1)
    generate(DatasetPlan(sim, {"train": 200, "valid": 50}, 0, "ornstein-uhlenbeck"), tmp_path / "d")
    train, valid = (TrajectoryDataset(tmp_path / "d" / "data" / s) for s in ("train", "valid"))
    settings = Settings(width=8, depth=1, batch=64, validate_windows=64)
    train_run(tmp_path / "run", train, valid, settings=settings, budget=Budget(steps=5))
    run = load_run(tmp_path / "run")
    assert isinstance(run.model.reference, LowRankReference)
    tensors, _ = load_tensors(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(v, tensors[k]) for k, v in run.model.state_dict().items())
    final = valid.states(-1, limit=3)
    assert Posterior(sim, run.model, run.times).sample(final, 2, generator=generator).shape == (3, 2, 20)
