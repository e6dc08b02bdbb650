"""DDIM and DDPM on Gaussian data, in closed form: published chains, their order, and the SDE that they discretise."""

import math

import pytest
import torch

from physinv.equations.noising import VE, VP, chain, geometric_levels, grid, levels, linear_betas
from physinv.equations.sde import SDE, Reverse
from physinv.equations.solve import solve
from physinv.equations.steps import euler
from physinv.reversal.ancestral import ancestral, ddim
from physinv.reversal.transport import transport
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck
from tests.noising_cases import F64, MEAN, VARIANCE, gaussian, moments


def down(steps):
    return grid(steps).flip(0)


@pytest.mark.parametrize(
    ("eta", "errors"), [(0.0, (-0.0281, -0.0141)), (1.0, (-0.0612, -0.0314))], ids=["eta 0", "eta 1"]
)
def test_ddim_has_its_known_errors_on_a_gaussian(eta, errors):
    """N(.7, 1.69), beta .1 to 20, 200 and 400 steps: the mean is exact, the error of the variance halves (order 1)."""
    for steps, error in zip((200, 400), errors, strict=True):
        mean, variance = moments(ddim, VP(chain(linear_betas(steps))), down(steps), eta=eta)
        assert mean == pytest.approx(MEAN, abs=1e-9)
        assert variance - VARIANCE == pytest.approx(error, abs=1e-4)


def test_ddpm_with_the_lower_variance_is_ddim_with_noise():
    process = VP(chain(linear_betas(50)))
    assert moments(ancestral("lower"), process, down(50)) == pytest.approx(moments(ddim, process, down(50)), rel=1e-9)


def test_ddpm_draws_from_the_published_posterior():
    """A score that knows x_0: mean and variance of one step are those of Ho et al. (2020), eq. 7, from the betas."""
    betas, x0, x = linear_betas(40), -0.4, 1.3
    process, abar = VP(chain(betas)), torch.cumprod(1 - betas, 0)
    kept, before, beta = float(abar[29]), float(abar[28]), float(betas[29])
    mean = (math.sqrt(before) * beta * x0 + math.sqrt(1 - beta) * (1 - before) * x) / (1 - kept)
    tilde = (1 - before) / (1 - kept) * beta

    def score(y, t):
        return (math.sqrt(kept) * x0 - y) / (1 - kept)

    t0, t1 = (torch.tensor([t], dtype=F64) for t in (30 / 40, 29 / 40))
    for step, variance in ((ddim, tilde), (ancestral("lower"), tilde), (ancestral("upper"), beta)):
        unit = torch.full((1, 1, 1), math.sqrt(1 / 40), dtype=F64)
        reached = [
            float(step(Reverse(process, score), torch.full((1, 1), x, dtype=F64), t0, t1, w)) for w in (0 * unit, unit)
        ]
        assert reached[0] == pytest.approx(mean, rel=1e-9)
        assert (reached[1] - reached[0]) ** 2 == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_adds_the_published_share_of_noise(eta):
    """A score that knows x_0: mean and variance of one step are those of Song et al. (2021), eq. 7 and 16."""
    betas, x0, x = linear_betas(40), -0.4, 1.3
    process, abar = VP(chain(betas)), torch.cumprod(1 - betas, 0)
    kept, before = float(abar[29]), float(abar[28])
    variance = eta**2 * (1 - before) / (1 - kept) * (1 - kept / before)
    noise = (x - math.sqrt(kept) * x0) / math.sqrt(1 - kept)
    mean = math.sqrt(before) * x0 + math.sqrt(1 - before - variance) * noise

    t0, t1 = (torch.tensor([t], dtype=F64) for t in (30 / 40, 29 / 40))
    reverse = Reverse(process, lambda y, t: (math.sqrt(kept) * x0 - y) / (1 - kept), eta)
    still, kicked = (
        float(ddim(reverse, torch.full((1, 1), x, dtype=F64), t0, t1, torch.full((1, 1, 1), w, dtype=F64)))
        for w in (0.0, math.sqrt(1 / 40))
    )
    assert still == pytest.approx(mean, rel=1e-9)
    assert (kicked - still) ** 2 == pytest.approx(variance, rel=1e-9, abs=1e-15)


class Quarter:
    """A score of white numbers that puts the variance a quarter of the way from beta-tilde to beta."""

    def __call__(self, x, t):
        return -x

    def share(self, x, t):
        return torch.full_like(x, 0.25)


def test_a_learned_variance_lies_where_the_share_says():
    """Nichol and Dhariwal (2021), eq. 15: beta to the power of the share, beta-tilde to that of the rest."""
    betas = linear_betas(40)
    process, abar = VP(chain(betas)), torch.cumprod(1 - betas, 0)
    beta, tilde = float(betas[9]), float((1 - abar[8]) / (1 - abar[9]) * betas[9])
    t0, t1 = (torch.tensor([t], dtype=F64) for t in (10 / 40, 9 / 40))
    step, x = ancestral("learned"), torch.full((1, 1), 1.3, dtype=F64)
    still, kicked = (
        float(step(Reverse(process, Quarter()), x, t0, t1, torch.full((1, 1, 1), w, dtype=F64)))
        for w in (0.0, math.sqrt(1 / 40))
    )
    assert (kicked - still) ** 2 == pytest.approx(beta**0.25 * tilde**0.75, rel=1e-9)
    assert tilde < 0.97 * beta


@pytest.mark.parametrize("variance", ["lower", "upper"])
def test_one_step_of_ddpm_is_that_of_the_reverse_sde_in_the_limit(variance):
    """Unity: a DDPM is a discretised VP SDE. One step of length h differs from euler's by O(h^2) and O(h^(3/2))."""
    gaps = []
    for steps in (400, 800):
        process, law = VP(), gaussian(VP())
        t0, t1 = torch.tensor([0.5], dtype=F64), torch.tensor([0.5 - 1 / steps], dtype=F64)
        x, kick = torch.ones(1, 1, dtype=F64), torch.full((1, 1, 1), math.sqrt(1 / steps), dtype=F64)
        one, other = (s(Reverse(process, law.score), x, t0, t1, kick) for s in (ancestral(variance), euler))
        gaps.append(abs(float(one - other)))
    assert gaps[0] / gaps[1] > 2**1.4
    assert gaps[0] < (10.05 / 400) ** 1.5  # beta h to the power 3/2


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_and_reverse_agree_as_steps_grow(eta):
    process = VP()
    gaps = []
    for n in (100, 200):
        found = [moments(step, process, down(n), eta=eta)[1] for step in (ddim, euler)]
        gaps.append(found[0] - found[1])
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.15)  # both of order 1: B/100 of the ratio is of order 2
    assert abs(gaps[1]) < 0.08


def test_smld_is_a_discretised_ve_process():
    """x' = x + (sigma_i^2 - sigma_(i-1)^2) s + noise of that variance (Song et al. 2021, appendix F)."""
    sigmas = geometric_levels(20, 0.05, 4.0)
    process, law = VE(levels(sigmas)), gaussian(VE(levels(sigmas)))
    t0, t1, x = torch.tensor([15 / 20], dtype=F64), torch.tensor([14 / 20], dtype=F64), torch.ones(1, 1, dtype=F64)
    gap = float(sigmas[14] ** 2 - sigmas[13] ** 2)
    want = 1 + gap * -(1 - MEAN) / (VARIANCE + float(sigmas[14] ** 2))
    unit = torch.full((1, 1, 1), math.sqrt(1 / 20), dtype=F64)
    still, kicked = (float(ancestral("upper")(Reverse(process, law.score), x, t0, t1, w)) for w in (0 * unit, unit))
    assert still == pytest.approx(want, rel=1e-6)  # times of the table count up to a millionth
    assert (kicked - still) ** 2 == pytest.approx(gap, rel=1e-5)


@pytest.mark.parametrize("variance", [0.25, 1.0, 1.69])
def test_true_reverse_variance(variance):
    """beta (1 - a' + a' s^2)/(1 - a + a s^2), of which transport is an instance: above beta where s^2 > 1."""
    betas = linear_betas(50)
    process, abar = VP(chain(betas)), torch.cumprod(1 - betas, 0)
    a, before, beta = float(abar[24]), float(abar[23]), float(betas[24])
    true = beta * (1 - before + before * variance) / (1 - a + a * variance)
    law = gaussian(process, variance=variance)
    S, now = (float(law.spectrum(torch.tensor([i / 50], dtype=F64), law.mean0[None]).now) for i in (24, 25))
    q = float(process.variance(*(torch.tensor([i / 50], dtype=F64) for i in (24, 25)), law.mean0[None]))
    assert q * S / now == pytest.approx(true, rel=1e-6)
    tilde = (1 - before) / (1 - a) * beta
    assert (tilde < true <= beta * (1 + 1e-12)) == (variance <= 1)
    assert transport.weak_order == 1


def test_encoding_and_decoding_give_the_state_back():
    """Up and down at eta 0: to the flow's noise, and back, with errors of order 1."""
    process, x = VP(), torch.linspace(-2, 3, 7, dtype=F64)[:, None]
    law = gaussian(process)
    top = float(law.spectrum(torch.ones(1, dtype=F64), law.mean0[None]).now)
    flow, gaps = Reverse(process, law.score, 0.0), []
    for n in (100, 200):
        up = solve(flow, x, grid(n), step=ddim)[:, -1]
        back = solve(flow, up, down(n), step=ddim)[:, -1]
        exact = law.mean_at(1.0) + (x - MEAN) * math.sqrt(top / VARIANCE)
        gaps.append([float((up - exact).abs().max()), float((back - x).abs().max())])
    for coarse, fine in zip(*gaps, strict=True):
        assert fine < 0.06
        assert coarse / fine == pytest.approx(2, abs=0.2)


def test_density_is_that_of_the_draws(generator):
    law = gaussian(VP(), dim=3)
    reverse, x = Reverse(VP(), law.score), torch.randn(5, 3, generator=generator, dtype=F64)
    t0, t1 = torch.full((5,), 0.6, dtype=F64), torch.full((5,), 0.5, dtype=F64)
    mean = ddim(reverse, x, t0, t1, torch.zeros(1, 5, 3, dtype=F64))
    kick = ddim(reverse, x, t0, t1, torch.full((1, 5, 3), math.sqrt(0.1), dtype=F64)) - mean
    reached = torch.randn(5, 3, generator=generator, dtype=F64)
    want = torch.distributions.Normal(mean, kick).log_prob(reached).sum(1)
    assert torch.allclose(ddim.log_density(reverse, x, t0, t1, reached), want, rtol=1e-9)
    with pytest.raises(ValueError, match="last step to 0"):
        ddim.log_density(reverse, x, t1, 0 * t1, reached)


class Nonlinear(SDE):
    def drift(self, x, t):
        return -(x**3)

    def diffusion(self, t):
        return torch.ones_like(t)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda x, t: ddim(Reverse(Nonlinear(), lambda x, t: -x), x, t, t / 2, x[None]), "Linear sde"),
        (lambda x, t: ddim(Reverse(VP(), lambda x, t: -x, 1.5), x, t, t / 2, x[None]), r"\[0, 1\]"),
        (lambda x, t: ancestral()(Reverse(VP(), lambda x, t: -x, 0.5), x, t, t / 2, x[None]), "`eta` must be 1"),
        (lambda x, t: ancestral("learned")(Reverse(VP(), lambda x, t: -x), x, t, t / 2, x[None]), "Prediction"),
        (lambda x, t: ancestral("middle"), "lower, upper or learned"),
    ],
)
def test_what_cannot_be_stepped_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act(torch.ones(1, 1), torch.ones(1))


def test_any_linear_process_can_be_stepped():
    """The Ornstein-Uhlenbeck process, from its exact score: the posterior variance of x_0 given x_T, to order 1."""
    ou = OrnsteinUhlenbeck(dim=1, components=1, spread=0.0, width=0.8)
    law, errors = gaussian(ou, mean=0.0, variance=0.64), []
    a, v = (float(f(0.0, torch.tensor([ou.horizon], dtype=F64), law.mean0[None])) for f in (ou.decay, ou.variance))
    for n in (100, 200):
        times = torch.linspace(ou.horizon, 0, n + 1, dtype=F64)
        errors.append(moments(ddim, ou, times, law=law, start=0.5)[1] - 0.64 * v / (a**2 * 0.64 + v))
    assert errors[0] / errors[1] > 1.65  # order 1, but for a logarithm: the deviation of the noise begins as t^(1/2)
    assert abs(errors[1]) < 0.02
