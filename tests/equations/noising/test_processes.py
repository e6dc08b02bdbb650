"""Noising processes: their kernels are those of their own equations, compose, and have the published variances."""

import math

import pytest
import torch
from scipy.integrate import quad, solve_ivp

from physinv.equations.noising import VE, VP, Cosine, Geometric, LinearRate, SubVP, Table
from physinv.equations.solve import solve
from physinv.equations.steps import euler, exponential
from physinv.models.references.linear import LinearReference
from physinv.posterior.posterior import Posterior

F64 = torch.float64
LIKE = torch.zeros(1, 1, dtype=F64)
PROCESSES = [
    VP(LinearRate(0.1, 20.0)),
    VP(Cosine(left=1e-3)),
    VP(Table((0.0, 0.3, 1.0), (0.0, 0.2, 3.0))),
    SubVP(LinearRate(0.1, 20.0)),
    SubVP(Cosine(left=1e-3)),
    VE(Geometric(0.05, 8.0)),
    VE(LinearRate(0.5, 3.0, horizon=2.0)),
]


def at(t):
    return torch.tensor([t], dtype=F64)


def kernel(process, t0, t1):
    return float(process.decay(at(t0), at(t1), LIKE)), float(process.variance(at(t0), at(t1), LIKE))


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_kernels_solve_the_moment_equations_of_the_process(process):
    """dm/dt = r m and dv/dt = 2 r v + g^2, by an adaptive solver from drift and diffusion alone."""
    for t0, t1 in ((0.0, 0.25), (0.31, 0.9)):

        def slopes(t, y):
            r = float(process.drift(torch.ones(1, 1, dtype=F64), at(t)))
            return [r * y[0], 2 * r * y[1] + float(process.diffusion(at(t))) ** 2]

        found = solve_ivp(slopes, (t0, t1), [1.0, 0.0], rtol=1e-9, atol=1e-12, max_step=0.01).y[:, -1]
        assert kernel(process, t0, t1) == pytest.approx(tuple(found), rel=1e-5)  # kinks of the table: first order there


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_kernels_compose(process):
    a, v = kernel(process, 0.1, 0.7)
    a0, v0 = kernel(process, 0.1, 0.4)
    a1, v1 = kernel(process, 0.4, 0.7)
    assert (a0 * a1, a1**2 * v0 + v1) == pytest.approx((a, v), rel=1e-12)
    assert float(process.decay(at(0.7), at(0.1), LIKE)) == pytest.approx(1 / a, rel=1e-12)


@pytest.mark.parametrize("t", [0.01, 0.3, 1.0])
def test_sub_vp_has_the_square_of_the_variance_of_vp(t):
    """(1 - e^-B)^2 to 1e-6, with B by quadrature."""
    for schedule in (LinearRate(0.1, 20.0), Cosine(left=1e-3)):
        total = quad(lambda s, beta=schedule: float(beta.rate(at(s))), 0, t, epsabs=1e-12, epsrel=1e-10)[0]
        assert kernel(SubVP(schedule), 0.0, t)[1] == pytest.approx((1 - math.exp(-total)) ** 2, rel=1e-6)
        assert kernel(VP(schedule), 0.0, t)[1] == pytest.approx(1 - math.exp(-total), rel=1e-6)


def test_cosine_keeps_the_squared_cosine():
    schedule, start = Cosine(offset=0.008, left=1e-4, horizon=2.0), math.pi / 2 * 0.008 / 1.008
    end = math.acos(0.01 * math.cos(start))
    for t in (0.2, 1.0, 2.0):
        kept = math.cos(start + (end - start) * t / 2) ** 2 / math.cos(start) ** 2
        assert math.exp(-float(schedule.integral(0.0, at(t)))) == pytest.approx(kept, rel=1e-12)


def test_short_steps_keep_their_digits_in_float32():
    """Differences of integrals would have an error of 1e-7 B; the noise of a short step is right to 1e-5 of itself."""
    like, t0, t1 = torch.zeros(1, 1), torch.tensor([0.9]), torch.tensor([0.9 + 2**-14])
    for process in (VP(LinearRate()), VP(Cosine()), SubVP(LinearRate()), VE(Geometric())):
        want = kernel(process, float(t0), float(t1))[1]
        assert float(process.variance(t0, t1, like)) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("process", [VP(), SubVP(), VE(Geometric(0.1, 5.0))], ids=repr)
def test_steps_serve_time_dependent_rates(process, generator):
    """From a point, exponential (in two steps of different length) and euler reach the mean and variance of p_t."""
    n, x = 5000, torch.full((5000, 1), 1.5, dtype=F64)
    a, v = kernel(process, 0.0, 0.6)
    few = solve(process, x, [0.0, 0.1, 0.6], step=exponential, generator=generator)[:, -1]
    many = solve(process, x, torch.linspace(0, 0.6, 101, dtype=F64), step=euler, generator=generator)[:, -1]
    for found, bias in ((few, 0.0), (many, 0.04)):  # euler: of first order, B/100 = .04
        assert float(found.mean()) == pytest.approx(1.5 * a, abs=5 * (v / n) ** 0.5 + bias)
        assert float(found.var()) == pytest.approx(v, rel=5 * (2 / n) ** 0.5 + 2 * bias)


@pytest.mark.parametrize("process", [VP(), VP(Cosine()), SubVP(), VE(Geometric(0.01, 20.0))], ids=repr)
def test_likelihood_of_a_gaussian_through_posterior(process):
    """The anchor: log N(x; .7, 1.3^2 I_3) = -5.774678 at x = (1, -2, .3), for every process."""
    law = LinearReference(process, torch.full((3,), 0.7, dtype=F64), torch.full((3,), 1.69, dtype=F64))
    posterior = Posterior(process, law.score, torch.linspace(0, 1, 11, dtype=F64))
    x = torch.tensor([[1.0, -2.0, 0.3]], dtype=F64)
    found = posterior.log_prob(x, base=lambda y: law.log_prob(y, y.new_ones(1)), start=0.0, rtol=1e-7, atol=1e-7)
    assert float(found) == pytest.approx(-5.774678, abs=1e-6)  # six printed digits


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: LinearRate(-1.0, 2.0), "`first` and `last`"),
        (lambda: LinearRate(0.1, 2.0, horizon=0.0), "`horizon`"),
        (lambda: Cosine(left=1.0), "`left`"),
        (lambda: Geometric(2.0, 1.0), "`low` and `high`"),
        (lambda: Table((0.0, 1.0), (0.0, 0.0)), "`integrals`"),
        (lambda: VP(basis="wavelet"), "`basis`"),
        (lambda: LinearRate(0.1, math.inf), "`last` of LinearRate must be finite"),
        (lambda: Geometric(0.1, math.inf), "`high` of Geometric must be finite"),
        (lambda: Cosine(offset=math.inf), "`offset` of Cosine must be finite"),
        (lambda: Table((0.0, 1.0), (0.0, math.nan)), "`integrals` must be finite"),
    ],
)
def test_wrong_schedules_are_refused_in_one_line(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
