"""The exact step of damped oscillators driven by noise."""

import numpy as np
import pytest
import torch
from linear_field_cases import clock, close
from scipy import linalg
from scipy.integrate import quad

from simulators.numerics.oscillator import noise_block, propagator

OSCILLATORS = [
    (9.0, 0.5, 2.0),  # underdamped
    (1.0, 5.0, 2.0),  # overdamped
    (4.0, 4.0, 1.3),  # critical
    (4.0, 4.0 + 1e-7, 1.3),
    (4.0, 4.02, 1.3),  # |s| just beyond the series
    (4.0, 3.98, 1.3),
    (4.0, 0.0, 3.0),  # undamped
    (0.0, 0.8, 3.0),  # free, with friction
    (0.0, 0.0, 3.0),
    (900.0, 0.3, 5.0),  # a phase of 150
    (9.0, 0.5, -1.0),  # back in time
    (1.0, 5.0, -1.0),
]


@pytest.mark.parametrize(("omega2", "damping", "t"), OSCILLATORS)
def test_propagator_is_the_matrix_exponential(omega2, damping, t):
    mine = torch.cat(propagator(clock(t), clock(omega2), damping)).reshape(2, 2).numpy()
    want = linalg.expm(np.array([[0.0, 1.0], [-omega2, -damping]]) * t)
    assert np.abs(mine - want).max() < 1e-12 * max(1, np.abs(want).max()) * max(1, omega2)


@pytest.mark.parametrize(("omega2", "damping", "t"), [case for case in OSCILLATORS if case[2] > 0])
def test_noise_block_is_the_integral(omega2, damping, t):
    A = np.array([[0.0, 1.0], [-omega2, -damping]])
    uu, uw, wu, ww = (float(q) for q in noise_block(clock(t), clock(omega2), damping))
    assert uw == wu

    def kicked(s):
        return linalg.expm(A * s)[:, 1]

    for got, (i, j) in ((uu, (0, 0)), (uw, (0, 1)), (ww, (1, 1))):
        want = quad(lambda s, i=i, j=j: kicked(s)[i] * kicked(s)[j], 0, t, epsabs=1e-13, epsrel=1e-11, limit=400)[0]
        assert got == pytest.approx(want, rel=1e-8, abs=1e-9 * uu**0.5)


def test_noise_block_has_its_limits():
    """``t^3/3, t^2/2, t`` for short times, relative error O((omega + damping) t); equipartition for long ones."""
    omega2, damping, t = clock(0.0, 1.0, 30.0), 0.4, clock(1e-6)
    uu, uw, _, ww = noise_block(t, omega2, damping)
    for got, want in ((uu, 1e-18 / 3), (uw, 1e-12 / 2), (ww, 1e-6)):
        assert close(got / want, torch.ones_like(got), atol=1e-5)
    omega2 = clock(0.04, 1.0, 400.0)
    for damping in (0.4, 2.0, 9.0):  # the slowest rate, .04/9, leaves e^{-35} = 5e-16 of the start
        uu, uw, _, ww = noise_block(clock(4e3), omega2, damping)
        assert close(ww * 2 * damping, torch.ones_like(ww), atol=1e-8)
        assert close(uu * omega2 * 2 * damping, torch.ones_like(uu), atol=1e-8)
        assert close(uw * 2 * damping, torch.zeros_like(uw), atol=1e-8)


def test_propagator_and_noise_are_differentiable_through_critical_damping():
    t, omega2 = clock(1.3).requires_grad_(), clock(3.9, 4.0, 4.1, 0.5).requires_grad_()
    damping = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(propagator, (t, omega2, damping))
    assert torch.autograd.gradcheck(lambda *a: noise_block(*a)[::2], (t, omega2, damping))
