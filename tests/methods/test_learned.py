"""Learned baselines: on processes whose posterior is known they must find it, as far as their form allows."""

import dataclasses
import math
import sys

import pytest
import torch

from physinv.config.settings import Settings
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.equations.sde import Multiplicative
from physinv.evaluation import metrics
from physinv.evaluation.two_sample import c2st
from physinv.methods.classical.linear_estimate import fit_linear
from physinv.methods.learned.conditional import fit_conditional_diffusion, fit_flow_matching
from physinv.methods.learned.coordinates import TargetCoordinates, conditional_coordinates, prior_coordinates
from physinv.methods.learned.deep_ensemble import fit_deep_ensemble
from physinv.methods.learned.diffusion_prior import fit_diffusion_prior
from physinv.methods.learned.operator import Operator, build_operator, count_weights, fit_fno
from physinv.methods.learned.regression import Regressed, Regression, fit_dropout, fit_regression, squared_error
from physinv.methods.learned.score_only import fit_score_only
from physinv.methods.learned.simulation_based import fit_fmpe, fit_npse
from physinv.methods.own import fit_physinv
from physinv.methods.problem import NotApplicableError, Problem
from physinv.models.networks import MLP, ParticleNet, UNet
from physinv.models.networks.layers import Dropout, dropping
from physinv.processes.layout import VectorLayout
from physinv.processes.simulator import Simulator
from physinv.training.budget import Budget
from simulators.fields.heat import Heat
from simulators.fields.heat_conductivity import HeatConductivity
from simulators.fields.heat_walls import HeatWalls
from simulators.fields.wave import Wave
from simulators.particles.langevin import OverdampedParticles, UnderdampedParticles
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

NETWORKS = (fit_regression, fit_dropout, fit_deep_ensemble, fit_conditional_diffusion, fit_flow_matching)
OBSERVATIONS = 500


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Problem and test data of a simulator, generated once for each."""
    made = {}

    def problem(simulator, steps, *, trajectories=2000, **settings):
        key = (simulator, trajectories)
        if key not in made:
            folder = tmp_path_factory.mktemp("data")
            sizes = {"train": trajectories, "valid": max(trajectories // 4, 8), "test": min(trajectories, OBSERVATIONS)}
            generate(DatasetPlan(simulator, sizes, 0, "any"), folder / "d")
            made[key] = [TrajectoryDataset(folder / "d" / "data" / s).load() for s in sizes]
        train, valid, test = made[key]
        settings = Settings(validate_windows=2048, **settings)
        return Problem(simulator, train, valid, settings=settings, budget=Budget(steps=steps)), test

    return problem


GAUSS = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, steps=2)
MIXTURE = OrnsteinUhlenbeck(dim=2, components=3, steps=2)
RING = Heat(size=8, dimension=1, steps=2, noise=0.5)


@dataclasses.dataclass(frozen=True)
class Led(Simulator):
    """``dx_k = 3 x_1 dt + dW_k / 10``, k = 1 ... 32: all that happens says the same of x_1."""

    title, equation = "led", "dx_k = 3 x_1 dt + dW_k / 10"
    shape, layout, steps = (32,), VectorLayout("x", 32), 2

    def drift(self, x, t):
        return 3 * x[:, :1].expand_as(x)

    def diffusion(self, t):
        return 0.1 * torch.ones_like(t)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn((batch, 32), generator=generator, device=device, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class Shaky(Multiplicative, OrnsteinUhlenbeck):
    """Noise in proportion to the state."""

    def amplitude(self, x, t):
        return self.noise * x


def pair(test):
    return test.states(0), test.states(-1)


def missed(estimate, exact, truth):
    """Squared distance to the exact mean, relative to what the latter misses."""
    return float((estimate - exact).square().mean() / (exact - truth).square().mean())


# ---------------------------------------------------------------------------------------------- dropout and networks


def test_dropout_switches_off_whole_channels_and_keeps_the_mean(generator):
    layer, x = Dropout(0.25), torch.ones(400, 50, 3, 2)
    assert layer(x) is x
    with dropping(layer, generator):
        y = layer(x)
    assert torch.equal(layer(x), x)
    assert torch.equal(y, y[..., :1, :1].expand_as(y))
    assert torch.allclose(y.unique(), torch.tensor([0.0, 4 / 3]))
    # 20000 coins: five standard errors of a share of .25
    assert float((y[..., 0, 0] == 0).double().mean()) == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 20000) ** 0.5)


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda p: MLP(4, 2, dropout=p), (5, 4)),
        (lambda p: UNet(2, 1, dimension=2, width=8, levels=1, dropout=p), (5, 2, 8, 8)),
        (lambda p: ParticleNet(2, 2, 1, dropout=p), (5, 3, 7)),
    ],
)
def test_networks_drop_only_when_asked_to(build, shape, generator):
    plain, dropped = build(0.0), build(0.5)
    assert not any("dropout" in name for name in plain.state_dict())
    dropped.load_state_dict(dict(zip(dropped.state_dict(), plain.state_dict().values(), strict=True)))
    for network in (plain, dropped):
        for layer in network.modules():  # the last layers start at 0: nothing would be seen
            for p in layer.parameters(recurse=False):
                torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(p.numel()))
    x, t = torch.randn(shape, generator=generator), torch.rand(shape[0], generator=generator)
    assert torch.equal(plain(x, t), dropped(x, t))
    with dropping(dropped, generator):
        assert not torch.allclose(dropped(x, t), dropped(x, t))
    with dropping(plain, generator):
        assert torch.equal(plain(x, t), plain(x, t))


def test_particle_networks_turn_all_their_vectors_and_keep_their_numbers(generator):
    network = ParticleNet(2, 3, 1, outputs=2, numbers=2)
    for p in network.requires_grad_(False).parameters():
        torch.nn.init.normal_(p, std=0.3, generator=generator)
    q, v, s = (torch.randn(4, 5, n, generator=generator) for n in (2, 6, 1))
    c, w = math.cos(0.7), math.sin(0.7)
    R = torch.tensor([[c, -w], [w, c]])

    def turn(x):
        return (x.unflatten(-1, (-1, 2)) @ R.T).flatten(-2)

    t = torch.full((4,), 0.5)
    out, turned = (network(torch.cat([f(q), f(v), s], dim=-1), t) for f in (lambda x: x, turn))
    assert out.shape == (4, 5, 6)
    assert float(out[..., 4:].std()) > 0.1
    scale = float(out.abs().max())  # float32, some ten layers
    assert torch.allclose(turned[..., :4], turn(out[..., :4]), atol=1e-4 * scale)
    assert torch.allclose(turned[..., 4:], out[..., 4:], atol=1e-4 * scale)


# ---------------------------------------------------------------------------------------------- physinv's own density


@pytest.mark.parametrize("simulator", [RING, MIXTURE], ids=["heat", "mixture"])
def test_the_density_of_our_own_posterior_is_the_exact_one(simulator, make):
    problem, test = make(simulator, 200, batch=512)
    truth, final = (x[:40] for x in pair(test))
    ours, exact = fit_physinv(problem).log_prob(truth, final), simulator.exact().log_prob(truth, final)
    # the truth is one draw for each final state: a density that is wrong by a factor of its width loses its square,
    # so the mean differs by the Kullback-Leibler divergence, (numbers fitted)/(2 trajectories) = .002 for 8 variances;
    # single ones differ by its root and the accuracy of the flow
    assert float((ours - exact).mean()) == pytest.approx(0.0, abs=0.05)
    assert float((ours - exact).std()) < 0.2
    assert float(exact.std()) > 0.8  # and so are no constants
    assert not hasattr(fit_physinv(make(Led(), 1, trajectories=50)[0]), "log_prob")  # no kernel, no density


# ------------------------------------------------------------------------------------------------------- regression


@pytest.mark.parametrize("fit", [*NETWORKS, fit_fno], ids=lambda f: f.__name__)
def test_networks_learn_from_estimates_that_have_not_seen_the_answer(fit, make, monkeypatch):
    """16 numbers from 20 trajectories: what the linear estimate misses on its own data is far less than elsewhere."""
    if fit is fit_fno:
        pytest.importorskip("neuralop")
    sizes, plain = [], TargetCoordinates.context_of

    def watched(coordinates, batch):
        context = plain(coordinates, batch)
        if torch.is_grad_enabled():  # in training
            own = coordinates.context(batch.states[:, 1])
            sizes.append([float(coordinates.target(batch.states[:, 0], c).square().mean()) for c in (context, own)])
        return context

    monkeypatch.setattr(TargetCoordinates, "context_of", watched)
    many = OrnsteinUhlenbeck(dim=16, components=1, spread=0.0, width=1.0, steps=2)
    problem, _ = make(RING if fit is fit_fno else many, 50, trajectories=20, batch=20)
    fit(problem)
    honest, own = torch.tensor(sizes).mean(0).tolist()
    assert honest != own
    if fit is not fit_fno:  # in units of what is missed on 8 validation trajectories: known to sqrt(2/128) = 12 %
        assert honest == pytest.approx(1.0, abs=0.5)
        assert own < 0.75 * honest


def test_regression_finds_a_nonlinear_posterior_mean(make):
    problem, test = make(MIXTURE, 600, batch=512)
    (truth, final), exact = pair(test), MIXTURE.exact()
    answer = fit_regression(problem)
    linear = fit_linear(problem.simulator, problem.train, problem.valid)
    before, after = (missed(a.mean(final), exact.mean(final), truth) for a in (linear, answer))
    # Estimation alone costs (parameters in use)/2000 of what is missed: .02 is that of 40.
    assert before > 0.1
    assert after < 0.02
    draws = answer.sample(final, 3)
    assert draws.shape == (OBSERVATIONS, 3, 2)
    assert torch.equal(draws[:, 2], answer.mean(final))


def test_regression_is_the_posterior_mean_of_a_gaussian_process(make):
    problem, test = make(GAUSS, 200)
    truth, final = pair(test)
    # least squares for the two numbers of a line: 2/2000 of what is missed; five times that
    assert missed(fit_regression(problem).mean(final), GAUSS.exact().mean(final), truth) < 5 * 2 / 2000


def test_dropout_without_rate_is_regression_and_its_noise_is_what_is_missed(make):
    problem, test = make(GAUSS, 120, batch=512)
    _, final = pair(test)
    plain, barely = fit_regression(problem), fit_dropout(problem, rate=1e-7)
    assert torch.allclose(barely.mean(final), plain.mean(final), atol=1e-5)
    answer = fit_dropout(problem, rate=0.1)
    draws = answer.sample(final, 200, generator=torch.Generator().manual_seed(1))
    variance = float(draws.var(1).mean())
    exact = GAUSS.exact().posterior(final).covs.unique()
    # candidates are 10^(6/96) apart, and half of that can be lost: .075; 32 passes and 100000 draws tell the rest
    x0, xT = pair(problem.valid)
    assert variance == pytest.approx(float((answer.mean(xT) - x0).square().mean()), rel=0.1)
    # 500 validation residuals tell a variance to sqrt(2/500): five of that
    assert variance == pytest.approx(float(exact), rel=5 * (2 / 500) ** 0.5 + 0.075)
    assert float(answer.mean(final).sub(draws.mean(1)).square().mean()) < 0.05 * variance
    before = torch.get_rng_state()
    assert torch.equal(
        answer.sample(final[:3], 2), answer.sample(final[:3], 2)
    )  # without a generator from a fixed seed
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match=r"`rate` must be a probability above 0 and below 1, got 0\.0"):
        fit_dropout(problem, rate=0.0)


# --------------------------------------------------------------------------------------------------- deep ensemble


def test_a_deep_ensemble_knows_where_it_is_unsure(make):
    problem, test = make(MIXTURE, 1800, batch=512)
    (truth, final), exact = pair(test), MIXTURE.exact()
    answer = fit_deep_ensemble(problem, members=3)
    draws = answer.sample(final, 200, generator=torch.Generator().manual_seed(1))
    told, known = draws.var(1), exact.sample(final, 400, generator=torch.Generator().manual_seed(2)).var(1)
    # draws of 200 and 400 tell variances to 12 % together, and to 2 % their average over 1000
    assert float(told.mean() / known.mean()) == pytest.approx(1, abs=0.1)
    assert float(torch.corrcoef(torch.stack([told.flatten().log(), known.flatten().log()]))[0, 1]) > 0.85
    assert missed(answer.mean(final), exact.mean(final), truth) < 0.02
    # the 1000 components are right for the spread, not for the shape: five standard errors and .02 for the latter
    assert float(metrics.coverage(draws, truth, 0.9)) == pytest.approx(0.9, abs=5 * (0.09 / 1000) ** 0.5 + 0.02)


def test_the_density_of_a_deep_ensemble_is_that_of_its_draws(make):
    problem, test = make(GAUSS, 30)
    answer = fit_deep_ensemble(problem, members=2)
    final, grid = test.states(-1, limit=1), torch.linspace(-8, 8, 2001)[:, None]
    density = answer.log_prob(grid, final.expand(len(grid), -1)).exp()
    step = 16 / 2000
    mass = float(density.sum() * step)
    assert mass == pytest.approx(1, abs=1e-4)  # trapezoids, analytic integrand: rounding
    mean = float((density * grid[:, 0]).sum() * step)
    variance = float((density * (grid[:, 0] - mean) ** 2).sum() * step)
    draws = answer.sample(final, 20000, generator=torch.Generator().manual_seed(1))
    assert mean == pytest.approx(float(answer.mean(final)), abs=1e-4)
    assert mean == pytest.approx(float(draws.mean()), abs=5 * (variance / 20000) ** 0.5)
    assert variance == pytest.approx(float(draws.var()), rel=5 * (2 / 20000) ** 0.5)


# ------------------------------------------------------------------------------------------------ Fourier operator


def test_an_fno_learns_a_fourier_multiplier(make):
    pytest.importorskip("neuralop")
    problem, test = make(RING, 200, rate=1e-2)
    (truth, final), exact = pair(test), RING.exact()
    linear = fit_linear(problem.simulator, problem.train, problem.valid)
    blind = dataclasses.replace(linear, weights=0 * linear.weights, deviation=truth.std() * torch.ones(1, 8))
    coordinates = TargetCoordinates(problem, blind)
    model = Regression(coordinates, build_operator(coordinates, 4, 8, 0))
    assert isinstance(model.network, Operator)
    problem.minimise(model, squared_error)
    gain = float((problem.train.states(0) * problem.train.states(-1)).sum() / problem.train.states(-1).square().sum())
    pointwise = missed(gain * final, exact.mean(final), truth)
    assert pointwise > 0.02
    assert missed(Regressed(model).mean(final), exact.mean(final), truth) < 0.3 * pointwise


def test_an_fno_is_of_the_size_of_the_unet(make):
    pytest.importorskip("neuralop")
    problem, _ = make(RING, 2)
    fno, unet = (count_weights(fit(problem).model.network) for fit in (fit_fno, fit_regression))
    assert fno == pytest.approx(unet, rel=0.25)  # channels come in whole numbers
    features, t = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0)), torch.ones(3)
    network = build_operator(conditional_coordinates(problem), 4, 8, 0).requires_grad_(False)
    out = network(features, t)
    assert float(out.std()) > 1e-3
    assert torch.allclose(network(features.roll(3, -1), t), out.roll(3, -1), atol=1e-5)


# ------------------------------------------------------------------------------------------------- generative models


@pytest.mark.parametrize("fit", [fit_conditional_diffusion, fit_flow_matching])
@pytest.mark.parametrize("simulator", [GAUSS, MIXTURE], ids=["gauss", "mixture"])
def test_amortised_posteriors_are_exact_on_vectors(fit, simulator, make, generator):
    problem, test = make(simulator, 200 if simulator is GAUSS else 1000, batch=512)
    (truth, final), exact = pair(test), simulator.exact()
    answer = fit(problem)
    draws, right = answer.sample(final, 32, generator=generator), exact.sample(final, 32, generator=generator)
    assert float(metrics.crps(draws, truth) / metrics.crps(right, truth)) == pytest.approx(1, abs=0.03)
    joint = [torch.cat([x[:, :4].flatten(0, 1), final.repeat_interleave(4, 0)], dim=1) for x in (draws, right)]
    assert float(c2st(*joint, generator=generator)) <= 0.56  # 4000 verdicts: .5 +- .008
    assert missed(answer.mean(final), exact.mean(final), truth) < 0.03


@pytest.mark.parametrize("fit", [fit_conditional_diffusion, fit_flow_matching])
def test_amortised_posteriors_spread_rightly_in_every_mode(fit, make, generator):
    problem, test = make(RING, 300, width=8, depth=1)
    (_, final), exact = (x[:32] for x in pair(test)), RING.exact()
    spread = []
    for answer in (fit(problem, steps=16), exact):
        draws = answer.sample(final, 32, generator=generator)
        modes = torch.fft.rfft(draws - draws.mean(1, keepdim=True), norm="ortho").abs().square()
        spread.append(modes.mean((0, 1, 2))[1:])  # the mean is 0 in all initial states
    ratio = (spread[0] / spread[1]).sqrt()
    # deviations from 32 x 31 draws: five standard errors of real modes are .11; the rest is for so short a training
    assert torch.allclose(ratio, torch.ones(4), atol=0.2), ratio


def test_a_diffusion_prior_with_the_physics_as_likelihood_is_the_posterior(make, generator):
    problem, test = make(GAUSS, 200, batch=512)
    (truth, final), exact = (x[:200] for x in pair(test)), GAUSS.exact()
    answer = fit_diffusion_prior(problem, steps=20)
    draws, right = answer.sample(final, 64, generator=generator), exact.sample(final, 64, generator=generator)
    assert float(metrics.crps(draws, truth) / metrics.crps(right, truth)) == pytest.approx(1, abs=0.03)
    # 64 draws leave 1/64 of the variance in their mean.  A prior learned from 2000 states adds .001 to .011 to that
    # (data and training of seeds 0 to 3, the worst of them here); twice that is allowed
    assert missed(draws.mean(1), exact.mean(final), truth) < 1 / 64 + 0.022
    # Standard errors in units of the variance: .46 sqrt(2/256) from S, measured on 256 states, .62 sqrt(2/2000) from
    # the prior (derivatives of 1/(1/prior + a^2/(R S))), twice sqrt(2/12600) from both draws: .049 together; three of
    # them.  20 steps add .008 (.078 before they were taken in the angle).
    assert float(draws.var(1).mean() / right.var(1).mean()) == pytest.approx(1.008, abs=3 * 0.049)
    assert missed(answer.mean(final), exact.mean(final), truth) < 1 / 16 + 0.05


def test_a_diffusion_prior_heeds_the_observation_mode_by_mode(make, generator):
    problem, test = make(RING, 400, depth=1)
    (truth, final), exact = (x[:64] for x in pair(test)), RING.exact()
    draws = fit_diffusion_prior(problem, steps=20).sample(final, 16, generator=generator)
    assert missed(draws.mean(1), exact.mean(final), truth) < 1 / 16 + 0.05  # .05 for a prior trained for seconds
    assert float(metrics.spread_skill(draws, truth)) == pytest.approx(1, abs=0.15)


def test_guidance_does_not_count_one_fact_many_times(make, generator):
    """Each of 32 components tells x_1, and pulls as if it were alone; all together they would pull 32 times too far."""
    problem, test = make(Led(), 1, batch=512)  # the prior is white: exact before training
    truth, final = (x[:100] for x in pair(test))
    draws = fit_diffusion_prior(problem, steps=20).sample(final, 16, generator=generator)
    # left alone, 32 pulls of full strength throw x_1 to and fro: it ends at +-38
    assert float(draws.var(1).mean()) < 1  # the prior's
    assert float(metrics.spread_skill(draws[..., :1], truth[:, :1])) == pytest.approx(1, abs=0.3)  # 100 cases, 256 rows
    assert float((draws.mean(1) - truth)[:, 0].square().mean()) < 0.02  # a fiftieth of the prior's


def test_a_score_without_physics_makes_up_for_the_drift(make, generator):
    simulator = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1.0, steps=40)
    problem, test = make(simulator, 300, trajectories=2000, batch=512)
    (truth, final), exact = pair(test), simulator.exact()
    answer = fit_score_only(problem)
    draws, right = answer.sample(final, 32, generator=generator), exact.sample(final, 32, generator=generator)
    assert float(metrics.crps(draws, truth) / metrics.crps(right, truth)) == pytest.approx(1, abs=0.05)
    # The drift moves a state by a tenth of a step's noise, so it is learned slowly: .84 here, .95 with ten times the
    # updates and twice the data, .99 in the limit (the noise of a step is that of no drift).
    before = fit_score_only(dataclasses.replace(problem, budget=Budget(steps=1))).sample(final, 32, generator=generator)
    assert float(before.var(1).mean() / right.var(1).mean()) < 0.5
    assert float(draws.var(1).mean() / right.var(1).mean()) == pytest.approx(1, abs=0.2)
    assert missed(answer.mean(final), exact.mean(final), truth) < 0.03
    assert answer.posterior.sde.drift(final, torch.zeros(len(final))).abs().max() == 0


@pytest.mark.parametrize("fit", [fit_fmpe, fit_npse])
def test_simulation_based_inference_finds_a_gaussian_posterior(fit, make, generator):
    pytest.importorskip("sbi")
    problem, test = make(GAUSS, 150)
    (truth, final), exact = (x[:100] for x in pair(test)), GAUSS.exact()
    before = torch.get_rng_state()
    answer = fit(problem)
    draws = answer.sample(final, 8, generator=generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert draws.shape == (100, 8, 1)
    right = exact.sample(final, 8, generator=generator)
    assert float(metrics.crps(draws, truth) / metrics.crps(right, truth)) == pytest.approx(1, abs=0.1)
    again = [answer.sample(final[:3], 2, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])


# ------------------------------------------------------------------------------------------------ layouts and errors

SMALL = {
    "vector": OrnsteinUhlenbeck(dim=3, steps=2),
    "static": HeatConductivity(size=8, dimension=1, steps=2),
    "walls": HeatWalls(size=8, dimension=1, steps=2),
    "particles": OverdampedParticles(particles=4, steps=2),
    "underdamped": UnderdampedParticles(particles=4, steps=2),
}


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("fit", [*NETWORKS, fit_score_only, fit_diffusion_prior], ids=lambda f: f.__name__)
def test_every_layout_is_served_and_what_is_static_is_copied(fit, kind, make):
    simulator = SMALL[kind]
    problem, test = make(simulator, 5, trajectories=64)
    if fit is fit_score_only and kind == "underdamped":
        with pytest.raises(NotApplicableError, match="nothing moves what has no noise of its own"):
            fit(problem)
        return
    few = {"steps": 3} if fit in (fit_conditional_diffusion, fit_flow_matching, fit_diffusion_prior) else {}
    answer, final = fit(problem, **few), test.states(-1, limit=3)
    draws = [answer.sample(final, 2, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    mean = answer.mean(final.double())
    assert draws[0].shape == (3, 2, *simulator.shape)
    assert draws[0].dtype == torch.float32
    assert mean.shape == final.shape
    assert mean.dtype == torch.float64
    assert bool(draws[0].isfinite().all())
    assert torch.equal(draws[0], draws[1])
    if fit is not fit_regression:
        assert not torch.equal(*problem.train.layout.moving(draws[0]).unbind(1))
    for name, place in test.layout.parts():
        if name in test.layout.static:
            known = final[(..., *place)]
            assert all(torch.equal(draw[(..., *place)], known) for draw in draws[0].unbind(1))
            assert torch.equal(mean.float()[(..., *place)], known)


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("build", [conditional_coordinates, prior_coordinates])
def test_coordinates_are_of_order_one_and_invertible(build, kind, make):
    problem, _ = make(SMALL[kind], 5, trajectories=64)
    x0, xT = pair(problem.train)
    coordinates = build(problem)
    context = coordinates.context(xT)
    z = coordinates.target(x0, context)
    assert torch.allclose(coordinates.restore(z, context, xT), x0, atol=1e-5)
    assert 0.2 < float(z.square().mean()) < 2  # fitted on 64 states, it misses less here than elsewhere
    assert float(coordinates.features(context, z).square().mean()) < 30


def test_methods_say_where_they_have_no_meaning(make, monkeypatch):
    vector, field = (make(SMALL[kind], 5, trajectories=64)[0] for kind in ("vector", "walls"))
    for problem in (vector, field):
        with pytest.raises(NotApplicableError, match="a Fourier neural operator needs periodic fields"):
            fit_fno(problem)
    for fit, name in ((fit_npse, "NPSE"), (fit_fmpe, "FMPE")):
        with pytest.raises(NotApplicableError, match=f"{name} is made for vectors, these are states of shape"):
            fit(field)
    wave, _ = make(Wave(size=8, dimension=1, steps=2), 5, trajectories=64)
    with pytest.raises(NotApplicableError, match="nothing moves what has no noise of its own"):
        fit_score_only(wave)
    with pytest.raises(NotApplicableError, match="needs noise that does not depend on the state"):
        fit_score_only(dataclasses.replace(vector, simulator=Shaky(dim=3, steps=2)))
    for fit in (fit_conditional_diffusion, fit_diffusion_prior):
        with pytest.raises(ValueError, match="`steps` must be at least 2, got 1"):
            fit(vector, steps=1)
    with pytest.raises(ValueError, match="`members` must be at least 1, got 0"):
        fit_deep_ensemble(vector, members=0)
    ring, _ = make(RING, 5)
    monkeypatch.setitem(sys.modules, "neuralop.models", None)
    with pytest.raises(ValueError, match=r"needs neuraloperator; install it with pip install 'physinv\[baselines\]'"):
        fit_fno(ring)
    monkeypatch.setitem(sys.modules, "sbi", None)
    with pytest.raises(ValueError, match=r"needs sbi; install it with pip install 'physinv\[baselines\]'"):
        fit_npse(vector)
