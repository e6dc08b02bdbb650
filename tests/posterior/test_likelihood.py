"""Log-likelihoods by the flow against closed forms, densities of reference laws, and Hutchinson's estimator."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from physinv.equations.noising.chains import chain, cosine_betas, geometric_levels, levels, linear_betas
from physinv.equations.noising.processes import VE, VP
from physinv.equations.sde import SDE, Reverse
from physinv.models.references.linear import LinearReference
from physinv.models.references.mixture import MixtureReference
from physinv.models.score import ScoreModel
from physinv.posterior.likelihood import exact, hutchinson, log_prob, rademacher, transition_log_prob
from physinv.posterior.posterior import Posterior
from simulators.fields.heat import Heat
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


class VariancePreserving(SDE):
    """dx = -beta(t)/2 x dt + sqrt(beta(t)) dW, beta from .1 to 20 (Song et al. 2021), data N(.7, 1.3^2)."""

    def beta(self, t):
        return 0.1 + 19.9 * t

    def drift(self, x, t):
        return -self.beta(t)[:, None] / 2 * x

    def diffusion(self, t):
        return self.beta(t).sqrt()

    def score(self, x, t):
        a = torch.exp(-(0.1 * t + 19.9 / 2 * t**2) / 2)[:, None]
        return -(x - a * 0.7) / (1 + a**2 * (1.3**2 - 1))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_variance_preserving_process_has_its_known_likelihood(dtype, tolerance):
    """The reference value -5.774678 = log N(x; .7, 1.3^2 I_3); a wrong sign or factor changes it by more than 1."""
    vp = VariancePreserving()
    x = torch.tensor([[1.0, -2.0, 0.3]], dtype=dtype)
    a = math.exp(-10.05 / 2)

    def base(y, mean=0.7 * a, variance=1 + a**2 * (1.3**2 - 1)):
        return -((y - mean).square() / variance + math.log(2 * math.pi * variance)).sum(1) / 2

    flow = Reverse(vp, vp.score, 0.0)
    got = log_prob(flow, x, (0.0, 1.0), base, rtol=tolerance, atol=tolerance)
    # six printed digits; at 1e-5 the flow is a few 1e-5 off
    assert float(got) == pytest.approx(-5.774678, abs=1e-6 if dtype == torch.float64 else 1e-4)
    # N(0, 1) in place of p_T misses the mean by .7 a = .0046: log N(x_T; 0, 1) - log p_T(x_T) = -.7 a sum z + O(a^2)
    # with z = (x - .7)/1.3 of x_T as of x, so .00992
    normal = log_prob(flow, x, (0.0, 1.0), lambda y: base(y, 0.0, 1.0), rtol=1e-5, atol=1e-5)
    assert float(normal - got) == pytest.approx(0.7 * a * 2.8 / 1.3, abs=2e-4)


@pytest.mark.parametrize(
    "process",
    [VP(chain(linear_betas(40))), VP(chain(cosine_betas(10))), VE(levels(geometric_levels(10, 0.1, 10.0)))],
    ids=["linear", "cosine", "levels"],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_chains_whose_rate_jumps_have_the_likelihood_of_the_data(process, dtype):
    """One adaptive solution over all jumps is 2e-3 to 3e-2 nats off, whatever its steps say."""
    mean, variance, one = 0.7, 1.69, torch.ones(1, 1, dtype=torch.float64)

    def law(t):
        start = torch.zeros(1, dtype=torch.float64)
        a = process.decay(start, t, one).reshape(-1, 1)
        return mean * a, a**2 * variance + process.variance(start, t, one).reshape(-1, 1)

    def log_normal(x, centre, power):
        return -((x.double() - centre).square() / power + (2 * math.pi * power).log()).sum(1) / 2

    def score(x, t):
        centre, power = law(t.double())
        return (-(x.double() - centre) / power).to(x)

    x, last = torch.tensor([[1.0], [-2.0], [0.3]], dtype=dtype), torch.tensor([process.horizon], dtype=torch.float64)
    got = log_prob(Reverse(process, score, 0.0), x, (0.0, process.horizon), lambda y: log_normal(y, *law(last)))
    # each of up to 40 intervals adds errors of the tolerance, 1e-5
    assert got.tolist() == pytest.approx(log_normal(x, mean, torch.tensor([[variance]])).tolist(), abs=1e-4)


def test_mixture_likelihood_is_exact():
    ou = OrnsteinUhlenbeck(dim=2)
    x = ou.prior.sample(20, generator=torch.Generator().manual_seed(0))
    flow = Reverse(ou, ou.score, 0.0)
    got = log_prob(flow, x, (0.0, ou.horizon), ou.marginal(ou.horizon).log_prob, rtol=1e-7, atol=1e-7)
    assert torch.allclose(got, ou.prior.log_prob(x), atol=1e-5)
    middle = log_prob(flow, x, (0.5, ou.horizon), ou.marginal(ou.horizon).log_prob, rtol=1e-7, atol=1e-7)
    assert torch.allclose(middle, ou.marginal(0.5).log_prob(x), atol=1e-5)


class Known(ScoreModel):
    """The exact score of an Ornstein-Uhlenbeck process, with a Gaussian reference law."""

    def output(self, x, t, features=None):
        unit = self.reference.lift(torch.ones_like(x), x, t)
        return (self.reference.sde.score(x, t) - self.reference.score(x, t)) / unit


def test_posterior_gives_prior_and_posterior_densities():
    """log p(x_0), followed from .001 of the first step on, and log p(x_0 | x_T) equal those of the exact posterior."""
    ou = OrnsteinUhlenbeck(dim=2)
    mean, power = ou.prior.mean(), torch.ones(2, dtype=torch.float64)
    model = Known(LinearReference(ou, mean, power), torch.nn.Identity(), (0.05, 2.0))
    posterior = Posterior(ou, model, ou.times)
    x = ou.prior.sample(6, generator=torch.Generator().manual_seed(0))
    final = ou.run(x, generator=torch.Generator().manual_seed(1))[:, -1]
    base = ou.marginal(ou.horizon).log_prob
    prior = posterior.log_prob(x, base=base, rtol=1e-6, atol=1e-6)
    # .001 dt = 5e-5: the density moves by g^2/2 (score^2 + tr H) 5e-5, with |score| <= 3/.3 and tr H = 2/.3^2: 8e-4
    assert torch.allclose(prior, ou.prior.log_prob(x), atol=8e-4)
    given = posterior.log_prob(x, final, base=base, start=1e-7, rtol=1e-6, atol=1e-6)
    assert torch.allclose(given, ou.exact().posterior(final).log_prob(x), atol=1e-5)
    # by default the base is the reference at T, here off by what the Gaussian does not know of three clusters
    default = posterior.log_prob(x, rtol=1e-6, atol=1e-6)
    assert 1e-3 < float((default - prior).abs().max()) < 3


def covariance(power, heat):
    """The dense covariance of a periodic field: column by column, from its action on unit fields."""
    eye = torch.eye(math.prod(heat.shape), dtype=torch.float64).reshape(-1, *heat.shape)
    return heat.unmodes(power * heat.modes(eye), eye).flatten(1)


@pytest.fixture(scope="module")
def field():
    """Heat on 8 x 8 points with a Gaussian start of non-zero mean and power in every mode, and its law at any time."""
    heat = Heat(size=8)
    power = 1 / (1 + heat.rates(torch.zeros(1, *heat.shape, dtype=torch.float64)).abs()[0])
    mean = torch.linspace(-1, 1, 64, dtype=torch.float64).reshape(heat.shape)
    model = ScoreModel(LinearReference(heat, mean, power), torch.nn.Identity(), (float(heat.times[1]), heat.horizon))
    model.output = lambda x, t, features=None: torch.zeros_like(x)

    def law(t):
        at = torch.tensor([t], dtype=torch.float64)
        a, q = heat.decay(0.0, at, mean[None])[0], heat.variance(0.0, at, mean[None])[0]
        middle = heat.unmodes(a * heat.modes(mean[None]), mean[None]).flatten()
        return MultivariateNormal(middle, covariance(a**2 * power + q, heat))

    z = torch.randn(3, *heat.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return heat, model, law, mean + heat.unmodes(power.sqrt() * heat.modes(z), z)


def test_gaussian_field_has_its_exact_likelihood(field):
    heat, model, law, x = field
    posterior = Posterior(heat, model, heat.times)
    got = posterior.log_prob(x, start=0.0, rtol=1e-7, atol=1e-7)
    # 64 dimensions, powers from 1 to 1/33: values of order 10 to 100, integrated to 1e-7
    assert torch.allclose(got, law(0.0).log_prob(x.flatten(1)), atol=1e-5)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("dimension", [1, 2])
def test_reference_density_of_fields_counts_every_mode_once(size, dimension):
    """Odd and even grids differ in the modes of the real FFT that stand for two modes of the full FFT."""
    heat = Heat(size=size, dimension=dimension)
    like = torch.zeros(1, *heat.shape, dtype=torch.float64)
    power = 1 / (1 + heat.rates(like).abs()[0])
    x = torch.randn(4, *heat.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = x.new_full((4,), 0.1)
    now = heat.decay(0.0, t[:1], like)[0] ** 2 * power + heat.variance(0.0, t[:1], like)[0]
    want = MultivariateNormal(torch.zeros(x[0].numel()).double(), covariance(now, heat)).log_prob(x.flatten(1))
    reference = LinearReference(heat, like[0], power)
    assert torch.allclose(reference.log_prob(x, t), want, atol=1e-9)
    # the derivative of a density is its score
    y = x.clone().requires_grad_()
    assert torch.allclose(torch.autograd.grad(reference.log_prob(y, t).sum(), y)[0], reference.score(x, t), atol=1e-9)


def test_modes_without_power_are_left_out():
    heat = Heat(size=8, noise=0.0, diffusivity=0.0)
    like = torch.zeros(1, *heat.shape, dtype=torch.float64)
    power = torch.ones_like(heat.modes(like)[0].real)
    x = torch.randn(2, *heat.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = x - x.mean((1, 2, 3), keepdim=True)
    whole = LinearReference(heat, like[0], power).log_prob(x, x.new_ones(2))
    power[0, 0, 0] = 0
    flat = LinearReference(heat, like[0], power).log_prob(x, x.new_ones(2))
    # the mean mode is one number of unit variance at its mean: it took log 1/sqrt(2 pi)
    assert torch.allclose(flat - whole, x.new_full((2,), math.log(2 * math.pi) / 2), atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_law_with_numbers_that_do_not_vary_has_no_density_at_the_start(dtype):
    """The flow leads there through 1 / t, and would be followed until float underflows; from a later time on it is one.

    A hundred-millionth of the variance is no lack of it."""
    ou, x = OrnsteinUhlenbeck(dim=3), torch.tensor([[0.3, -0.4, 0.0]], dtype=dtype)
    for power, start in ((0.0, 0.0), (0.0, 1e-3), (1e-8, 0.0)):
        law = LinearReference(ou, torch.zeros(3, dtype=dtype), torch.tensor([1.0, 1.0, power], dtype=dtype))

        def base(y, law=law):
            return law.log_prob(y, y.new_full((len(y),), ou.horizon))

        flow, span = Reverse(ou, law.score, 0.0), (start, ou.horizon)
        if power == start == 0:
            with pytest.raises(ValueError, match="no density at t = 0, where 1 or so of the 3 numbers of a state do n"):
                log_prob(flow, x, span, base)
        else:
            assert torch.allclose(log_prob(flow, x, span, base), law.log_prob(x, x.new_full((1,), start)), atol=1e-3)


def test_mixture_reference_density_is_the_mixture_s(generator):
    ou = OrnsteinUhlenbeck(dim=2)
    p = ou.prior
    k = len(p.weights)
    reference = MixtureReference(
        ou,
        torch.tensor([0.0, 2.0], dtype=torch.float64),
        p.weights,
        p.means.expand(2, k, 2),
        torch.linalg.cholesky(p.covs).expand(2, k, 2, 2),
        torch.tensor([[-5.0, -5.0], [5.0, 5.0]], dtype=torch.float64).expand(2, 2, 2),
    )
    x = torch.randn(30, 2, dtype=torch.float64, generator=generator)
    assert torch.allclose(reference.log_prob(x, x.new_full((30,), 1.3)), p.log_prob(x), atol=1e-10)


def test_transition_density_of_fields(field):
    """log p(x_T | x_0) equals the dense Gaussian's; for vectors Bayes' rule above tests it."""
    heat, _, _, x = field
    later = heat.run(x, generator=torch.Generator().manual_seed(1))[:, -1]
    at = torch.tensor([0.2], dtype=torch.float64)
    noise = MultivariateNormal(torch.zeros(64).double(), covariance(heat.variance(0.0, at, x)[0], heat))
    want = noise.log_prob((later - heat.unmodes(heat.decay(0.0, at, x) * heat.modes(x), x)).flatten(1))
    assert torch.allclose(transition_log_prob(heat, x, later, 0.2), want, atol=1e-7)


def curved(y):
    """A vector field with a full Jacobian that depends on the position."""
    mix = torch.linspace(-1, 1, 25, dtype=y.dtype).reshape(5, 5) + 0.3 * torch.eye(5, dtype=y.dtype)
    return (y @ mix).sin() + y**2


def test_divergence_exact_and_estimated(generator):
    x = torch.randn(6, 5, dtype=torch.float64, generator=generator)
    want = torch.stack([torch.autograd.functional.jacobian(curved, one).trace() for one in x])
    value, div = exact(curved, x)
    assert torch.allclose(value, curved(x))
    assert torch.allclose(div, want, atol=1e-12)
    n = 4000
    signs = rademacher(x.expand(n, 6, 5).flatten(0, 1), 1, generator=generator)
    draws = hutchinson(signs)(curved, x.expand(n, 6, 5).flatten(0, 1))[1].reshape(n, 6)
    # unbiased: four standard errors, measured from the draws themselves
    assert bool(((draws.mean(0) - want).abs() < 4 * draws.std(0) / math.sqrt(n)).all())
    # Var z.Jz = sum_(i<j) (J_ij + J_ji)^2 for signs; its estimate from n draws is good to a few 1/sqrt(n)
    jacobian = torch.stack([torch.autograd.functional.jacobian(curved, one) for one in x])
    off = (jacobian + jacobian.mT).triu(1).square().sum((1, 2))
    assert torch.allclose(draws.var(0), off, rtol=0.15)
    z = rademacher(x, 8, generator=generator)
    together = hutchinson(z)(curved, x)[1]
    assert torch.allclose(together, torch.stack([hutchinson(one[None])(curved, x)[1] for one in z]).mean(0))


def test_estimated_likelihood_is_unbiased_and_follows_its_generator(field, generator):
    """Fields of 64 numbers, many copies of one observation: every copy has its own probe."""
    heat, model, _, x = field
    x = x[:1]
    posterior = Posterior(heat, model, heat.times)
    whole = float(posterior.log_prob(x))
    one = posterior.log_prob(x.expand(100, -1, -1, -1), probes=1, generator=generator)
    assert float(one.mean()) == pytest.approx(whole, abs=4 * float(one.std()) / math.sqrt(100) + 1e-3)
    assert float(one.std()) > 0.01
    many, again, other = (
        posterior.log_prob(x, probes=3, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(many, again)
    assert not torch.equal(many, other)


def test_what_has_no_density_is_refused():
    ou, x = OrnsteinUhlenbeck(dim=1), torch.zeros(2, 1, dtype=torch.float64)
    flow, base = Reverse(ou, ou.score, 0.0), ou.marginal(2.0).log_prob
    with pytest.raises(ValueError, match="`span` must be"):
        log_prob(flow, x, (2.0, 0.0), base)
    with pytest.raises(ValueError, match="`flow` must be deterministic"):
        log_prob(Reverse(ou, ou.score), x, (0.0, 2.0), base)
    with pytest.raises(ValueError, match="`probes` must be at least 1"):
        rademacher(x, 0)
    with pytest.raises(ValueError, match="`probes` must have the shape"):
        hutchinson(torch.ones(1, 3, 1))(lambda y: y, x)
    with pytest.raises(ValueError, match="`base` must be given"):
        Posterior(ou, ou.score, ou.times).log_prob(x)
    vp = VariancePreserving()
    with pytest.raises(ValueError, match="`final` needs a Linear SDE"):
        Posterior(vp, vp.score, ou.times).log_prob(x, x, base=base)
    with pytest.raises(ValueError, match="`dt` must be positive for a density"):
        transition_log_prob(OrnsteinUhlenbeck(dim=1, noise=0.0), x, x, 1.0)


def test_a_point_start_has_the_density_of_its_noise_after_a_while():
    ou = OrnsteinUhlenbeck(dim=1)

    def law(y, t):
        v = ou.variance(0.0, t, y)
        return -(y**2 / v + (2 * math.pi * v).log()).sum(1) / 2

    x = torch.tensor([[0.0], [0.05]], dtype=torch.float64)
    flow = Reverse(ou, lambda y, t: -y / ou.variance(0.0, t, y), 0.0)
    got = log_prob(flow, x, (0.01, 2.0), lambda y: law(y, y.new_full((2,), 2.0)), rtol=1e-7, atol=1e-7)
    assert torch.allclose(got, law(x, x.new_full((2,), 0.01)), atol=1e-5)
