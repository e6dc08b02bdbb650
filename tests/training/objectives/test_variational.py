"""The losses of discrete diffusion: the bound in closed form, the minimiser of each loss, the learned variance."""

import math

import pytest
import torch

from physinv.equations.noising import (
    VE,
    VP,
    Geometric,
    chain,
    cosine_betas,
    geometric_levels,
    grid,
    levels,
    linear_betas,
)
from physinv.models.prediction import Prediction
from physinv.training.objectives.base import Batch
from physinv.training.objectives.variational import bound_terms, hybrid_loss, simple_loss, variational_loss
from simulators.vectors.double_well import DoubleWell
from tests.noising_cases import F64, gaussian

# Start and noise at plus and minus one standard deviation: means of quadratic functions are exact.
START, NOISE = (v.reshape(4, 1).double() for v in torch.tensor([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]]))


def closed_form(betas, s2, mean, variance):
    """Entropy + KL(p_T) + the sum of KL(N(., true) || N(., w)) over the steps, per number, from the betas alone."""
    abar = torch.cat([torch.ones(1, dtype=F64), torch.cumprod(1 - betas, 0)])
    S = 1 - abar + abar * s2
    true, tilde = betas * S[:-1] / S[1:], betas * (1 - abar[:-1]) / (1 - abar[1:])
    tilde[0] = tilde[1]
    ratio = true / (tilde if variance == "lower" else betas)
    last = (S[-1] + abar[-1] * mean**2 - 1 - S[-1].log()) / 2
    return math.log(2 * math.pi * math.e * s2) / 2 + float(last + (ratio - 1 - ratio.log()).sum() / 2)


@pytest.mark.parametrize("betas", [linear_betas(50), cosine_betas(80)], ids=["linear", "cosine"])
@pytest.mark.parametrize("variance", ["lower", "upper"])
@pytest.mark.parametrize(("mean", "s2"), [(0.0, 1.0), (0.0, 0.5), (0.7, 1.69)])
def test_bound_of_a_gaussian_is_exact(betas, variance, mean, s2):
    process, steps = VP(chain(betas)), len(betas)
    law = gaussian(process, mean=mean, variance=s2)
    terms = bound_terms(law.score, process, mean + math.sqrt(s2) * START, grid(steps), variance=variance, noise=NOISE)
    assert float(terms.total) == pytest.approx(closed_form(betas, s2, mean, variance), abs=1e-6)
    assert terms.steps.shape == (steps - 1,)
    if s2 == 1 and variance == "upper":  # beta is the true variance then: the bound is tight
        assert float(terms.total) == pytest.approx(math.log(2 * math.pi * math.e) / 2, abs=1e-3)


def test_terms_are_what_they_are_called():
    """L_T of the last kernel, L_0 a log density, L_i a divergence: each from its definition, at one step."""
    betas = linear_betas(30)
    process, law, Normal = VP(chain(betas)), gaussian(VP(chain(betas))), torch.distributions.Normal
    terms = bound_terms(law.score, process, 1.3 * START + 0.7, grid(30), noise=NOISE)
    abar, x0 = torch.cumprod(1 - betas, 0), 1.3 * START + 0.7
    end = Normal(abar[-1].sqrt() * x0, (1 - abar[-1]).sqrt())
    want = torch.distributions.kl_divergence(end, Normal(torch.zeros(1, dtype=F64), 1.0)).mean()
    assert float(terms.last) == pytest.approx(float(want), rel=1e-6)
    x1 = abar[0].sqrt() * x0 + (1 - abar[0]).sqrt() * NOISE
    mean = (x1 + betas[0] * law.score(x1, torch.full((4,), 1 / 30, dtype=F64))) / (1 - betas[0]).sqrt()
    assert float(terms.first) == pytest.approx(float(-Normal(mean, betas[0].sqrt()).log_prob(x0).mean()), rel=1e-6)


def batch(n, steps, generator, s2=1.0):
    x = math.sqrt(s2) * torch.randn(n, 1, generator=generator, dtype=F64)
    times = grid(steps).expand(n, -1)
    return Batch(x[:, None].expand(-1, steps + 1, -1), times, generator=torch.Generator().manual_seed(3))


def test_variational_loss_estimates_the_bound(generator):
    process, law = VP(chain(linear_betas(30))), gaussian(VP(chain(linear_betas(30))), 0.0, 1.0)
    losses = variational_loss(law.score, process, batch(200_000, 30, generator))
    terms = bound_terms(law.score, process, START, grid(30), noise=NOISE)
    assert float(losses) == pytest.approx(float(terms.total - terms.last), abs=0.02)  # 200,000 terms of size 2


@pytest.mark.parametrize("loss", [simple_loss, variational_loss], ids=["simple", "bound"])
@pytest.mark.parametrize("process", [VP(chain(linear_betas(30))), VE(levels(geometric_levels(30, 0.1, 3.0)))])
def test_the_true_score_is_the_minimiser(loss, process, generator):
    """Of c times the true score, the loss is quadratic in c with its minimum at 1: not at half or twice."""
    law, data = gaussian(process, 0.0, 1.0), batch(20_000, 30, generator)

    def value(c):
        data.generator.manual_seed(3)
        return float(loss(lambda x, t: c * law.score(x, t), process, data))

    low, middle, high = value(0.5), value(1.0), value(1.5)
    assert (low - high) / (low - 2 * middle + high) / 4 + 1 == pytest.approx(1, abs=0.03)


def test_noise_levels_have_weights_sigma_squared(generator):
    """NCSN: the mean over levels of sigma^2 |s + z / sigma|^2, from the levels alone."""
    sigmas = geometric_levels(30, 0.1, 3.0)
    process, data = VE(levels(sigmas)), batch(50_000, 30, generator)
    found = float(simple_loss(lambda x, t: -x / 2, process, data))
    # E sigma^2 |-(x + sigma z)/2 + z/sigma|^2 = sigma^2 ((1 + sigma^2)/4 - 1) + 1
    want = float((sigmas**2 * ((1 + sigmas**2) / 4 - 1) + 1).mean())
    assert found == pytest.approx(want, rel=0.03)


class Fixed(torch.nn.Module):
    """A network that says the same everywhere."""

    def __init__(self, *numbers):
        super().__init__()
        self.numbers = torch.nn.Parameter(torch.tensor(numbers, dtype=F64))

    def forward(self, x, tau):
        return self.numbers.expand(len(x), -1)


@pytest.mark.parametrize("predicts", ["noise", "start", "mean"])
def test_predictions_are_scores(predicts):
    """A network that predicts the truth of one state: the score is -noise / v^(1/2), whatever it predicts."""
    betas = linear_betas(40)
    process, abar = VP(chain(betas)), torch.cumprod(1 - betas, 0)
    x0, noise, i = 0.4, -1.1, 25
    a, before, beta = (float(v) for v in (abar[i - 1], abar[i - 2], betas[i - 1]))
    x = math.sqrt(a) * x0 + math.sqrt(1 - a) * noise
    mean = (math.sqrt(before) * beta * x0 + math.sqrt(1 - beta) * (1 - before) * x) / (1 - a)
    model = Prediction(
        Fixed({"noise": noise, "start": x0, "mean": mean}[predicts]), process, grid(40), predicts=predicts
    )
    found = model(torch.full((1, 1), x, dtype=F64), torch.tensor([i / 40], dtype=F64))
    assert float(found.detach()) == pytest.approx(-noise / math.sqrt(1 - a), rel=1e-9)


class Echo(torch.nn.Module):
    """A network that returns what it sees."""

    def forward(self, features, tau):
        return features + tau[:, None]


def test_a_network_sees_states_of_order_one_and_the_share_of_time():
    """Half-way to T = 4 the noise has the variance 1 - 1/4, and noised data of variance 1 that of 1.75."""
    model = Prediction(Echo(), VE(Geometric(0.5, 2.0, horizon=4.0)), grid(4, 4.0))
    found = float(model(torch.full((1, 1), 3.0, dtype=F64), torch.tensor([2.0], dtype=F64)))
    assert found == pytest.approx(-(3 / math.sqrt(1.75) + 0.5) / math.sqrt(0.75), rel=1e-9)


@pytest.mark.parametrize(("s2", "inside"), [(0.25, True), (1.69, False)])
def test_the_learned_variance_reaches_the_true_one_inside_its_interval_only(s2, inside):
    """The bound falls with the share of beta up to 1 where the data vary more than 1, else down to the true share."""
    betas, i = linear_betas(40), 20
    process, abar = VP(chain(betas)), torch.cumprod(1 - betas, 0)
    law, a, before, beta = gaussian(process, 0.0, s2), float(abar[i - 1]), float(abar[i - 2]), float(betas[i - 1])

    class Learned(Prediction):
        def both(self, x, t):
            return law.score(x, t), self.network(x, t).sigmoid()

    def step(share):
        model = Learned(Fixed(math.log(share / (1 - share))), process, grid(40), variance=True)
        x0 = math.sqrt(s2) * START
        terms = bound_terms(model, process, x0, grid(40), variance="learned", noise=NOISE)
        return float(terms.steps[i - 2])

    true = beta * (1 - before + before * s2) / (1 - a + a * s2)
    share = math.log(true / (beta * (1 - before) / (1 - a))) / math.log((1 - a) / (1 - before))
    assert (share < 1) == inside
    if inside:
        assert step(share) < min(step(share - 0.05), step(share + 0.05))
    else:
        assert step(0.9) > step(0.99) > step(0.999)


def test_hybrid_loss_teaches_the_variance_alone_by_the_bound(generator):
    """Gradients: the mean gets that of the simple loss, the variance a thousandth of the bound's."""
    process, data = VP(chain(linear_betas(30))), batch(500, 30, generator, s2=0.25)
    model = Prediction(Fixed(0.2, 0.0), process, grid(30), variance=True)

    def slope(loss):
        data.generator.manual_seed(3)
        return torch.autograd.grad(loss(model, process, data), model.network.numbers)[0]

    hybrid, simple, bound = (slope(loss) for loss in (hybrid_loss, simple_loss, variational_loss))
    assert torch.allclose(hybrid[0], simple[0], rtol=1e-9)
    assert torch.allclose(hybrid[1], 1e-3 * bound[1], rtol=1e-9)
    assert float(bound[1]) != 0


def test_what_does_not_fit_is_refused(generator):
    data, process = batch(4, 3, generator), VP(chain(linear_betas(30)))
    with pytest.raises(ValueError, match="`sde` must be Linear"):
        simple_loss(lambda x, t: -x, DoubleWell(), data)
    with pytest.raises(ValueError, match="noising process"):
        variational_loss(lambda x, t: -x, DoubleWell(), data)
    with pytest.raises(ValueError, match="learn a variance"):
        hybrid_loss(lambda x, t: -x, process, data)
    with pytest.raises(ValueError, match="lower, upper or learned"):
        bound_terms(lambda x, t: -x, process, START, grid(3), variance="middle")
    with pytest.raises(ValueError, match="noise, start or mean"):
        Prediction(Fixed(0.0), process, grid(3), predicts="end")
