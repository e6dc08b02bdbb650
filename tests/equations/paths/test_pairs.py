"""Three traps of generative models for inverse problems, in numbers: flows and bridges between x_T and x_0.

The pair is that of dx = -.5 x dt + .5 dW over a time of 2 from N(0, 1), reversed: start x_T, end x_0.
"""

import math

import pytest
import torch

from physinv.equations.paths.interpolants import Interpolant
from physinv.equations.paths.pairs import GaussianPair

GAIN = math.exp(-1.0)
PAIR = GaussianPair(start=GAIN**2 + (1 - GAIN**2) / 4, covariance=GAIN, end=1.0)


def test_the_posterior_is_that_of_the_process():
    slope, variance = PAIR.posterior()
    assert slope == pytest.approx(1.0466, abs=5e-5)
    assert math.sqrt(variance) == pytest.approx(0.7842, abs=5e-5)


def test_a_paired_flow_without_x_T_as_an_input_is_the_probability_flow():
    """One point for each x_T, with the slope (V_0 / V_T)^(1/2) of the map between the two laws."""
    slope, variance = PAIR.flow()
    assert slope == pytest.approx(1.68669, abs=5e-6)
    assert slope == pytest.approx(math.sqrt(PAIR.end / PAIR.start), abs=1e-6)
    assert variance == 0


@pytest.mark.parametrize("noise", [0.25, 1.0, 2.0])
def test_a_bridge_without_x_T_as_an_input_has_the_right_law_of_ends_but_no_posterior(noise):
    slope, variance = PAIR.bridge(noise, given=False)
    # followed up to 1 - 1e-6, where a variance of noise^2 1e-6 is missing
    assert slope**2 * PAIR.start + variance == pytest.approx(PAIR.end, abs=2e-5)
    exact = PAIR.posterior()
    assert abs(slope - exact.slope) > 0.2
    assert abs(variance - exact.variance) > 0.15


@pytest.mark.parametrize("noise", [0.25, 1.0, 2.0])
def test_a_bridge_with_x_T_as_an_input_is_exact_whatever_its_noise(noise):
    slope, variance = PAIR.bridge(noise, given=True)
    assert slope == pytest.approx(1.0466, abs=5e-5)
    assert math.sqrt(variance) == pytest.approx(0.7842, abs=5e-5)


@pytest.mark.parametrize("given", [False, True])
def test_gains_are_those_of_a_regression_on_drawn_paths(given, generator):
    n, path, s = 100_000, Interpolant(noise=0.8), torch.tensor(0.3, dtype=torch.float64)
    x0, xi, noise = (torch.randn(n, 1, generator=generator, dtype=torch.float64) for _ in range(3))
    xT = GAIN * x0 + math.sqrt((1 - GAIN**2) / 4) * xi
    x = path.state(xT, x0, noise, s.expand(n))
    inputs = torch.cat([x, xT], 1) if given else x
    found = torch.linalg.lstsq(inputs, x0).solution[:, 0]
    # residuals of variance .6 at most over inputs of .08 at least that the other one does not explain
    error = 5 * math.sqrt(0.6 / 0.08 / n)
    for value, want in zip(found, PAIR.gains(path, s, given=given), strict=False):
        assert float(value) == pytest.approx(float(want), abs=error)


@pytest.mark.parametrize("given", [False, True])
def test_drawn_bridges_arrive_where_the_closed_form_says(given, generator):
    """A simulation by Euler steps of dx = pull ds + sigma dW with the closed-form expectation."""
    n, steps, path = 20_000, 200, Interpolant(noise=1.0)
    start = math.sqrt(PAIR.start) * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    x = start
    for i in range(steps):
        s = torch.tensor((i + 1e-9) / steps, dtype=torch.float64)
        k, h = PAIR.gains(path, s, given=given)
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        x = x + path.pull(x, k * x + h * start, s.expand(n)) / steps + noise / math.sqrt(steps)
    want = PAIR.bridge(1.0, given=given)
    slope = float((x * start).mean() / start.square().mean())
    # five standard errors of 20000 draws, and a share 1/steps of the noise
    assert slope == pytest.approx(want.slope, abs=5 * math.sqrt(want.variance / PAIR.start / n) + 0.01)
    assert float((x - slope * start).var()) == pytest.approx(want.variance, rel=5 * math.sqrt(2 / n) + 0.02)


def test_numbers_that_are_no_covariance_are_refused():
    with pytest.raises(ValueError, match="must be those of a pair"):
        GaussianPair(1.0, 2.0, 1.0)


def test_a_bridge_needs_noise():
    with pytest.raises(ValueError, match="`noise` must be above 0, got 0; without noise there is"):
        GaussianPair(1.0, 0.5, 1.0).bridge(0.0, given=True)
