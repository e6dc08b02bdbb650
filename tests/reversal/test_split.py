"""Reverse steps against exact posteriors: gains, any number of steps, every eta, conditional means, independence."""

import math

import pytest
import torch

from physinv.equations.broadcast import match
from physinv.equations.sde import Reverse
from physinv.equations.solve import solve
from physinv.equations.time_grids import resample_times
from physinv.models.networks import MLP
from physinv.models.references.linear import LinearReference
from physinv.models.references.mixture import MixtureReference
from physinv.models.score import ScoreModel
from physinv.posterior.posterior import Posterior
from physinv.reversal.split import split
from physinv.reversal.transport import transport
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


class Nothing(torch.nn.Module):
    """A network whose output is 0."""

    def forward(self, x, t):
        return torch.zeros_like(x[:, : x.shape[1] // 2])


def gaussian_model(sde, mean0, power0):
    return ScoreModel(LinearReference(sde, mean0, power0), Nothing(), (float(sde.times[1]), float(sde.times[-1])))


def euler_chain(rate=0.5, noise=0.3, horizon=2.0, steps=40):
    """The Ornstein-Uhlenbeck process whose marginals on the grid are those of x <- (1 - rate dt) x + noise dW."""
    dt = horizon / steps
    r = -math.log1p(-rate * dt) / dt
    g = noise * math.sqrt(dt * 2 * r / -math.expm1(-2 * r * dt))
    return OrnsteinUhlenbeck(dim=1, rate=r, noise=g, components=1, spread=0.0, width=1.0, horizon=horizon, steps=steps)


@pytest.mark.parametrize(("method", "gain"), [("mean_flow", 1.72105), ("flow", 2.17673)])
def test_gains_of_mean_flow_and_probability_flow(method, gain):
    """Gains of an Euler chain (rate .5, noise .3, T 2, 40 steps, prior N(0, 1)) equal the project's reference values.

    The mean flow corrects with g^2 s, the probability flow with g^2 s / 2.
    """
    ou = euler_chain()
    one = torch.ones(1, 1, dtype=torch.float64)
    model = gaussian_model(ou, torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    got = getattr(Posterior(ou, model, ou.times), method)(one)
    assert float(got) == pytest.approx(gain, abs=5e-6)
    exact = ou.exact().mean(one) if method == "mean_flow" else ou.exact().flow(one)
    assert float(exact) == pytest.approx(gain, abs=5e-6)
    # Half or twice the correction is nowhere near.
    for wrong in (0.5, 2.0):
        bent = solve(
            Reverse(ou, lambda x, t, c=wrong: c * ou.score(x, t)), one, ou.times.flip(0), step=split, noise=False
        )
        assert abs(float(bent[0, -1, 0]) - 1.72105) > 0.1


@pytest.mark.parametrize("steps", [1, 4, 32, 100])
def test_transport_gives_the_exact_linear_gaussian_posterior_at_any_step_count(steps, generator):
    heat = Heat(size=16)
    exact = heat.exact()
    final = heat.simulate(20, generator=generator, dtype=torch.float64)[:, -1]
    posterior = Posterior(heat, gaussian_model(heat, exact.mean0, exact.power), resample_times(heat.times, steps))
    assert posterior.step is transport
    # float64 rounding, amplified by at most e^{k^2 T} ~ e^25 in modes whose power is ~ k^-4
    assert torch.allclose(posterior.mean_flow(final), exact.mean(final), atol=1e-6)
    assert torch.allclose(posterior.flow(final), exact.flow(final), atol=1e-6)


def test_transport_samples_have_the_exact_variance_in_every_mode(generator):
    heat = Heat(size=8)
    exact = heat.exact()
    final = heat.simulate(1, generator=generator, dtype=torch.float64)[:, -1]
    model = gaussian_model(heat, exact.mean0, exact.power)
    n = 5000
    drawn = Posterior(heat, model, resample_times(heat.times, 5)).sample(final, n, generator=generator)[0]
    ours = heat.modes(drawn - exact.mean(final)).abs().square().mean(0).flatten()[1:]
    like = torch.zeros(1, *heat.shape, dtype=torch.float64)
    t = torch.full((1,), heat.horizon, dtype=torch.float64)
    a, v, s = heat.decay(0.0, t, like), heat.variance(0.0, t, like), exact.power
    want = (s * v / (a**2 * s + v)).flatten()[1:]
    # |mode|^2 is exponential or chi^2_1: relative error of its mean over n draws at most sqrt(2/n); five of them
    assert torch.allclose(ours / want, torch.ones_like(want), atol=5 * math.sqrt(2 / n))


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, 1.7])
def test_transport_keeps_the_marginals_for_every_eta(eta, generator):
    heat = Heat(size=8)
    exact = heat.exact()
    n = 5000
    final = heat.simulate(n, generator=generator, dtype=torch.float64)[:, -1]
    model = gaussian_model(heat, exact.mean0, exact.power)
    times = resample_times(heat.times, 6).flip(0)
    back = solve(Reverse(heat, model, eta), final, times, step=transport, generator=generator)[:, -1]
    power = heat.modes(back).abs().square().mean(0).flatten()[1:]
    assert torch.allclose(power / exact.power.flatten()[1:], torch.ones_like(power), atol=5 * math.sqrt(2 / n))


def test_half_score_then_physics_explodes_on_stiff_modes_and_transport_does_not(generator):
    """Splitting multiplies a stiff mode by (1 - (1 - a^2)/2) / a ~ 1/(2a) per step, even with the exact score."""
    heat = Heat()
    exact = heat.exact()
    x = heat.simulate(4, generator=generator, dtype=torch.float64)
    model = gaussian_model(heat, exact.mean0, exact.power)
    ends = [
        solve(Reverse(heat, model, 0.0), x[:, -1], heat.times.flip(0), step=s)[:, -1] - x[:, 0]
        for s in (split, transport)
    ]
    errors = [float(e.norm() / x[:, 0].norm()) for e in ends]
    assert errors[0] > 10
    assert errors[1] < 0.5


def test_split_has_the_exact_conditional_mean_on_a_linear_process():
    """E[x(t1) | x(t0)] of a mixture in one long step equals Bayes' rule for the mixture."""
    ou = OrnsteinUhlenbeck(dim=2)
    x = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([1.5, 0.5], dtype=torch.float64)
    got = solve(Reverse(ou, ou.score), x, times, step=split, noise=False)[:, -1]
    gain, variance = math.exp(-ou.rate), ou.noise**2 * -math.expm1(-2 * ou.rate) / (2 * ou.rate)
    assert torch.allclose(got, ou.marginal(0.5).given(x, gain, variance).mean(), atol=1e-12)


def test_draws_of_one_observation_are_independent(generator):
    heat = Heat(size=8)
    exact = heat.exact()
    final = heat.simulate(400, generator=generator)[:, -1]
    model = gaussian_model(heat, exact.mean0.float(), exact.power.float())
    drawn = Posterior(heat, model, heat.times, batch=128).sample(final, 4, generator=generator)
    noise = (drawn - drawn.mean(1, keepdim=True)).flatten(2)
    inner = torch.einsum("nkp,nlp->kl", noise, noise)
    correlation = inner / inner.diagonal().sqrt().outer(inner.diagonal().sqrt())
    off = correlation[~torch.eye(4, dtype=torch.bool)]
    # K independent draws, centred on their own mean, correlate by -1/(K-1); about 12 effective modes x 400
    assert torch.allclose(off, torch.full_like(off, -1 / 3), atol=5 / math.sqrt(12 * 400))


@pytest.mark.parametrize("size", [8, 96])  # of 96 x 96 points, seven states are a block of their own
def test_the_memory_bound_changes_nothing(size, generator):
    heat = Heat(size=size, steps=4)
    exact = heat.exact()
    final = heat.simulate(3, generator=generator)[:, -1]
    model = gaussian_model(heat, exact.mean0.float(), exact.power.float())
    bounds = [Posterior(heat, model, heat.times, batch=b) for b in (None, 3, 100)]

    def seeded():
        return torch.Generator().manual_seed(1)

    answers = [
        lambda p: p.flow(final),
        lambda p: p.sample(final, 4, generator=seeded()),
        lambda p: p.log_prob(final, probes=2, generator=seeded(), rtol=1e-3, atol=1e-3),
    ]
    for answer in answers[: 3 if size == 8 else 2]:
        whole, *parts = (answer(p) for p in bounds)
        for part in parts:
            # float32 transforms of other batch sizes; densities, steps of another length
            assert torch.allclose(whole, part, rtol=1e-3 if whole.ndim == 1 else 0, atol=1e-4)


class Strict(torch.nn.Module):
    """A network of one weight that takes its own precision only, as torch's layers do."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x, t):
        assert x.dtype == t.dtype == self.weight.dtype
        return self.weight * match(t, x) * x[:, : x.shape[1] // 2]


@pytest.mark.parametrize("step", [split, transport])
def test_steps_too_short_for_times_in_float32_are_taken(step, generator):
    """The solver hands such times over in float64, to a network in float32."""
    sde = OrnsteinUhlenbeck(dim=2)
    law = LinearReference(sde, torch.zeros(2), torch.ones(2))
    if step is split:
        ends, pair = torch.tensor([0.0, sde.horizon]), torch.tensor([[[-1.0, 0.0], [1.0, 0.5]]]).expand(2, 2, 2)
        far = torch.tensor([-9.0, 9.0])[:, None].expand(2, 2, 2)
        law = MixtureReference(sde, ends, torch.tensor([0.4, 0.6]), pair, 0.7 * torch.eye(2).expand(2, 2, 2, 2), far)
    times = sde.horizon * (1 - 1e-5 * torch.arange(11, dtype=torch.float64))
    x, found = torch.randn(5, 2, generator=generator), []
    for dtype in (torch.float32, torch.float64):
        model = ScoreModel(law, Strict(), (float(sde.times[1]), sde.horizon)).to(dtype)
        found.append(solve(Reverse(sde, model, eta=0), x.to(dtype), times, step=step, noise=False)[:, -1])
    # ten roundings of states of size 3
    found = [v.detach() for v in found]
    assert torch.allclose(found[0].double(), found[1], atol=10 * 3 * torch.finfo(torch.float32).eps)
    assert float((found[1] - x).abs().max()) > 1e-4
    assert model.float()(x, times[:5]).dtype == torch.float32


def test_wrong_combinations_are_refused():
    ou, x = OrnsteinUhlenbeck(dim=1), torch.zeros(1, 1)
    down = torch.tensor([1.0, 0.5])
    with pytest.raises(ValueError, match="`transport` needs"):
        solve(Reverse(ou, ou.score), x, down, step=transport)
    with pytest.raises(ValueError, match="`split` steps a Reverse"):
        solve(ou, x, down.flip(0), step=split)
    with pytest.raises(ValueError, match="`steps` must be at least 1"):
        resample_times(ou.times, 0)
    with pytest.raises(ValueError, match="`n` must be at least 1"):
        Posterior(ou, ou.score, ou.times).sample(x, 0)
    assert MLP(2, 1)(torch.zeros(3, 2), torch.zeros(3)).shape == (3, 1)


class Perfect(torch.nn.Module):
    """The network that makes the score exact: its output, lifted, is the true score minus the reference score."""

    def __init__(self, ou, reference):
        super().__init__()
        self.ou, self.reference, self.state = ou, reference, None

    def forward(self, features, tau):
        x, t = self.state
        unit = self.reference.lift(torch.ones_like(x), x, t)  # diagonal in the identity basis
        return (self.ou.score(x, t) - self.reference.score(x, t)) / unit


class PerfectModel(ScoreModel):
    """A score model that hands the state itself to :class:`Perfect`, since features do not determine it."""

    def output(self, x, t, features=None):
        self.network.state = (x, t)
        return super().output(x, t)


@pytest.fixture
def perfect():
    ou = OrnsteinUhlenbeck(dim=2, components=2, spread=1.2, width=0.3)
    prior = ou.prior
    mean0 = prior.mean()
    power0 = (prior.weights[:, None] * (prior.covs.diagonal(dim1=-2, dim2=-1) + (prior.means - mean0) ** 2)).sum(0)
    reference = LinearReference(ou, mean0, power0)
    return ou, PerfectModel(reference, Perfect(ou, reference), (float(ou.times[1]), ou.horizon))


def test_transport_has_the_exact_conditional_mean_of_a_non_gaussian_law(perfect):
    """The remainder of the score enters with its exact weight q/a: one long step equals Bayes' rule for the mixture."""
    ou, model = perfect
    x = ou.marginal(1.5).sample(50, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([1.5, 0.5], dtype=torch.float64)
    got = solve(Reverse(ou, model), x, times, step=transport, noise=False)[:, -1]
    gain, variance = math.exp(-ou.rate), ou.noise**2 * -math.expm1(-2 * ou.rate) / (2 * ou.rate)
    want = ou.marginal(0.5).given(x, gain, variance).mean()
    gaussian = ou.marginal(0.5).mean()
    assert torch.allclose(got, want, atol=1e-10)
    assert float((want - gaussian).abs().mean()) > 0.1


def test_transport_flow_converges_to_the_exact_flow_of_a_non_gaussian_law(perfect):
    ou, model = perfect
    x = ou.marginal(ou.horizon).sample(50, generator=torch.Generator().manual_seed(0))
    exact = ou.exact().flow(x)
    errors = []
    for steps in (40, 80, 160):
        times = torch.linspace(ou.horizon, 0, steps + 1, dtype=torch.float64)
        back = solve(Reverse(ou, model, 0.0), x, times, step=transport)[:, -1]
        errors.append(float((back - exact).abs().mean()))
    # first order in the remainder: halving the step halves the error (ratios 2 + O(dt))
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.4)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.3)


def test_transport_sde_converges_to_the_exact_posterior_of_a_non_gaussian_law(perfect, generator):
    ou, model = perfect
    final = torch.tensor([[0.1, 0.05]], dtype=torch.float64)
    n = 20_000
    times = torch.linspace(0, ou.horizon, 81, dtype=torch.float64)
    drawn = Posterior(ou, model, times).sample(final, n, generator=generator)[0]
    exact = ou.exact().posterior(final)
    # the share of the component that a draw belongs to, by its sign: the centres lie at +-1.2 along x_1
    share = float((drawn[:, 0] > 0).double().mean())
    want = float(exact.weights[0, exact.means[0, :, 0] > 0].sum())
    assert share == pytest.approx(want, abs=5 * 0.5 / math.sqrt(n) + 0.01)  # .01: O(dt) of the step
    assert 0.2 < want < 0.8


@pytest.mark.parametrize("steps", [1, 4, 20])  # divisors of 40: between stored times the reference interpolates
def test_split_carries_a_gaussian_exactly_at_any_step_count(steps, generator):
    """With the curvature of its reference law, split is exact for a Gaussian under a linear process, as transport is.

    Half the score in one step of 2 time units, without the curvature, would be off by a factor.
    """
    ou = OrnsteinUhlenbeck(dim=2, components=1, spread=0.0, width=0.2, noise=0.6)
    laws = [ou.marginal(float(t)) for t in ou.times]
    covs = torch.stack([law.covs for law in laws])
    bounds = torch.tensor([[-50.0], [50.0]], dtype=torch.float64).expand(len(laws), 2, 2)
    means = torch.zeros(len(laws), 1, 2, dtype=torch.float64)
    reference = MixtureReference(ou, ou.times, means.new_ones(1), means, torch.linalg.cholesky(covs), bounds)
    model = ScoreModel(reference, Nothing4(), (float(ou.times[1]), ou.horizon))
    final = ou.marginal(ou.horizon).sample(50, generator=generator)
    posterior = Posterior(ou, model, resample_times(ou.times, steps))
    assert posterior.step is split
    # float64 and its clamp: variances are carried to one part in 1e6
    assert torch.allclose(posterior.flow(final), ou.exact().flow(final), atol=1e-5)
    assert torch.allclose(posterior.mean_flow(final), ou.exact().mean(final), atol=1e-5)
    n = 20_000
    drawn = posterior.sample(final[:1], n, generator=generator)[0]
    want = ou.exact().posterior(final[:1]).covs[0, 0, 0, 0]
    assert float(drawn.var(0).mean() / want) == pytest.approx(1.0, abs=5 * math.sqrt(2 / (2 * n)))


class Nothing4(torch.nn.Module):
    """A network whose output is 0, for a mixture of one component in two dimensions."""

    def forward(self, x, t):
        return torch.zeros(len(x), 4, dtype=x.dtype)


def test_last_step_lands_on_a_narrow_start(generator):
    """From g sqrt(dt) >> width, the flow and all draws end on the centre of a narrow initial law."""
    ou = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=1e-5, noise=0.5, horizon=0.1, steps=1)
    covs = torch.stack([ou.marginal(float(t)).covs for t in ou.times])
    bounds = torch.tensor([[-9.0], [9.0]], dtype=torch.float64).expand(2, 2, 1)
    zero = torch.zeros(2, 1, 1, dtype=torch.float64)
    reference = MixtureReference(ou, ou.times, zero.new_ones(1), zero, torch.linalg.cholesky(covs), bounds)

    class Silent(torch.nn.Module):
        def forward(self, x, t):
            return torch.zeros(len(x), 2, dtype=x.dtype)

    posterior = Posterior(ou, ScoreModel(reference, Silent(), (0.1, 0.1)), ou.times)
    final = ou.marginal(0.1).sample(20, generator=generator)
    spread = float(final.std())
    assert float(posterior.flow(final).abs().max()) < 3e-3 * spread * 3  # sqrt of the clamp at 1e-6, three deviations
    assert float(posterior.sample(final, 10, generator=generator).std()) < 3e-3 * spread


def test_score_obeys_the_symmetries_of_the_process(generator):
    """Averaged over x -> -x, an arbitrary network gives an odd score; a score that is odd already stays the same."""
    ou = OrnsteinUhlenbeck(dim=2, components=1, spread=0.0, width=1.0)
    reference = LinearReference(ou, torch.zeros(2), torch.ones(2))
    network = MLP(4, 2, width=8)
    torch.nn.init.normal_(network.layers[-1].weight, generator=generator)
    plain = ScoreModel(reference, network, (0.1, 2.0))
    even = ScoreModel(reference, network, (0.1, 2.0), images=lambda x: [x, -x])
    x, t = torch.randn(50, 2, generator=generator), torch.full((50,), 0.5)
    with torch.no_grad():
        assert torch.allclose(even(-x, t), -even(x, t), atol=1e-6)
        assert not torch.allclose(plain(-x, t), -plain(x, t), atol=1e-2)
        assert torch.allclose(even(x, t), (plain(x, t) - plain(-x, t)) / 2, atol=1e-6)
